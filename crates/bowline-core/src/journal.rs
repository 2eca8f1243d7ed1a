//! What a running operation writes on its target before it changes anything: what it means to do, and what went wrong.
//!
//! It is intent and evidence, never a program counter: whoever comes after a killed run observes and plans again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::event::RunId;
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

/// What a run brings to a target, and what it replaces there. Where the run does not end well, no revision knows of it,
/// and whoever comes next undoes it, unless it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// Services of the compose file that had no container.
    pub services: BTreeSet<String>,
    /// Files in the project's directory.
    #[serde(default)]
    pub written: BTreeMap<String, Written>,
}

/// A file that runs wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// What was there before; none: no file.
    pub was: Option<Digest>,
    /// What was written, by one run after the other.
    pub wrote: BTreeSet<Digest>,
}

impl Traces {
    /// What runs on top of a revision brought, the oldest first. Whoever began on top of another one is history: what
    /// that brought was kept or undone.
    pub fn of<'i>(intents: impl IntoIterator<Item = &'i Intent>, revision: Option<u64>) -> Self {
        let mut all = Self::default();
        for intent in intents.into_iter().filter(|intent| intent.base == revision) {
            all.services.extend(intent.traces.services.iter().cloned());
            for (path, newer) in &intent.traces.written {
                match all.written.get_mut(path) {
                    Some(known) => known.follow(newer),
                    None => {
                        all.written.insert(path.clone(), newer.clone());
                    }
                }
            }
        }
        all
    }
}

impl Written {
    /// What an earlier run had written is not what was there before.
    fn follow(&mut self, newer: &Self) {
        if !newer.was.is_some_and(|was| self.wrote.contains(&was)) {
            self.was = newer.was;
        }
        self.wrote.extend(newer.wrote.iter().copied());
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
