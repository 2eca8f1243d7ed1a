//! What a pod wants of the company of others: affinity between pods, and how they spread.

use serde_json::Value;

use crate::kube::order::mention::{list, text};
use crate::kube::scheduling::node::Node;

use super::matcher::{Matcher, Namespaces};
use super::shape::Kin;
use super::table::at;
use super::tally::{Book, Effect, Tally, Who};
use super::terrain::{ITSELF, Terrain};

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
/// What a required affinity of pods that are there is worth to a pod that they want near them.
const REQUIRED_WEIGHT: i64 = 1;

#[derive(Default)]
pub(super) struct Rules {
    pub(super) hard: Vec<Hard>,
    pub(super) soft: Vec<Soft>,
    /// Whether nodes that lack one of the labels of `soft` are rated last.
    pub(super) strict: bool,
    /// Pods that must be in each of these domains, and whether the first of a kind may come alone.
    pub(super) near: Vec<usize>,
    pub(super) near_itself: bool,
    /// Pods that must not be there.
    pub(super) apart: Vec<usize>,
    /// Pods there that would not have it.
    pub(super) averse: Vec<usize>,
    /// What pods that are there are worth.
    pub(super) drawn: Vec<(usize, i64)>,
    /// The tallies in which it counts once it has a node.
    pub(super) counts: Vec<usize>,
}

/// A constraint on spreading that must hold.
pub(super) struct Hard {
    pub(super) tally: usize,
    pub(super) topology: usize,
    pub(super) skew: i64,
    pub(super) domains: usize,
    pub(super) own: bool,
}

/// A constraint on spreading that is worth something.
pub(super) struct Soft {
    pub(super) tally: usize,
    pub(super) topology: usize,
    pub(super) host: bool,
    pub(super) skew: i64,
}

/// What is needed to read rules.
pub(super) struct Reading<'r, 'a> {
    pub(super) spec: &'a Value,
    pub(super) kin: &'r Kin<'a>,
    pub(super) namespaces: &'r Namespaces<'a>,
    pub(super) terrain: &'r mut Terrain<'a>,
    pub(super) book: &'r mut Book<'a>,
}

impl<'a> Reading<'_, 'a> {
    pub(super) fn read(mut self) -> Rules {
        let mut rules = Rules::default();
        self.read_affinity(&mut rules);
        self.read_preferences(&mut rules);
        self.read_hard(&mut rules);
        self.read_soft(&mut rules);
        rules
    }

    /// A tally of the pods that all of these terms are about, in the topology of one of them.
    fn alike(&mut self, terms: &[&'a Value], topology: &str) -> usize {
        let matchers =
            terms.iter().map(|term| Matcher::of_term(term, self.kin, self.namespaces, true)).collect();
        let topology = self.terrain.topology(topology);
        self.book.open(Tally { topology, mask: None, who: Who::Alike(matchers) })
    }

    /// A tally of the pods that have this term.
    fn minding(&mut self, term: &'a Value, effect: Effect) -> usize {
        let matcher = Matcher::of_term(term, self.kin, self.namespaces, false);
        let topology = self.terrain.topology(text(term, "/topologyKey").unwrap_or(""));
        self.book.open(Tally { topology, mask: None, who: Who::Minding(matcher, effect) })
    }

    fn read_affinity(&mut self, rules: &mut Rules) {
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let terms: Vec<&'a Value> = list(self.spec, &format!("/affinity/podAffinity/{required}")).collect();
        for term in &terms {
            let tally = self.alike(&terms, text(term, "/topologyKey").unwrap_or(""));
            rules.near.push(tally);
            let minding = self.minding(term, Effect::Weighs(REQUIRED_WEIGHT));
            rules.counts.push(minding);
        }
        let takes =
            |term: &&'a Value| Matcher::of_term(term, self.kin, self.namespaces, true).takes(self.kin);
        rules.near_itself = terms.iter().all(takes);
        for term in list(self.spec, &format!("/affinity/podAntiAffinity/{required}")) {
            let tally = self.alike(&[term], text(term, "/topologyKey").unwrap_or(""));
            rules.apart.push(tally);
            let minding = self.minding(term, Effect::Bars);
            rules.counts.push(minding);
        }
    }

    fn read_preferences(&mut self, rules: &mut Rules) {
        for (side, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
            let preferred = format!("/affinity/{side}/preferredDuringSchedulingIgnoredDuringExecution");
            for each in list(self.spec, &preferred) {
                let Some(term) = each.get("podAffinityTerm") else { continue };
                let weight = sign * each.get("weight").and_then(Value::as_i64).unwrap_or(0);
                let tally = self.alike(&[term], text(term, "/topologyKey").unwrap_or(""));
                rules.drawn.push((tally, weight));
                let minding = self.minding(term, Effect::Weighs(weight));
                rules.counts.push(minding);
            }
        }
    }

    fn constraints(&self, action: &str) -> Vec<&'a Value> {
        let all = list(self.spec, "/topologySpreadConstraints");
        all.filter(|each| text(each, "/whenUnsatisfiable").unwrap_or("DoNotSchedule") == action).collect()
    }

    fn read_hard(&mut self, rules: &mut Rules) {
        let constraints = self.constraints("DoNotSchedule");
        for constraint in &constraints {
            let number = |field: &str| constraint.get(field).and_then(Value::as_i64);
            let matcher = Matcher::of_spread(constraint, self.kin);
            let own = matcher.takes(self.kin);
            let topology = self.terrain.topology(text(constraint, "/topologyKey").unwrap_or(""));
            let mask = self.mask(constraint, &constraints);
            rules.hard.push(Hard {
                tally: self.spread(topology, Some(mask), matcher),
                topology,
                skew: number("maxSkew").unwrap_or(1),
                domains: usize::try_from(number("minDomains").unwrap_or(1)).unwrap_or(0),
                own,
            });
        }
    }

    fn spread(&mut self, topology: usize, mask: Option<usize>, matcher: Matcher<'a>) -> usize {
        // A selector that asks for nothing counts nothing: no pods are in the tally of one that selects nothing.
        let matcher = if matcher.is_empty() { Matcher::default() } else { matcher };
        self.book.open(Tally { topology, mask, who: Who::Alike(vec![matcher]) })
    }

    /// The nodes on which pods count for a constraint: those with the labels of all of them, within the pod's node
    /// affinity and outside its taints where that is asked for.
    fn mask(&mut self, constraint: &'a Value, all: &[&'a Value]) -> usize {
        let honours =
            |field: &str, unsaid: bool| constraint.get(field).map_or(unsaid, |policy| policy == "Honor");
        let (affinity, taints) = (honours("nodeAffinityPolicy", true), honours("nodeTaintsPolicy", false));
        let keys: Vec<&str> = all.iter().filter_map(|each| text(each, "/topologyKey")).collect();
        let part = |wanted: bool, pointer: &str| {
            wanted.then(|| self.spec.pointer(pointer).map(Value::to_string)).flatten()
        };
        let key = format!(
            "{keys:?} {affinity} {:?} {:?} {taints} {:?} {}",
            part(affinity, "/nodeSelector"),
            part(affinity, "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution"),
            part(taints, "/tolerations"),
            taints && self.kin.daemon,
        );
        let (spec, kin, nodes) = (self.spec, self.kin, &self.terrain.nodes);
        let counts = |node: &Node<'_>| {
            keys.iter().all(|key| node.label(key).is_some())
                && !(affinity && node.bar_by_affinity(spec).is_some())
                && !(taints && node.bar_by_taint(spec, |key, effect| kin.spares(key, effect)).is_some())
        };
        self.book.mask(key, || nodes.iter().map(counts).collect())
    }

    fn read_soft(&mut self, rules: &mut Rules) {
        if list(self.spec, "/topologySpreadConstraints").next().is_none() {
            self.read_default(rules);
            return;
        }
        rules.strict = true;
        let constraints = self.constraints("ScheduleAnyway");
        for constraint in &constraints {
            let key = text(constraint, "/topologyKey").unwrap_or("");
            let topology = self.terrain.topology(key);
            let matcher = Matcher::of_spread(constraint, self.kin);
            let skew = constraint.get("maxSkew").and_then(Value::as_i64).unwrap_or(1);
            let host = key == HOST;
            // What is on a node itself counts whoever that node is for.
            let mask = (!host).then(|| self.mask(constraint, &constraints));
            let tally = self.spread(if host { ITSELF } else { topology }, mask, matcher);
            rules.soft.push(Soft { tally, topology, host, skew });
        }
    }

    /// What the scheduler takes where a pod says nothing: the pods of one owner should not be on one node, or in one zone.
    fn read_default(&mut self, rules: &mut Rules) {
        let Some(crew) = self.kin.crew else { return };
        for (key, skew) in [(HOST, 3), (ZONE, 5)] {
            let topology = self.terrain.topology(key);
            let host = key == HOST;
            let place = if host { ITSELF } else { topology };
            let mask = (!host).then(|| self.mask(self.spec, &[]));
            let tally = self.spread(place, mask, Matcher::of_crew(crew, self.kin));
            rules.soft.push(Soft { tally, topology, host, skew });
        }
    }
}

/// Completes rules once all tallies are known.
pub(super) fn complete(rules: &mut Rules, kin: &Kin<'_>, book: &Book<'_>) {
    rules.counts.extend(book.counting(kin));
    for (tally, effect) in book.minding(kin) {
        match effect {
            Effect::Bars => rules.averse.push(tally),
            Effect::Weighs(weight) => rules.drawn.push((tally, weight)),
        }
    }
}

/// Whether pods on this node count in a tally.
pub(super) fn counts_on(book: &Book<'_>, tally: &Tally<'_>, node: usize) -> bool {
    tally.mask.is_none_or(|mask| book.masks.get(mask).is_some_and(|mask| at(mask, node)))
}
