//! Runs a build command in a process group of its own and leaves nothing of it behind when it is stopped.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until};

use super::output::{Output, Prefix};
use crate::error::{Attempt, Failure, Outcome};
use crate::ui::Ui;
use crate::ui::event::elapsed;

/// After this much silence a build says that it is still there.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a stopped build has to clean up before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How long output is waited for after the command ended: a daemon that it left may hold the pipe open for ever.
const DRAIN: Duration = Duration::from_millis(300);

/// One command to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// What it builds, for people: `user`, `the project`.
    pub subject: String,
    /// Whose output it is.
    pub prefix: Prefix,
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// What is added to the environment.
    pub environment: Vec<(String, String)>,
    /// What the build does not get of our own environment: secrets that are not its business.
    pub hidden: Vec<String>,
    /// Where its output is kept.
    pub log: PathBuf,
    /// How long it may take; `None` for as long as it likes.
    pub timeout: Option<Duration>,
}

/// Runs the command to its end. Dropping the future kills the command and all that it started; so does the end of
/// this process, however it comes about.
///
/// # Errors
/// When it cannot be started, ends with another code than 0, or takes too long.
pub async fn execute(ui: &Ui, job: &Job) -> Outcome<()> {
    let mut output = Output::open(ui, &job.prefix, &job.log)?;
    let spinner = ui.spinner(&job.prefix.name);
    spinner.set_message(crate::ui::printable(&job.words.join(" ")));
    let started = Instant::now();
    let ended = follow(job, &mut output, started).await;
    spinner.finish_and_clear();
    let why = match ended? {
        Ended::Itself(status) if status.success() => return Ok(()),
        Ended::Itself(status) => format!(
            "`{}` {} after {}",
            shown(job),
            describe(status),
            elapsed(started.elapsed().as_secs_f64())
        ),
        Ended::TooLate(limit) => {
            format!("`{}` was stopped: it took longer than {}", shown(job), elapsed(limit.as_secs_f64()))
        }
    };
    let lines: Vec<String> = output.last_lines().map(|line| format!("│ {line}")).collect();
    Err(Failure::failed(format!("building {}", job.subject))
        .since(why)
        .detail(lines)
        .hint(format!("the whole output is in {}", output.path().display())))
}

enum Ended {
    Itself(ExitStatus),
    TooLate(Duration),
}

async fn follow(job: &Job, output: &mut Output, started: Instant) -> Outcome<Ended> {
    let (mut child, mut reader, group) = start(job)?;
    let far = started + Duration::from_secs(365 * 24 * 3600);
    let mut limit = job.timeout.map_or(far, |timeout| started + timeout);
    let mut drained = far;
    let mut heard = Instant::now();
    let mut ended: Option<ExitStatus> = None;
    let (mut open, mut stopped) = (true, false);
    let mut buffer = vec![0; 32 * 1024];
    while open || ended.is_none() {
        tokio::select! {
            read = reader.read(&mut buffer), if open => match read {
                Ok(length @ 1..) => {
                    heard = Instant::now();
                    output.push(buffer.get(..length).unwrap_or_default());
                }
                // The pipe's end may come before the command's, and the other way round.
                Ok(0) | Err(_) => open = false,
            },
            status = child.wait(), if ended.is_none() => {
                ended = Some(status.attempt(|| format!("waiting for `{}`", shown(job)))?);
                drained = Instant::now() + DRAIN;
            }
            () = sleep_until(drained), if ended.is_some() => break,
            () = sleep_until(heard + SILENCE) => {
                output.flush();
                heard = Instant::now();
                output.remark(&format!("still running after {}", elapsed(started.elapsed().as_secs_f64())));
            }
            () = sleep_until(limit), if ended.is_none() => {
                group.signal(if stopped { Signal::KILL } else { Signal::TERM });
                stopped = true;
                limit = Instant::now() + GRACE;
            }
        }
    }
    output.flush();
    match ended {
        Some(status) if !stopped => {
            group.leave();
            Ok(Ended::Itself(status))
        }
        _ => Ok(Ended::TooLate(job.timeout.unwrap_or_default())),
    }
}

fn start(job: &Job) -> Outcome<(Child, Receiver, Group)> {
    let attempt = || format!("starting the build of {}", job.subject);
    // One pipe for both channels keeps their lines in the order in which they were written.
    let (reader, writer) = std::io::pipe().attempt(attempt)?;
    let [program, arguments @ ..] = job.words.as_slice() else { return Err(Failure::failed(attempt())) };
    let mut command = tokio::process::Command::new(located(program, &job.directory));
    command
        .args(arguments)
        .current_dir(&job.directory)
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(writer.try_clone().attempt(attempt)?)
        .stderr(writer)
        .process_group(0);
    for name in &job.hidden {
        command.env_remove(name);
    }
    let child = command.spawn().map_err(|error| unstartable(job, program, &error))?;
    // The command holds the pipe's writing end too; without this its end would never be read.
    drop(command);
    let group = Group::watch(&child).attempt(attempt)?;
    let reader = Receiver::from_owned_fd(OwnedFd::from(reader)).attempt(attempt)?;
    Ok((child, reader, group))
}

/// A program with a `/` in its name lies in the project, whatever this process's own directory is.
fn located(program: &str, directory: &Path) -> PathBuf {
    if program.contains('/') {
        std::path::absolute(directory.join(program)).unwrap_or_else(|_| PathBuf::from(program))
    } else {
        PathBuf::from(program)
    }
}

fn unstartable(job: &Job, program: &str, error: &std::io::Error) -> Failure {
    let failure = Failure::failed(format!("starting the build of {}", job.subject));
    let place = job.directory.display();
    match error.kind() {
        std::io::ErrorKind::NotFound if program.contains('/') => failure
            .since(format!("there is no {program} in {place}, or the interpreter that its first line names"))
            .hint("is it committed? Bowline builds what is in the repository"),
        std::io::ErrorKind::NotFound => failure
            .since(format!("there is no program `{program}` in PATH"))
            .hint(format!("install {program}, or change the build command in bowline.toml")),
        std::io::ErrorKind::PermissionDenied => failure
            .since(format!("{program} is not executable"))
            .hint(format!("git update-index --chmod=+x {program}")),
        _ => failure.because(error),
    }
}

fn shown(job: &Job) -> String {
    shlex::try_join(job.words.iter().map(String::as_str)).unwrap_or_else(|_| job.words.join(" "))
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(127), _) => "exited with code 127 (a command in it was not found)".into(),
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(9)) => "was killed (signal 9; out of memory?)".into(),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or(0)),
    }
}

/// All that a command starts. Killed when dropped, and also when this process ends without dropping anything
/// (`kill -9`): a watchdog holds the reading end of a pipe whose writing end only this process has.
struct Group {
    leader: Option<Pid>,
    watchdog: std::process::Child,
}

impl Group {
    fn watch(child: &Child) -> std::io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = leader.map_or(0, Pid::as_raw_pid).to_string();
        let started = std::process::Command::new("sh")
            .args(["-c", r#"read -r _; [ "$1" -gt 1 ] && kill -s KILL -- "-$1""#, "bowline-watchdog", &group])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal must end Bowline first.
            .process_group(0)
            .spawn();
        match started {
            Ok(watchdog) => Ok(Self { leader, watchdog }),
            Err(error) => {
                leader.map(|leader| kill_process_group(leader, Signal::KILL));
                Err(error)
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // It may be gone already.
        let _ = self.leader.map(|leader| kill_process_group(leader, signal));
    }

    /// The command ended by itself: what it left running on purpose (a build daemon) stays.
    fn leave(mut self) {
        self.leader = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}
