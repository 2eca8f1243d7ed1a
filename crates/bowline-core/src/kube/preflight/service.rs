//! Whether Services find pods, and Ingresses find Services.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::finding::Findings;
use crate::kube::object::{Manifest, ObjectId};
use crate::kube::order::mention::{backends, list, text};
use crate::kube::order::nearest::{distance, nearest};
use crate::kube::order::runs_pods;
use crate::kube::workload::{labels, pod_spec, template};

use super::finding;
use super::reference::is_custom;
use super::selector::selects;
use super::situation::{Sight, Situation};

pub(super) fn check(situation: &Situation<'_>, findings: &mut Findings) {
    let templates = Templates::new(situation.ours.values().copied());
    let custom = situation.ours.values().any(|manifest| is_custom(manifest));
    for manifest in situation.ours.values() {
        match (manifest.id.kind.group.as_str(), manifest.id.kind.kind.as_str()) {
            ("", "Service") => check_service(manifest, situation, &templates, custom, findings),
            ("networking.k8s.io", "Ingress") => check_ingress(manifest, situation, findings),
            _ => {}
        }
    }
    for workload in &situation.workloads {
        check_own_selector(workload, findings);
    }
}

/// The API server takes no workload that does not find its own pods.
fn check_own_selector(workload: &super::situation::Workload<'_>, findings: &mut Findings) {
    let manifest = workload.manifest;
    if !matches!(manifest.id.kind.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") {
        return;
    }
    let selector = manifest.value.pointer("/spec/selector");
    let remedy = "write the same labels in spec.selector.matchLabels and in spec.template.metadata.labels";
    let empty = selector.and_then(Value::as_object).is_none_or(|selector| {
        selector.values().all(|part| part.as_object().is_some_and(|map| map.is_empty()))
    });
    if empty {
        findings.refusals.push(finding(
            manifest,
            "it has no spec.selector, which must say which pods are its own",
            remedy,
        ));
    } else if !selects(selector, |name| workload.label(name)) {
        let missing: Vec<String> = labels(selector.and_then(|selector| selector.get("matchLabels")))
            .filter(|(name, value)| workload.label(name) != Some(*value))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let missing =
            if missing.is_empty() { String::new() } else { format!(": they lack {}", missing.join(", ")) };
        findings.refusals.push(finding(
            manifest,
            format!("its selector does not take the pods of its own template{missing}"),
            remedy,
        ));
    }
}

/// The pod templates of a release, by their labels.
pub(super) struct Templates<'m> {
    all: Vec<&'m Manifest>,
    by_label: BTreeMap<(Option<&'m str>, &'m str, &'m str), BTreeSet<usize>>,
}

impl<'m> Templates<'m> {
    pub(super) fn new(objects: impl Iterator<Item = &'m Manifest>) -> Self {
        let all: Vec<&Manifest> = objects.filter(|manifest| runs_pods(&manifest.id.kind)).collect();
        let mut by_label: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
        for (number, manifest) in all.iter().enumerate() {
            let namespace = manifest.id.namespace.as_deref();
            for (name, value) in template_labels(manifest) {
                by_label.entry((namespace, name, value)).or_default().insert(number);
            }
        }
        Self { all, by_label }
    }

    /// Those whose pods a Service with this selector takes.
    pub(super) fn selected(&self, namespace: Option<&str>, selector: &Value) -> Vec<&'m Manifest> {
        let none = BTreeSet::new();
        let mut sets: Vec<&BTreeSet<usize>> = labels(Some(selector))
            .map(|(name, value)| self.by_label.get(&(namespace, name, value)).unwrap_or(&none))
            .collect();
        sets.sort_by_key(|set| set.len());
        let Some((smallest, others)) = sets.split_first() else { return Vec::new() };
        let common = smallest.iter().filter(|number| others.iter().all(|set| set.contains(number)));
        common.filter_map(|number| self.all.get(*number).copied()).collect()
    }
}

fn template_labels(manifest: &Manifest) -> impl Iterator<Item = (&str, &str)> {
    let template = template(&manifest.id.kind, &manifest.value);
    labels(template.and_then(|template| template.pointer("/metadata/labels")))
}

/// The selector of a Service that finds its pods by labels.
pub(super) fn selector(service: &Value) -> Option<&Value> {
    let selector = service.pointer("/spec/selector")?;
    let named = selector.as_object().is_some_and(|map| !map.is_empty());
    (named && text(service, "/spec/type") != Some("ExternalName")).then_some(selector)
}

fn check_service(
    manifest: &Manifest,
    situation: &Situation<'_>,
    templates: &Templates<'_>,
    custom: bool,
    findings: &mut Findings,
) {
    let Some(selector) = selector(&manifest.value) else { return };
    let namespace = manifest.id.namespace.as_deref();
    let ours = templates.selected(namespace, selector);
    let mut specs: Vec<&Value> =
        ours.iter().filter_map(|manifest| pod_spec(&manifest.id.kind, &manifest.value)).collect();
    let mut found = !ours.is_empty();
    if !found {
        let takes = |own: &BTreeMap<&str, &str>| {
            labels(Some(selector)).all(|(name, value)| own.get(name) == Some(&value))
        };
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            for (id, value) in situation.of_kind("apps", kind, namespace) {
                let metadata =
                    template(&id.kind, value).and_then(|template| template.pointer("/metadata/labels"));
                if takes(&labels(metadata).collect()) {
                    specs.extend(pod_spec(&id.kind, value));
                    found = true;
                }
            }
        }
        // Whatever made them: an operator's pods count too, and nobody knows their ports.
        found |= situation.cluster.pods.iter().any(|pod| {
            Some(pod.namespace.as_str()) == namespace
                && takes(&pod.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
        });
    }
    if found {
        check_target_ports(manifest, &specs, findings);
        return;
    }
    let wanted: Vec<String> = labels(Some(selector)).map(|(name, value)| format!("{name}={value}")).collect();
    let near = closest(situation, namespace, selector);
    let text = format!("its selector {} takes no pods{}", wanted.join(", "), near.unwrap_or_default());
    let found =
        finding(manifest, text, "correct the selector or the labels of the pods, or take the Service away");
    // It may have been so for long, or an operator may make the pods: that is no reason to stop.
    let as_before =
        situation.live(&manifest.id).is_some_and(|live| live.pointer("/spec/selector") == Some(selector));
    if as_before || custom {
        findings.warnings.push(found);
    } else {
        findings.refusals.push(found);
    }
}

/// The pods that come nearest to a selector.
fn closest(situation: &Situation<'_>, namespace: Option<&str>, selector: &Value) -> Option<String> {
    let near = situation.in_namespace(namespace).filter_map(|workload| {
        let shared: Vec<(&str, &str, &str)> = labels(Some(selector))
            .filter_map(|(name, value)| Some((name, value, workload.label(name)?)))
            .collect();
        let far: usize = shared.iter().map(|(_, wanted, there)| distance(wanted, there)).sum();
        let missing = labels(Some(selector)).count() - shared.len();
        (!shared.is_empty()).then_some(((missing, far), workload, shared))
    });
    let (_, workload, shared) = near.min_by_key(|(order, workload, _)| (*order, &workload.manifest.id))?;
    let there: Vec<String> = shared.iter().map(|(name, _, there)| format!("{name}={there}")).collect();
    Some(format!("; the nearest are those of {}, with {}", workload.manifest.id, there.join(", ")))
}

/// A named port must be a port of the pods. Numbers need not be declared there.
fn check_target_ports(manifest: &Manifest, specs: &[&Value], findings: &mut Findings) {
    if specs.is_empty() {
        return;
    }
    let names: BTreeSet<&str> = specs
        .iter()
        .flat_map(|spec| ["/containers", "/initContainers"].into_iter().flat_map(|all| list(spec, all)))
        .flat_map(|container| list(container, "/ports"))
        .filter_map(|port| text(port, "/name"))
        .collect();
    for target in list(&manifest.value, "/spec/ports").filter_map(|port| text(port, "/targetPort")) {
        if target.parse::<u16>().is_err() && !names.contains(target) {
            let near = nearest(target, names.iter().copied())
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            findings.refusals.push(finding(
                manifest,
                format!("its targetPort `{target}` is no port of the pods that it takes{near}"),
                "name the port in the containers' ports, or write its number",
            ));
        }
    }
}

fn check_ingress(manifest: &Manifest, situation: &Situation<'_>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for backend in backends(&manifest.value) {
        let Some(name) = text(backend, "/service/name") else { continue };
        let id = ObjectId {
            kind: crate::kube::object::Kind::new("", "Service"),
            namespace: manifest.id.namespace.clone(),
            name: name.to_owned(),
        };
        let port = backend.pointer("/service/port");
        if !seen.insert((name, port.map(Value::to_string))) {
            continue;
        }
        match situation.find(&id) {
            Sight::There(service) => check_backend(manifest, name, service, port, findings),
            Sight::Absent => {
                let there = situation.of_kind("", "Service", manifest.id.namespace.as_deref());
                let near = nearest(name, there.map(|(id, _)| id.name.as_str()))
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                findings.refusals.push(finding(
                    manifest,
                    format!("it routes to the Service `{name}`, which is neither in the release nor in the cluster{near}"),
                    "correct the name, or add the Service",
                ));
            }
            Sight::Unknown => {}
        }
    }
}

fn check_backend(
    manifest: &Manifest,
    name: &str,
    service: &Value,
    port: Option<&Value>,
    findings: &mut Findings,
) {
    let Some(port) = port else { return };
    let has = |field: &str, wanted: &Value| {
        list(service, "/spec/ports").any(|there| there.get(field) == Some(wanted))
    };
    let (found, wanted) = match (port.get("number"), port.get("name")) {
        (Some(number), _) => (has("port", number), number),
        (None, Some(name)) => (has("name", name), name),
        (None, None) => return,
    };
    if found {
        return;
    }
    let ports: Vec<String> = list(service, "/spec/ports")
        .filter_map(|port| {
            let number = port.get("port")?.to_string();
            Some(text(port, "/name").map_or(number.clone(), |name| format!("{number} ({name})")))
        })
        .collect();
    findings.refusals.push(finding(
        manifest,
        format!("it routes to port {wanted} of Service `{name}`, which has {}", ports.join(", ")),
        "write a port that the Service has; it is the Service's `port`, not its `targetPort`",
    ));
}
