//! What is said of a placement.

use std::collections::BTreeMap;

use crate::kube::scheduling::Requests;

use super::obstacle::Bar;
use super::search::Finding;
use super::table::at;
use super::{Plan, Score, Start};

/// Where all pods are, and whether they fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// Every pod, in the order given; of a DaemonSet's template one for each node that takes it.
    pub seats: Vec<Seat>,
    /// Why pods have no node, each once for all that are alike.
    pub refusals: Vec<Refusal>,
    /// Whether all fit.
    pub verdict: Verdict,
    /// What is left on each node.
    pub headroom: Vec<Headroom>,
}

/// A pod and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The pod.
    pub pod: String,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was on this node before.
    Stays(String),
    /// It goes to this node.
    Goes(String),
    /// It finds none, for the reasons in this place of the refusals.
    Waits(usize),
}

/// Why a pod finds no node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The reasons, those of most nodes first, then by the nodes' names.
    pub obstacles: Vec<Obstacle>,
}

/// Why some nodes do not take a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Why, to follow a node's name: `node-1: it asks for 2 CPU, 500m CPU of 2 CPU are free`.
    pub why: String,
    /// The plugin of the scheduler that says so: `NodeResourcesFit`.
    pub plugin: &'static str,
    /// The nodes, or the first of them where they are many.
    pub nodes: Vec<String>,
    /// How many nodes say so.
    pub count: usize,
}

/// Whether all pods fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All are placed as the scheduler would place them.
    AsScheduled,
    /// The scheduler would leave some without a node, though all fit: on these nodes, by pod.
    OnlyOtherwise(Vec<(String, String)>),
    /// They do not fit, however they are placed.
    Never(Proof),
    /// The scheduler would leave some without a node; whether all fit otherwise was not found out, and why not.
    Unknown(String),
}

/// Why pods fit in no way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// No node takes this pod, even before any other comes.
    Pod(String),
    /// They ask for more of a resource than is free on all nodes that take them.
    Amount {
        /// The resource.
        resource: String,
        /// What they ask for, for people.
        asked: String,
        /// What is free, for people.
        free: String,
    },
    /// Everything was tried.
    Tried {
        /// How many placements of single pods that took.
        steps: u64,
        /// Whether that holds for every order of the pods, or for that in which the scheduler takes them.
        any_order: bool,
    },
}

/// What a node has left.
#[derive(Debug, Clone, PartialEq)]
pub struct Headroom {
    /// The node.
    pub node: String,
    /// All that pods may ask for.
    pub room: Requests,
    /// What is free of it; less than nothing where more is asked for than there is.
    pub free: Requests,
}

/// What the nodes say to a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// The nodes that take it, by name, and how they are rated.
    pub takes: Vec<(String, Score)>,
    /// What the others say.
    pub refusal: Refusal,
}

/// Beyond so many nodes their reasons are told in general, with a few of their names.
const MANY: usize = 24;
const NAMED: usize = 3;

impl Plan<'_> {
    pub(super) fn report(&self, finding: Finding) -> Placement {
        let mut refusals = Vec::new();
        let mut known = BTreeMap::new();
        let name = |node: usize| self.field.terrain.name(node).to_owned();
        let mut seats = Vec::with_capacity(self.entries.len());
        for (place, entry) in self.entries.iter().enumerate() {
            let fate = match (entry.at, &entry.start) {
                (Some(node), Start::There(_)) => Fate::Stays(name(node)),
                (None, Start::There(_)) => Fate::Stays(entry.pod.node.unwrap_or_default().to_owned()),
                (Some(node), _) => Fate::Goes(name(node)),
                (None, _) => {
                    Fate::Waits(*known.entry((entry.shape, self.meant_for(place))).or_insert_with(|| {
                        refusals.push(self.refuse(place));
                        refusals.len() - 1
                    }))
                }
            };
            seats.push(Seat { pod: self.title(place), fate });
        }
        Placement { seats, refusals, verdict: self.say(finding), headroom: self.headroom() }
    }

    fn say(&self, finding: Finding) -> Verdict {
        match finding {
            Finding::AllSeated => Verdict::AsScheduled,
            Finding::Otherwise(seats) => {
                let name = |node: usize| self.field.terrain.name(node).to_owned();
                Verdict::OnlyOtherwise(
                    seats.into_iter().map(|(place, node)| (self.title(place), name(node))).collect(),
                )
            }
            Finding::Pod(place) => Verdict::Never(Proof::Pod(self.title(place))),
            Finding::Amount(resource, asked, free) => Verdict::Never(Proof::Amount {
                asked: super::obstacle::amount(&resource, asked),
                free: super::obstacle::amount(&resource, free),
                resource,
            }),
            Finding::Tried(steps, any_order) => Verdict::Never(Proof::Tried { steps, any_order }),
            Finding::Unknown(why) => Verdict::Unknown(why),
        }
    }

    /// What a pod is called; of a DaemonSet's, with the node that it is meant for.
    pub(super) fn title(&self, place: usize) -> String {
        let name = self.entries.get(place).map_or("", |entry| entry.pod.name.as_str());
        match self.meant_for(place) {
            Some(node) => format!("{name} on {}", self.field.terrain.name(node)),
            None => name.to_owned(),
        }
    }

    /// Why nodes do not take a pod now.
    pub(super) fn refuse(&self, place: usize) -> Refusal {
        let Some(entry) = self.entries.get(place) else { return Refusal::default() };
        let nodes: Vec<usize> = match entry.start {
            Start::Meant(node) | Start::Named(Some(node)) => vec![node],
            Start::Named(None) => {
                let name = entry.pod.spec.get("nodeName").and_then(|name| name.as_str()).unwrap_or_default();
                return Refusal { obstacles: vec![group(Bar::Missing(name.to_owned()), &[], 0)] };
            }
            Start::Open | Start::There(_) => {
                (0..self.field.terrain.nodes.len()).filter(|node| at(&self.board.alive, *node)).collect()
            }
        };
        let many = nodes.len() > MANY;
        let mut bars: BTreeMap<Bar, (Vec<String>, usize)> = BTreeMap::new();
        for node in nodes {
            let bar = match entry.start {
                Start::Named(_) => self.board.turns_away(&self.field, entry.shape, node),
                _ => self.board.explain(&self.field, entry.shape, node),
            };
            let Some(bar) = bar else { continue };
            let (names, count) = bars.entry(if many { bar.generalise() } else { bar }).or_default();
            *count += 1;
            if !many || names.len() < NAMED {
                names.push(self.field.terrain.name(node).to_owned());
            }
        }
        let mut obstacles: Vec<Obstacle> =
            bars.into_iter().map(|(bar, (names, count))| group(bar, &names, count)).collect();
        obstacles.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.nodes.cmp(&other.nodes)));
        Refusal { obstacles }
    }

    /// What is left on each node, by the nodes' names.
    pub fn headroom(&self) -> Vec<Headroom> {
        let nodes = self.field.terrain.nodes.iter().enumerate();
        let alive = nodes.filter(|(place, _)| at(&self.board.alive, *place));
        let mut all: Vec<Headroom> = alive
            .map(|(_, node)| Headroom {
                node: node.name.to_owned(),
                room: node.allocatable.clone(),
                free: node.allocatable.clone(),
            })
            .collect();
        for entry in &self.entries {
            let demand =
                self.field.shape(entry.shape).and_then(|shape| self.field.shapes.demands.get(shape.demand));
            let name = entry.at.map(|node| self.field.terrain.name(node));
            let there = name.and_then(|name| all.binary_search_by(|one| one.node.as_str().cmp(name)).ok());
            if let Some((demand, there)) = demand.zip(there.and_then(|place| all.get_mut(place))) {
                there.free.take_all(&demand.requests, 1);
            }
        }
        all
    }
}

fn group(bar: Bar, names: &[String], count: usize) -> Obstacle {
    Obstacle { plugin: bar.plugin(), why: bar.to_string(), nodes: names.to_vec(), count }
}
