//! The bare repository of our own that holds what a clone lacks.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_core::digest::Digest;
use bowline_core::history::CommitId;

use crate::git::error::redact;
use crate::git::process::Call;
use crate::git::{Git, GitError, NETWORK};

/// The parts of the clone's configuration that decide how a remote is reached.
const REACHING: [&str; 9] = [
    "http.",
    "https.",
    "credential.",
    "url.",
    "core.sshcommand",
    "core.gitproxy",
    "ssh.",
    "protocol.",
    "core.askpass",
];

/// A bare repository for one remote. It is a cache: deleting it costs a fetch.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Relative addresses are meant from here.
    origin: PathBuf,
    repository: PathBuf,
    format: String,
    remote: String,
    shallow: bool,
    /// The address and how it is reached. In the environment, because it may hold tokens: argv is for all to see.
    configuration: Vec<(OsString, OsString)>,
}

impl Cache {
    /// The cache for a remote of this clone; made when it is not there.
    pub(crate) async fn open(git: &Git, remote: &str) -> Result<Self, GitError> {
        Self::open_kind(git, remote, "").await
    }

    /// A further cache for the same remote: one may be shallow, and the other must not be.
    pub(crate) async fn open_kind(git: &Git, remote: &str, kind: &str) -> Result<Self, GitError> {
        let address = git.address(remote).await?;
        let output = git
            .call("reading the configuration".into(), ["config", "--list", "-z"])
            .run()
            .await?
            .or_fail()?;
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut pairs: Vec<(String, String)> = Vec::new();
        let own = format!("remote.{remote}.");
        for (key, value) in listed.split('\0').filter_map(|entry| entry.split_once('\n')) {
            if REACHING.iter().any(|start| key.starts_with(start)) {
                pairs.push((key.to_owned(), value.to_owned()));
            }
            if let Some(setting) = key.strip_prefix(&own)
                && ["proxy", "proxyauthmethod", "vcs", "uploadpack"].contains(&setting)
            {
                pairs.push((format!("remote.bowline.{setting}"), value.to_owned()));
            }
        }
        pairs.push(("remote.bowline.url".into(), address.clone()));
        let mut configuration: Vec<(OsString, OsString)> = vec![
            ("GIT_CONFIG_GLOBAL".into(), "/dev/null".into()),
            ("GIT_CONFIG_NOSYSTEM".into(), "1".into()),
            // Listed above already; twice the same header is one too many for some hosts.
            ("GIT_CONFIG_PARAMETERS".into(), "".into()),
            ("GIT_CONFIG_COUNT".into(), pairs.len().to_string().into()),
        ];
        for (index, (key, value)) in pairs.into_iter().enumerate() {
            configuration.push((format!("GIT_CONFIG_KEY_{index}").into(), key.into()));
            configuration.push((format!("GIT_CONFIG_VALUE_{index}").into(), value.into()));
        }
        configuration.extend(git.ssh().await?);
        // A relative address means something else in every clone.
        let place = if address.contains(':') { String::new() } else { git.directory.display().to_string() };
        let name =
            Digest::of(format!("{place}\n{}\n{}\n{kind}", redact(&address), git.format).as_bytes()).short();
        Ok(Self {
            origin: git.directory.clone(),
            repository: git.cache.join(name),
            format: git.format.clone(),
            remote: remote.to_owned(),
            shallow: git.shallow,
            configuration,
        })
    }

    /// What a reading call needs in its environment to see this cache and the clone as one.
    pub(crate) fn reading(&self, git: &Git) -> Vec<(OsString, OsString)> {
        // Quoted as C does: a path with a colon would be two paths.
        let path = git.objects.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
        vec![
            ("GIT_DIR".into(), self.repository.clone().into()),
            ("GIT_ALTERNATE_OBJECT_DIRECTORIES".into(), format!("\"{path}\"").into()),
        ]
    }

    fn call<A: Into<OsString>>(&self, what: &str, arguments: impl IntoIterator<Item = A>) -> Call {
        Call::new(&self.origin, what.to_owned(), arguments).env("GIT_DIR", &self.repository)
    }

    /// Those of the commits that are not in the cache itself.
    pub(crate) async fn missing(&self, commits: &[CommitId]) -> Result<Vec<CommitId>, GitError> {
        if !self.repository.join("HEAD").exists() {
            return Ok(commits.to_vec());
        }
        let call = self.call("looking into the cache", ["cat-file", "--batch-check=%(objecttype)"]).offline();
        missing(call, commits).await
    }

    /// Fetches references (name, what it holds, what it leads to) with all commits behind them and no files.
    pub(crate) async fn fetch(&self, references: &[(String, CommitId, CommitId)]) -> Result<(), GitError> {
        self.fetch_with(references, &["--filter=tree:0"]).await
    }

    /// Fetches with these further arguments, the first of which is a filter.
    ///
    /// Each thing is kept under its own id: such names never collide, and tags that move leave nothing stale.
    pub(crate) async fn fetch_with(
        &self,
        references: &[(String, CommitId, CommitId)],
        arguments: &[&str],
    ) -> Result<(), GitError> {
        let directory = self.repository.parent().unwrap_or(Path::new("/"));
        let io = |source| GitError::Io { what: format!("making {}", directory.display()), source };
        std::fs::create_dir_all(directory).map_err(io)?;
        let _lock = lock(&self.repository.with_extension("lock")).await?;
        let used = self.repository.join("HEAD").exists();
        match self.fetch_locked(references, arguments).await {
            // A run that was killed may leave locks or half a file behind. It is a cache: start again.
            Err(
                GitError::Remote { trouble: crate::git::error::Trouble::Other, .. } | GitError::Failed { .. },
            ) if used => {
                std::fs::remove_dir_all(&self.repository).map_err(io)?;
                self.fetch_locked(references, arguments).await
            }
            result => result,
        }
    }

    /// Makes the repository, complete or not at all: others look into it without the lock.
    async fn make(&self) -> Result<(), GitError> {
        if self.repository.join("HEAD").exists() {
            return Ok(());
        }
        let half = self.repository.with_extension("half");
        let what = || format!("making the cache {}", self.repository.display());
        let io = |source| GitError::Io { what: what(), source };
        if half.exists() {
            std::fs::remove_dir_all(&half).map_err(io)?;
        }
        let format = format!("--object-format={}", self.format);
        let init = ["init", "--quiet", "--bare", "--template=", &format];
        self.call(&what(), init).envs(&self.configuration).env("GIT_DIR", &half).run().await?.or_fail()?;
        std::fs::rename(&half, &self.repository).map_err(io)
    }

    async fn fetch_locked(
        &self,
        references: &[(String, CommitId, CommitId)],
        arguments: &[&str],
    ) -> Result<(), GitError> {
        self.make().await?;
        let ends: Vec<CommitId> =
            references.iter().flat_map(|(_, object, end)| [object.clone(), end.clone()]).collect();
        let missing = self.missing(&ends).await?;
        let input: String = references
            .iter()
            .filter(|(_, object, end)| missing.contains(object) || missing.contains(end))
            .map(|(name, object, _)| format!("+{name}:refs/keep/{object}\n"))
            .collect();
        if input.is_empty() {
            return Ok(());
        }
        let what = format!("fetching history from remote `{}`", self.remote);
        let fixed = [
            "-c",
            "gc.autoDetach=false",
            "-c",
            "maintenance.autoDetach=false",
            "fetch",
            "--quiet",
            "--no-tags",
            "--refmap=",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
        ];
        let fetch = |arguments: &[&str]| {
            let all =
                fixed.iter().chain(arguments).chain(&["--stdin", "bowline"]).copied().collect::<Vec<&str>>();
            self.call(&what, all).envs(&self.configuration).input(input.clone()).remote()
        };
        let mut output = fetch(arguments).run().await?;
        if !output.succeeded() && output.stderr.contains("filter") {
            // A host that refuses filters gives everything; git warns and goes on with most that do not know them.
            output = fetch(arguments.get(1..).unwrap_or_default()).run().await?;
        }
        if output.succeeded() { Ok(()) } else { Err(GitError::remote(what, &output.stderr, self.shallow)) }
    }
}

/// Those of the commits that `git cat-file --batch-check` does not find.
pub(super) async fn missing(call: Call, commits: &[CommitId]) -> Result<Vec<CommitId>, GitError> {
    let input: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
    let lines = call.input(input).run().await?.or_fail()?.lines();
    let absent = commits.iter().zip(&lines).filter(|(_, line)| line.ends_with(" missing"));
    Ok(absent.map(|(commit, _)| commit.clone()).collect())
}

/// One process at a time fetches. The lock goes with the process, however it ends.
async fn lock(path: &Path) -> Result<File, GitError> {
    let what = || format!("locking {}", path.display());
    let file = File::create(path).map_err(|source| GitError::Io { what: what(), source })?;
    let wait = async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(TryLockError::Error(source)) => return Err(GitError::Io { what: what(), source }),
            }
        }
    };
    match tokio::time::timeout(NETWORK, wait).await {
        Ok(result) => result.map(|()| file),
        Err(_) => Err(GitError::TimedOut { what: what(), seconds: NETWORK.as_secs() }),
    }
}
