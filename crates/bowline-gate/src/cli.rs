//! The command line.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use bowline_measurement::rollup::Step;
use flate2::Compression;
use flate2::write::GzEncoder;
use lexopt::{Arg, Parser};

use crate::complaint::say;
use crate::export::{ExportError, Selection, export};
use crate::sampler::{Options, SampleError, sample};

const HELP: &str = "\
Runs on a Docker host beside the services and measures it.

bowline-gate sample [OPTIONS]      sample until SIGTERM or SIGINT
  --every TIME          from one sample to the next, 1s to 1m           [15s]
  --proc DIR            the host's /proc                                [/proc]
  --cgroup DIR          the host's /sys/fs/cgroup                       [/sys/fs/cgroup]
  --socket FILE         the Docker engine's socket                      [/var/run/docker.sock]
  --store DIR           where what was measured is kept                 [/store]
  --data DIR            in the file system of the engine's data         [the store]
  --prometheus ADDRESS  serve /metrics there, such as 127.0.0.1:9101    [nowhere]
  --metadata ADDRESS    EC2's metadata service, or `none`               [169.254.169.254:80]

bowline-gate export [OPTIONS]      write what was measured to stdout, as frames
  --store DIR           where it is kept                                [/store]
  --since MS, --until MS  only rows in this time, in milliseconds since 1970 (UTC)
  --step 15s|1m|1h      how long the rows are                           [15s]
  --gzip                compressed

bowline-gate --help | --version
";

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    Sample(Options),
    Export { store: PathBuf, selection: Selection, gzip: bool },
    Help,
    Version,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("{0}; see bowline-gate --help")]
    Usage(String),
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot write to stdout: {0}")]
    Output(#[source] io::Error),
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error(transparent)]
    Export(#[from] ExportError),
}

impl From<lexopt::Error> for CliError {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Does what the process's arguments say. Exits with 2 where these are wrong and 1 where it failed.
pub fn run() -> ExitCode {
    let outcome = parse(std::env::args_os().skip(1)).and_then(execute);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(if matches!(error, CliError::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn execute(command: Command) -> Result<(), CliError> {
    match command {
        Command::Help => print(HELP),
        Command::Version => print(concat!("bowline-gate ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Sample(options) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            Ok(runtime.map_err(CliError::Runtime)?.block_on(sample(&options))?)
        }
        Command::Export { store, selection, gzip } => {
            let output = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
            if gzip {
                let mut encoder = GzEncoder::new(output, Compression::default());
                export(&store, selection, &mut encoder)?;
                encoder.finish().and_then(|mut output| output.flush()).map_err(CliError::Output)
            } else {
                let mut output = output;
                Ok(export(&store, selection, &mut output)?)
            }
        }
    }
}

fn print(text: &str) -> Result<(), CliError> {
    io::stdout().lock().write_all(text.as_bytes()).map_err(CliError::Output)
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, CliError> {
    let mut parser = Parser::from_args(arguments);
    match parser.next()? {
        Some(Arg::Value(verb)) if verb == "sample" => parse_sample(parser),
        Some(Arg::Value(verb)) if verb == "export" => parse_export(parser),
        Some(Arg::Long("help") | Arg::Short('h')) => Ok(Command::Help),
        Some(Arg::Long("version") | Arg::Short('V')) => Ok(Command::Version),
        Some(other) => Err(other.unexpected().into()),
        None => Err(CliError::Usage("say what to do: sample or export".into())),
    }
}

fn parse_sample(mut parser: Parser) -> Result<Command, CliError> {
    let mut options = Options {
        every: Duration::from_secs(15),
        proc: "/proc".into(),
        cgroup: "/sys/fs/cgroup".into(),
        socket: "/var/run/docker.sock".into(),
        store: "/store".into(),
        data: PathBuf::new(),
        prometheus: None,
        metadata: Some(SocketAddr::from(([169, 254, 169, 254], 80))),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("every") => options.every = parse_time(&text(&mut parser)?)?,
            Arg::Long("proc") => options.proc = parser.value()?.into(),
            Arg::Long("cgroup") => options.cgroup = parser.value()?.into(),
            Arg::Long("socket") => options.socket = parser.value()?.into(),
            Arg::Long("store") => options.store = parser.value()?.into(),
            Arg::Long("data") => options.data = parser.value()?.into(),
            Arg::Long("prometheus") => options.prometheus = Some(value("--prometheus", &text(&mut parser)?)?),
            Arg::Long("metadata") => {
                let address = text(&mut parser)?;
                options.metadata =
                    if address == "none" { None } else { Some(value("--metadata", &address)?) };
            }
            Arg::Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.data.as_os_str().is_empty() {
        options.data.clone_from(&options.store);
    }
    Ok(Command::Sample(options))
}

fn parse_export(mut parser: Parser) -> Result<Command, CliError> {
    let (mut store, mut gzip) = (PathBuf::from("/store"), false);
    let mut selection = Selection { since: i64::MIN, until: i64::MAX, step: Step::Sample };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("store") => store = parser.value()?.into(),
            Arg::Long("since") => selection.since = value("--since", &text(&mut parser)?)?,
            Arg::Long("until") => selection.until = value("--until", &text(&mut parser)?)?,
            Arg::Long("step") => selection.step = value("--step", &text(&mut parser)?)?,
            Arg::Long("gzip") => gzip = true,
            Arg::Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Export { store, selection, gzip })
}

fn text(parser: &mut Parser) -> Result<String, CliError> {
    let value = parser.value()?;
    value.into_string().map_err(|value| CliError::Usage(format!("{} is no text", value.display())))
}

fn value<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, CliError> {
    text.parse().map_err(|error| CliError::Usage(format!("{name} {text:?}: {error}")))
}

fn parse_time(text: &str) -> Result<Duration, CliError> {
    let wrong = || CliError::Usage(format!("--every {text:?}: a time such as 15s or 1m, from 1s to 1m"));
    let (number, unit) = match (text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 60),
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    seconds.filter(|seconds| (1..=60).contains(seconds)).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_is_done() {
        let Ok(Command::Sample(options)) = parsed("sample --every 1m --store /s --prometheus 127.0.0.1:9101")
        else {
            panic!("it is sampled")
        };
        assert_eq!((options.every, options.data), (Duration::from_secs(60), PathBuf::from("/s")));
        assert_eq!(options.metadata.map(|address| address.port()), Some(80));
        let Ok(Command::Sample(options)) = parsed("sample --metadata none --data /d") else {
            panic!("it is sampled")
        };
        assert_eq!((options.metadata, options.data), (None, PathBuf::from("/d")));
        let selection = Selection { since: 5, until: i64::MAX, step: Step::Hour };
        let export = Command::Export { store: "/store".into(), selection, gzip: true };
        assert_eq!(parsed("export --since 5 --step 1h --gzip"), Ok(export));
        assert_eq!(parsed("--version"), Ok(Command::Version));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, word) in [
            ("", "sample or export"),
            ("run", "run"),
            ("sample --every 2m", "from 1s to 1m"),
            ("sample --every 15", "15"),
            ("sample --prometheus 9101", "--prometheus"),
            ("export --step 5m", "ask for 15s, 1m or 1h"),
            ("export --since yesterday", "--since"),
            ("export --every 15s", "--every"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(word) && error.contains("--help"), "{error}");
        }
    }
}
