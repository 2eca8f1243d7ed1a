//! What happened, in order: the one account from which the terminal, `--json` and the server are rendered.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::capacity::comparison::Comparison;
use crate::finding::Finding;

/// The version of the event format. A reader refuses a higher one and skips kinds it does not know.
pub const FORMAT: u16 = 1;

/// The name of one run: sortable by time, unique by 40 random bits, e.g. `20261122T101500-3f9c2ab417`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A run that starts at `at`; `noise` tells apart runs that start in the same second.
    pub fn new(at: Timestamp, noise: u64) -> Self {
        let time = at.strftime("%Y%m%dT%H%M%S");
        Self(format!("{time}-{:010x}", noise & 0xff_ffff_ffff))
    }
}

impl From<String> for RunId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One numbered event of a run. It is persisted before anybody sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`FORMAT`].
    pub v: u16,
    /// The run it belongs to.
    pub run: RunId,
    /// Counts from 1 without gaps within a run.
    pub seq: u64,
    /// When, in UTC.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The stretches of a run that a timeline shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The next version is worked out.
    Version,
    /// The tag is reserved and pushed.
    Tag,
    /// Artifacts are built.
    Build,
    /// Images are assembled.
    Images,
    /// Images are pushed.
    Push,
    /// The release record is committed.
    Commit,
    /// The target is looked at and the plan made.
    Plan,
    /// Images are pulled on the target.
    Pull,
    /// Services are replaced and become healthy.
    Rollout,
    /// What was there before is put back.
    Rollback,
    /// What nothing needs any more is removed.
    Prune,
    /// What the release changed is measured.
    Measure,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "version",
            Self::Tag => "tag",
            Self::Build => "build",
            Self::Images => "images",
            Self::Push => "push",
            Self::Commit => "commit",
            Self::Plan => "plan",
            Self::Pull => "pull",
            Self::Rollout => "rollout",
            Self::Rollback => "rollback",
            Self::Prune => "prune",
            Self::Measure => "measure",
        })
    }
}

/// What can happen in a run. Service logs and build output are streams of their own, not events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// A verb was started.
    RunStarted {
        /// `ship`, `deploy`, …
        verb: String,
        /// The target's name, where the verb has one.
        target: Option<String>,
    },
    /// A phase began.
    PhaseStarted {
        /// Which.
        phase: Phase,
    },
    /// A phase ended well.
    PhaseFinished {
        /// Which.
        phase: Phase,
        /// How long it took.
        seconds: f64,
        /// Bytes that crossed the network in it.
        bytes: u64,
        /// What came of it, in a few words: `v5.0.2-b321acf`, `2 of 8 built`.
        note: String,
    },
    /// The release's name is known.
    Tagged {
        /// The git tag.
        tag: String,
        /// Whether it existed already: a re-run.
        reused: bool,
    },
    /// One service's image is in the local store.
    ImageReady {
        /// The service.
        service: String,
        /// The manifest's digest.
        digest: String,
        /// `assembled`, `engine` or `kept`.
        how: String,
        /// Whether it differs from the release before.
        changed: bool,
    },
    /// One step of the plan began.
    StepStarted {
        /// The step's name in the plan.
        step: String,
        /// What it does, in words.
        what: String,
    },
    /// One step of the plan ended well.
    StepFinished {
        /// The step's name in the plan.
        step: String,
        /// How long it took.
        seconds: f64,
    },
    /// A service's health changed.
    Health {
        /// The service.
        service: String,
        /// `starting`, `ready`, `failed`, …
        state: String,
        /// Why, in words.
        reason: String,
    },
    /// The first cause of a failure, saved before anything is put back.
    Evidence {
        /// The service, where one is to blame.
        service: Option<String>,
        /// Why, in words.
        cause: String,
        /// The exit code of the container's process.
        exit_code: Option<i64>,
        /// Whether the kernel killed it for want of memory.
        oom_killed: bool,
        /// The last lines it wrote.
        log: Vec<String>,
    },
    /// Something deserves attention but stops nothing.
    Warning {
        /// What.
        text: String,
    },
    /// What the look before a deploy found that stops nothing, each finding for itself.
    Findings {
        /// What.
        warnings: Vec<Finding>,
    },
    /// The run ended.
    RunFinished {
        /// The summary, as `--json` prints it.
        #[serde(flatten)]
        summary: Summary,
    },
}

/// How a run ended: the last line of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Whether everything that was asked for holds now.
    pub ok: bool,
    /// The release it was about.
    pub tag: Option<String>,
    /// The target, where the verb has one.
    pub target: Option<String>,
    /// What each service was found or left with.
    pub services: BTreeMap<String, ServiceSummary>,
    /// The phases in the order they ended.
    pub phases: Vec<PhaseSummary>,
    /// From start to end.
    pub seconds: f64,
    /// What the release changed in what the services take, where that was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Comparison>,
}

/// What a run did with one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSummary {
    /// Whether this run changed it.
    pub changed: bool,
    /// The manifest digest of its image, where it is ours.
    pub digest: Option<String>,
    /// `healthy`, `settled`, `unchanged`, `failed`, `released`, …
    pub state: String,
}

/// One phase of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseSummary {
    /// Which.
    pub name: Phase,
    /// How long it took.
    pub seconds: f64,
    /// Bytes that crossed the network in it.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_json_object() {
        let at: Timestamp = "2026-11-22T10:15:00Z".parse().unwrap();
        let event = Event {
            v: FORMAT,
            run: RunId::new(at, 0x003f_9c2a_b417),
            seq: 1,
            at,
            kind: EventKind::PhaseStarted { phase: Phase::Build },
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"v":1,"run":"20261122T101500-3f9c2ab417","seq":1,"at":"2026-11-22T10:15:00Z","event":"phase-started","phase":"build"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}
