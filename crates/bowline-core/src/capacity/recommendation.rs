//! What a container should ask for, by the rules of tools that people know.
//!
//! Two recommenders are reproduced to the last digit (`tests/it/recommendation.rs` holds results of the originals, and
//! `bench/reference` makes them), so that what Bowline says can be laid beside what they would say: [`vpa`] is the
//! Vertical Pod Autoscaler's, [`krr`] is Robusta's. Neither knows of a JVM, of CPU credits or of stolen time.

pub mod krr;
mod prometheus;
pub mod vpa;

use std::collections::{BTreeMap, BTreeSet};

use super::trace::{Trace, gather};
use bowline_measurement::interval::Interval;

/// Amounts of both resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Processors, in thousandths of a core.
    pub cpu: u64,
    /// Memory, in bytes.
    pub memory: u64,
}

/// What to ask for, and the bounds within which it is not worth a restart to ask for something else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recommendation {
    /// What to ask for.
    pub target: Amount,
    /// Asking for less than this is too little.
    pub lower: Amount,
    /// Asking for more than this is waste.
    pub upper: Amount,
}

/// What others would have a container of a service ask for; none where they say nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opinion {
    /// The Vertical Pod Autoscaler's target, as if the service were a pod of one container.
    pub vpa: Amount,
    /// KRR's request for processors (`simple`), in thousandths of a core.
    pub krr_cpu: Option<u64>,
    /// KRR's request and limit for memory, in bytes.
    pub krr_memory: Option<u64>,
}

/// What others would recommend for each service, from what was measured (oldest first), asked at a time in milliseconds since
/// 1970. `service` says to which service a container belongs.
pub fn opinions(
    intervals: &[Interval],
    now: i64,
    service: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, Opinion> {
    let names: BTreeSet<&String> = intervals.iter().flat_map(|one| one.containers.keys()).collect();
    let mut traces: BTreeMap<String, Vec<Trace>> = BTreeMap::new();
    for container in names {
        if let Some(name) = service(container) {
            traces.entry(name).or_default().push(gather(intervals, container));
        }
    }
    let opinion = |(name, replicas): (String, Vec<Trace>)| {
        let krr = krr::recommend(&replicas, now, krr::Settings::default());
        let pod = BTreeMap::from([(name.clone(), replicas)]);
        let vpa = vpa::recommend(&pod).get(&name).copied().unwrap_or_default();
        let request = |found: Result<krr::Allocation, krr::Missing>| found.ok().map(|found| found.request);
        (name, Opinion { vpa: vpa.target, krr_cpu: request(krr.cpu), krr_memory: request(krr.memory) })
    };
    traces.into_iter().map(opinion).collect()
}
