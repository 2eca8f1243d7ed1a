//! Where releases are kept: the configured registry, or the embedded one.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bowline_core::reference::Repository;
use bowline_oci::credential::Credentials;
use bowline_oci::registry::{Client, Options};
use bowline_registry::{OpenError, Store, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::host::{Host, with_hint};
use crate::config::Config;
use crate::error::{Attempt, Failure, FailureKind, Outcome};
use crate::record::{make_private, state_directory};

/// The host name in names that exist on hosts only; nothing is pulled by it.
pub const LOCAL: &str = "bowline.local";

/// The repository in the names that images keep on hosts: the configured one, or the embedded registry's.
pub fn kept_as(config: &Config) -> Repository {
    let embedded = || Repository { registry: LOCAL.into(), name: config.project.clone() };
    config.repository.clone().unwrap_or_else(embedded)
}

/// How long a process that has the embedded registry may take until it answers.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often one looks whether that process has ended.
const TURN: Duration = Duration::from_millis(100);

/// An open registry.
pub struct Depot {
    /// Talks to it.
    pub client: Client,
    /// The one repository of all services, as this machine reaches it.
    pub repository: Repository,
    /// The repository in the names that images keep on hosts.
    pub kept_as: Repository,
    /// How to log in to registries.
    pub credentials: Credentials,
    /// The embedded registry, where it is the one.
    embedded: Option<Embedded>,
}

struct Embedded {
    /// Where this machine reaches it, whichever process serves it there.
    port: u16,
    /// Keep it up: now, or once the process that serves it has ended.
    tasks: Mutex<JoinSet<()>>,
}

impl Embedded {
    fn start(port: u16, work: impl Future<Output = ()> + Send + 'static) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(work);
        Self { port, tasks: Mutex::new(tasks) }
    }

    /// Another way in, for a far host: who else is on that host reaches it too, and must not change anything. It is of
    /// this run, also where another process serves the registry.
    async fn open_for_reading(&self) -> Outcome<u16> {
        let opened = tokio::task::spawn_blocking(|| Store::open_for_reading(&directory()));
        let store = opened.await.attempt(opening)?.map_err(|error| refused(&error))?;
        let (listener, port) = listen().await?;
        self.tasks.lock().await.spawn(run(listener, store));
        Ok(port)
    }
}

fn opening() -> String {
    "opening the embedded registry".to_owned()
}

fn refused(error: &OpenError) -> Failure {
    Failure::failed(opening()).because(error).hint(error.hint())
}

async fn listen() -> Outcome<(TcpListener, u16)> {
    let attempt = || "serving the embedded registry".to_owned();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.attempt(attempt)?;
    let port = listener.local_addr().attempt(attempt)?.port();
    Ok((listener, port))
}

/// Where the embedded registry keeps its content.
pub fn directory() -> PathBuf {
    state_directory().join("registry")
}

/// Where the process that serves the embedded registry says its address.
pub fn address_file() -> PathBuf {
    state_directory().join("registry.address")
}

impl Depot {
    /// Opens the registry that the configuration names. Without one, the embedded registry is served on a free port
    /// of loopback for as long as this value lives, unless another process serves it already.
    ///
    /// # Errors
    /// When the embedded registry's directory cannot be used.
    pub async fn open(config: &Config) -> Outcome<Self> {
        let credentials = Credentials::from_environment();
        let kept_as = kept_as(config);
        let plain = config.repository.iter().filter(|_| config.insecure).map(|at| at.registry.clone());
        let options =
            Options { credentials: credentials.clone(), plain: plain.collect(), ..Options::default() };
        let client = Client::new(options).attempt(|| "preparing to talk to registries".into())?;
        if let Some(repository) = &config.repository {
            let repository = repository.clone();
            return Ok(Self { client, repository, kept_as, credentials, embedded: None });
        }
        let embedded = open_embedded().await?;
        let registry = format!("127.0.0.1:{}", embedded.port);
        let repository = Repository { registry, name: config.project.clone() };
        Ok(Self { client, repository, kept_as, credentials, embedded: Some(embedded) })
    }

    /// The registry in words: the port of the embedded one is another one each time.
    pub fn place(&self) -> String {
        match self.embedded {
            Some(_) => "the embedded registry".into(),
            None => self.repository.to_string(),
        }
    }

    /// Whether the registry is known to decide between two who write one tag at the same time.
    pub fn decides(&self) -> bool {
        self.embedded.is_some()
    }

    /// The repository as a host reaches it, and whether that name is good for this run only.
    ///
    /// # Errors
    /// When the embedded registry cannot be read, or the way back to this machine cannot be opened.
    pub async fn seen_from(&self, host: &Host) -> Outcome<(Repository, bool)> {
        let Some(embedded) = &self.embedded else { return Ok((self.repository.clone(), false)) };
        let far = host.connection.is_far();
        let port = if far { embedded.open_for_reading().await? } else { embedded.port };
        let there = host.connection.forward_back(port).await.map_err(|error| {
            let failure = format!("opening a way from {} to the registry on this machine", host.target);
            with_hint(Failure::new(FailureKind::Unreachable, failure).because(&error), error.hint())
        })?;
        let name = self.repository.name.clone();
        Ok((Repository { registry: format!("127.0.0.1:{there}"), name }, true))
    }
}

async fn open_embedded() -> Outcome<Embedded> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(store) = open_store().await? {
            let (listener, port) = listen().await?;
            announce(port)?;
            return Ok(Embedded::start(port, run(listener, store)));
        }
        if let Some(port) = announced().await {
            return Ok(Embedded::start(port, succeed(port)));
        }
        if Instant::now() > deadline {
            return Err(Failure::failed("reaching the embedded registry")
                .since(format!("another process uses {} but does not answer", directory().display()))
                .hint("stop that process (`bowline registry serve`?) and try again"));
        }
        tokio::time::sleep(TURN).await;
    }
}

/// Opens the embedded registry's content; nothing where another process has it.
async fn open_store() -> Outcome<Option<Store>> {
    let path = directory();
    let opened = tokio::task::spawn_blocking(move || {
        make_private(&path).ok();
        Store::open(&path)
    });
    match opened.await.attempt(opening)? {
        Ok(store) => Ok(Some(store)),
        Err(OpenError::InUse { .. }) => Ok(None),
        Err(error) => Err(refused(&error)),
    }
}

async fn run(listener: TcpListener, store: Store) {
    // Its end is the end of this run: whoever needed it has failed, is done, or takes over.
    let _ = serve(listener, store, std::future::pending::<()>()).await;
}

/// Another process serves the registry for as long as its own run lasts. Whoever goes on longer takes it over, at the
/// same address: what was told to engines and hosts stays true.
async fn succeed(port: u16) {
    loop {
        tokio::time::sleep(TURN).await;
        if let Ok(Some(store)) = open_store().await
            && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
        {
            return run(listener, store).await;
        }
    }
}

/// Tells other processes of this machine where the embedded registry is served.
///
/// # Errors
/// When the file cannot be written.
pub fn announce(port: u16) -> Outcome<()> {
    let (file, fresh) =
        (address_file(), state_directory().join(format!("registry.address.{}", std::process::id())));
    std::fs::write(&fresh, port.to_string())
        .and_then(|()| std::fs::rename(&fresh, &file))
        .attempt(|| format!("writing {}", file.display()))
}

/// The port at which another process says that it serves the registry, if it answers there.
async fn announced() -> Option<u16> {
    let port = std::fs::read_to_string(address_file()).ok()?.trim().parse::<u16>().ok()?;
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok().map(|_| port)
}
