//! Looks into an artifact to see what it is.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bowline_core::artifact::folder::{self, Folder};
use bowline_core::artifact::jar::{Manifest, java_version};
use bowline_core::artifact::{Artifact, Linkage, Unknown, binary};
use zip::ZipArchive;

/// The string tables of a binary lie in its first megabytes.
const STRINGS: u64 = 16 * 1024 * 1024;
/// No manifest, `package.json` or `requirements.txt` is longer.
const TEXT: u64 = 1024 * 1024;

/// Why an artifact was not recognised.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It cannot be read.
    #[error("reading it")]
    Read(#[source] std::io::Error),
    /// It is an archive that cannot be opened.
    #[error("opening it as a zip archive")]
    Archive(#[source] zip::result::ZipError),
    /// It was read, but no image can be made of it without more being said.
    #[error(transparent)]
    Unknown(Unknown),
}

/// Recognises a file or folder by its content.
///
/// # Errors
/// When it cannot be read, or is nothing that a Dockerfile can be made for.
pub fn inspect(path: &Path) -> Result<Artifact, InspectError> {
    if std::fs::metadata(path).map_err(InspectError::Read)?.is_dir() {
        return folder::recognise(&list(path)).map_err(InspectError::Unknown);
    }
    let file = File::open(path).map_err(InspectError::Read)?;
    let head = piece(&file, 0, 4);
    if binary::is_elf(&head) {
        return executable(&file);
    }
    // A zip application may begin with an interpreter line (PEP 441); zip archives are read from their end.
    if head.starts_with(b"PK") || head.starts_with(b"#!") {
        return archive(file);
    }
    Err(InspectError::Unknown(Unknown::Nothing))
}

fn executable(file: &File) -> Result<Artifact, InspectError> {
    let mut artifact =
        binary::recognise(|offset, length| piece(file, offset, length)).map_err(InspectError::Unknown)?;
    if let Artifact::Binary { linkage: Linkage::Glibc { at_least }, .. } = &mut artifact {
        *at_least = binary::newest_glibc(&piece(file, 0, STRINGS));
    }
    Ok(artifact)
}

fn archive(file: File) -> Result<Artifact, InspectError> {
    let script = piece(&file, 0, 2) == b"#!";
    let mut archive = match ZipArchive::new(file) {
        Ok(archive) => archive,
        Err(_) if script => return Err(InspectError::Unknown(Unknown::Nothing)),
        Err(error) => return Err(InspectError::Archive(error)),
    };
    let Some(manifest) = entry(&mut archive, "META-INF/MANIFEST.MF", TEXT) else {
        return if archive.index_for_name("__main__.py").is_some() {
            Ok(Artifact::Zipapp)
        } else if holds(&archive, ".dist-info/WHEEL") {
            Err(InspectError::Unknown(Unknown::Wheel))
        } else if holds(&archive, ".class") {
            Err(InspectError::Unknown(Unknown::NotRunnable))
        } else {
            Err(InspectError::Unknown(Unknown::Nothing))
        };
    };
    let manifest = Manifest::parse(&String::from_utf8_lossy(&manifest));
    if manifest.main_class.is_none() {
        return Err(InspectError::Unknown(Unknown::NotRunnable));
    }
    let classes = manifest.class_paths();
    let java = classes
        .iter()
        .filter_map(|path| entry(&mut archive, path, 8))
        .filter_map(|head| java_version(&head))
        .max();
    Ok(Artifact::Jar { java })
}

/// Whether an entry's name ends like this.
fn holds(archive: &ZipArchive<File>, end: &str) -> bool {
    archive.file_names().any(|name| name.is_ok_and(|name| name.ends_with(end)))
}

fn entry(archive: &mut ZipArchive<File>, name: &str, most: u64) -> Option<Vec<u8>> {
    let file = archive.by_name(name).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn piece(file: &File, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length.min(STRINGS)).unwrap_or(0)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(filled as u64)) {
            Ok(count @ 1..) => filled += count,
            Ok(0) | Err(_) => break,
        }
    }
    bytes.truncate(filled);
    bytes
}

fn list(path: &Path) -> Folder {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let text = |name: &str| {
        let file = File::open(path.join(name)).ok()?;
        let mut bytes = Vec::new();
        file.take(TEXT).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    Folder {
        names,
        package: text("package.json").and_then(|text| serde_json::from_str(&text).ok()),
        requirements: text("requirements.txt"),
        pyproject: text("pyproject.toml"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn zipped(prefix: &[u8], entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content) in entries {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        [prefix, &writer.finish().unwrap().into_inner()].concat()
    }

    fn check(bytes: &[u8]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("anything.bin");
        std::fs::write(&path, bytes).unwrap();
        inspect(&path).map_or_else(|error| error.to_string(), |artifact| artifact.describe())
    }

    #[test]
    fn archives_are_told_apart_by_what_is_in_them() {
        let main = b"Manifest-Version: 1.0\nMain-Class: a.Main\n".as_slice();
        for (bytes, expected) in [
            (
                zipped(
                    b"",
                    &[("META-INF/MANIFEST.MF", main), ("a/Main.class", b"\xca\xfe\xba\xbe\0\0\0\x41code")],
                ),
                "runnable jar for Java 21",
            ),
            (zipped(b"", &[("META-INF/MANIFEST.MF", main)]), "runnable jar"),
            (
                zipped(b"", &[("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n")]),
                "its manifest names no Main-Class, so `java -jar` cannot run it",
            ),
            (zipped(b"#!/usr/bin/env python3\n", &[("__main__.py", b"")]), "Python zip application"),
            (
                zipped(b"", &[("shop/x.py", b""), ("shop-1.dist-info/WHEEL", b"")]),
                "it is a Python wheel, which does not say what to start",
            ),
            (
                zipped(b"", &[("a/B.class", b"")]),
                "its manifest names no Main-Class, so `java -jar` cannot run it",
            ),
            (b"PK\x03\x04 and no more".to_vec(), "opening it as a zip archive"),
            (
                b"#!/bin/sh\necho".to_vec(),
                "it is no jar, ELF binary, Python zip application or script folder",
            ),
            (Vec::new(), "it is no jar, ELF binary, Python zip application or script folder"),
        ] {
            assert_eq!(check(&bytes), expected);
        }
    }

    #[test]
    fn this_test_itself_is_a_dynamic_binary() {
        let path = std::env::current_exe().unwrap();
        let Ok(Artifact::Binary { linkage: Linkage::Glibc { at_least: Some(version) }, .. }) = inspect(&path)
        else {
            eprintln!("SKIPPED: this system's programs are not linked with glibc");
            return;
        };
        assert!(version >= (2, 2), "{version:?}");
    }
}
