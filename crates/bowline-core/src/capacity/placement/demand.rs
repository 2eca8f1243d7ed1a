//! What a pod takes of a node, in whole numbers.

use serde_json::Value;

use crate::kube::scheduling::Requests;
use crate::kube::scheduling::request::{Defaults, Side, cover, is_covered, of_containers, of_pod};
use crate::quantity::Quantity;

use super::table::at;
use super::terrain::{CPU, MEMORY, Terrain};

/// What the scheduler takes a container for that asks for nothing, where it rates nodes: thousandths of a processor, bytes.
const UNSAID_CPU: u64 = 100;
const UNSAID_MEMORY: u64 = 200 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Demand {
    /// Amounts by resource, itself as one of the pods.
    pub(super) row: Vec<i64>,
    /// Processor and memory that it counts for while nodes are rated for another pod.
    pub(super) weight: [i64; 2],
    /// What it counts for itself where the least allocated node is looked for. The scheduler leaves out there what a pod
    /// asks for as a whole (`NodeResourcesFit` is not told of it, 1.35).
    pub(super) least: [i64; 2],
    pub(super) requests: Requests,
}

impl Demand {
    pub(super) fn read(spec: &Value, terrain: &mut Terrain<'_>) -> Self {
        let defaults = Defaults::default();
        let requests = of_pod(spec, Side::Requests, &defaults);
        let overhead = Requests::read(spec.get("overhead"));
        let mut floor = Requests::default();
        floor.add("cpu", Quantity::of_thousandths(UNSAID_CPU));
        floor.add("memory", Quantity::whole(UNSAID_MEMORY));
        let mut least = of_containers(spec, Side::Requests, &defaults, &floor);
        let mut weight = least.clone();
        if is_covered(spec) {
            let mut unsaid = Requests::default();
            for (resource, amount) in floor.iter().filter(|(resource, _)| !requests.names(resource)) {
                unsaid.add(resource, amount);
            }
            weight = of_containers(spec, Side::Requests, &defaults, &unsaid);
            cover(&mut weight, spec, Side::Requests);
        }
        least.add_all(&overhead, 1);
        weight.add_all(&overhead, 1);
        let mut pair = |amounts: &Requests| {
            let row = terrain.row(amounts);
            [at(&row, CPU), at(&row, MEMORY)]
        };
        let (weight, least) = (pair(&weight), pair(&least));
        Self { row: terrain.row(&requests), weight, least, requests }
    }

    /// What it asks for, itself left out.
    pub(super) fn asks(&self) -> impl Iterator<Item = (usize, i64)> {
        let all = self.row.iter().copied().enumerate();
        all.filter(|(resource, amount)| *resource != super::terrain::PODS && *amount > 0)
    }
}
