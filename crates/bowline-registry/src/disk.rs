//! Files that are there whole or not at all, whenever the process or the machine dies.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file by way of a temporary one in `staging`, which must be on the same file system. When this returns,
/// content and name are on the disk.
pub(crate) fn write(staging: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(staging)?;
    file.write_all(content)?;
    keep(file, path)
}

/// Gives a written temporary file its lasting name, replacing what was there.
pub(crate) fn keep(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    let parent = parent(path)?;
    create_directory(parent)?;
    file.persist(path).map_err(|failure| failure.error)?;
    sync_directory(parent)
}

/// Makes an empty file whose name is all it says; one that is there gets the present time.
pub(crate) fn mark(path: &Path) -> io::Result<()> {
    let parent = parent(path)?;
    create_directory(parent)?;
    match File::options().create_new(true).write(true).open(path) {
        Ok(_) => sync_directory(parent),
        // Time alone need not outlast a crash of the machine.
        Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => {
            File::options().append(true).open(path)?.set_modified(std::time::SystemTime::now())
        }
        Err(failure) => Err(failure),
    }
}

/// A file's content, or nothing where there is no such file.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    absent_is_none(fs::read(path))
}

/// An open file and its length, or nothing where there is no such file.
pub(crate) fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    let Some(file) = absent_is_none(File::open(path))? else { return Ok(None) };
    let length = file.metadata()?.len();
    Ok(Some((file, length)))
}

/// A file's metadata, or nothing where there is no such file.
pub(crate) fn metadata(path: &Path) -> io::Result<Option<fs::Metadata>> {
    absent_is_none(fs::metadata(path))
}

/// Removes a file; says whether there was one.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    let removed = absent_is_none(fs::remove_file(path))?.is_some();
    if removed {
        sync_directory(parent(path)?)?;
    }
    Ok(removed)
}

/// The names in a directory in byte order; none where there is no such directory.
pub(crate) fn names(path: &Path) -> io::Result<Vec<String>> {
    let Some(entries) = absent_is_none(fs::read_dir(path))? else { return Ok(Vec::new()) };
    // A name that is no UTF-8 was not made here.
    let names =
        entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose());
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// Makes a directory and those above it, lasting from the first one that is new.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path)?;
    create_directory(parent)?;
    match fs::create_dir(path) {
        Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    sync_directory(parent)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn parent(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}
