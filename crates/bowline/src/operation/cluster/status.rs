//! `status` of a cluster: its workloads, who changes it, and what is not as it was left.

use bowline_core::kube::object::{Kind, ObjectId};
use bowline_core::kube::readiness::{Budget, Sight};
use bowline_core::kube::revision::Revision;
use bowline_core::kube::status::fold;
use bowline_core::status::Status;
use bowline_kube::lease::server_time;
use bowline_kube::state::State;
use bowline_kube::watch::{self, Watch};
use jiff::Timestamp;
use serde_json::Value;

use super::lock;
use super::site::Site;
use super::standing::{Standing, discover, subjects};
use crate::clock;
use crate::error::Outcome;
use crate::operation::status::{Report, unfinished};

/// Looks at a cluster.
///
/// # Errors
/// When it does not answer.
pub(in crate::operation) async fn observe(site: &Site) -> Outcome<Report> {
    let now = async {
        let now = server_time(&site.documents).await;
        now.map_err(|error| site.explain("looking at", &error))
    };
    let (state, lock, now) = tokio::try_join!(site.state(), lock::observe(site), now)?;
    let now = now.unwrap_or_else(clock::now);
    let (mut status, drifted) = match state.newest() {
        Some(revision) => look(site, &state, revision, now).await?,
        None => (fold(&site.target.name, &state.revisions, &[], &budget(site), now), Vec::new()),
    };
    let (running, interrupted) = unfinished(&state.intents, &state.setbacks, lock.as_ref());
    status.interrupted = interrupted;
    Ok(Report { status, running, lock, drifted, unreadable: state.unreadable, now })
}

/// All that is seen counts, whenever it happened.
fn budget(site: &Site) -> Budget {
    Budget { settle: site.target.pace.settle, restarts: site.target.pace.restarts, since: None }
}

async fn look(
    site: &Site,
    state: &State,
    revision: &Revision,
    now: Timestamp,
) -> Outcome<(Status, Vec<String>)> {
    let catalog = discover(site, revision.inventory.iter()).await?;
    let subjects = subjects(&catalog, revision.inventory.iter());
    let watch = async {
        let watch = Watch::open(&site.cluster, &subjects).await;
        watch.map_err(|error| site.explain("looking at", &error))
    };
    let (watch, standing) = tokio::try_join!(watch, Standing::observe(site, catalog.clone(), revision))?;
    let seen: Vec<(ObjectId, watch::Sight)> =
        subjects.iter().map(|subject| (subject.id.clone(), watch.sight(&subject.id))).collect();
    let nodes = watch.seen(&Kind::new("", "Node"), None);
    let nodes: Vec<&Value> = nodes.iter().map(AsRef::as_ref).collect();
    let parts: Vec<Parts<'_>> = seen.iter().map(|(_, sight)| Parts::of(sight)).collect();
    let sights: Vec<(ObjectId, Sight<'_>)> =
        seen.iter().zip(&parts).map(|((id, _), parts)| (id.clone(), parts.sight(&nodes))).collect();
    let status = fold(&site.target.name, &state.revisions, &sights, &budget(site), now);
    let drifted = standing.drift(revision).into_keys().map(|id| id.to_string()).collect();
    Ok((status, drifted))
}

/// What was seen of a workload, sorted by what it is.
struct Parts<'s> {
    object: Option<&'s Value>,
    replica_sets: Vec<&'s Value>,
    pods: Vec<&'s Value>,
    events: Vec<&'s Value>,
}

impl<'s> Parts<'s> {
    fn of(sight: &'s watch::Sight) -> Self {
        let is_set = |value: &&Value| value.get("kind").and_then(Value::as_str) == Some("ReplicaSet");
        Self {
            object: sight.object.as_deref(),
            replica_sets: sight.owned.iter().map(AsRef::as_ref).filter(is_set).collect(),
            pods: sight.pods().collect(),
            events: sight.events.iter().map(AsRef::as_ref).collect(),
        }
    }

    fn sight<'a>(&'a self, nodes: &'a [&'a Value]) -> Sight<'a> {
        Sight {
            object: self.object,
            replica_sets: &self.replica_sets,
            pods: &self.pods,
            nodes,
            events: &self.events,
            ..Sight::default()
        }
    }
}
