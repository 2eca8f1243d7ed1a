//! The Compose CLI beside the engine, in the project's own directory there.

mod checkout;
mod fault;
mod warning;

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::release::SpecFile;
use serde_json::Value;

use crate::connection::{Command, Connection, Output, RunError};
use crate::directory::{Directory, DirectoryError, script};
use crate::lease::{Authority, AuthorityError};

pub use checkout::Checkout;
pub use fault::Fault;
pub use warning::Warnings;

/// The oldest Compose that knows all that is asked of it (`up --pull`, `config --format json`).
pub const OLDEST: (u32, u32) = (2, 13);

/// The oldest minor version whose hash of a service surely leaves out `depends_on` (docker/compose#12072, merged after
/// 2.29.2). Those before count it, and `up --no-deps`, by which changed services are started, takes it away first. It
/// began after 2.15 (docker/compose#12069); where is not known, so that all before are taken to do it.
const LEAVES_DEPENDS_ON_OUT: (u32, u32) = (2, 30);

const CONFIG_PATIENCE: Duration = Duration::from_secs(60);
const CONFIG_LIMIT: usize = 32 << 20;

/// How long a Compose of a killed run may go on at most: it is told to end at once, and is killed 5 s later.
const OUTLIVES: Duration = Duration::from_secs(7);
/// How long that is waited for.
const STILL: Duration = Duration::from_secs(30);

/// Why Compose did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// It could not be run there.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The files for it could not be put there.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The right to change the target is gone.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// There is no Compose v2.
    #[error("there is no Docker Compose v2 on {host}")]
    Missing {
        /// Where.
        host: String,
    },
    /// It is too old.
    #[error("Docker Compose on {host} is {version}: {}.{} or newer is needed", OLDEST.0, OLDEST.1)]
    TooOld {
        /// Where.
        host: String,
        /// Which.
        version: String,
    },
    /// It ran and failed.
    #[error("docker compose {verb} failed for {project}: {fault}")]
    Failed {
        /// `config`, `up`, ….
        verb: &'static str,
        /// The project.
        project: String,
        /// Why.
        fault: Fault,
    },
}

impl ProjectError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Run(error) => error.hint(),
            Self::Directory(error) => error.hint(),
            Self::Missing { .. } | Self::TooOld { .. } => {
                Some("install the package docker-compose-plugin there".into())
            }
            Self::Failed { fault, .. } => fault.hint(),
            Self::Authority(_) => None,
        }
    }

    /// Why Compose failed, where it ran.
    pub fn fault(&self) -> Option<&Fault> {
        if let Self::Failed { fault, .. } = self { Some(fault) } else { None }
    }
}

/// A compose project on a host: what every call of the CLI is told.
#[derive(Clone)]
pub struct Project {
    connection: Connection,
    directory: Directory,
    name: String,
    files: Vec<String>,
    profiles: Vec<String>,
    env: BTreeMap<String, String>,
}

/// What the CLI understood.
pub struct Rendered {
    /// Its JSON. It holds secrets.
    pub config: Value,
    /// Where the files were when it was run; paths in the JSON begin with it.
    pub staged: String,
    /// What it warned about.
    pub warnings: Warnings,
}

/// What `up` is to do with containers that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recreate {
    /// Replace them.
    Always,
    /// Leave them, whatever has changed.
    Never,
    /// As Compose sees fit.
    IfChanged,
}

/// One call of `docker compose up`.
#[derive(Debug, Clone)]
pub struct Up {
    /// The services, and how many containers each is to have.
    pub services: BTreeMap<String, u32>,
    /// What happens to existing containers.
    pub recreate: Recreate,
    /// Whether they are started, or only made.
    pub start: bool,
    /// How long it may take; stopping the old containers is in it.
    pub timeout: Duration,
}

/// Unpacks an archive (stdin) beside the project's directory (`$1`), links everything else of that directory into it,
/// and runs the rest of its arguments there. It first says where that was.
const STAGE: &str = r#"set -e
real=$1; shift
parent=${real%/*}
stage=$(mktemp -d "$parent/.bowline-stage.XXXXXX" 2>/dev/null) || stage=$(mktemp -d "${TMPDIR:-/tmp}/bowline-stage.XXXXXX")
find "${stage%/*}" -maxdepth 1 -name '*bowline-stage.*' -mmin +60 -exec rm -rf {} + 2>/dev/null || :
trap 'rm -rf -- "$stage"' EXIT
trap 'exit 1' HUP INT PIPE TERM
tar -x -o -C "$stage" -f -
(cd -- "$stage" && find . -type d) | while IFS= read -r folder; do
  for entry in "$real/$folder"/* "$real/$folder"/.[!.]* "$real/$folder"/..?*; do
    [ -e "$entry" ] || [ -L "$entry" ] || continue
    link=$stage/$folder/${entry##*/}
    [ -e "$link" ] || [ -L "$link" ] || ln -s -- "$entry" "$link"
  done
done
echo "$stage"
cd -- "$stage"
"$@" </dev/null
"#;

impl Project {
    /// The project of this name in this directory, made of these compose files (paths relative to the directory, in
    /// Compose's order).
    pub fn new(connection: &Connection, directory: &Directory, name: &str, files: &[String]) -> Self {
        Self {
            connection: connection.clone(),
            directory: directory.clone(),
            name: name.into(),
            files: files.to_vec(),
            profiles: Vec::new(),
            env: BTreeMap::new(),
        }
    }

    /// Asks for profiles.
    #[must_use]
    pub fn profiles(mut self, profiles: impl IntoIterator<Item = String>) -> Self {
        self.profiles = profiles.into_iter().collect();
        self
    }

    /// Sets variables for interpolation. They may be secret: they go by standard input only.
    #[must_use]
    pub fn env(mut self, env: BTreeMap<String, String>) -> Self {
        self.env = env;
        self
    }

    /// Its directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says whether there is a Compose that is new enough. Known since the connection was made: no round trip.
    pub async fn check_compose(connection: &Connection) -> Result<String, ProjectError> {
        let host = || connection.address().to_string();
        let Some(version) = connection.compose_version().await else {
            return Err(ProjectError::Missing { host: host() });
        };
        match number(&version) {
            Some(found) if found < OLDEST => Err(ProjectError::TooOld { host: host(), version }),
            // A version that cannot be read is somebody's own build: let it try.
            _ => Ok(version),
        }
    }

    /// Whether this version of Compose, called by hand, takes services that depend on others for changed after a
    /// deploy, and replaces them once.
    pub fn mistakes_dependents(version: &str) -> bool {
        number(version).is_some_and(|found| found < LEAVES_DEPENDS_ON_OUT)
    }

    /// What the CLI understands of the files as they are in the directory.
    pub async fn config(&self) -> Result<Rendered, ProjectError> {
        let words = self.words(self.directory.path(), &["config", "--format", "json"]);
        let command = self.with_env(docker().args(words)).directory(self.directory.path());
        let output = self.connection.run(command.timeout(CONFIG_PATIENCE).limit(CONFIG_LIMIT)).await?;
        self.read_config(&output, &output.stdout, self.directory.path().to_owned())
    }

    /// What the CLI would understand if these files were in the directory, with everything else that is there. Nothing
    /// stays behind.
    pub async fn config_with(&self, files: &BTreeMap<String, SpecFile>) -> Result<Rendered, ProjectError> {
        let archive = self.directory.pack(files)?;
        let words = self.words(".", &["config", "--format", "json"]);
        let command = script(STAGE).arg(self.directory.path()).arg("docker").args(words).stdin(archive);
        let command = self.with_env(command).timeout(CONFIG_PATIENCE).limit(CONFIG_LIMIT);
        let output = self.connection.run(command).await?;
        let mut parts = output.stdout.splitn(2, |byte| *byte == b'\n');
        let staged = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        self.read_config(&output, parts.next().unwrap_or_default(), staged)
    }

    fn read_config(&self, output: &Output, json: &[u8], staged: String) -> Result<Rendered, ProjectError> {
        if !output.is_success() {
            return Err(self.failed("config", output));
        }
        rendered(&self.name, output, json, staged)
    }

    /// Compose's own hash of each service, which it writes on containers.
    pub async fn hashes(&self) -> Result<BTreeMap<String, String>, ProjectError> {
        let words = self.words(self.directory.path(), &["config", "--hash", "*"]);
        let command = self.with_env(docker().args(words)).directory(self.directory.path());
        let output = self.connection.run(command.timeout(CONFIG_PATIENCE)).await?;
        if !output.is_success() {
            return Err(self.failed("config", &output));
        }
        let text = output.text();
        let pairs = text.lines().filter_map(|line| line.trim().split_once(' '));
        Ok(pairs.map(|(service, hash)| (service.to_owned(), hash.trim().to_owned())).collect())
    }

    /// Makes and starts containers of services, without those they depend on, without pulling or building anything.
    pub async fn up(&self, authority: &Authority, up: &Up) -> Result<Warnings, ProjectError> {
        let mut verb = vec!["up", "--detach", "--no-deps", "--no-build", "--pull", "never"];
        match up.recreate {
            Recreate::Always => verb.push("--force-recreate"),
            Recreate::Never => verb.push("--no-recreate"),
            Recreate::IfChanged => {}
        }
        if !up.start {
            verb.push("--no-start");
        }
        let mut words = self.words(self.directory.path(), &verb);
        for (service, count) in &up.services {
            words.push("--scale".into());
            words.push(format!("{service}={count}"));
        }
        words.push("--".into());
        words.extend(up.services.keys().cloned());
        let command =
            self.with_env(docker().args(words)).directory(self.directory.path()).timeout(up.timeout);
        let output = self.run_under(authority, command.mark(self.mark())).await?;
        if !output.is_success() {
            return Err(self.failed("up", &output));
        }
        Ok(Warnings::parse(&output.stderr))
    }

    /// Waits until no Compose that Bowline started changes the project any more: that of a killed run is ended some
    /// seconds later, and until then nothing that is seen of the project can be relied on.
    ///
    /// # Errors
    /// [`RunError::Timeout`] when one still runs after 30 s.
    pub async fn wait_still(&self) -> Result<(), ProjectError> {
        let asked = Command::new("flock").args(["-x", &self.mark(), "true"]).timeout(STILL);
        // Without flock, or where nobody ever had the file: as long as a Compose outlives its run.
        if !self.connection.run(asked).await?.is_success() {
            tokio::time::sleep(OUTLIVES).await;
        }
        Ok(())
    }

    /// The file that a Compose of ours holds while it changes the project.
    fn mark(&self) -> String {
        format!("{}/.local/share/bowline/{}.running", self.connection.home(), self.name)
    }

    /// Removes the project's containers and networks; volumes and images stay.
    pub async fn down(&self, authority: &Authority, timeout: Duration) -> Result<(), ProjectError> {
        let words = ["compose", "--ansi", "never", "--project-name", self.name.as_str(), "down"];
        let output = self.run_under(authority, docker().args(words).timeout(timeout)).await?;
        if output.is_success() { Ok(()) } else { Err(self.failed("down", &output)) }
    }

    /// Runs a command that changes the target: it dies when the right to do so ends.
    async fn run_under(&self, authority: &Authority, command: Command) -> Result<Output, ProjectError> {
        authority.check()?;
        tokio::select! {
            output = self.connection.run(command) => Ok(output?),
            lost = authority.lost() => Err(lost.into()),
        }
    }

    fn words(&self, directory: &str, verb: &[&str]) -> Vec<String> {
        words(&self.name, directory, &self.files, &self.profiles, verb)
    }

    fn with_env(&self, mut command: Command) -> Command {
        // Whatever the host's own environment or .env says: only what is planned is removed.
        command = command.env("COMPOSE_REMOVE_ORPHANS", "false");
        for (name, value) in &self.env {
            command = command.env(name, value);
        }
        command
    }

    fn failed(&self, verb: &'static str, output: &Output) -> ProjectError {
        failed(verb, &self.name, output, &self.env)
    }
}

fn words(name: &str, directory: &str, files: &[String], profiles: &[String], verb: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = vec!["compose".into(), "--ansi".into(), "never".into()];
    let mut option = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
    option("--project-name", name);
    option("--project-directory", directory);
    files.iter().for_each(|file| option("--file", file));
    profiles.iter().for_each(|profile| option("--profile", profile));
    words.extend(verb.iter().map(|word| (*word).to_owned()));
    words
}

fn failed(
    verb: &'static str,
    project: &str,
    output: &Output,
    env: &BTreeMap<String, String>,
) -> ProjectError {
    let mut said = output.stderr.clone();
    // What Compose says may quote what it was given.
    for secret in env.values().filter(|value| value.len() > 3) {
        said = said.replace(secret.as_str(), "…");
    }
    ProjectError::Failed { verb, project: project.into(), fault: Fault::parse(&said) }
}

/// What the CLI printed, and what it said besides.
fn rendered(project: &str, output: &Output, json: &[u8], staged: String) -> Result<Rendered, ProjectError> {
    let config = serde_json::from_slice(json).map_err(|_| ProjectError::Failed {
        verb: "config",
        project: project.into(),
        fault: Fault::Other { message: "it printed no JSON".into() },
    })?;
    Ok(Rendered { config, staged, warnings: Warnings::parse(&output.stderr) })
}

fn docker() -> Command {
    Command::new("docker")
}

fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(number("2.40.3"), Some((2, 40)));
        assert_eq!(number("v2.9.0-desktop.1"), Some((2, 9)));
        assert!(number("2.9.0").is_some_and(|found| found < OLDEST));
        assert_eq!(number("dev"), None);
        let mistaken = ["2.26.1-4", "2.30.0", "5.0.1", "dev"].map(Project::mistakes_dependents);
        assert_eq!(mistaken, [true, false, false, false]);
    }
}
