//! Executes a plan on a cluster: asks the rollout what to do, does it, and tells it what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_core::event::EventKind;
use bowline_core::health::{Cause, Health};
use bowline_core::kube::object::{Kind, ObjectId};
use bowline_core::kube::planning::Action;
use bowline_core::kube::readiness::{Budget, Logs, Sight, first_cause, judge, troubles, wedged};
use bowline_core::plan::{Plan, Step, StepId};
use bowline_core::rollout::{Command, Input, Rollout, Verdict};
use bowline_kube::log::Source;
use bowline_kube::watch::{self, Watch};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use super::apply::Applier;
use crate::clock;
use crate::operation::Cancel;
use crate::operation::drive::report;
use crate::record::Recorder;
use crate::ui::cluster::describe;

/// How often what is waited for is judged again although nothing was seen to change: time itself counts, too.
const LOOK: Duration = Duration::from_millis(500);
/// How much longer than a look takes is waited until the next one, however much happens meanwhile.
const REST: u32 = 4;
/// How often a workload that is not ready yet is told of.
const TELL: Duration = Duration::from_secs(3);
/// How many lines of a container that died are kept.
const LINES: u32 = 20;

/// With what a kubelet answers instead of the log of a container that was removed already.
const NO_LOG: &str = "unable to retrieve container logs for ";

/// How patient a rollout is, and what time it is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) settle: Duration,
    pub(super) restarts: u32,
    /// How far the API server's clock is ahead of ours.
    pub(super) ahead: jiff::SignedDuration,
    /// Whether it is the way back.
    pub(super) back: bool,
    /// When what is waited for and was not written now was written, by our clock: by a run that did not end.
    pub(super) written: Timestamp,
}

/// Executes the plan to its end, whatever that is.
pub(super) async fn drive(
    applier: &Arc<Applier>,
    plan: &Plan<Action>,
    recorder: &Recorder,
    watch: Watch,
    patience: Patience,
    cancel: &Cancel,
) -> Verdict {
    let mut driver = Driver::new(applier, plan, recorder, watch, patience);
    let mut input = Input::Tick;
    loop {
        for command in driver.rollout.advance(driver.started.elapsed(), input) {
            match command {
                Command::Execute(id) => driver.execute(&id),
                Command::Report { service, health } => driver.report(service, &health),
                Command::Finish(verdict) => return verdict,
            }
        }
        input = driver.next_input(cancel).await;
    }
}

/// What came of a step: the object as it was left, where it wrote one.
type Outcome = Result<Option<Value>, Cause>;

struct Driver<'r> {
    applier: Arc<Applier>,
    plan: &'r Plan<Action>,
    recorder: &'r Recorder,
    rollout: Rollout,
    started: Instant,
    begun: BTreeMap<StepId, Instant>,
    tell: mpsc::UnboundedSender<(StepId, Outcome)>,
    told: mpsc::UnboundedReceiver<(StepId, Outcome)>,
    watch: Watch,
    patience: Patience,
    /// The objects behind the subjects of the plan.
    objects: BTreeMap<String, ObjectId>,
    /// Since when each object has been as it is to be, by the API server's clock.
    since: BTreeMap<ObjectId, Timestamp>,
    /// What containers wrote last before they died, by pod, container and how often it had died.
    logs: BTreeMap<(String, String), (u64, Vec<String>)>,
    pending: Vec<Input>,
    /// When all was judged last, and how long it need not be judged again.
    looked: Instant,
    rest: Duration,
    /// When each subject was last told of.
    told_of: BTreeMap<String, Instant>,
    /// What each is at by now, where that was not told yet.
    untold: BTreeMap<String, Health>,
    /// Pods that were deleted because their StatefulSet waited for them in vain.
    freed: BTreeSet<String>,
    /// Subjects of which it was told that their processes die.
    warned: BTreeSet<String>,
}

impl<'r> Driver<'r> {
    fn new(
        applier: &Arc<Applier>,
        plan: &'r Plan<Action>,
        recorder: &'r Recorder,
        watch: Watch,
        patience: Patience,
    ) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let objects =
            plan.steps.iter().filter_map(|step| Some((step.subject.clone(), step.action.id()?.clone())));
        Self {
            applier: applier.clone(),
            plan,
            recorder,
            rollout: Rollout::new(plan),
            started: Instant::now(),
            begun: BTreeMap::new(),
            tell,
            told,
            watch,
            patience,
            objects: objects.collect(),
            since: BTreeMap::new(),
            logs: BTreeMap::new(),
            pending: Vec::new(),
            looked: Instant::now(),
            rest: Duration::ZERO,
            told_of: BTreeMap::new(),
            untold: BTreeMap::new(),
            freed: BTreeSet::new(),
            warned: BTreeSet::new(),
        }
    }

    /// Tells of a change in health. What is on its way goes through many small steps: they are told of now and then.
    fn report(&mut self, subject: String, health: &Health) {
        let passing = matches!(health, Health::Starting(_) | Health::Absent);
        let recent = self.told_of.get(&subject).is_some_and(|at| at.elapsed() < TELL);
        if passing && recent {
            self.untold.insert(subject, health.clone());
            return;
        }
        self.untold.remove(&subject);
        self.told_of.insert(subject.clone(), Instant::now());
        report(self.recorder, subject, health);
    }

    /// Tells what was kept back for a while, where it is still so.
    fn catch_up(&mut self) {
        for (subject, health) in std::mem::take(&mut self.untold) {
            self.report(subject, &health);
        }
    }

    fn now(&self) -> Timestamp {
        self.there(clock::now()).unwrap_or_else(clock::now)
    }

    /// A time of our clock, by the API server's.
    fn there(&self, at: Timestamp) -> Option<Timestamp> {
        at.checked_add(self.patience.ahead).ok()
    }

    fn execute(&mut self, id: &StepId) {
        let Some(step) = self.plan.step(id).cloned() else { return };
        self.begun.insert(step.id.clone(), Instant::now());
        if step.action.writes() {
            // Older troubles are not this change's: what is seen from now on counts.
            if let Some(object) = step.action.id() {
                self.since.insert(object.clone(), self.now());
            }
            let what = describe(&step);
            self.recorder.emit(EventKind::StepStarted { step: step.id.to_string(), what });
        }
        let (applier, tell) = (self.applier.clone(), self.tell.clone());
        tokio::spawn(async move {
            let work = tokio::time::timeout(step.timeout, applier.apply(&step));
            let outcome = match work.await {
                Ok(outcome) => outcome,
                Err(_) => Err(Cause::new(format!("it took longer than {} s", step.timeout.as_secs()))),
            };
            let _ = tell.send((step.id, outcome));
        });
    }

    async fn next_input(&mut self, cancel: &Cancel) -> Input {
        loop {
            // First of all: what was seen before the lock was lost means nothing any more.
            if let Err(lost) = self.applier.authority.check() {
                return Input::LeaseLost(lost.to_string());
            }
            if let Some(input) = self.pending.pop() {
                return input;
            }
            let since = self.looked.elapsed();
            let (rest, pause) = (self.rest.saturating_sub(since), LOOK.saturating_sub(since));
            tokio::select! {
                biased;
                () = cancel.asked() => return Input::Cancelled,
                Some((id, outcome)) = self.told.recv() => return self.take_outcome(id, outcome),
                () = async { tokio::time::sleep(rest).await; self.watch.changed().await } => self.look().await,
                () = tokio::time::sleep(pause) => {
                    self.look().await;
                    self.pending.insert(0, Input::Tick);
                }
            }
        }
    }

    fn take_outcome(&mut self, id: StepId, outcome: Outcome) -> Input {
        match outcome {
            Ok(left) => {
                // Else the object could be judged as it was before: ready, and of the old version.
                if let Some(object) = left {
                    self.watch.learn(object);
                }
                if self.plan.step(&id).is_some_and(|step: &Step<Action>| step.action.writes()) {
                    let seconds = self.begun.get(&id).map_or(0.0, |begun| begun.elapsed().as_secs_f64());
                    self.recorder.emit(EventKind::StepFinished { step: id.to_string(), seconds });
                }
                Input::StepDone(id)
            }
            Err(cause) => Input::StepFailed(id, cause),
        }
    }

    /// Judges all that is waited for.
    async fn look(&mut self) {
        let began = Instant::now();
        let watched: Vec<String> = self.rollout.watched().into_iter().map(str::to_owned).collect();
        let nodes = self.watch.seen(&Kind::new("", "Node"), None);
        let classes = self.watch.seen(&Kind::new("storage.k8s.io", "StorageClass"), None);
        for subject in watched {
            let Some(id) = self.objects.get(&subject).cloned() else { continue };
            let sight = self.watch.sight(&id);
            self.free_wedged(&id, &sight).await;
            let logs = self.read_logs(&id, &sight).await;
            let (health, suffers) = self.judge(&id, &sight, &nodes, &classes, &logs);
            if let (Health::Starting(_), Some(cause)) = (&health, &suffers) {
                self.warn_of_death(&subject, cause);
            }
            self.pending.push(Input::Judged(subject, health, suffers));
        }
        self.catch_up();
        self.looked = Instant::now();
        self.rest = began.elapsed() * REST;
    }

    /// A process that died may yet come up, after ever longer pauses: whoever waits is told what it wrote, once.
    fn warn_of_death(&mut self, subject: &str, cause: &Cause) {
        let Some(last) = cause.log.last().filter(|_| cause.exit_code.is_some()) else { return };
        if self.warned.insert(subject.to_owned()) {
            let text = format!("{subject}: {cause}; its last words: {last}");
            self.recorder.emit(EventKind::Warning { text });
        }
    }

    /// On the way back: a pod of the failed release that its StatefulSet waits for, for ever.
    async fn free_wedged(&mut self, id: &ObjectId, sight: &watch::Sight) {
        let Some(namespace) = &id.namespace else { return };
        if !self.patience.back || !id.kind.is("apps", "StatefulSet") {
            return;
        }
        let pods: Vec<&Value> = sight.pods().collect();
        let seen = Sight { object: sight.object.as_deref(), pods: &pods, ..Sight::default() };
        let Some(pod) = wedged(&seen, &self.budget(id), self.now()) else { return };
        if self.freed.insert(pod.clone()) {
            let text = format!("{id} waits for its pod {pod}, which cannot become ready: the pod is deleted");
            self.recorder.emit(EventKind::Warning { text });
            if let Err(cause) = self.applier.free(namespace, &pod).await {
                self.recorder.emit(EventKind::Warning { text: format!("deleting the pod {pod}: {cause}") });
            }
        }
    }

    fn budget(&self, id: &ObjectId) -> Budget {
        Budget {
            settle: self.patience.settle,
            restarts: self.patience.restarts,
            since: self.since.get(id).copied().or_else(|| self.there(self.patience.written)),
        }
    }

    fn judge(
        &self,
        id: &ObjectId,
        sight: &watch::Sight,
        nodes: &[Arc<Value>],
        classes: &[Arc<Value>],
        logs: &Logs,
    ) -> (Health, Option<Cause>) {
        let plain = |values: &[Arc<Value>]| values.to_vec();
        let (nodes, classes) = (plain(nodes), plain(classes));
        let nodes: Vec<&Value> = nodes.iter().map(AsRef::as_ref).collect();
        let classes: Vec<&Value> = classes.iter().map(AsRef::as_ref).collect();
        let events: Vec<&Value> = sight.events.iter().map(AsRef::as_ref).collect();
        let replica_set = Kind::new("apps", "ReplicaSet");
        let replica_sets: Vec<&Value> = sight.owned_of(&replica_set).collect();
        let pods: Vec<&Value> = sight.pods().collect();
        let seen = Sight {
            object: sight.object.as_deref(),
            replica_sets: &replica_sets,
            pods: &pods,
            nodes: &nodes,
            classes: &classes,
            events: &events,
            logs,
        };
        let budget = self.budget(id);
        let now = self.now();
        let health = judge(&id.kind, &seen, &budget, now);
        let suffers = match &health {
            Health::Starting(_) => first_cause(&troubles(&id.kind, &seen, &budget, now)),
            _ => None,
        };
        (health, suffers)
    }

    /// What the containers of an object wrote before they died: asked for once for each death, before anything is judged
    /// by it, so that a failure never comes without its log.
    async fn read_logs(&mut self, id: &ObjectId, sight: &watch::Sight) -> Logs {
        let Some(namespace) = id.namespace.clone() else { return Logs::new() };
        let own = sight.object.as_deref().filter(|_| id.kind.is("", "Pod"));
        let deaths: Vec<_> = sight.pods().chain(own).flat_map(deaths).collect();
        let wanted = deaths.iter().filter(|death| {
            let key = (death.pod.clone(), death.container.clone());
            self.logs.get(&key).is_none_or(|(count, _)| *count < death.count)
        });
        let reads = wanted.map(|death| {
            let source = Source {
                namespace: namespace.clone(),
                pod: death.pod.clone(),
                container: death.container.clone(),
                workload: Some(id.clone()),
            };
            let cluster = self.applier.cluster.clone();
            async move {
                let read = cluster.log_tail(&source, LINES, death.again).await;
                (death, read.map(|lines| lines.into_iter().map(|line| line.text).collect::<Vec<_>>()))
            }
        });
        for (death, read) in futures_util::future::join_all(reads).await {
            // A log that is not there yet is asked for at the next look. One that is gone is told of in its place.
            if let Ok(lines) = read
                && !lines.first().is_some_and(|line| line.starts_with(NO_LOG))
            {
                self.logs.insert((death.pod.clone(), death.container.clone()), (death.count, lines));
            }
        }
        self.logs.iter().map(|(key, (_, lines))| (key.clone(), lines.clone())).collect()
    }
}

/// A container that has died.
struct Death {
    pod: String,
    container: String,
    /// How often.
    count: u64,
    /// Whether it was started again: what it wrote before is the log of the one before.
    again: bool,
}

fn deaths(pod: &Value) -> Vec<Death> {
    let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let lists = ["initContainerStatuses", "containerStatuses"];
    let statuses = lists.iter().filter_map(|list| pod.pointer("/status")?.get(list)?.as_array()).flatten();
    let death = |status: &Value| {
        let restarts = status.get("restartCount").and_then(Value::as_u64).unwrap_or(0);
        let ended = status.pointer("/state/terminated");
        let failed = ended.is_some_and(|ended| ended.get("exitCode").and_then(Value::as_i64) != Some(0));
        (restarts > 0 || failed).then(|| Death {
            pod: name.to_owned(),
            container: status.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            count: restarts + u64::from(failed),
            again: !failed,
        })
    };
    statuses.filter_map(death).collect()
}
