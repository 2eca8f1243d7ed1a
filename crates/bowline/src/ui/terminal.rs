//! The terminal itself, for a command elsewhere that takes it over.

use std::io::{Read as _, Write, stdin};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Attempt, Outcome};

/// How much of what is typed may be under way.
const BUFFER: usize = 64 << 10;
/// What a terminal has that does not tell its size.
const USUAL: (u16, u16) = (80, 24);

/// The terminal in raw mode: every key goes to the command, also those that would end this process. Dropped, it is as it
/// was before.
pub struct Raw(Termios);

impl Raw {
    /// Puts the terminal behind stdin into raw mode.
    ///
    /// # Errors
    /// When it is none.
    pub fn enter() -> Outcome<Self> {
        let attempt = || "taking over the terminal".to_owned();
        let before = tcgetattr(stdin()).attempt(attempt)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).attempt(attempt)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// What is typed or piped in. A thread of its own reads it: nobody can stop a read that waits for a key, and the process
/// must be able to end nevertheless.
pub fn read_input() -> DuplexStream {
    let (mut writer, reader) = duplex(BUFFER);
    let runtime = Handle::current();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 8 << 10];
        while let Ok(length @ 1..) = stdin().lock().read(&mut buffer) {
            let read = buffer.get(..length).unwrap_or_default();
            if runtime.block_on(writer.write_all(read)).is_err() {
                break;
            }
        }
    });
    reader
}

/// Columns and rows of the terminal, now and whenever they change.
///
/// # Errors
/// When the system does not tell of changes.
pub fn watch_size() -> Outcome<watch::Receiver<(u16, u16)>> {
    let mut changes =
        signal(SignalKind::window_change()).attempt(|| "watching the terminal's size".into())?;
    let (sender, receiver) = watch::channel(size());
    tokio::spawn(async move {
        while changes.recv().await.is_some() {
            if sender.send(size()).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

fn size() -> (u16, u16) {
    let size = terminal_size::terminal_size();
    size.map_or(USUAL, |(terminal_size::Width(columns), terminal_size::Height(rows))| (columns, rows))
}

/// An output that is written to as it comes.
pub struct Plain<W>(pub W);

impl<W: Write + Unpin> AsyncWrite for Plain<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        // What a prompt says has no end of line: it must be seen nevertheless.
        Poll::Ready(self.0.write(bytes).and_then(|written| self.0.flush().map(|()| written)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(self.0.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.poll_flush(context)
    }
}
