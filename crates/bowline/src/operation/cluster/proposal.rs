//! What a deploy would do to a cluster: one look, what each object means, and the way there.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::digest::Digest;
use bowline_core::finding::{Finding, Findings};
use bowline_core::journal::Traces;
use bowline_core::kube::adjustment::keep_scale;
use bowline_core::kube::comparison::{Loss, Verdict, loss};
use bowline_core::kube::object::ObjectId;
use bowline_core::kube::order::{Ordering, edges, runs_pods};
use bowline_core::kube::planning::{Action, Assessment, Pace, plan};
use bowline_core::kube::preflight::{Deed, check};
use bowline_core::kube::prune::prune;
use bowline_core::kube::revision::{Inventory, Manifests};
use bowline_core::plan::Plan;
use bowline_kube::state::State;
use bowline_kube::{Catalog, Observation};
use serde_json::Value;

use super::assessment::{Assessments, assess, compare};
use super::goal::{Goal, Prepared};
use super::pull_secret::is_login;
use super::site::Site;
use super::survey::{self, Around};
use crate::error::{Failure, Outcome};

/// What somebody allows besides what is always done.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Objects that may be deleted and made anew where a field of theirs cannot change.
    pub renew: BTreeSet<ObjectId>,
    /// Whether objects of the revisions that are kept are deleted which the goal does not have.
    pub prune: bool,
    /// Whether nothing is looked at besides the objects themselves: on the way back, what could be found would stop nobody.
    pub blind: bool,
}

/// What would be done, and what it is based on.
pub struct Proposal {
    /// What should be.
    pub goal: Goal,
    /// How the cluster calls its kinds.
    pub catalog: Catalog,
    /// The goal's manifests as they are kept.
    pub kept: Manifests,
    /// The digest that they are kept by.
    pub digest: Digest,
    /// What Bowline keeps in the cluster.
    pub state: State,
    /// The objects as they are.
    pub live: BTreeMap<ObjectId, Value>,
    /// Whether each object is as the newest revision left it.
    pub verdicts: BTreeMap<ObjectId, Verdict>,
    /// What each object means.
    pub assessments: BTreeMap<ObjectId, Assessment>,
    /// What waits for what, and why.
    pub ordering: Ordering,
    /// The way there.
    pub plan: Plan<Action>,
    /// What speaks against it.
    pub findings: Findings,
}

/// Looks at the cluster and plans: what `plan` shows and `deploy` does. Changes nothing.
///
/// # Errors
/// When the cluster does not answer, or the objects wait for each other in a circle.
pub async fn propose(site: &Site, mut prepared: Prepared, wish: &Wish) -> Outcome<Proposal> {
    let (state, seen, catalog) = survey::own(site, &prepared).await?;
    if !catalog.server.notes_scaling() {
        keep_scale(&mut prepared.goal.manifests, &seen.objects);
    }
    let base = state.newest();
    let inventory = base.map(|base| &base.inventory);
    let ordering = edges(&prepared.goal.manifests).map_err(|error| {
        Failure::invalid(format!("ordering the objects of {}", site.target.name)).because(&error)
    })?;
    let verdicts = compare(&prepared, &seen.objects, inventory);
    // Where something differs all of this is asked for, and at once: what is around does not depend on what would be written.
    let differs = verdicts.iter().any(|verdict| *verdict != Verdict::Unchanged);
    let surroundings = async {
        match differs && !wish.blind {
            true => Some(survey::surroundings(site, &prepared.goal).await),
            false => None,
        }
    };
    let (assessments, surroundings) =
        tokio::join!(assess(site, &prepared, &seen.objects, &verdicts, &wish.renew), surroundings);
    let Assessments { mut each, mut findings, mut forbidden } = assessments?;
    let ids = prepared.goal.manifests.iter().map(|manifest| manifest.id.clone());
    let verdicts: BTreeMap<ObjectId, Verdict> = ids.zip(verdicts).collect();
    if !wish.blind {
        doubt(&mut each, &verdicts, !state.intents.is_empty());
    }
    let gone = leftovers(site, &prepared, &state, &seen, wish.prune, &mut findings)?;
    let pace = Pace { start: site.target.pace.start, restarts: site.target.pace.restarts };
    let number = base.map(|base| base.number);
    let plan = plan(number, &prepared.goal.manifests, &ordering, &each, &gone, &pace).map_err(|error| {
        Failure::invalid(format!("ordering the objects of {}", site.target.name)).because(&error)
    })?;
    let Prepared { goal, .. } = prepared;
    let nothing = plan.is_empty() && forbidden.is_empty();
    if !nothing && !wish.blind {
        let deeds = plan.steps.iter().filter_map(|step| Deed::of(&step.action));
        let awaited = forbidden.keys().filter(|id| runs_pods(&id.kind)).map(|id| (id, Deed::Await));
        let around = Around {
            goal: &goal,
            catalog: &catalog,
            unchanged: unchanged(&each),
            deeds: deeds.chain(awaited).chain(forbidden.iter().map(|(id, (deed, _))| (id, *deed))).collect(),
        };
        let surroundings = match surroundings {
            // Only now it matters whether they could be looked at.
            Some(found) => found?,
            None => survey::surroundings(site, &goal).await?,
        };
        let (cluster, notes) = survey::around(site, around, surroundings).await;
        // What the review of rights explains is told by it.
        forbidden.retain(|id, _| {
            !cluster.denied.iter().any(|right| right.kind == id.kind && right.verb == "patch")
        });
        let found = check(&goal.manifests, &cluster);
        findings.refusals.extend(found.refusals);
        findings.warnings.extend(found.warnings);
        findings.warnings.extend(notes);
    }
    findings.refusals.extend(forbidden.into_values().map(|(_, finding)| finding));
    let kept = goal.kept();
    let digest = kept.digest();
    Ok(Proposal {
        kept,
        digest,
        goal,
        catalog,
        state,
        live: seen.objects,
        verdicts,
        assessments: each,
        ordering,
        plan,
        findings,
    })
}

/// The objects that are there and are to go: what runs that did not end brought; and, where that is asked for, what left the
/// manifests.
fn leftovers(
    site: &Site,
    prepared: &Prepared,
    state: &State,
    seen: &Observation,
    prune_asked: bool,
    findings: &mut Findings,
) -> Outcome<BTreeSet<ObjectId>> {
    let there = |id: &ObjectId| seen.objects.contains_key(id);
    let wanted: BTreeSet<ObjectId> = prepared.goal.ids().cloned().collect();
    let mut gone = brought(state);
    gone.retain(|id| there(id) && !wanted.contains(id));
    if prune_asked {
        // What left the manifests earlier, when nobody asked for this, is in an older one.
        let revisions = state.revisions.values();
        let brought: Inventory = revisions.flat_map(|revision| revision.inventory.iter().cloned()).collect();
        let pruned = prune(&brought, &wanted)
            .map_err(|error| Failure::invalid(format!("pruning {}", site.target.name)).because(&error))?;
        // A run without a login says nothing of whether nodes need one.
        let login = |id: &ObjectId| id.kind.is("", "Secret") && is_login(seen.objects.get(id));
        gone.extend(pruned.gone.into_iter().filter(|id| there(id) && !login(id)));
        findings.warnings.extend(pruned.kept.into_iter().filter(there).map(|id| {
            let remedy = "what people stored may be in it: delete it by name if it is not needed";
            Finding::new(id.to_string(), "is no longer in the manifests and stays", remedy)
        }));
    }
    Ok(gone)
}

/// What runs that did not end brought on top of the newest revision, and may be taken away again: never what people store
/// something in.
fn brought(state: &State) -> BTreeSet<ObjectId> {
    let traces = Traces::of(&state.intents, state.newest().map(|newest| newest.number));
    traces.objects.into_iter().map(|trace| trace.id).filter(|id| loss(&id.kind) != Loss::Data).collect()
}

fn unchanged(each: &BTreeMap<ObjectId, Assessment>) -> BTreeSet<ObjectId> {
    let same = |found: &Assessment| matches!(found, Assessment::Unchanged | Assessment::Unproven);
    each.iter().filter(|(_, found)| same(found)).map(|(id, _)| id.clone()).collect()
}

/// What is as it should be has come up only if a revision says so: one is written when all of it was seen up. After a run
/// that did not end nothing is known.
fn doubt(
    each: &mut BTreeMap<ObjectId, Assessment>,
    verdicts: &BTreeMap<ObjectId, Verdict>,
    interrupted: bool,
) {
    for (id, found) in each.iter_mut().filter(|(_, found)| **found == Assessment::Unchanged) {
        // A revision has the very manifest, whatever became of the object since.
        let seen = matches!(verdicts.get(id), Some(Verdict::Unchanged | Verdict::Drifted));
        if interrupted || !seen {
            *found = Assessment::Unproven;
        }
    }
}

impl Proposal {
    /// Whether an object is written.
    pub fn writes(&self, id: &ObjectId) -> bool {
        self.plan.steps.iter().any(|step| step.action.writes() && step.action.id() == Some(id))
    }
}
