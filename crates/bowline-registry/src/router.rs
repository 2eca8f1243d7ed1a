//! From a request to the function that answers it.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::address::is_loopback_host;
use crate::error::Refusal;
use crate::name::Reference;
use crate::route::{self, Route};
use crate::server::Limits;
use crate::store::Store;
use crate::upload::Uploads;
use crate::{blob, manifest, referrer, tag, upload};

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// How long a refused client may go on sending.
const DRAIN: Duration = Duration::from_secs(5);
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// What every handler works on.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    pub(crate) limits: Limits,
    /// Whether the listener is on loopback, so that only loopback names can be meant.
    pub(crate) local: bool,
}

/// The parts of a request that handlers read.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
}

impl Asked {
    pub(crate) fn query(&self, key: &str) -> Option<String> {
        route::query(self.query.as_deref(), key)
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The length that the request declares for its body.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH).and_then(|text| text.parse().ok())
    }

    pub(crate) fn refuse_method(&self, what: &'static str) -> Refusal {
        Refusal::Method { method: self.method.to_string(), what }
    }
}

/// The registry as a service. There is one handler: repository names hold slashes, which no route pattern can say.
pub(crate) fn router(registry: Registry) -> Router {
    Router::new().fallback(handle).with_state(registry)
}

async fn handle(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // With `Expect: 100-continue` the client waits for a word before it sends, and the refusal is that word.
    let sends = !parts.headers.contains_key(header::EXPECT);
    let mut body = body.into_data_stream();
    let mut response = match answer_request(&registry, parts, &mut body).await {
        Ok(response) => response,
        Err(refusal) => {
            if sends && !matches!(refusal, Refusal::Cut | Refusal::Stalled { .. }) {
                drain(&mut body).await;
            }
            refusal.into_response()
        }
    };
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

/// Lets a refused client finish sending, for a while: if the connection were closed while it sends, the kernel would
/// throw the refusal away and the client would see a broken connection instead.
async fn drain(body: &mut BodyDataStream) {
    let all = async { while let Some(Ok(_)) = body.next().await {} };
    // Who sends longer than that sees the broken connection after all.
    let _ = tokio::time::timeout(DRAIN, all).await;
}

async fn answer_request(
    registry: &Registry,
    parts: Parts,
    body: &mut BodyDataStream,
) -> Result<Response, Refusal> {
    if registry.local {
        let host =
            parts.headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
        if !is_loopback_host(host) {
            return Err(Refusal::ForeignHost { host: host.into() });
        }
    }
    let path = parts.uri.path();
    let path = route::decode(path).ok_or_else(|| Refusal::NoSuchPath { path: path.into() })?;
    let query = parts.uri.query().map(str::to_owned);
    let asked = Asked { method: parts.method, query, headers: parts.headers };
    let get = asked.method == Method::GET || asked.method == Method::HEAD;
    if registry.store.is_only_read() && !get {
        return Err(asked.refuse_method("a registry that is only read from here"));
    }
    match route::parse(&path)? {
        Route::Base if get => Ok(json(&serde_json::json!({}))),
        Route::Base => Err(asked.refuse_method("the registry's root")),
        Route::Catalog if get => tag::list_names(registry, &asked).await,
        Route::Catalog => Err(asked.refuse_method("the catalog")),
        Route::Tags(name) if get => tag::list(registry, name, &asked).await,
        Route::Tags(_) => Err(asked.refuse_method("a list of tags")),
        Route::Referrers(name, subject) if get => referrer::list(registry, name, subject, &asked).await,
        Route::Referrers(..) => Err(asked.refuse_method("a list of referrers")),
        Route::Blob(name, digest) => match asked.method {
            _ if get => blob::get(registry, name, digest, &asked).await,
            Method::DELETE => blob::delete(registry, name, digest).await,
            _ => Err(asked.refuse_method("a blob")),
        },
        Route::Uploads(name) => match asked.method {
            Method::POST => upload::begin(registry, name, &asked, body).await,
            _ => Err(asked.refuse_method("the place where uploads begin")),
        },
        Route::Upload(name, id) => match asked.method {
            Method::GET | Method::HEAD => upload::status(registry, &name, &id),
            Method::PATCH => upload::patch(registry, &name, &id, &asked, body).await,
            Method::PUT => upload::put(registry, &name, &id, &asked, body).await,
            Method::DELETE => upload::cancel(registry, &name, &id),
            _ => Err(asked.refuse_method("an upload")),
        },
        Route::Manifest(name, reference) => match asked.method {
            _ if get => manifest::get(registry, name, reference, &asked).await,
            Method::PUT => manifest::put(registry, name, reference, &asked, body).await,
            Method::DELETE => match reference {
                Reference::Tag(tag) => tag::delete(registry, name, tag).await,
                Reference::Digest(digest) => manifest::delete(registry, name, digest).await,
            },
            _ => Err(asked.refuse_method("a manifest")),
        },
    }
}

/// A response. Header values are digits, digests, checked names and media types; one that could not stand in a header
/// is left out.
pub(crate) fn answer(status: StatusCode, headers: Vec<(HeaderName, String)>, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A 200 with a JSON body.
pub(crate) fn json(value: &serde_json::Value) -> Response {
    let headers = vec![(header::CONTENT_TYPE, "application/json".to_owned())];
    answer(StatusCode::OK, headers, Body::from(value.to_string()))
}

/// Runs what uses the disk away from the threads that serve connections.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failure) => Err(std::io::Error::other(failure).into()),
    }
}
