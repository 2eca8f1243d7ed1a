//! Running a command on the host to its end.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

use super::command::{self, Command, HEARTBEAT, InvalidCommand, NO_DIRECTORY, NO_DIRECTORY_MARK};
use super::error::ConnectionError;

/// What a command said and how it ended.
#[derive(Clone)]
pub struct Output {
    /// Its exit status; 128 + n for a signal n.
    pub status: i32,
    /// Everything it wrote to stdout.
    pub stdout: Vec<u8>,
    /// The last part of what it wrote to stderr, as text.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with status 0.
    pub fn is_success(&self) -> bool {
        self.status == 0
    }

    /// stdout as text, lossily.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Why a command did not run to its end. Its own failure is no error here: see [`Output::status`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The command cannot be written down.
    #[error(transparent)]
    Invalid(#[from] InvalidCommand),
    /// There is no connection to run it over.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// It took too long and was ended.
    #[error("`{program}` on {host} did not end within {} s", .after.as_secs())]
    Timeout {
        /// What was run.
        program: String,
        /// Where.
        host: String,
        /// How long it had.
        after: Duration,
    },
    /// It wrote more to stdout than anybody wants.
    #[error("`{program}` on {host} wrote more than {limit} bytes")]
    TooMuch {
        /// What was run.
        program: String,
        /// Where.
        host: String,
        /// How much was allowed.
        limit: usize,
    },
    /// The directory to run it in is not there.
    #[error("there is no directory {directory} on {host}")]
    NoDirectory {
        /// Which.
        directory: String,
        /// Where.
        host: String,
    },
    /// It could not be started, or its pipes broke.
    #[error("cannot run `{program}` on {host}")]
    Io {
        /// What was run.
        program: String,
        /// Where.
        host: String,
        /// Why.
        source: std::io::Error,
    },
}

impl RunError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Connection(error) => error.hint(),
            Self::NoDirectory { .. } => Some("check the target's `directory`, or create it there".into()),
            _ => None,
        }
    }
}

/// Feeds the shell, then keeps saying that somebody is there. Ends when the other side closes.
async fn feed(mut stdin: ChildStdin, bytes: Vec<u8>, watched: bool) {
    if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
        return;
    }
    if !watched {
        return;
    }
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if stdin.write_all(b".").await.is_err() {
            return;
        }
    }
}

/// Reads all, keeping at most `limit` bytes: the first ones, and whether there were more.
async fn read_first(mut source: impl AsyncRead + Unpin, limit: usize) -> std::io::Result<(Vec<u8>, bool)> {
    let mut kept = Vec::new();
    (&mut source).take(limit as u64).read_to_end(&mut kept).await?;
    let more = tokio::io::copy(&mut source, &mut tokio::io::sink()).await?;
    Ok((kept, more > 0))
}

/// Reads all, keeping the last bytes: reasons come at the end.
async fn read_last(mut source: impl AsyncRead + Unpin, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    loop {
        let count = source.read(&mut chunk).await?;
        if count == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if kept.len() > limit {
            kept.drain(..kept.len() - limit);
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Starts a shell, here or there, that waits for its command.
pub(super) fn spawn(mut shell: tokio::process::Command) -> std::io::Result<Child> {
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell.process_group(0).kill_on_drop(true).spawn()
}

/// A shell on this machine, for [`spawn`].
pub(super) fn shell() -> tokio::process::Command {
    let mut shell = tokio::process::Command::new("sh");
    shell.arg("-c").arg(command::BOOTSTRAP);
    shell
}

/// Runs the command by a shell that waits for it. Dropping the future closes the shell's standard input, by which the
/// command dies on the other side.
pub(super) async fn execute(
    host: &str,
    command: Command,
    shell: std::io::Result<Child>,
) -> Result<Output, RunError> {
    let program: String = command.program().chars().take(100).collect();
    let bytes = command.render()?;
    let io = |source| RunError::Io { program: program.clone(), host: host.into(), source };
    let mut child = shell.map_err(io)?;
    let (limit, watched, timeout) = (command.limit, command.is_watched(), command.timeout);
    let directory = command.into_directory();
    let Ok(ended) = tokio::time::timeout(timeout, collect(&mut child, bytes, watched, limit)).await else {
        return Err(RunError::Timeout { program, host: host.into(), after: timeout });
    };
    let (output, more) = ended.map_err(io)?;
    if output.status == NO_DIRECTORY && output.stderr.contains(NO_DIRECTORY_MARK) {
        return Err(RunError::NoDirectory { directory, host: host.into() });
    }
    if more {
        return Err(RunError::TooMuch { program, host: host.into(), limit });
    }
    Ok(output)
}

async fn collect(
    child: &mut Child,
    bytes: Vec<u8>,
    watched: bool,
    limit: usize,
) -> std::io::Result<(Output, bool)> {
    let missing = || std::io::Error::other("a pipe is missing");
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let outputs =
        async { tokio::try_join!(read_first(stdout, limit), read_last(stderr, limit.min(64 << 10))) };
    // The feeder ends when the command has read all it wanted; the command ends when its outputs do.
    let feeder = feed(stdin, bytes, watched);
    tokio::pin!(feeder, outputs);
    let mut fed = false;
    let ((stdout, more), stderr) = loop {
        tokio::select! {
            outputs = &mut outputs => break outputs?,
            () = &mut feeder, if !fed => fed = true,
        }
    };
    let status = code(child.wait().await?);
    Ok((Output { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }, more))
}
