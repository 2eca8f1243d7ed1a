//! A command for a host, and the shell text that runs it there.
//!
//! Both ends are the same: `sh` reads the text from its standard input, so that neither arguments nor environment
//! show in the far process list or in `ssh`'s own arguments.

use std::time::Duration;

/// A program to run on the host.
#[derive(Clone)]
pub struct Command {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    directory: Option<String>,
    stdin: Option<Vec<u8>>,
    mark: Option<String>,
    pub(super) timeout: Duration,
    pub(super) limit: usize,
}

/// A word that cannot be given to a program: it holds a NUL byte, or is no variable's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot run `{program}`: {reason}")]
pub struct InvalidCommand {
    program: String,
    reason: &'static str,
}

/// The exit status by which the text below says that the directory is not there.
pub(super) const NO_DIRECTORY: i32 = 124;
/// What goes with it on stderr, so that a program with the same status is not mistaken for it.
pub(super) const NO_DIRECTORY_MARK: &str = "bowline: no such directory";

/// Ends the command when the one who asked for it has gone: its standard input closes, or stays silent for 15 s
/// (a heartbeat comes every [`HEARTBEAT`]). The group dies, not just the program: Compose has children.
const WATCH: &str = r#"exec 3<&0
limit=; command -v timeout >/dev/null 2>&1 && limit='timeout 15'
{ trap '' TERM HUP
  while [ -n "$($limit dd bs=1 count=1 2>/dev/null <&3)" ]; do :; done
  kill -TERM 0; sleep 5; kill -KILL 0
} >/dev/null 2>&1 3<&3 8>&- &
watch=$!
"#;

/// How often a watched command hears that somebody is still there.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(4);

impl Command {
    /// This program with nothing on its standard input, 60 s to finish, and at most 1 MiB of each output kept.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            argv: vec![program.into()],
            env: Vec::new(),
            directory: None,
            stdin: None,
            mark: None,
            timeout: Duration::from_secs(60),
            limit: 1 << 20,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, word: impl Into<String>) -> Self {
        self.argv.push(word.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.argv.extend(words.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment. It travels on standard input, never in arguments.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn directory(mut self, path: impl Into<String>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// Feeds it this. Such a command is not watched: it ends with its input.
    #[must_use]
    pub fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Holds a shared lock (flock(1)) on this file for as long as the program or a child of it lives, where the host
    /// has the means: whoever wants to know whether such a program still runs takes the lock for itself.
    #[must_use]
    pub(crate) fn mark(mut self, path: impl Into<String>) -> Self {
        self.mark = Some(path.into());
        self
    }

    /// The longest it may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many bytes of each of its outputs are kept; more than that on stdout is an error.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    pub(super) fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    pub(super) fn into_directory(self) -> String {
        self.directory.unwrap_or_default()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.stdin.is_none()
    }

    /// What is written to the shell ([`BOOTSTRAP`]): how long the text is, the text, then the command's own input.
    pub(super) fn render(&self) -> Result<Vec<u8>, InvalidCommand> {
        let mut text = String::new();
        for (name, value) in &self.env {
            if !is_name(name) {
                return Err(self.invalid("a variable's name is letters, digits and _"));
            }
            text.push_str(&format!("export {name}={}\n", self.quote(value)?));
        }
        if let Some(directory) = &self.directory {
            let directory = self.quote(&in_place(directory))?;
            text.push_str(&format!(
                "cd -- {directory} 2>/dev/null || {{ echo '{NO_DIRECTORY_MARK}' >&2; exit {NO_DIRECTORY}; }}\n"
            ));
        }
        let words = self.argv.iter().map(|word| self.quote(word)).collect::<Result<Vec<_>, _>>()?.join(" ");
        if self.is_watched() {
            if let Some(path) = &self.mark {
                let path = self.quote(&in_place(path))?;
                text.push_str(&format!(
                    "{{ mkdir -p \"$(dirname {path})\" && (: >>{path}) && exec 8>>{path} && flock -s 8; }} 2>/dev/null\n"
                ));
            }
            text.push_str(WATCH);
            text.push_str(&format!(
                "{words} </dev/null 3<&- &\nwait $!\nstatus=$?\nkill -KILL $watch\nexit $status\n"
            ));
        } else {
            text.push_str(&format!("exec {words}\n"));
        }
        let mut bytes = format!("{}\n{text}", text.len()).into_bytes();
        bytes.extend(self.stdin.iter().flatten());
        Ok(bytes)
    }

    fn quote(&self, word: &str) -> Result<String, InvalidCommand> {
        match shlex::try_quote(word) {
            Ok(quoted) => Ok(quoted.into_owned()),
            Err(_) => Err(self.invalid("a word holds a NUL byte")),
        }
    }

    fn invalid(&self, reason: &'static str) -> InvalidCommand {
        InvalidCommand { program: self.program().chars().take(100).collect(), reason }
    }
}

/// `cd` looks relative directories up in CDPATH, and takes `-` for the one before.
fn in_place(directory: &str) -> String {
    if directory.starts_with('/') { directory.into() } else { format!("./{directory}") }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The one shell argument, the same for every command, that reads from standard input how long a text is, and the text,
/// and runs it. `dd` with blocks of one byte takes exactly that many, and `read` no more than its line, whoever wrote
/// them; what follows stays for the command.
pub(super) const BOOTSTRAP: &str = "IFS= read -r length && eval \"$(dd bs=1 count=$length 2>/dev/null)\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_and_secrets_stay_in_the_text() {
        let bytes = Command::new("echo")
            .arg("a b")
            .arg("$(id)")
            .env("TOKEN", "it's")
            .stdin(vec![1])
            .render()
            .unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("44\nexport TOKEN=\"it's\"\nexec echo 'a b' '$(id)'\n"), "{text}");
    }

    #[test]
    fn a_mark_is_held_as_long_as_the_program_runs() {
        use std::io::Write as _;
        use std::os::unix::process::CommandExt as _;
        use std::process::{Command as Process, Stdio};
        if Process::new("flock").arg("--version").output().is_err() {
            eprintln!("SKIPPED: there is no flock here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep and/x.running").display().to_string();
        let bytes = Command::new("sleep").arg("1").mark(&path).render().unwrap();
        let mut shell = Process::new("sh");
        // A group of its own: the shell ends its whole group when its input closes.
        let shell = shell.arg("-c").arg(BOOTSTRAP).stdin(Stdio::piped()).process_group(0);
        let mut child = shell.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&bytes).unwrap();
        let free = || Process::new("flock").args(["-nx", &path, "true"]).status().unwrap().success();
        std::thread::sleep(Duration::from_millis(500));
        assert!(!free());
        assert!(child.wait().unwrap().success());
        drop(input);
        assert!(free());
    }

    #[test]
    fn names_that_are_none_are_refused() {
        assert!(Command::new("x").env("A;id", "").render().is_err());
        assert!(Command::new("x").env("1A", "").render().is_err());
        assert!(Command::new("x").arg("a\0b").render().is_err());
    }
}
