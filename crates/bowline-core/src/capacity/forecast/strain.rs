//! Whether machines last when another is lost, and its pods are on them.

use std::collections::BTreeMap;

use super::super::outlook::{Load, Outlook, Overhead};
use super::super::placement::Loss;
use super::{Need, NodeForecast, by_pod};

/// A machine that lasts until another is lost, and no longer: what moves to it is more than it can keep up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strain {
    /// The machine that is lost.
    pub lost: String,
    /// The one that does not last then; of several the one that gives up first.
    pub node: String,
    /// What becomes of it.
    pub outlook: Outlook,
}

/// What is in the load of a machine already is not added again.
const NOTHING: Overhead = Overhead { cpu: 0, memory: 0 };

/// The machine that gives up first, for each loss after which one does.
pub(super) fn strains(losses: &[Loss], nodes: &[NodeForecast], needs: &[Need]) -> Vec<Strain> {
    let of_pod = by_pod(needs);
    let by_name: BTreeMap<&str, &NodeForecast> =
        nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let after = |loss: &Loss| {
        let mut moved: BTreeMap<&str, Vec<&Load>> = BTreeMap::new();
        for (pod, node) in &loss.moved {
            moved.entry(node).or_default().extend(of_pod.get(pod).map(|need| &need.load));
        }
        let strained = moved.into_iter().filter_map(|(name, loads)| {
            let node = by_name.get(name).filter(|node| node.outlook.lasts())?;
            let outlook = Outlook::new(&node.machine, NOTHING, loads.into_iter().chain([&node.outlook.load]));
            let strain = Strain { lost: loss.node.clone(), node: name.to_owned(), outlook };
            (!strain.outlook.lasts()).then_some(strain)
        });
        strained.min_by_key(|strain| strain.outlook.credits.and_then(|(full, _)| full.lasts))
    };
    losses.iter().filter_map(after).collect()
}
