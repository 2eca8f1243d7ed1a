//! What containers write.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::{Engine, EngineError, FOREVER, ORDINARY, short};

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line that a container wrote, as it is: nothing is escaped yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which output.
    pub stream: Stream,
    /// The engine's time of it, RFC 3339.
    pub time: String,
    /// The text without its end of line, at most 16 KiB.
    pub text: String,
}

const LONGEST: usize = 16 << 10;

fn options(lines: usize, follow: bool) -> Option<LogsOptions> {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true);
    Some(options.follow(follow).tail(&lines.to_string()).build())
}

impl Engine {
    /// The last lines of a container, at most `lines`.
    pub async fn log_tail(&self, container: &str, lines: usize) -> Result<Vec<Line>, EngineError> {
        let what = format!("read the log of {}", short(container));
        let mut output = self.docker.logs(container, options(lines, false));
        let read = async {
            let mut kept = VecDeque::new();
            let mut splitter = Splitter::default();
            while let Some(chunk) = output.next().await.transpose()? {
                splitter.push(chunk, |line| kept.push_back(line));
                while kept.len() > lines {
                    kept.pop_front();
                }
            }
            splitter.finish(|line| kept.push_back(line));
            Ok(kept.into_iter().collect())
        };
        self.ask(&what, ORDINARY, read).await
    }

    /// Follows a container's log: its last `lines`, then what comes, until the container ends, the receiver is
    /// dropped or the connection breaks (the last item is then an error).
    pub fn log_follow(&self, container: &str, lines: usize) -> mpsc::Receiver<Result<Line, EngineError>> {
        let (tell, follower) = mpsc::channel(256);
        let engine = self.clone();
        let container = container.to_owned();
        tokio::spawn(async move {
            tokio::select! {
                () = engine.follow(&container, lines, &tell) => {}
                () = tell.closed() => {}
            }
        });
        follower
    }

    async fn follow(&self, container: &str, lines: usize, tell: &mpsc::Sender<Result<Line, EngineError>>) {
        let what = format!("follow the log of {}", short(container));
        let mut output = self.docker.logs(container, options(lines, true));
        let mut splitter = Splitter::default();
        loop {
            let mut found = Vec::new();
            let next = async { output.next().await.transpose() };
            let chunk = match self.ask(&what, FOREVER, next).await {
                Ok(chunk) => chunk,
                Err(error) => {
                    let _ = tell.send(Err(error)).await;
                    return;
                }
            };
            let ended = chunk.is_none();
            match chunk {
                Some(chunk) => splitter.push(chunk, |line| found.push(line)),
                None => splitter.finish(|line| found.push(line)),
            }
            for line in found {
                if tell.send(Ok(line)).await.is_err() {
                    return;
                }
            }
            if ended {
                return;
            }
        }
    }
}

/// Puts chunks together to lines, each output for itself.
#[derive(Default)]
struct Splitter {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Splitter {
    fn push(&mut self, chunk: LogOutput, mut each: impl FnMut(Line)) {
        let (stream, buffer) = match chunk {
            LogOutput::StdErr { .. } => (Stream::Stderr, &mut self.err),
            _ => (Stream::Stdout, &mut self.out),
        };
        for byte in chunk.into_bytes() {
            if byte == b'\n' {
                each(line(stream, buffer));
                buffer.clear();
            } else if buffer.len() < LONGEST {
                buffer.push(byte);
            }
        }
    }

    fn finish(&mut self, mut each: impl FnMut(Line)) {
        for (stream, buffer) in [(Stream::Stdout, &mut self.out), (Stream::Stderr, &mut self.err)] {
            if !buffer.is_empty() {
                each(line(stream, buffer));
                buffer.clear();
            }
        }
    }
}

fn line(stream: Stream, bytes: &[u8]) -> Line {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    let (time, text) = text.split_once(' ').unwrap_or((text, ""));
    Line { stream, time: time.into(), text: text.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn chunks_become_lines() {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for (err, text) in [(false, "t1 he"), (true, "t2 oh\n"), (false, "llo\r\nt3 "), (false, "end")] {
            let message = text.as_bytes().to_vec().into();
            let chunk = if err { LogOutput::StdErr { message } } else { LogOutput::StdOut { message } };
            splitter.push(chunk, |line| lines.push(line));
        }
        splitter.finish(|line| lines.push(line));
        let texts: Vec<_> = lines.iter().map(|line| (line.time.as_str(), line.text.as_str())).collect();
        assert_eq!(texts, [("t2", "oh"), ("t1", "hello"), ("t3", "end")]);
        assert_eq!(lines[0].stream, Stream::Stderr);
    }
}
