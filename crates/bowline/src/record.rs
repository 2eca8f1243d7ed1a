//! The account of a run: every event is numbered and on disk before anybody sees it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bowline_core::event::{Event, EventKind, FORMAT, Phase, PhaseSummary, RunId, Summary};
use bowline_core::timeline::Timeline;

use crate::clock;
use crate::error::{Attempt, Outcome};
use crate::ui::Ui;

/// Writes events to the run's file, then to whoever watches. Cheap to clone; safe to share between tasks.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
    run: RunId,
    started: Instant,
}

struct Inner {
    file: File,
    seq: u64,
    phases: Vec<PhaseSummary>,
    timeline: Timeline,
    ui: Ui,
}

impl Recorder {
    /// Opens the account of a new run in the state directory.
    ///
    /// # Errors
    /// When the directory or the file cannot be made.
    pub fn start(ui: &Ui) -> Outcome<Self> {
        let run = RunId::new(clock::now(), rand::random());
        let directory = state_directory().join("runs");
        let path = directory.join(format!("{run}.jsonl"));
        // What services wrote last is in it: nobody else is to read that.
        let file = make_private(&directory)
            .and_then(|()| OpenOptions::new().create_new(true).append(true).mode(0o600).open(&path))
            .attempt(|| format!("opening the record of this run, {}", path.display()))?;
        let inner = Inner { file, seq: 0, phases: Vec::new(), timeline: Timeline::default(), ui: ui.clone() };
        Ok(Self { inner: Arc::new(Mutex::new(inner)), run, started: Instant::now() })
    }

    /// The run's name.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Seconds since the run began.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// The phases that have ended.
    pub fn phases(&self) -> Vec<PhaseSummary> {
        self.lock().phases.clone()
    }

    /// The summary of a run that has ended well, as far as no target and no service is concerned.
    pub fn summary(&self) -> Summary {
        Summary {
            ok: true,
            tag: None,
            target: None,
            services: Default::default(),
            phases: self.phases(),
            seconds: self.seconds(),
            capacity: None,
        }
    }

    /// All that was told so far, folded: what `forge::report` and `notify::Notifier` take.
    pub fn timeline(&self) -> Timeline {
        self.lock().timeline.clone()
    }

    /// Numbers the event, persists it, shows it.
    pub fn emit(&self, kind: EventKind) {
        let mut inner = self.lock();
        inner.seq += 1;
        let event = Event { v: FORMAT, run: self.run.clone(), seq: inner.seq, at: clock::now(), kind };
        // A full disk must not stop a rollback: what cannot be persisted is still shown.
        if let Ok(mut line) = serde_json::to_vec(&event) {
            line.push(b'\n');
            let _ = inner.file.write_all(&line);
        }
        if let EventKind::PhaseFinished { phase, seconds, bytes, .. } = &event.kind {
            inner.phases.push(PhaseSummary { name: *phase, seconds: *seconds, bytes: *bytes });
        }
        inner.timeline.advance(&event);
        crate::ui::event::show(&inner.ui, &event);
    }

    /// Takes down that the run failed, for the timeline: the failure itself is shown by whoever ends the process.
    pub fn fail(&self, why: &str) {
        let seconds = self.seconds();
        self.lock().timeline.fail(why, seconds);
    }

    /// Runs one phase: says when it begins, and when it ends well how long it took and what came of it.
    ///
    /// # Errors
    /// What the work returns.
    pub async fn phase<T>(
        &self,
        phase: Phase,
        work: impl Future<Output = Outcome<(T, PhaseResult)>>,
    ) -> Outcome<T> {
        self.emit(EventKind::PhaseStarted { phase });
        let started = Instant::now();
        let (value, result) = work.await?;
        let seconds = started.elapsed().as_secs_f64();
        self.emit(EventKind::PhaseFinished { phase, seconds, bytes: result.bytes, note: result.note });
        Ok(value)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a phase reports of itself when it ends.
#[derive(Debug, Default)]
pub struct PhaseResult {
    /// Bytes that crossed the network.
    pub bytes: u64,
    /// What came of it, in a few words.
    pub note: String,
}

/// Where runs, logs and the embedded registry are kept: `$BOWLINE_STATE`, else XDG's state directory.
pub fn state_directory() -> PathBuf {
    place("BOWLINE_STATE", "XDG_STATE_HOME", ".local/state")
}

/// Where what can be made again is kept: `$BOWLINE_CACHE`, else XDG's cache directory.
pub fn cache_directory() -> PathBuf {
    place("BOWLINE_CACHE", "XDG_CACHE_HOME", ".cache")
}

/// Makes a directory, and those above it, that only its owner can enter.
///
/// # Errors
/// When it cannot be made.
pub fn make_private(directory: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn place(own: &str, xdg: &str, below_home: &str) -> PathBuf {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    path(own)
        .or_else(|| path(xdg).map(|base| base.join("bowline")))
        .or_else(|| path("HOME").map(|home| home.join(below_home).join("bowline")))
        // Without a home: one for each user.
        .unwrap_or_else(|| format!("/var/tmp/bowline-{}", rustix::process::geteuid().as_raw()).into())
}
