//! `detach` of a cluster: gives it back to kubectl. No object is changed, except whose its fields are.

use bowline_core::kube::answer::Answer;
use bowline_core::kube::comparison::difference;
use bowline_core::kube::image::set_images;
use bowline_core::kube::revision::Revision;
use bowline_kube::lease::Lease;
use bowline_kube::{GroupVersion, Handover, KubeError};
use futures_util::future::try_join_all;
use serde::Serialize;

use super::checkout::{self, Checkout};
use super::lock;
use super::site::Site;
use super::standing::{Standing, discover, resource};
use crate::config::Config;
use crate::error::{Failure, Outcome};

/// How often an object is looked at again that changes while its fields are handed over: its status always does.
const TRIES: u32 = 5;

/// What was given back.
#[derive(Debug, Clone, Serialize)]
pub struct Detached {
    /// The target's name.
    pub target: String,
    /// The namespace that Bowline's documents were in.
    pub namespace: String,
    /// What to type from now on.
    pub command: String,
    /// What that would change: the manifests of this checkout are not what runs.
    pub would_change: Vec<String>,
    /// How many objects are kubectl's now.
    pub handed_over: usize,
    /// Objects whose fields are still under Bowline's name.
    pub left: Vec<String>,
    /// What could not be told.
    pub notes: Vec<String>,
}

/// Gives the target back.
///
/// # Errors
/// Kind `Locked`: somebody else has the lock. Kind `Invalid`: Bowline keeps nothing there. Kind `Failed`: a run has not
/// ended, or the cluster does not answer.
pub async fn detach(site: &Site, config: &Config) -> Outcome<Detached> {
    let state = site.state().await?;
    // Before the lock is taken: that would make the namespace of a cluster that has nothing.
    if state.revisions.is_empty() && state.intents.is_empty() {
        return Err(Failure::invalid(format!("detaching {}", site.target.name))
            .since("Bowline keeps nothing there about this project")
            .hint(format!(
                "its documents would be in the namespace {}; `namespace` in [targets.{}] leads elsewhere",
                site.namespace, site.target.name
            )));
    }
    let lease = lock::take(site, "detach").await?;
    match detach_under(site, config, &lease).await {
        Ok(detached) => {
            // It ends by itself within 30 s; what is left then is a free lock.
            let _ = lease.remove().await;
            Ok(detached)
        }
        Err(failure) => {
            let _ = lease.release().await;
            Err(failure)
        }
    }
}

async fn detach_under(site: &Site, config: &Config, lease: &Lease) -> Outcome<Detached> {
    let state = site.state().await?;
    if let Some(intent) = state.intents.first() {
        return Err(Failure::failed(format!("detaching {}", site.target.name))
            .since(format!("a {} by {} did not end", intent.verb, intent.by))
            .hint("deploy or roll back first: that finishes or undoes it"));
    }
    let mut notes = Vec::new();
    let would_change = match compare(site, config).await {
        Ok(changes) => changes,
        Err(failure) => {
            notes.push(format!("what kubectl would change cannot be told: {failure}"));
            Vec::new()
        }
    };
    let (handed_over, left) = match state.newest() {
        Some(revision) => hand_over(site, revision, lease).await?,
        None => (0, Vec::new()),
    };
    site.documents.forget_all(lease.authority()).await.map_err(|error| {
        site.explain_any("forgetting what was deployed to", &error, error.is_unreachable(), error.hint())
    })?;
    Ok(Detached {
        target: site.target.name.clone(),
        namespace: site.namespace.clone(),
        command: command(site),
        would_change,
        handed_over,
        left,
        notes,
    })
}

/// Makes kubectl the owner of what Bowline applied. Gives how many objects are its own now, and those that are not.
async fn hand_over(site: &Site, revision: &Revision, lease: &Lease) -> Outcome<(usize, Vec<String>)> {
    let catalog = discover(site, revision.inventory.iter()).await?;
    let standing = Standing::observe(site, catalog, revision).await?;
    let (mut handed_over, mut left) = (0, Vec::new());
    for entry in revision.inventory.iter() {
        let live = standing.live.get(&entry.id);
        let (Some(resource), Some(live)) = (resource(&standing.catalog, entry), live) else { continue };
        let mut live = Some(live.clone());
        for turn in 0..TRIES {
            let Some(there) = live.as_ref().filter(|there| is_held(there)) else { break };
            let lost = |lost| Failure::failed(format!("detaching {}", site.target.name)).because(&lost);
            lease.authority().check().map_err(lost)?;
            let handed = site.cluster.hand_over(resource, &entry.id, there).await;
            match handed.map_err(|error| site.explain("handing over the objects of", &error))? {
                Handover::Done => {
                    handed_over += 1;
                    break;
                }
                Handover::Nothing => break,
                Handover::Stale => {}
            }
            if turn + 1 == TRIES {
                left.push(entry.id.to_string());
            }
            let again = site.cluster.get(resource, &entry.id).await;
            live = again.map_err(|error| site.explain("looking at", &error))?;
        }
    }
    Ok((handed_over, left))
}

fn is_held(live: &serde_json::Value) -> bool {
    bowline_core::kube::conflict::bequeath(live).is_some()
}

/// What applying this checkout's manifests, as they are written, would change.
async fn compare(site: &Site, config: &Config) -> Outcome<Vec<String>> {
    let Checkout { mut assembled, .. } = checkout::read(site, config).await?;
    let written = |pin: &bowline_core::kube::image::Pin| Some(pin.place.image.clone());
    set_images(&mut assembled.manifests, &assembled.pins, written);
    let ask = async |manifest: &bowline_core::kube::object::Manifest| {
        let version = GroupVersion::new(&manifest.id.kind.group, &manifest.version);
        let Some(resource) = assembled.catalog.resource(&version, &manifest.id.kind.kind) else {
            return Ok(None);
        };
        let live = site.cluster.get(resource, &manifest.id).await?;
        let tried = site.cluster.dry_run(resource, manifest, true).await?;
        Ok::<_, KubeError>(match (live, tried.answer) {
            (None, _) => Some(format!("{} is made", manifest.id)),
            (Some(live), Answer::Applied(would)) => {
                let fields: Vec<String> =
                    difference(&live, &would).into_iter().map(|change| change.path).collect();
                (!fields.is_empty()).then(|| format!("{}: {}", manifest.id, fields.join(", ")))
            }
            (Some(_), _) => Some(format!("{} is refused as it is written", manifest.id)),
        })
    };
    let told = try_join_all(assembled.manifests.iter().map(ask)).await;
    let told = told.map_err(|error| site.explain("trying out the manifests on", &error))?;
    Ok(told.into_iter().flatten().collect())
}

/// What people type. Objects are Bowline's no more, so that server-side apply finds no conflicts.
fn command(site: &Site) -> String {
    let mut words = vec!["kubectl".to_owned()];
    if let Some(context) = &site.target.context {
        words.extend(["--context".into(), context.clone()]);
    }
    words.extend(["-n".into(), site.namespace.clone(), "apply".into(), "--server-side".into()]);
    words.extend(site.target.manifests.iter().flat_map(|file| ["-R".to_owned(), "-f".into(), file.clone()]));
    words.dedup();
    let quoted =
        |word: &String| shlex::try_quote(word).map_or_else(|_| word.clone(), |text| text.into_owned());
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
