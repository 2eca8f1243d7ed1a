//! Which pods a rule is about.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kube::order::mention::list;
use crate::kube::scheduling::selector::{is_empty, selects};

use super::shape::Kin;

/// A selector of pods, with the namespaces in which it counts.
#[derive(Default)]
pub(super) struct Matcher<'a> {
    namespaces: BTreeSet<String>,
    /// Whether pods of all namespaces count, known or not.
    everywhere: bool,
    selector: Option<&'a Value>,
    /// Labels that are to have, or not to have, the value that the pod has of whom the rule is.
    own: Vec<(&'a str, bool, &'a str)>,
    /// Only the pods of this owner, whatever their labels.
    crew: Option<usize>,
}

/// The namespaces that are known, with their labels.
pub(super) type Namespaces<'a> = std::collections::BTreeMap<&'a str, Option<&'a Value>>;

impl<'a> Matcher<'a> {
    /// Of a constraint on how pods spread, which knows but its own namespace.
    pub(super) fn of_spread(constraint: &'a Value, kin: &Kin<'a>) -> Self {
        Self {
            namespaces: BTreeSet::from([kin.namespace.to_owned()]),
            selector: constraint.get("labelSelector"),
            own: own(constraint, "/matchLabelKeys", true, kin).collect(),
            ..Self::default()
        }
    }

    /// The pods of one owner.
    pub(super) fn of_crew(crew: usize, kin: &Kin<'a>) -> Self {
        Self { namespaces: BTreeSet::from([kin.namespace.to_owned()]), crew: Some(crew), ..Self::default() }
    }

    /// Of a term of pod affinity. `arriving` is whether it is that of the pod that is looked for a node for.
    ///
    /// The scheduler resolves the namespaces' selector of an arriving pod to names, and yet asks that selector again with
    /// no labels at all: one that asks for the absence of a label takes every namespace.
    pub(super) fn of_term(
        term: &'a Value,
        kin: &Kin<'a>,
        namespaces: &Namespaces<'a>,
        arriving: bool,
    ) -> Self {
        let selector = term.get("namespaceSelector").filter(|selector| selector.is_object());
        let mut names: BTreeSet<String> =
            list(term, "/namespaces").filter_map(Value::as_str).map(str::to_owned).collect();
        if names.is_empty() && selector.is_none() {
            names.insert(kin.namespace.to_owned());
        }
        for (name, labels) in namespaces {
            let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
            if selector.is_some() && selects(selector, label) {
                names.insert((*name).to_owned());
            }
        }
        let own = own(term, "/matchLabelKeys", true, kin).chain(own(term, "/mismatchLabelKeys", false, kin));
        Self {
            namespaces: names,
            everywhere: arriving && selector.is_some() && selects(selector, |_| None),
            selector: term.get("labelSelector"),
            own: own.collect(),
            crew: None,
        }
    }

    pub(super) fn takes(&self, kin: &Kin<'_>) -> bool {
        if !self.everywhere && !self.namespaces.contains(kin.namespace) {
            return false;
        }
        if let Some(crew) = self.crew {
            return kin.crew == Some(crew);
        }
        selects(self.selector, |name| kin.labels.get(name).copied())
            && self.own.iter().all(|(name, same, value)| (kin.labels.get(name) == Some(value)) == *same)
    }

    /// Whether it asks for nothing. Of such a constraint the scheduler counts no pods at all, but the new one.
    pub(super) fn is_empty(&self) -> bool {
        self.crew.is_none() && self.own.is_empty() && is_empty(self.selector)
    }

    /// The same text for the same matcher.
    pub(super) fn key(&self) -> String {
        let selector = self.selector.map(Value::to_string);
        let (names, own) = (&self.namespaces, &self.own);
        format!("{names:?} {} {selector:?} {own:?} {:?}", self.everywhere, self.crew)
    }
}

fn own<'a>(
    rule: &'a Value,
    field: &'static str,
    same: bool,
    kin: &Kin<'a>,
) -> impl Iterator<Item = (&'a str, bool, &'a str)> {
    let keys = list(rule, field).filter_map(Value::as_str);
    keys.filter_map(move |key| Some((key, same, *kin.labels.get(key)?)))
}
