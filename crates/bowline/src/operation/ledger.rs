//! What a deploy writes down on its target: what it means to do, why it turned back, and what it reached.

use std::time::Duration;

use bowline_compose::lease::Lease;
use bowline_compose::state::StateError;
use bowline_core::compose::placement::{Placement, place};
use bowline_core::compose::planning::traces;
use bowline_core::event::RunId;
use bowline_core::journal::{Intent, Setback};
use bowline_core::release::{Revision, Spec};
use bowline_core::rollout::Evidence;

use super::deploy::Deployment;
use super::goal::Goal;
use super::host::{Host, moments_ago};
use super::proposal::Proposal;
use crate::clock;
use crate::error::{Failure, Outcome};

impl Deployment<'_> {
    pub(super) async fn write_intent(&self, lease: &Lease, goal: &Goal, proposal: &Proposal) -> Outcome<()> {
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

    pub(super) async fn write_setback(
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

    pub(super) fn noted<T>(&self, written: Result<T, StateError>) -> Outcome<T> {
        written.map_err(|error| {
            let doing = "writing down what is done on";
            self.host.explain(doing, &error, error.is_unreachable(), error.hint())
        })
    }

    /// The commit point on the target: the revision that says what stands where.
    pub(super) async fn commit(
        &self,
        lease: &Lease,
        proposal: &Proposal,
        base: Option<&Revision>,
    ) -> Outcome<()> {
        let goal = &proposal.goal;
        let containers = self.host.containers(moments_ago()).await;
        let containers = containers.map_err(|error| self.host.failure("looking at", &error))?;
        let Placement { services, files, images } =
            place(&proposal.prepared.desired, &goal.images, &containers, base);
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
            images,
            services,
            milliseconds: u64::try_from(Duration::from_secs_f64(self.recorder.seconds()).as_millis())
                .unwrap_or(u64::MAX),
        };
        self.noted(self.host.documents.commit(lease.authority(), &revision).await)
    }

    /// What was meant is done or undone: the journal's pages of this run, and of interrupted ones, go.
    pub(super) async fn clear_journal(&self, lease: &Lease, interrupted: &[Intent]) {
        let end = |run| self.host.documents.end(lease.authority(), run);
        for ended in futures_util::future::join_all(self.ended(interrupted).map(end)).await {
            if let Err(error) = ended {
                self.warn(error.to_string());
            }
        }
    }

    /// The runs that are over when this one is.
    pub(super) fn ended<'i>(&'i self, interrupted: &'i [Intent]) -> impl Iterator<Item = &'i RunId> {
        interrupted.iter().map(|intent| &intent.run).chain([self.recorder.run()])
    }
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
