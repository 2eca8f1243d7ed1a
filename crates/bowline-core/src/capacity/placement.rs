//! Where pods go, as the default scheduler of Kubernetes would place them, and what becomes of them when a node is lost
//! or an update needs room.
//!
//! A [`Plan`] is made of nodes and pods as the API has them. Pods that are on a node stay there; those of a DaemonSet come
//! next, one on each node that takes them, and then all others in the order given, which is to be the scheduler's:
//! priority first, then age. Each goes to the node that is rated highest. Those that found none are tried again when all
//! others are placed, since company may have come that they were waiting for.
//!
//! Whether a node takes a pod is decided as kube-scheduler 1.35 does, and nodes are rated as it does, with its defaults.
//! Four things differ. Of nodes that are rated alike the scheduler takes any, this the first by name. In clusters of more
//! than 100 nodes the scheduler looks for enough nodes rather than for all (half of 100, ever fewer, 5 % of 5000): this
//! looks at all, so that nothing is missed that fits, while the scheduler may take one that is rated lower. Nobody is
//! pushed off a node here, whatever the priority. And what pods of one owner are spread by when they say nothing is their
//! owner alone; the scheduler takes Services into account as well.
//!
//! Not judged: how many volumes a node can attach, volumes without a claim that only one node may mount, how much is left
//! where volumes are made on demand, and devices claimed by `resourceClaims`.

use serde_json::Value;

mod board;
mod choice;
mod claim;
mod demand;
mod loss;
mod matcher;
mod obstacle;
mod report;
mod rule;
mod score;
mod search;
mod shape;
mod surge;
mod table;
mod tally;
mod terrain;

use board::{Board, Field};
use shape::Shapes;
use terrain::Terrain;

pub use loss::Loss;
pub use report::{Fate, Headroom, Judgement, Obstacle, Placement, Proof, Refusal, Seat, Verdict};
pub use score::Score;
pub use surge::Surge;

/// What pods are placed on.
#[derive(Debug, Clone, Default)]
pub struct Setting<'a> {
    /// The nodes, as the API has them. What a node lacks in `status.allocatable`, `pods` included, it does not offer.
    pub nodes: &'a [Value],
    /// The labels of namespaces (`metadata.labels`), as far as they are known.
    pub namespaces: std::collections::BTreeMap<&'a str, &'a Value>,
    /// Claims and volumes; where they are not known, volumes keep no pod from a node.
    pub storage: Option<Storage<'a>>,
}

/// What there is of storage, as the API has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Storage<'a> {
    /// PersistentVolumeClaims.
    pub claims: &'a [Value],
    /// PersistentVolumes.
    pub volumes: &'a [Value],
    /// StorageClasses.
    pub classes: &'a [Value],
}

/// Whose a pod is.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, …; `Pod` where it is its own.
    pub kind: String,
    /// Its name; its namespace is the pod's.
    pub name: String,
}

/// A pod to be placed, or one that is placed. Of a DaemonSet's it is a template, of which each node gets one.
#[derive(Debug, Clone)]
pub struct Pod<'a> {
    /// What it is called in answers.
    pub name: String,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its `metadata.labels`.
    pub labels: Option<&'a Value>,
    /// Its `spec`. A `nodeName` in it is obeyed as the kubelet does, where `node` says nothing.
    pub spec: &'a Value,
    /// Whose it is.
    pub owner: Owner,
    /// The node that it is on.
    pub node: Option<&'a str>,
}

/// Where a pod stands before anything is placed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Start {
    /// On this node, if it is known.
    There(Option<usize>),
    /// It names its node itself, which may not be there.
    Named(Option<usize>),
    /// Anywhere.
    Open,
    /// It is meant for this node only.
    Meant(usize),
}

struct Entry<'a> {
    pod: &'a Pod<'a>,
    shape: usize,
    start: Start,
    /// Where it is now.
    at: Option<usize>,
}

/// Nodes and pods, and who is where.
pub struct Plan<'a> {
    field: Field<'a>,
    board: Board,
    entries: Vec<Entry<'a>>,
}

impl<'a> Plan<'a> {
    /// A plan in which those pods are placed that are on a node, or name one.
    pub fn new(setting: &Setting<'a>, pods: &'a [Pod<'a>]) -> Self {
        let mut terrain = Terrain::new(setting.nodes);
        let mut shapes = Shapes::new(setting, pods);
        let mut entries = Vec::new();
        for pod in pods {
            let shape = shapes.place(pod, setting, &mut terrain);
            let entry = |start| Entry { pod, shape, start, at: None };
            let named = pod.spec.get("nodeName").and_then(Value::as_str).filter(|name| !name.is_empty());
            if let Some(node) = pod.node {
                entries.push(entry(Start::There(terrain.place(node))));
            } else if let Some(node) = named {
                entries.push(entry(Start::Named(terrain.place(node))));
            } else if pod.owner.kind == "DaemonSet" {
                let reach = shapes.list.get(shape).and_then(|shape| shapes.reaches.get(shape.reach));
                entries.extend(
                    reach.into_iter().flat_map(|reach| &reach.open).map(|node| entry(Start::Meant(*node))),
                );
            } else {
                entries.push(entry(Start::Open));
            }
        }
        shapes.complete();
        let field = Field { terrain, shapes };
        let board = Board::new(&field);
        let mut plan = Self { field, board, entries };
        plan.settle_present();
        plan
    }

    fn settle_present(&mut self) {
        for place in 0..self.entries.len() {
            let Some(entry) = self.entries.get(place) else { continue };
            match entry.start {
                Start::There(Some(node)) => self.put(place, node),
                // A kubelet takes what names it only if it has the room.
                Start::Named(Some(node))
                    if self.board.turns_away(&self.field, entry.shape, node).is_none() =>
                {
                    self.put(place, node);
                }
                _ => {}
            }
        }
    }

    /// Places all pods that have no node yet, and says what came of it.
    pub fn place(&mut self) -> Placement {
        self.settle();
        let verdict = search::judge(self);
        self.report(verdict)
    }

    /// Places all pods that have no node yet, as the scheduler would.
    fn settle(&mut self) {
        let open = |entry: &Entry<'_>| {
            entry.at.is_none() && !matches!(entry.start, Start::There(_) | Start::Named(_))
        };
        let all = self.entries.iter().enumerate().filter(|(_, entry)| open(entry));
        let (meant, mut waiting): (Vec<usize>, Vec<usize>) =
            all.map(|(place, _)| place).partition(|place| self.meant_for(*place).is_some());
        for place in meant {
            self.seat(place);
        }
        loop {
            let before = waiting.len();
            let tried = std::mem::take(&mut waiting);
            waiting = tried.into_iter().filter(|place| !self.seat(*place)).collect();
            if waiting.is_empty() || waiting.len() == before {
                return;
            }
        }
    }

    fn meant_for(&self, place: usize) -> Option<usize> {
        match self.entries.get(place)?.start {
            Start::Meant(node) => Some(node),
            _ => None,
        }
    }

    /// Gives a pod the node that is rated highest, if one takes it.
    fn seat(&mut self, place: usize) -> bool {
        let only = self.meant_for(place);
        let Some(shape) = self.entries.get(place).map(|entry| entry.shape) else { return false };
        let best = self.best(shape, only);
        if let Some(node) = best {
            self.put(place, node);
        }
        best.is_some()
    }

    /// The node that is rated highest of those that take a pod of this shape.
    fn best(&mut self, shape: usize, only: Option<usize>) -> Option<usize> {
        let nodes = self.board.find(&self.field, shape, only);
        if let [] | [_] = nodes[..] {
            return nodes.first().copied();
        }
        let scores = self.board.rate(&self.field, shape, &nodes);
        let rated = nodes.iter().zip(&scores).map(|(node, score)| (score.total(), std::cmp::Reverse(*node)));
        rated.max().map(|(_, node)| node.0)
    }

    fn put(&mut self, place: usize, node: usize) {
        if let Some(entry) = self.entries.get_mut(place) {
            entry.at = Some(node);
            self.board.bind(&self.field, entry.shape, node);
        }
    }

    fn take(&mut self, place: usize) -> Option<usize> {
        let entry = self.entries.get_mut(place)?;
        let node = entry.at.take()?;
        self.board.unbind(&self.field, entry.shape, node);
        Some(node)
    }

    /// What each node says to a pod now, by the pod's place in the plan's pods; templates of DaemonSets count as many as
    /// nodes take them.
    pub fn judge(&mut self, pod: usize) -> Judgement {
        let Some(shape) = self.entries.get(pod).map(|entry| entry.shape) else { return Judgement::default() };
        let nodes = self.board.find(&self.field, shape, self.meant_for(pod));
        let scores = self.board.rate(&self.field, shape, &nodes);
        let name = |node: usize| self.field.terrain.name(node).to_owned();
        Judgement {
            takes: nodes.iter().zip(scores).map(|(node, score)| (name(*node), score)).collect(),
            refusal: self.refuse(pod),
        }
    }

    /// Puts a pod on a node, whatever the node says. Whether there is such a pod without a node, and such a node.
    pub fn bind(&mut self, pod: usize, node: &str) -> bool {
        let free = self.entries.get(pod).is_some_and(|entry| entry.at.is_none());
        match self.field.terrain.place(node).filter(|_| free) {
            Some(node) => self.put(pod, node),
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests;
