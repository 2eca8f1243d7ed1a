//! The registry client: the distribution specification 1.1 over HTTP.
//!
//! HTTPS, except for registries on this machine's loopback and those that it is told about. A request that is
//! refused for lack of a login is answered with one; what passes by itself (limits, overload, broken lines) is
//! tried again until the operation's deadline.

mod auth;
mod blob;
mod error;
mod login;
mod manifest;
mod retry;
mod tag;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use bowline_core::reference::Repository;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use crate::credential::Credentials;
use auth::{Scope, Token};
use retry::Retry;

pub(crate) use blob::{Origin, Upload};
pub use blob::{Outcome, Tick};
pub use error::RegistryError;
pub use manifest::Fetched;

/// The largest manifest that is taken, in bytes (distribution's own limit is 4 MiB).
const DOCUMENT_LIMIT: usize = 4 << 20;
/// How much of an error's body is looked at.
const MESSAGE_LIMIT: usize = 64 << 10;
/// More redirects than this are a loop.
const REDIRECTS: usize = 10;

/// How the client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where logins are looked for.
    pub credentials: Credentials,
    /// Registries that are spoken to without TLS, besides those on loopback.
    pub plain: BTreeSet<String>,
    /// How long a connection may take.
    pub connect: Duration,
    /// How long nothing may move.
    pub idle: Duration,
    /// How long one operation tries again what failed in passing.
    pub patience: Duration,
    /// How many blobs are moved at the same time.
    pub transfers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            credentials: Credentials::from_environment(),
            plain: BTreeSet::new(),
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            patience: Duration::from_secs(120),
            transfers: 4,
        }
    }
}

/// How long a registry that cannot be reached at all is tried again: a name that does not exist or a port where
/// nobody listens seldom changes.
const UNREACHABLE: Duration = Duration::from_secs(15);

/// A client for all registries. Clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    patience: Duration,
}

struct Inner {
    options: Options,
    /// For registries without TLS: needs no certificates, uses no proxy.
    plain: reqwest::Client,
    /// For all others; made when it is first needed, as it reads the system's certificates.
    secure: OnceLock<reqwest::Client>,
    tokens: Mutex<HashMap<(String, Scope), Token>>,
    logging_in: tokio::sync::Mutex<()>,
    transfers: tokio::sync::Semaphore,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

/// One request's place and purpose.
struct Call<'a> {
    registry: &'a str,
    repository: &'a str,
    scope: Scope,
    /// What is attempted, for errors: `read the tag x`.
    doing: String,
}

impl Client {
    /// A client with these options.
    pub fn new(options: Options) -> Result<Self, RegistryError> {
        // Another part of the program may have chosen the same provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = builder(&options).no_proxy().tls_certs_only([]).build().map_err(RegistryError::Setup)?;
        let transfers = tokio::sync::Semaphore::new(options.transfers.max(1));
        let patience = options.patience;
        Ok(Self {
            patience,
            inner: Arc::new(Inner {
                options,
                plain,
                secure: OnceLock::new(),
                tokens: Mutex::default(),
                logging_in: tokio::sync::Mutex::default(),
                transfers,
            }),
        })
    }

    /// The same client, with another patience for what fails in passing.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { inner: self.inner.clone(), patience }
    }

    fn is_plain(&self, registry: &str) -> bool {
        let place = Repository { registry: registry.into(), name: String::new() };
        place.is_loopback() || self.inner.options.plain.contains(registry)
    }

    fn http(&self, registry: &str) -> Result<&reqwest::Client, RegistryError> {
        if self.is_plain(registry) {
            return Ok(&self.inner.plain);
        }
        if let Some(client) = self.inner.secure.get() {
            return Ok(client);
        }
        let client = builder(&self.inner.options).build().map_err(RegistryError::Setup)?;
        Ok(self.inner.secure.get_or_init(|| client))
    }

    /// The address of something below `/v2/`.
    fn url(&self, registry: &str, path: &str) -> Result<Url, RegistryError> {
        let scheme = if self.is_plain(registry) { "http" } else { "https" };
        // Docker Hub's references and its API have different hosts.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        Url::parse(&format!("{scheme}://{host}/v2/{path}")).map_err(|error| RegistryError::Protocol {
            doing: "make the address of a request".into(),
            registry: registry.into(),
            problem: format!("is no host: {error}"),
        })
    }

    /// Whether the registry can be reached and takes the login for this repository, if it wants one.
    pub async fn ping(&self, repository: &Repository) -> Result<(), RegistryError> {
        let call = Call {
            registry: &repository.registry,
            repository: &repository.name,
            scope: Scope::none(),
            doing: format!("reach the registry {}", repository.registry),
        };
        let url = self.url(call.registry, "")?;
        self.send(&call, |http| http.get(url.clone())).await?.accept(&call, &[200]).await.map(drop)
    }

    /// Sends a request: again with a login where one is wanted, and again where the failure may pass. The last
    /// answer is given as it is.
    async fn send(
        &self,
        call: &Call<'_>,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Answer, RegistryError> {
        let mut retry = Retry::within(self.patience);
        loop {
            let result = self.send_once(call, &request).await;
            let (passing, asked) = match &result {
                Ok(Answer(response)) => {
                    let passing = error::is_passing(response.status().as_u16());
                    (passing, retry::after(response.headers(), SystemTime::now()))
                }
                Err(error) => {
                    if error.is_unreachable() {
                        retry.limit(UNREACHABLE);
                    }
                    (error.is_passing(), None)
                }
            };
            if !passing || !retry.pause(asked).await {
                return result;
            }
        }
    }

    /// Sends a request once, and once more where it needs a login or its token is no good any more.
    async fn send_once(
        &self,
        call: &Call<'_>,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Answer, RegistryError> {
        let http = self.http(call.registry)?;
        let used = self.token(call);
        let response = self.attempt(call, request(http), used.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(Answer(response));
        }
        let token = self.log_in(call, used.as_ref(), response.headers()).await?;
        let response = self.attempt(call, request(http), Some(&token)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.forget(call, &token);
            let (doing, registry) = (call.doing.clone(), call.registry.to_owned());
            return Err(RegistryError::Unauthorized { doing, registry, anonymous: false });
        }
        Ok(Answer(response))
    }

    async fn attempt(
        &self,
        call: &Call<'_>,
        request: RequestBuilder,
        token: Option<&Token>,
    ) -> Result<Response, RegistryError> {
        let idle = self.inner.options.idle;
        let (http, request) = self.authorize(call, request, token)?;
        match tokio::time::timeout(idle, http.execute(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) => Err(call.transport(source)),
            Err(_) => Err(call.timeout(idle)),
        }
    }

    /// A request with its token, which no other host than the registry's gets to see.
    fn authorize(
        &self,
        call: &Call<'_>,
        request: RequestBuilder,
        token: Option<&Token>,
    ) -> Result<(reqwest::Client, reqwest::Request), RegistryError> {
        let (http, request) = request.build_split();
        let mut request = request.map_err(|source| call.transport(source))?;
        let own = self.url(call.registry, "")?;
        let same = own.host_str() == request.url().host_str()
            && own.port_or_known_default() == request.url().port_or_known_default();
        if let Some(token) = token.filter(|_| same) {
            let mut value = reqwest::header::HeaderValue::from_str(&token.header)
                .map_err(|_| call.protocol("gave a token that fits in no header"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(reqwest::header::AUTHORIZATION, value);
        }
        Ok((http, request))
    }

    /// Reads a whole body that is not longer than this.
    async fn read_body(
        &self,
        call: &Call<'_>,
        mut response: Response,
        limit: usize,
    ) -> Result<Vec<u8>, RegistryError> {
        let idle = self.inner.options.idle;
        let mut body = Vec::new();
        loop {
            let chunk = tokio::time::timeout(idle, response.chunk()).await;
            match chunk.map_err(|_| call.timeout(idle))?.map_err(|source| call.transport(source))? {
                Some(chunk) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
                Some(_) => return Err(call.protocol(&format!("answered with more than {limit} bytes"))),
                None => return Ok(body),
            }
        }
    }
}

fn builder(options: &Options) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("bowline/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect)
        .pool_idle_timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::custom(|attempt| {
            let from = attempt.previous().last().cloned();
            match from {
                _ if attempt.previous().len() > REDIRECTS => attempt.error("too many redirects"),
                Some(from) if !may_follow(&from, attempt.url()) => {
                    attempt.error("redirected to a forbidden address")
                }
                _ => attempt.follow(),
            }
        }))
}

/// Whether a registry may send us there. Another host must not be an address inside this network, named by
/// number: a registry could otherwise make us ask machines that it cannot reach itself. Nor is TLS given up.
fn may_follow(from: &Url, to: &Url) -> bool {
    if from.scheme() == "https" && to.scheme() != "https" {
        return false;
    }
    if from.host_str() == to.host_str() {
        return true;
    }
    let host = to.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let inside = match address {
        Ok(std::net::IpAddr::V4(v4)) => {
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()
        }
        Ok(std::net::IpAddr::V6(v6)) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.to_ipv4_mapped().is_some()
        }
        Err(_) => host == "localhost",
    };
    !inside
}

/// A response of which the status has not been judged.
struct Answer(Response);

impl Answer {
    /// The response if its status is one of these; else the error that it is.
    async fn accept(self, call: &Call<'_>, statuses: &[u16]) -> Result<Self, RegistryError> {
        let status = self.0.status().as_u16();
        if statuses.contains(&status) {
            return Ok(self);
        }
        let mut response = self.0;
        let mut body = Vec::new();
        let read = async {
            while let Ok(Some(chunk)) = response.chunk().await {
                body.extend_from_slice(&chunk);
                if body.len() > MESSAGE_LIMIT {
                    break;
                }
            }
        };
        // What came by then says enough, however slowly the rest drips.
        let _ = tokio::time::timeout(Duration::from_secs(5), read).await;
        let (doing, registry) = (call.doing.clone(), call.registry.to_owned());
        let message = error::message(&body);
        Err(match status {
            401 => RegistryError::Unauthorized { doing, registry, anonymous: false },
            403 => RegistryError::Denied { doing, registry, message },
            404 => RegistryError::NotFound { doing, registry, message },
            _ => RegistryError::Status { doing, registry, status, message },
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }
}

impl Call<'_> {
    fn transport(&self, source: reqwest::Error) -> RegistryError {
        // Upload addresses carry state that is nobody's business.
        let source = source.without_url();
        RegistryError::Transport { doing: self.doing.clone(), registry: self.registry.into(), source }
    }

    fn timeout(&self, idle: Duration) -> RegistryError {
        RegistryError::Timeout { doing: self.doing.clone(), registry: self.registry.into(), idle }
    }

    fn protocol(&self, problem: &str) -> RegistryError {
        let problem = problem.to_owned();
        RegistryError::Protocol { doing: self.doing.clone(), registry: self.registry.into(), problem }
    }
}

/// `GET`, `HEAD` and their like, for the submodules.
fn method(http: &reqwest::Client, method: Method, url: &Url) -> RequestBuilder {
    http.request(method, url.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_cannot_send_us_into_our_own_network() {
        for (from, to, expected) in [
            ("https://r.example/v2/", "https://cdn.example/x", true),
            ("https://r.example/v2/", "http://r.example/x", false),
            ("https://r.example/v2/", "https://169.254.169.254/latest", false),
            ("https://r.example/v2/", "https://10.0.0.1/", false),
            ("https://r.example/v2/", "https://[::1]/", false),
            ("https://r.example/v2/", "https://[::ffff:10.0.0.1]/", false),
            ("https://r.example/v2/", "https://localhost/", false),
            ("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5000/x", true),
            ("https://10.0.0.1/v2/", "https://10.0.0.1/x", true),
        ] {
            let url = |text: &str| Url::parse(text).unwrap();
            assert_eq!(may_follow(&url(from), &url(to)), expected, "{from} -> {to}");
        }
    }
}
