//! Which nodes take a pod now, and why the others do not.

use crate::kube::scheduling::HostPort;

use super::board::{Board, Cell, Field};
use super::obstacle::Bar;
use super::rule::Hard;
use super::score::rate_room;
use super::shape::Shape;
use super::table::at;
use super::terrain::PODS;

impl Board {
    /// The nodes that take a pod of this shape, in the order of their names; `only` is a node that it is meant for.
    pub(super) fn find(&mut self, field: &Field<'_>, place: usize, only: Option<usize>) -> Vec<usize> {
        let Some(shape) = field.shape(place) else { return Vec::new() };
        let open = field.shapes.reaches.get(shape.reach).map_or(&[][..], |reach| &reach.open);
        if shape.gated || shape.claims.bar.is_some() || self.taken_claim(shape).is_some() {
            return Vec::new();
        }
        self.reserve_cells(field, shape.demand);
        let least = self.least(shape);
        let only_one = only.map(|node| [node]);
        let candidates = match &only_one {
            Some(one) if open.binary_search(&one[0]).is_ok() => &one[..],
            Some(_) => &[],
            None => open,
        };
        let mut found = Vec::new();
        for node in candidates {
            if at(&self.alive, *node)
                && self.cell(field, shape.demand, *node).fits
                && self.free_ports(shape, *node)
                && self.spreads(field, shape, &least, *node)
                && self.suits(field, shape, *node)
            {
                found.push(*node);
            }
        }
        found
    }

    fn reserve_cells(&mut self, field: &Field<'_>, demand: usize) {
        if let Some(row) = self.cells.get_mut(demand)
            && row.is_empty()
        {
            row.resize(field.terrain.nodes.len(), Cell::default());
        }
    }

    /// What is known of a demand on a node, found out again where the node has changed.
    pub(super) fn cell(&mut self, field: &Field<'_>, demand: usize, node: usize) -> Cell {
        let age = at(&self.age, node);
        let known = self.cells.get(demand).map_or_else(Cell::default, |row| at(row, node));
        if known.age == age {
            return known;
        }
        let Some(wanted) = field.shapes.demands.get(demand) else { return known };
        let room = field.terrain.room.get(node).map_or(&[][..], Vec::as_slice);
        let used = self.used.get(node).map_or(&[][..], Vec::as_slice);
        let full = at(used, PODS) + 1 > at(room, PODS);
        let fits = !full && wanted.asks().all(|(place, amount)| amount <= at(room, place) - at(used, place));
        let (least, balanced) = rate_room(wanted, room, used, at(&self.weight, node));
        let cell = Cell { age, fits, least, balanced };
        if let Some(there) = self.cells.get_mut(demand).and_then(|row| row.get_mut(node)) {
            *there = cell;
        }
        cell
    }

    fn free_ports(&self, shape: &Shape<'_>, node: usize) -> bool {
        shape.ports.is_empty() || self.taken_port(shape, node).is_none()
    }

    fn taken_port<'s>(&self, shape: &'s Shape<'_>, node: usize) -> Option<&'s HostPort> {
        let there = self.ports.get(node)?;
        shape.ports.iter().find(|port| there.iter().any(|other| port.collides(other)))
    }

    fn taken_claim<'s>(&self, shape: &'s Shape<'_>) -> Option<&'s String> {
        shape.claims.single.iter().find(|claim| self.claims.get(*claim).is_some_and(|pods| *pods > 0))
    }

    /// For each constraint on spreading the pods in the domain that has the fewest.
    fn least(&self, shape: &Shape<'_>) -> Vec<i64> {
        shape.rules.hard.iter().map(|hard| self.least_of(hard)).collect()
    }

    fn least_of(&self, hard: &Hard) -> i64 {
        let rows = self.domains.get(hard.tally).zip(self.counts.get(hard.tally));
        let Some((nodes, counts)) = rows else { return 0 };
        let (mut domains, mut least) = (0, i64::from(i32::MAX));
        for (_, count) in nodes.iter().zip(counts).filter(|(nodes, _)| **nodes > 0) {
            domains += 1;
            least = least.min(*count);
        }
        if domains < hard.domains { 0 } else { least }
    }

    fn spreads(&self, field: &Field<'_>, shape: &Shape<'_>, least: &[i64], node: usize) -> bool {
        shape.rules.hard.iter().zip(least).all(|(hard, least)| {
            let there = self.count(field, hard.tally, node);
            there.is_some_and(|there| there + i64::from(hard.own) - least <= hard.skew)
        })
    }

    /// Whether the company on a node suits a pod, and the pod suits the company.
    fn suits(&self, field: &Field<'_>, shape: &Shape<'_>, node: usize) -> bool {
        let none = |tally: &usize| self.count(field, *tally, node).is_none_or(|there| there <= 0);
        let rules = &shape.rules;
        self.has_company(field, shape, node) && rules.apart.iter().all(none) && rules.averse.iter().all(none)
    }

    fn has_company(&self, field: &Field<'_>, shape: &Shape<'_>, node: usize) -> bool {
        let near = &shape.rules.near;
        let mut there = true;
        for tally in near {
            match self.count(field, *tally, node) {
                None => return false,
                Some(pods) => there &= pods > 0,
            }
        }
        // The first of pods that want to be together may go anywhere.
        there || (shape.rules.near_itself && near.iter().all(|tally| at(&self.totals, *tally) == 0))
    }

    /// Why a node does not take a pod of this shape: the first reason in the scheduler's order, none where it does.
    pub(super) fn explain(&self, field: &Field<'_>, place: usize, node: usize) -> Option<Bar> {
        let shape = field.shape(place)?;
        if shape.gated {
            return Some(Bar::Gated);
        }
        if let Some(bar) = &shape.claims.bar {
            return Some(bar.clone());
        }
        let there = field.terrain.nodes.get(node)?;
        let port =
            || self.taken_port(shape, node).map(|port| Bar::Port(format!("{}/{}", port.port, port.protocol)));
        let claim = || self.taken_claim(shape).map(|claim| Bar::Single(claim.clone()));
        let bar = shape.bar_by_node(there).or_else(port).or_else(|| self.bar_by_room(field, shape, node));
        bar.or_else(claim)
            .or_else(|| shape.bar_by_volumes(there))
            .or_else(|| self.bar_by_spread(field, shape, node))
            .or_else(|| self.bar_by_company(field, shape, node))
    }

    /// Why the kubelet of a node would not take a pod that names it, which it does not ask the scheduler about.
    pub(super) fn turns_away(&self, field: &Field<'_>, place: usize, node: usize) -> Option<Bar> {
        let shape = field.shape(place)?;
        let there = field.terrain.nodes.get(node)?;
        let stays = |key: &str, effect: &str| effect == "NoSchedule" || shape.kin.spares(key, effect);
        let port =
            || self.taken_port(shape, node).map(|port| Bar::Port(format!("{}/{}", port.port, port.protocol)));
        let bar = there.bar_by_taint(shape.spec, stays).or_else(|| there.bar_by_affinity(shape.spec));
        bar.map(Bar::Node).or_else(port).or_else(|| self.bar_by_room(field, shape, node))
    }

    fn bar_by_room(&self, field: &Field<'_>, shape: &Shape<'_>, node: usize) -> Option<Bar> {
        let demand = field.shapes.demands.get(shape.demand)?;
        let (room, used) = (field.terrain.room.get(node)?, self.used.get(node)?);
        if at(used, PODS) + 1 > at(room, PODS) {
            return Some(Bar::Full(at(room, PODS)));
        }
        let short = demand.asks().filter_map(|(place, asked)| {
            let (all, free) = (at(room, place), at(room, place) - at(used, place));
            let name = field.terrain.resources.get(place)?;
            (asked > free).then(|| (name.clone(), asked, free, all))
        });
        let short: Vec<_> = short.collect();
        (!short.is_empty()).then_some(Bar::Room(short))
    }

    fn bar_by_spread(&self, field: &Field<'_>, shape: &Shape<'_>, node: usize) -> Option<Bar> {
        shape.rules.hard.iter().find_map(|hard| {
            let topology = field.terrain.topologies.get(hard.topology)?;
            let Some(there) = self.count(field, hard.tally, node) else {
                return Some(Bar::Unlabelled(topology.key.clone()));
            };
            let least = self.least_of(hard);
            let would = there + i64::from(hard.own);
            let value = topology.values.get(field.terrain.domain(hard.topology, node)?)?.clone();
            (would - least > hard.skew)
                .then(|| Bar::Spread(topology.key.clone(), value, [would, least, hard.skew]))
        })
    }

    fn bar_by_company(&self, field: &Field<'_>, shape: &Shape<'_>, node: usize) -> Option<Bar> {
        let place = |tally: usize| {
            let tally = field.shapes.book.tallies.get(tally)?;
            let topology = field.terrain.topologies.get(tally.topology)?;
            let value =
                field.terrain.domain(tally.topology, node).and_then(|place| topology.values.get(place));
            Some(value.map_or_else(|| topology.key.clone(), |value| format!("{}={value}", topology.key)))
        };
        let there = |tally: &&usize| self.count(field, **tally, node).is_some_and(|pods| pods > 0);
        let rules = &shape.rules;
        if !self.has_company(field, shape, node) {
            let missing = rules.near.iter().find(|tally| !there(tally));
            return missing.and_then(|tally| place(*tally)).map(Bar::Alone);
        }
        let apart = rules.apart.iter().find(there).and_then(|tally| place(*tally)).map(Bar::Apart);
        apart.or_else(|| rules.averse.iter().find(there).and_then(|tally| place(*tally)).map(Bar::Averse))
    }
}
