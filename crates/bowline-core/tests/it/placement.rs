//! Placement against what the real scheduler did with the same pods on the same nodes.
//!
//! `bench/scheduler.py` asked it (kube-scheduler 1.35.4), one pod after the other, and wrote down where each went, how all
//! nodes were rated that took it, and what the others said. Each line of `truth.jsonl` is a case; each pod in it is
//! `[node, {node: score}, {plugin: nodes}]`: without scores where one node alone took it, without a node where none did.

use std::collections::BTreeMap;

use bowline_core::capacity::placement::{Judgement, Plan, Proof, Verdict};
use serde_json::Value;

#[allow(dead_code)]
mod case;

fn truth() -> impl Iterator<Item = Value> {
    include_str!("placement/truth.jsonl").lines().map(|line| serde_json::from_str(line).unwrap())
}

#[derive(Default)]
struct Count {
    pods: u64,
    placed: u64,
    rated: u64,
    refused: u64,
    reasons: u64,
    cases_fit: u64,
    /// Cases in which the scheduler had no choice by chance, and in which the two say the same of all pods.
    certain: u64,
    alike: u64,
}

/// What differs between what the nodes said here and what they said there.
fn differences(judgement: &Judgement, real: &Value, count: &mut Count) -> Option<String> {
    let takes: BTreeMap<&str, i64> =
        judgement.takes.iter().map(|(node, score)| (node.as_str(), score.total())).collect();
    let Some(node) = real[0].as_str() else {
        count.refused += 1;
        if !takes.is_empty() {
            return Some(format!("it found no node, and here {takes:?}"));
        }
        return reasons(judgement, real[2].as_object()?, count);
    };
    count.placed += 1;
    if !takes.contains_key(node) {
        return Some(format!("it went to {node}, and here {takes:?}; {:?}", judgement.refusal));
    }
    let Some(scores) = real[1].as_object() else {
        return (takes.len() > 1).then(|| format!("only {node} took it, and here {takes:?}"));
    };
    count.rated += 1;
    let scores: BTreeMap<&str, i64> =
        scores.iter().map(|(node, score)| (node.as_str(), score.as_i64().unwrap())).collect();
    (takes != scores).then(|| format!("rated {scores:?}, and here {takes:?} ({:?})", judgement.takes))
}

fn reasons(
    judgement: &Judgement,
    real: &serde_json::Map<String, Value>,
    count: &mut Count,
) -> Option<String> {
    let mut here: BTreeMap<&str, u64> = BTreeMap::new();
    for obstacle in &judgement.refusal.obstacles {
        *here.entry(obstacle.plugin).or_default() += u64::try_from(obstacle.count).unwrap();
    }
    let there: BTreeMap<&str, u64> =
        real.iter().map(|(plugin, nodes)| (plugin.as_str(), nodes.as_u64().unwrap())).collect();
    count.reasons += 1;
    (here != there).then(|| format!("{there:?} said no, and here {here:?}: {:?}", judgement.refusal))
}

/// Goes through a case as the scheduler did. Gives whether all pods found a node, and whether none had a choice by chance.
fn follow(number: u64, real: &Value, count: &mut Count, wrong: &mut Vec<String>) -> (bool, bool) {
    let (case, namespaces) = (case::make(number), case::namespaces());
    let (setting, pods) = (case.setting(&namespaces), case.plan_pods());
    let mut plan = Plan::new(&setting, &pods);
    let (mut certain, mut fits) = (true, true);
    for (place, pod) in pods.iter().enumerate().filter(|(_, pod)| pod.node.is_none()) {
        let truth = &real["pods"][place];
        let judgement = plan.judge(place);
        count.pods += 1;
        if let Some(difference) = differences(&judgement, truth, count) {
            wrong.push(format!("{}: {difference}", pod.name));
        }
        let best = judgement.takes.iter().map(|(_, score)| score.total()).max();
        certain &= judgement.takes.iter().filter(|(_, score)| Some(score.total()) == best).count() <= 1;
        match truth[0].as_str() {
            Some(node) => assert!(plan.bind(place, node), "{node} is there"),
            None => fits = false,
        }
    }
    (fits, certain)
}

#[test]
fn nodes_say_to_each_pod_what_they_said_to_the_real_scheduler() {
    let mut count = Count::default();
    let mut wrong = Vec::new();
    for real in truth() {
        let number = real["case"].as_u64().unwrap();
        let (fits, certain) = follow(number, &real, &mut count, &mut wrong);
        let (case, namespaces) = (case::make(number), case::namespaces());
        let (setting, pods) = (case.setting(&namespaces), case.plan_pods());
        let verdict = Plan::new(&setting, &pods).place().verdict;
        count.cases_fit += u64::from(fits);
        count.certain += u64::from(certain);
        count.alike += u64::from(fits == (verdict == Verdict::AsScheduled));
        if fits && matches!(verdict, Verdict::Never(_)) {
            wrong.push(format!("case {number}: all were placed, and here {verdict:?}"));
        }
        if certain && fits && verdict != Verdict::AsScheduled {
            wrong.push(format!("case {number}: all were placed without a choice, and here {verdict:?}"));
        }
    }
    println!(
        "{} pods: {} placed ({} rated among several nodes), {} refused ({} with reasons that count); {} cases fit, \
         {} without a choice by chance, {} with the same answer for the case; {} differences",
        count.pods,
        count.placed,
        count.rated,
        count.refused,
        count.reasons,
        count.cases_fit,
        count.certain,
        count.alike,
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count.pods > 1000, "only {} pods were compared", count.pods);
}

#[test]
fn what_fits_otherwise_does_so_by_each_nodes_own_word() {
    let namespaces = case::namespaces();
    let mut verdicts = BTreeMap::new();
    for number in 0..case::CASES {
        let case = case::make(number);
        let (setting, pods) = (case.setting(&namespaces), case.plan_pods());
        let verdict = Plan::new(&setting, &pods).place().verdict;
        let kind = match &verdict {
            Verdict::AsScheduled => "as scheduled",
            Verdict::OnlyOtherwise(_) => "only otherwise",
            Verdict::Never(Proof::Pod(_)) => "never: a pod",
            Verdict::Never(Proof::Amount { .. }) => "never: an amount",
            Verdict::Never(Proof::Tried { .. }) => "never: all tried",
            Verdict::Unknown(_) => "unknown",
        };
        *verdicts.entry(kind).or_insert(0) += 1;
        let Verdict::OnlyOtherwise(seats) = verdict else { continue };
        let seats: BTreeMap<&str, &str> =
            seats.iter().map(|(pod, node)| (pod.as_str(), node.as_str())).collect();
        let mut plan = Plan::new(&setting, &pods);
        for (place, pod) in pods.iter().enumerate().filter(|(_, pod)| pod.node.is_none()) {
            let node = seats[pod.name.as_str()];
            let judgement = plan.judge(place);
            assert!(
                judgement.takes.iter().any(|(takes, _)| takes == node),
                "case {number}: {} on {node}",
                pod.name
            );
            assert!(plan.bind(place, node));
        }
    }
    println!("{verdicts:?}");
    assert!((60..140).contains(&verdicts["as scheduled"]), "{verdicts:?}");
}
