//! A connection to a Docker host: the engine's socket, commands beside the engine, and a port carried back.
//!
//! A far host is reached by the system's `ssh`: one connection, everything multiplexed on it. What is near is reached
//! without; the rest of the crate sees no difference.

mod address;
mod command;
mod error;
mod master;
mod probe;
mod process;
mod relay;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use address::{Address, InvalidAddress};
pub use command::{Command, InvalidCommand};
pub use error::ConnectionError;
pub(crate) use error::last_line;
pub use process::{Output, RunError};

use master::Master;
use probe::{Access, Facts};

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// A configuration for `ssh` to use instead of the user's (`ssh -F`).
    pub ssh_config: Option<PathBuf>,
    /// For [`Address::Local`]: the engine to use instead of the one that `docker` would, as `DOCKER_HOST` names it.
    pub docker_host: Option<String>,
    /// How long the TCP connection may take.
    pub connect_timeout: Duration,
    /// For a far host that is not there for its engine: it need not have one.
    pub without_engine: bool,
}

impl Default for Options {
    /// The user's configuration, 10 s to connect, to an engine.
    fn default() -> Self {
        Self {
            ssh_config: None,
            docker_host: None,
            connect_timeout: Duration::from_secs(10),
            without_engine: false,
        }
    }
}

impl Options {
    /// The same, with the configuration that `BOWLINE_SSH_CONFIG` names, where it is set.
    pub fn from_env() -> Self {
        let ssh_config =
            std::env::var_os("BOWLINE_SSH_CONFIG").filter(|file| !file.is_empty()).map(PathBuf::from);
        Self { ssh_config, ..Self::default() }
    }
}

/// As many as one look asks questions at the same time.
const IDLE_SOCKETS: usize = 16;

/// What `ssh` says where sshd opens no further session on a connection.
const NO_SESSION: &str = "Session open refused by peer";

/// An open connection. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    address: Address,
    master: Option<Arc<Master>>,
    /// The engine's socket on this machine.
    socket: PathBuf,
    /// The engine's socket on the host.
    far_socket: PathBuf,
    /// How many connections to the engine may stay open while they are not needed.
    idle_sockets: usize,
    /// Whether the engine has answered already.
    answered: bool,
    /// Whether a shell is started ahead for the next command: not where sessions are few.
    prepares: bool,
    user: String,
    home: String,
    has_docker: bool,
    compose: watch::Receiver<Option<String>>,
}

impl Connection {
    /// Connects, looks where the engine is, and says so where it cannot be used. One SSH login, no further round trip.
    ///
    /// [`Address::Local`] is the engine that `docker` would use: `DOCKER_HOST`, then the current context, then the
    /// usual sockets; where that names an `ssh://` address, it is followed.
    pub async fn open(address: &Address, options: &Options) -> Result<Self, ConnectionError> {
        match address {
            Address::Ssh { .. } => open_far(address, options).await,
            Address::Local => match open_near(options).await? {
                Near::Here(connection) => Ok(connection),
                Near::There(address) => open_far(&address, options).await,
            },
        }
    }

    /// Whom it leads to.
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// The engine's socket, on this machine.
    pub fn socket(&self) -> &Path {
        &self.inner.socket
    }

    /// The engine's socket, on the host.
    pub(crate) fn engine_socket(&self) -> &Path {
        &self.inner.far_socket
    }

    /// How many connections to the engine's socket may stay open while they are not needed.
    pub(crate) fn idle_sockets(&self) -> usize {
        self.inner.idle_sockets
    }

    /// Whether the engine answered when the connection was made.
    pub(crate) fn has_answered(&self) -> bool {
        self.inner.answered
    }

    /// Who we are there.
    pub fn user(&self) -> &str {
        &self.inner.user
    }

    /// The home directory there.
    pub fn home(&self) -> &str {
        &self.inner.home
    }

    /// Whether the connection goes over SSH.
    pub fn is_far(&self) -> bool {
        self.inner.master.is_some()
    }

    /// Whether there is a `docker` command beside the engine.
    pub fn has_docker(&self) -> bool {
        self.inner.has_docker
    }

    /// The version of Compose beside the engine, e.g. `2.40.3`; `None` where there is no Compose v2.
    pub async fn compose_version(&self) -> Option<String> {
        let mut compose = self.inner.compose.clone();
        let found = tokio::time::timeout(Duration::from_secs(20), compose.wait_for(Option::is_some)).await;
        found.ok()?.ok()?.clone().filter(|version| !version.is_empty())
    }

    /// Runs a command on the host to its end. It finds the engine through `DOCKER_HOST`. When the future is dropped,
    /// or this process or the connection dies, the command is ended there within 15 s.
    pub async fn run(&self, command: Command) -> Result<Output, RunError> {
        let host = self.inner.address.to_string();
        let command = command.env("DOCKER_HOST", format!("unix://{}", self.inner.far_socket.display()));
        let Some(master) = &self.inner.master else {
            return process::execute(&host, command, process::spawn(process::shell())).await;
        };
        if let Some(lost) = master.lost() {
            return Err(lost.into());
        }
        let mut prepared = master.take_prepared();
        let mut tries = 0;
        let output = loop {
            let (shell, _slot) = match prepared.take() {
                Some(shell) => shell,
                None => master.open_shell().await?,
            };
            if tries == 0 && self.inner.prepares {
                master.prepare_shell();
            }
            let output = tokio::select! {
                output = process::execute(&host, command.clone(), shell) => output?,
                lost = master.wait_lost() => return Err(lost.into()),
            };
            // sshd counts a session that has ended until it has noticed. Nothing was begun there.
            let refused = output.status == 255 && output.stderr.contains(NO_SESSION);
            if !refused || tries == 10 {
                break output;
            }
            tries += 1;
            tokio::time::sleep(Duration::from_millis(50 * tries)).await;
        };
        // 255 is `ssh`'s own: either the connection broke, or the command ended so. The master knows a moment later.
        if output.status == 255
            && let Ok(lost) = tokio::time::timeout(Duration::from_millis(500), master.wait_lost()).await
        {
            return Err(lost.into());
        }
        Ok(output)
    }

    /// Makes a port of this machine's loopback reachable on the host's loopback; gives the port there. Near, it is
    /// the same port.
    pub async fn forward_back(&self, port: u16) -> Result<u16, ConnectionError> {
        let Some(master) = &self.inner.master else { return Ok(port) };
        let answer = master.forward("-R", &format!("127.0.0.1:0:127.0.0.1:{port}")).await?;
        answer.parse().map_err(|_| ConnectionError::Refused {
            host: self.inner.address.to_string(),
            reason: format!("no port was given for the forward: `{}`", last_line(&answer, "")),
        })
    }

    /// A socket of this machine that leads to an address of the host's networks; `None` where that is this machine's
    /// own, and can be reached as it is.
    pub(crate) async fn lead_to(&self, far: SocketAddr) -> Result<Option<PathBuf>, ConnectionError> {
        match &self.inner.master {
            Some(master) => master.forward_address(&far.to_string()).await.map(Some),
            None => Ok(None),
        }
    }

    /// A stream to a host and port, opened from the far machine.
    ///
    /// # Errors
    /// When SSH does not forward it; this machine itself is no way to anywhere.
    pub async fn stream_to(&self, host: &str, port: u16) -> std::io::Result<tokio::net::UnixStream> {
        let Some(master) = &self.inner.master else {
            return Err(std::io::Error::other("there is no SSH connection to go through"));
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let near = master.forward_address(&format!("{host}:{port}")).await.map_err(std::io::Error::other)?;
        tokio::net::UnixStream::connect(near).await
    }

    /// Why the connection is gone, if it is. A near one never is.
    pub fn lost(&self) -> Option<ConnectionError> {
        self.inner.master.as_ref().and_then(|master| master.lost())
    }

    /// Waits until the connection is gone; for a near one, forever. A host that falls silent is noticed within 20 s.
    pub async fn wait_lost(&self) -> ConnectionError {
        match &self.inner.master {
            Some(master) => master.wait_lost().await,
            None => std::future::pending().await,
        }
    }
}

/// Runs a command on this machine to its end, without any engine.
pub(crate) async fn run_here(command: Command) -> Result<Output, RunError> {
    process::execute("this machine", command, process::spawn(process::shell())).await
}

enum Near {
    Here(Connection),
    There(Address),
}

async fn open_near(options: &Options) -> Result<Near, ConnectionError> {
    let address = Address::Local;
    let local = |reason: String| ConnectionError::Local { host: address.to_string(), reason };
    let mut shell = tokio::process::Command::new("sh");
    shell.arg("-c").arg(probe::SCRIPT).stdin(Stdio::null()).kill_on_drop(true);
    if let Some(docker_host) = &options.docker_host {
        shell.env("DOCKER_HOST", docker_host);
    }
    shell.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = shell.spawn().map_err(|error| local(error.to_string()))?;
    let stdout = child.stdout.take().ok_or_else(|| local("a pipe is missing".into()))?;
    let found = tokio::time::timeout(Duration::from_secs(30), probe::read_facts(stdout)).await;
    let silent = || local("the shell does not answer".into());
    let (facts, rest) = found.map_err(|_| silent())?.ok_or_else(silent)?;
    let compose = facts.compose_sender();
    tokio::spawn(async move {
        probe::read_compose(rest, compose).await;
        let _ = child.wait().await;
    });
    if let Err(endpoint) = facts.socket()
        && let Ok(there) = endpoint.parse()
    {
        return Ok(Near::There(there));
    }
    let far_socket = check(&address, &facts)?;
    let sockets = Sockets { near: far_socket.clone(), far: far_socket, idle: IDLE_SOCKETS, answered: false };
    Ok(Near::Here(Connection::new(address, None, sockets, &facts)))
}

async fn open_far(address: &Address, options: &Options) -> Result<Connection, ConnectionError> {
    let (master, facts) = Master::open(address, options).await?;
    if options.without_engine {
        let (near, far) = (master.socket(), probe::SOCKET.into());
        let sockets = Sockets { near, far, idle: IDLE_SOCKETS, answered: false };
        return Ok(Connection::new(address.clone(), Some(Arc::new(master)), sockets, &facts));
    }
    let far_socket = check(address, &facts)?;
    let master = Arc::new(master);
    let (mut socket, mut idle) = (master.socket(), IDLE_SOCKETS);
    if far_socket != Path::new(probe::SOCKET) {
        socket = master.forward_socket(&far_socket.display().to_string()).await?;
    }
    let mut answered = answers(&socket).await;
    if !answered && master.lost().is_none() && facts.docker.is_some() {
        // sshd may forward no sockets (AllowStreamLocalForwarding no). A connection is a session then: there are few.
        idle = 0;
        socket = relay::listen(&master).map_err(|error| ConnectionError::Local {
            host: address.to_string(),
            reason: error.to_string(),
        })?;
        answered = answers(&socket).await;
        if !answered {
            return Err(ConnectionError::EngineDown { host: address.to_string(), socket: far_socket });
        }
    }
    let sockets = Sockets { near: socket, far: far_socket, idle, answered };
    let connection = Connection::new(address.clone(), Some(Arc::clone(&master)), sockets, &facts);
    if connection.inner.prepares {
        master.prepare_shell();
    }
    Ok(connection)
}

/// Says why the engine cannot be used, or where it is.
fn check(address: &Address, facts: &Facts) -> Result<PathBuf, ConnectionError> {
    let host = address.to_string();
    let socket = match facts.socket() {
        Ok(socket) => socket,
        Err(endpoint) => return Err(ConnectionError::EngineElsewhere { endpoint }),
    };
    match facts.access {
        Access::Open => Ok(socket),
        Access::Denied => Err(ConnectionError::EngineForbidden { host, user: facts.user.clone(), socket }),
        Access::Absent if facts.docker.is_some() => Err(ConnectionError::EngineDown { host, socket }),
        Access::Absent => Err(ConnectionError::EngineMissing { host, socket }),
    }
}

/// Whether an engine answers behind the socket, within 10 s.
async fn answers(socket: &Path) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let ask = async {
        let mut stream = tokio::net::UnixStream::connect(socket).await?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n").await?;
        let mut start = [0; 5];
        stream.read_exact(&mut start).await?;
        Ok::<_, std::io::Error>(&start == b"HTTP/")
    };
    matches!(tokio::time::timeout(Duration::from_secs(10), ask).await, Ok(Ok(true)))
}

/// The engine's socket, here and there.
struct Sockets {
    near: PathBuf,
    far: PathBuf,
    idle: usize,
    answered: bool,
}

impl Connection {
    fn new(address: Address, master: Option<Arc<Master>>, sockets: Sockets, facts: &Facts) -> Self {
        let inner = Inner {
            address,
            master,
            socket: sockets.near,
            far_socket: sockets.far,
            idle_sockets: sockets.idle,
            answered: sockets.answered,
            prepares: sockets.answered && sockets.idle > 0,
            user: facts.user.clone(),
            home: facts.home.clone(),
            has_docker: facts.docker.is_some(),
            compose: facts.compose(),
        };
        Self { inner: Arc::new(inner) }
    }
}
