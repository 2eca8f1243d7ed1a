//! Whether the quotas of a namespace allow what the release brings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::finding::{Finding, Findings};
use crate::kube::object::{Manifest, ObjectId};
use crate::kube::order::mention::{list, text};
use crate::quantity::Quantity;

use super::finding;
use super::request::{Defaults, Requests, Side, amount_of, of_container, quantity};
use super::situation::{Situation, Workload};

pub(super) fn check(situation: &Situation<'_>, findings: &mut Findings) {
    let namespaces: BTreeSet<&str> = situation.ours.keys().filter_map(|id| id.namespace.as_deref()).collect();
    for namespace in namespaces {
        for (id, quota) in situation.of_kind("", "ResourceQuota", Some(namespace)) {
            // What a quota with scopes counts depends on more than is known here.
            let scoped = list(quota, "/spec/scopes").next().is_some()
                || quota.pointer("/spec/scopeSelector").is_some();
            if !scoped {
                check_quota(id, quota, namespace, situation, findings);
            }
        }
    }
}

fn check_quota(
    id: &ObjectId,
    quota: &Value,
    namespace: &str,
    situation: &Situation<'_>,
    findings: &mut Findings,
) {
    let hard = Requests::read(quota.pointer("/spec/hard"));
    let used = Requests::read(situation.live(id).and_then(|live| live.pointer("/status/used")));
    let defaults =
        Defaults::read(situation.of_kind("", "LimitRange", Some(namespace)).map(|(_, value)| value));
    let workloads: Vec<&Workload<'_>> =
        situation.in_namespace(Some(namespace)).filter(|workload| workload.changes).collect();
    let objects = new_objects(namespace, situation);
    for (resource, hard) in hard.iter() {
        let used = used.get(resource);
        if let Some((side, plain)) = counted(resource) {
            if plain != "pods" {
                check_said(id, side, plain, &workloads, &defaults, findings);
            }
            check_pods(id, resource, hard, used, &workloads, situation, findings);
        } else if let Some(more) = objects.get(plain_count(resource))
            && used.plus(*more) > hard
        {
            findings.refusals.push(over(id, resource, hard, used, *more, "the release"));
        }
    }
}

/// What a quota of pods counts: requests or limits, and of which resource.
fn counted(resource: &str) -> Option<(Side, &str)> {
    match resource {
        "count/pods" => Some((Side::Requests, "pods")),
        "pods" | "cpu" | "memory" | "ephemeral-storage" => Some((Side::Requests, resource)),
        "requests.storage" => None,
        _ => match resource.split_once('.')? {
            ("requests", plain) => Some((Side::Requests, plain)),
            ("limits", plain) => Some((Side::Limits, plain)),
            _ => None,
        },
    }
}

/// Where CPU or memory is limited, the API server takes no pod that does not say how much it wants.
fn check_said(
    id: &ObjectId,
    side: Side,
    resource: &str,
    workloads: &[&Workload<'_>],
    defaults: &Defaults,
    findings: &mut Findings,
) {
    if !matches!(resource, "cpu" | "memory") {
        return;
    }
    let field = if side == Side::Requests { "requests" } else { "limits" };
    for workload in workloads {
        // What is said for the pod as a whole is enough.
        let whole = workload.spec.pointer(&format!("/resources/{field}/{resource}")).is_some();
        let silent: Vec<&str> = ["/initContainers", "/containers"]
            .into_iter()
            .flat_map(|all| list(workload.spec, all))
            .filter(|container| !whole && !of_container(container, side, defaults).names(resource))
            .map(|container| text(container, "/name").unwrap_or("?"))
            .collect();
        if !silent.is_empty() {
            findings.refusals.push(finding(
                workload.manifest,
                format!("{id} limits {resource}, and {} says no {field}.{resource}: the API server takes no such pod", silent.join(", ")),
                format!("set resources.{field}.{resource}, or add a LimitRange with a default"),
            ));
        }
    }
}

fn check_pods(
    id: &ObjectId,
    resource: &str,
    hard: Quantity,
    used: Quantity,
    workloads: &[&Workload<'_>],
    situation: &Situation<'_>,
    findings: &mut Findings,
) {
    let Some((side, plain)) = counted(resource) else { return };
    let one = |workload: &Workload<'_>| match side {
        Side::Requests => workload.requests.get(plain),
        Side::Limits => workload.limits.get(plain),
    };
    let present = |workload: &Workload<'_>| {
        let pods = situation.pods(&workload.present).map(|pod| match side {
            Side::Requests => pod.requests.get(plain),
            Side::Limits => pod.limits.get(plain),
        });
        pods.fold(Quantity::ZERO, Quantity::plus)
    };
    let more = |workload: &Workload<'_>| one(workload).times(workload.replicas).minus(present(workload));
    let total = workloads.iter().map(|workload| more(workload)).fold(Quantity::ZERO, Quantity::plus);
    if total > Quantity::ZERO && used.plus(total) > hard {
        findings.refusals.push(over(id, resource, hard, used, total, "the release"));
        return;
    }
    let shrinks = workloads.iter().any(|workload| more(workload) < Quantity::ZERO);
    for workload in workloads.iter().filter(|workload| workload.is_tight()) {
        let one = one(workload);
        if workload.present.is_empty() || one == Quantity::ZERO || used.plus(one) <= hard {
            continue;
        }
        let found = finding(
            workload.manifest,
            format!(
                "its rolling update starts a pod more before an old one goes, which {id} does not allow: {} more, {} of {} \
                 are used",
                amount_of(plain, one),
                amount_of(plain, used),
                amount_of(plain, hard)
            ),
            "set maxUnavailable: 1, or raise the quota",
        );
        if shrinks { findings.warnings.push(found) } else { findings.refusals.push(found) }
    }
}

fn over(id: &ObjectId, resource: &str, hard: Quantity, used: Quantity, more: Quantity, who: &str) -> Finding {
    let plain = counted(resource).map_or_else(|| plain_count(resource), |(_, plain)| plain);
    Finding::new(
        id.to_string(),
        format!(
            "{who} brings {} more, {} of {} ({resource}) are used",
            amount_of(plain, more),
            amount_of(plain, used),
            amount_of(plain, hard)
        ),
        "raise the quota, or ask for less",
    )
}

/// `services` of `count/services`, `deployments` of `count/deployments.apps`.
fn plain_count(resource: &str) -> &str {
    match resource.strip_prefix("count/") {
        Some(counted) => counted.split('.').next().unwrap_or(counted),
        None => resource,
    }
}

/// How many objects of each kind are new, by the plural that quotas use, and how much storage they claim.
fn new_objects<'s>(namespace: &str, situation: &Situation<'_>) -> BTreeMap<&'s str, Quantity> {
    let mut found: BTreeMap<&str, Quantity> = BTreeMap::new();
    let mut add = |name, amount: Quantity| {
        let there = found.entry(name).or_default();
        *there = there.plus(amount);
    };
    for manifest in situation.ours.values() {
        if manifest.id.namespace.as_deref() != Some(namespace) || situation.live(&manifest.id).is_some() {
            continue;
        }
        if let Some(plural) = plural(manifest) {
            add(plural, Quantity::whole(1));
        }
        if manifest.id.kind.is("", "PersistentVolumeClaim") {
            add("requests.storage", storage(&manifest.value));
        }
        for claim in list(&manifest.value, "/spec/volumeClaimTemplates") {
            let workload = situation.workloads.iter().find(|workload| workload.manifest.id == manifest.id);
            let replicas = workload.map_or(1, |workload| workload.replicas);
            add("persistentvolumeclaims", Quantity::whole(replicas));
            add("requests.storage", storage(claim).times(replicas));
        }
    }
    found
}

fn storage(claim: &Value) -> Quantity {
    claim.pointer("/spec/resources/requests/storage").and_then(quantity).unwrap_or_default()
}

fn plural(manifest: &Manifest) -> Option<&'static str> {
    Some(match (manifest.id.kind.group.as_str(), manifest.id.kind.kind.as_str()) {
        ("", "ConfigMap") => "configmaps",
        ("", "PersistentVolumeClaim") => "persistentvolumeclaims",
        ("", "Secret") => "secrets",
        ("", "Service") => "services",
        ("apps", "Deployment") => "deployments",
        ("apps", "StatefulSet") => "statefulsets",
        ("batch", "CronJob") => "cronjobs",
        ("batch", "Job") => "jobs",
        ("networking.k8s.io", "Ingress") => "ingresses",
        _ => return None,
    })
}
