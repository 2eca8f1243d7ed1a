//! Dockerfiles that need no engine: read, and turned into steps, or handed over with the line that is the reason.
//!
//! Only the stage that is built counts. It is native when it is made of `FROM` (`scratch` or an image), `COPY` and
//! `ADD` of local files, and instructions that only change the config. Everything else goes to the engine, and so
//! does every form of which it is not certain that the result would be the engine's.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::image::Platform;
use parse_dockerfile as syntax;
use parse_dockerfile::{Instruction, JsonOrStringArray, Source};

use crate::config::Healthcheck;
use crate::word::{self, Unsupported};

/// Why a Dockerfile is built by the engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Handover {
    /// The line, from 1.
    pub line: usize,
    /// What on that line.
    pub reason: String,
}

/// What to build, from what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The image it starts from, as written and with variables replaced; `None` for `scratch`.
    pub from: Option<String>,
    /// The line of its `FROM`.
    pub line: usize,
    /// The instructions, in order.
    pub steps: Vec<Step>,
    /// What `ARG` instructions can get values from.
    pub arguments: Arguments,
    /// The escape character: `\`, or what `# escape=` says.
    pub escape: char,
    /// The platform to build for.
    pub platform: Platform,
}

/// Values for `ARG` instructions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// From the command line: they win over defaults.
    pub given: BTreeMap<String, String>,
    /// From `ARG` before the first `FROM`, and the predefined platform arguments.
    pub global: BTreeMap<String, String>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its line, from 1.
    pub line: usize,
    /// What it does. Variables are not replaced yet: their values depend on the base image.
    pub action: Action,
}

/// What an instruction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `ARG`
    Arg(Vec<(String, Option<String>)>),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY` and `ADD`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(Vec<(String, String)>),
    /// `EXPOSE`
    Expose(Vec<String>),
    /// `HEALTHCHECK`; complete, as nothing in it is replaced.
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Vec<(String, String)>),
    /// `MAINTAINER`
    Maintainer(String),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    Stopsignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// A JSON array: taken as it is.
    Exec(Vec<String>),
    /// A line for the image's shell.
    Shell(String),
}

/// A `COPY` or `ADD` of files of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Paths or patterns in the context.
    pub sources: Vec<String>,
    /// Where they go.
    pub destination: String,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// `--link`
    pub link: bool,
    /// `ADD`: archives among the sources would be unpacked.
    pub add: bool,
}

/// Reads a Dockerfile and picks the stage to build: `target` by name, or the last one. `given` are the build
/// arguments. Errors are reasons to let the engine build it, syntax errors included: the engine says it best.
pub fn parse(
    text: &str,
    target: Option<&str>,
    given: &BTreeMap<String, String>,
    platform: &Platform,
) -> Result<Recipe, Handover> {
    let reader = Reader { text };
    let file = syntax::parse(text).map_err(|error| Handover {
        line: 1,
        reason: format!("the Dockerfile could not be read: {error}"),
    })?;
    if let Some(directive) = &file.parser_directives.syntax {
        let image = directive.value.value;
        let image = image.strip_prefix("docker.io/").unwrap_or(image);
        if image != "docker/dockerfile" && !image.starts_with("docker/dockerfile:1") {
            return Err(reader.handover(directive.span().start, format!("the syntax `{image}`")));
        }
    }
    let escape = file.parser_directives.escape.as_ref().map_or('\\', |directive| directive.value.value);
    let mut arguments = Arguments { given: given.clone(), global: platform_arguments(platform) };
    for instruction in file.global_args() {
        let at = reader.line(instruction.arg.span.start);
        for (name, default) in word::arguments(&instruction.arguments.value, escape) {
            let lookup = |name: &str| arguments.global.get(name).cloned();
            let value = match (given.get(&name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(word)) => {
                    Some(word::expand(&word, escape, &lookup).map_err(|Unsupported(what)| at.reason(what))?)
                }
                (None, None) => None,
            };
            arguments.global.extend(value.map(|value| (name, value)));
        }
    }
    let stages: Vec<syntax::Stage<'_, '_>> = file.stages().collect();
    let name =
        |stage: &syntax::Stage<'_, '_>| stage.from.as_.as_ref().map(|(_, name)| name.value.to_lowercase());
    let position = match target {
        None => stages.len().checked_sub(1),
        Some(target) => {
            stages.iter().position(|stage| name(stage).as_deref() == Some(&target.to_lowercase()))
        }
    };
    let Some((stage, earlier)) = position.and_then(|at| Some((stages.get(at)?, stages.get(..at)?))) else {
        return Err(Handover { line: 1, reason: format!("no stage `{}`", target.unwrap_or_default()) });
    };
    let at = reader.line(stage.from.from.span.start);
    let lookup = |name: &str| arguments.global.get(name).cloned();
    let expand =
        |text: &str| word::expand(text, escape, &lookup).map_err(|Unsupported(what)| at.reason(what));
    for flag in &stage.from.options {
        let wanted = flag.value.as_ref().map(|value| expand(&value.value)).transpose()?.unwrap_or_default();
        if flag.name.value != "platform" || wanted.parse::<Platform>().as_ref() != Ok(platform) {
            return Err(at.reason(format!("FROM --{}={wanted}", flag.name.value)));
        }
    }
    let image = expand(&stage.from.image.value)?;
    if earlier.iter().any(|stage| name(stage).as_deref() == Some(&image.to_lowercase())) {
        return Err(at.reason(format!("FROM the stage `{image}`")));
    }
    let steps = stage.instructions.iter().map(|one| reader.step(one, escape)).collect::<Result<_, _>>()?;
    let from = Some(image).filter(|image| image != "scratch");
    Ok(Recipe { from, line: at.0, steps, arguments, escape, platform: platform.clone() })
}

/// The arguments that BuildKit predefines ("Automatic platform ARGs in the global scope"). There is no emulation
/// here: what is built does not run, so the build platform is this machine's.
fn platform_arguments(target: &Platform) -> BTreeMap<String, String> {
    let build = Platform::linux(std::env::consts::ARCH);
    [("TARGET", target), ("BUILD", &build)]
        .into_iter()
        .flat_map(|(prefix, platform)| {
            [
                (format!("{prefix}PLATFORM"), platform.to_string()),
                (format!("{prefix}OS"), platform.os.clone()),
                (format!("{prefix}ARCH"), platform.architecture.clone()),
                (format!("{prefix}VARIANT"), platform.variant.clone().unwrap_or_default()),
            ]
        })
        .collect()
}

/// Turns byte offsets into lines.
struct Reader<'a> {
    text: &'a str,
}

/// A line, to say what is wrong on it.
#[derive(Clone, Copy)]
struct Line(usize);

impl Line {
    fn reason(self, reason: impl Into<String>) -> Handover {
        Handover { line: self.0, reason: reason.into() }
    }
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> Line {
        Line(1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count())
    }

    fn handover(&self, offset: usize, reason: String) -> Handover {
        self.line(offset).reason(reason)
    }

    fn step(&self, instruction: &Instruction<'_>, escape: char) -> Result<Step, Handover> {
        let (line, action) = match instruction {
            Instruction::Add(add) => {
                let at = self.line(add.add.span.start);
                (at, copy(at, &add.options, &add.src, &add.dest.value, true)?)
            }
            Instruction::Copy(one) => {
                let at = self.line(one.copy.span.start);
                (at, copy(at, &one.options, &one.src, &one.dest.value, false)?)
            }
            Instruction::Arg(arg) => {
                let words = word::arguments(&arg.arguments.value, escape);
                (self.line(arg.arg.span.start), Action::Arg(words))
            }
            Instruction::Cmd(cmd) => {
                let at = self.line(cmd.cmd.span.start);
                (at, Action::Cmd(command(at, &cmd.arguments)?))
            }
            Instruction::Entrypoint(entrypoint) => {
                let at = self.line(entrypoint.entrypoint.span.start);
                (at, Action::Entrypoint(command(at, &entrypoint.arguments)?))
            }
            Instruction::Env(env) => {
                let at = self.line(env.env.span.start);
                (at, Action::Env(pairs(at, &env.arguments.value, escape)?))
            }
            Instruction::Label(label) => {
                let at = self.line(label.label.span.start);
                (at, Action::Label(pairs(at, &label.arguments.value, escape)?))
            }
            Instruction::Expose(expose) => {
                let ports = expose.arguments.iter().map(|port| port.value.to_string()).collect();
                (self.line(expose.expose.span.start), Action::Expose(ports))
            }
            Instruction::Healthcheck(check) => {
                let at = self.line(check.healthcheck.span.start);
                (at, Action::Healthcheck(healthcheck(at, check)?))
            }
            Instruction::Maintainer(maintainer) => {
                let name = maintainer.name.value.to_string();
                (self.line(maintainer.maintainer.span.start), Action::Maintainer(name))
            }
            Instruction::Shell(shell) => {
                let words = shell.arguments.iter().map(|word| word.value.to_string()).collect();
                (self.line(shell.shell.span.start), Action::Shell(words))
            }
            Instruction::Stopsignal(signal) => {
                let word = signal.arguments.value.to_string();
                (self.line(signal.stopsignal.span.start), Action::Stopsignal(word))
            }
            Instruction::User(user) => {
                (self.line(user.user.span.start), Action::User(user.arguments.value.to_string()))
            }
            Instruction::Volume(volume) => {
                let words = match &volume.arguments {
                    JsonOrStringArray::Json(words) => &words.value,
                    JsonOrStringArray::String(words) => words,
                };
                let words = words.iter().map(|word| word.value.to_string()).collect();
                (self.line(volume.volume.span.start), Action::Volume(words))
            }
            Instruction::Workdir(workdir) => {
                (self.line(workdir.workdir.span.start), Action::Workdir(workdir.arguments.value.to_string()))
            }
            Instruction::Run(run) => return Err(self.handover(run.run.span.start, "RUN".into())),
            Instruction::Onbuild(one) => return Err(self.handover(one.onbuild.span.start, "ONBUILD".into())),
            Instruction::From(from) => {
                return Err(self.handover(from.from.span.start, "FROM inside a stage".into()));
            }
            _ => return Err(Line(1).reason("an instruction that is not known")),
        };
        Ok(Step { line: line.0, action })
    }
}

fn pairs(at: Line, text: &str, escape: char) -> Result<Vec<(String, String)>, Handover> {
    word::pairs(text, escape).map_err(|Unsupported(what)| at.reason(what))
}

fn copy(
    at: Line,
    flags: &[syntax::Flag<'_>],
    sources: &[Source<'_>],
    destination: &str,
    add: bool,
) -> Result<Action, Handover> {
    let keyword = if add { "ADD" } else { "COPY" };
    let (mut chown, mut chmod, mut link) = (None, None, false);
    for flag in flags {
        let value = flag.value.as_ref().map(|value| value.value.to_string());
        match (&*flag.name.value, value) {
            ("chown", Some(owner)) => chown = Some(owner),
            ("chmod", Some(mode)) => chmod = Some(mode),
            ("link", None) => link = true,
            ("link", Some(value)) if matches!(&*value, "true" | "false") => link = value == "true",
            (name, value) => {
                let value = value.map(|value| format!("={value}")).unwrap_or_default();
                return Err(at.reason(format!("{keyword} --{name}{value}")));
            }
        }
    }
    let sources = sources
        .iter()
        .map(|source| match source {
            Source::Path(path) => Ok(path.value.to_string()),
            _ => Err(at.reason(format!("{keyword} of a here-document"))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if sources.is_empty() {
        return Err(at.reason(format!("{keyword} without a source")));
    }
    let destination = destination.to_owned();
    Ok(Action::Copy(Copy { sources, destination, chown, chmod, link, add }))
}

fn command(at: Line, command: &syntax::Command<'_>) -> Result<CommandLine, Handover> {
    match command {
        syntax::Command::Exec(words) => {
            Ok(CommandLine::Exec(words.value.iter().map(|word| word.value.to_string()).collect()))
        }
        syntax::Command::Shell(line) if line.value.contains(['\n', '\r']) => {
            Err(at.reason("a shell command over several lines"))
        }
        syntax::Command::Shell(line) if line.value.trim_start().starts_with('[') => {
            Err(at.reason("a command that is almost a JSON array"))
        }
        syntax::Command::Shell(line) => Ok(CommandLine::Shell(line.value.trim().to_owned())),
        _ => Err(at.reason("a command in a form that is not known")),
    }
}

fn healthcheck(at: Line, check: &syntax::HealthcheckInstruction<'_>) -> Result<Healthcheck, Handover> {
    let mut result = Healthcheck::default();
    for flag in &check.options {
        let value = flag.value.as_ref().map(|value| &*value.value).unwrap_or_default();
        let odd = || at.reason(format!("HEALTHCHECK --{}={value}", flag.name.value));
        let nanoseconds = || {
            let time = duration(value).ok_or_else(odd)?;
            // The engine refuses what is shorter than a millisecond, and takes zero for "the default".
            let kept = time.is_zero() || time >= Duration::from_millis(1);
            let nanoseconds = u64::try_from(time.as_nanos()).ok().filter(|_| kept).ok_or_else(odd)?;
            Ok(Some(nanoseconds).filter(|time| *time > 0))
        };
        match &*flag.name.value {
            "interval" => result.interval = nanoseconds()?,
            "timeout" => result.timeout = nanoseconds()?,
            "start-period" => result.start_period = nanoseconds()?,
            "start-interval" => result.start_interval = nanoseconds()?,
            "retries" => {
                let retries: u64 = value.parse().map_err(|_| odd())?;
                result.retries = Some(retries).filter(|retries| *retries > 0);
            }
            _ => return Err(odd()),
        }
    }
    let test = match &check.arguments {
        syntax::HealthcheckArguments::Cmd { arguments, .. } => match command(at, arguments)? {
            CommandLine::Exec(words) => [vec!["CMD".into()], words].concat(),
            CommandLine::Shell(line) => vec!["CMD-SHELL".into(), line],
        },
        syntax::HealthcheckArguments::None { .. } => vec!["NONE".into()],
        _ => return Err(at.reason("HEALTHCHECK in a form that is not known")),
    };
    Ok(Healthcheck { test: Some(test), ..result })
}

/// A duration as Go writes it: `1m30s`, `1.5s`, `500ms`, `0`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, given: &[(&str, &str)]) -> Result<Recipe, Handover> {
        let given = given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        parse(text, None, &given, &Platform::linux("aarch64"))
    }

    #[test]
    fn the_base_is_found_with_its_variables() {
        for (text, given, expected) in [
            ("FROM scratch", vec![], None),
            ("FROM nginx:1", vec![], Some("nginx:1")),
            ("ARG V=1\nFROM a:$V", vec![], Some("a:1")),
            ("ARG V=1\nFROM a:${V}-x", vec![("V", "2")], Some("a:2-x")),
            ("ARG A=1\nARG B=$A.2\nFROM a:$B", vec![], Some("a:1.2")),
            ("FROM --platform=$TARGETPLATFORM a:$TARGETARCH", vec![], Some("a:arm64")),
            ("FROM --platform=linux/arm64 a", vec![], Some("a")),
            ("FROM golang AS b\nRUN make\nFROM a", vec![], Some("a")),
            ("# escape=`\nFROM a", vec![], Some("a")),
            ("#syntax=docker/dockerfile:1.7-labs\nFROM a", vec![], Some("a")),
        ] {
            assert_eq!(read(text, &given).unwrap().from.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_stage_is_chosen_by_its_name() {
        let text = "FROM a AS One\nUSER x\nFROM b AS two\nRUN y\n";
        let none = BTreeMap::new();
        let platform = Platform::linux("x86_64");
        assert_eq!(parse(text, Some("one"), &none, &platform).unwrap().from.as_deref(), Some("a"));
        assert_eq!(parse(text, None, &none, &platform).unwrap_err().line, 4);
        assert!(parse(text, Some("three"), &none, &platform).unwrap_err().reason.contains("three"));
    }

    #[test]
    fn every_handover_names_its_line() {
        for (text, line, reason) in [
            ("FROM a\n\n# comment\nRUN x", 4, "RUN"),
            ("FROM a\nCMD echo \\\n  two", 2, "several lines"),
            ("FROM a\nCMD [\"a\" \"b\"]", 2, "almost"),
            ("FROM --platform=linux/s390x a", 1, "linux/s390x"),
            ("FROM a\nENV A", 2, "no value"),
            ("FROM a\nLABEL a=b c", 2, "name=value"),
            ("FROM a\nCOPY --parents x /", 2, "--parents"),
            ("FROM a\nCOPY --link=maybe x /", 2, "--link=maybe"),
            ("FROM a\nHEALTHCHECK --retries=-1 CMD x", 2, "--retries"),
            ("FROM ${A:?}", 1, "substitution"),
            ("#syntax=docker/dockerfile-upstream:master\nFROM a", 1, "upstream"),
            ("NONSENSE", 1, "could not be read"),
            ("", 1, ""),
        ] {
            let error = read(text, &[]).unwrap_err();
            assert!(error.line == line && error.reason.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("0", Some(0)),
            ("30s", Some(30_000)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1_500)),
            ("500ms", Some(500)),
            ("1h", Some(3_600_000)),
            ("30", None),
            ("", None),
            ("s", None),
            ("1x", None),
            ("-1s", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
