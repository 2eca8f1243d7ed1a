//! What containers write.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::kube::object::{ObjectId, identify};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::call::segment;
use crate::cluster::{Cluster, ORDINARY};
use crate::error::KubeError;
use crate::watch::{Sight, Subject, Watch};

/// The longest line that is kept, in bytes.
const LONGEST: usize = 16 << 10;
/// How long after a stream has ended its container is looked at: a kubelet that was restarted ends streams too.
const SETTLE: Duration = Duration::from_secs(2);

/// Where a line came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Its container.
    pub container: String,
    /// The object whose pod it is, where it was found by that.
    pub workload: Option<ObjectId>,
}

impl fmt::Display for Source {
    /// `user-7d4b9c-x2x1z/app`: a prefix for lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pod, self.container)
    }
}

/// A line that a container wrote, as it is: nothing is escaped yet. The API does not tell standard output from error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it came from.
    pub source: Arc<Source>,
    /// The node's time of it, RFC 3339.
    pub time: String,
    /// The text without its end of line, at most 16 KiB.
    pub text: String,
}

/// From where on lines are wanted of what is there already. Containers that are started later are told of in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beginning {
    /// So many of the last lines of each container; none: all.
    pub lines: Option<u32>,
    /// Lines since then.
    pub since: Option<Timestamp>,
}

/// One request for a log.
#[derive(Clone, Copy, Default)]
struct Wish {
    lines: Option<u32>,
    since: Option<Timestamp>,
    previous: bool,
    follow: bool,
}

impl Cluster {
    /// The last lines of a container, at most `lines`; of the instance before it was last restarted, where `previous`
    /// is wanted.
    ///
    /// # Errors
    /// Also when the container was not started yet, or there is no previous instance ([`KubeError::Refused`]).
    pub async fn log_tail(
        &self,
        source: &Source,
        lines: u32,
        previous: bool,
    ) -> Result<Vec<Line>, KubeError> {
        self.log(source, Beginning { lines: Some(lines), since: None }, previous).await
    }

    /// What a container wrote from a beginning on; of the instance before it was last restarted, where `previous` is
    /// wanted.
    ///
    /// # Errors
    /// As with [`Self::log_tail`].
    pub async fn log(
        &self,
        source: &Source,
        beginning: Beginning,
        previous: bool,
    ) -> Result<Vec<Line>, KubeError> {
        let what = what(source);
        let most = beginning.lines.and_then(|lines| usize::try_from(lines).ok()).unwrap_or(usize::MAX);
        let read = async {
            let wish = Wish { lines: beginning.lines, since: beginning.since, previous, follow: false };
            let mut reading = Reading::open(self, Arc::new(source.clone()), wish).await?;
            let mut kept = VecDeque::new();
            while let Some(line) = reading.next().await? {
                kept.push_back(line);
                // A server may give more than it was asked for.
                while kept.len() > most {
                    kept.pop_front();
                }
            }
            Ok(kept.into_iter().collect())
        };
        tokio::time::timeout(ORDINARY, read).await.unwrap_or_else(|_| Err(self.late(&what, ORDINARY)))
    }

    /// Follows all containers of all pods of some workloads: what they wrote, then what they write, pods that come
    /// later included, until the receiver is dropped. Lines of one container stay in their order. An error is the last
    /// item when it concerns all, and one among others when it concerns one container.
    pub fn log_follow(
        &self,
        subjects: Vec<Subject>,
        beginning: Beginning,
    ) -> mpsc::Receiver<Result<Line, KubeError>> {
        let (tell, follower) = mpsc::channel(256);
        let cluster = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                result = follow_all(&cluster, &subjects, beginning, &tell) => {
                    if let Err(error) = result {
                        let _ = tell.send(Err(error)).await;
                    }
                }
                () = tell.closed() => {}
            }
        });
        follower
    }
}

/// One start of one container: a restart is another.
type Instance = (Arc<Source>, String);

async fn follow_all(
    cluster: &Cluster,
    subjects: &[Subject],
    beginning: Beginning,
    tell: &mpsc::Sender<Result<Line, KubeError>>,
) -> Result<(), KubeError> {
    let mut watch = Watch::open(cluster, subjects).await?;
    // When the last line was written of those that were told of.
    let mut known: BTreeMap<Instance, Option<Timestamp>> = BTreeMap::new();
    let mut readers = JoinSet::new();
    let mut wish = Wish { lines: beginning.lines, since: beginning.since, follow: true, ..Wish::default() };
    loop {
        for subject in subjects {
            for (source, id, _) in instances(&watch.sight(&subject.id)) {
                let instance = (Arc::new(source), id);
                if !known.contains_key(&instance) {
                    known.insert(instance.clone(), None);
                    readers.spawn(follow(cluster.clone(), instance, wish, None, tell.clone()));
                }
            }
        }
        wish = Wish { follow: true, ..Wish::default() };
        tokio::select! {
            () = watch.changed() => {}
            Some(ended) = readers.join_next() => {
                let Ok((instance, last)) = ended else { continue };
                let running = subjects.iter().flat_map(|subject| instances(&watch.sight(&subject.id)));
                let still = |(source, id, runs): (Source, String, bool)| {
                    runs && id == instance.1 && source == *instance.0
                };
                if running.into_iter().any(still) {
                    readers.spawn(follow(cluster.clone(), instance, wish, last, tell.clone()));
                } else {
                    known.insert(instance, last);
                }
            }
        }
    }
}

/// The containers of a workload that were started at least once: those that have logs.
pub fn sources(sight: &Sight) -> Vec<Source> {
    instances(sight).into_iter().map(|(source, ..)| source).collect()
}

/// The containers of a workload that were started, each with the id of its last start and whether that still runs.
fn instances(sight: &Sight) -> Vec<(Source, String, bool)> {
    let own =
        sight.object.as_deref().filter(|value| value.get("kind").and_then(Value::as_str) == Some("Pod"));
    let workload = sight.object.as_deref().and_then(identify);
    let mut found = Vec::new();
    for pod in sight.pods().chain(own) {
        let Some(pod_id) = identify(pod) else { continue };
        let lists = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
        let statuses = lists.iter().filter_map(|list| pod.get("status")?.get(list)?.as_array()).flatten();
        for status in statuses {
            let text =
                |field: &str| status.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
            let (Some(container), Some(id)) = (text("name"), text("containerID")) else { continue };
            let source = Source {
                namespace: pod_id.namespace.clone().unwrap_or_default(),
                pod: pod_id.name.clone(),
                container: container.to_owned(),
                workload: workload.clone(),
            };
            found.push((source, id.to_owned(), status.pointer("/state/running").is_some()));
        }
    }
    found
}

/// Follows one start of a container to its end, over connections that break; gives the time of the last line.
async fn follow(
    cluster: Cluster,
    instance: Instance,
    mut wish: Wish,
    mut last: Option<Timestamp>,
    tell: mpsc::Sender<Result<Line, KubeError>>,
) -> (Instance, Option<Timestamp>) {
    loop {
        if last.is_some() {
            wish = Wish { since: last, follow: true, ..Wish::default() };
        }
        match follow_once(&cluster, &instance.0, wish, &mut last, &tell).await {
            Ok(()) => break,
            Err(error) if error.is_unreachable() => tokio::time::sleep(SETTLE).await,
            // The pod is gone, or its container does not run yet or any more.
            Err(KubeError::NotFound { .. } | KubeError::Refused { status: 400, .. }) => break,
            Err(error) => {
                let _ = tell.send(Err(error)).await;
                break;
            }
        }
    }
    tokio::time::sleep(SETTLE).await;
    (instance, last)
}

async fn follow_once(
    cluster: &Cluster,
    source: &Arc<Source>,
    wish: Wish,
    last: &mut Option<Timestamp>,
    tell: &mpsc::Sender<Result<Line, KubeError>>,
) -> Result<(), KubeError> {
    let mut reading = Reading::open(cluster, Arc::clone(source), wish).await?;
    let begin = *last;
    while let Some(line) = reading.next().await? {
        let time = line.time.parse::<Timestamp>().ok();
        // `since` is exact to the second only: what was told of already comes again.
        if time.is_some() && time <= begin {
            continue;
        }
        *last = time.or(*last);
        if tell.send(Ok(line)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A log that is being read.
struct Reading {
    cluster: Cluster,
    source: Arc<Source>,
    body: Body,
    splitter: Splitter,
    ended: bool,
}

impl Reading {
    async fn open(cluster: &Cluster, source: Arc<Source>, wish: Wish) -> Result<Self, KubeError> {
        let what = what(&source);
        let request = http::Request::get(path(&source, wish)).body(Body::empty());
        let request = request
            .map_err(|error| KubeError::Unexpected { what: what.clone(), message: error.to_string() })?;
        let answer = cluster.ask(&what, ORDINARY, cluster.client().send(request)).await?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            let (cluster, splitter) = (cluster.clone(), Splitter::default());
            return Ok(Self { cluster, source, body, splitter, ended: false });
        }
        let body = cluster.ask(&what, ORDINARY, body.collect()).await?.to_bytes();
        let status: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |field: &str| status.get(field).and_then(Value::as_str).unwrap_or_default();
        let code = head.status.as_u16();
        Err(KubeError::answered(&what, cluster.server(), code, text("reason"), text("message")))
    }

    /// The next line; none at the end.
    async fn next(&mut self) -> Result<Option<Line>, KubeError> {
        loop {
            if let Some(bytes) = self.splitter.lines.pop_front() {
                return Ok(Some(line(&self.source, &bytes)));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.frame().await {
                None => {
                    self.ended = true;
                    self.splitter.finish();
                }
                Some(Err(error)) => return Err(self.cluster.explain(&what(&self.source), &error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.splitter.push(&bytes);
                    }
                }
            }
        }
    }
}

fn what(source: &Source) -> String {
    format!("read the log of {source}")
}

fn path(source: &Source, wish: Wish) -> String {
    let (namespace, pod) = (segment(&source.namespace), segment(&source.pod));
    let mut path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?timestamps=true&container=");
    path.push_str(&segment(&source.container));
    for (name, wanted) in [("follow", wish.follow), ("previous", wish.previous)] {
        if wanted {
            path.push_str(&format!("&{name}=true"));
        }
    }
    if let Some(lines) = wish.lines {
        path.push_str(&format!("&tailLines={lines}"));
    }
    if let Some(since) = wish.since {
        path.push_str(&format!("&sinceTime={}", segment(&since.to_string())));
    }
    path
}

/// Puts chunks together to lines.
#[derive(Default)]
struct Splitter {
    begun: Vec<u8>,
    lines: VecDeque<Vec<u8>>,
}

impl Splitter {
    fn push(&mut self, chunk: &[u8]) {
        for byte in chunk {
            if *byte == b'\n' {
                self.lines.push_back(std::mem::take(&mut self.begun));
            } else if self.begun.len() < LONGEST {
                self.begun.push(*byte);
            }
        }
    }

    fn finish(&mut self) {
        if !self.begun.is_empty() {
            self.lines.push_back(std::mem::take(&mut self.begun));
        }
    }
}

fn line(source: &Arc<Source>, bytes: &[u8]) -> Line {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    // Without a time it is the kubelet that speaks, about the log itself.
    let (time, text) = match text.split_once(' ') {
        Some((time, rest)) if time.parse::<Timestamp>().is_ok() => (time, rest),
        _ if text.parse::<Timestamp>().is_ok() => (text, ""),
        _ => ("", text),
    };
    Line { source: Arc::clone(source), time: time.into(), text: text.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source() -> Source {
        Source { namespace: "chat".into(), pod: "user-1".into(), container: "app".into(), workload: None }
    }

    #[test]
    fn chunks_become_lines() {
        let mut splitter = Splitter::default();
        for chunk in ["2026-11-25T10:00:00.5Z he", "llo\r\n2026-11-25T10:00:01Z \nfailed to ", "read"] {
            splitter.push(chunk.as_bytes());
        }
        splitter.finish();
        let source = Arc::new(source());
        let lines: Vec<_> = splitter.lines.iter().map(|bytes| line(&source, bytes)).collect();
        let texts: Vec<_> = lines.iter().map(|line| (line.time.as_str(), line.text.as_str())).collect();
        assert_eq!(
            texts,
            [("2026-11-25T10:00:00.5Z", "hello"), ("2026-11-25T10:00:01Z", ""), ("", "failed to read")]
        );
        assert_eq!(lines[0].source.to_string(), "user-1/app");
    }

    #[test]
    fn a_wish_is_a_path() {
        let since = Some("2026-11-25T10:00:00Z".parse().unwrap());
        let wish = Wish { lines: Some(20), since, previous: true, follow: false };
        assert_eq!(
            path(&source(), wish),
            "/api/v1/namespaces/chat/pods/user-1/log?timestamps=true&container=app&previous=true&tailLines=20\
             &sinceTime=2026-11-25T10:00:00Z"
        );
    }

    #[test]
    fn only_containers_that_were_started_have_logs() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user-1", "namespace": "chat"},
        "status": {
            "initContainerStatuses": [{"name": "wait", "containerID": "c:1", "state": {"terminated": {}}}],
            "containerStatuses": [
                {"name": "app", "containerID": "c:2", "state": {"running": {}}},
                {"name": "side", "containerID": "", "state": {"waiting": {}}},
            ],
        }});
        let sight = Sight { owned: vec![Arc::new(pod.clone())], ..Sight::default() };
        let found: Vec<_> =
            instances(&sight).into_iter().map(|(source, id, runs)| (source.to_string(), id, runs)).collect();
        let expected =
            [("user-1/wait".to_owned(), "c:1".to_owned(), false), ("user-1/app".into(), "c:2".into(), true)];
        assert_eq!(found, expected);
        assert_eq!(instances(&Sight { object: Some(Arc::new(pod)), ..Sight::default() }).len(), 2);
    }
}
