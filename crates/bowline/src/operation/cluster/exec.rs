//! `exec` in a cluster: a command in a container that runs already.

use std::collections::BTreeSet;

use bowline_core::kube::place::{choose_container, choose_pod};
use bowline_kube::exec::{Place, Streams};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::crew::Crew;
use super::site::Site;
use crate::error::{Failure, Outcome};

/// Which container is meant.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The service, or the workload.
    pub service: String,
    /// One of its pods; none: the newest that is up.
    pub pod: Option<String>,
    /// The container; none: the one with our image, else the first.
    pub container: Option<String>,
}

/// Finds the container.
///
/// # Errors
/// Kind `Invalid`: there is no such service, pod or container. Kind `Failed`: none of its pods runs.
pub async fn find(site: &Site, wanted: &Wanted) -> Outcome<Place> {
    let crew = Crew::observe(site).await?;
    let chosen = crew.choose(&BTreeSet::from([wanted.service.clone()]))?;
    let own = |value: &&Value| value.get("kind").and_then(Value::as_str) == Some("Pod");
    let sights = crew.seen.iter().filter(|(id, _)| chosen.contains(*id)).map(|(_, sight)| sight);
    let pods: Vec<&Value> =
        sights.flat_map(|sight| sight.pods().chain(sight.object.as_deref().filter(own))).collect();
    let name = |pod: &Value| text(pod, "/metadata/name");
    let pod = match &wanted.pod {
        Some(named) => pods.iter().copied().find(|pod| name(pod) == *named).ok_or_else(|| {
            let known: Vec<String> = pods.iter().map(|pod| name(pod)).collect();
            Failure::invalid(format!("{} has no pod `{named}` of {}", site.target.name, wanted.service))
                .hint(format!("it has {}", known.join(", ")))
        })?,
        None => choose_pod(pods.iter().copied()).ok_or_else(|| {
            Failure::failed(format!("running a command in {} on {}", wanted.service, site.target.name))
                .since("none of its pods runs")
                .hint(format!("`bowline status {}` says why", site.target.name))
        })?,
    };
    let container = match &wanted.container {
        Some(named) => Some(named.clone()),
        None => choose_container(pod, |image| crew.is_ours(image)).map(str::to_owned),
    };
    Ok(Place { namespace: text(pod, "/metadata/namespace"), pod: name(pod), container })
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Runs a command to its end, connected with these streams; gives its exit code.
///
/// # Errors
/// When it cannot be started, or the connection breaks.
pub async fn run<I, O, E>(
    site: &Site,
    place: &Place,
    command: &[String],
    streams: Streams<I, O, E>,
) -> Outcome<i32>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    site.cluster
        .exec(place, command, streams)
        .await
        .map_err(|error| site.explain("running a command on", &error))
}
