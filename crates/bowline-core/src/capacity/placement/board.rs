//! Which pods are on which nodes, and all that is counted because of it.

use std::collections::BTreeMap;

use crate::kube::scheduling::HostPort;

use super::rule::counts_on;
use super::shape::{Shape, Shapes};
use super::table::{add, at, set};
use super::terrain::Terrain;

/// What does not change while pods come and go.
pub(super) struct Field<'a> {
    pub(super) terrain: Terrain<'a>,
    pub(super) shapes: Shapes<'a>,
}

impl<'a> Field<'a> {
    pub(super) fn shape(&self, shape: usize) -> Option<&Shape<'a>> {
        self.shapes.list.get(shape)
    }
}

#[derive(Default, Clone)]
pub(super) struct Board {
    /// Amounts taken, by node and resource.
    pub(super) used: Vec<Vec<i64>>,
    /// Processor and memory as they count while nodes are rated.
    pub(super) weight: Vec<[i64; 2]>,
    pub(super) ports: Vec<Vec<HostPort>>,
    /// Changes with everything that changes a node.
    pub(super) age: Vec<u32>,
    /// The nodes that are there.
    pub(super) alive: Vec<bool>,
    /// Pods by tally and domain.
    pub(super) counts: Vec<Vec<i64>>,
    /// Pods by tally.
    pub(super) totals: Vec<i64>,
    /// By tally and domain, the nodes that count.
    pub(super) domains: Vec<Vec<i64>>,
    /// Claims in use, and by how many pods.
    pub(super) claims: BTreeMap<String, i64>,
    /// What is known of a demand on a node, as long as the node's age is the same.
    pub(super) cells: Vec<Vec<Cell>>,
    /// By list of images, what they are worth on each node; empty where it is not known.
    pub(super) images: Vec<Vec<i64>>,
}

/// Whether a demand fits a node, and how the node is rated for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) age: u32,
    pub(super) fits: bool,
    pub(super) least: u8,
    pub(super) balanced: u8,
}

impl Default for Cell {
    fn default() -> Self {
        Self { age: u32::MAX, fits: false, least: 0, balanced: 0 }
    }
}

impl Board {
    pub(super) fn new(field: &Field<'_>) -> Self {
        let nodes = field.terrain.nodes.len();
        let tallies = &field.shapes.book.tallies;
        let sizes: Vec<usize> = tallies
            .iter()
            .map(|tally| field.terrain.topologies.get(tally.topology).map_or(0, |all| all.values.len()))
            .collect();
        let mut board = Self {
            used: vec![vec![0; field.terrain.resources.len()]; nodes],
            weight: vec![[0; 2]; nodes],
            ports: vec![Vec::new(); nodes],
            age: vec![0; nodes],
            alive: vec![true; nodes],
            counts: sizes.iter().map(|size| vec![0; *size]).collect(),
            totals: vec![0; tallies.len()],
            domains: sizes.iter().map(|size| vec![0; *size]).collect(),
            claims: BTreeMap::new(),
            cells: vec![Vec::new(); field.shapes.demands.len()],
            images: vec![Vec::new(); field.shapes.images.len()],
        };
        for node in 0..nodes {
            board.count_node(field, node, 1);
        }
        board
    }

    fn count_node(&mut self, field: &Field<'_>, node: usize, times: i64) {
        for (place, tally) in field.shapes.book.tallies.iter().enumerate() {
            if counts_on(&field.shapes.book, tally, node)
                && let Some(domain) = field.terrain.domain(tally.topology, node)
                && let Some(row) = self.domains.get_mut(place)
            {
                add(row, domain, times);
            }
        }
    }

    /// Takes a node away, or brings it back. Its pods are taken off first.
    pub(super) fn switch(&mut self, field: &Field<'_>, node: usize, alive: bool) {
        if at(&self.alive, node) != alive {
            set(&mut self.alive, node, alive);
            self.count_node(field, node, if alive { 1 } else { -1 });
            // How far an image is spread depends on how many nodes there are.
            self.images.iter_mut().for_each(Vec::clear);
        }
    }

    pub(super) fn bind(&mut self, field: &Field<'_>, shape: usize, node: usize) {
        self.change(field, shape, node, 1);
    }

    pub(super) fn unbind(&mut self, field: &Field<'_>, shape: usize, node: usize) {
        self.change(field, shape, node, -1);
    }

    fn change(&mut self, field: &Field<'_>, shape: usize, node: usize, times: i64) {
        let Some(shape) = field.shape(shape) else { return };
        if let Some(demand) = field.shapes.demands.get(shape.demand) {
            if let Some(used) = self.used.get_mut(node) {
                for (resource, amount) in demand.row.iter().enumerate() {
                    add(used, resource, amount.saturating_mul(times));
                }
            }
            if let Some(weight) = self.weight.get_mut(node) {
                for (there, amount) in weight.iter_mut().zip(demand.weight) {
                    *there = there.saturating_add(amount.saturating_mul(times));
                }
            }
        }
        if let Some(age) = self.age.get_mut(node) {
            *age = age.wrapping_add(1);
        }
        self.change_ports(shape, node, times);
        for tally in &shape.rules.counts {
            self.change_tally(field, *tally, node, times);
        }
        for claim in &shape.claims.used {
            *self.claims.entry(claim.clone()).or_default() += times;
        }
    }

    fn change_ports(&mut self, shape: &Shape<'_>, node: usize, times: i64) {
        let Some(ports) = self.ports.get_mut(node).filter(|_| !shape.ports.is_empty()) else { return };
        for port in &shape.ports {
            if times > 0 {
                ports.push(port.clone());
            } else if let Some(place) = ports.iter().position(|there| there == port) {
                ports.swap_remove(place);
            }
        }
    }

    fn change_tally(&mut self, field: &Field<'_>, place: usize, node: usize, times: i64) {
        let Some(tally) = field.shapes.book.tallies.get(place) else { return };
        if !counts_on(&field.shapes.book, tally, node) {
            return;
        }
        if let Some(domain) = field.terrain.domain(tally.topology, node)
            && let Some(row) = self.counts.get_mut(place)
        {
            add(row, domain, times);
            add(&mut self.totals, place, times);
        }
    }

    /// Pods of a tally in the domain of a node; none where the node is in no domain.
    pub(super) fn count(&self, field: &Field<'_>, tally: usize, node: usize) -> Option<i64> {
        let topology = field.shapes.book.tallies.get(tally)?.topology;
        let domain = field.terrain.domain(topology, node)?;
        Some(at(self.counts.get(tally)?, domain))
    }
}
