//! Who waits for whom, as numbers, and the row in which all can be applied.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::kube::object::{Kind, Manifest, ObjectId};

use super::circle::{Circle, Link};
use super::custom::Chains;
use super::group::Group;
use super::mention::{Mention, mentions};
use super::ordering::{Edge, Entry, Ordering};
use super::rank::{NEEDED_JOB, rank, until};
use super::reason::Reason;
use super::request::Names;
use super::{Barrier, Node, OrderError, Until};

/// An edge to the node of this number.
struct Arrow {
    to: usize,
    until: Until,
    why: Reason,
}

/// The edges that must hold. Nodes are numbered: first the objects, sorted by identity, then the groups.
pub(super) struct Graph<'m> {
    objects: Vec<&'m Manifest>,
    mentions: Vec<Vec<Mention>>,
    groups: Vec<Group>,
    arrows: Vec<Vec<Arrow>>,
    needed: BTreeSet<usize>,
}

impl<'m> Graph<'m> {
    pub(super) fn new(manifests: &'m [Manifest]) -> Result<Self, OrderError> {
        let mut first: BTreeMap<&ObjectId, (usize, &Manifest)> = BTreeMap::new();
        for (place, manifest) in manifests.iter().enumerate() {
            first.entry(&manifest.id).or_insert((place, manifest));
        }
        let places: BTreeMap<usize, usize> =
            first.values().enumerate().map(|(number, (place, _))| (*place, number)).collect();
        let objects: Vec<&Manifest> = first.values().map(|(_, manifest)| *manifest).collect();
        let numbers: BTreeMap<&ObjectId, usize> = first.into_keys().zip(0..).collect();
        let mentions = objects.iter().map(|manifest| mentions(manifest)).collect();
        let mut graph =
            Self { arrows: Vec::new(), groups: Vec::new(), needed: BTreeSet::new(), objects, mentions };
        graph.arrows.resize_with(graph.objects.len(), Vec::new);
        graph.point_at_named(&numbers);
        graph.point_at_requested(manifests, &places)?;
        graph.point_at_groups();
        Ok(graph)
    }

    fn point(&mut self, from: usize, to: usize, until: Until, why: Reason) {
        if let Some(arrows) = self.arrows.get_mut(from) {
            arrows.push(Arrow { to, until, why });
        }
    }

    /// Edges to what manifests name: namespaces, definitions, and everything in [`mentions`].
    fn point_at_named(&mut self, numbers: &BTreeMap<&ObjectId, usize>) {
        let definitions = definitions(&self.objects);
        let mut arrows = Vec::new();
        for (number, (manifest, mentions)) in self.objects.iter().zip(&self.mentions).enumerate() {
            let id = &manifest.id;
            if let Some(namespace) = &id.namespace
                && let Some(to) = numbers.get(&ObjectId::of_cluster("", "Namespace", namespace))
            {
                arrows.push((number, *to, Reason::Namespace));
            }
            if let Some(to) = definitions.get(&(id.kind.group.as_str(), id.kind.kind.as_str())) {
                arrows.push((number, *to, Reason::Definition));
            }
            for mention in mentions.iter().filter(|mention| !mention.optional) {
                if let Some(to) = numbers.get(&mention.target).filter(|to| **to != number) {
                    arrows.push((number, *to, mention.why.clone()));
                }
            }
        }
        for (from, to, why) in arrows {
            let until = self.objects.get(to).map_or(Until::Ready, |manifest| until(&manifest.id.kind));
            self.point(from, to, until, why);
        }
    }

    /// Edges that annotations ask for.
    fn point_at_requested(
        &mut self,
        manifests: &[Manifest],
        places: &BTreeMap<usize, usize>,
    ) -> Result<(), OrderError> {
        let names = Names::new(manifests);
        let mut problems = Vec::new();
        for (place, from) in places {
            let Some(manifest) = manifests.get(*place) else { continue };
            for requested in names.requested(manifest, &mut problems) {
                // A second manifest of an object is as good as its first.
                let Some(to) = manifests.get(requested).and_then(|manifest| self.number(&manifest.id)) else {
                    continue;
                };
                let until = self.objects.get(to).map_or(Until::Ready, |manifest| until(&manifest.id.kind));
                self.needed.insert(to);
                self.point(*from, to, until, Reason::Asked);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(OrderError::Requests(problems)) }
    }

    fn number(&self, id: &ObjectId) -> Option<usize> {
        self.objects.binary_search_by(|manifest| manifest.id.cmp(id)).ok()
    }

    /// Groups become barriers in a row: each object waits for the barrier before its group.
    fn point_at_groups(&mut self) {
        let mut members: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
        for (number, manifest) in self.objects.iter().enumerate() {
            if let Some(group) = Group::of(&manifest.origin.file) {
                members.entry(group).or_default().push(number);
            }
        }
        let mut before: Option<usize> = None;
        for (group, members) in members {
            let barrier = self.arrows.len();
            let mut arrows = Vec::new();
            for number in members {
                let until =
                    self.objects.get(number).map_or(Until::Ready, |manifest| until(&manifest.id.kind));
                arrows.push(Arrow { to: number, until, why: Reason::Member });
                if let Some(before) = before {
                    self.point(number, before, Until::Ready, Reason::Group(group.clone()));
                }
            }
            // Should nothing of this group have changed, the next one still waits for those before.
            arrows.extend(before.map(|to| Arrow { to, until: Until::Ready, why: Reason::Member }));
            self.arrows.push(arrows);
            self.groups.push(group);
            before = Some(barrier);
        }
    }

    fn node(&self, number: usize) -> Option<Node> {
        match self.objects.get(number) {
            Some(manifest) => Some(Node::Object(manifest.id.clone())),
            None => {
                let group = self.groups.get(number.checked_sub(self.objects.len())?)?;
                Some(Node::Barrier(Barrier::Group(group.clone())))
            }
        }
    }

    /// What comes first among those that could come next. Barriers are passed as soon as they can be.
    fn rank(&self, number: usize) -> u8 {
        self.objects.get(number).map_or(0, |manifest| {
            let kind = &manifest.id.kind;
            if kind.is("batch", "Job") && self.needed.contains(&number) { NEEDED_JOB } else { rank(kind) }
        })
    }

    /// Puts all into a row in which each stands behind all that it waits for, and adds on the way what is only waited for
    /// where this row allows it.
    pub(super) fn order(&self) -> Result<Ordering, OrderError> {
        let mut open: Vec<usize> = self.arrows.iter().map(Vec::len).collect();
        let mut behind: Vec<Vec<usize>> = vec![Vec::new(); self.arrows.len()];
        for (from, arrows) in self.arrows.iter().enumerate() {
            for arrow in arrows {
                if let Some(behind) = behind.get_mut(arrow.to) {
                    behind.push(from);
                }
            }
        }
        let free = open.iter().enumerate().filter(|(_, open)| **open == 0);
        let mut next: BinaryHeap<Reverse<(u8, usize)>> =
            free.map(|(number, _)| Reverse((self.rank(number), number))).collect();
        let mut soft = Chains::default();
        let mut entries = Vec::with_capacity(self.arrows.len());
        let mut placed = BTreeSet::new();
        while let Some(Reverse((_, number))) = next.pop() {
            placed.insert(number);
            let mut after = self.edges(number);
            if let (Some(manifest), Some(mentions)) = (self.objects.get(number), self.mentions.get(number)) {
                after.extend(soft.pass(manifest, mentions, &mut entries));
            }
            entries.extend(self.node(number).map(|node| Entry { node, after }));
            for waiting in behind.get(number).into_iter().flatten() {
                if let Some(open) = open.get_mut(*waiting) {
                    *open -= 1;
                    if *open == 0 {
                        next.push(Reverse((self.rank(*waiting), *waiting)));
                    }
                }
            }
        }
        match placed.len() == self.arrows.len() {
            true => Ok(Ordering::new(entries)),
            false => Err(OrderError::Circle(self.circle(&placed))),
        }
    }

    fn edges(&self, number: usize) -> Vec<Edge> {
        let arrows = self.arrows.get(number).into_iter().flatten();
        arrows
            .filter_map(|arrow| {
                Some(Edge { to: self.node(arrow.to)?, until: arrow.until, why: arrow.why.clone() })
            })
            .collect()
    }

    /// A circle among those that could not be placed: every one of them waits for another of them.
    fn circle(&self, placed: &BTreeSet<usize>) -> Circle {
        let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
        let mut links: Vec<Link> = Vec::new();
        let mut number = (0..self.arrows.len()).find(|number| !placed.contains(number));
        while let Some(here) = number {
            if let Some(start) = seen.insert(here, links.len()) {
                links.drain(..start);
                break;
            }
            let arrows = self.arrows.get(here).into_iter().flatten();
            let stuck = arrows.filter(|arrow| !placed.contains(&arrow.to)).min_by_key(|arrow| arrow.to);
            if let Some(arrow) = stuck
                && let (Some(waits), Some(on)) = (self.node(here), self.node(arrow.to))
            {
                links.push(Link { waits, on, why: arrow.why.clone() });
            }
            number = stuck.map(|arrow| arrow.to);
        }
        Circle(links)
    }
}

/// The objects that define kinds, by the group and kind that they define.
fn definitions<'m>(objects: &[&'m Manifest]) -> BTreeMap<(&'m str, &'m str), usize> {
    let definition = Kind::new("apiextensions.k8s.io", "CustomResourceDefinition");
    let mut found = BTreeMap::new();
    for (number, manifest) in
        objects.iter().enumerate().filter(|(_, manifest)| manifest.id.kind == definition)
    {
        let text = |pointer: &str| manifest.value.pointer(pointer).and_then(|value| value.as_str());
        if let (Some(group), Some(kind)) = (text("/spec/group"), text("/spec/names/kind")) {
            found.insert((group, kind), number);
        }
    }
    found
}
