//! The output of a build: raw into its log, line by line to whoever watches, its end kept for the failure.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};

use crate::error::{Attempt, Outcome};
use crate::record::make_private;
use crate::ui::{Ui, printable};

/// How many lines a failure shows.
const LAST_LINES: usize = 20;
/// A line longer than this is shown in pieces.
const LONGEST_LINE: usize = 8 * 1024;
const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::BrightBlue,
];

/// The prefix of a stream: whose line it is, in a colour of its own, aligned with the others.
#[derive(Debug, Clone)]
pub struct Prefix {
    /// The name, e.g. a service's.
    pub name: String,
    width: usize,
    style: Style,
}

impl Prefix {
    /// The prefix of the `index`th of several streams; `width` is the length of their longest name.
    pub fn new(name: impl Into<String>, index: usize, width: usize) -> Self {
        let colour = COLOURS.get(index % COLOURS.len()).copied().unwrap_or(AnsiColor::Cyan);
        Self { name: name.into(), width, style: colour.on_default() }
    }

    /// Shows one line of the stream.
    pub fn show(&self, ui: &Ui, line: &str) {
        let (style, width) = (self.style, self.width);
        ui.say(format_args!("{style}{:<width$} │{style:#} {line}", self.name));
    }
}

/// Where the output of one command goes.
pub struct Output {
    ui: Ui,
    prefix: Prefix,
    path: PathBuf,
    log: File,
    partial: Vec<u8>,
    last: VecDeque<String>,
}

impl Output {
    /// Opens the log.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(ui: &Ui, prefix: &Prefix, path: &Path) -> Outcome<Self> {
        let mut options = File::options();
        options.create(true).write(true).truncate(true).mode(0o600);
        let made = path.parent().map_or(Ok(()), make_private).and_then(|()| options.open(path));
        let log = made.attempt(|| format!("opening the build log {}", path.display()))?;
        Ok(Self {
            ui: ui.clone(),
            prefix: prefix.clone(),
            path: path.to_owned(),
            log,
            partial: Vec::new(),
            last: VecDeque::new(),
        })
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes some bytes of the output, wherever they were cut.
    pub fn push(&mut self, bytes: &[u8]) {
        // A full disk must not stop a build that needs none of it.
        let _ = self.log.write_all(bytes);
        for byte in bytes {
            // A carriage return ends a line too: progress bars redraw themselves with it.
            let ends = matches!(byte, b'\n' | b'\r');
            if !ends {
                self.partial.push(*byte);
            }
            if ends || self.partial.len() >= LONGEST_LINE {
                self.flush();
            }
        }
    }

    /// Shows what came without an end of line. Called at the end, and when nothing comes for a while.
    pub fn flush(&mut self) {
        if self.partial.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        let plain = anstream::adapter::strip_str(&text).to_string();
        let line = printable(plain.trim_end());
        if line.is_empty() {
            return;
        }
        self.prefix.show(&self.ui, &line);
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Says something about the command between its lines, without a trace in the log.
    pub fn remark(&self, text: &str) {
        self.prefix.show(&self.ui, text);
    }

    /// The last lines.
    pub fn last_lines(&self) -> impl Iterator<Item = &String> {
        self.last.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_raw_and_the_lines_are_safe() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/user.log");
        let mut output = Output::open(&Ui::new(false, true), &Prefix::new("user", 0, 4), &path).unwrap();
        let bytes = b"\x1b[31mred\x1b[0m\r\n10%\r20%\r\n\x07bell \xff\n::set-output name=a::b\nno end";
        bytes.chunks(3).for_each(|piece| output.push(piece));
        output.flush();
        let lines: Vec<_> = output.last_lines().cloned().collect();
        assert_eq!(lines, ["red", "10%", "20%", "bell \u{fffd}", "::set-output name=a::b", "no end"]);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn only_the_end_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("user.log");
        let mut output = Output::open(&Ui::new(false, true), &Prefix::new("user", 0, 4), &path).unwrap();
        for number in 0..50 {
            output.push(format!("line {number}\n").as_bytes());
        }
        let lines: Vec<_> = output.last_lines().cloned().collect();
        assert_eq!((lines.len(), lines[0].as_str()), (20, "line 30"));
    }
}
