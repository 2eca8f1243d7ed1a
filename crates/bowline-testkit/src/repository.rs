//! Hermetic git repositories: a bare origin and clones of it, in temporary directories, with a fixed identity
//! and a clock of their own. Equal steps give equal commit ids on any machine and day.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The first commit is made at this time; each further one of a clone is a minute later.
const BEGIN: u64 = 1_700_000_000;

/// A bare repository, as a git host has it. Its directory goes away with it.
#[derive(Debug)]
pub struct Origin {
    directory: TempDir,
}

impl Default for Origin {
    fn default() -> Self {
        Self::new()
    }
}

impl Origin {
    /// An empty bare repository whose branch is `main`, and which answers partial clones as git hosts do.
    pub fn new() -> Self {
        let directory = TempDir::with_prefix("bowline-origin-").expect("a temporary directory");
        let origin = Self { directory };
        origin.git(["init", "--quiet", "--bare", "--initial-branch=main", "."]);
        origin.git(["config", "uploadpack.allowFilter", "true"]);
        origin.git(["config", "uploadpack.allowAnySHA1InWant", "true"]);
        origin
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Its `file://` address: git then speaks its protocol, so that depth and filters count.
    pub fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    /// A full clone.
    pub fn clone_full(&self) -> Repository {
        self.clone_with(&[])
    }

    /// A clone of the newest `depth` commits of the branch, without tags, as CI makes them.
    pub fn clone_shallow(&self, depth: u32) -> Repository {
        self.clone_with(&["--no-tags", &format!("--depth={depth}")])
    }

    /// A clone with further arguments to `git clone`.
    pub fn clone_with(&self, arguments: &[&str]) -> Repository {
        let home = TempDir::with_prefix("bowline-clone-").expect("a temporary directory");
        let directory = home.path().join("work");
        let output = isolated(home.path())
            .args(["clone", "--quiet"])
            .args(arguments)
            .arg(self.url())
            .arg(&directory)
            .output()
            .expect("git can be started");
        check("clone", &output);
        let repository = Repository { home, directory, clock: Cell::new(BEGIN) };
        // Programs under test commit and tag without our environment.
        for (key, value) in [("user.name", NAME), ("user.email", EMAIL), ("commit.gpgsign", "false")] {
            repository.git(["config", key, value]);
        }
        repository
    }

    /// Installs a hook such as `pre-receive`: a shell script, which may refuse a push by its exit code.
    pub fn hook(&self, name: &str, script: &str) {
        let path = self.path().join("hooks").join(name);
        fs::create_dir_all(path.parent().expect("the hooks folder")).expect("the hooks folder can be made");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the hook can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the hook can be made runnable");
    }

    /// Runs git in the bare repository and gives what it printed, trimmed.
    ///
    /// # Panics
    /// When git fails.
    pub fn git<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let output = isolated(self.path()).current_dir(self.path()).args(arguments).output();
        check("git", &output.expect("git can be started"))
    }

    /// All its tags, sorted by name, each with the commit that it leads to.
    pub fn tags(&self) -> Vec<(String, String)> {
        let format =
            "--format=%(refname:strip=2) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)";
        let lines = self.git(["for-each-ref", format, "refs/tags"]);
        let pair = |line: &str| line.split_once(' ').map(|(tag, id)| (tag.to_owned(), id.to_owned()));
        lines.lines().filter_map(pair).collect()
    }
}

/// A clone with a working tree. Its directory goes away with it.
#[derive(Debug)]
pub struct Repository {
    home: TempDir,
    directory: PathBuf,
    clock: Cell<u64>,
}

impl Repository {
    /// Its working tree.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// What git must find in the environment so that nothing of the user's configuration counts; for programs
    /// under test that run git themselves.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        environment(self.home.path())
    }

    /// Runs git in the working tree and gives what it printed, trimmed.
    ///
    /// # Panics
    /// When git fails.
    pub fn git<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        check("git", &self.try_git(arguments))
    }

    /// Runs git in the working tree.
    pub fn try_git<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        let date = format!("{} +0000", self.clock.get());
        let mut command = isolated(self.home.path());
        command.current_dir(&self.directory).env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date);
        command.args(arguments).output().expect("git can be started")
    }

    /// Writes a file of the working tree; its folders are made.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.directory.join(path);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder can be made");
        fs::write(&path, content).expect("the file can be written");
        self
    }

    /// Copies a folder's content, without `target` and `.git`, into the working tree.
    pub fn copy(&self, from: &Path) -> &Self {
        copy_tree(from, &self.directory);
        self
    }

    /// Commits everything that changed (an empty commit if nothing did); gives the commit's full id.
    pub fn commit(&self, message: &str) -> String {
        self.tick();
        self.git(["add", "--all"]);
        self.git(["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// As [`Repository::commit`], with times tried until the full id is one that `accept` takes: an id that begins
    /// with seven digits, say.
    pub fn commit_until(&self, message: &str, accept: impl Fn(&str) -> bool) -> String {
        self.git(["add", "--all"]);
        let tree = self.git(["write-tree"]);
        let parent = self.try_git(["rev-parse", "--verify", "--quiet", "HEAD"]);
        let parent = String::from_utf8_lossy(&parent.stdout).trim().to_owned();
        loop {
            self.tick();
            let mut arguments = vec!["commit-tree", &tree, "-m", message];
            if !parent.is_empty() {
                arguments.extend(["-p", &parent]);
            }
            let id = self.git(arguments);
            if accept(&id) {
                self.git(["reset", "--quiet", "--hard", &id]);
                return id;
            }
        }
    }

    /// Merges a pull request the way GitHub's merge button does: a branch with what `change` writes as one commit,
    /// then a merge commit `Merge pull request #N from …` whose body is the title. Gives the merge commit's id.
    pub fn merge_pull(&self, number: u32, title: &str, change: impl FnOnce(&Self)) -> String {
        let base = self.git(["symbolic-ref", "--short", "HEAD"]);
        let branch = format!("pull-{number}");
        self.git(["checkout", "--quiet", "-b", &branch]);
        change(self);
        self.commit(&format!("work for #{number}"));
        self.git(["checkout", "--quiet", &base]);
        self.tick();
        let subject = format!("Merge pull request #{number} from someone/{branch}");
        self.git(["merge", "--quiet", "--no-ff", "-m", &subject, "-m", title, &branch]);
        self.git(["branch", "--quiet", "-D", &branch]);
        self.head()
    }

    /// Merges a pull request the way GitHub's squash button does: one commit `title (#N)`. Gives its id.
    pub fn squash_pull(&self, number: u32, title: &str, change: impl FnOnce(&Self)) -> String {
        change(self);
        self.commit(&format!("{title} (#{number})"))
    }

    /// Tags the newest commit (a lightweight tag).
    pub fn tag(&self, name: &str) -> &Self {
        self.git(["tag", name]);
        self
    }

    /// Tags the newest commit with an annotated tag.
    pub fn tag_annotated(&self, name: &str, message: &str) -> &Self {
        self.git(["tag", "--annotate", "--message", message, name]);
        self
    }

    /// Pushes the branch and all tags.
    pub fn push(&self) -> &Self {
        self.git(["push", "--quiet", "--tags", "origin", "HEAD"]);
        self
    }

    /// Fetches and fast-forwards the branch.
    pub fn pull(&self) -> &Self {
        self.git(["pull", "--quiet", "--ff-only", "--tags"]);
        self
    }

    /// The full id of the newest commit.
    pub fn head(&self) -> String {
        self.git(["rev-parse", "HEAD"])
    }

    fn tick(&self) {
        self.clock.set(self.clock.get() + 60);
    }
}

const NAME: &str = "Test Person";
const EMAIL: &str = "test@example.invalid";

fn environment(home: &Path) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("HOME", home.display().to_string()),
        ("XDG_CONFIG_HOME", home.join("config").display().to_string()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".to_owned()),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
    ];
    for key in ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"] {
        pairs.push((key, NAME.to_owned()));
    }
    for key in ["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"] {
        pairs.push((key, EMAIL.to_owned()));
    }
    pairs
}

fn isolated(home: &Path) -> Command {
    let mut command = Command::new("git");
    // A test may itself run inside a git hook, which sets these.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    command.envs(environment(home));
    command
}

fn check(what: &str, output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} failed ({}): {error}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder can be made");
    for entry in fs::read_dir(from).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("a file has a type");
        if kind.is_dir() {
            if entry.file_name() != "target" && entry.file_name() != ".git" {
                copy_tree(&entry.path(), &target);
            }
        } else if kind.is_symlink() {
            let goal = fs::read_link(entry.path()).expect("the link can be read");
            std::os::unix::fs::symlink(goal, target).expect("the link can be made");
        } else {
            fs::copy(entry.path(), target).expect("the file can be copied");
        }
    }
}
