//! The state machine that executes a plan without IO: it is told what happened and says what to do next.
//!
//! Steps begin when all they wait for have ended well, gates included. The first cause of a failure is kept; nothing
//! new begins after it, and what runs is let run to its end, so that whoever undoes the release finds nothing moving.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::health::{Cause, Gate, Health, Sighting, judge};
use crate::plan::{Plan, StepId};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed (also: the beginning).
    Tick,
    /// A step's action ended well.
    StepDone(StepId),
    /// A step's action failed.
    StepFailed(StepId, Cause),
    /// All containers of a service, as one look showed them.
    Seen(String, Vec<Sighting>),
    /// What the target's own rules say of a service now, and what it suffers from where it is not ready. The rollout adds
    /// the time: what is not ready when its gate's start time is over has failed of that.
    Judged(String, Health, Option<Cause>),
    /// Somebody asked to stop.
    Cancelled,
    /// The lease is gone, or can no longer be trusted: nothing more may be written.
    LeaseLost(String),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Execute this step's action and report back.
    Execute(StepId),
    /// A service's health changed: tell people.
    Report {
        /// The service.
        service: String,
        /// What it is now.
        health: Health,
    },
    /// It is over. Nothing is running any more.
    Finish(Verdict),
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every step and every gate ended well.
    Done,
    /// It failed, and this is the first cause.
    Failed(Evidence),
    /// Somebody asked to stop.
    Cancelled,
    /// The lease was lost: whoever holds it now decides what happens; nothing may be put back.
    LeaseLost(String),
}

/// The first cause of a failure, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Evidence {
    /// The service or thing that failed.
    pub subject: String,
    /// Why.
    pub cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum StepState {
    Waiting,
    Running,
    /// The action is done; its gate has been open since then.
    Gated(Duration),
    Done,
    Failed,
}

#[derive(Debug, Clone)]
struct Node {
    id: StepId,
    subject: String,
    gate: Option<Gate>,
    state: StepState,
    reported: Option<Health>,
    /// How many steps it still waits for.
    before: usize,
    /// Those that wait for it.
    then: Vec<usize>,
}

/// One execution of one plan.
///
/// Thousands of objects are judged over and over while they get ready: what an input costs does not depend on how many
/// steps the plan has.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// In the plan's order, in which commands are given.
    nodes: Vec<Node>,
    places: BTreeMap<StepId, usize>,
    subjects: BTreeMap<String, Vec<usize>>,
    /// Steps that wait for nothing any more and have not begun.
    ready: BTreeSet<usize>,
    running: usize,
    done: usize,
    ending: Option<Verdict>,
    finished: bool,
}

impl Rollout {
    /// A rollout of this plan that has not begun.
    pub fn new<A>(plan: &Plan<A>) -> Self {
        let places: BTreeMap<StepId, usize> =
            plan.steps.iter().enumerate().map(|(place, step)| (step.id.clone(), place)).collect();
        let mut nodes: Vec<Node> = plan
            .steps
            .iter()
            .map(|step| Node {
                id: step.id.clone(),
                subject: step.subject.clone(),
                gate: step.gate.clone(),
                state: StepState::Waiting,
                reported: None,
                before: step.after.len(),
                then: Vec::new(),
            })
            .collect();
        let mut subjects: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, step) in plan.steps.iter().enumerate() {
            subjects.entry(step.subject.clone()).or_default().push(place);
            for before in step.after.iter().filter_map(|id| places.get(id)) {
                if let Some(node) = nodes.get_mut(*before) {
                    node.then.push(place);
                }
            }
        }
        let free = nodes.iter().enumerate().filter(|(_, node)| node.before == 0);
        let ready = free.map(|(place, _)| place).collect();
        Self { nodes, places, subjects, ready, running: 0, done: 0, ending: None, finished: false }
    }

    /// The services whose health is waited for or guarded now: whoever drives the rollout should look at them.
    pub fn watched(&self) -> BTreeSet<&str> {
        self.nodes
            .iter()
            .filter(|node| node.gate.is_some() && matches!(node.state, StepState::Gated(_) | StepState::Done))
            .map(|node| node.subject.as_str())
            .collect()
    }

    /// Those of them that are not up yet.
    pub fn awaited(&self) -> BTreeSet<&str> {
        let gated = self.nodes.iter().filter(|node| matches!(node.state, StepState::Gated(_)));
        gated.filter(|node| node.gate.is_some()).map(|node| node.subject.as_str()).collect()
    }

    /// Takes in what happened at `now` (time since the rollout began) and says what to do. After [`Command::Finish`]
    /// it says nothing more.
    pub fn advance(&mut self, now: Duration, input: Input) -> Vec<Command> {
        if self.finished {
            return Vec::new();
        }
        let mut commands = Vec::new();
        match input {
            Input::Tick => self.check_overdue(now, &mut commands),
            Input::StepDone(id) => self.finish_step(&id, now),
            Input::StepFailed(id, cause) => self.fail_step(&id, cause),
            Input::Seen(service, sightings) => {
                self.take_health(&service, now, &mut commands, |gate, waited| {
                    judge(gate, &sightings, waited)
                });
            }
            Input::Judged(service, health, suffers) => {
                self.take_health(&service, now, &mut commands, |gate, waited| {
                    health.clone().within(gate, waited, suffers.as_ref())
                });
            }
            Input::Cancelled => self.end(Verdict::Cancelled),
            Input::LeaseLost(why) => self.ending = Some(Verdict::LeaseLost(why)),
        }
        if self.ending.is_none() {
            commands.extend(self.start_ready());
        }
        commands.extend(self.conclude());
        commands
    }

    /// The first ending counts; only a lost lease overrides it.
    fn end(&mut self, verdict: Verdict) {
        self.ending.get_or_insert(verdict);
    }

    fn finish_step(&mut self, id: &StepId, now: Duration) {
        let Some(place) = self.places.get(id).copied() else { return };
        let gated = self.nodes.get(place).is_some_and(|node| node.gate.is_some());
        self.enter(place, if gated { StepState::Gated(now) } else { StepState::Done });
    }

    fn fail_step(&mut self, id: &StepId, cause: Cause) {
        let Some(place) = self.places.get(id).copied() else { return };
        self.enter(place, StepState::Failed);
        let subject = self.nodes.get(place).map(|node| node.subject.clone()).unwrap_or_default();
        self.end(Verdict::Failed(Evidence { subject, cause }));
    }

    /// A step passes into another state.
    fn enter(&mut self, place: usize, state: StepState) {
        let Some(node) = self.nodes.get_mut(place) else { return };
        let before = std::mem::replace(&mut node.state, state);
        let (was, is) = (before == StepState::Done, node.state == StepState::Done);
        self.running -= usize::from(before == StepState::Running);
        self.running += usize::from(node.state == StepState::Running);
        self.done -= usize::from(was);
        self.done += usize::from(is);
        // Only a failure ends what is done, and after it nothing begins: who waited need not wait again.
        if is && !was {
            for next in node.then.clone() {
                if let Some(node) = self.nodes.get_mut(next) {
                    node.before -= 1;
                    if node.before == 0 {
                        self.ready.insert(next);
                    }
                }
            }
        }
    }

    fn take_health(
        &mut self,
        service: &str,
        now: Duration,
        commands: &mut Vec<Command>,
        judge: impl Fn(&Gate, Duration) -> Health,
    ) {
        let mut failed = None;
        for place in self.subjects.get(service).cloned().unwrap_or_default() {
            let Some(node) = self.nodes.get(place) else { continue };
            let (Some(gate), Some(since)) = (&node.gate, gated_since(&node.state, now)) else { continue };
            let health = judge(gate, now.saturating_sub(since));
            let was_up = node.state == StepState::Done;
            match &health {
                Health::Ready(_) => self.enter(place, StepState::Done),
                Health::Failed(cause) => {
                    self.enter(place, StepState::Failed);
                    failed = Some(cause.clone());
                }
                // A health check that wavers after it has passed once is no reason to take a release back.
                Health::Starting(_) | Health::Absent if was_up => continue,
                Health::Starting(_) | Health::Absent => {}
            }
            if let Some(node) = self.nodes.get_mut(place)
                && node.reported.as_ref() != Some(&health)
            {
                node.reported = Some(health.clone());
                commands.push(Command::Report { service: service.to_owned(), health });
            }
        }
        if let Some(cause) = failed {
            self.end(Verdict::Failed(Evidence { subject: service.to_owned(), cause }));
        }
    }

    /// A service of which nothing is seen any more (the engine hangs) must not be waited for without end.
    fn check_overdue(&mut self, now: Duration, commands: &mut Vec<Command>) {
        const GRACE: Duration = Duration::from_secs(15);
        let overdue = self.nodes.iter().find_map(|node| match (&node.state, &node.gate) {
            (StepState::Gated(since), Some(gate)) if now > *since + gate.start + GRACE => {
                Some((node.subject.clone(), gate.start))
            }
            _ => None,
        });
        if let Some((subject, start)) = overdue {
            let reason =
                format!("not up within {} s, and the engine does not tell its state", start.as_secs());
            let cause = Cause::new(reason);
            commands
                .push(Command::Report { service: subject.clone(), health: Health::Failed(cause.clone()) });
            self.end(Verdict::Failed(Evidence { subject, cause }));
        }
    }

    fn start_ready(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some(place) = self.ready.pop_first() {
            self.enter(place, StepState::Running);
            commands.extend(self.nodes.get(place).map(|node| Command::Execute(node.id.clone())));
        }
        commands
    }

    fn conclude(&mut self) -> Option<Command> {
        let running = self.running > 0;
        let done = self.done == self.nodes.len();
        let verdict = match &self.ending {
            // A lost lease does not wait: what runs belongs to somebody else's responsibility now.
            Some(Verdict::LeaseLost(why)) => Verdict::LeaseLost(why.clone()),
            _ if running => return None,
            Some(verdict) => verdict.clone(),
            None if done => Verdict::Done,
            None => return None,
        };
        self.finished = true;
        Some(Command::Finish(verdict))
    }
}

/// Since when a gate has been waited for; one that was passed is only guarded, its time does not run out again.
fn gated_since(state: &StepState, now: Duration) -> Option<Duration> {
    match state {
        StepState::Gated(since) => Some(*since),
        StepState::Done => Some(now),
        StepState::Waiting | StepState::Running | StepState::Failed => None,
    }
}

#[cfg(test)]
mod tests;
