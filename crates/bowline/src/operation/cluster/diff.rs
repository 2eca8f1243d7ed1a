//! `diff` on a cluster: what somebody changed by hand since the newest revision.

use bowline_core::compose::drift;
use bowline_core::kube::answer::Answer;
use bowline_core::kube::comparison::difference;
use bowline_core::kube::conflict::without;
use bowline_core::kube::drift::{Drift, explain};
use bowline_core::kube::object::{Manifest, ObjectId};
use bowline_core::kube::revision::Revision;
use bowline_kube::KubeError;
use futures_util::future::try_join_all;

use super::site::Site;
use super::standing::{Standing, discover, forgotten, resource};
use crate::error::Outcome;
use crate::operation::diff::{Report, nothing};

/// Compares a cluster with its newest revision. Changes nothing: only objects that are not as they were left are tried
/// out on the server, to see in which fields.
///
/// # Errors
/// When the cluster does not answer, or nothing was deployed to it yet.
pub(in crate::operation) async fn observe(site: &Site) -> Outcome<Report> {
    let state = site.state().await?;
    let target = site.target.name.clone();
    let Some(revision) = state.newest() else { return Err(nothing(&target)) };
    let catalog = discover(site, revision.inventory.iter()).await?;
    let standing = Standing::observe(site, catalog, revision).await?;
    if standing.kept.is_none() {
        return Err(forgotten(site, revision));
    }
    let found = standing.drift(revision);
    let asked = found.iter().map(|(id, drift)| tell(site, &standing, revision, id, *drift));
    let told = try_join_all(asked).await.map_err(|error| site.explain("comparing", &error))?;
    let drift = found
        .keys()
        .zip(told)
        .flat_map(|(id, texts)| texts.into_iter().map(|text| drift::Drift { subject: id.to_string(), text }));
    Ok(Report {
        drift: drift.collect(),
        target,
        revision: revision.number,
        release: revision.release.clone(),
    })
}

/// How one object is different, in words.
async fn tell(
    site: &Site,
    standing: &Standing,
    revision: &Revision,
    id: &ObjectId,
    drift: Drift,
) -> Result<Vec<String>, KubeError> {
    let entry = revision.inventory.get(id);
    let live = standing.live.get(id);
    let kept = standing.kept.as_ref().and_then(|kept| kept.get(id));
    let (Some(entry), Some(live), Some(kept), Drift::Changed) = (entry, live, kept, drift) else {
        return Ok(vec!["is gone".into()]);
    };
    if !kept.withheld.is_empty() {
        return Ok(vec!["was changed: its values are kept nowhere else, so that no more is known".into()]);
    }
    let Some(resource) = resource(&standing.catalog, entry) else {
        return Ok(vec!["is of a kind that the cluster does not know any more".into()]);
    };
    let yielded = entry.remembered.as_ref().map(|known| known.yielded.as_slice()).unwrap_or_default();
    let manifest = Manifest { value: without(&kept.manifest.value, yielded), ..kept.manifest.clone() };
    let tried = site.cluster.dry_run(resource, &manifest, true).await?;
    Ok(match tried.answer {
        Answer::Applied(left) => explain(&difference(live, &left), live),
        Answer::Immutable { fields, .. } if !fields.is_empty() => {
            let another =
                |field: &String| format!("{field} is another one, and cannot be set right in place");
            fields.iter().map(another).collect()
        }
        Answer::Immutable { message, .. }
        | Answer::Invalid { message, .. }
        | Answer::Denied { message, .. } => {
            vec![format!("was changed, and what is different cannot be found out: {message}")]
        }
        _ => vec!["was changed, and is changing now".into()],
    })
}
