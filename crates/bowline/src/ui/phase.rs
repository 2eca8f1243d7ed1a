//! What is going on right now, on the last line of the terminal, and what was said of it already.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bowline_core::event::Phase;
use indicatif::ProgressBar;

use super::Ui;

/// The phase that runs.
#[derive(Default)]
pub struct Watched {
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    bar: Option<ProgressBar>,
    said: BTreeSet<String>,
}

impl Watched {
    /// A phase begins. Builds and transfers have bars of their own.
    pub(super) fn begin(&self, ui: &Ui, phase: Phase) {
        let bar = match phase {
            Phase::Build | Phase::Images | Phase::Push | Phase::Pull => None,
            phase => Some(ui.spinner(&phase.to_string())),
        };
        let mut now = self.lock();
        clear(&mut now);
        *now = Now { bar, said: BTreeSet::new() };
    }

    /// What it waits for.
    pub(super) fn mention(&self, text: String) {
        if let Some(bar) = &self.lock().bar {
            bar.set_message(text);
        }
    }

    /// Whether this is said for the first time in the phase: a service that dies again and again says little new.
    pub(super) fn is_news(&self, text: &str) -> bool {
        self.lock().said.insert(text.to_owned())
    }

    /// The phase ended, well or not.
    pub(super) fn end(&self) {
        clear(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn clear(now: &mut Now) {
    if let Some(bar) = now.bar.take() {
        bar.finish_and_clear();
    }
}
