//! Commands in containers that run already, over a WebSocket.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy};
use tokio::sync::watch;

use crate::cluster::{Cluster, ORDINARY};
use crate::error::KubeError;

/// How much of each stream is under way at once.
const BUFFER: usize = 64 << 10;

/// Where a command is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Its container; none where it has only one.
    pub container: Option<String>,
}

/// What a command is connected with.
pub struct Streams<I, O, E> {
    /// What it reads; none: nothing.
    pub stdin: Option<I>,
    /// Where its output goes.
    pub stdout: O,
    /// Where its other output goes; with a terminal, all goes to `stdout`.
    pub stderr: E,
    /// Columns and rows of the terminal that it gets; none: it gets no terminal.
    pub terminal: Option<watch::Receiver<(u16, u16)>>,
}

impl Cluster {
    /// Runs a command to its end, connected with these streams, and gives its exit code. With a terminal, input and
    /// output are raw: whoever calls puts the own terminal into that mode, and back. Servers older than 1.30 cannot tell the
    /// command that its input has ended: one that waits for that goes on.
    ///
    /// # Errors
    /// When it cannot be started, or the connection breaks.
    pub async fn exec<I, O, E>(
        &self,
        place: &Place,
        command: &[String],
        streams: Streams<I, O, E>,
    ) -> Result<i32, KubeError>
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
        E: AsyncWrite + Unpin,
    {
        let what = what(place);
        let tty = streams.terminal.is_some();
        let params = AttachParams {
            container: place.container.clone(),
            stdin: streams.stdin.is_some(),
            stdout: true,
            // A terminal has one output, and the API refuses to be asked for two.
            stderr: !tty,
            tty,
            max_stdin_buf_size: Some(BUFFER),
            max_stdout_buf_size: Some(BUFFER),
            max_stderr_buf_size: Some(BUFFER),
        };
        let ends = match streams.stdin {
            Some(_) => self.version().await?.ends_single_streams(),
            None => true,
        };
        let pods: Api<Pod> = Api::namespaced(self.client().clone(), &place.namespace);
        let starting = pods.exec(&place.pod, command, &params);
        let mut process = self.ask(&what, ORDINARY, starting).await?;
        let status = process.take_status();
        carry(&mut process, streams, ends).await.map_err(|error| KubeError::Unexpected {
            what: what.clone(),
            message: format!("its output cannot be passed on: {error}"),
        })?;
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        match status {
            Some(status) => exit_code(&status).map_err(|message| KubeError::Unexpected { what, message }),
            None => Err(match process.join().await {
                Err(error) => KubeError::unanswered(&what, self.server(), &error),
                Ok(()) => KubeError::Unreachable {
                    what,
                    server: self.server().to_owned(),
                    reason: "the connection ended before the command".into(),
                },
            }),
        }
    }
}

fn what(place: &Place) -> String {
    format!("run a command in {}/{}", place.namespace, place.pod)
}

/// Carries bytes both ways until the command's outputs have ended. `ends`: whether the input's end can be told; else it
/// would end the connection, and all that is still to come with it.
async fn carry<I, O, E>(
    process: &mut AttachedProcess,
    streams: Streams<I, O, E>,
    ends: bool,
) -> std::io::Result<()>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    let Streams { stdin, mut stdout, mut stderr, terminal } = streams;
    let (to_stdin, from_stdout, from_stderr) = (process.stdin(), process.stdout(), process.stderr());
    let sizes = process.terminal_size();
    let outputs = async {
        let out = async {
            if let Some(mut from) = from_stdout {
                copy(&mut from, &mut stdout).await?;
            }
            stdout.flush().await
        };
        let err = async {
            if let Some(mut from) = from_stderr {
                copy(&mut from, &mut stderr).await?;
            }
            stderr.flush().await
        };
        tokio::try_join!(out, err).map(drop)
    };
    // The other way may end early (it reads no more, its input has an end): that ends nothing.
    let input = async {
        // Kept to the end: where it is dropped the input ends, too.
        let mut to = to_stdin;
        if let (Some(mut from), Some(to)) = (stdin, &mut to) {
            let _ = copy(&mut from, to).await;
            if ends {
                let _ = to.shutdown().await;
            }
        }
        std::future::pending::<()>().await;
    };
    let resizing = async {
        if let (Some(mut terminal), Some(mut sizes)) = (terminal, sizes) {
            loop {
                let (width, height) = *terminal.borrow_and_update();
                // One that is lost is followed by the next: only the last size matters.
                let _ = sizes.try_send(TerminalSize { width, height });
                if terminal.changed().await.is_err() {
                    break;
                }
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = outputs => result,
        () = input => Ok(()),
        () = resizing => Ok(()),
    }
}

/// The exit code that a status tells; an error where the command was not run.
fn exit_code(status: &Status) -> Result<i32, String> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let code = causes.into_iter().flatten().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    code.and_then(|cause| cause.message.as_ref()?.parse().ok())
        .ok_or_else(|| crate::error::clean(status.message.as_deref().unwrap_or("it was not run")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_tells_the_exit_code_or_why_there_is_none() {
        let causes = json!([{"reason": "ExitCode", "message": "7"}]);
        for (status, expected) in [
            (json!({"status": "Success"}), Ok(0)),
            (json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}), Ok(7)),
            (
                json!({"status": "Failure", "message": "exec: no\nsuch file"}),
                Err("exec: no such file".to_owned()),
            ),
            (json!({"status": "Failure"}), Err("it was not run".to_owned())),
        ] {
            let status: Status = serde_json::from_value(status).unwrap();
            assert_eq!(exit_code(&status), expected);
        }
    }
}
