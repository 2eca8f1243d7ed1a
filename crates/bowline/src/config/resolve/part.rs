//! Single values: parsed, or told.

use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use bowline_core::placeholder::{PLACEHOLDERS, names};
use bowline_core::quantity::{parse_duration, parse_size};
use bowline_core::reference::{Reference, Repository};

use super::suggest;
use crate::config::Command;
use crate::config::document::{At, OneOrMany};
use crate::config::path::{glob_fault, host_fault, path_fault};
use crate::config::problem::{Problem, Purpose};

/// Docker refuses a smaller memory limit (moby, `linuxMinMemory`).
const LEAST_MEMORY: u64 = 6 << 20;

/// Reads parts of the document and collects what is wrong with them.
pub(super) struct Part {
    pub(super) problems: Vec<Problem>,
}

impl Part {
    /// Reads what is there for this purpose. What is for something narrower says so itself, within.
    pub(super) fn within<T>(&mut self, purpose: &Purpose, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.problems.len();
        let found = read(self);
        for problem in self.problems.iter_mut().skip(before) {
            if problem.purpose == Purpose::Deploy {
                problem.purpose = purpose.clone();
            }
        }
        found
    }

    pub(super) fn refuse(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) {
        self.problems.push(Problem::new(span, message, label));
    }

    /// A value whose type knows how to read it. Its error names the value.
    pub(super) fn parse<T: FromStr<Err: Display>>(&mut self, at: Option<&At<String>>) -> Option<T> {
        let at = at?;
        at.value.parse().map_err(|error| self.refuse(&at.span, format!("{error}"), "not understood")).ok()
    }

    pub(super) fn repository(&mut self, at: &At<String>) -> Option<Repository> {
        let reference =
            at.value.parse::<Reference>().ok().filter(|found| found.tag.is_some() || found.digest.is_some());
        if reference.is_some() {
            self.problems.push(
                Problem::new(
                    &at.span,
                    "the registry's repository has no tag or digest",
                    "leave out what follows the name",
                )
                .help("tags are made from service and version: `tag = \"{service}_{tag}\"`"),
            );
            return None;
        }
        if at.value.contains("://") {
            let bare = at.value.split_once("://").map_or("", |(_, bare)| bare);
            self.refuse(&at.span, "a repository is named without a scheme", format!("write `{bare}`"));
            return None;
        }
        self.parse(Some(at))
    }

    pub(super) fn duration(&mut self, at: Option<&At<String>>, zero: bool) -> Option<Duration> {
        let at = at?;
        match parse_duration(&at.value) {
            Ok(Duration::ZERO) if !zero => {
                self.refuse(&at.span, "this duration cannot be zero", "at least `1ms`");
                None
            }
            Ok(duration) => Some(duration),
            Err(error) => {
                let label = if at.value.parse::<u64>().is_ok() {
                    format!("did you mean `{}s`?", at.value)
                } else {
                    "not understood".into()
                };
                self.refuse(&at.span, error.to_string(), label);
                None
            }
        }
    }

    pub(super) fn memory(&mut self, at: Option<&At<String>>) -> Option<u64> {
        let at = at?;
        match parse_size(&at.value) {
            Ok(bytes) if bytes < LEAST_MEMORY => {
                let label = match at.value.parse::<u64>() {
                    Ok(_) => format!("did you mean `{}M`?", at.value),
                    Err(_) => "too little".into(),
                };
                self.refuse(
                    &at.span,
                    format!("no container starts with {bytes} bytes, the least is 6M"),
                    label,
                );
                None
            }
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.refuse(&at.span, error.to_string(), "not understood");
                None
            }
        }
    }

    /// A share of processors, in thousandths.
    pub(super) fn cpus(&mut self, at: Option<&At<f64>>) -> Option<u32> {
        let at = at?;
        if !(0.01..=1024.0).contains(&at.value) {
            self.refuse(&at.span, "a processor limit is between 0.01 and 1024", "out of range");
            return None;
        }
        // In range, see above.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some((at.value * 1000.0).round() as u32)
    }

    /// A whole number that is at least 1.
    pub(super) fn positive(&mut self, at: Option<&At<u32>>, what: &str) -> Option<u32> {
        let at = at?;
        if at.value == 0 {
            self.refuse(&at.span, format!("{what} is at least 1"), "out of range");
            return None;
        }
        Some(at.value)
    }

    pub(super) fn port(&mut self, at: Option<&At<u16>>) -> Option<u16> {
        let at = at?;
        if at.value == 0 {
            self.refuse(&at.span, "a port is between 1 and 65535", "out of range");
            return None;
        }
        Some(at.value)
    }

    /// A path inside the repository, as it was written but for a leading `./`.
    pub(super) fn path(&mut self, at: Option<&At<String>>) -> Option<String> {
        let at = at?;
        let text = at.value.strip_prefix("./").filter(|rest| !rest.is_empty()).unwrap_or(&at.value);
        match path_fault(text) {
            Some(fault) => {
                self.refuse(&at.span, format!("`{}` is no path inside the repository", at.value), fault);
                None
            }
            None => Some(text.into()),
        }
    }

    /// Several paths inside the repository, at least one.
    pub(super) fn paths(&mut self, at: &At<OneOrMany>, what: &str) -> Vec<String> {
        let list = at.value.list();
        if list.is_empty() {
            self.refuse(&at.span, format!("{what} is needed"), "this list is empty");
        }
        let each = |value| At { value, span: at.span.clone() };
        list.into_iter().map(each).filter_map(|at| self.path(Some(&at))).collect()
    }

    pub(super) fn glob(&mut self, at: &At<String>) -> Option<String> {
        let text = at.value.strip_prefix("./").unwrap_or(&at.value);
        if let Some(fault) = glob_fault(text) {
            self.refuse(&at.span, format!("`{}` is no glob inside the repository", at.value), fault);
            return None;
        }
        Some(text.into())
    }

    pub(super) fn globs(&mut self, list: Option<&Vec<At<String>>>) -> Vec<String> {
        list.into_iter().flatten().filter_map(|at| self.glob(at)).collect()
    }

    pub(super) fn host(&mut self, at: Option<&At<String>>) -> Option<String> {
        let at = at?;
        match host_fault(&at.value) {
            Some(fault) => {
                self.refuse(&at.span, "this is no host that ssh can reach", fault);
                None
            }
            None => Some(at.value.trim_end_matches('/').into()),
        }
    }

    /// Braces around a word that is almost a placeholder.
    pub(super) fn placeholders(&mut self, text: &str, span: &Range<usize>, service: bool) {
        for name in names(text) {
            if name == "service" && !service {
                self.refuse(span, "`{service}` is not known here", "this is for all services at once");
            } else if !PLACEHOLDERS.contains(&name)
                && let Some(near) = suggest(name, PLACEHOLDERS)
            {
                self.refuse(span, format!("`{{{name}}}` is no placeholder"), near);
            }
        }
    }

    pub(super) fn command(&mut self, at: &At<OneOrMany>, shell: bool, service: bool) -> Option<Command> {
        let before = self.problems.len();
        let command = match (&at.value, shell) {
            (OneOrMany::One(script), true) => {
                let placeholder = names(script).into_iter().find(|name| PLACEHOLDERS.contains(name));
                if let Some(name) = placeholder {
                    let variable = format!("use \"$BOWLINE_{}\" instead", name.to_uppercase());
                    let message = format!("`{{{name}}}` is not filled into a shell's command");
                    self.refuse(&at.span, message, variable);
                }
                Command::Shell(script.clone())
            }
            (OneOrMany::Many(_), true) => {
                self.refuse(&at.span, "a shell takes one text, not a list", "or leave out `shell = true`");
                return None;
            }
            (OneOrMany::Many(words), false) => Command::Words(words.clone()),
            (OneOrMany::One(line), false) => match shlex::split(line) {
                Some(words) => Command::Words(words),
                None => {
                    self.refuse(&at.span, "this command cannot be split into words", "a quote is not closed");
                    return None;
                }
            },
        };
        match &command {
            Command::Words(words) if words.first().is_none_or(String::is_empty) => {
                self.refuse(&at.span, "there is no command", "name the program to run");
            }
            Command::Words(words) => {
                words.iter().for_each(|word| self.placeholders(word, &at.span, service));
                self.operators(words, at);
            }
            Command::Shell(script) if script.trim().is_empty() => {
                self.refuse(&at.span, "there is no command", "write what the shell should do");
            }
            Command::Shell(_) => {}
        }
        (self.problems.len() == before).then_some(command)
    }

    /// A shell's operators would be passed on as arguments.
    fn operators(&mut self, words: &[String], at: &At<OneOrMany>) {
        let operator =
            words.iter().find(|word| matches!(word.as_str(), "&&" | "||" | "|" | ";" | ">" | ">>" | "<"));
        if let (Some(operator), OneOrMany::One(_)) = (operator, &at.value) {
            self.problems.push(
                Problem::new(
                    &at.span,
                    format!("`{operator}` means something to a shell only"),
                    "no shell runs this",
                )
                .help("set `shell = true` in [build] if you want one, or put the steps into a script"),
            );
        }
    }
}
