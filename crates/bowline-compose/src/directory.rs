//! The files in a project's directory on the host, each job in one round trip.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::time::Duration;

use bowline_core::digest::Digest;
use bowline_core::release::SpecFile;

use crate::connection::{Command, Connection, RunError, last_line};
use crate::lease::{Authority, AuthorityError};

/// The most that is written or read at once, in bytes. A spec is small files; what is large belongs into an image.
pub const LARGEST: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(120);

/// Why files of the project's directory were not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The command could not be run there.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The right to change the target is gone.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A path that would leave the directory, or is none.
    #[error("`{path}` is no path inside the project's directory: {reason}")]
    Path {
        /// Which.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A part of the path is a symbolic link on the host: writing there could hit anything.
    #[error("cannot write {path} in {directory}: {link} is a symbolic link there")]
    Link {
        /// The file.
        path: String,
        /// The directory.
        directory: String,
        /// The link.
        link: String,
    },
    /// More than is moved at once.
    #[error("the files for {directory} are more than {} MiB", LARGEST >> 20)]
    TooLarge {
        /// The directory.
        directory: String,
    },
    /// It failed there.
    #[error("cannot {what} in {directory}: {reason}")]
    Failed {
        /// What was attempted.
        what: &'static str,
        /// Where.
        directory: String,
        /// In the host's words.
        reason: String,
    },
}

impl DirectoryError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Run(error) => error.hint(),
            Self::Link { .. } => {
                Some("replace the link by a directory there, or set another `directory`".into())
            }
            Self::Failed { reason, directory, .. } if reason.contains("ermission denied") => {
                Some(format!("make {directory} writable for the user that Bowline logs in as"))
            }
            Self::Failed { reason, .. } if reason.contains("No space left") => {
                Some("make room there, e.g. with `bowline prune`".into())
            }
            _ => None,
        }
    }
}

/// A compose project's directory on the host.
#[derive(Clone)]
pub struct Directory {
    connection: Connection,
    path: String,
}

/// Writes an archive's files over what is there, each by a rename. `$1` is the directory, `$2` the ending under which a
/// file is kept first; then come the paths, those to be kept with a `+` before them, the others with a `-`.
const WRITE: &str = r#"set -e
umask 022
mkdir -p -- "$1"; cd -- "$1"; ending=$2; shift 2
new=$(mktemp -d ./.bowline-write.XXXXXX)
trap 'rm -rf -- "$new"' EXIT
trap 'exit 1' HUP INT TERM
tar -x -o -C "$new" -f -
find "$new" -type f -exec sync {} + 2>/dev/null || :
for word; do
  path=${word#?}
  rest=$path done=.
  while [ "$rest" != "${rest#*/}" ]; do
    done=$done/${rest%%/*}
    rest=${rest#*/}
    if [ -L "$done" ]; then echo "bowline-link: ${done#./}" >&2; exit 3; fi
  done
  mkdir -p -- "$done"
  case $word in +*) if [ -f "./$path" ]; then
    cp -p -P -- "./$path" "$new/.bowline-kept"; mv -f -T -- "$new/.bowline-kept" "./$path.$ending"
  fi ;; esac
  mv -f -T -- "$new/$path" "./$path"
done
"#;

/// Removes files, and directories that are empty then.
const REMOVE: &str = r#"cd -- "$1" 2>/dev/null || exit 0
shift
for path; do
  rm -f -- "./$path" || exit 1
  folder=$path
  while [ "$folder" != "${folder%/*}" ]; do folder=${folder%/*}; rmdir -- "./$folder" 2>/dev/null || break; done
done
"#;

/// Moves files that were kept under an ending (`$2`) back into their places.
const RESTORE: &str = r#"cd -- "$1" 2>/dev/null || exit 0
ending=$2; shift 2
for path; do
  if [ -f "./$path.$ending" ]; then mv -f -T -- "./$path.$ending" "./$path" || exit 1; fi
done
"#;

/// Says the number and the digest of each file that is there.
const DIGESTS: &str = r#"cd -- "$1" 2>/dev/null || exit 0
shift; number=0
for path; do
  number=$((number + 1))
  if [ -f "./$path" ]; then sum=$(sha256sum < "./$path") && echo "$number ${sum%% *}" || exit 1; fi
done
"#;

/// Packs the files that are there.
const READ: &str = r#"cd -- "$1" 2>/dev/null || exit 0
shift; count=$#
for path; do if [ -f "./$path" ]; then set -- "$@" "./$path"; fi; done
shift $count
[ $# -eq 0 ] || exec tar -c -h -f - -- "$@"
"#;

impl Directory {
    /// The directory at an absolute path there, or below the home directory (`~/chat`, `chat`).
    pub fn new(connection: &Connection, path: &str) -> Self {
        let home = connection.home().trim_end_matches('/');
        let path = match path.strip_prefix("~/") {
            Some(rest) => format!("{home}/{rest}"),
            None if path == "~" => home.to_owned(),
            None if path.starts_with('/') => path.to_owned(),
            None => format!("{home}/{path}"),
        };
        let path = if path.len() > 1 { path.trim_end_matches('/').to_owned() } else { path };
        Self { connection: connection.clone(), path }
    }

    /// Its absolute path there.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Writes files, each at once whole by a rename; directories are made as needed. Those of `edited` are first kept
    /// as `PATH.ending`. What exists besides is left alone.
    pub async fn write(
        &self,
        authority: &Authority,
        files: &BTreeMap<String, SpecFile>,
        edited: &BTreeSet<String>,
        ending: &str,
    ) -> Result<(), DirectoryError> {
        if files.is_empty() {
            return Ok(());
        }
        check_path(ending)?;
        let archive = self.pack(files)?;
        let words =
            files.keys().map(|path| format!("{}{path}", if edited.contains(path) { '+' } else { '-' }));
        let command = script(WRITE).arg(&self.path).arg(ending).args(words).stdin(archive);
        authority.check()?;
        let output = self.connection.run(command.timeout(PATIENCE)).await?;
        if output.is_success() {
            return Ok(());
        }
        if let Some(link) = output.stderr.lines().find_map(|line| line.strip_prefix("bowline-link: ")) {
            let below = |path: &&String| path.starts_with(&format!("{link}/"));
            let path = files.keys().find(below).cloned().unwrap_or_default();
            return Err(DirectoryError::Link { path, directory: self.path.clone(), link: link.into() });
        }
        Err(self.failed("write files", &output.stderr))
    }

    /// Removes files; those that are not there are no error.
    pub async fn remove(
        &self,
        authority: &Authority,
        paths: &BTreeSet<String>,
    ) -> Result<(), DirectoryError> {
        if paths.is_empty() {
            return Ok(());
        }
        paths.iter().try_for_each(|path| check_path(path))?;
        authority.check()?;
        let output =
            self.connection.run(script(REMOVE).arg(&self.path).args(paths).timeout(PATIENCE)).await?;
        if output.is_success() { Ok(()) } else { Err(self.failed("remove files", &output.stderr)) }
    }

    /// Moves files that were kept as `PATH.ending` back, over what is there; those that are not there are no error.
    pub async fn restore(
        &self,
        authority: &Authority,
        paths: &BTreeSet<String>,
        ending: &str,
    ) -> Result<(), DirectoryError> {
        if paths.is_empty() {
            return Ok(());
        }
        paths.iter().try_for_each(|path| check_path(path))?;
        check_path(ending)?;
        authority.check()?;
        let command = script(RESTORE).arg(&self.path).arg(ending).args(paths).timeout(PATIENCE);
        let output = self.connection.run(command).await?;
        if output.is_success() { Ok(()) } else { Err(self.failed("put back files", &output.stderr)) }
    }

    /// The digests of those files that are there.
    pub async fn digests(
        &self,
        paths: impl IntoIterator<Item = &String>,
    ) -> Result<BTreeMap<String, Digest>, DirectoryError> {
        let paths: Vec<&String> = paths.into_iter().collect();
        if paths.is_empty() {
            return Ok(BTreeMap::new());
        }
        paths.iter().try_for_each(|path| check_path(path))?;
        let words = paths.iter().map(|path| (*path).clone());
        let output =
            self.connection.run(script(DIGESTS).arg(&self.path).args(words).timeout(PATIENCE)).await?;
        if !output.is_success() {
            return Err(self.failed("read files", &output.stderr));
        }
        let text = output.text();
        let found = text.lines().filter_map(|line| {
            let (number, hex) = line.split_once(' ')?;
            let path = paths.get(number.parse::<usize>().ok()?.checked_sub(1)?)?;
            Some(((*path).clone(), format!("sha256:{hex}").parse().ok()?))
        });
        Ok(found.collect())
    }

    /// Those files that are there, links followed.
    pub async fn read(
        &self,
        paths: impl IntoIterator<Item = &String>,
    ) -> Result<BTreeMap<String, SpecFile>, DirectoryError> {
        let paths: Vec<String> = paths.into_iter().cloned().collect();
        if paths.is_empty() {
            return Ok(BTreeMap::new());
        }
        paths.iter().try_for_each(|path| check_path(path))?;
        let command = script(READ).arg(&self.path).args(paths).limit(LARGEST).timeout(PATIENCE);
        let output = match self.connection.run(command).await {
            Err(RunError::TooMuch { .. }) => {
                return Err(DirectoryError::TooLarge { directory: self.path.clone() });
            }
            other => other?,
        };
        if !output.is_success() {
            return Err(self.failed("read files", &output.stderr));
        }
        unpack(&output.stdout).map_err(|error| self.failed("read files", &error.to_string()))
    }

    /// Files as a tar archive.
    pub(crate) fn pack(&self, files: &BTreeMap<String, SpecFile>) -> Result<Vec<u8>, DirectoryError> {
        let mut size = 0;
        let mut archive = tar::Builder::new(Vec::new());
        for (path, file) in files {
            check_path(path)?;
            size += file.content.len();
            if size > LARGEST {
                return Err(DirectoryError::TooLarge { directory: self.path.clone() });
            }
            let mut header = tar::Header::new_gnu();
            header.set_size(file.content.len() as u64);
            header.set_mode(if file.executable { 0o755 } else { 0o644 });
            header.set_entry_type(tar::EntryType::Regular);
            let added = archive.append_data(&mut header, path, file.content.as_slice());
            added.map_err(|error| self.failed("pack files", &error.to_string()))?;
        }
        archive.into_inner().map_err(|error| self.failed("pack files", &error.to_string()))
    }

    fn failed(&self, what: &'static str, stderr: &str) -> DirectoryError {
        DirectoryError::Failed {
            what,
            directory: self.path.clone(),
            reason: last_line(stderr, "it failed without a word"),
        }
    }
}

/// A script of ours; what follows are its arguments.
pub(crate) fn script(text: &str) -> Command {
    Command::new("sh").args(["-c", text, "sh"])
}

fn unpack(archive: &[u8]) -> std::io::Result<BTreeMap<String, SpecFile>> {
    let mut files = BTreeMap::new();
    if archive.is_empty() {
        return Ok(files);
    }
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        let executable = entry.header().mode()? & 0o100 != 0;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(path, SpecFile { executable, content });
    }
    Ok(files)
}

/// Whether a path stays inside: relative, without `..`, without what could end a line or be an option.
fn check_path(path: &str) -> Result<(), DirectoryError> {
    let invalid = |reason| Err(DirectoryError::Path { path: path.chars().take(200).collect(), reason });
    if path.is_empty() || path.len() > 1024 {
        return invalid("it is empty or longer than 1024 bytes");
    }
    if path.starts_with('/') {
        return invalid("it is absolute");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return invalid("it holds an empty part, `.` or `..`");
    }
    if path.chars().any(char::is_control) {
        return invalid("it holds a control character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_are_refused() {
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\nb", "a/"] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
        for path in ["compose.yaml", "conf/nginx.conf", "-f", "..a/b..", "with blank"] {
            assert!(check_path(path).is_ok(), "{path:?}");
        }
    }
}
