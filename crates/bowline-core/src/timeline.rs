//! The timeline of a run: its events folded into what a summary shows, rendered as [Markdown](markdown) for a job's
//! page and as [text](text) for a terminal.

pub mod markdown;
pub mod text;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::capacity::comparison::Comparison;
use crate::event::{Event, EventKind, Phase, ServiceSummary, Summary};
use crate::finding::group;

/// How a run went so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Timeline {
    /// `ship`, `deploy`, …
    pub verb: Option<String>,
    /// The target's name, where the verb has one.
    pub target: Option<String>,
    /// The release it is about, once that is known.
    pub tag: Option<String>,
    /// Whether that release existed already: a re-run.
    pub reused: bool,
    /// The phases in the order they began.
    pub stretches: Vec<Stretch>,
    /// What is known of each service.
    pub services: BTreeMap<String, ServiceSummary>,
    /// First causes of what failed, in the order they came.
    pub evidence: Vec<Evidence>,
    /// What deserves attention.
    pub warnings: Vec<String>,
    /// How it ended; `None` while it runs.
    pub ending: Option<Ending>,
    /// What it changed in what the services take, where that was measured.
    pub capacity: Option<Comparison>,
    started: Option<Timestamp>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// Whether everything that was asked for holds now.
    pub ok: bool,
    /// Why it failed, in words, where that is known.
    pub failure: Option<String>,
    /// Seconds from start to end.
    pub seconds: f64,
}

/// One phase on the timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// Which.
    pub phase: Phase,
    /// Seconds from the run's start to its own.
    pub start: f64,
    /// How many seconds it took; `None` while it runs, or when it failed.
    pub seconds: Option<f64>,
    /// Bytes that crossed the network in it.
    pub bytes: u64,
    /// What came of it, in a few words. Untrusted.
    pub note: String,
}

/// The first cause of a failure. All its texts are untrusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The service, where one is to blame.
    pub service: Option<String>,
    /// Why, in words.
    pub cause: String,
    /// The exit code of the container's process.
    pub exit_code: Option<i64>,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// The last lines it wrote.
    pub log: Vec<String>,
}

impl Timeline {
    /// The timeline that a summary alone allows: phases one after the other, without notes.
    pub fn of(summary: &Summary) -> Self {
        let mut timeline = Self::default();
        timeline.end(summary);
        timeline
    }

    /// The timeline of these events.
    pub fn fold<'e>(events: impl IntoIterator<Item = &'e Event>) -> Self {
        let mut timeline = Self::default();
        events.into_iter().for_each(|event| timeline.advance(event));
        timeline
    }

    /// Takes the next event of the run.
    pub fn advance(&mut self, event: &Event) {
        let since = |start: Timestamp| event.at.duration_since(start).as_secs_f64().max(0.0);
        let start = self.started.get_or_insert(event.at);
        let now = since(*start);
        match &event.kind {
            EventKind::RunStarted { verb, target } => {
                self.verb = Some(verb.clone());
                self.target.clone_from(target);
            }
            EventKind::PhaseStarted { phase } => {
                let (phase, note) = (*phase, String::new());
                self.stretches.push(Stretch { phase, start: now, seconds: None, bytes: 0, note });
            }
            EventKind::PhaseFinished { phase, seconds, bytes, note } => {
                let (start, note) = ((now - seconds).max(0.0), note.clone());
                self.finish(Stretch { phase: *phase, start, seconds: Some(*seconds), bytes: *bytes, note });
            }
            EventKind::Tagged { tag, reused } => {
                self.tag = Some(tag.clone());
                self.reused = *reused;
            }
            EventKind::ImageReady { service, digest, changed, .. } => {
                let state = if *changed { "built" } else { "kept" }.to_owned();
                let digest = Some(digest.clone());
                self.services.insert(service.clone(), ServiceSummary { changed: *changed, digest, state });
            }
            EventKind::Health { service, state, .. } => self.observe(service, state),
            EventKind::Evidence { service, cause, exit_code, oom_killed, log } => {
                self.evidence.push(Evidence {
                    service: service.clone(),
                    cause: cause.clone(),
                    exit_code: *exit_code,
                    oom_killed: *oom_killed,
                    log: log.clone(),
                });
            }
            EventKind::Warning { text } => self.warnings.push(text.clone()),
            EventKind::Findings { warnings } => {
                self.warnings.extend(group(warnings, 1).iter().map(ToString::to_string));
            }
            EventKind::RunFinished { summary } => self.end(summary),
            EventKind::StepStarted { .. } | EventKind::StepFinished { .. } => {}
        }
    }

    /// Takes what was seen of a service. What gets ready while things are put back is what ran before: not this
    /// release's image, and not its state.
    fn observe(&mut self, service: &str, state: &str) {
        let back = self.current().is_some_and(|stretch| stretch.phase == Phase::Rollback);
        let Some(known) = self.services.get_mut(service) else { return };
        if back {
            known.digest = None;
            state_of_return(state).clone_into(&mut known.state);
        } else {
            state.clone_into(&mut known.state);
        }
    }

    /// Takes the summary of a run that ended.
    pub fn end(&mut self, summary: &Summary) {
        if summary.tag.is_some() {
            self.tag.clone_from(&summary.tag);
        }
        if summary.target.is_some() {
            self.target.clone_from(&summary.target);
        }
        self.services.clone_from(&summary.services);
        self.capacity.clone_from(&summary.capacity);
        if self.stretches.is_empty() {
            let mut start = 0.0;
            for phase in &summary.phases {
                let (seconds, note) = (Some(phase.seconds), String::new());
                self.stretches.push(Stretch { phase: phase.name, start, seconds, bytes: phase.bytes, note });
                start += phase.seconds;
            }
        }
        let failure = self.ending.take().and_then(|ending| ending.failure);
        self.ending = Some(Ending { ok: summary.ok, failure, seconds: summary.seconds });
    }

    /// Says that the run failed, why in words, and after how many seconds.
    pub fn fail(&mut self, why: impl Into<String>, seconds: f64) {
        self.ending = Some(Ending { ok: false, failure: Some(why.into()), seconds });
    }

    /// The services that this release changed, in order.
    pub fn changed(&self) -> Vec<&str> {
        self.services.iter().filter(|(_, service)| service.changed).map(|(name, _)| name.as_str()).collect()
    }

    /// The phase that is running, or in which the run failed.
    pub fn current(&self) -> Option<&Stretch> {
        self.stretches.iter().rev().find(|stretch| stretch.seconds.is_none())
    }

    /// How many bytes crossed the network.
    pub fn bytes(&self) -> u64 {
        self.stretches.iter().fold(0, |sum, stretch| sum.saturating_add(stretch.bytes))
    }

    /// What it is about, in words: `v5.0.2-b321acf on box`.
    pub fn subject(&self) -> String {
        match (&self.tag, &self.target, &self.verb) {
            (Some(tag), Some(target), _) => format!("{tag} on {target}"),
            (Some(tag), None, _) => tag.clone(),
            (None, Some(target), Some(verb)) => format!("{verb} {target}"),
            (None, Some(target), None) => target.clone(),
            (None, None, verb) => verb.clone().unwrap_or_else(|| "run".into()),
        }
    }

    /// Ends the phase: the one that runs, or one whose beginning was never told.
    fn finish(&mut self, done: Stretch) {
        let open = |stretch: &&mut Stretch| stretch.phase == done.phase && stretch.seconds.is_none();
        match self.stretches.iter_mut().rev().find(open) {
            Some(stretch) => *stretch = Stretch { start: stretch.start, ..done },
            None => self.stretches.push(done),
        }
    }
}

fn state_of_return(state: &str) -> &'static str {
    match state {
        "ready" => "put back",
        "failed" => "not put back",
        _ => "being put back",
    }
}

/// A duration as people read it: `340 ms`, `2.1 s`, `1 m 12 s`, `1 h 02 m`. Negative ones count as none.
pub fn elapsed(seconds: f64) -> String {
    // Rounded first, so that 59.97 s is a minute, and 119.8 s two.
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds.max(0.0) * 1000.0);
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round();
    let (minutes, rest) = ((whole / 60.0).floor(), whole % 60.0);
    if minutes < 60.0 {
        return format!("{minutes:.0} m {rest:02.0} s");
    }
    format!("{:.0} h {:02.0} m", (minutes / 60.0).floor(), minutes % 60.0)
}

/// A number of bytes as people read it, in powers of 1000 as networks are measured: `0 B`, `82.4 MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes / 100;
    for unit in UNITS {
        if tenths < 10_000 || unit == "TB" {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        tenths /= 1000;
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests;
