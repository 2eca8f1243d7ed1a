//! How what was measured is kept in files and sent over streams: one frame after the other.
//!
//! A frame is the length of its payload (4 bytes, little-endian), a CRC-32 of these 4 bytes and the payload (4 bytes,
//! little-endian), and the payload: one byte that says by which version of this format it was written, and the record as
//! `postcard` encodes it. Postcard names no fields. Whoever changes [`Interval`] or [`Facts`] therefore raises
//! [`VERSION`], keeps what the old version was as a type of its own here, and converts: stores live for a year.

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::interval::Interval;

/// The version that is written.
pub const VERSION: u8 = 1;

/// Before the payload: its length and the checksum.
const HEAD: usize = 8;
/// A longer payload is damage: a row of a thousand containers has 80 KB.
const LIMIT: usize = 4 << 20;
/// What was taken in is moved to the front once so much before it was read.
const SLACK: usize = 64 << 10;

/// What a frame holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// What machine the rows are of.
    Facts(Facts),
    /// A row.
    Row(Interval),
    /// The end of a stream: without it, the stream broke off.
    End,
}

/// Why a frame cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Length, checksum or record are not what they must be.
    #[error("what was measured is damaged after {at} bytes; what comes before is whole")]
    Damaged {
        /// So many bytes before it are good.
        at: u64,
    },
    /// Written by a later Bowline.
    #[error(
        "what was measured is written in version {version} of the format, and this Bowline reads up to {VERSION}: use a newer one"
    )]
    Newer {
        /// Its version.
        version: u8,
    },
    /// A record that no frame holds.
    #[error("a record cannot be encoded: {0}")]
    Unwritable(String),
}

/// Makes a frame of a record.
///
/// # Errors
/// When it is longer than a frame may be.
pub fn encode(record: &Record) -> Result<Vec<u8>, FrameError> {
    let unwritable = |error: postcard::Error| FrameError::Unwritable(error.to_string());
    let mut frame = vec![0; HEAD];
    frame.push(VERSION);
    let mut frame = postcard::to_extend(record, frame).map_err(unwritable)?;
    let length = frame.len().saturating_sub(HEAD);
    let Some(written) = u32::try_from(length).ok().filter(|_| length <= LIMIT) else {
        return Err(FrameError::Unwritable(format!("it has {length} bytes, and {LIMIT} is the most")));
    };
    if let Some((head, payload)) = frame.split_at_mut_checked(HEAD) {
        let checksum = sum(written, payload).to_le_bytes();
        head.copy_from_slice(&[written.to_le_bytes(), checksum].concat());
    }
    Ok(frame)
}

/// The length counts as well, or a tail of zeros would be frames without content.
fn sum(length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// Reads frames from bytes that come in pieces of any size.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// So much of them was read.
    read: usize,
    /// Bytes of all whole frames so far.
    good: u64,
}

impl Decoder {
    /// Takes in the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.read > SLACK {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(piece);
    }

    /// The next record, or nothing before the next piece.
    ///
    /// # Errors
    /// When the bytes are damaged, or of a later Bowline; every further call gives the same.
    pub fn next_record(&mut self) -> Result<Option<Record>, FrameError> {
        let damaged = FrameError::Damaged { at: self.good };
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, d, checksum @ ..] = *head;
        let written = u32::from_le_bytes([a, b, c, d]);
        let length = usize::try_from(written).unwrap_or(usize::MAX);
        if length == 0 || length > LIMIT {
            return Err(damaged);
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        if sum(written, payload) != u32::from_le_bytes(checksum) {
            return Err(damaged);
        }
        let record = match payload.split_first() {
            Some((&VERSION, record)) => postcard::from_bytes(record).map_err(|_| damaged)?,
            Some((&version, _)) if version > VERSION => return Err(FrameError::Newer { version }),
            _ => return Err(damaged),
        };
        self.read = self.read.saturating_add(HEAD).saturating_add(length);
        self.good = self.good.saturating_add((HEAD as u64).saturating_add(u64::from(written)));
        Ok(Some(record))
    }

    /// So many bytes were whole frames. What is left after the last piece is a tail that was torn off.
    pub fn good(&self) -> u64 {
        self.good
    }

    /// Whether nothing is left over.
    pub fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interval::{CpuTime, Flow, Machine, Pressure, Usage};

    fn facts() -> Facts {
        Facts { host: "h".into(), cores: 2, instance: Some("t2.micro".into()), ..Facts::default() }
    }

    fn interval() -> Interval {
        let cpu = CpuTime { user: 1, system: 2, idle: 300, wait: 4, steal: 5 };
        let pressure = Pressure { cpu: 6, memory: 7, memory_full: 8, io: 9, io_full: 10 };
        let flow = Flow { inward: 11, outward: 12 };
        let machine = Machine {
            cores: 2,
            cpu,
            cpu_peak: 13,
            memory: 14,
            memory_available: 15,
            swap: 16,
            pressure,
            load: 17,
            disk: 18,
            disk_free: 19,
            io: flow,
            network: flow,
        };
        let usage = Usage {
            seen: 20,
            cpu: 21,
            cpu_peak: 22,
            throttled: 23,
            memory: 24,
            memory_last: 25,
            memory_peak: 26,
            memory_limit: 27,
            oom_kills: 28,
            restarts: 29,
            age: 30,
            network: flow,
            io: flow,
        };
        let containers = [("chat/user/1".to_owned(), usage)].into();
        Interval { from: -1, seen: 2, to: 3, samples: 4, machine, containers }
    }

    fn read(bytes: &[u8], piece: usize) -> (Vec<Record>, u64, Option<FrameError>) {
        let (mut decoder, mut records) = (Decoder::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            decoder.feed(piece);
            loop {
                match decoder.next_record() {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => break,
                    Err(error) => return (records, decoder.good(), Some(error)),
                }
            }
        }
        (records, decoder.good(), None)
    }

    #[test]
    fn records_come_back_whatever_the_pieces() {
        let records = vec![Record::Facts(facts()), Record::Row(interval()), Record::End];
        let bytes: Vec<u8> = records.iter().flat_map(|record| encode(record).unwrap()).collect();
        for piece in [1, 7, 64, 1 << 20] {
            assert_eq!(read(&bytes, piece), (records.clone(), bytes.len() as u64, None));
        }
    }

    #[test]
    fn a_torn_tail_is_no_record_and_no_error_and_damage_is_one() {
        let row = encode(&Record::Row(interval())).unwrap();
        let two = [row.clone(), row.clone()].concat();
        for end in row.len()..two.len() {
            let (records, good, error) = read(&two[..end], 16);
            assert_eq!((records.len(), good, error), (1, row.len() as u64, None));
        }
        for at in row.len() + 8..two.len() {
            let mut damaged = two.clone();
            damaged[at] ^= 0x10;
            let (records, good, error) = read(&damaged, 1 << 20);
            assert_eq!(
                (records.len(), good, error),
                (1, row.len() as u64, Some(FrameError::Damaged { at: row.len() as u64 }))
            );
        }
        // What some file systems leave after a power cut.
        let zeros = [row.clone(), vec![0; 4096]].concat();
        assert_eq!(read(&zeros, 4096).2, Some(FrameError::Damaged { at: row.len() as u64 }));
    }

    #[test]
    fn a_later_version_is_named() {
        let mut frame = encode(&Record::End).unwrap();
        frame[HEAD] = 9;
        let length = u32::try_from(frame.len() - HEAD).unwrap();
        let checksum = sum(length, &frame[HEAD..]).to_le_bytes();
        frame[4..HEAD].copy_from_slice(&checksum);
        assert_eq!(read(&frame, 99).2, Some(FrameError::Newer { version: 9 }));
    }

    /// Who sees this fail has changed what version 1 means: see the top of this file.
    #[test]
    fn version_1_stays_what_it_is() {
        let hex = |record: &Record| -> String {
            encode(record).unwrap()[HEAD..].iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(hex(&Record::Facts(facts())), "010001680200010874322e6d6963726f000000");
        assert_eq!(
            hex(&Record::Row(interval())),
            "0101010206040201 02ac0204050d0e0f10060708090a1112130b0c0b0c01 0b636861742f757365722f31 \
             1415161718191a1b1c1d1e0b0c0b0c"
                .replace(' ', "")
        );
        assert_eq!(hex(&Record::End), "0102");
    }
}
