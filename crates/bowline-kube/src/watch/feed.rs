//! One kind of object in one place: listed once, then followed for as long as somebody wants to know.
//!
//! What the server tells ends now and then, and that is ordinary: it goes on from the last version that was told. Only
//! when the server has forgotten that version, all is listed again.

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use kube::api::WatchEvent;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::call::{Call, segment};
use crate::cluster::{Cluster, ORDINARY};
use crate::error::KubeError;

use super::Shared;
use super::picture::{FeedId, Form};

/// For how long the server is asked to tell. It closes in time; where it does not, the connection is dead, and nothing
/// else would say so.
const TELLING: Duration = Duration::from_secs(60);
/// How much later than asked for the end may come.
const GRACE: Duration = Duration::from_secs(15);
/// The pauses after failures: doubled from the first to the last, half of each at random.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(4);

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope {
    pub(super) form: Form,
    /// The kind's name in paths: `deployments`.
    pub(super) plural: String,
    /// None for kinds of the whole cluster.
    pub(super) namespace: Option<String>,
    /// One object alone: who may not list nodes may still be allowed to look at one namespace.
    pub(super) name: Option<String>,
}

impl Scope {
    fn path(&self) -> String {
        let (group, version) = (&self.form.kind.group, &self.form.version);
        let root = match group.as_str() {
            "" => format!("/api/{}", segment(version)),
            group => format!("/apis/{}/{}", segment(group), segment(version)),
        };
        let namespace = self.namespace.as_deref();
        let namespace = namespace.map(|name| format!("/namespaces/{}", segment(name))).unwrap_or_default();
        let path = format!("{root}{namespace}/{}?", segment(&self.plural));
        match &self.name {
            Some(name) => format!("{path}fieldSelector={}&", segment(&format!("metadata.name={name}"))),
            None => path,
        }
    }

    /// What is done with it, for errors.
    fn what(&self) -> String {
        let place = self.namespace.as_deref().map(|name| format!(" in {name}")).unwrap_or_default();
        format!("watch {}{place}", self.plural)
    }
}

/// One feed into the picture.
pub(super) struct Feed {
    pub(super) id: FeedId,
    pub(super) scope: Scope,
    /// Whether it is of use only: one that is not allowed is done without.
    pub(super) optional: bool,
    pub(super) cluster: Cluster,
    pub(super) shared: Shared,
}

/// Why the telling ended.
enum End {
    /// The server closed, as it does.
    Closed,
    /// It has forgotten the version to go on from.
    Forgotten,
    Failed(KubeError),
}

impl Feed {
    /// Feeds until it is aborted. Says once whether the first look succeeded.
    pub(super) async fn run(self, ready: oneshot::Sender<Result<(), KubeError>>) {
        let mut ready = Some(ready);
        let mut pause = FIRST_PAUSE;
        loop {
            let mut version = match self.list().await {
                Ok(version) => version,
                // Its kind is not there yet, its definition being part of the same release: it will come.
                Err(error) if error.is_not_found() => {
                    say_ready(&mut ready);
                    rest(&mut pause).await;
                    continue;
                }
                Err(error) if self.optional && error.is_forbidden() => {
                    self.shared.note_missing(&self.scope.what(), &error);
                    say_ready(&mut ready);
                    return;
                }
                Err(error) => {
                    if let Some(ready) = ready.take() {
                        let _ = ready.send(Err(error));
                        return;
                    }
                    self.shared.note_trouble(self.id, &error);
                    rest(&mut pause).await;
                    continue;
                }
            };
            self.shared.note_fine(self.id);
            say_ready(&mut ready);
            loop {
                let begin = Instant::now();
                match self.follow(&mut version).await {
                    End::Closed if begin.elapsed() > FIRST_PAUSE => pause = FIRST_PAUSE,
                    // A server that closes at once is not well, whatever it thinks of itself.
                    End::Closed => rest(&mut pause).await,
                    End::Forgotten => break,
                    End::Failed(error) => {
                        self.shared.note_trouble(self.id, &error);
                        rest(&mut pause).await;
                    }
                }
            }
        }
    }

    /// Looks at all there is; gives the version to go on from.
    async fn list(&self) -> Result<String, KubeError> {
        let what = self.scope.what();
        let path = self.scope.path();
        let mut list =
            self.cluster.fetch(&Call::get(&what, path.trim_end_matches(['?', '&']).into())).await?;
        let version = list.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
        let version = version
            .ok_or(KubeError::Unexpected { what, message: "the API server's list has no version".into() })?;
        let items = list.get_mut("items").map(Value::take);
        let items = if let Some(Value::Array(items)) = items { items } else { Vec::new() };
        self.shared.change(|picture| {
            picture.replace(self.id, &self.scope.form, items);
            true
        });
        Ok(version)
    }

    /// Takes in what the server tells from `version` on, which goes along.
    async fn follow(&self, version: &mut String) -> End {
        let what = self.scope.what();
        let telling = TELLING.as_secs() + rand::random_range(0..10);
        let path = format!(
            "{}watch=true&allowWatchBookmarks=true&timeoutSeconds={telling}&resourceVersion={}",
            self.scope.path(),
            segment(version)
        );
        let Ok(request) = http::Request::get(path).body(Vec::new()) else { return End::Forgotten };
        let opening = self.cluster.client().request_events::<Value>(request);
        let stream = match self.cluster.ask(&what, ORDINARY, opening).await {
            Ok(stream) => stream,
            // Who asks for the list again also logs in again.
            Err(error) if error.is_gone() || matches!(error, KubeError::Unauthorized { .. }) => {
                return End::Forgotten;
            }
            Err(error) => return End::Failed(error),
        };
        self.shared.note_fine(self.id);
        let mut stream = pin!(stream);
        loop {
            let patience = Duration::from_secs(telling) + GRACE;
            match self.cluster.ask(&what, patience, stream.try_next()).await {
                Ok(Some(event)) => {
                    if let Some(end) = self.take(event, version) {
                        return end;
                    }
                }
                Ok(None) => return End::Closed,
                Err(error) => return End::Failed(error),
            }
        }
    }

    fn take(&self, event: WatchEvent<Value>, version: &mut String) -> Option<End> {
        let form = &self.scope.form;
        let told = match &event {
            WatchEvent::Added(value) | WatchEvent::Modified(value) | WatchEvent::Deleted(value) => {
                value.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned)
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version.clone()),
            WatchEvent::Error(_) => None,
        };
        match event {
            WatchEvent::Added(value) | WatchEvent::Modified(value) => {
                self.shared.change(|picture| picture.put(self.id, form, value));
            }
            WatchEvent::Deleted(value) => self.shared.change(|picture| picture.remove(form, value)),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) if status.code == 410 => return Some(End::Forgotten),
            WatchEvent::Error(status) => {
                let error = kube::Error::Api(status);
                return Some(End::Failed(self.cluster.explain(&self.scope.what(), &error)));
            }
        }
        if let Some(told) = told {
            *version = told;
        }
        None
    }
}

/// Says, the first time, that there was a first look. Nobody may be listening any more.
fn say_ready(ready: &mut Option<oneshot::Sender<Result<(), KubeError>>>) {
    if let Some(ready) = ready.take() {
        let _ = ready.send(Ok(()));
    }
}

/// Waits, and doubles the next pause.
async fn rest(pause: &mut Duration) {
    // Many that failed together must not come back together.
    tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
    *pause = (*pause * 2).min(LAST_PAUSE);
}

#[cfg(test)]
mod tests {
    use bowline_core::kube::object::Kind;

    use super::*;

    #[test]
    fn a_scope_is_a_path() {
        let scope = |group: &str, plural: &str, namespace: Option<&str>, name: Option<&str>| Scope {
            form: Form { kind: Kind::new(group, "X"), version: "v1".into() },
            plural: plural.into(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        };
        for (scope, expected) in [
            (scope("", "pods", Some("chat"), None), "/api/v1/namespaces/chat/pods?"),
            (scope("apps", "deployments", Some("chat"), None), "/apis/apps/v1/namespaces/chat/deployments?"),
            (scope("", "namespaces", None, Some("a")), "/api/v1/namespaces?fieldSelector=metadata.name%3Da&"),
        ] {
            assert_eq!(scope.path(), expected);
        }
    }
}
