//! The nodes, in the order of their names, and what they have in common.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kube::order::mention::{list, text};
use crate::kube::scheduling::Requests;
use crate::kube::scheduling::node::Node;

use super::table::{at, set, signed};

/// Where these resources stand in a row of amounts; others follow.
pub(super) const CPU: usize = 0;
pub(super) const MEMORY: usize = 1;
pub(super) const PODS: usize = 3;
const FIRST: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "pods"];

/// The topology in which each node is a domain of its own.
pub(super) const ITSELF: usize = 0;

pub(super) struct Terrain<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    /// The names of resources, in the order of the rows.
    pub(super) resources: Vec<String>,
    /// What pods may ask for, by node.
    pub(super) room: Vec<Vec<i64>>,
    pub(super) topologies: Vec<Topology>,
    /// The images that nodes have: their sizes and on which nodes they are.
    pub(super) images: BTreeMap<&'a str, Image>,
}

/// The nodes by the value of one label.
pub(super) struct Topology {
    pub(super) key: String,
    /// The domain of each node; none where it lacks the label.
    pub(super) of: Vec<Option<usize>>,
    pub(super) values: Vec<String>,
}

#[derive(Default)]
pub(super) struct Image {
    pub(super) size: i64,
    pub(super) nodes: Vec<usize>,
}

impl<'a> Terrain<'a> {
    pub(super) fn new(values: &'a [Value]) -> Self {
        let mut both: Vec<(Node<'a>, &'a Value)> =
            values.iter().filter_map(|value| Some((Node::read(value)?, value))).collect();
        both.sort_by(|one, other| one.0.name.cmp(other.0.name));
        both.dedup_by(|one, other| one.0.name == other.0.name);
        let names: Vec<String> = both.iter().map(|(node, _)| node.name.to_owned()).collect();
        let itself = Topology { key: String::new(), of: (0..names.len()).map(Some).collect(), values: names };
        let mut terrain = Self {
            nodes: Vec::new(),
            resources: FIRST.iter().map(|name| (*name).to_owned()).collect(),
            room: Vec::new(),
            topologies: vec![itself],
            images: BTreeMap::new(),
        };
        for (place, (node, value)) in both.into_iter().enumerate() {
            terrain.note_images(place, value);
            let room = terrain.row(&node.allocatable);
            terrain.room.push(room);
            terrain.nodes.push(node);
        }
        terrain
    }

    /// The size of an image is what the first node says that has it, as the scheduler's cache keeps it.
    fn note_images(&mut self, place: usize, node: &'a Value) {
        for image in list(node, "/status/images") {
            let size = image.get("sizeBytes").and_then(Value::as_i64).unwrap_or(0);
            for name in list(image, "/names").filter_map(Value::as_str) {
                let known = self.images.entry(name).or_insert(Image { size, nodes: Vec::new() });
                if known.nodes.last() != Some(&place) {
                    known.nodes.push(place);
                }
            }
        }
    }

    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.nodes.binary_search_by(|node| node.name.cmp(name)).ok()
    }

    pub(super) fn name(&self, place: usize) -> &'a str {
        self.nodes.get(place).map_or("", |node| node.name)
    }

    /// Amounts as whole numbers, rounded up: thousandths of processors, else units. What the scheduler does not count is
    /// left out.
    pub(super) fn row(&mut self, amounts: &Requests) -> Vec<i64> {
        let mut row = vec![0; FIRST.len()];
        for (name, amount) in amounts.iter() {
            let counted = FIRST.contains(&name)
                || name.contains('/')
                || name.starts_with("hugepages-")
                || name.starts_with("attachable-volumes-");
            if counted {
                let units = if name == "cpu" { amount.thousandths() } else { amount.units() };
                let place = self.resource(name);
                set(&mut row, place, i64::try_from(units).unwrap_or(i64::MAX));
            }
        }
        row
    }

    fn resource(&mut self, name: &str) -> usize {
        self.resources.iter().position(|known| known == name).unwrap_or_else(|| {
            self.resources.push(name.to_owned());
            self.resources.len() - 1
        })
    }

    pub(super) fn topology(&mut self, key: &str) -> usize {
        if let Some(place) = self.topologies.iter().skip(1).position(|known| known.key == key) {
            return place + 1;
        }
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        let mut values = Vec::new();
        let mut of = Vec::new();
        for node in &self.nodes {
            of.push(node.label(key).map(|value| {
                *known.entry(value).or_insert_with(|| {
                    values.push(value.to_owned());
                    values.len() - 1
                })
            }));
        }
        self.topologies.push(Topology { key: key.to_owned(), of, values });
        self.topologies.len() - 1
    }

    /// The domain of a node in a topology.
    pub(super) fn domain(&self, topology: usize, node: usize) -> Option<usize> {
        at(&self.topologies.get(topology)?.of, node)
    }

    /// How much having a pod's images is worth, by node (`ImageLocality`).
    pub(super) fn weigh_images(&self, spec: &Value, alive: &[bool]) -> Vec<i64> {
        const LEAST: i64 = 23 << 20;
        const MOST_EACH: i64 = 1000 << 20;
        let mut sums = vec![0_i64; self.nodes.len()];
        let all = alive.iter().filter(|alive| **alive).count();
        let mut containers = 0;
        for container in list(spec, "/initContainers").chain(list(spec, "/containers")) {
            containers += 1;
            let Some(image) = text(container, "/image").and_then(|name| self.images.get(full(name).as_str()))
            else {
                continue;
            };
            let holders: Vec<usize> = image.nodes.iter().copied().filter(|node| at(alive, *node)).collect();
            for node in &holders {
                super::table::add(&mut sums, *node, spread_out(image.size, holders.len(), all));
            }
        }
        let most = MOST_EACH.saturating_mul(containers);
        let rate = |sum: i64| 100 * (sum.clamp(LEAST, most.max(LEAST)) - LEAST) / (most - LEAST).max(1);
        sums.into_iter().map(rate).collect()
    }
}

/// An image's size, scaled by the share of nodes that have it: the scheduler computes it in floating point.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn spread_out(size: i64, holders: usize, nodes: usize) -> i64 {
    let spread = signed(holders) as f64 / signed(nodes) as f64;
    (size as f64 * spread) as i64
}

/// An image's name with its tag.
fn full(name: &str) -> String {
    let tagged = name.rfind(':').map_or(-1, signed) > name.rfind('/').map_or(-1, signed);
    if tagged { name.to_owned() } else { format!("{name}:latest") }
}
