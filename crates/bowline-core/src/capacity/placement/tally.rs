//! What is counted of the pods on the nodes, so that nobody looks at all pods for each new one.

use std::collections::BTreeMap;

use super::matcher::Matcher;
use super::shape::Kin;

/// Pods counted by the domains of a topology.
pub(super) struct Tally<'a> {
    pub(super) topology: usize,
    /// The nodes that count at all; none means every one.
    pub(super) mask: Option<usize>,
    pub(super) who: Who<'a>,
}

pub(super) enum Who<'a> {
    /// Those that all of these take.
    Alike(Vec<Matcher<'a>>),
    /// Those that have a rule about others.
    Minding(Matcher<'a>, Effect),
}

/// What the rule of pods that are there does to one that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It keeps it away.
    Bars,
    /// It makes their domains worth so much more.
    Weighs(i64),
}

/// All tallies, each once.
#[derive(Default)]
pub(super) struct Book<'a> {
    pub(super) tallies: Vec<Tally<'a>>,
    known: BTreeMap<String, usize>,
    /// Which nodes count, by node.
    pub(super) masks: Vec<Vec<bool>>,
    known_masks: BTreeMap<String, usize>,
}

impl<'a> Book<'a> {
    pub(super) fn open(&mut self, tally: Tally<'a>) -> usize {
        let who = match &tally.who {
            Who::Alike(matchers) => matchers.iter().map(Matcher::key).collect::<Vec<_>>().join(" and "),
            Who::Minding(matcher, effect) => format!("{effect:?} {}", matcher.key()),
        };
        let key = format!("{} {:?} {who}", tally.topology, tally.mask);
        let next = self.tallies.len();
        let place = *self.known.entry(key).or_insert(next);
        if place == next {
            self.tallies.push(tally);
        }
        place
    }

    pub(super) fn mask(&mut self, key: String, make: impl FnOnce() -> Vec<bool>) -> usize {
        let next = self.masks.len();
        let place = *self.known_masks.entry(key).or_insert(next);
        if place == next {
            self.masks.push(make());
        }
        place
    }

    /// The tallies in which pods of this kind count because of what they are.
    pub(super) fn counting(&self, kin: &Kin<'_>) -> Vec<usize> {
        let counts = |tally: &Tally<'_>| match &tally.who {
            Who::Alike(matchers) => matchers.iter().all(|matcher| matcher.takes(kin)),
            Who::Minding(..) => false,
        };
        let all = self.tallies.iter().enumerate();
        all.filter(|(_, tally)| counts(tally)).map(|(place, _)| place).collect()
    }

    /// The tallies of pods whose rules are about pods of this kind, and what the rules do.
    pub(super) fn minding(&self, kin: &Kin<'_>) -> Vec<(usize, Effect)> {
        let all = self.tallies.iter().enumerate();
        all.filter_map(|(place, tally)| match &tally.who {
            Who::Minding(matcher, effect) if matcher.takes(kin) => Some((place, *effect)),
            _ => None,
        })
        .collect()
    }
}
