//! ELF executables (System V ABI, "Object Files"): static or dynamic, and for which processor.

use super::{Artifact, Linkage, Unknown};
use crate::image::Platform;

const PROGRAM_DYNAMIC: u32 = 2;
const PROGRAM_INTERPRETER: u32 = 3;
const TAG_FLAGS_1: u64 = 0x6fff_fffb;
const FLAG_1_PIE: u64 = 0x0800_0000;
/// More program headers than any linker writes.
const MOST_HEADERS: u16 = 256;
/// A loader's path and a dynamic section are both far shorter.
const MOST_BYTES: u64 = 64 * 1024;

/// Whether a file that begins like this is ELF.
pub fn is_elf(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF")
}

/// Recognises an executable. `read` gives `length` bytes at `offset` of the file, or fewer at its end.
///
/// The C library's version is left open; see [`newest_glibc`].
///
/// # Errors
/// When it is ELF but nothing that runs by itself on Linux.
pub fn recognise(read: impl Fn(u64, u64) -> Vec<u8>) -> Result<Artifact, Unknown> {
    let header = Fields::new(read(0, 64))?;
    let kind = header.number(16, 2)?;
    let platform = platform(header.number(18, 2)?, header.wide, header.big)?;
    let programs = programs(&header, &read)?;
    let interpreter = programs.iter().find(|program| program.kind == PROGRAM_INTERPRETER);
    let linkage = match (kind, interpreter) {
        (2 | 3, Some(program)) => loader(&read(program.offset, program.size.min(MOST_BYTES)))?,
        (2, None) => Linkage::Static,
        // A static position-independent program is a shared object without a loader; only a flag tells them apart.
        (3, None) => match programs.iter().find(|program| program.kind == PROGRAM_DYNAMIC) {
            Some(program) if is_program(&header, &read(program.offset, program.size.min(MOST_BYTES))) => {
                Linkage::Static
            }
            _ => return Err(Unknown::NotAProgram("a shared library")),
        },
        (1, _) => return Err(Unknown::NotAProgram("an object file")),
        _ => return Err(Unknown::NotAProgram("a core dump or something unknown")),
    };
    Ok(Artifact::Binary { platform, linkage })
}

/// The newest `GLIBC_2.x` that these bytes of a binary's string tables name.
pub fn newest_glibc(bytes: &[u8]) -> Option<(u32, u32)> {
    const NAME: &[u8] = b"GLIBC_";
    let mut newest = None;
    let mut rest = bytes;
    while let Some(at) = find(rest, NAME) {
        rest = rest.get(at + NAME.len()..).unwrap_or_default();
        let text: String = rest
            .iter()
            .take(8)
            .map(|b| char::from(*b))
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        let mut numbers = text.split('.').map(str::parse::<u32>);
        if let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) {
            newest = newest.max(Some((major, minor)));
        }
    }
    newest
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

struct Program {
    kind: u32,
    offset: u64,
    size: u64,
}

fn programs(header: &Fields, read: impl Fn(u64, u64) -> Vec<u8>) -> Result<Vec<Program>, Unknown> {
    let (offset, size, count) = if header.wide {
        (header.number(32, 8)?, header.number(54, 2)?, header.number(56, 2)?)
    } else {
        (header.number(28, 4)?, header.number(42, 2)?, header.number(44, 2)?)
    };
    if count > u64::from(MOST_HEADERS) {
        return Err(Unknown::Damaged("too many program headers"));
    }
    let table = read(offset, size * count);
    let mut programs = Vec::new();
    for entry in 0..count {
        let start = usize::try_from(entry * size).unwrap_or(usize::MAX);
        let number = |at: usize, length| header.number_in(&table, start.saturating_add(at), length);
        let kind = u32::try_from(number(0, 4)?).unwrap_or(0);
        let (offset, size) =
            if header.wide { (number(8, 8)?, number(32, 8)?) } else { (number(4, 4)?, number(16, 4)?) };
        programs.push(Program { kind, offset, size });
    }
    Ok(programs)
}

fn loader(bytes: &[u8]) -> Result<Linkage, Unknown> {
    let path =
        String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.starts_with("ld-musl-") {
        Ok(Linkage::Musl)
    } else if name.starts_with("ld-linux") || name.starts_with("ld64.so") || name == "ld.so.1" {
        Ok(Linkage::Glibc { at_least: None })
    } else {
        Err(Unknown::Loader(path))
    }
}

fn is_program(header: &Fields, dynamic: &[u8]) -> bool {
    let width = if header.wide { 8 } else { 4 };
    (0..dynamic.len() / (2 * width)).any(|entry| {
        let at = entry * 2 * width;
        header.number_in(dynamic, at, width) == Ok(TAG_FLAGS_1)
            && header.number_in(dynamic, at + width, width).is_ok_and(|flags| flags & FLAG_1_PIE != 0)
    })
}

fn platform(machine: u64, wide: bool, big: bool) -> Result<Platform, Unknown> {
    let architecture = match (machine, wide, big) {
        (62, true, false) => "amd64",
        (3, false, false) => "386",
        (183, true, false) => "arm64",
        (40, false, false) => "arm",
        (243, true, false) => "riscv64",
        (21, true, false) => "ppc64le",
        (22, true, true) => "s390x",
        _ => return Err(Unknown::Machine(u16::try_from(machine).unwrap_or(0))),
    };
    Ok(Platform::linux(architecture))
}

/// Numbers in the byte order that the file declares.
struct Fields {
    bytes: Vec<u8>,
    wide: bool,
    big: bool,
}

impl Fields {
    fn new(bytes: Vec<u8>) -> Result<Self, Unknown> {
        let (wide, big) = match (bytes.get(4), bytes.get(5)) {
            (Some(class @ 1..=2), Some(order @ 1..=2)) => (*class == 2, *order == 2),
            _ => return Err(Unknown::Damaged("no ELF header")),
        };
        Ok(Self { bytes, wide, big })
    }

    fn number(&self, at: usize, length: usize) -> Result<u64, Unknown> {
        self.number_in(&self.bytes, at, length)
    }

    fn number_in(&self, bytes: &[u8], at: usize, length: usize) -> Result<u64, Unknown> {
        let field =
            bytes.get(at..at.saturating_add(length)).ok_or(Unknown::Damaged("it ends inside its headers"))?;
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Ok(if self.big { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minimal 64-bit little-endian file: header, then these program headers with their content behind.
    fn elf(kind: u16, machine: u16, programs: &[(u32, &[u8])]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend(kind.to_le_bytes());
        file.extend(machine.to_le_bytes());
        file.resize(32, 0);
        file.extend(64u64.to_le_bytes());
        file.resize(54, 0);
        file.extend(56u16.to_le_bytes());
        file.extend(u16::try_from(programs.len()).unwrap().to_le_bytes());
        file.resize(64, 0);
        let mut offset = 64 + 56 * programs.len();
        for (kind, content) in programs {
            let mut header = kind.to_le_bytes().to_vec();
            header.resize(8, 0);
            header.extend((offset as u64).to_le_bytes());
            header.resize(32, 0);
            header.extend((content.len() as u64).to_le_bytes());
            header.resize(56, 0);
            file.extend(header);
            offset += content.len();
        }
        programs.iter().for_each(|(_, content)| file.extend(*content));
        file
    }

    fn check(file: &[u8]) -> Result<String, Unknown> {
        recognise(|offset, length| {
            let start = usize::try_from(offset).unwrap().min(file.len());
            let end = (start + usize::try_from(length).unwrap()).min(file.len());
            file[start..end].to_vec()
        })
        .map(|artifact| artifact.describe())
    }

    #[test]
    fn the_program_headers_decide_and_not_the_name() {
        let pie: Vec<u8> = [TAG_FLAGS_1, FLAG_1_PIE].iter().flat_map(|n| n.to_le_bytes()).collect();
        let glibc = b"/lib64/ld-linux-x86-64.so.2\0".as_slice();
        for (file, expected) in [
            (elf(2, 62, &[(1, b"")]), Ok("static binary for linux/amd64")),
            (elf(3, 183, &[(2, &pie)]), Ok("static binary for linux/arm64")),
            (elf(3, 62, &[(2, &pie), (3, glibc)]), Ok("dynamic binary for linux/amd64")),
            (elf(3, 62, &[(3, b"/lib/ld-musl-x86_64.so.1\0")]), Ok("binary for linux/amd64 with musl")),
            (elf(3, 62, &[(2, b"")]), Err(Unknown::NotAProgram("a shared library"))),
            (elf(1, 62, &[]), Err(Unknown::NotAProgram("an object file"))),
            (elf(2, 999, &[]), Err(Unknown::Machine(999))),
            (
                elf(3, 62, &[(3, b"/system/bin/linker64\0")]),
                Err(Unknown::Loader("/system/bin/linker64".into())),
            ),
            (b"\x7fELF".to_vec(), Err(Unknown::Damaged("no ELF header"))),
        ] {
            assert_eq!(check(&file), expected.map(str::to_owned));
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_and_never_a_panic() {
        let whole = elf(3, 62, &[(3, b"/lib64/ld-linux-x86-64.so.2\0")]);
        for length in 0..120 {
            assert!(check(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn the_newest_symbol_version_counts() {
        assert_eq!(newest_glibc(b"GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.4\0GLIBC_PRIVATE\0"), Some((2, 34)));
        assert_eq!(newest_glibc(b"nothing"), None);
    }
}
