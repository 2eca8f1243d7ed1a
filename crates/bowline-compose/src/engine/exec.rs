//! Commands in containers that run already.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy};
use tokio::sync::watch;

use super::{Engine, EngineError, FOREVER, ORDINARY, short};

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

impl Engine {
    /// Runs a command in a container to its end, connected with these streams, and gives its exit code: 126 or 127
    /// where it cannot be run. With a terminal, input and output are raw: whoever calls puts the own terminal into that
    /// mode, and back.
    ///
    /// # Errors
    /// When it cannot be started, its output cannot be passed on, or the connection breaks.
    pub async fn exec<I, O, E>(
        &self,
        container: &str,
        command: &[String],
        streams: Streams<I, O, E>,
    ) -> Result<i64, EngineError>
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
        E: AsyncWrite + Unpin,
    {
        let what = format!("run a command in container {}", short(container));
        let tty = streams.terminal.is_some();
        let config = ExecConfig {
            attach_stdin: Some(streams.stdin.is_some()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(tty),
            cmd: Some(command.to_vec()),
            ..ExecConfig::default()
        };
        let id = self.ask(&what, ORDINARY, self.docker.create_exec(container, config)).await?.id;
        let options = StartExecOptions { detach: false, tty, output_capacity: None };
        let started = self.ask(&what, ORDINARY, self.docker.start_exec(&id, Some(options))).await?;
        let StartExecResults::Attached { output, input } = started else {
            return Err(EngineError::Unexpected {
                what,
                message: "the engine does not pass its output on".into(),
            });
        };
        let carried = self.ask(&what, FOREVER, self.carry(&id, output, input, streams)).await?;
        carried.map_err(|error| EngineError::Unexpected {
            what: what.clone(),
            message: format!("its output cannot be passed on: {error}"),
        })?;
        self.exit_code(&id, &what).await
    }

    /// Carries bytes both ways until the command's outputs have ended; the inner error is that of whoever takes them.
    async fn carry<I, O, E>(
        &self,
        id: &str,
        mut output: impl futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin,
        mut input: impl AsyncWrite + Unpin,
        streams: Streams<I, O, E>,
    ) -> Result<std::io::Result<()>, bollard::errors::Error>
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
        E: AsyncWrite + Unpin,
    {
        let Streams { stdin, mut stdout, mut stderr, terminal } = streams;
        let outputs = async {
            while let Some(chunk) = output.next().await.transpose()? {
                let written = match chunk {
                    LogOutput::StdErr { message } => write(&mut stderr, &message).await,
                    LogOutput::StdOut { message } | LogOutput::Console { message } => {
                        write(&mut stdout, &message).await
                    }
                    LogOutput::StdIn { .. } => Ok(()),
                };
                if written.is_err() {
                    return Ok(written);
                }
            }
            Ok(Ok(()))
        };
        // The other way may end early (it reads no more, its input has an end): that ends nothing.
        let feeding = async {
            if let Some(mut from) = stdin {
                let _ = copy(&mut from, &mut input).await;
                let _ = input.shutdown().await;
            }
            std::future::pending::<()>().await;
        };
        let resizing = async {
            if let Some(mut terminal) = terminal {
                loop {
                    let (width, height) = *terminal.borrow_and_update();
                    // One that is lost is followed by the next: only the last size matters.
                    let _ = self.docker.resize_exec(id, ResizeExecOptions { height, width }).await;
                    if terminal.changed().await.is_err() {
                        break;
                    }
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = outputs => result,
            () = feeding => Ok(Ok(())),
            () = resizing => Ok(Ok(())),
        }
    }

    /// How a command ended. Its output may end a moment before the engine knows that.
    async fn exit_code(&self, id: &str, what: &str) -> Result<i64, EngineError> {
        for _ in 0..50 {
            let found = self.ask(what, ORDINARY, self.docker.inspect_exec(id)).await?;
            if let (Some(code), Some(false) | None) = (found.exit_code, found.running) {
                return Ok(code);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(EngineError::Unexpected { what: what.into(), message: "its output ended, and it goes on".into() })
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}
