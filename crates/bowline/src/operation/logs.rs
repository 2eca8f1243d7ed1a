//! `logs`: what the containers of a target write, put together in the order of time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bowline_compose::engine::{Change, EngineError, Line, Occurrence, Stream};
use bowline_core::compose::observed::Container;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::cluster;
use super::host::Host;
use super::target::Connected;
use crate::error::{Failure, Outcome};

/// Lines that arrive within this time of each other are put in order before they are shown.
const WINDOW: Duration = Duration::from_millis(250);

/// More lines than any log has; engines read it as a 32-bit number.
pub const ALL: usize = 2_147_483_647;

/// Which lines.
#[derive(Debug, Clone)]
pub struct Request {
    /// The services; none: all.
    pub services: BTreeSet<String>,
    /// At most so many lines of each container from before.
    pub tail: usize,
    /// None from before this time.
    pub since: Option<Timestamp>,
    /// Go on with what comes, until the target cannot be reached any more.
    pub follow: bool,
    /// What containers wrote before they were last restarted. Clusters keep that apart.
    pub previous: bool,
}

/// A line, and who wrote it.
#[derive(Debug, Clone)]
pub struct Written {
    /// The compose service, or the workload.
    pub service: String,
    /// The container's name; in a cluster with its pod's before it.
    pub container: String,
    /// What a person tells it from others by.
    pub label: String,
    /// When, by the engine's or the node's clock; none where it says something odd.
    pub time: Option<Timestamp>,
    /// `stdout` or `stderr`, where that is known.
    pub stream: Option<&'static str>,
    /// The line as it is, without its end.
    pub text: String,
}

/// Reads logs and gives each line to `tell`, in the order of time, until it says stop.
///
/// # Errors
/// Kind `Invalid`: no such service; else when the target does not answer.
pub async fn read(target: &Connected, request: &Request, tell: impl FnMut(&Written) -> bool) -> Outcome<()> {
    match target {
        Connected::Host(host) if request.previous => {
            Err(Failure::invalid(format!("{} is a Docker host", host.target))
                .since("--previous is for clusters")
                .hint("a container on a host keeps its log when it is restarted: leave --previous out"))
        }
        Connected::Host(host) => read_host(host, request, tell).await,
        Connected::Cluster(site) => cluster::logs::read(site, request, tell).await,
    }
}

async fn read_host(host: &Host, request: &Request, tell: impl FnMut(&Written) -> bool) -> Outcome<()> {
    // From here on nothing that starts is missed.
    let now = host.engine.machine_without_disk().await.map_err(|error| host.failure("looking at", &error))?;
    let (containers, _) =
        host.engine.containers(&host.project).await.map_err(|error| host.failure("looking at", &error))?;
    check_services(host, request, &containers)?;
    let wanted = |service: &str| request.services.is_empty() || request.services.contains(service);
    let containers: Vec<Container> =
        containers.into_iter().filter(|container| wanted(&container.service)).collect();
    if request.follow {
        return follow(host, request, containers, now.time, tell).await;
    }
    let mut lines = Vec::new();
    for container in &containers {
        let read = host.engine.log_tail(&container.id, request.tail).await;
        let read = read.map_err(|error| host.failure("reading logs on", &error))?;
        lines.extend(read.into_iter().map(|line| Written::new(&container.service, &container.name, line)));
    }
    show(lines, request, tell);
    Ok(())
}

/// Gives lines that are all there, in the order of time.
pub(super) fn show(mut lines: Vec<Written>, request: &Request, tell: impl FnMut(&Written) -> bool) {
    lines.sort_by_key(|written| written.time);
    // A line after the other, until it says stop.
    let _ = lines.iter().filter(|written| written.is_since(request.since)).all(tell);
}

impl Written {
    fn new(service: &str, container: &str, line: Line) -> Self {
        Self {
            service: service.into(),
            container: container.into(),
            label: service.into(),
            time: line.time.parse().ok(),
            stream: Some(if line.stream == Stream::Stderr { "stderr" } else { "stdout" }),
            text: line.text,
        }
    }

    pub(super) fn is_since(&self, since: Option<Timestamp>) -> bool {
        since.is_none_or(|since| self.time.is_none_or(|time| time >= since))
    }
}

/// Lines that come from several sources at once, held back for a moment so that they can be put in order.
#[derive(Default)]
pub(super) struct Window {
    waiting: Vec<Written>,
    due: Option<Instant>,
}

impl Window {
    pub(super) fn push(&mut self, written: Written) {
        self.due = self.due.or_else(|| Some(Instant::now() + WINDOW));
        self.waiting.push(written);
    }

    /// Waits until lines are due; for ever while there are none.
    pub(super) async fn due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Gives the lines that wait; false where `tell` says stop.
    pub(super) fn flush(&mut self, tell: &mut impl FnMut(&Written) -> bool) -> bool {
        self.due = None;
        self.waiting.sort_by_key(|written| written.time);
        self.waiting.drain(..).all(|written| tell(&written))
    }
}

fn check_services(host: &Host, request: &Request, containers: &[Container]) -> Outcome<()> {
    let known: BTreeSet<&str> = containers.iter().map(|container| container.service.as_str()).collect();
    let Some(unknown) = request.services.iter().find(|service| !known.contains(service.as_str())) else {
        return Ok(());
    };
    let failure = Failure::invalid(format!("{} has no container of a service `{unknown}`", host.target));
    Err(match known.is_empty() {
        true => failure.hint(format!("the project {} has no containers there", host.project)),
        false => failure.hint(format!("it has {}", known.into_iter().collect::<Vec<_>>().join(", "))),
    })
}

/// Follows all containers, and those that are started meanwhile.
async fn follow(
    host: &Host,
    request: &Request,
    containers: Vec<Container>,
    now: Timestamp,
    mut tell: impl FnMut(&Written) -> bool,
) -> Outcome<()> {
    let (sender, mut receiver) = mpsc::channel::<Result<Written, EngineError>>(1024);
    let mut starts: HashMap<String, Arc<Notify>> = HashMap::new();
    for container in containers {
        let source = Source { id: container.id, service: container.service, container: container.name };
        starts.insert(source.id.clone(), source.attach(host, &sender, request.tail));
    }
    let mut watch = host.engine.watch(&host.project, now);
    let mut window = Window::default();
    loop {
        tokio::select! {
            biased;
            () = window.due() => {
                if !window.flush(&mut tell) {
                    return Ok(());
                }
            }
            occurrence = watch.next() => match occurrence {
                Some(Ok(Occurrence { change: Change::Started, container: id, service, name, .. })) => {
                    let wanted = request.services.is_empty() || request.services.contains(&service);
                    match starts.get(&id) {
                        Some(start) => start.notify_one(),
                        None if wanted => {
                            let source = Source { id: id.clone(), service, container: name };
                            starts.insert(id, source.attach(host, &sender, ALL));
                        }
                        None => {}
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(host.failure("watching", &error)),
                None => return Ok(()),
            },
            written = receiver.recv() => match written {
                Some(Ok(written)) if written.is_since(request.since) => window.push(written),
                Some(Ok(_)) | None => {}
                // Removed since it was listed.
                Some(Err(error)) if error.is_not_found() => {}
                Some(Err(error)) => return Err(host.failure("following logs on", &error)),
            },
        }
    }
}

/// A container that is followed.
struct Source {
    id: String,
    service: String,
    container: String,
}

impl Source {
    /// Sends its lines on, over all its restarts; gives what is to be told when it is started again.
    fn attach(
        self,
        host: &Host,
        sender: &mpsc::Sender<Result<Written, EngineError>>,
        tail: usize,
    ) -> Arc<Notify> {
        let started = Arc::new(Notify::new());
        let (engine, sender, again) = (host.engine.clone(), sender.clone(), started.clone());
        tokio::spawn(async move {
            let (mut last, mut tail) = (None, tail);
            loop {
                let before = last;
                // The engine ends the stream with the process.
                let mut lines = engine.log_follow(&self.id, tail);
                while let Some(line) = lines.recv().await {
                    let line = line.map(|line| Written::new(&self.service, &self.container, line));
                    let time = line.as_ref().ok().and_then(|written| written.time);
                    // What was told before the restart.
                    if time.is_some() && time <= before {
                        continue;
                    }
                    last = time.max(last);
                    let failed = line.is_err();
                    if sender.send(line).await.is_err() || failed {
                        return;
                    }
                }
                again.notified().await;
                tail = ALL;
            }
        });
        started
    }
}
