//! What a look before a deploy finds, on whatever kind of target.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kube::object::Origin;

/// Something found before a deploy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The service, object or thing it is about.
    pub subject: String,
    /// What is wrong or weak.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
    /// Where it was written, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Whether nothing is wrong: it works, and proves little.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub weak: bool,
}

impl Finding {
    /// A finding without a place in a file.
    pub fn new(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (subject, text, remedy) = (subject.into(), text.into(), remedy.into());
        Self { subject, text, remedy, origin: None, weak: false }
    }

    /// The same, written at this place.
    #[must_use]
    pub fn at(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }

    /// The same, as a weakness.
    #[must_use]
    pub fn weak(mut self) -> Self {
        self.weak = true;
        self
    }
}

/// So many subjects of a group are named.
const NAMED: usize = 3;

/// Findings that say the same of several subjects. Its text is a line: `user: it has no probe — add one`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'f>(Vec<&'f Finding>);

impl Group<'_> {
    /// Whether they are weaknesses.
    pub fn is_weak(&self) -> bool {
        self.0.iter().all(|finding| finding.weak)
    }
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else { return Ok(()) };
        match (&first.origin, self.0.len()) {
            // Of several, one place would be as good as none: their names say where to look.
            (Some(origin), 1) => write!(f, "{origin}: {}", first.subject)?,
            _ => {
                let named = self.0.iter().take(NAMED).map(|finding| finding.subject.as_str());
                f.write_str(&named.collect::<Vec<_>>().join(", "))?;
            }
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => {}
            more => write!(f, " ... and {more} more")?,
        }
        write!(f, ": {} — {}", first.text, first.remedy)
    }
}

/// What two findings of a group have in common.
type Sameness<'f> = (&'f str, &'f str, bool);

fn sameness(finding: &Finding) -> Sameness<'_> {
    (&finding.text, &finding.remedy, finding.weak)
}

/// Puts findings together that have the same text and remedy, where there are more than so many alike; a group stands where
/// its first finding stood. Two hundred lines that say the same hide the one that does not.
pub fn group(findings: &[Finding], alike: usize) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: BTreeMap<Sameness<'_>, usize> = BTreeMap::new();
    let mut counts: BTreeMap<Sameness<'_>, usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry(sameness(finding)).or_default() += 1;
    }
    for finding in findings {
        let place = places.get(&sameness(finding)).copied();
        if let Some(group) = place.and_then(|place| groups.get_mut(place)) {
            group.0.push(finding);
            continue;
        }
        if counts.get(&sameness(finding)).is_some_and(|count| *count > alike) {
            places.insert(sameness(finding), groups.len());
        }
        groups.push(Group(vec![finding]));
    }
    groups
}

/// What was found: refusals stop the deploy, warnings do not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// These would make it fail.
    pub refusals: Vec<Finding>,
    /// These are worth knowing.
    pub warnings: Vec<Finding>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_the_same_of_many_is_one_line_that_counts_them() {
        let origin = Origin { file: "a.yaml".into(), line: 7, column: 1 };
        let mut all: Vec<Finding> =
            (0..250).map(|number| Finding::new(format!("w{number}"), "no probe", "add one").weak()).collect();
        all.insert(1, Finding::new("disk", "it is full", "make room").at(&origin));
        let lines = |alike| group(&all, alike).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            lines(1),
            ["w0, w1, w2 ... and 247 more: no probe — add one", "a.yaml:7:1: disk: it is full — make room"]
        );
        assert_eq!(lines(250).len(), 251, "no more than that are alike");
        assert_eq!(lines(249).len(), 2);
        assert_eq!(group(&all, 1).iter().map(Group::is_weak).collect::<Vec<_>>(), [true, false]);
        let two = [Finding::new("a", "x", "y"), Finding::new("b", "x", "y"), Finding::new("c", "x", "z")];
        let lines: Vec<String> = group(&two, 1).iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["a, b: x — y", "c: x — z"]);
    }
}
