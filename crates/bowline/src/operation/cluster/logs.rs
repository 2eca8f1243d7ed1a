//! `logs` of a cluster: what all pods of the workloads write.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::kube::object::ObjectId;
use bowline_kube::KubeError;
use bowline_kube::log::{Beginning, Line, Source, sources};
use futures_util::future::try_join_all;

use super::crew::Crew;
use super::site::Site;
use crate::error::{Failure, Outcome};
use crate::operation::logs::{ALL, Request, Window, Written, show};

/// Reads logs and gives each line to `tell`, in the order of time, until it says stop.
pub(in crate::operation) async fn read(
    site: &Site,
    request: &Request,
    tell: impl FnMut(&Written) -> bool,
) -> Outcome<()> {
    let crew = Crew::observe(site).await?;
    let chosen = crew.choose(&request.services)?;
    let names = Names { services: &crew.names, crowded: crew.crowded() };
    let lines = (request.tail != ALL).then(|| u32::try_from(request.tail).unwrap_or(u32::MAX));
    let beginning = Beginning { lines, since: request.since };
    if request.follow {
        let subjects = crew.subjects.iter().filter(|subject| chosen.contains(&subject.id)).cloned().collect();
        let lines = site.cluster.log_follow(subjects, beginning);
        return follow(site, &names, lines, request, tell).await;
    }
    let all: Vec<Source> = crew
        .seen
        .iter()
        .filter(|(id, _)| chosen.contains(*id))
        .flat_map(|(_, sight)| sources(sight))
        .collect();
    let read = try_join_all(all.iter().map(|source| read_one(site, source, beginning, request.previous)));
    let read = read.await.map_err(|error| site.explain("reading logs on", &error))?;
    if request.previous && read.iter().all(Vec::is_empty) {
        return Err(Failure::invalid(format!("nothing was restarted on {}", site.target.name))
            .since("no container has a log of before its last restart")
            .hint("leave --previous out"));
    }
    show(read.into_iter().flatten().map(|line| names.written(line)).collect(), request, tell);
    Ok(())
}

/// A container that was not restarted has no log of before, and one that is gone by now has none at all.
async fn read_one(
    site: &Site,
    source: &Source,
    beginning: Beginning,
    previous: bool,
) -> Result<Vec<Line>, KubeError> {
    match site.cluster.log(source, beginning, previous).await {
        Err(KubeError::NotFound { .. } | KubeError::Refused { status: 400, .. }) => Ok(Vec::new()),
        read => read,
    }
}

async fn follow(
    site: &Site,
    names: &Names<'_>,
    mut lines: tokio::sync::mpsc::Receiver<Result<Line, KubeError>>,
    request: &Request,
    mut tell: impl FnMut(&Written) -> bool,
) -> Outcome<()> {
    let mut window = Window::default();
    loop {
        tokio::select! {
            biased;
            () = window.due() => {
                if !window.flush(&mut tell) {
                    return Ok(());
                }
            }
            line = lines.recv() => match line {
                Some(Ok(line)) => {
                    let written = names.written(line);
                    if written.is_since(request.since) {
                        window.push(written);
                    }
                }
                Some(Err(error)) => return Err(site.explain("following logs on", &error)),
                None => return Ok(()),
            },
        }
    }
}

/// How lines are signed.
struct Names<'n> {
    services: &'n BTreeMap<ObjectId, String>,
    /// Workloads whose pods have several containers.
    crowded: BTreeSet<ObjectId>,
}

impl Names<'_> {
    fn written(&self, line: Line) -> Written {
        let source = line.source;
        let workload = source.workload.as_ref();
        let crowded = workload.is_some_and(|id| self.crowded.contains(id));
        Written {
            service: workload.and_then(|id| self.services.get(id)).cloned().unwrap_or_default(),
            container: source.to_string(),
            label: if crowded { source.to_string() } else { source.pod.clone() },
            time: line.time.parse().ok(),
            stream: None,
            text: line.text,
        }
    }
}
