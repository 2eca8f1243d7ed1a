//! What a deploy writes down in its cluster: what it means to do, why it turned back, and what it reached.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::journal::{Intent, ObjectTrace, Setback, Traces};
use bowline_core::kube::comparison::{Remembered, Verdict, remember};
use bowline_core::kube::object::{Manifest, ObjectId};
use bowline_core::kube::planning::{Action, Assessment};
use bowline_core::kube::revision::{Entry, Inventory, Revision};
use bowline_core::rollout::Evidence;
use bowline_kube::lease::Lease;
use bowline_kube::state::{State, StateError};

use super::deploy::Deployment;
use super::proposal::Proposal;
use crate::clock;
use crate::error::Outcome;

impl Deployment<'_> {
    pub(super) async fn write_intent(&self, lease: &Lease, proposal: &Proposal) -> Outcome<()> {
        let goal = &proposal.goal;
        let intent = Intent {
            run: self.recorder.run().clone(),
            verb: goal.verb.clone(),
            by: goal.by.clone(),
            at: clock::now(),
            base: proposal.state.newest().map(|base| base.number),
            to: goal.release.clone(),
            traces: traces(proposal),
        };
        self.noted(self.site.documents.begin(lease.authority(), &intent).await)
    }

    pub(super) async fn write_setback(
        &self,
        lease: &Lease,
        release: Option<&String>,
        base: &Revision,
        evidence: &Evidence,
    ) -> Outcome<()> {
        let setback = Setback {
            run: self.recorder.run().clone(),
            at: clock::now(),
            release: release.cloned(),
            base: Some(base.number),
            evidence: evidence.clone(),
        };
        self.noted(self.site.documents.turn_back(lease.authority(), &setback).await)
    }

    pub(super) fn noted<T>(&self, written: Result<T, StateError>) -> Outcome<T> {
        written.map_err(|error| {
            let doing = "writing down what is done on";
            self.site.explain_any(doing, &error, error.is_unreachable(), error.hint())
        })
    }

    /// Keeps the files and the manifests of a release: what does not fit must not be found out when all is done.
    pub(super) async fn keep(&self, lease: &Lease, proposal: &Proposal) -> Outcome<()> {
        let manifests = (&proposal.kept, proposal.digest);
        let kept = self.site.documents.keep(lease.authority(), &proposal.goal.spec, manifests);
        self.noted(kept.await)
    }

    /// The commit point in the cluster: the revision that says what stands where.
    pub(super) async fn commit(
        &self,
        lease: &Lease,
        proposal: &Proposal,
        written: &BTreeMap<ObjectId, Remembered>,
        verb: &str,
        base: Option<&Revision>,
    ) -> Outcome<Revision> {
        let goal = &proposal.goal;
        let milliseconds = Duration::from_secs_f64(self.recorder.seconds()).as_millis();
        let revision = Revision {
            number: base.map_or(1, |base| base.number + 1),
            release: goal.release.clone(),
            verb: verb.to_owned(),
            at: clock::now(),
            run: self.recorder.run().clone(),
            by: goal.by.clone(),
            spec: goal.spec.digest(),
            manifests: proposal.digest,
            images: goal.images.clone(),
            inventory: inventory(proposal, written, base),
            milliseconds: u64::try_from(milliseconds).unwrap_or(u64::MAX),
        };
        self.noted(self.site.documents.commit(lease.authority(), &revision).await)?;
        Ok(revision)
    }

    /// Revisions beyond those that are to be kept go.
    pub(super) async fn forget_old(&self, lease: &Lease, state: &State) {
        let kept = self.site.documents.prune(lease.authority(), state, self.site.target.pace.keep);
        if let Err(error) = kept.await {
            self.warn(format!("old revisions stay for now: {error}"));
        }
    }

    /// What was meant is done or undone: the journal's pages of this run, and of interrupted ones, go.
    pub(super) async fn clear_journal(&self, lease: &Lease, interrupted: &[Intent]) {
        let own = std::iter::once(self.recorder.run());
        for run in interrupted.iter().map(|intent| &intent.run).chain(own) {
            if let Err(error) = self.site.documents.end(lease.authority(), run).await {
                self.warn(error.to_string());
            }
        }
    }
}

/// The objects that a plan brings and that were not there.
fn traces(proposal: &Proposal) -> Traces {
    let created = proposal.plan.steps.iter().filter_map(|step| match &step.action {
        Action::Apply { id, assessment: Assessment::Create { .. } } => {
            let manifest = proposal.goal.manifests.iter().find(|manifest| manifest.id == *id)?;
            // One that something is only attached to is made by the cluster, and goes with its namespace.
            let attached = id.kind.is("", "ServiceAccount") && is_made(manifest);
            (!attached).then(|| ObjectTrace { id: id.clone(), version: manifest.version.clone() })
        }
        _ => None,
    });
    Traces { objects: created.collect(), ..Traces::default() }
}

/// Whether Bowline itself made a manifest, and no file has it.
fn is_made(manifest: &Manifest) -> bool {
    manifest.origin.file == crate::config::FILE
}

/// Whether all that was done is that logins were renewed which the base revision has too: that is no other revision, or a
/// token of each half day would push all releases out of the history.
pub(super) fn is_renewal(proposal: &Proposal, base: Option<&Revision>) -> bool {
    let goal = &proposal.goal;
    let renewed = |id: &ObjectId| {
        goal.logins.contains_key(id) && base.is_some_and(|base| base.inventory.get(id).is_some())
    };
    let written = proposal.plan.steps.iter().filter(|step| step.action.writes());
    base.is_some_and(|base| base.release == goal.release && base.manifests == proposal.digest)
        && written.filter_map(|step| step.action.id()).all(renewed)
}

/// What stands where: what was written as it was left, the rest as it was found.
fn inventory(
    proposal: &Proposal,
    written: &BTreeMap<ObjectId, Remembered>,
    base: Option<&Revision>,
) -> Inventory {
    let known = |id: &ObjectId| {
        base.and_then(|base| base.inventory.get(id)).and_then(|entry| entry.remembered.clone())
    };
    let entries = proposal.goal.manifests.iter().filter_map(|manifest| {
        let found = || {
            let live = proposal.live.get(&manifest.id)?;
            let known = known(&manifest.id);
            // What is as it was left is remembered as it was.
            if proposal.verdicts.get(&manifest.id) == Some(&Verdict::Unchanged) {
                return known;
            }
            Some(remember(&manifest.value, live, &known.map(|known| known.yielded).unwrap_or_default()))
        };
        let remembered = written.get(&manifest.id).cloned().or_else(found)?;
        Some(Entry {
            id: manifest.id.clone(),
            version: manifest.version.clone(),
            remembered: Some(remembered),
            origin: Some(manifest.origin.clone()).filter(|_| !is_made(manifest)),
        })
    });
    // What stays is part of it all the same: what no revision has is pruned.
    let stays = proposal.goal.stays.iter().filter_map(|kept| {
        let manifest = &kept.manifest;
        let remembered = remember(&manifest.value, proposal.live.get(&manifest.id)?, &[]);
        Some(Entry {
            id: manifest.id.clone(),
            version: manifest.version.clone(),
            remembered: Some(remembered),
            origin: Some(manifest.origin.clone()).filter(|_| !is_made(manifest)),
        })
    });
    entries.chain(stays).collect()
}
