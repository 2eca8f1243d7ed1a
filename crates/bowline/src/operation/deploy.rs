//! `deploy`, `rollback` and the second half of `ship`: a release onto a Docker host, or back.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bowline_compose::engine::Writer;
use bowline_compose::lease::{Holder, Lease};
use bowline_core::compose::desired::DeployImage;
use bowline_core::compose::planning::{Action, started_again};
use bowline_core::event::{EventKind, Phase, RunId, ServiceSummary, Summary};
use bowline_core::health::Cause;
use bowline_core::journal::Intent;
use bowline_core::plan::Plan;
use bowline_core::release::{Revision, is_superseded};
use bowline_core::rollout::{Evidence, Verdict};

use super::apply::{Applier, Source};
use super::capacity::fit;
use super::depot::Depot;
use super::drive::{Cancel, drive};
use super::goal::Goal;
use super::host::{Host, with_hint};
pub use super::proposal::{Proposal, propose};
use super::prune;
use crate::config::{ComposeTarget, Config};
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

/// How a plan's execution ended.
struct Executed {
    verdict: Verdict,
    /// The services that could not be started again, and were left as they are.
    left: BTreeSet<String>,
}

/// What a deploy works with.
pub struct Deployment<'d> {
    /// The host.
    pub host: Arc<Host>,
    /// The configuration of today.
    pub config: &'d Config,
    /// The target in it: access and paths.
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
        let taken = self.host.take_lease(self.recorder.run(), self.options.verb, self.options.patience, say);
        tokio::select! {
            lease = taken => lease,
            () = self.cancel.asked() => {
                let failure = format!("waiting for the lock of {}", self.host.target);
                Err(Failure::failed(failure).since("somebody asked to stop").hint("nothing was touched"))
            }
        }
    }

    async fn run_under(&self, lease: &Lease, goal: &Goal) -> Outcome<Summary> {
        let propose = async {
            let mut proposal = self.propose(goal).await?;
            if !proposal.look.state.intents.is_empty() {
                // What the interrupted run set going may not have ended yet: seen again once it has.
                self.wait_still(&proposal).await?;
                proposal = self.propose(goal).await?;
            }
            let note = summarise(&proposal.plan);
            Ok((proposal, PhaseResult { bytes: 0, note }))
        };
        let proposal = self.recorder.phase(Phase::Plan, propose).await?;
        let base = proposal.look.observed.revision.clone();
        let running = base.as_ref().and_then(|base| base.release.as_deref());
        let wanted = goal.release.as_deref();
        if let Some(summary) =
            superseded(self.recorder, self.options.verb, &self.host.target, wanted, running)
        {
            return Ok(summary);
        }
        proposal.prepared.warnings.iter().for_each(|warning| self.warn(warning.clone()));
        let warnings = proposal.findings.warnings.clone();
        if !warnings.is_empty() {
            self.recorder.emit(EventKind::Findings { warnings });
        }
        if let Some(refusal) = crate::ui::plan::refuse(&self.host.target, &proposal.findings) {
            return Err(refusal);
        }
        for intent in &proposal.look.state.intents {
            self.warn(format!("a run of {} by {} did not end; this one takes over", intent.verb, intent.by));
        }
        let settled = base.as_ref().is_some_and(|base| base.release == goal.release);
        if proposal.plan.is_empty() && settled && proposal.look.state.intents.is_empty() {
            return Ok(self.summary(goal, &proposal, &BTreeSet::new()));
        }
        // Kept before anything is touched: a spec that does not fit must not be found out when all is done.
        if !proposal.look.state.specs.contains(&goal.spec.digest()) {
            self.noted(self.host.documents.keep_spec(lease.authority(), &goal.spec).await)?;
        }
        self.write_intent(lease, goal, &proposal).await?;
        let interrupted = proposal.look.state.intents.as_slice();
        let Executed { verdict, left } =
            self.execute(lease, &proposal, Phase::Rollout, optional(&proposal)).await;
        match verdict {
            Verdict::Done => {
                self.commit(lease, &proposal, base.as_ref()).await?;
                tokio::join!(
                    self.clear_journal(lease, interrupted),
                    self.prune(lease, proposal.prepared.keep, interrupted)
                );
                Ok(self.summary(goal, &proposal, &left))
            }
            Verdict::LeaseLost(why) => Err(self.lost(&why).await),
            Verdict::Failed(evidence) => self.go_back(lease, goal, &proposal, evidence).await,
            Verdict::Cancelled => {
                let cause = Cause::new("somebody asked to stop");
                let evidence = Evidence { subject: "run".into(), cause };
                self.go_back(lease, goal, &proposal, evidence).await
            }
        }
    }

    async fn propose(&self, goal: &Goal) -> Outcome<Proposal> {
        let (config, only) = (self.config, &self.options.only);
        fit::propose(config, &self.host, self.target, self.depot, goal, only).await
    }

    async fn wait_still(&self, proposal: &Proposal) -> Outcome<()> {
        let still = proposal.prepared.project.wait_still().await;
        still.map_err(|error| {
            let failure = Failure::failed(format!("waiting for Compose to end on {}", self.host.target));
            with_hint(failure.because(&error), error.hint())
        })
    }

    async fn execute(
        &self,
        lease: &Lease,
        proposal: &Proposal,
        phase: Phase,
        optional: BTreeSet<String>,
    ) -> Executed {
        let Proposal { prepared, plan, look, .. } = proposal;
        let applier = Arc::new(Applier {
            host: self.host.clone(),
            desired: prepared.desired.clone(),
            writer: Writer::new(&self.host.engine, lease.authority()),
            project: prepared.project.clone(),
            source: self.source.clone(),
            ui: self.ui.clone(),
            received: AtomicU64::new(0),
            optional,
            left: Mutex::default(),
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
        let left = applier.left.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Executed { verdict, left }
    }

    /// Puts the base revision back: observe again, plan it, apply.
    async fn go_back(
        &self,
        lease: &Lease,
        goal: &Goal,
        failed: &Proposal,
        evidence: Evidence,
    ) -> Outcome<Summary> {
        let interrupted = failed.look.state.intents.as_slice();
        if let Err(lost) = lease.authority().check() {
            return Err(self.lost(&lost.to_string()).await);
        }
        self.tell(&evidence);
        let failure = failure_of(&self.host.target, goal, &evidence);
        let Some(base) = failed.look.observed.revision.clone() else {
            self.clear_journal(lease, interrupted).await;
            if failed.look.observed.runs() {
                return Err(Failure { kind: FailureKind::Stranded, ..failure }.hint(format!(
                    "what ran there before was never adopted and cannot be put back: correct the cause, then \
                     `bowline deploy {}`",
                    self.host.target
                )));
            }
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
        match self.put_back(lease, &base, failed).await {
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

    async fn put_back(&self, lease: &Lease, base: &Revision, failed: &Proposal) -> Outcome<()> {
        let goal = Goal::of_revision(&self.host, base).await?;
        let mut proposal = propose(&self.host, self.target, self.depot, &goal, &BTreeSet::new()).await?;
        match self.execute(lease, &proposal, Phase::Rollback, optional(failed)).await.verdict {
            Verdict::Done => {
                if !proposal.plan.is_empty() {
                    proposal.goal.verb = "restore".into();
                    self.commit(lease, &proposal, Some(base)).await?;
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

    /// Removes what nothing needs any more. The deploy has succeeded, whatever comes of this.
    async fn prune(&self, lease: &Lease, keep: u32, interrupted: &[Intent]) {
        let started = Instant::now();
        let over: Vec<&RunId> = self.ended(interrupted).collect();
        match prune::after_deploy(&self.host, lease.authority(), keep, &self.depot.kept_as, &over).await {
            Ok(removed) if removed.images == 0 => {}
            Ok(removed) => {
                let note = format!("{} images, {}", removed.images, super::release::bytes(removed.bytes));
                let seconds = started.elapsed().as_secs_f64();
                self.recorder.emit(EventKind::PhaseFinished { phase: Phase::Prune, seconds, bytes: 0, note });
            }
            Err(error) => self.warn(format!("old images stay for now: {error}")),
        }
    }

    pub(super) fn warn(&self, text: String) {
        self.recorder.emit(EventKind::Warning { text });
    }

    /// `left` are services that could not be started again.
    fn summary(&self, goal: &Goal, proposal: &Proposal, left: &BTreeSet<String>) -> Summary {
        let Proposal { prepared, plan, .. } = proposal;
        let again = started_again(plan);
        let services = prepared
            .desired
            .services
            .iter()
            .map(|(name, service)| {
                let changed = touched(plan, name);
                let again = again.contains(name);
                let digest = match &service.image {
                    Some(DeployImage::Released { id, .. }) => Some(id.manifest.to_string()),
                    _ => None,
                };
                let state = match (changed, again) {
                    (false, _) => "unchanged",
                    (true, false) => "healthy",
                    (true, true) if left.contains(name) => "stopped",
                    (true, true) => "started",
                };
                (name.clone(), ServiceSummary { changed, digest, state: state.into() })
            })
            .collect();
        Summary {
            tag: goal.release.clone(),
            target: Some(self.host.target.clone()),
            services,
            ..self.recorder.summary()
        }
    }
}

/// What a rollout, and the way back from it, may leave stopped: what was so before it began, and not by a run of ours.
fn optional(proposal: &Proposal) -> BTreeSet<String> {
    match proposal.look.state.intents.is_empty() {
        true => started_again(&proposal.plan),
        false => BTreeSet::new(),
    }
}

/// Whether a plan changes a service's containers.
pub fn touched(plan: &Plan<Action>, service: &str) -> bool {
    plan.steps.iter().any(|step| {
        step.subject == service
            && matches!(step.action, Action::Recreate { .. } | Action::Start { .. } | Action::Remove { .. })
    })
}

/// How a run ends that finds a newer release than its own on its target: only `ship` does, and says so. `deploy` and
/// `rollback` go where they are told.
pub(super) fn superseded(
    recorder: &Recorder,
    verb: &str,
    target: &str,
    wanted: Option<&str>,
    running: Option<&str>,
) -> Option<Summary> {
    if verb != "ship" || !is_superseded(wanted, running) {
        return None;
    }
    let (wanted, running) = (wanted?, running?);
    let text = format!(
        "{target} runs {running}, which is newer than {wanted}: nothing is changed (`bowline deploy {target} {wanted}` \
         goes back to it)"
    );
    recorder.emit(EventKind::Warning { text });
    Some(Summary { tag: Some(running.into()), target: Some(target.into()), ..recorder.summary() })
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
