//! What a running operation writes on its target before it changes anything: what it means to do, and what went wrong.
//!
//! It is intent and evidence, never a program counter: whoever comes after a killed run observes and plans again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::event::RunId;
use crate::kube::object::ObjectId;
use crate::rollout::Evidence;

/// What a run means to do. Written before the first change, removed after the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The run.
    pub run: RunId,
    /// `deploy`, `ship`, `rollback`, …
    pub verb: String,
    /// Who: `user@machine`.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The revision that was there.
    pub base: Option<u64>,
    /// The release it goes to; none for an adopted state.
    pub to: Option<String>,
    /// What it brings that was not there before.
    #[serde(default)]
    pub traces: Traces,
}

/// What a run brings to a target that was not there before. Where the run does not end well, no revision knows of it,
/// and whoever comes next takes it away again unless it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// Services of the compose file that had no container.
    pub services: BTreeSet<String>,
    /// Files in the project's directory, and what is written into them.
    pub files: BTreeMap<String, Digest>,
    /// Objects of the cluster that were not there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub objects: BTreeSet<ObjectId>,
}

impl Traces {
    /// What several runs brought.
    pub fn of<'i>(intents: impl IntoIterator<Item = &'i Intent>) -> Self {
        let mut all = Self::default();
        for intent in intents {
            all.services.extend(intent.traces.services.iter().cloned());
            all.files.extend(intent.traces.files.iter().map(|(path, digest)| (path.clone(), *digest)));
            all.objects.extend(intent.traces.objects.iter().cloned());
        }
        all
    }
}

/// Why a run turned back. Written before the first step back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    /// The run.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
    /// The release that failed.
    pub release: Option<String>,
    /// The revision it went back to.
    pub base: Option<u64>,
    /// The first cause.
    pub evidence: Evidence,
}
