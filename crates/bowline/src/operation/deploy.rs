//! `deploy`, `rollback` and the second half of `ship`: a release onto a Docker host, or back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bowline_compose::engine::Writer;
use bowline_compose::lease::{Holder, Lease};
use bowline_compose::state::StateError;
use bowline_core::compose::desired::{DeployImage, Desired};
use bowline_core::compose::planning::{Action, traces};
use bowline_core::event::{EventKind, Phase, ServiceSummary, Summary};
use bowline_core::health::Cause;
use bowline_core::journal::{Intent, Setback};
use bowline_core::plan::Plan;
use bowline_core::release::{Placed, Revision, Spec};
use bowline_core::rollout::{Evidence, Verdict};

use super::apply::{Applier, Source};
use super::depot::Depot;
use super::drive::{Cancel, drive};
use super::goal::Goal;
use super::host::{Host, with_hint};
pub use super::proposal::{Proposal, propose};
use super::prune;
use crate::clock;
use crate::config::ComposeTarget;
use crate::error::{Failure, FailureKind, Outcome};
use crate::record::{PhaseResult, Recorder};
use crate::ui::Ui;

/// What follows when the host was lost halfway.
pub(super) const NEXT: &str =
    "the next deploy or rollback finishes or undoes what was begun; the services there run on";

/// How a deploy is done.
#[derive(Debug, Clone)]
pub struct Options {
    /// `deploy`, `ship` or `rollback`.
    pub verb: &'static str,
    /// Leave things as they are when it fails.
    pub no_rollback: bool,
    /// How long to wait for somebody else's lock.
    pub patience: Duration,
    /// Only these services of the compose file.
    pub only: BTreeSet<String>,
}

/// What a deploy works with.
pub struct Deployment<'d> {
    /// The host.
    pub host: Arc<Host>,
    /// The target in today's configuration: access and paths.
    pub target: &'d ComposeTarget,
    /// The registry.
    pub depot: &'d Depot,
    /// The registry as the host reaches it.
    pub(super) source: Source,
    /// Who writes down what happens.
    pub recorder: &'d Recorder,
    /// How to talk.
    pub ui: &'d Ui,
    /// How it is done.
    pub options: Options,
    /// Somebody's wish to stop.
    pub cancel: Cancel,
}

impl Deployment<'_> {
    /// Brings the host to the goal, or back to where it was.
    ///
    /// # Errors
    /// Kind `Failed`: it failed, and what was there before stands again. `Stranded`: it does not. `Locked`, `Unreachable`
    /// and `Invalid`: nothing was touched.
    pub async fn run(&self, goal: &Goal) -> Outcome<Summary> {
        let lease = self.take_lease().await?;
        let outcome = self.run_under(&lease, goal).await;
        if let Err(error) = lease.release().await {
            self.warn(format!("the lock could not be given back ({error}); it ends by itself within 30 s"));
        }
        outcome
    }

    async fn take_lease(&self) -> Outcome<Lease> {
        let mut said = false;
        let say = |holder: &Holder| {
            if !std::mem::replace(&mut said, true) {
                self.ui.say(format_args!("waiting for {holder}"));
            }
        };
        self.host.take_lease(self.recorder.run(), self.options.verb, self.options.patience, say).await
    }

    async fn run_under(&self, lease: &Lease, goal: &Goal) -> Outcome<Summary> {
        let propose = async {
            let mut proposal = propose(&self.host, self.target, self.depot, goal, &self.options.only).await?;
            if !proposal.look.state.intents.is_empty() {
                // What the interrupted run set going may not have ended yet: seen again once it has.
                self.wait_still(&proposal).await?;
                proposal = propose(&self.host, self.target, self.depot, goal, &self.options.only).await?;
            }
            let note = summarise(&proposal.plan);
            Ok((proposal, PhaseResult { bytes: 0, note }))
        };
        let proposal = self.recorder.phase(Phase::Plan, propose).await?;
        let found = crate::ui::plan::render_findings(&proposal.findings.warnings);
        for warning in proposal.prepared.warnings.iter().cloned().chain(found) {
            self.warn(warning);
        }
        if let Some(refusal) = crate::ui::plan::refuse(&self.host.target, &proposal.findings) {
            return Err(refusal);
        }
        for intent in &proposal.look.state.intents {
            self.warn(format!("a run of {} by {} did not end; this one takes over", intent.verb, intent.by));
        }
        let base = proposal.look.observed.revision.clone();
        let settled = base.as_ref().is_some_and(|base| base.release == goal.release);
        if proposal.plan.is_empty() && settled && proposal.look.state.intents.is_empty() {
            return Ok(self.summary(goal, &proposal.prepared.desired, &proposal.plan, true));
        }
        // Kept before anything is touched: a spec that does not fit must not be found out when all is done.
        self.noted(self.host.documents.keep_spec(lease.authority(), &goal.spec).await)?;
        self.write_intent(lease, goal, &proposal).await?;
        let interrupted = proposal.look.state.intents.as_slice();
        match self.execute(lease, &proposal, Phase::Rollout).await {
            Verdict::Done => {
                self.commit(lease, goal, &proposal.prepared.desired, base.as_ref()).await?;
                self.clear_journal(lease, interrupted).await;
                self.prune(lease, proposal.prepared.keep).await;
                Ok(self.summary(goal, &proposal.prepared.desired, &proposal.plan, true))
            }
            Verdict::LeaseLost(why) => Err(self.lost(&why).await),
            Verdict::Failed(evidence) => self.go_back(lease, goal, base, evidence, interrupted).await,
            Verdict::Cancelled => {
                let cause = Cause::new("somebody asked to stop");
                let evidence = Evidence { subject: "run".into(), cause };
                self.go_back(lease, goal, base, evidence, interrupted).await
            }
        }
    }

    async fn wait_still(&self, proposal: &Proposal) -> Outcome<()> {
        let still = proposal.prepared.project.wait_still().await;
        still.map_err(|error| {
            let failure = Failure::failed(format!("waiting for Compose to end on {}", self.host.target));
            with_hint(failure.because(&error), error.hint())
        })
    }

    async fn execute(&self, lease: &Lease, proposal: &Proposal, phase: Phase) -> Verdict {
        let Proposal { prepared, plan, look, .. } = proposal;
        let applier = Arc::new(Applier {
            host: self.host.clone(),
            desired: prepared.desired.clone(),
            writer: Writer::new(&self.host.engine, lease.authority()),
            project: prepared.project.clone(),
            source: self.source.clone(),
            ui: self.ui.clone(),
            received: AtomicU64::new(0),
        });
        // Subscribed from the time of the look: what happens before the first step is not missed either.
        let watch = self.host.engine.watch(&self.host.project, look.machine.time);
        let calm = Cancel::default();
        let cancel = if phase == Phase::Rollback { &calm } else { &self.cancel };
        let started = Instant::now();
        self.recorder.emit(EventKind::PhaseStarted { phase });
        let verdict = drive(&applier, plan, self.recorder, watch, cancel).await;
        if verdict == Verdict::Done {
            let seconds = started.elapsed().as_secs_f64();
            let bytes = applier.received.load(Ordering::Relaxed);
            let note = changes(plan);
            self.recorder.emit(EventKind::PhaseFinished { phase, seconds, bytes, note });
        }
        verdict
    }

    /// Puts the base revision back: observe again, plan it, apply.
    async fn go_back(
        &self,
        lease: &Lease,
        goal: &Goal,
        base: Option<Revision>,
        evidence: Evidence,
        interrupted: &[Intent],
    ) -> Outcome<Summary> {
        if let Err(lost) = lease.authority().check() {
            return Err(self.lost(&lost.to_string()).await);
        }
        self.tell(&evidence);
        let failure = failure_of(&self.host.target, goal, &evidence);
        let Some(base) = base else {
            self.clear_journal(lease, interrupted).await;
            return Err(failure
                .hint("there was no earlier release to go back to: the containers are left as they are"));
        };
        if self.options.no_rollback {
            return Err(Failure { kind: FailureKind::Stranded, ..failure }
                .hint("left as it is because of --no-rollback; the next deploy or rollback takes over"));
        }
        if let Err(error) = self.write_setback(lease, goal, &base, &evidence).await {
            self.warn(error.to_string());
        }
        match self.put_back(lease, &base).await {
            Ok(()) => {
                self.clear_journal(lease, interrupted).await;
                let name = base.release.clone().unwrap_or_else(|| "what was there before".into());
                Err(failure.hint(format!("{name} runs again; the cause is above")))
            }
            Err(error) if matches!(error.kind, FailureKind::Unreachable | FailureKind::Locked) => {
                // Nothing is lost: the journal says what was meant, and whoever comes next goes on from what is there.
                Err(Failure { kind: error.kind, ..failure }
                    .since(format!("going back was cut off: {error}"))
                    .hint("the next deploy or rollback finishes or undoes what was begun"))
            }
            Err(error) => Err(self.stranded(goal, &base, &evidence, &error).await),
        }
    }

    /// Keeps why something failed, and shows it, before anything is changed further.
    fn tell(&self, evidence: &Evidence) {
        self.recorder.emit(EventKind::Evidence {
            service: Some(evidence.subject.clone()),
            cause: evidence.cause.reason.clone(),
            exit_code: evidence.cause.exit_code,
            oom_killed: evidence.cause.oom_killed,
            log: evidence.cause.log.clone(),
        });
    }

    async fn put_back(&self, lease: &Lease, base: &Revision) -> Outcome<()> {
        let goal = Goal::of_revision(&self.host, base).await?;
        let proposal = propose(&self.host, self.target, self.depot, &goal, &BTreeSet::new()).await?;
        let desired = &proposal.prepared.desired;
        match self.execute(lease, &proposal, Phase::Rollback).await {
            Verdict::Done => {
                if !proposal.plan.is_empty() {
                    let restored = Goal { verb: "restore".into(), ..goal };
                    self.commit(lease, &restored, desired, Some(base)).await?;
                }
                Ok(())
            }
            Verdict::Failed(evidence) => {
                self.tell(&evidence);
                Err(failure_of(&self.host.target, &goal, &evidence))
            }
            Verdict::LeaseLost(why) => Err(self.lost(&why).await),
            Verdict::Cancelled => Err(Failure::failed("going back was interrupted")),
        }
    }

    /// Nothing more can be done: says exactly what stands where.
    async fn stranded(&self, goal: &Goal, base: &Revision, evidence: &Evidence, error: &Failure) -> Failure {
        let mut detail = vec![
            format!("the release failed at {}: {}", evidence.subject, evidence.cause),
            format!("going back failed: {error}"),
        ];
        if let Ok(look) = self.host.look(&BTreeSet::new()).await {
            for container in &look.observed.containers {
                let image = look.observed.images.iter().find(|image| image.id == container.image);
                let name = image.and_then(|image| image.names.first().cloned());
                detail.push(format!(
                    "{}: {:?}, image {}",
                    container.name,
                    container.state,
                    name.unwrap_or_else(|| container.image.short())
                ));
            }
        }
        let wanted = goal.release.as_deref().unwrap_or("the release");
        let old = base.release.as_deref().unwrap_or("what was there before");
        Failure::new(
            FailureKind::Stranded,
            format!("{wanted} failed on {}, and {old} could not be put back", self.host.target),
        )
        .detail(detail)
        .hint(format!(
            "a person is needed: correct the cause, then `bowline deploy {0}` or `bowline rollback {0}`",
            self.host.target
        ))
    }

    /// Somebody else has the lock now, or the engine that keeps it is gone.
    async fn lost(&self, why: &str) -> Failure {
        if let Err(error) = self.host.engine.machine_without_disk().await
            && error.is_unreachable()
        {
            return self.host.failure("changing", &error).hint(NEXT);
        }
        Failure::new(FailureKind::Locked, format!("changing {}", self.host.target))
            .since(why.to_owned())
            .hint("whoever holds the lock now finishes or undoes what was begun; `bowline status` shows it")
    }

    async fn write_intent(&self, lease: &Lease, goal: &Goal, proposal: &Proposal) -> Outcome<()> {
        let observed = &proposal.look.observed;
        let intent = Intent {
            run: self.recorder.run().clone(),
            verb: goal.verb.clone(),
            by: goal.by.clone(),
            at: clock::now(),
            base: observed.revision.as_ref().map(|base| base.number),
            to: goal.release.clone(),
            traces: traces(observed, &proposal.plan),
        };
        self.noted(self.host.documents.begin(lease.authority(), &intent).await)
    }

    async fn write_setback(
        &self,
        lease: &Lease,
        goal: &Goal,
        base: &Revision,
        evidence: &Evidence,
    ) -> Outcome<()> {
        let setback = Setback {
            run: self.recorder.run().clone(),
            at: clock::now(),
            release: goal.release.clone(),
            base: Some(base.number),
            evidence: evidence.clone(),
        };
        self.noted(self.host.documents.turn_back(lease.authority(), &setback).await)
    }

    fn noted<T>(&self, written: Result<T, StateError>) -> Outcome<T> {
        written.map_err(|error| {
            let doing = "writing down what is done on";
            self.host.explain(doing, &error, error.is_unreachable(), error.hint())
        })
    }

    /// The commit point on the target: the revision that says what stands where.
    async fn commit(
        &self,
        lease: &Lease,
        goal: &Goal,
        desired: &Desired,
        base: Option<&Revision>,
    ) -> Outcome<()> {
        let (containers, _) = self
            .host
            .engine
            .containers(&self.host.project)
            .await
            .map_err(|error| self.host.failure("looking at", &error))?;
        let mut services = BTreeMap::new();
        for (name, service) in &desired.services {
            let own: Vec<_> = containers.iter().filter(|c| c.service == *name && !c.one_off).collect();
            let before = base.and_then(|base| base.services.get(name));
            // A service that was left out of this deploy stays as the revision before has it.
            if service.ours.is_none()
                && service.image.is_none()
                && self.options.only.iter().all(|only| only != name)
                && !self.options.only.is_empty()
            {
                services.extend(before.map(|before| (name.clone(), before.clone())));
                continue;
            }
            let Some(image) =
                own.first().map(|container| container.image).or(before.map(|before| before.image))
            else {
                continue;
            };
            let released = match &service.image {
                Some(DeployImage::Released { id, .. }) => Some(id.clone()),
                _ => None,
            };
            let placed = Placed {
                image,
                image_name: service.image_name.clone(),
                released,
                fingerprint: service.fingerprint,
                containers: own.iter().map(|container| container.id.clone()).collect(),
            };
            services.insert(name.clone(), placed);
        }
        let mut files: BTreeMap<_, _> =
            desired.files.iter().map(|(path, file)| (path.clone(), file.digest())).collect();
        if let Some(base) = base.filter(|_| !self.options.only.is_empty()) {
            // Nor does one go that the release no longer has: only the named services were touched.
            add_missing(&mut services, &base.services);
            add_missing(&mut files, &base.files);
        }
        let spec = goal.spec.digest();
        let revision = Revision {
            number: base.map_or(1, |base| base.number + 1),
            release: goal.release.clone(),
            verb: goal.verb.clone(),
            at: clock::now(),
            run: self.recorder.run().clone(),
            by: goal.by.clone(),
            spec,
            files,
            images: self.deployed_images(goal, desired, base),
            services,
            milliseconds: u64::try_from(Duration::from_secs_f64(self.recorder.seconds()).as_millis())
                .unwrap_or(u64::MAX),
        };
        self.noted(self.host.documents.commit(lease.authority(), &revision, &goal.spec).await)
    }

    /// Removes what nothing needs any more. The deploy has succeeded, whatever comes of this.
    async fn prune(&self, lease: &Lease, keep: u32) {
        let started = Instant::now();
        match prune::after_deploy(&self.host, lease.authority(), keep, &self.depot.kept_as).await {
            Ok(removed) if removed.images == 0 => {}
            Ok(removed) => {
                let note = format!("{} images, {}", removed.images, super::release::bytes(removed.bytes));
                let seconds = started.elapsed().as_secs_f64();
                self.recorder.emit(EventKind::PhaseFinished { phase: Phase::Prune, seconds, bytes: 0, note });
            }
            Err(error) => self.warn(format!("old images stay for now: {error}")),
        }
    }

    /// Our images after this deploy: with `--service`, all others are still those of the revision before.
    fn deployed_images(
        &self,
        goal: &Goal,
        desired: &Desired,
        base: Option<&Revision>,
    ) -> BTreeMap<String, DeployImage> {
        let Some(base) = base.filter(|_| !self.options.only.is_empty()) else { return goal.images.clone() };
        let mut images = base.images.clone();
        let deployed = self.options.only.iter().filter_map(|name| desired.services.get(name)?.ours.as_ref());
        for ours in deployed {
            images.extend(goal.images.get(ours).map(|image| (ours.clone(), image.clone())));
        }
        images
    }

    /// What was meant is done or undone: the journal's pages of this run, and of interrupted ones, go.
    async fn clear_journal(&self, lease: &Lease, interrupted: &[Intent]) {
        let own = std::iter::once(self.recorder.run());
        for run in interrupted.iter().map(|intent| &intent.run).chain(own) {
            if let Err(error) = self.host.documents.end(lease.authority(), run).await {
                self.warn(error.to_string());
            }
        }
    }

    fn warn(&self, text: String) {
        self.recorder.emit(EventKind::Warning { text });
    }

    fn summary(&self, goal: &Goal, desired: &Desired, plan: &Plan<Action>, ok: bool) -> Summary {
        let services = desired
            .services
            .iter()
            .map(|(name, service)| {
                let changed = touched(plan, name);
                let digest = match &service.image {
                    Some(DeployImage::Released { id, .. }) => Some(id.manifest.to_string()),
                    _ => None,
                };
                let state = if changed { "healthy" } else { "unchanged" };
                (name.clone(), ServiceSummary { changed, digest, state: state.into() })
            })
            .collect();
        Summary {
            ok,
            tag: goal.release.clone(),
            target: Some(self.host.target.clone()),
            services,
            phases: self.recorder.phases(),
            seconds: self.recorder.seconds(),
        }
    }
}

fn add_missing<V: Clone>(to: &mut BTreeMap<String, V>, from: &BTreeMap<String, V>) {
    for (key, value) in from {
        to.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// Whether a plan changes a service's containers.
pub fn touched(plan: &Plan<Action>, service: &str) -> bool {
    plan.steps.iter().any(|step| {
        step.subject == service
            && matches!(step.action, Action::Recreate { .. } | Action::Start { .. } | Action::Remove { .. })
    })
}

fn summarise(plan: &Plan<Action>) -> String {
    match plan.steps.len() {
        0 => "nothing to do".into(),
        1 => "1 step".into(),
        steps => format!("{steps} steps"),
    }
}

fn changes(plan: &Plan<Action>) -> String {
    let subjects: BTreeSet<&str> = plan
        .steps
        .iter()
        .filter(|step| touched(plan, &step.subject))
        .map(|step| step.subject.as_str())
        .collect();
    match subjects.len() {
        0 => "no service changed".into(),
        _ => subjects.into_iter().collect::<Vec<_>>().join(", "),
    }
}

fn failure_of(target: &str, goal: &Goal, evidence: &Evidence) -> Failure {
    let release = goal.release.as_deref().unwrap_or("the adopted state");
    // Its last lines were shown when it happened.
    Failure::failed(format!("deploying {release} to {target}"))
        .since(format!("{}: {}", evidence.subject, evidence.cause))
}

/// The spec of a revision, from the target itself.
pub(super) async fn read_spec(host: &Host, revision: &Revision) -> Outcome<Spec> {
    let found = host.documents.spec(&revision.spec).await.map_err(|error| {
        host.explain("reading what was deployed to", &error, error.is_unreachable(), error.hint())
    })?;
    found.ok_or_else(|| {
        Failure::failed(format!(
            "the configuration of revision {} is no longer on {}",
            revision.number, host.target
        ))
        .hint("deploy a release by its version instead: its configuration is in the registry")
    })
}
