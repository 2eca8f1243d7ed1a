//! What is going on right now, on the last lines of the terminal, and what was said of it already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bowline_core::event::Phase;
use indicatif::ProgressBar;

use super::Ui;

/// How many services that are waited for have a row.
const ROWS: usize = 12;

/// The phase that runs.
#[derive(Default)]
pub struct Watched {
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    bar: Option<ProgressBar>,
    /// The services that are waited for, each with the row that says what they are at, where there is room for it.
    waiting: BTreeMap<String, Option<ProgressBar>>,
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
        *now = Now { bar, ..Now::default() };
    }

    /// A service is waited for, and this is what it is at. Where a person watches it has a row for that long.
    pub(super) fn wait_for(&self, ui: &Ui, service: &str, text: String) {
        let mut now = self.lock();
        let shown = now.waiting.values().flatten().count();
        let row = now
            .waiting
            .entry(service.to_owned())
            .or_insert_with(|| (ui.live && shown < ROWS).then(|| ui.row(service)));
        if let Some(row) = row {
            row.set_message(text);
        }
        mention_others(&now);
    }

    /// A service is not waited for any more.
    pub(super) fn let_go(&self, service: &str) {
        let mut now = self.lock();
        if let Some(Some(row)) = now.waiting.remove(service) {
            row.finish_and_clear();
        }
        mention_others(&now);
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

fn mention_others(now: &Now) {
    let hidden = now.waiting.values().filter(|row| row.is_none()).count();
    if let Some(bar) = &now.bar {
        bar.set_message(if hidden == 0 { String::new() } else { format!("and {hidden} more") });
    }
}

fn clear(now: &mut Now) {
    for row in std::mem::take(&mut now.waiting).into_values().flatten() {
        row.finish_and_clear();
    }
    if let Some(bar) = now.bar.take() {
        bar.finish_and_clear();
    }
}
