//! Where releases are kept: the configured registry, or the embedded one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use bowline_core::reference::Repository;
use bowline_oci::credential::Credentials;
use bowline_oci::registry::{Client, Options};
use bowline_registry::{OpenError, Store, serve, serve_reading};
use tokio::net::TcpListener;
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
    /// The embedded registry's port, where it is the one.
    port: Option<u16>,
    /// Keeps the embedded registry up, where this process runs it.
    serving: Option<Serving>,
}

struct Serving {
    store: Store,
    tasks: Mutex<JoinSet<()>>,
}

impl Serving {
    /// Another way in, for a far host: what is reachable there by whoever is on that host must not be changed there.
    async fn open_for_reading(&self) -> Outcome<u16> {
        let (listener, port) = listen().await?;
        let serving = serve_reading(listener, self.store.clone(), std::future::pending::<()>());
        self.tasks.lock().await.spawn(async move {
            let _ = serving.await;
        });
        Ok(port)
    }
}

async fn listen() -> Outcome<(TcpListener, u16)> {
    let attempt = || "serving the embedded registry".to_owned();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(address).await.attempt(attempt)?;
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
        let client = Client::new(Options { credentials: credentials.clone(), ..Options::default() })
            .attempt(|| "preparing to talk to registries".into())?;
        if let Some(repository) = &config.repository {
            let repository = repository.clone();
            return Ok(Self { client, repository, kept_as, credentials, port: None, serving: None });
        }
        let (port, serving) = open_embedded().await?;
        let repository = Repository { registry: format!("127.0.0.1:{port}"), name: config.project.clone() };
        Ok(Self { client, repository, kept_as, credentials, port: Some(port), serving })
    }

    /// The repository as a host reaches it, and whether that name is good for this run only.
    ///
    /// # Errors
    /// When the way back to this machine cannot be opened.
    pub async fn seen_from(&self, host: &Host) -> Outcome<(Repository, bool)> {
        let Some(mut port) = self.port else { return Ok((self.repository.clone(), false)) };
        if let Some(serving) = self.serving.as_ref().filter(|_| host.connection.is_far()) {
            port = serving.open_for_reading().await?;
        }
        let there = host.connection.forward_back(port).await.map_err(|error| {
            let failure = format!("opening a way from {} to the registry on this machine", host.target);
            with_hint(Failure::new(FailureKind::Unreachable, failure).because(&error), error.hint())
        })?;
        let name = self.repository.name.clone();
        Ok((Repository { registry: format!("127.0.0.1:{there}"), name }, true))
    }
}

async fn open_embedded() -> Outcome<(u16, Option<Serving>)> {
    let path = directory();
    let opened = tokio::task::spawn_blocking(move || {
        make_private(&path).ok();
        Store::open(&path)
    });
    match opened.await.attempt(|| "opening the embedded registry".into())? {
        Ok(store) => {
            let (listener, port) = listen().await?;
            announce(port)?;
            let serving = serve(listener, store.clone(), std::future::pending::<()>());
            // Its end is the end of this run: whoever needed it has failed or is done.
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                let _ = serving.await;
            });
            Ok((port, Some(Serving { store, tasks: Mutex::new(tasks) })))
        }
        Err(OpenError::InUse { .. }) => Ok((announced().await?, None)),
        Err(error) => {
            Err(Failure::failed("opening the embedded registry").because(&error).hint(error.hint()))
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

/// Another process serves it: its port, once it answers there.
async fn announced() -> Outcome<u16> {
    for _ in 0..50 {
        let port =
            std::fs::read_to_string(address_file()).ok().and_then(|text| text.trim().parse::<u16>().ok());
        if let Some(port) = port
            && tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
        {
            return Ok(port);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(Failure::failed("reaching the embedded registry")
        .since(format!("another process uses {} but does not answer", directory().display()))
        .hint("stop that process (`bowline registry serve`?) and try again"))
}
