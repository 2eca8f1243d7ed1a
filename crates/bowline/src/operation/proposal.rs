//! What a deploy would do: one look at the host, what should be there, and the way from one to the other.

use std::collections::BTreeSet;

use bowline_compose::connection::RunError;
use bowline_compose::directory::DirectoryError;
use bowline_compose::observation::Observation;
use bowline_core::compose::desired::Desired;
use bowline_core::compose::planning::{Action, plan};
use bowline_core::compose::preflight::check;
use bowline_core::finding::{Finding, Findings};
use bowline_core::image::ImageId;
use bowline_core::plan::Plan;

use super::depot::Depot;
use super::goal::{Goal, Prepared, prepare};
use super::host::{Host, with_hint};
use crate::config::ComposeTarget;
use crate::error::{Failure, Outcome};

/// What would be done, and what it is based on.
pub struct Proposal {
    /// One look at the host.
    pub look: Observation,
    /// What should be.
    pub prepared: Prepared,
    /// The way there.
    pub plan: Plan<Action>,
    /// What speaks against it.
    pub findings: Findings,
}

/// Looks at the host and plans: what `plan` shows and `deploy` does. Changes nothing.
///
/// # Errors
/// When the host does not answer, or the release's compose file makes no sense.
pub async fn propose(
    host: &Host,
    target: &ComposeTarget,
    depot: &Depot,
    goal: &Goal,
    only: &BTreeSet<String>,
) -> Outcome<Proposal> {
    let paths = goal.paths(target);
    let (mut look, mut prepared) = tokio::try_join!(host.look(&paths), prepare(host, target, goal))?;
    look_for_others(host, &mut look, &paths).await?;
    restrict(&mut prepared.desired, &look, only)?;
    let mut plan = plan(&look.observed, &prepared.desired)
        .map_err(|error| Failure::invalid("ordering the services of the compose file").because(&error))?;
    if !only.is_empty() {
        leave_others(&mut plan, only);
    }
    let mut findings = check(&look.observed, &prepared.desired, &plan);
    findings.refusals.extend(missing_images(depot, &plan).await?);
    Ok(Proposal { look, prepared, plan, findings })
}

/// Looks at the files, too, that earlier releases or interrupted runs brought and this goal does not have.
async fn look_for_others(host: &Host, look: &mut Observation, paths: &BTreeSet<String>) -> Outcome<()> {
    let known = look.observed.revision.iter().flat_map(|revision| revision.files.keys());
    let others: BTreeSet<String> = known
        .chain(look.observed.traces.files.keys())
        .filter(|path| !paths.contains(*path))
        .cloned()
        .collect();
    let found = host.directory.digests(&others).await;
    look.observed.files.extend(found.map_err(|error| {
        let unreachable = matches!(error, DirectoryError::Run(RunError::Connection(_)));
        host.explain("looking at the files of", &error, unreachable, error.hint())
    })?);
    Ok(())
}

/// The images of the plan that the registry does not have: found before anything is touched.
async fn missing_images(depot: &Depot, plan: &Plan<Action>) -> Outcome<Vec<Finding>> {
    let look = |subject: String, image: ImageId| async move {
        let reference = depot.repository.at(image.manifest);
        let there = depot.client.head_manifest(&reference).await.map_err(|error| {
            let failure = Failure::failed(format!("looking for the image of {subject}")).because(&error);
            with_hint(failure, error.hint())
        })?;
        Ok::<_, Failure>(there.is_none().then(|| {
            let text = format!(
                "its image {} is neither on the host nor in {}",
                image.manifest.short(),
                depot.place()
            );
            Finding::new(subject, text, "somebody deleted it there: release again, or choose another version")
        }))
    };
    let pulls = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Pull { image } => Some(look(step.subject.clone(), image.clone())),
        _ => None,
    });
    let found = futures_util::future::try_join_all(pulls).await?;
    Ok(found.into_iter().flatten().collect())
}

/// `--service`: what the release no longer has is not removed either.
fn leave_others(plan: &mut Plan<Action>, only: &BTreeSet<String>) {
    for step in &mut plan.steps {
        if let Action::WriteFiles { stale, .. } = &mut step.action {
            stale.clear();
        }
    }
    plan.steps.retain(|step| match &step.action {
        Action::Remove { .. } => only.contains(&step.subject),
        Action::WriteFiles { files, .. } => !files.is_empty(),
        _ => true,
    });
    let kept: BTreeSet<_> = plan.steps.iter().map(|step| step.id.clone()).collect();
    plan.steps.iter_mut().for_each(|step| step.after.retain(|id| kept.contains(id)));
}

/// `--service`: leaves all others as the newest revision has them.
fn restrict(desired: &mut Desired, look: &Observation, only: &BTreeSet<String>) -> Outcome<()> {
    if only.is_empty() {
        return Ok(());
    }
    if let Some(unknown) = only.iter().find(|name| !desired.services.contains_key(*name)) {
        let known: Vec<&str> = desired.services.keys().map(String::as_str).collect();
        return Err(Failure::invalid(format!("the compose file has no service `{unknown}`"))
            .hint(format!("it has {}", known.join(", "))));
    }
    let placed = look.observed.revision.as_ref().map(|revision| &revision.services);
    for (name, service) in desired.services.iter_mut().filter(|(name, _)| !only.contains(*name)) {
        let Some(placed) = placed.and_then(|placed| placed.get(name)) else {
            return Err(Failure::invalid(format!("`{name}` does not run yet"))
                .hint("deploy everything once before single services"));
        };
        service.fingerprint = placed.fingerprint;
        service.image = None;
        service.ours = None;
    }
    Ok(())
}
