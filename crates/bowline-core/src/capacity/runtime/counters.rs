//! The counters that HotSpot keeps about itself in a file, `/tmp/hsperfdata_USER/PID`: those that `jstat` reads. They are
//! there unless `-XX:-UsePerfData` is given, and need no tool beside the virtual machine.
//!
//! The format is the one of `perfMemory.hpp` and `perfData.hpp` (OpenJDK, `src/hotspot/share/runtime/`), version 2, which has
//! been the same since JDK 5: a prologue of 32 bytes, then entries, each with its name and its value in itself. The file
//! comes out of a container, and may hold anything.

use std::collections::BTreeMap;

/// What every file begins with, whatever the order of its other bytes.
const MAGIC: [u8; 4] = [0xca, 0xfe, 0xc0, 0xc0];
/// The version whose entries are understood.
const VERSION: u8 = 2;
const PROLOGUE: usize = 32;
/// The fixed part of an entry, before its name.
const ENTRY: usize = 20;
/// The largest file that is read. By default they are 32 KiB (`PerfDataMemorySize`), and what does not fit is left out there.
pub const LARGEST: usize = 1 << 20;

/// Why bytes are no counters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CountersError {
    /// It begins with something else.
    #[error("these are no counters of a Java virtual machine: they do not begin as such do")]
    Foreign,
    /// A version that did not exist when this was written.
    #[error("the counters have format version {0}, and only version {VERSION} is known: update Bowline")]
    Version(u8),
    /// The virtual machine is just starting.
    #[error("the virtual machine has not written its counters yet: look again in a second")]
    NotReady,
    /// Larger than any that makes sense.
    #[error("the counters take {0} bytes, and {LARGEST} are read at most: lower -XX:PerfDataMemorySize")]
    TooLarge(usize),
    /// It ends before what it says it holds.
    #[error("the counters are cut off or damaged at byte {0}: look again, and see whether the file is whole")]
    Damaged(usize),
}

/// Counters by their names, such as `sun.gc.collector.0.invocations`. Some hold command lines, which may hold secrets: they
/// are not to be shown as a whole.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Counters {
    numbers: BTreeMap<String, i64>,
    texts: BTreeMap<String, String>,
}

impl Counters {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is none of a virtual machine, or not whole.
    pub fn read(bytes: &[u8]) -> Result<Self, CountersError> {
        if bytes.len() > LARGEST {
            return Err(CountersError::TooLarge(bytes.len()));
        }
        if bytes.get(..4) != Some(&MAGIC[..]) {
            return Err(CountersError::Foreign);
        }
        let byte = |at: usize| bytes.get(at).copied().ok_or(CountersError::Damaged(at));
        let file = File { bytes, little: byte(4)? != 0 };
        match (byte(5)?, byte(7)?) {
            (VERSION, 0) => return Err(CountersError::NotReady),
            (VERSION, _) => {}
            (other, _) => return Err(CountersError::Version(other)),
        }
        // How much is used is said before how many entries there are, and written at other times: the file's end counts.
        let (first, count) = (file.size(24)?, file.size(28)?);
        if first < PROLOGUE || count > bytes.len() / ENTRY {
            return Err(CountersError::Damaged(24));
        }
        let mut counters = Self::default();
        let mut at = first;
        for _ in 0..count {
            let length = file.size(at)?;
            let end = at.checked_add(length).filter(|end| length >= ENTRY && *end <= bytes.len());
            let end = end.ok_or(CountersError::Damaged(at))?;
            counters.take(&file, at, end)?;
            at = end;
        }
        Ok(counters)
    }

    /// A number; none where there is no such counter, or it is less than nothing.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.numbers.get(name).and_then(|number| u64::try_from(*number).ok())
    }

    /// A text, without what controls a terminal.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// How many counters there are.
    pub fn count(&self) -> usize {
        self.numbers.len() + self.texts.len()
    }

    /// Takes the entry between two offsets. Kinds of values that no virtual machine writes today are left out.
    fn take(&mut self, file: &File<'_>, at: usize, end: usize) -> Result<(), CountersError> {
        let damaged = || CountersError::Damaged(at);
        // Offsets within an entry count from where it begins.
        let from = |offset: usize| Some(at.checked_add(offset)?).filter(|start| *start <= end);
        let name = from(file.size(at + 4)?).and_then(|start| file.text(start, end)).ok_or_else(damaged)?;
        let (length, kind) = (file.size(at + 8)?, file.bytes.get(at + 12).copied().ok_or_else(damaged)?);
        let value = from(file.size(at + 16)?).ok_or_else(damaged)?;
        match (kind, length) {
            (b'J', 0) => {
                let number = file.array::<8>(value).filter(|_| value + 8 <= end).ok_or_else(damaged)?;
                let number =
                    if file.little { i64::from_le_bytes(number) } else { i64::from_be_bytes(number) };
                self.numbers.insert(name, number);
            }
            (b'B', 1..) => {
                let limit = value.checked_add(length).filter(|limit| *limit <= end).ok_or_else(damaged)?;
                let text = file.text(value, limit).ok_or_else(damaged)?;
                self.texts.insert(name, text);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Bytes in the order of the machine that wrote them.
struct File<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl File<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk::<N>().copied()
    }

    /// A number of 32 bits that says how much, or where.
    fn size(&self, at: usize) -> Result<usize, CountersError> {
        let bytes = self.array::<4>(at).ok_or(CountersError::Damaged(at))?;
        let number = if self.little { i32::from_le_bytes(bytes) } else { i32::from_be_bytes(bytes) };
        usize::try_from(number).map_err(|_| CountersError::Damaged(at))
    }

    /// A text that ends with a zero, or where it has to.
    fn text(&self, start: usize, end: usize) -> Option<String> {
        let bytes = self.bytes.get(start..end)?;
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect())
    }
}
