//! Whether everything that manifests name is there, and the very keys.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::finding::Findings;
use crate::kube::object::{Manifest, ObjectId};
use crate::kube::order::Reason;
use crate::kube::order::mention::{Mention, mentions};
use crate::kube::order::nearest::nearest;

use super::finding;
use super::reference::{is_custom, must_exist};
use super::situation::{Sight, Situation};

pub(super) fn check(objects: &[Manifest], situation: &Situation<'_>, findings: &mut Findings) {
    check_twice(objects, findings);
    let makers = makers(situation);
    let mut homeless = BTreeSet::new();
    for manifest in situation.ours.values() {
        if let Some(namespace) = &manifest.id.namespace
            && homeless.insert(namespace)
            && situation.find(&ObjectId::of_cluster("", "Namespace", namespace)) == Sight::Absent
        {
            findings.refusals.push(finding(
                manifest,
                format!("its namespace `{namespace}` is neither in the release nor in the cluster"),
                format!("add a Namespace `{namespace}` to the release, or create it"),
            ));
        }
        let named: BTreeSet<Mention> = mentions(manifest).into_iter().filter(must_exist).collect();
        let mut absent = BTreeSet::new();
        for mention in &named {
            match situation.find(&mention.target) {
                Sight::There(value) => check_key(manifest, mention, value, findings),
                Sight::Absent if absent.insert(&mention.target) => {
                    check_absent(manifest, mention, situation, &makers, findings);
                }
                Sight::Absent | Sight::Unknown => {}
            }
        }
    }
}

/// Two manifests of one object would undo each other.
fn check_twice(objects: &[Manifest], findings: &mut Findings) {
    let mut first: BTreeMap<&ObjectId, &Manifest> = BTreeMap::new();
    for manifest in objects {
        match first.get(&manifest.id) {
            Some(before) => findings.refusals.push(finding(
                manifest,
                format!("it is described twice; first in {}", before.origin),
                "keep one of the two, or exclude one of the files",
            )),
            None => {
                first.insert(&manifest.id, manifest);
            }
        }
    }
}

/// The texts in custom resources, by namespace: a Secret that one of them names may be made by its operator.
fn makers<'a>(situation: &Situation<'a>) -> BTreeMap<Option<&'a str>, BTreeSet<&'a str>> {
    let mut found: BTreeMap<Option<&str>, BTreeSet<&str>> = BTreeMap::new();
    for manifest in situation.ours.values().filter(|manifest| is_custom(manifest)) {
        let texts = found.entry(manifest.id.namespace.as_deref()).or_default();
        let mut open: Vec<&Value> = vec![&manifest.value];
        while let Some(value) = open.pop() {
            match value {
                Value::String(text) => {
                    texts.insert(text);
                }
                Value::Array(items) => open.extend(items),
                Value::Object(fields) => open.extend(fields.values()),
                _ => {}
            }
        }
    }
    found
}

fn check_key(manifest: &Manifest, mention: &Mention, value: &Value, findings: &mut Findings) {
    let Some(key) = &mention.key else { return };
    let keys = || {
        ["data", "stringData", "binaryData"]
            .into_iter()
            .filter_map(|field| value.get(field)?.as_object())
            .flat_map(|map| map.keys().map(String::as_str))
    };
    if keys().any(|there| there == key) {
        return;
    }
    let near = nearest(key, keys()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    findings.refusals.push(finding(
        manifest,
        format!("it needs the key `{key}` of {}, which has none of that name{near}", mention.target),
        "add the key, correct its name, or say `optional: true`",
    ));
}

fn check_absent(
    manifest: &Manifest,
    mention: &Mention,
    situation: &Situation<'_>,
    makers: &BTreeMap<Option<&str>, BTreeSet<&str>>,
    findings: &mut Findings,
) {
    let Mention { target, why, .. } = mention;
    let made =
        makers.get(&target.namespace.as_deref()).is_some_and(|texts| texts.contains(target.name.as_str()));
    let text = format!("{target}, {why}, is neither in the release nor in the cluster");
    let refused = match why {
        Reason::Environment
        | Reason::Mount
        | Reason::Account
        | Reason::Priority
        | Reason::Runtime
        | Reason::Token
        | Reason::Volume => !made,
        Reason::PullSecret | Reason::IngressClass | Reason::Scale | Reason::Source | Reason::PodNames => {
            false
        }
        // Services and storage have checks of their own; roles and certificates may come later.
        _ => return,
    };
    let remedy = match near(situation, target) {
        Some(near) => format!("did you mean `{near}`? Otherwise add it to the release, or create it"),
        None if made => "a custom resource of the release names it: have it made before these pods start, \
                         or they wait for it"
            .to_owned(),
        None => "add it to the release, or create it".to_owned(),
    };
    let found = finding(manifest, text, remedy);
    if refused { findings.refusals.push(found) } else { findings.warnings.push(found) }
}

fn near<'a>(situation: &Situation<'a>, target: &ObjectId) -> Option<&'a str> {
    let kind = &target.kind;
    let there = situation.of_kind(&kind.group, &kind.kind, target.namespace.as_deref());
    nearest(&target.name, there.map(|(id, _)| id.name.as_str()))
}
