//! What a deploy would do: one look at the host, what should be there, and the way from one to the other.

use std::collections::BTreeSet;

use bowline_compose::connection::RunError;
use bowline_compose::directory::DirectoryError;
use bowline_compose::observation::Observation;
use bowline_core::compose::desired::Desired;
use bowline_core::compose::part;
use bowline_core::compose::planning::file::known_paths;
use bowline_core::compose::planning::{Action, plan};
use bowline_core::compose::preflight::{Finding, Findings, check};
use bowline_core::image::ImageId;
use bowline_core::plan::Plan;
use bowline_core::release::Revision;

use super::depot::Depot;
use super::goal::{Goal, Prepared, prepare};
use super::host::{Host, with_hint};
use crate::config::ComposeTarget;
use crate::error::{Failure, Outcome};

/// What would be done, and what it is based on.
pub struct Proposal {
    /// What is to be reached: with `--service`, the base revision's images for all other services.
    pub goal: Goal,
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
    let mut goal = goal.clone();
    let mut refusals = Vec::new();
    if !only.is_empty() {
        let base = base_of_part(host, &look, &prepared.desired, only)?;
        goal.images = part::mix(&prepared.desired, &goal.images, &base.images, only);
        prepared = prepare(host, target, &goal).await?;
        refusals = part::check(&prepared.desired, base, only);
    }
    let base = look.observed.revision.as_ref().map(|revision| revision.number);
    prepared.desired.back = goal.revision.is_some() && goal.revision == base;
    let plan = plan(&look.observed, &prepared.desired)
        .map_err(|error| Failure::invalid("ordering the services of the compose file").because(&error))?;
    let mut findings = check(&look.observed, &prepared.desired, &plan);
    findings.refusals.extend(refusals);
    findings.refusals.extend(missing_images(depot, &plan).await?);
    Ok(Proposal { goal, look, prepared, plan, findings })
}

/// Looks at the files, too, that earlier releases or interrupted runs brought and this goal does not have.
async fn look_for_others(host: &Host, look: &mut Observation, paths: &BTreeSet<String>) -> Outcome<()> {
    let others: BTreeSet<String> =
        known_paths(&look.observed).into_iter().filter(|path| !paths.contains(path)).collect();
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
        Ok::<_, Failure>(there.is_none().then(|| Finding {
            text: format!(
                "its image {} is neither on the host nor in {}",
                image.manifest.short(),
                depot.place()
            ),
            remedy: "somebody deleted it there: release again, or choose another version".into(),
            subject,
        }))
    };
    let pulls = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Pull { image } => Some(look(step.subject.clone(), image.clone())),
        _ => None,
    });
    let found = futures_util::future::try_join_all(pulls).await?;
    Ok(found.into_iter().flatten().collect())
}

/// The revision whose other services stay as they are when only these are deployed.
fn base_of_part<'l>(
    host: &Host,
    look: &'l Observation,
    desired: &Desired,
    only: &BTreeSet<String>,
) -> Outcome<&'l Revision> {
    if let Some(unknown) = only.iter().find(|name| !desired.services.contains_key(*name)) {
        let known: Vec<&str> = desired.services.keys().map(String::as_str).collect();
        return Err(Failure::invalid(format!("the compose file has no service `{unknown}`"))
            .hint(format!("it has {}", known.join(", "))));
    }
    look.observed.revision.as_ref().ok_or_else(|| {
        Failure::invalid(format!("nothing was deployed to {} yet", host.target))
            .hint("deploy everything once before single services")
    })
}
