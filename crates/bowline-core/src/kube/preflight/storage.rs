//! Whether claims find a class, and classes exist.

use serde_json::Value;

use crate::finding::Findings;
use crate::kube::object::{Kind, Manifest, ObjectId};
use crate::kube::order::mention::{list, text};
use crate::kube::order::nearest::nearest;

use super::finding;
use super::reference::Reference;
use super::situation::{Sight, Situation};

pub(super) fn check(situation: &Situation<'_>, findings: &mut Findings) {
    for manifest in situation.ours.values() {
        // A claim that is there has what it has.
        if situation.live(&manifest.id).is_some() {
            continue;
        }
        if manifest.id.kind.is("", "PersistentVolumeClaim") {
            if text(&manifest.value, "/spec/volumeName").is_none() {
                check_class(manifest, "it", manifest.value.get("spec"), situation, findings);
            }
        } else if manifest.id.kind.is("apps", "StatefulSet") {
            for claim in list(&manifest.value, "/spec/volumeClaimTemplates") {
                let name = text(claim, "/metadata/name").unwrap_or("?");
                let subject = format!("its volumeClaimTemplate `{name}`");
                check_class(manifest, &subject, claim.get("spec"), situation, findings);
            }
        }
    }
}

fn check_class(
    manifest: &Manifest,
    subject: &str,
    spec: Option<&Value>,
    situation: &Situation<'_>,
    findings: &mut Findings,
) {
    match spec.and_then(|spec| spec.get("storageClassName")).and_then(Value::as_str) {
        // No class is asked for: a volume without one must be there, and volumes are made by hand.
        Some("") => {}
        Some(class) => check_named(manifest, subject, class, situation, findings),
        None => check_default(manifest, subject, situation, findings),
    }
}

fn check_named(
    manifest: &Manifest,
    subject: &str,
    class: &str,
    situation: &Situation<'_>,
    findings: &mut Findings,
) {
    let id = ObjectId::of_cluster("storage.k8s.io", "StorageClass", class);
    if situation.find(&id) != Sight::Absent || volumes(situation).any(|volume| class_of(volume) == class) {
        return;
    }
    let there = situation.of_kind("storage.k8s.io", "StorageClass", None);
    let near = nearest(class, there.map(|(id, _)| id.name.as_str()));
    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    findings.refusals.push(finding(
        manifest,
        format!("{subject} asks for the StorageClass `{class}`, which does not exist, and no volume has that class{near}"),
        "name a class that the cluster has (`kubectl get storageclass`), or add the class or a volume to the release",
    ));
}

fn check_default(manifest: &Manifest, subject: &str, situation: &Situation<'_>, findings: &mut Findings) {
    let unread = Reference::All { kind: Kind::new("storage.k8s.io", "StorageClass"), namespace: None };
    if situation.cluster.unreadable.contains(&unread) {
        return;
    }
    let classes = situation.of_kind("storage.k8s.io", "StorageClass", None);
    let defaults: Vec<&str> =
        classes.filter(|(_, class)| is_default(class)).map(|(id, _)| id.name.as_str()).collect();
    match defaults.as_slice() {
        [_] => {}
        [] => {
            let found = finding(
                manifest,
                format!("{subject} names no StorageClass, and the cluster has no default one"),
                "set storageClassName, or make a class the default one \
                 (annotation storageclass.kubernetes.io/is-default-class)",
            );
            if volumes(situation).any(|volume| class_of(volume).is_empty()) {
                findings.warnings.push(found);
            } else {
                findings.refusals.push(found);
            }
        }
        several => findings.warnings.push(finding(
            manifest,
            format!(
                "{subject} names no StorageClass, and {} are default ones: the youngest is taken",
                several.join(" and ")
            ),
            "set storageClassName, or leave one default class",
        )),
    }
}

fn volumes<'a>(situation: &Situation<'a>) -> impl Iterator<Item = &'a Value> {
    situation.of_kind("", "PersistentVolume", None).map(|(_, volume)| volume)
}

fn class_of(volume: &Value) -> &str {
    text(volume, "/spec/storageClassName").unwrap_or("")
}

fn is_default(class: &Value) -> bool {
    let annotations = class.pointer("/metadata/annotations");
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
        .into_iter()
        .any(|name| annotations.and_then(|all| all.get(name)).and_then(Value::as_str) == Some("true"))
}
