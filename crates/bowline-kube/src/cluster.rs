//! A connection to the API server of a cluster.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{Body, ConfigExt};
use tokio::sync::Semaphore;
use tower::filter::AsyncFilterLayer;
use tower::util::MapFuture;
use tower::{BoxError, ServiceBuilder};

use crate::dial::{CONNECT, Dialer};
use crate::error::{KubeError, chain};
use crate::login::Login;

/// How long an ordinary question may take. A server under load answers slowly; a dead one is noticed by the connection.
pub const ORDINARY: Duration = Duration::from_secs(30);

/// How many requests are under way at once. An API server of a small control plane works on two hundred for all its
/// clients together, and kube speaks HTTP/1.1, where each has a connection of its own.
const AT_ONCE: usize = 32;

/// The same through a stream that somebody else opens: each may be a process here and a channel of an SSH connection.
const AT_ONCE_THROUGH: usize = 12;

/// A connection that was not used for longer is not trusted: load balancers forget theirs after a minute or more.
const IDLE: Duration = Duration::from_secs(45);

/// A cluster, reached. Clones share the connections.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    server: Arc<str>,
    context: Option<Arc<str>>,
    namespace: Arc<str>,
    login: Option<Login>,
    slots: Arc<Semaphore>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest holds credentials.
        f.debug_struct("Cluster")
            .field("server", &self.server)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// The client for a configuration; an error says what is wrong with it.
    ///
    /// Kube's own builder is not used: it knows no stream but its own, runs login programs more than once, and asks up
    /// to fifteen times again, also where that is not safe.
    pub(crate) fn open(
        config: &Config,
        server: &str,
        context: Option<String>,
        login: Option<Login>,
        dialer: Dialer,
    ) -> Result<Self, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let wrong = |error: kube::Error| chain(&error);
        let slots = if matches!(dialer, Dialer::Through(_)) { AT_ONCE_THROUGH } else { AT_ONCE };
        let connector = config.rustls_https_connector_with_connector(dialer).map_err(wrong)?;
        // The handshake comes on top of the connection, which has its own, shorter bound.
        let connector = MapFuture::new(connector, |dial| -> BoxFuture<'static, Result<_, BoxError>> {
            Box::pin(async move {
                let late = |_| BoxError::from("no TLS handshake in time");
                tokio::time::timeout(CONNECT * 5, dial).await.map_err(late)?
            })
        });
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build::<_, Body>(connector);
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(wrong)?)
            .option_layer(login.clone().map(AsyncFilterLayer::new))
            .layer(config.extra_headers_layer().map_err(wrong)?)
            .map_err(BoxError::from)
            .service(client);
        Ok(Self {
            client: kube::Client::new(service, config.default_namespace.clone()),
            server: server.into(),
            context: context.map(Into::into),
            namespace: config.default_namespace.as_str().into(),
            login,
            slots: Arc::new(Semaphore::new(slots)),
        })
    }

    /// The client, for requests that this crate has no words for: it asks nothing again by itself.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// The API server's address, as the kubeconfig has it, and by what way it is reached: for people.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The context's name; none inside of a cluster.
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// The namespace of the context; `default` where it names none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Who logs in, where a program does.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// The requests that may be under way at once.
    pub(crate) fn slots(&self) -> &Semaphore {
        &self.slots
    }

    /// Waits for an answer, or for the timeout. `what` completes "cannot …".
    pub async fn ask<T>(
        &self,
        what: &str,
        within: Duration,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, KubeError> {
        match tokio::time::timeout(within, answer).await {
            Ok(answer) => answer.map_err(|error| self.explain(what, &error)),
            Err(_) => Err(self.late(what, within)),
        }
    }

    /// Says in our words what kube says. `what` completes "cannot …".
    pub fn explain(&self, what: &str, error: &kube::Error) -> KubeError {
        KubeError::explain(what, &self.server, error)
    }

    /// The error for an answer that did not come in time.
    pub(crate) fn late(&self, what: &str, after: Duration) -> KubeError {
        KubeError::Timeout { what: what.to_owned(), server: self.server.to_string(), after }
    }
}
