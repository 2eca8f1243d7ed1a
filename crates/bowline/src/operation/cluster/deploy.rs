//! `deploy`, `rollback` and the second half of `ship` on a cluster: a release onto it, or back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_core::event::{EventKind, Phase, ServiceSummary, Summary};
use bowline_core::health::Cause;
use bowline_core::kube::comparison::Remembered;
use bowline_core::kube::object::ObjectId;
use bowline_core::kube::order::runs_pods;
use bowline_core::kube::planning::{Action, Assessment};
use bowline_core::kube::revision::Revision;
use bowline_core::plan::Plan;
use bowline_core::rollout::{Evidence, Verdict};
use bowline_kube::lease::{Holder, Lease, server_time};
use bowline_kube::watch::{Subject, Watch};
use jiff::SignedDuration;

use super::apply::Applier;
use super::drive::{Patience, drive};
use super::goal::{Goal, Prepared};
use super::ledger::is_renewal;
use super::proposal::{Proposal, Wish, propose};
use super::site::Site;
use crate::clock;
use crate::error::{Failure, FailureKind, Outcome};
use crate::operation::Cancel;
use crate::operation::deploy::superseded;
use crate::record::{PhaseResult, Recorder};
use crate::ui::Ui;

/// How a deploy is done.
#[derive(Debug, Clone)]
pub struct Options {
    /// `deploy`, `ship` or `rollback`.
    pub verb: &'static str,
    /// Leave things as they are when it fails.
    pub no_rollback: bool,
    /// How long to wait for somebody else's lock.
    pub patience: Duration,
    /// What is allowed besides what is always done.
    pub wish: Wish,
}

/// What a deploy works with.
pub struct Deployment<'d> {
    /// The cluster.
    pub site: &'d Site,
    /// Where `bowline.toml` is: files with secrets are found from there.
    pub directory: &'d Path,
    /// Who writes down what happens.
    pub recorder: &'d Recorder,
    /// How to talk.
    pub ui: &'d Ui,
    /// How it is done.
    pub options: Options,
    /// Somebody's wish to stop.
    pub cancel: Cancel,
}

/// How a plan's execution ended, and what the objects were left as.
struct Executed {
    verdict: Verdict,
    written: BTreeMap<ObjectId, Remembered>,
}

impl Deployment<'_> {
    /// Brings the cluster to the goal, or back to where it was.
    ///
    /// # Errors
    /// Kind `Failed`: it failed, and what was there before stands again. `Stranded`: it does not. `Locked`, `Unreachable`
    /// and `Invalid`: nothing was touched.
    pub async fn run(&self, prepared: Prepared) -> Outcome<Summary> {
        let lease = self.take_lease().await?;
        let outcome = self.run_under(&lease, prepared).await;
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
        let taken = self.site.take_lease(self.recorder.run(), self.options.verb, self.options.patience, say);
        tokio::select! {
            lease = taken => lease,
            () = self.cancel.asked() => {
                let failure = format!("waiting for the lock of {}", self.site.target.name);
                Err(Failure::failed(failure).since("somebody asked to stop").hint("nothing was touched"))
            }
        }
    }

    async fn run_under(&self, lease: &Lease, prepared: Prepared) -> Outcome<Summary> {
        let target = &self.site.target.name;
        let notes = prepared.goal.notes.clone();
        let propose = async {
            let proposal = propose(self.site, prepared, &self.options.wish).await?;
            let note = summarise(&proposal.plan);
            Ok((proposal, PhaseResult { bytes: 0, note }))
        };
        let mut proposal = self.recorder.phase(Phase::Plan, propose).await?;
        let base = proposal.state.newest().cloned();
        let running = base.as_ref().and_then(|base| base.release.as_deref());
        let wanted = proposal.goal.release.as_deref();
        if let Some(summary) = superseded(self.recorder, self.options.verb, target, wanted, running) {
            return Ok(summary);
        }
        notes.into_iter().for_each(|note| self.warn(note));
        let warnings = proposal.findings.warnings.clone();
        if !warnings.is_empty() {
            self.recorder.emit(EventKind::Findings { warnings });
        }
        if let Some(refusal) = crate::ui::plan::refuse(target, &proposal.findings) {
            return Err(refusal);
        }
        for intent in &proposal.state.intents {
            self.warn(format!("a run of {} by {} did not end; this one takes over", intent.verb, intent.by));
        }
        let settled = base
            .as_ref()
            .is_some_and(|base| base.release == proposal.goal.release && base.manifests == proposal.digest);
        if proposal.plan.is_empty() && settled && proposal.state.intents.is_empty() {
            return Ok(self.summary(&proposal));
        }
        // Kept before anything is touched: what does not fit must not be found out when all is done.
        self.keep(lease, &proposal).await?;
        self.write_intent(lease, &proposal).await?;
        let Executed { verdict, written } = self.execute(lease, &proposal, Phase::Rollout).await?;
        let evidence = match verdict {
            Verdict::Done => {
                if !is_renewal(&proposal, base.as_ref()) {
                    let verb = self.options.verb;
                    let revision = self.commit(lease, &proposal, &written, verb, base.as_ref()).await?;
                    proposal.state.revisions.insert(revision.number, revision);
                }
                let state = &proposal.state;
                tokio::join!(self.clear_journal(lease, &state.intents), self.forget_old(lease, state));
                return Ok(self.summary(&proposal));
            }
            Verdict::LeaseLost(why) => return Err(self.lost(&why)),
            Verdict::Failed(evidence) => evidence,
            Verdict::Cancelled => {
                Evidence { subject: "run".into(), cause: Cause::new("somebody asked to stop") }
            }
        };
        self.go_back(lease, &proposal, base, evidence).await
    }

    async fn execute(&self, lease: &Lease, proposal: &Proposal, phase: Phase) -> Outcome<Executed> {
        let explain = |error: &bowline_kube::KubeError| self.site.explain("watching", error);
        let manifests = proposal.goal.manifests.iter().map(|manifest| (&manifest.id, manifest)).collect();
        let applier = Arc::new(Applier {
            cluster: self.site.cluster.clone(),
            catalog: proposal.catalog.clone(),
            authority: lease.authority().clone(),
            manifests: touched(&proposal.plan, &manifests),
            live: touched(&proposal.plan, &proposal.live.iter().collect()),
            written: Default::default(),
        });
        let subjects = subjects(proposal);
        let looks =
            tokio::try_join!(Watch::open(&self.site.cluster, &subjects), server_time(&self.site.documents));
        let (watch, now) = looks.map_err(|error| explain(&error))?;
        let ahead = now.map_or(SignedDuration::ZERO, |there| there.duration_since(clock::now()));
        let pace = &self.site.target.pace;
        let patience = Patience {
            settle: pace.settle,
            restarts: pace.restarts,
            ahead,
            back: phase == Phase::Rollback,
            written: proposal.state.intents.iter().map(|intent| intent.at).min().unwrap_or_else(clock::now),
        };
        let calm = Cancel::default();
        let cancel = if phase == Phase::Rollback { &calm } else { &self.cancel };
        let started = Instant::now();
        self.recorder.emit(EventKind::PhaseStarted { phase });
        let verdict = drive(&applier, &proposal.plan, self.recorder, watch, patience, cancel).await;
        if verdict == Verdict::Done {
            let seconds = started.elapsed().as_secs_f64();
            let note = changes(proposal);
            self.recorder.emit(EventKind::PhaseFinished { phase, seconds, bytes: 0, note });
        }
        let written = applier.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Ok(Executed { verdict, written })
    }

    /// Puts the base revision back: observe again, plan it, apply.
    async fn go_back(
        &self,
        lease: &Lease,
        failed: &Proposal,
        base: Option<Revision>,
        evidence: Evidence,
    ) -> Outcome<Summary> {
        let interrupted = failed.state.intents.as_slice();
        let target = &self.site.target.name;
        if let Err(lost) = lease.authority().check() {
            return Err(self.lost(&lost.to_string()));
        }
        self.tell(&evidence);
        let failure = failure_of(target, failed.goal.release.as_deref(), &evidence);
        let Some(base) = base else {
            self.clear_journal(lease, interrupted).await;
            return Err(
                failure.hint("there was no earlier release to go back to: the objects are left as they are")
            );
        };
        if self.options.no_rollback {
            return Err(Failure { kind: FailureKind::Stranded, ..failure }
                .hint("left as it is because of --no-rollback; the next deploy or rollback takes over"));
        }
        if let Err(error) = self.write_setback(lease, failed.goal.release.as_ref(), &base, &evidence).await {
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
            Err(error) => Err(stranded(target, failed, &base, &evidence, &error)),
        }
    }

    async fn put_back(&self, lease: &Lease, base: &Revision) -> Outcome<()> {
        let prepared = Goal::of_revision(self.site, self.directory, base).await?;
        let proposal = propose(self.site, prepared, &Wish { blind: true, ..Wish::default() }).await?;
        let Executed { verdict, written } = self.execute(lease, &proposal, Phase::Rollback).await?;
        match verdict {
            Verdict::Done => {
                if !proposal.plan.is_empty() {
                    self.keep(lease, &proposal).await?;
                    self.commit(lease, &proposal, &written, "restore", Some(base)).await?;
                }
                Ok(())
            }
            Verdict::Failed(evidence) => {
                self.tell(&evidence);
                Err(failure_of(&self.site.target.name, base.release.as_deref(), &evidence))
            }
            Verdict::LeaseLost(why) => Err(self.lost(&why)),
            Verdict::Cancelled => Err(Failure::failed("going back was interrupted")),
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

    fn lost(&self, why: &str) -> Failure {
        Failure::new(FailureKind::Locked, format!("changing {}", self.site.target.name))
            .since(why.to_owned())
            .hint("whoever holds the lock now finishes or undoes what was begun; `bowline status` shows it")
    }

    pub(super) fn warn(&self, text: String) {
        self.recorder.emit(EventKind::Warning { text });
    }

    fn summary(&self, proposal: &Proposal) -> Summary {
        let goal = &proposal.goal;
        let mut services = BTreeMap::new();
        for manifest in goal.manifests.iter().filter(|manifest| runs_pods(&manifest.id.kind)) {
            let pin = goal.pins.iter().find(|pin| pin.place.object == manifest.id);
            let name = pin.map_or_else(|| manifest.id.name.clone(), |pin| pin.service.to_string());
            let digest = pin.and_then(|pin| pin.to.digest).map(|digest| digest.to_string());
            let changed = proposal.writes(&manifest.id);
            let state = if changed { "healthy" } else { "unchanged" };
            services.insert(name, ServiceSummary { changed, digest, state: state.into() });
        }
        Summary {
            tag: goal.release.clone(),
            target: Some(self.site.target.name.clone()),
            services,
            ..self.recorder.summary()
        }
    }
}

/// Of what is known by object, what a plan is about.
fn touched<T: Clone>(plan: &Plan<Action>, known: &BTreeMap<&ObjectId, &T>) -> BTreeMap<ObjectId, T> {
    let ids = plan.steps.iter().filter_map(|step| step.action.id());
    ids.filter_map(|id| Some((id.clone(), (*known.get(id)?).clone()))).collect()
}

/// What is looked at while the plan is carried out: the objects that are waited for.
fn subjects(proposal: &Proposal) -> Vec<Subject> {
    let awaited = proposal.plan.steps.iter().filter_map(|step| match &step.action {
        Action::Await { id } => Some(id),
        _ => None,
    });
    let subject = |id: &ObjectId| {
        let manifest = proposal.goal.manifests.iter().find(|manifest| manifest.id == *id)?;
        let version = bowline_kube::GroupVersion::new(&id.kind.group, &manifest.version);
        Some(Subject::of(proposal.catalog.resource(&version, &id.kind.kind)?, id))
    };
    awaited.filter_map(subject).collect()
}

fn summarise(plan: &Plan<Action>) -> String {
    match plan.steps.iter().filter(|step| step.action.writes()).count() {
        0 if plan.is_empty() => "nothing to do".into(),
        0 => "nothing to write".into(),
        1 => "1 object".into(),
        objects => format!("{objects} objects"),
    }
}

/// What was changed, in a few words.
fn changes(proposal: &Proposal) -> String {
    let (mut created, mut changed, mut deleted) = (0, 0, 0);
    for step in &proposal.plan.steps {
        match &step.action {
            Action::Apply { assessment: Assessment::Create { .. }, .. } => created += 1,
            Action::Apply { .. } | Action::Replace { .. } => changed += 1,
            Action::Delete { .. } => deleted += 1,
            Action::Await { .. } | Action::Gather => {}
        }
    }
    let counts = [(created, "created"), (changed, "changed"), (deleted, "deleted")];
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if told.is_empty() { "no object changed".into() } else { told.join(", ") }
}

fn failure_of(target: &str, release: Option<&str>, evidence: &Evidence) -> Failure {
    let release = release.unwrap_or("the adopted state");
    // Its last lines were shown when it happened.
    Failure::failed(format!("deploying {release} to {target}"))
        .since(format!("{}: {}", evidence.subject, evidence.cause))
}

/// Nothing more can be done: says exactly what stands where.
fn stranded(
    target: &str,
    failed: &Proposal,
    base: &Revision,
    evidence: &Evidence,
    error: &Failure,
) -> Failure {
    let wanted = failed.goal.release.as_deref().unwrap_or("the release");
    let old = base.release.as_deref().unwrap_or("what was there before");
    let failure = Failure::new(
        FailureKind::Stranded,
        format!("{wanted} failed on {target}, and {old} could not be put back"),
    );
    failure
        .detail([
            format!("the release failed at {}: {}", evidence.subject, evidence.cause),
            format!("going back failed: {error}"),
        ])
        .hint(format!(
            "a person is needed: `bowline status {target}` shows what stands; correct the cause, then \
             `bowline deploy {target}` or `bowline rollback {target}`"
        ))
}
