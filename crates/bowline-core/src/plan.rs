//! A plan: what will be changed on a target, in which order, and what must hold before and after each change.
//!
//! A plan is plain data. It leaves nothing to choose to whoever executes it: digests, names, order and timeouts are in
//! the steps. Showing a plan and executing it start from the same value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::health::Gate;

/// The name of a step, unique in its plan and readable: `pull:user`, `recreate:chat`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StepId(String);

impl StepId {
    /// The step that does `verb` to `subject`.
    pub fn new(verb: &str, subject: &str) -> Self {
        Self(format!("{verb}:{subject}"))
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What must still be so on the target when a step begins; otherwise somebody else changed it since the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precondition {
    /// Nothing: the step is harmless whatever is there.
    Nothing,
    /// Exactly these containers (ids) belong to the subject.
    Containers(BTreeSet<String>),
}

/// One change. `A` is the target's own vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step<A> {
    /// Its name.
    pub id: StepId,
    /// The service or thing it is about.
    pub subject: String,
    /// What is done.
    pub action: A,
    /// The steps that must have ended well, gates included, before this one begins.
    pub after: BTreeSet<StepId>,
    /// What must hold when it begins.
    pub expect: Precondition,
    /// What must come true after it before it counts as ended.
    pub gate: Option<Gate>,
    /// How long the action itself (without its gate) may take.
    #[serde(serialize_with = "seconds")]
    pub timeout: Duration,
}

/// All steps. An empty plan says that the target is as it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan<A> {
    /// The number of the revision that is there now and that a failure goes back to.
    pub base: Option<u64>,
    /// The steps; each stands behind all that it waits for.
    pub steps: Vec<Step<A>>,
}

/// Why steps make no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Steps wait for each other in a circle.
    #[error("these wait for each other in a circle: {}", .0.join(" -> "))]
    Circle(Vec<String>),
}

impl<A> Plan<A> {
    /// Puts steps into an order in which each stands behind all that it waits for; among those that could come next,
    /// the given order is kept. Names in `after` that no step has are dropped: nothing is to be done for them.
    ///
    /// # Errors
    /// When steps wait for each other in a circle.
    pub fn order(base: Option<u64>, steps: Vec<Step<A>>) -> Result<Self, PlanError> {
        let known: BTreeSet<StepId> = steps.iter().map(|step| step.id.clone()).collect();
        let mut waiting = steps;
        for step in &mut waiting {
            step.after.retain(|id| known.contains(id));
        }
        let mut placed = BTreeSet::new();
        let mut ordered = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let (ready, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|step| step.after.is_subset(&placed));
            if ready.is_empty() {
                return Err(PlanError::Circle(rest.iter().map(|step| step.subject.clone()).collect()));
            }
            placed.extend(ready.iter().map(|step| step.id.clone()));
            ordered.extend(ready);
            waiting = rest;
        }
        Ok(Self { base, steps: ordered })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The step of this name.
    pub fn step(&self, id: &StepId) -> Option<&Step<A>> {
        self.steps.iter().find(|step| step.id == *id)
    }

    /// The steps in waves: all of one wave may run at the same time, once the waves before it have ended.
    pub fn waves(&self) -> Vec<Vec<&Step<A>>> {
        let mut depth: BTreeMap<&StepId, usize> = BTreeMap::new();
        let mut waves: Vec<Vec<&Step<A>>> = Vec::new();
        for step in &self.steps {
            let level =
                step.after.iter().filter_map(|id| depth.get(id)).max().map_or(0, |deepest| deepest + 1);
            depth.insert(&step.id, level);
            if waves.len() <= level {
                waves.resize_with(level + 1, Vec::new);
            }
            if let Some(wave) = waves.get_mut(level) {
                wave.push(step);
            }
        }
        waves
    }
}

/// Durations are seconds in everything that Bowline prints for machines.
///
/// # Errors
/// Those of the serializer.
pub fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(id: &str, after: &[&str]) -> Step<()> {
        Step {
            id: StepId::new("do", id),
            subject: id.into(),
            action: (),
            after: after.iter().map(|id| StepId::new("do", id)).collect(),
            expect: Precondition::Nothing,
            gate: None,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn steps_stand_behind_what_they_wait_for() {
        let plan =
            Plan::order(None, vec![step("c", &["b"]), step("a", &[]), step("b", &["a", "gone"])]).unwrap();
        let subjects: Vec<_> = plan.steps.iter().map(|step| step.subject.as_str()).collect();
        assert_eq!(subjects, ["a", "b", "c"]);
        assert_eq!(plan.waves().iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn a_circle_is_named() {
        let error = Plan::order(None, vec![step("a", &["b"]), step("b", &["a"])]).unwrap_err();
        assert_eq!(error.to_string(), "these wait for each other in a circle: a -> b");
    }
}
