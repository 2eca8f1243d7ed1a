//! The order as a value: who waits for whom, and the row in which all can be applied.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::kube::object::ObjectId;

use super::reason::Reason;
use super::{Node, Until};

/// What one waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// What must be there first.
    pub to: Node,
    /// What is waited for in an object; a barrier is passed when everything that it stands for is.
    pub until: Until,
    /// Why.
    pub why: Reason,
}

/// One place in the row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What is here.
    pub node: Node,
    /// What must come first; each is named once.
    pub after: Vec<Edge>,
}

/// All objects in a row in which each stands behind all that it waits for, with barriers where many wait for many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Ordering {
    entries: Vec<Entry>,
}

impl Ordering {
    /// Entries that stand in a row already.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        Self { entries: dissolve(entries) }
    }

    /// The row.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many edges there are.
    pub fn size(&self) -> usize {
        self.entries.iter().map(|entry| entry.after.len()).sum()
    }

    /// What is left when only some objects are applied, as those that are as they should be need not be waited for.
    /// What waited for groups of which nothing is left waits for those before them.
    #[must_use]
    pub fn among(&self, applied: impl Fn(&ObjectId) -> bool) -> Self {
        let there = |node: &Node| match node {
            Node::Object(id) => applied(id),
            Node::Barrier(_) => true,
        };
        let entries = self.entries.iter().filter(|entry| there(&entry.node)).map(|entry| Entry {
            node: entry.node.clone(),
            after: entry.after.iter().filter(|edge| there(&edge.to)).cloned().collect(),
        });
        Self { entries: dissolve(entries.collect()) }
    }
}

/// Takes away the barriers that are not worth it: where direct edges are no more than those to and from the barrier, they
/// say more. Nothing is waited for less.
fn dissolve(entries: Vec<Entry>) -> Vec<Entry> {
    let mut users: BTreeMap<Node, usize> = BTreeMap::new();
    for edge in entries.iter().flat_map(|entry| &entry.after) {
        if matches!(edge.to, Node::Barrier(_)) {
            *users.entry(edge.to.clone()).or_default() += 1;
        }
    }
    let mut dissolved: BTreeMap<Node, Vec<Edge>> = BTreeMap::new();
    let mut kept = Vec::with_capacity(entries.len());
    for Entry { node, after } in entries {
        let after = expand(after, &dissolved);
        let (waiting, stand) = (users.get(&node).copied().unwrap_or(0), after.len());
        if matches!(node, Node::Barrier(_)) && waiting * stand <= waiting + stand {
            dissolved.insert(node, after);
        } else {
            kept.push(Entry { node, after });
        }
    }
    kept
}

/// Puts what dissolved barriers stood for in their place, and names nothing twice: the first reason counts, and the
/// stricter wait.
fn expand(after: Vec<Edge>, dissolved: &BTreeMap<Node, Vec<Edge>>) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::with_capacity(after.len());
    for edge in after {
        match dissolved.get(&edge.to).filter(|_| matches!(edge.to, Node::Barrier(_))) {
            Some(stood) => edges.extend(stood.iter().map(|member| Edge {
                to: member.to.clone(),
                until: member.until,
                why: edge.why.clone(),
            })),
            None => edges.push(edge),
        }
    }
    let mut sorted: Vec<(usize, &Edge)> = edges.iter().enumerate().collect();
    sorted.sort_by(|(place, edge), (other, there)| edge.to.cmp(&there.to).then(place.cmp(other)));
    let mut first: BTreeMap<usize, Until> = BTreeMap::new();
    for same in sorted.chunk_by(|(_, edge), (_, next)| edge.to == next.to) {
        let strictest = same.iter().map(|(_, edge)| edge.until).max();
        first.extend(same.first().map(|(place, _)| *place).zip(strictest));
    }
    if first.len() == edges.len() {
        return edges;
    }
    let named = edges.into_iter().enumerate();
    named.filter_map(|(place, edge)| Some(Edge { until: *first.get(&place)?, ..edge })).collect()
}

/// The order in lines, for people: `Deployment chat/user after ConfigMap chat/settings, which it mounts`.
pub fn describe(ordering: &Ordering) -> Vec<String> {
    let line = |entry: &Entry| {
        let reasons: Vec<String> = entry
            .after
            .iter()
            .map(|edge| match edge.why {
                Reason::Member => edge.to.to_string(),
                _ => format!("{}, {}", edge.to, edge.why),
            })
            .collect();
        if reasons.is_empty() {
            entry.node.to_string()
        } else {
            format!("{} after {}", entry.node, reasons.join("; "))
        }
    };
    ordering.entries.iter().map(line).collect()
}
