//! Whether the nodes have room for the pods, as the scheduler counts: by what is asked for, not by what is used.

use std::collections::BTreeSet;

use crate::finding::{Finding, Findings};
use crate::quantity::Quantity;

use super::contention::is_alone;
use super::request::{Requests, amount_of};
use super::rollout::Strategy;
use super::situation::{Situation, Workload};
use super::{count, finding};

pub(super) fn check(situation: &Situation<'_>, findings: &mut Findings) {
    let workloads: Vec<&Workload<'_>> = situation
        .workloads
        .iter()
        .filter(|workload| workload.changes && (workload.replicas > 0 || workload.is("batch", "CronJob")))
        .collect();
    if workloads.is_empty() {
        return;
    }
    if situation.nodes.is_empty() {
        findings.warnings.push(Finding::new(
            "nodes",
            "the nodes are not known: whether the pods find room is not judged",
            "allow Bowline to list nodes and pods",
        ));
        return;
    }
    let leaving: BTreeSet<usize> =
        workloads.iter().flat_map(|workload| workload.present.iter().copied()).collect();
    let mut empty = free(situation, &leaving);
    let placeable: Vec<&Workload<'_>> = workloads
        .into_iter()
        .filter(|workload| check_single(workload, situation, findings))
        .filter(|workload| !workload.is("batch", "CronJob"))
        .collect();
    place_daemons(&placeable, situation, &mut empty, findings);
    let others: Vec<&Workload<'_>> =
        placeable.into_iter().filter(|workload| !workload.is("apps", "DaemonSet")).collect();
    let now = free(situation, &BTreeSet::new());
    let fitting: Vec<&Workload<'_>> =
        others.into_iter().filter(|workload| check_alone(workload, &empty, situation, findings)).collect();
    check_together(&fitting, &empty, situation, findings);
    for workload in fitting {
        check_surge(workload, &empty, &now, situation, findings);
    }
}

/// What is left on each node when the pods in these places are gone.
fn free(situation: &Situation<'_>, gone: &BTreeSet<usize>) -> Vec<Requests> {
    let mut left: Vec<Requests> = situation.nodes.iter().map(|node| node.allocatable.clone()).collect();
    let places: std::collections::BTreeMap<&str, usize> =
        situation.nodes.iter().enumerate().map(|(place, node)| (node.name, place)).collect();
    for (place, pod) in situation.cluster.pods.iter().enumerate() {
        if !gone.contains(&place)
            && let Some(left) = places.get(pod.node.as_str()).and_then(|node| left.get_mut(*node))
        {
            left.take_all(&pod.requests, 1);
        }
    }
    left
}

/// What cannot be proved, as room may be made, is only worth a warning.
fn report(workload: &Workload<'_>, situation: &Situation<'_>, found: Finding, findings: &mut Findings) {
    if situation.cluster.grows || workload.preempts() {
        findings.warnings.push(found);
    } else {
        findings.refusals.push(found);
    }
}

/// Whether there is a node that could take one pod, were it empty.
fn check_single(workload: &Workload<'_>, situation: &Situation<'_>, findings: &mut Findings) -> bool {
    if workload.eligible.is_empty() {
        if workload.is("apps", "DaemonSet") {
            return false;
        }
        let bars: Vec<String> =
            workload.bars.iter().map(|(bar, nodes)| format!("{}: {bar}", count(*nodes, "node"))).collect();
        let text = format!("no node may run its pods ({})", bars.join("; "));
        let remedy = "correct nodeSelector, affinity or tolerations, or label the nodes";
        report(workload, situation, finding(workload.manifest, text, remedy), findings);
        return false;
    }
    let nodes = || workload.eligible.iter().filter_map(|place| situation.nodes.get(*place));
    if nodes().any(|node| node.allocatable.holds(&workload.requests) > 0) {
        return true;
    }
    let largest = nodes().max_by_key(|node| (node.allocatable.get("memory"), node.allocatable.get("cpu")));
    let offers = largest
        .map(|node| format!("{} offers {}", node.name, node.allocatable.like(&workload.requests)))
        .unwrap_or_default();
    let found = finding(
        workload.manifest,
        format!("one pod asks for {}, more than any node that may run it has; {offers}", workload.requests),
        "lower its requests, or add a larger node",
    );
    // An empty node is not enough: nothing could be pushed off it.
    if situation.cluster.grows {
        findings.warnings.push(found)
    } else {
        findings.refusals.push(found)
    }
    false
}

/// How many pods of a workload find room on these nodes.
fn capacity(workload: &Workload<'_>, nodes: &[Requests]) -> u64 {
    let alone = is_alone(workload);
    let each = workload.eligible.iter().filter_map(|place| nodes.get(*place)).map(|node| {
        let pods = node.holds(&workload.requests);
        if alone { pods.min(1) } else { pods }
    });
    each.fold(0, u64::saturating_add)
}

/// Each of its nodes must take one pod of a DaemonSet.
fn place_daemons(
    workloads: &[&Workload<'_>],
    situation: &Situation<'_>,
    left: &mut [Requests],
    findings: &mut Findings,
) {
    for workload in workloads.iter().filter(|workload| workload.is("apps", "DaemonSet")) {
        let mut full = Vec::new();
        for place in &workload.eligible {
            let (Some(node), Some(left)) = (situation.nodes.get(*place), left.get_mut(*place)) else {
                continue;
            };
            if left.holds(&workload.requests) > 0 {
                left.take_all(&workload.requests, 1);
            } else {
                full.push(format!("{} has {}", node.name, left.like(&workload.requests)));
            }
        }
        if !full.is_empty() {
            let text = format!("each of its pods asks for {}; {}", workload.requests, shorten(&full));
            let remedy = "lower its requests, make room, or keep it from these nodes";
            report(workload, situation, finding(workload.manifest, text, remedy), findings);
        }
    }
}

/// Whether all pods of a workload find room, were those of all others that change gone.
fn check_alone(
    workload: &Workload<'_>,
    empty: &[Requests],
    situation: &Situation<'_>,
    findings: &mut Findings,
) -> bool {
    let fit = capacity(workload, empty);
    // That there are fewer nodes than pods that want one to themselves has been said elsewhere.
    let few = is_alone(workload)
        && u64::try_from(workload.eligible.len()).is_ok_and(|nodes| nodes < workload.replicas);
    if fit >= workload.replicas || few {
        return !few;
    }
    let text = format!(
        "{} of its {} find no room: each asks for {}; free {}",
        workload.replicas - fit,
        count(workload.replicas, "pod"),
        workload.requests,
        shorten(&amounts(workload, empty, situation)),
    );
    let remedy = "lower its requests or replicas, make room, or add a node";
    report(workload, situation, finding(workload.manifest, text, remedy), findings);
    false
}

/// What the nodes have left of what a workload asks for.
fn amounts(workload: &Workload<'_>, left: &[Requests], situation: &Situation<'_>) -> Vec<String> {
    let nodes =
        workload.eligible.iter().filter_map(|place| Some((situation.nodes.get(*place)?, left.get(*place)?)));
    nodes.map(|(node, left)| format!("on {} {}", node.name, left.like(&workload.requests))).collect()
}

fn shorten(parts: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = parts.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    match parts.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// Whether all pods of the release find room together.
fn check_together(
    workloads: &[&Workload<'_>],
    empty: &[Requests],
    situation: &Situation<'_>,
    findings: &mut Findings,
) {
    let mut left = empty.to_vec();
    let mut order: Vec<&&Workload<'_>> = workloads.iter().collect();
    order.sort_by_key(|workload| {
        std::cmp::Reverse((workload.requests.get("memory"), workload.requests.get("cpu")))
    });
    let mut homeless: Vec<(&Workload<'_>, u64)> = Vec::new();
    for workload in order {
        let mut open = workload.replicas;
        for place in &workload.eligible {
            let Some(left) = left.get_mut(*place) else { continue };
            let fit = left.holds(&workload.requests).min(if is_alone(workload) { 1 } else { u64::MAX });
            let placed = fit.min(open);
            left.take_all(&workload.requests, placed);
            open -= placed;
        }
        if open > 0 {
            homeless.push((workload, open));
        }
    }
    if homeless.is_empty() {
        return;
    }
    let (mut wanted, mut there) = (Requests::default(), Requests::default());
    for workload in workloads {
        wanted.add_all(&workload.requests, workload.replicas);
    }
    let reached: BTreeSet<usize> =
        workloads.iter().flat_map(|workload| workload.eligible.iter().copied()).collect();
    for node in reached.iter().filter_map(|place| empty.get(*place)) {
        there.add_all(node, 1);
    }
    let short = wanted.iter().find(|(resource, amount)| *amount > there.get(resource).max(Quantity::ZERO));
    if let Some((resource, amount)) = short {
        let found = Finding::new(
            "nodes",
            format!(
                "all pods of the release together ask for {}, the nodes have {} for them",
                amount_of(resource, amount),
                amount_of(resource, there.get(resource))
            ),
            "lower requests or replicas, or add a node",
        );
        let sure = !situation.cluster.grows && !workloads.iter().any(|workload| workload.preempts());
        if sure {
            findings.refusals.push(found)
        } else {
            findings.warnings.push(found)
        }
        return;
    }
    for (workload, open) in homeless {
        findings.warnings.push(finding(
            workload.manifest,
            format!(
                "{open} of its {} may find no room once the other pods of the release are placed: each asks for {}",
                count(workload.replicas, "pod"),
                workload.requests
            ),
            "lower requests or replicas, or add a node",
        ));
    }
}

/// Whether a rolling update finds room for the pods that it starts before others go.
fn check_surge(
    workload: &Workload<'_>,
    empty: &[Requests],
    now: &[Requests],
    situation: &Situation<'_>,
    findings: &mut Findings,
) {
    let Strategy::Rolling { surge, unavailable } = workload.strategy else { return };
    if surge == 0 || workload.present.is_empty() || capacity(workload, now) > 0 {
        return;
    }
    let free = shorten(&amounts(workload, now, situation));
    if unavailable > 0 {
        findings.warnings.push(finding(
            workload.manifest,
            format!(
                "its rolling update finds no room for a pod more: up to {unavailable} of its {} will be away meanwhile; \
                 each asks for {}; free {free}",
                count(workload.replicas, "pod"),
                workload.requests
            ),
            "make room if that is too few",
        ));
        return;
    }
    if !workload.is_tight() {
        return;
    }
    // Even if everything else that changes were gone, its own old pods stay until a new one runs.
    let mut best = empty.to_vec();
    for pod in situation.pods(&workload.present) {
        let node = situation.nodes.iter().position(|node| node.name == pod.node);
        if let Some(node) = node.and_then(|node| best.get_mut(node)) {
            node.take_all(&pod.requests, 1);
        }
    }
    let hangs = capacity(workload, &best) == 0;
    let found = finding(
        workload.manifest,
        format!(
            "its rolling update {}: a new pod, which asks for {}, must run before an old one goes; free {free}",
            if hangs { "would hang" } else { "may have to wait for others" },
            workload.requests
        ),
        "set maxUnavailable: 1, lower its requests, make room, or add a node",
    );
    if hangs { report(workload, situation, found, findings) } else { findings.warnings.push(found) }
}
