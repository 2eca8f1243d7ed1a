//! All pods of one version of a workload, looked at together.

use serde_json::Value;

use super::Case;
use super::container::Life;
use super::pod::{Standing, look};
use super::status::{is_owned, is_terminating, name, pods, text, time};
use super::trouble::{Trouble, most_telling};
use crate::health::{Cause, Health};

/// How the pods of one version of a workload stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Crew {
    ready: u64,
    settled: bool,
    troubles: Vec<Trouble>,
}

impl Crew {
    /// Looks at all pods.
    pub(super) fn look<'a>(case: &Case<'_>, pods: impl Iterator<Item = &'a Value>) -> Self {
        let mut crew = Self::default();
        for pod in pods {
            match look(case, pod, Life::Service) {
                Standing::Proven | Standing::Completed => crew.ready += 1,
                Standing::Settled => {
                    crew.ready += 1;
                    crew.settled = true;
                }
                Standing::Troubled(trouble) => crew.troubles.push(trouble),
            }
        }
        crew
    }

    /// The cause of a failure: some pod cannot get better.
    pub(super) fn find_failure(&self) -> Option<Cause> {
        most_telling(self.troubles.iter().filter(|trouble| trouble.hopeless)).map(Trouble::cause)
    }

    /// The same failure seen from above, with what the pods say of it.
    pub(super) fn explain(&self, failure: String) -> Cause {
        match most_telling(self.troubles.iter()) {
            None => Cause::new(failure),
            Some(trouble) => {
                Cause { reason: format!("{failure}; {}", trouble.sentence()), ..trouble.cause() }
            }
        }
    }

    /// What is waited for: what its controller counts, and what a pod says of it.
    pub(super) fn wait(&self, counted: &str) -> Health {
        Health::Starting(match most_telling(self.troubles.iter()) {
            None => counted.to_owned(),
            Some(trouble) => format!("{counted}; {}", trouble.sentence()),
        })
    }

    /// The verdict where the controller has nothing left to do: all wanted pods must be seen, be ready, and have settled.
    pub(super) fn conclude(&self, wanted: u64) -> Health {
        if self.ready < wanted {
            return self.wait(&format!("{} of {} ready", self.ready, pods(wanted)));
        }
        Health::Ready(match (wanted, self.settled) {
            (0, _) => "no pods wanted",
            (_, true) => "settled",
            (_, false) => "all pods are ready",
        })
    }
}

/// The pods that this controller has and keeps, the oldest first.
///
/// Pods that have ended for reasons of the cluster stay in the API for a while after they were replaced: they are left
/// out unless they are all there is.
pub(super) fn kept<'a>(case: &Case<'a>, owner: &Value) -> Vec<&'a Value> {
    let uid = text(owner, "/metadata/uid");
    let owned = case.sight.pods.iter().copied().filter(|pod| is_owned(pod, uid) && !is_terminating(pod));
    let (ended, mut kept): (Vec<_>, Vec<_>) =
        owned.partition(|pod| matches!(text(pod, "/status/phase"), "Failed" | "Succeeded"));
    if kept.is_empty() {
        kept = ended;
    }
    kept.sort_by_key(|pod| (time(pod, "/metadata/creationTimestamp"), name(pod)));
    kept
}
