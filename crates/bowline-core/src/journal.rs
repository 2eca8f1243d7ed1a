//! What a running operation writes on its target before it changes anything: what it means to do, and what went wrong.
//!
//! It is intent and evidence, never a program counter: whoever comes after a killed run observes and plans again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
