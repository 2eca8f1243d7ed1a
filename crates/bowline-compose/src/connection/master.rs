//! The one `ssh` process that everything to a far host goes through.
//!
//! It runs the probe as its own session, which then waits for the end of its input: when this process dies, however
//! it dies, the pipe closes, the session ends, and `ssh` with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, ChildStdin};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Options;
use super::address::Address;
use super::command::BOOTSTRAP;
use super::error::{ConnectionError, classify, last_line};
use super::probe::{self, Facts, Lines};
use super::process;

/// sshd allows ten sessions on a connection unless told otherwise (sshd_config, MaxSessions); one is the probe's.
const SESSIONS: usize = 7;

/// A multiplexed SSH connection.
pub(super) struct Master {
    address: Address,
    options: Options,
    directory: TempDir,
    /// Open while the connection is wanted.
    _stdin: ChildStdin,
    /// `None` while it is there; else why it went.
    gone: watch::Receiver<Option<String>>,
    sessions: Arc<Semaphore>,
    /// Sockets that lead to addresses of the host's networks.
    forwards: tokio::sync::Mutex<BTreeMap<String, PathBuf>>,
    /// A shell there that waits for the next command: opening a session takes two round trips and more.
    spare: Mutex<Option<Shell>>,
}

/// A shell there that waits for a command, in its slot among the sessions.
pub(super) type Shell = (std::io::Result<Child>, OwnedSemaphorePermit);

impl Master {
    /// Connects, and reads what the probe says about the host.
    pub(super) async fn open(address: &Address, options: &Options) -> Result<(Self, Facts), ConnectionError> {
        let local = |reason: String| ConnectionError::Local { host: address.to_string(), reason };
        let directory = private_directory().map_err(|error| local(error.to_string()))?;
        let mut ssh = base(options);
        ssh.args(["-M", "-T", "-a", "-x", "-o", "ControlPersist=no", "-o", "ClearAllForwardings=no"])
            .args([
                "-o",
                "ServerAliveInterval=5",
                "-o",
                "ServerAliveCountMax=3",
                "-o",
                "ExitOnForwardFailure=no",
            ])
            .args(["-o", "StreamLocalBindUnlink=yes", "-o", "TCPKeepAlive=yes"])
            .arg("-o")
            .arg(format!("ConnectTimeout={}", options.connect_timeout.as_secs().max(1)))
            .arg("-S")
            .arg(directory.path().join("c"))
            .arg("-L")
            .arg(forward(&directory.path().join("d"), probe::SOCKET));
        destination(&mut ssh, address);
        ssh.arg(format!("exec sh -c '{}'", probe::SCRIPT))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = ssh.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ConnectionError::NoSsh { host: address.to_string() },
            _ => local(error.to_string()),
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(local("a pipe is missing".into()));
        };
        let said = Arc::new(Mutex::new(String::new()));
        let listener = tokio::spawn(listen(stderr, Arc::clone(&said)));
        // Authentication, and a slow login shell, after the connection itself.
        let patience = options.connect_timeout + Duration::from_secs(20);
        let (facts, rest) = match tokio::time::timeout(patience, probe::read_facts(stdout)).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                // `ssh` ends right after it has said why.
                let _ = tokio::time::timeout(Duration::from_secs(2), listener).await;
                return Err(classify(&address.to_string(), &text(&said), options.connect_timeout));
            }
            Err(_) => return Err(ConnectionError::Timeout { host: address.to_string(), after: patience }),
        };
        let (tell, gone) = watch::channel(None);
        tokio::spawn(attend(child, rest, said, facts.compose_sender(), tell));
        let sessions = Arc::new(Semaphore::new(SESSIONS));
        let (address, options) = (address.clone(), options.clone());
        let forwards = tokio::sync::Mutex::default();
        let spare = Mutex::default();
        Ok((Self { address, options, directory, _stdin: stdin, gone, sessions, forwards, spare }, facts))
    }

    /// Why the connection is gone, if it is.
    pub(super) fn lost(&self) -> Option<ConnectionError> {
        self.gone.borrow().as_ref().map(|reason| self.error(reason))
    }

    /// Waits until the connection is gone.
    pub(super) async fn wait_lost(&self) -> ConnectionError {
        let mut gone = self.gone.clone();
        match gone.wait_for(Option::is_some).await {
            Ok(reason) => self.error(reason.as_deref().unwrap_or_default()),
            Err(_) => self.error("ssh is gone"),
        }
    }

    fn error(&self, reason: &str) -> ConnectionError {
        ConnectionError::Lost { host: self.address.to_string(), reason: reason.into() }
    }

    /// Where the engine's socket is found on this machine.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("d")
    }

    /// A free path for another socket.
    pub(super) fn other_socket(&self) -> PathBuf {
        self.directory.path().join("e")
    }

    /// A slot for one more session.
    pub(super) fn sessions(&self) -> Arc<Semaphore> {
        Arc::clone(&self.sessions)
    }

    /// Starts a shell for the next command, where there is none yet and room for one.
    pub(super) fn prepare_shell(&self) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_none()
            && let Ok(slot) = self.sessions().try_acquire_owned()
        {
            *spare = Some((self.start_shell(), slot));
        }
    }

    /// The shell that was prepared, if there is one and it still waits: servers may refuse a session, or end an idle one.
    pub(super) fn take_prepared(&self) -> Option<Shell> {
        let (shell, slot) = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let mut shell = shell.ok()?;
        matches!(shell.try_wait(), Ok(None)).then_some((Ok(shell), slot))
    }

    /// Starts a shell in a slot of its own, once there is one.
    pub(super) async fn open_shell(&self) -> Result<Shell, ConnectionError> {
        let closed =
            |_| ConnectionError::Local { host: self.address.to_string(), reason: "no more sessions".into() };
        let slot = self.sessions().acquire_owned().await.map_err(closed)?;
        Ok((self.start_shell(), slot))
    }

    fn start_shell(&self) -> std::io::Result<Child> {
        process::spawn(self.session(&format!("exec sh -c '{BOOTSTRAP}'")))
    }

    /// `ssh` for one session over the connection. It never connects by itself: without the master it fails at once.
    pub(super) fn session(&self, remote: &str) -> tokio::process::Command {
        let mut ssh = self.client();
        ssh.args(["-T", "-a", "-x", "-o", "ClearAllForwardings=yes"]);
        destination(&mut ssh, &self.address);
        ssh.arg(remote);
        ssh
    }

    fn client(&self) -> tokio::process::Command {
        let mut ssh = base(&self.options);
        ssh.args(["-o", "ControlMaster=no", "-o", "ProxyCommand=false", "-S"])
            .arg(self.directory.path().join("c"));
        ssh
    }

    /// Asks the master for a forward; gives what it answers.
    pub(super) async fn forward(&self, flag: &str, spec: &str) -> Result<String, ConnectionError> {
        let refused = |reason: String| ConnectionError::Refused { host: self.address.to_string(), reason };
        let mut ssh = self.client();
        ssh.args(["-O", "forward", flag, spec]);
        destination(&mut ssh, &self.address);
        ssh.stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(Duration::from_secs(15), ssh.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => return Err(refused("the request to forward a port was not answered".into())),
        };
        if !output.status.success() {
            if let Some(lost) = self.lost() {
                return Err(lost);
            }
            let said = last_line(&String::from_utf8_lossy(&output.stderr), "the forward was refused");
            return Err(refused(format!("{said} (is AllowTcpForwarding off there?)")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Makes an address of the host's networks (`host:port`) reachable through a socket here. Asked again, it is the
    /// same socket.
    pub(super) async fn forward_address(&self, far: &str) -> Result<PathBuf, ConnectionError> {
        let mut forwards = self.forwards.lock().await;
        if let Some(near) = forwards.get(far) {
            return Ok(near.clone());
        }
        let near = self.directory.path().join(format!("f{}", forwards.len()));
        self.forward("-L", &forward(&near, far)).await?;
        forwards.insert(far.to_owned(), near.clone());
        Ok(near)
    }

    /// Forwards another socket of the host than the usual one.
    pub(super) async fn forward_socket(&self, far: &str) -> Result<PathBuf, ConnectionError> {
        let near = self.other_socket();
        self.forward("-L", &forward(&near, far)).await?;
        Ok(near)
    }
}

/// A directory only for us, with a path short enough for a socket in it (sun_path holds 108 bytes, and `ssh` binds
/// a name of 17 more first).
fn private_directory() -> std::io::Result<TempDir> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("bowline-").rand_bytes(6);
        builder
    };
    let usual = std::env::temp_dir();
    if usual.as_os_str().len() <= 60 { builder().tempdir_in(usual) } else { builder().tempdir_in("/tmp") }
}

fn forward(near: &Path, far: &str) -> String {
    format!("{}:{far}", near.display())
}

fn base(options: &Options) -> tokio::process::Command {
    let mut ssh = tokio::process::Command::new("ssh");
    if let Some(file) = &options.ssh_config {
        ssh.arg("-F").arg(file);
    }
    ssh.args(["-o", "BatchMode=yes", "-o", "PermitLocalCommand=no", "-o", "RemoteCommand=none"]);
    ssh
}

fn destination(ssh: &mut tokio::process::Command, address: &Address) {
    if let Address::Ssh { port: Some(port), .. } = address {
        ssh.arg("-p").arg(port.to_string());
    }
    ssh.arg("--").arg(address.destination());
}

fn text(said: &Mutex<String>) -> String {
    said.lock().map(|said| said.clone()).unwrap_or_default()
}

/// Keeps the last of what `ssh` says.
async fn listen(mut stderr: ChildStderr, said: Arc<Mutex<String>>) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        if let Ok(mut said) = said.lock() {
            said.push_str(&String::from_utf8_lossy(chunk.get(..count).unwrap_or_default()));
            if said.len() > 16 << 10 {
                let cut = said.len() - (8 << 10);
                let cut = (cut..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(0);
                said.drain(..cut);
            }
        }
    }
}

/// Reads what the probe says later, and waits for the end of `ssh`.
async fn attend(
    mut child: Child,
    rest: Lines,
    said: Arc<Mutex<String>>,
    compose: watch::Sender<Option<String>>,
    tell: watch::Sender<Option<String>>,
) {
    probe::read_compose(rest, compose).await;
    let _ = child.wait().await;
    let _ = tell.send(Some(last_line(&text(&said), "the connection was closed")));
}
