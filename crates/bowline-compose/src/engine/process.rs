//! What a container runs, and what it was given.

use std::collections::BTreeMap;
use std::io::Read as _;

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, InspectContainerOptions, TopOptionsBuilder,
};
use bowline_core::capacity::runtime::counters::LARGEST;
use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::{Engine, EngineError, ORDINARY, short};

/// How much of a container's files is read in search of counters, as an archive: many times what they take.
const MOST: usize = 4 << 20;
/// How many files of counters are looked at: one for each virtual machine, and few have several.
const FILES: usize = 16;
/// Below this, HotSpot keeps a folder of counters for each user.
const FOLDER: &str = "/tmp/hsperfdata_";

/// What a container runs and was given. Its environment and its command may hold secrets.
#[derive(Clone, Default)]
pub struct Program {
    /// Its main process's command line.
    pub command: Vec<String>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// How many threads all its processes have; none where the host's `ps` does not tell.
    pub threads: Option<u32>,
    /// Its memory limit in bytes; none where it has none.
    pub memory: Option<u64>,
    /// Its processor limit in thousandths of a core; none where it has none.
    pub cpu: Option<u64>,
    /// The user by whose name or number it runs; empty where nothing is said, which is root.
    pub user: String,
    /// When it was started, in milliseconds since 1970 (UTC).
    pub started: Option<i64>,
}

impl Engine {
    /// What a container runs and was given.
    ///
    /// # Errors
    /// When it is gone, or the engine does not answer.
    pub async fn program(&self, id: &str) -> Result<Program, EngineError> {
        let what = format!("look into container {}", short(id));
        let inspection = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        // Columns are asked for by name: those of `ps` differ between systems.
        let options = TopOptionsBuilder::new().ps_args("-eo pid,nlwp,args").build();
        let (found, processes) = tokio::join!(
            self.ask(&what, ORDINARY, inspection),
            self.ask(&what, ORDINARY, self.docker.top_processes(id, Some(options))),
        );
        let found = found?;
        let rows = processes.ok().and_then(|processes| processes.processes).unwrap_or_default();
        let config = found.config.unwrap_or_default();
        let limits = found.host_config.unwrap_or_default();
        let positive =
            |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).filter(|n| *n > 0);
        let variable =
            |pair: &String| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let configured = || found.path.into_iter().chain(found.args.into_iter().flatten()).collect();
        Ok(Program {
            command: main_command(&rows).unwrap_or_else(configured),
            environment: config.env.unwrap_or_default().iter().filter_map(variable).collect(),
            threads: threads(&rows),
            memory: positive(limits.memory),
            cpu: positive(limits.nano_cpus).map(|billionths| billionths / 1_000_000),
            user: config.user.unwrap_or_default(),
            started: found
                .state
                .and_then(|state| state.started_at?.parse::<Timestamp>().ok())
                .map(Timestamp::as_millisecond),
        })
    }

    /// The files of counters that Java virtual machines of a running container keep, as they are: anything may stand in
    /// them. Empty where there are none: no virtual machine, one that keeps none (`-XX:-UsePerfData`), or a `/tmp` that the
    /// engine does not see into, such as a `tmpfs`.
    ///
    /// The engine reads them out of the container's files, so that the image needs no shell and no tool. Their folder is
    /// named after a user; whom a container's own start script changes to is not known, and then all of `/tmp` is looked
    /// through, as far as it is not large.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn counters(&self, id: &str, user: &str) -> Result<Vec<Vec<u8>>, EngineError> {
        let name = user.split(':').next().unwrap_or_default();
        let name = if matches!(name, "" | "0") { "root" } else { name };
        // A number is nobody's name, and what is not a name leads elsewhere.
        let is_name = !name.starts_with(|first: char| first.is_ascii_digit()) && !name.contains('/');
        if is_name {
            let files = self.counters_below(id, &format!("{FOLDER}{name}")).await?;
            if !files.is_empty() {
                return Ok(files);
            }
        }
        self.counters_below(id, "/tmp").await
    }

    async fn counters_below(&self, id: &str, path: &str) -> Result<Vec<Vec<u8>>, EngineError> {
        let what = format!("read {path} of container {}", short(id));
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let mut chunks = self.docker.download_from_container(id, Some(options));
        let read = async {
            let mut archive = Vec::new();
            while let Some(chunk) = chunks.next().await.transpose()? {
                archive.extend_from_slice(&chunk);
                if archive.len() > MOST {
                    break;
                }
            }
            Ok(archive)
        };
        match self.ask(&what, ORDINARY, read).await {
            Ok(archive) => Ok(counters_in(&archive)),
            Err(error) if error.is_unreachable() => Err(error),
            // It is not there, or the engine does not give it: then it is not known.
            Err(_) => Ok(Vec::new()),
        }
    }
}

/// The counters in an archive of `/tmp`, or of a folder of them: files, not links, that are named after a process. What is
/// cut off is left out.
fn counters_in(archive: &[u8]) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    let mut archive = tar::Archive::new(archive);
    let Ok(entries) = archive.entries() else { return files };
    for mut entry in entries.map_while(Result::ok) {
        let is_file = entry.header().entry_type() == tar::EntryType::Regular;
        let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        if !is_file || size > LARGEST || !entry.path().is_ok_and(|path| is_counters(&path.to_string_lossy()))
        {
            continue;
        }
        let mut content = Vec::new();
        // An archive that ends too early is read as if the file did.
        if entry.read_to_end(&mut content).is_ok_and(|read| read == size) {
            files.push(content);
        }
        if files.len() == FILES {
            break;
        }
    }
    files
}

/// Whether a path in an archive ends as `hsperfdata_USER/PID` does.
fn is_counters(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let is_process = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    parts.next().is_some_and(is_process)
        && parts.next().is_some_and(|folder| folder.starts_with("hsperfdata_"))
}

/// The command that does the work: where a script started it, the virtual machine rather than the script.
fn main_command(rows: &[Vec<String>]) -> Option<Vec<String>> {
    let commands = || rows.iter().filter_map(|row| row.get(2));
    let is_java = |command: &&String| {
        command.split_whitespace().next().is_some_and(|first| first.rsplit('/').next() == Some("java"))
    };
    let main = commands().find(is_java).or_else(|| commands().next())?;
    Some(main.split_whitespace().map(str::to_owned).collect())
}

fn threads(rows: &[Vec<String>]) -> Option<u32> {
    let counts: Vec<u32> = rows.iter().filter_map(|row| row.get(1)?.trim().parse().ok()).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_archive_only_files_of_counters_are_taken() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |path: &str, kind: tar::EntryType, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            if kind == tar::EntryType::Symlink {
                header.set_link_name("/etc/shadow").unwrap();
            }
            archive.append_data(&mut header, path, content).unwrap();
        };
        let file = tar::EntryType::Regular;
        add("tmp/hsperfdata_app", tar::EntryType::Directory, b"");
        add("tmp/hsperfdata_app/1", file, b"one");
        add("tmp/hsperfdata_app/7", tar::EntryType::Symlink, b"");
        add("tmp/hsperfdata_app/notes", file, b"x");
        add("tmp/hsperfdata_app/8", file, &vec![0; LARGEST + 1]);
        add("tmp/other/9", file, b"x");
        add("hsperfdata_root/10", file, b"ten");
        let archive = archive.into_inner().unwrap();
        assert_eq!(counters_in(&archive), [b"one".to_vec(), b"ten".to_vec()]);
        // What was cut off: in the middle of a file, of a header, of everything.
        assert_eq!(counters_in(&archive[..3 * 512 + 4]), [b"one".to_vec()]);
        assert_eq!(counters_in(&archive[..2 * 512 + 2]), Vec::<Vec<u8>>::new());
        assert_eq!(counters_in(&archive[..100]), Vec::<Vec<u8>>::new());
        assert_eq!(counters_in(b""), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_virtual_machine_behind_a_script_is_found() {
        let row = |count: &str, command: &str| ["7", count, command].map(str::to_owned).to_vec();
        let rows = [row("1", "sh /run.sh"), row("41", "/opt/java/bin/java -Xmx64m  -jar a.jar")];
        assert_eq!(main_command(&rows).unwrap(), ["/opt/java/bin/java", "-Xmx64m", "-jar", "a.jar"]);
        assert_eq!(threads(&rows), Some(42));
        assert_eq!(
            (main_command(&rows[..1]).unwrap().len(), main_command(&[]), threads(&[])),
            (2, None, None)
        );
    }
}
