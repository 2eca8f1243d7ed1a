//! What a target's machines did: read from where it is kept.
//!
//! It is taken in as it comes, row by row, and no more of it than a host can have kept: whoever answers there is not this
//! machine, and must not fill its memory.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_compose::engine::{SAMPLER, Streams};
use bowline_core::capacity::picture::Deployment;
use bowline_core::capacity::series::Series;
use bowline_measurement::frame::Decoder;
use bowline_measurement::rollup::Step;
use flate2::write::GzDecoder;
use tokio::io::AsyncWrite;

use crate::error::{Failure, Outcome};
use crate::operation::history::Entry;
use crate::operation::host::Host;

/// How much a program that complains may say, in bytes.
const COMPLAINT: usize = 2_000;
/// The most that is read of what was measured, as it comes and unpacked. A year of 13 containers is 16 MB in all three
/// lengths of rows together, and a window has rows of one: this is a fortnight of some 500 containers by the minute.
const LARGEST: Bounds = Bounds { packed: 256 << 20, plain: 512 << 20 };

/// The most that is read, in bytes.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    packed: u64,
    plain: u64,
}

/// A window, in milliseconds since 1970, and how fine it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Its beginning.
    pub since: i64,
    /// Its end; none: now.
    pub until: Option<i64>,
    /// The length of a row.
    pub step: Step,
}

/// Asks the program that measures a host.
///
/// # Errors
/// Kind `Failed`: it does not run there. Otherwise when the host does not answer.
pub async fn of_host(host: &Host, asked: Asked) -> Outcome<Series> {
    let looking = || format!("reading what was measured on {}", host.target);
    let sampler = host.engine.sampler().await.map_err(|error| host.failure("looking at", &error))?;
    let Some(sampler) = sampler.filter(|there| there.running && there.fingerprint.is_some()) else {
        return Err(Failure::failed(looking())
            .since("nothing measures it")
            .hint(format!("bowline capacity start {}", host.target)));
    };
    let mut command = vec!["/bowline-gate".to_owned(), "export".to_owned(), "--gzip".to_owned()];
    command.extend(["--since".to_owned(), asked.since.to_string()]);
    command.extend(["--step".to_owned(), asked.step.to_string()]);
    if let Some(until) = asked.until {
        command.extend(["--until".to_owned(), until.to_string()]);
    }
    let (mut intake, mut err) = (Intake::new(LARGEST), Complaint::default());
    let streams =
        Streams { stdin: None::<tokio::io::Empty>, stdout: &mut intake, stderr: &mut err, terminal: None };
    let code = host.engine.exec(&sampler.id, &command, streams).await;
    if let Some(fault) = intake.fault.take() {
        let failure = Failure::failed(looking()).since(fault.to_string());
        return Err(match fault.kind() {
            io::ErrorKind::FileTooLarge => failure.hint("look at a shorter window: --since 24h"),
            _ => failure,
        });
    }
    let code = code.map_err(|error| host.failure("reading what was measured on", &error))?;
    if code != 0 {
        let complaint = String::from_utf8_lossy(&err.0).trim().to_owned();
        return Err(Failure::failed(looking())
            .since(complaint)
            .hint(format!("docker logs {SAMPLER}, there")));
    }
    intake.finish().map_err(|error| Failure::failed(looking()).since(error.to_string()))
}

/// Takes in rows as they are exported, compressed, in pieces of any size.
struct Intake {
    inflate: GzDecoder<Rows>,
    /// So many bytes may still come.
    left: u64,
    /// Of so many at most.
    bound: u64,
    /// Why it takes no more.
    fault: Option<io::Error>,
}

/// The rows that were read so far.
#[derive(Default)]
struct Rows {
    decoder: Decoder,
    series: Series,
    /// So many bytes may still come.
    left: u64,
    /// Of so many at most.
    bound: u64,
}

impl Intake {
    fn new(bounds: Bounds) -> Self {
        let rows = Rows { left: bounds.plain, bound: bounds.plain, ..Rows::default() };
        Self { inflate: GzDecoder::new(rows), left: bounds.packed, bound: bounds.packed, fault: None }
    }

    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        self.left = bounded(self.left, piece.len(), self.bound, "")?;
        self.inflate.write_all(piece)
    }

    /// All that was read, once everything came.
    fn finish(self) -> io::Result<Series> {
        let series = self.inflate.finish()?.series;
        if series.complete { Ok(series) } else { Err(io::Error::other("it broke off in the middle")) }
    }
}

/// What is left of a bound after so many bytes more.
fn bounded(left: u64, more: usize, bound: u64, how: &str) -> io::Result<u64> {
    left.checked_sub(more as u64).ok_or_else(|| {
        let text = format!("there is more than {} MiB of it{how}, and no more is read", bound >> 20);
        io::Error::new(io::ErrorKind::FileTooLarge, text)
    })
}

impl Write for Rows {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.left = bounded(self.left, piece.len(), self.bound, ", unpacked")?;
        self.decoder.feed(piece);
        self.series.drain(&mut self.decoder).map_err(io::Error::other)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncWrite for Intake {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(match self.take(piece) {
            Ok(()) => Ok(piece.len()),
            Err(error) => {
                let kind = error.kind();
                self.fault = Some(error);
                Err(kind.into())
            }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The beginning of what a program complains about; the rest is let go.
#[derive(Default)]
struct Complaint(Vec<u8>);

impl AsyncWrite for Complaint {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        let room = COMPLAINT.saturating_sub(self.0.len());
        self.0.extend(piece.iter().take(room));
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// To which service of a project a container belongs, by the name under which it was measured.
pub fn service_of<'p>(project: &'p str) -> impl Fn(&str) -> Option<String> + 'p {
    move |container| {
        let mut parts = container.split('/');
        let service = (parts.next() == Some(project)).then(|| parts.next()).flatten()?;
        Some(service.to_owned())
    }
}

/// What was deployed to a target, for the axis of time.
pub fn deployments(history: &[Entry]) -> Vec<Deployment> {
    let deployment = |entry: &Entry| match entry {
        Entry::Revision { release: Some(release), at, .. } => {
            Some(Deployment { at: at.as_millisecond() as f64 / 1000.0, release: release.clone() })
        }
        _ => None,
    };
    history.iter().rev().filter_map(deployment).collect()
}

#[cfg(test)]
mod tests {
    use bowline_measurement::frame::{Record, encode};
    use bowline_measurement::interval::{Interval, Machine};
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn exported(rows: i64, end: bool) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for number in 0..rows {
            let containers = [("chat/user/1".to_owned(), Default::default())].into();
            let machine = Machine::default();
            let row = Interval { from: number, to: number + 1, seen: 1, samples: 1, machine, containers };
            packed.write_all(&encode(&Record::Row(row)).unwrap()).unwrap();
        }
        if end {
            packed.write_all(&encode(&Record::End).unwrap()).unwrap();
        }
        packed.finish().unwrap()
    }

    /// Reads it in pieces of this size.
    async fn read(bytes: &[u8], piece: usize, bounds: Bounds) -> Result<usize, String> {
        let mut intake = Intake::new(bounds);
        for piece in bytes.chunks(piece) {
            if intake.write_all(piece).await.is_err() {
                return Err(intake.fault.unwrap().to_string());
            }
        }
        intake.finish().map(|series| series.rows.len()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn rows_are_read_whatever_the_pieces_and_no_more_than_may_be() {
        let bytes = exported(10_000, true);
        for piece in [1, 999, 1 << 20] {
            assert_eq!(read(&bytes, piece, LARGEST).await, Ok(10_000));
        }
        let packed = Bounds { packed: bytes.len() as u64 - 1, ..LARGEST };
        assert!(read(&bytes, 999, packed).await.unwrap_err().contains("and no more is read"));
        // What unpacks to more than may be is found out before it is all unpacked.
        let plain = Bounds { plain: 64 << 10, ..LARGEST };
        assert!(read(&bytes, 999, plain).await.unwrap_err().contains("MiB of it, unpacked"));
        assert_eq!(
            read(&exported(3, false), 999, LARGEST).await,
            Err("it broke off in the middle".to_owned())
        );
        assert!(read(&bytes[..bytes.len() / 2], 999, LARGEST).await.is_err());
        assert!(read(b"no archive at all", 999, LARGEST).await.is_err());
    }

    #[test]
    fn what_runs_beside_a_service_is_not_taken_for_it() {
        let service = service_of("chat");
        assert_eq!(service("chat/user/1"), Some("user".to_owned()));
        for other in ["chat-user-run-1f2e3d", "chat", "shop/user/1"] {
            assert_eq!(service(other), None, "{other}");
        }
    }
}
