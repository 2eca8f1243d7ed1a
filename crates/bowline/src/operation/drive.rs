//! Executes a plan on a Docker host: asks the rollout what to do, does it, and tells it what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bowline_compose::engine::{Change, Occurrence, Watch};
use bowline_core::compose::observed::Container;
use bowline_core::compose::planning::Action;
use bowline_core::event::EventKind;
use bowline_core::health::{Cause, Health, ProcessState};
use bowline_core::plan::{Plan, Step, StepId};
use bowline_core::rollout::{Command, Input, Rollout, Verdict};
use tokio::sync::{Notify, mpsc};

use super::apply::{Applier, Ended};
use super::sight::Sights;
use crate::record::Recorder;
use crate::ui::plan::describe;

/// How often services are looked at while their health is waited for. What dies is seen at once, by the engine's events.
const LOOK: Duration = Duration::from_millis(400);

/// How often those are looked at that are up already, while events tell what dies: asking them over and over would slow
/// down the start of the others.
const REVIEW: Duration = Duration::from_secs(2);

/// How much later than a look an event may come that happened before it.
const EVENT_DELAY: Duration = Duration::from_millis(250);

/// Somebody's wish to stop, heard by whoever waits.
#[derive(Clone, Default)]
pub struct Cancel {
    asked: Arc<Notify>,
    answer: Arc<Mutex<&'static str>>,
}

impl Cancel {
    /// Hears Ctrl-C and SIGTERM: the first asks to stop, and `answer` is said; a second one ends the process.
    pub fn on_signals(ui: &crate::ui::Ui, answer: &'static str) -> Self {
        let cancel = Self::default();
        cancel.answer(answer);
        let (told, ui) = (cancel.clone(), ui.clone());
        tokio::spawn(async move {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            let mut asked = false;
            loop {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                if asked {
                    // Not by a signal: a core file would hold the logins of registries.
                    std::process::exit(130);
                }
                asked = true;
                ui.warn(*told.answer.lock().unwrap_or_else(PoisonError::into_inner));
                told.asked.notify_one();
            }
        });
        cancel
    }

    /// Ends when somebody asks to stop.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// From now on this is said when somebody asks to stop.
    pub fn answer(&self, answer: &'static str) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}

/// Executes the plan to its end, whatever that is.
pub(super) async fn drive(
    applier: &Arc<Applier>,
    plan: &Plan<Action>,
    recorder: &Recorder,
    watch: Watch,
    cancel: &Cancel,
) -> Verdict {
    let mut driver = Driver::new(applier, plan, recorder, watch);
    let mut input = Input::Tick;
    loop {
        for command in driver.rollout.advance(driver.started.elapsed(), input) {
            match command {
                Command::Execute(id) => driver.wanted.push(id),
                Command::Report { service, health } => report(recorder, service, &health),
                Command::Finish(verdict) => return verdict,
            }
        }
        driver.execute_wanted();
        input = driver.next_input(cancel).await;
    }
}

struct Driver<'r> {
    applier: Arc<Applier>,
    plan: &'r Plan<Action>,
    recorder: &'r Recorder,
    rollout: Rollout,
    started: Instant,
    begun: BTreeMap<StepId, Instant>,
    wanted: Vec<StepId>,
    tell: mpsc::UnboundedSender<Ended>,
    told: mpsc::UnboundedReceiver<Ended>,
    /// Nothing more comes from it after its end.
    watch: Option<Watch>,
    sights: Sights,
    /// Services whose containers changed: looked at before the next tick.
    stirred: BTreeSet<String>,
    /// When they changed: looks from before do not show it.
    stirred_at: Instant,
    pending: Vec<Input>,
    looked: Instant,
    /// When all were looked at.
    reviewed: Instant,
}

impl<'r> Driver<'r> {
    fn new(applier: &Arc<Applier>, plan: &'r Plan<Action>, recorder: &'r Recorder, watch: Watch) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self {
            applier: applier.clone(),
            plan,
            recorder,
            rollout: Rollout::new(plan),
            started: Instant::now(),
            begun: BTreeMap::new(),
            wanted: Vec::new(),
            tell,
            told,
            watch: Some(watch),
            sights: Sights::default(),
            stirred: BTreeSet::new(),
            stirred_at: Instant::now(),
            pending: Vec::new(),
            looked: Instant::now(),
            reviewed: Instant::now(),
        }
    }

    /// Starts what the rollout asked for. Containers that may be replaced at the same time are given to Compose in one
    /// call: starting it eight times costs seconds.
    fn execute_wanted(&mut self) {
        let steps: Vec<Step<Action>> =
            self.wanted.drain(..).filter_map(|id| self.plan.step(&id)).cloned().collect();
        for step in &steps {
            self.begun.insert(step.id.clone(), Instant::now());
            let what = describe(step);
            self.recorder.emit(EventKind::StepStarted { step: step.id.to_string(), what });
        }
        let (started, single): (Vec<_>, Vec<_>) = steps
            .into_iter()
            .partition(|step| matches!(step.action, Action::Recreate { .. } | Action::Start { .. }));
        let (applier, tell) = (self.applier.clone(), self.tell.clone());
        if !started.is_empty() {
            tokio::spawn(async move {
                let _ = tell.send(applier.start_services(&started).await);
            });
        }
        for step in single {
            let (applier, tell) = (self.applier.clone(), self.tell.clone());
            tokio::spawn(async move {
                let work = tokio::time::timeout(step.timeout, applier.apply(&step));
                let outcome = match work.await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(Cause::new(format!("it took longer than {} s", step.timeout.as_secs()))),
                };
                let _ = tell.send(Ended { at: Instant::now(), outcomes: vec![(step.id, outcome)] });
            });
        }
    }

    async fn next_input(&mut self, cancel: &Cancel) -> Input {
        loop {
            // First of all: what was seen before the lock was lost means nothing any more.
            if let Err(lost) = self.applier.authority().check() {
                return Input::LeaseLost(lost.to_string());
            }
            if let Some(input) = self.pending.pop() {
                return input;
            }
            // Steps that end together are one reason to look.
            if !self.stirred.is_empty() && self.told.is_empty() {
                let stirred = std::mem::take(&mut self.stirred);
                self.look(Some(stirred), self.stirred_at).await;
                continue;
            }
            let pause = LOOK.saturating_sub(self.looked.elapsed());
            tokio::select! {
                biased;
                () = cancel.asked() => return Input::Cancelled,
                Some(Ended { at, outcomes }) = self.told.recv() => {
                    self.stirred_at = self.stirred_at.max(at);
                    let inputs: Vec<Input> =
                        outcomes.into_iter().map(|(id, outcome)| self.take_outcome(id, outcome)).collect();
                    // The last that is put in is the next that is taken out.
                    self.pending.extend(inputs.into_iter().rev());
                }
                occurrence = next_occurrence(&mut self.watch) => self.take_occurrence(occurrence),
                () = tokio::time::sleep(pause) => {
                    self.looked = Instant::now();
                    let review = self.watch.is_none() || self.reviewed.elapsed() >= REVIEW;
                    let only = (!review).then(|| self.rollout.awaited().into_iter().map(str::to_owned).collect());
                    if review {
                        self.reviewed = self.looked;
                    }
                    self.look(only, self.looked).await;
                    self.pending.insert(0, Input::Tick);
                }
            }
        }
    }

    fn take_outcome(&mut self, id: StepId, outcome: Result<(), Cause>) -> Input {
        match outcome {
            Ok(()) => {
                let seconds = self.begun.get(&id).map_or(0.0, |begun| begun.elapsed().as_secs_f64());
                self.recorder.emit(EventKind::StepFinished { step: id.to_string(), seconds });
                self.stirred.extend(self.plan.step(&id).map(|step| step.subject.clone()));
                Input::StepDone(id)
            }
            Err(cause) => {
                let subject = self.plan.step(&id).map(|step| step.subject.clone()).unwrap_or_default();
                if !self.applier.optional.contains(&subject) {
                    return Input::StepFailed(id, cause);
                }
                let text =
                    format!("{subject}, which this release does not change, could not be started: {cause}");
                self.recorder.emit(EventKind::Warning { text });
                self.applier.left.lock().unwrap_or_else(PoisonError::into_inner).insert(subject);
                Input::StepDone(id)
            }
        }
    }

    fn take_occurrence(&mut self, occurrence: Option<Occurrence>) {
        let Some(occurrence) = occurrence else { return };
        if let Change::Died { exit_code, oom_killed } = occurrence.change {
            self.sights.note_death(&occurrence.container, exit_code, oom_killed);
        }
        if self.rollout.watched().contains(occurrence.service.as_str()) {
            self.stirred.insert(occurrence.service);
            self.stirred_at = Instant::now();
        }
    }

    /// A look may be faster than the event that tells with which exit code a restarted container died: evidence is
    /// worth waiting a moment for it.
    async fn hear_deaths(&mut self, containers: &[Container]) {
        let deadline = tokio::time::Instant::now() + EVENT_DELAY;
        let unheard = |sights: &Sights, container: &Container| {
            container.state == ProcessState::Running
                && (container.restarts > 0 || container.oom_killed)
                && !sights.heard_death(&container.id)
        };
        while self.watch.is_some() && containers.iter().any(|there| unheard(&self.sights, there)) {
            match tokio::time::timeout_at(deadline, next_occurrence(&mut self.watch)).await {
                Ok(occurrence) => self.take_occurrence(occurrence),
                Err(_) => return,
            }
        }
    }

    /// Looks at the services whose health counts now; at some of them only, where only those stirred. What was seen since
    /// then is not looked at again.
    async fn look(&mut self, only: Option<BTreeSet<String>>, since: Instant) {
        let watched: BTreeSet<String> = self
            .rollout
            .watched()
            .into_iter()
            .filter(|service| only.as_ref().is_none_or(|only| only.contains(*service)))
            .map(str::to_owned)
            .collect();
        if watched.is_empty() {
            return;
        }
        // An engine that does not answer now may answer at the next look; the rollout's own time ends the waiting.
        let Ok(containers) = self.applier.containers(&watched, since).await else { return };
        self.hear_deaths(&containers).await;
        for (service, sightings) in self.sights.look(&self.applier, watched, &containers).await {
            self.pending.push(Input::Seen(service, sightings));
        }
    }
}

async fn next_occurrence(watch: &mut Option<Watch>) -> Option<Occurrence> {
    let Some(open) = watch else { return std::future::pending().await };
    match open.next().await {
        Some(Ok(occurrence)) => Some(occurrence),
        // Without events it goes on by looking.
        Some(Err(_)) | None => {
            *watch = None;
            None
        }
    }
}

pub(super) fn report(recorder: &Recorder, service: String, health: &Health) {
    let (state, reason) = match health {
        Health::Absent => ("absent", String::new()),
        Health::Starting(why) => ("starting", why.clone()),
        Health::Ready(how) => ("ready", (*how).to_owned()),
        Health::Failed(cause) => ("failed", cause.reason.clone()),
    };
    recorder.emit(EventKind::Health { service, state: state.into(), reason });
}
