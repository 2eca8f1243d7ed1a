//! The timeline as text, for a terminal of any width: a bar for each phase where there is room.

use std::fmt::Write as _;

use super::{Stretch, Timeline, elapsed, size};
use crate::title::excerpt;

/// Columns for mark, name, duration and bytes.
const FIXED: usize = 2 + 9 + 11 + 10;
/// The shortest bar that still says something.
const SHORTEST_BAR: usize = 8;
/// The longest bar.
const LONGEST_BAR: usize = 40;

/// Renders a line for each phase and one for the whole, none wider than `width` columns (at least 40) where notes are
/// ASCII. Without colour: whoever shows it may add some. No line ends in spaces; the last one has a line break.
pub fn render(timeline: &Timeline, width: usize) -> String {
    let room = width.max(40) - FIXED;
    // The notes get half of what is left, but not more than they need; bars that say nothing are left out.
    let notes = timeline.stretches.iter().map(|stretch| excerpt(&stretch.note).chars().count()).max();
    let note_width = if room < 2 * SHORTEST_BAR { room } else { notes.unwrap_or(0).min(room / 2) };
    let bar_width = (room - note_width).saturating_sub(2).min(LONGEST_BAR);
    let ends = timeline.stretches.iter().map(|stretch| stretch.start + stretch.seconds.unwrap_or(0.0));
    let total = timeline.ending.as_ref().map_or(0.0, |ending| ending.seconds);
    let total = ends.fold(total, f64::max);
    let mut text = String::new();
    for stretch in &timeline.stretches {
        let mark = match (stretch.seconds, &timeline.ending) {
            (Some(_), _) => "✓",
            (None, Some(_)) => "✗",
            (None, None) => "…",
        };
        let took = stretch.seconds.map(elapsed).unwrap_or_default();
        let bytes = if stretch.bytes == 0 { String::new() } else { size(stretch.bytes) };
        let bar = bar(stretch, total, bar_width);
        let note: String = excerpt(&stretch.note).chars().take(note_width).collect();
        let rest = if bar_width == 0 { note } else { format!("{bar:<bar_width$}  {note}") };
        line(&mut text, mark, &stretch.phase.to_string(), &took, &bytes, &rest);
    }
    if let Some(ending) = &timeline.ending {
        let mark = if ending.ok { "✓" } else { "✗" };
        let bytes = timeline.bytes();
        let bytes = if bytes == 0 { String::new() } else { size(bytes) };
        let subject: String = excerpt(&timeline.subject()).chars().take(room).collect();
        line(&mut text, mark, "total", &elapsed(ending.seconds), &bytes, &subject);
    }
    text
}

fn line(text: &mut String, mark: &str, name: &str, took: &str, bytes: &str, rest: &str) {
    let line = format!("{mark} {name:<9}{took:>9}  {bytes:>8}  {rest}");
    let _ = writeln!(text, "{}", line.trim_end());
}

/// Where the phase lies within the run: spaces up to its start, then at least one block.
fn bar(stretch: &Stretch, total: f64, width: usize) -> String {
    let (Some(seconds), true) = (stretch.seconds, total > 0.0 && width > 0) else { return String::new() };
    let column = |at: f64| cell(at / total, width);
    let start = column(stretch.start).min(width - 1);
    let end = column(stretch.start + seconds).clamp(start + 1, width);
    format!("{}{}", " ".repeat(start), "█".repeat(end - start))
}

/// The share of `width`, rounded, without a cast: the number of cells whose middle lies within the share.
fn cell(share: f64, width: usize) -> usize {
    let width = u32::try_from(width).unwrap_or(0);
    (0..width).filter(|cell| (f64::from(*cell) + 0.5) / f64::from(width) <= share).count()
}
