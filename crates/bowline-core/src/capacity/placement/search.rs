//! Whether pods fit otherwise than the scheduler would place them: tried out, as long as they are few.

use std::collections::{BTreeMap, BTreeSet};

use super::table::{add, at};
use super::terrain::PODS;
use super::{Entry, Plan, Start};

/// Pods beyond which nothing is tried.
const MOST_PODS: usize = 64;
/// Nodes looked at beyond which trying ends: about a second.
const MOST_LOOKS: u64 = 3_000_000;

/// What is known of whether all fit.
pub(super) enum Finding {
    AllSeated,
    /// Pods and nodes by their places.
    Otherwise(Vec<(usize, usize)>),
    Pod(usize),
    Amount(String, i64, i64),
    Tried(u64, bool),
    Unknown(String),
}

/// Finds out whether all pods of a plan fit, which the scheduler may have left waiting. The plan stays as it is.
pub(super) fn judge(plan: &mut Plan<'_>) -> Finding {
    let waits = |entry: &Entry<'_>| entry.at.is_none() && !matches!(entry.start, Start::There(_));
    if !plan.entries.iter().any(waits) {
        return Finding::AllSeated;
    }
    let set = |entry: &Entry<'_>| waits(entry) && entry.start != Start::Open;
    if let Some(place) = plan.entries.iter().position(set) {
        return Finding::Pod(place);
    }
    let all = plan.entries.iter().enumerate().filter(|(_, entry)| entry.start == Start::Open);
    let movable: Vec<usize> = all.map(|(place, _)| place).collect();
    let before: Vec<(usize, Option<usize>)> =
        movable.iter().map(|place| (*place, plan.take(*place))).collect();
    let finding = prove(plan, &movable).unwrap_or_else(|| {
        if movable.len() > MOST_PODS {
            let why = format!("{} pods are more than the {MOST_PODS} for which that is tried", movable.len());
            return Finding::Unknown(why);
        }
        Search::new(plan, movable).run(plan)
    });
    for (place, node) in before {
        if let Some(node) = node {
            plan.put(place, node);
        }
    }
    finding
}

/// What shows without trying that they do not fit: a pod that even the empty nodes do not take, or a resource of which
/// there is too little.
fn prove(plan: &mut Plan<'_>, movable: &[usize]) -> Option<Finding> {
    let mut asked: Vec<i64> = vec![0; plan.field.terrain.resources.len()];
    let mut reached = BTreeSet::new();
    let mut homes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for place in movable {
        let shape = plan.entries.get(*place)?.shape;
        let nodes = homes.entry(shape).or_insert_with(|| homes_of(plan, shape));
        if nodes.is_empty() {
            return Some(Finding::Pod(*place));
        }
        reached.extend(nodes.iter().copied());
        let demand = plan.field.shape(shape).and_then(|shape| plan.field.shapes.demands.get(shape.demand));
        for (resource, amount) in demand.into_iter().flat_map(|demand| demand.row.iter().enumerate()) {
            add(&mut asked, resource, *amount);
        }
    }
    let free = |resource: usize| -> i64 {
        let each = reached.iter().map(|node| {
            let room = plan.field.terrain.room.get(*node).map_or(0, |row| at(row, resource));
            let used = plan.board.used.get(*node).map_or(0, |row| at(row, resource));
            (room - used).max(0)
        });
        each.fold(0, i64::saturating_add)
    };
    let short = asked.iter().enumerate().find(|(resource, asked)| **asked > free(*resource))?;
    let name = plan.field.terrain.resources.get(short.0)?;
    Some(Finding::Amount(name.clone(), *short.1, free(short.0)))
}

/// The nodes that take a pod of this shape, or may once others have come.
fn homes_of(plan: &mut Plan<'_>, shape: usize) -> Vec<usize> {
    let nodes = plan.board.find(&plan.field, shape, None);
    let Some(it) = plan.field.shape(shape).filter(|it| depends(it) && !it.gated && it.claims.bar.is_none())
    else {
        return nodes;
    };
    // Company that it needs, or that evens out, may still come; room does not.
    let open = plan.field.shapes.reaches.get(it.reach).map_or(&[][..], |reach| &reach.open);
    open.iter().copied().filter(|node| plan.board.cell(&plan.field, it.demand, *node).fits).collect()
}

/// Whether what comes later can open a node to pods of this shape.
fn depends(shape: &super::shape::Shape<'_>) -> bool {
    !shape.rules.near.is_empty() || !shape.rules.hard.is_empty()
}

struct Search {
    /// Pods in the order in which they are tried, with their shapes.
    order: Vec<(usize, usize)>,
    /// Whether the order does not matter: then equal pods need not be tried in all orders.
    free: bool,
    /// Nodes that are as good as each other while nothing is on them; none where that is not so.
    alike: Vec<usize>,
    /// Pods that are being tried, by node.
    load: Vec<i64>,
    seats: Vec<usize>,
    looks: u64,
    steps: u64,
}

impl Search {
    fn new(plan: &Plan<'_>, movable: Vec<usize>) -> Self {
        let shape = |place: &usize| plan.entries.get(*place).map_or(0, |entry| entry.shape);
        let mut order: Vec<(usize, usize)> = movable.iter().map(|place| (*place, shape(place))).collect();
        let free = !order.iter().any(|(_, shape)| plan.field.shape(*shape).is_some_and(depends));
        if free {
            // The greatest first: what does not fit shows early.
            order.sort_by_key(|(_, shape)| (std::cmp::Reverse(size(plan, *shape)), *shape));
        }
        let alike = groups(plan);
        let load = vec![0; plan.field.terrain.nodes.len()];
        Self { order, free, alike, load, seats: Vec::new(), looks: 0, steps: 0 }
    }

    fn run(mut self, plan: &mut Plan<'_>) -> Finding {
        let found = self.descend(plan);
        for ((_, shape), node) in self.order.iter().zip(&self.seats) {
            plan.board.unbind(&plan.field, *shape, *node);
        }
        if found {
            let places = self.order.iter().map(|(place, _)| *place);
            let mut seats: Vec<(usize, usize)> = places.zip(self.seats).collect();
            seats.sort_unstable();
            return Finding::Otherwise(seats);
        }
        if self.looks > MOST_LOOKS {
            return Finding::Unknown(format!("{} placements of single pods did not settle it", self.steps));
        }
        Finding::Tried(self.steps, self.free)
    }

    /// Seats the pods from the next one on; takes those away again that it has put where that fails.
    fn descend(&mut self, plan: &mut Plan<'_>) -> bool {
        let depth = self.seats.len();
        let Some((_, shape)) = self.order.get(depth).copied() else { return true };
        let nodes = self.candidates(plan, depth, shape);
        let mut tried = BTreeSet::new();
        for node in nodes {
            if self.looks > MOST_LOOKS {
                return false;
            }
            // Of nodes that are alike and have nothing yet, one is enough.
            if at(&self.load, node) == 0 && !tried.insert(at(&self.alike, node)) {
                continue;
            }
            self.steps += 1;
            plan.board.bind(&plan.field, shape, node);
            self.seats.push(node);
            add(&mut self.load, node, 1);
            if self.promises(plan) && self.descend(plan) {
                return true;
            }
            add(&mut self.load, node, -1);
            self.seats.pop();
            plan.board.unbind(&plan.field, shape, node);
        }
        false
    }

    /// The nodes to try, fullest first: what is left empty takes the greatest that may follow.
    fn candidates(&mut self, plan: &mut Plan<'_>, depth: usize, shape: usize) -> Vec<usize> {
        self.looks += u64::try_from(plan.field.terrain.nodes.len()).unwrap_or(u64::MAX);
        let mut nodes = plan.board.find(&plan.field, shape, None);
        let last =
            depth.checked_sub(1).and_then(|last| Some((self.order.get(last)?.1, *self.seats.get(last)?)));
        // Equal pods can change places: the later one need not go to a node before the earlier one's.
        if self.free
            && let Some((_, after)) = last.filter(|(other, _)| *other == shape)
        {
            nodes.retain(|node| *node >= after);
        }
        nodes.sort_by_key(|node| (left(plan, *node), *node));
        nodes
    }

    /// Whether each pod that is still to come finds a node by itself, where later ones can only make that harder.
    fn promises(&mut self, plan: &mut Plan<'_>) -> bool {
        if !self.free {
            return true;
        }
        let rest = self.order.get(self.seats.len()..).unwrap_or_default();
        let shapes: BTreeSet<usize> = rest.iter().map(|(_, shape)| *shape).collect();
        for shape in shapes {
            self.looks += u64::try_from(plan.field.terrain.nodes.len()).unwrap_or(u64::MAX);
            if plan.board.find(&plan.field, shape, None).is_empty() {
                return false;
            }
        }
        true
    }
}

/// How great a pod is: the greatest share that it takes of what all nodes have together, in millionths.
fn size(plan: &Plan<'_>, shape: usize) -> i64 {
    let demand = plan.field.shape(shape).and_then(|shape| plan.field.shapes.demands.get(shape.demand));
    let shares =
        demand.into_iter().flat_map(|demand| demand.row.iter().enumerate()).map(|(resource, amount)| {
            let all: i128 = plan.field.terrain.room.iter().map(|row| i128::from(at(row, resource))).sum();
            i128::from(*amount) * 1_000_000 / all.max(1)
        });
    i64::try_from(shares.max().unwrap_or(0)).unwrap_or(i64::MAX)
}

/// The least share that is free on a node of any resource that counts for most pods, in millionths.
fn left(plan: &Plan<'_>, node: usize) -> i64 {
    let room = plan.field.terrain.room.get(node).map_or(&[][..], Vec::as_slice);
    let used = plan.board.used.get(node).map_or(&[][..], Vec::as_slice);
    let shares = [super::terrain::CPU, super::terrain::MEMORY, PODS].map(|resource| {
        let all = i128::from(at(room, resource)).max(1);
        i64::try_from(i128::from(at(room, resource) - at(used, resource)) * 1_000_000 / all).unwrap_or(0)
    });
    shares.into_iter().min().unwrap_or(0)
}

/// Numbers for nodes that nothing tells apart: the same where it is all one to which of them a pod goes.
fn groups(plan: &Plan<'_>) -> Vec<usize> {
    let field = &plan.field;
    let mut there: Vec<Vec<usize>> = vec![Vec::new(); field.terrain.nodes.len()];
    for entry in &plan.entries {
        if let Some(shapes) = entry.at.and_then(|node| there.get_mut(node)) {
            shapes.push(entry.shape);
        }
    }
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let number = |(place, mut shapes): (usize, Vec<usize>)| {
        shapes.sort_unstable();
        let reaches = field.shapes.reaches.iter();
        let open: Vec<bool> = reaches.map(|reach| reach.open.binary_search(&place).is_ok()).collect();
        let masks: Vec<bool> = field.shapes.book.masks.iter().map(|mask| at(mask, place)).collect();
        let domains = field.terrain.topologies.iter().skip(1).map(|topology| {
            let single = topology.of.iter().flatten().count() == topology.values.len();
            at(&topology.of, place).map(|domain| if single { 0 } else { domain })
        });
        let domains: Vec<Option<usize>> = domains.collect();
        let key = format!("{:?} {shapes:?} {open:?} {masks:?} {domains:?}", field.terrain.room.get(place));
        let next = known.len();
        *known.entry(key).or_insert(next)
    };
    there.into_iter().enumerate().map(number).collect()
}
