//! Pods that cannot be on one node together: those that take the same port of it, or refuse each other's company.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::finding::Findings;
use crate::kube::order::mention::{list, text};

use super::selector::selects;
use super::situation::{Situation, Workload};
use super::{count, finding};

pub(super) fn check(situation: &Situation<'_>, findings: &mut Findings) {
    if situation.nodes.is_empty() {
        return;
    }
    for workload in situation.workloads.iter().filter(|workload| workload.changes && workload.replicas > 0) {
        if workload.is("apps", "DaemonSet") || workload.eligible.is_empty() {
            continue;
        }
        if let Some(limit) = ports(workload, situation) {
            judge(workload, &limit, situation, findings);
        } else if let Some(limit) = distance(workload, situation) {
            judge(workload, &limit, situation, findings);
        }
    }
}

/// Whether at most one pod of this workload can be on a node.
pub(super) fn is_alone(workload: &Workload<'_>) -> bool {
    !workload.ports.is_empty()
        || own_terms(workload).any(|term| text(term, "/topologyKey") == Some("kubernetes.io/hostname"))
}

/// How many pods there can be, and why.
struct Limit {
    places: u64,
    /// How many of these places its present pods hold against new ones.
    held: u64,
    why: String,
    remedy: &'static str,
}

fn ports(workload: &Workload<'_>, situation: &Situation<'_>) -> Option<Limit> {
    let port = workload.ports.first()?;
    let taken: BTreeSet<&str> = situation
        .cluster
        .pods
        .iter()
        .enumerate()
        .filter(|(place, _)| !workload.present.contains(place))
        .filter(|(_, pod)| pod.ports.iter().any(|there| workload.ports.iter().any(|own| own.collides(there))))
        .map(|(_, pod)| pod.node.as_str())
        .collect();
    let nodes = workload.eligible.iter().filter_map(|place| situation.nodes.get(*place));
    let nodes: BTreeSet<&str> = nodes.map(|node| node.name).filter(|name| !taken.contains(name)).collect();
    let holders = situation
        .pods(&workload.present)
        .filter(|pod| pod.ports.iter().any(|there| workload.ports.iter().any(|own| own.collides(there))));
    let held: BTreeSet<&str> =
        holders.map(|pod| pod.node.as_str()).filter(|node| nodes.contains(node)).collect();
    let places = number(nodes.len());
    Some(Limit {
        places,
        held: number(held.len()),
        why: format!("each takes port {} of its node, and {} can give it", port.port, count(places, "node")),
        remedy: "use a Service instead of hostPort, or set maxSurge: 0 and maxUnavailable: 1",
    })
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The terms by which a workload's pods keep off each other.
fn own_terms<'a>(workload: &'a Workload<'_>) -> impl Iterator<Item = &'a Value> {
    let required = "/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    list(workload.spec, required)
        .filter(|term| selects(term.get("labelSelector"), |name| workload.label(name)))
}

fn distance(workload: &Workload<'_>, situation: &Situation<'_>) -> Option<Limit> {
    let limit = |term: &Value| {
        let key = text(term, "/topologyKey")?;
        let nodes = workload.eligible.iter().filter_map(|place| situation.nodes.get(*place));
        let values: BTreeMap<&str, &str> =
            nodes.filter_map(|node| Some((node.name, node.label(key)?))).collect();
        let places: BTreeSet<&str> = values.values().copied().collect();
        // With this key old pods and new ones do not mind each other.
        let by_revision = list(term, "/matchLabelKeys").any(|key| key == "pod-template-hash");
        let held: BTreeSet<&str> = situation
            .pods(&workload.present)
            .filter(|pod| !by_revision && selects(term.get("labelSelector"), |name| pod.label(name)))
            .filter_map(|pod| values.get(pod.node.as_str()).copied())
            .collect();
        Some(Limit {
            places: number(places.len()),
            held: number(held.len()),
            why: format!(
                "its required podAntiAffinity allows one for each {key}, of which its nodes have {}",
                places.len()
            ),
            remedy: "make the podAntiAffinity a preferred one, or set maxSurge: 0 and maxUnavailable: 1",
        })
    };
    own_terms(workload).filter_map(limit).min_by_key(|limit| limit.places)
}

fn judge(workload: &Workload<'_>, limit: &Limit, situation: &Situation<'_>, findings: &mut Findings) {
    let pods = count(workload.replicas, "pod");
    let Limit { places, held, why, remedy } = limit;
    if workload.replicas > *places {
        let found = finding(
            workload.manifest,
            format!("of its {pods} only {places} can run: {why}"),
            "ask for fewer replicas, add nodes, or loosen the rule",
        );
        if situation.cluster.grows {
            findings.warnings.push(found)
        } else {
            findings.refusals.push(found)
        }
        return;
    }
    if !workload.is_tight() {
        return;
    }
    if held >= places {
        let found = finding(
            workload.manifest,
            format!(
                "its rolling update would hang: a new pod must run before an old one goes, and the old ones hold every \
                 place there is ({why})"
            ),
            *remedy,
        );
        if situation.cluster.grows { findings.warnings.push(found) } else { findings.refusals.push(found) }
    } else if workload.present.is_empty() && workload.replicas == *places {
        findings.warnings.push(finding(
            workload.manifest,
            format!(
                "its {pods} will hold every place there is ({why}): the next rolling update finds none for a new pod"
            ),
            *remedy,
        ));
    }
}
