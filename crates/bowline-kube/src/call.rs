//! One request and its answer, asked again where that is safe.

use std::time::Duration;

use bowline_core::kube::answer::is_typed;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::error::KubeError;

/// How long a question may take, and a page of a list over a slow connection. What is silent for longer may be a
/// connection that something in between has forgotten: the next attempt gets another.
const QUESTION: Duration = Duration::from_secs(20);
/// How long a change may take: the server itself gives up after 34 s, webhooks included.
const CHANGE: Duration = Duration::from_secs(40);
/// How long all attempts together may take, with the pauses between them.
const WHOLE: Duration = Duration::from_secs(60);
/// How often a request is made, the first time included.
const ATTEMPTS: u32 = 5;
/// The first pause before a request is made again; each one after is twice as long, half of it at random.
const PAUSE: Duration = Duration::from_millis(200);
/// From so many bytes on an answer is long to read: a millisecond.
const LONG: usize = 64 << 10;
/// The longest pause that a server may ask for.
const LONGEST: Duration = Duration::from_secs(10);

/// When a request may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Whenever there was no answer, or none that means anything: making it twice is like making it once.
    Always,
    /// Only where the server certainly did not begin with it: twice would be something else.
    Untouched,
}

/// A request.
pub(crate) struct Call<'a> {
    /// What it is for: completes "cannot …".
    pub(crate) what: &'a str,
    /// The verb.
    pub(crate) method: Method,
    /// The path below the server's address, with its query.
    pub(crate) path: String,
    /// Its type and what is sent.
    pub(crate) body: Option<(&'static str, Vec<u8>)>,
    /// When it may be made again.
    pub(crate) again: Again,
}

impl<'a> Call<'a> {
    /// A question.
    pub(crate) fn get(what: &'a str, path: String) -> Self {
        Self { what, method: Method::GET, path, body: None, again: Again::Always }
    }
}

/// An answer, whatever it says.
pub(crate) struct Reply {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// What the server warns of, in its words.
    pub(crate) warnings: Vec<String>,
    /// What it sent: JSON, or a text as a JSON string.
    pub(crate) body: Value,
}

impl Reply {
    /// The body of an answer that is a success.
    pub(crate) fn success(self, what: &str, server: &str) -> Result<Value, KubeError> {
        if self.status.is_success() { Ok(self.body) } else { Err(self.error(what, server)) }
    }

    /// The error that an answer is which is no success.
    pub(crate) fn error(&self, what: &str, server: &str) -> KubeError {
        let text = |field: &str| self.body.get(field).and_then(Value::as_str);
        let message = text("message").or(self.body.as_str()).filter(|message| !message.trim().is_empty());
        let message = message.unwrap_or(self.status.canonical_reason().unwrap_or("no reason given"));
        KubeError::answered(what, server, self.status.as_u16(), text("reason").unwrap_or_default(), message)
    }
}

/// Why there was no whole answer.
enum Missed {
    /// It is not known how far the request got.
    Somewhere(KubeError),
    /// No connection came about.
    Before(KubeError),
}

impl Cluster {
    /// Makes a request and waits for its answer, whatever it says: at most a minute from when its turn has come among
    /// the requests that are under way.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Reply, KubeError> {
        let Ok(_slot) = self.slots().acquire().await else { return Err(self.late(call.what, WHOLE)) };
        let end = Instant::now() + WHOLE;
        let each = if call.method == Method::GET { QUESTION } else { CHANGE };
        let (mut attempt, mut renewed) = (1, false);
        loop {
            let left = end.saturating_duration_since(Instant::now()).min(each);
            let result = tokio::time::timeout(left, self.attempt(call)).await;
            let result = result.unwrap_or_else(|_| Err(Missed::Somewhere(self.late(call.what, left))));
            if let (Ok((reply, _)), Some(login), false) = (&result, self.login(), renewed)
                && reply.status == StatusCode::UNAUTHORIZED
            {
                login.forget().await;
                renewed = true;
                continue;
            }
            let asked = match &result {
                Ok((_, headers)) => retry_after(headers),
                Err(_) => None,
            };
            let pause = asked.unwrap_or(PAUSE * 2_u32.pow(attempt - 1)).min(LONGEST).mul_f64(jitter());
            let last = attempt >= ATTEMPTS || Instant::now() + pause >= end;
            if last || !may_repeat(call.again, &result, asked.is_some()) {
                return match result {
                    Ok((reply, _)) => Ok(reply),
                    Err(Missed::Somewhere(error) | Missed::Before(error)) => Err(error),
                };
            }
            attempt += 1;
            sleep(pause).await;
        }
    }

    /// Makes a request; its answer has to be a success.
    pub(crate) async fn fetch(&self, call: &Call<'_>) -> Result<Value, KubeError> {
        self.call(call).await?.success(call.what, self.server())
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<(Reply, HeaderMap), Missed> {
        let invalid = |error: http::Error| {
            Missed::Before(KubeError::Unexpected { what: call.what.to_owned(), message: error.to_string() })
        };
        let mut request =
            Request::builder().method(&call.method).uri(&call.path).header(ACCEPT, "application/json");
        let mut body = Body::empty();
        if let Some((kind, bytes)) = &call.body {
            request = request.header(CONTENT_TYPE, *kind);
            body = Body::from(bytes.clone());
        }
        let request = request.body(body).map_err(invalid)?;
        let answer = self.client().send(request).await.map_err(|error| {
            let explained = self.explain(call.what, &error);
            if is_before(&error) { Missed::Before(explained) } else { Missed::Somewhere(explained) }
        })?;
        let (head, body) = answer.into_parts();
        let body =
            body.collect().await.map_err(|error| Missed::Somewhere(self.explain(call.what, &error)))?;
        let bytes = body.to_bytes();
        let body = match parse(&bytes).await {
            Ok(body) => body,
            Err(error) if head.status.is_success() && call.path != "/healthz" => {
                return Err(Missed::Somewhere(KubeError::Unexpected {
                    what: call.what.to_owned(),
                    message: format!("the API server's answer is no JSON: {error}"),
                }));
            }
            Err(_) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        };
        Ok((Reply { status: head.status, warnings: warnings(&head.headers), body }, head.headers))
    }
}

/// Reads JSON. A long list is read beside the task: others arrive meanwhile, and there is more than one processor.
async fn parse(bytes: &Bytes) -> Result<Value, serde_json::Error> {
    if bytes.len() < LONG {
        return serde_json::from_slice(bytes);
    }
    let read = tokio::task::spawn_blocking({
        let bytes = bytes.clone();
        move || serde_json::from_slice(&bytes)
    });
    match read.await {
        Ok(read) => read,
        // The runtime is ending.
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// Whether a request never left: there was no connection, or no credential to go with it.
fn is_before(error: &kube::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        next = error.source();
    }
    false
}

fn may_repeat(again: Again, result: &Result<(Reply, HeaderMap), Missed>, asked: bool) -> bool {
    match result {
        // What the certificate says, and whether a program can log in, will be the same in a moment.
        Err(Missed::Somewhere(error) | Missed::Before(error))
            if !matches!(error, KubeError::Unreachable { .. } | KubeError::Timeout { .. }) =>
        {
            false
        }
        Err(Missed::Before(_)) => true,
        Err(Missed::Somewhere(_)) => again == Again::Always,
        Ok((reply, _)) => match reply.status.as_u16() {
            429 => true,
            // Old servers say so of an object that does not fit its schema.
            500 if reply.body.get("message").and_then(Value::as_str).is_some_and(is_typed) => false,
            500 | 502 | 503 | 504 => again == Again::Always,
            // A server that is starting, or a namespace's cache that is behind, says when to come again.
            409 | 404 => asked && again == Again::Always,
            _ => false,
        },
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Between a half and one: many clients that failed together must not come back together.
fn jitter() -> f64 {
    0.5 + rand::random::<f64>() / 2.0
}

/// The texts of `Warning` headers: `299 - "spec.foo: unknown field"`.
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let text = |value: &http::HeaderValue| {
        let value = value.to_str().ok()?;
        let (_, quoted) = value.split_once('"')?;
        let end = quoted.rfind('"')?;
        Some(quoted.get(..end)?.replace("\\\"", "\"").replace("\\\\", "\\"))
    };
    headers.get_all(WARNING).iter().filter_map(text).collect()
}

/// A name as one segment of a path: it may come from a manifest, and must not lead elsewhere.
pub(crate) fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:~".contains(&byte);
    if name == "." || name == ".." {
        return name.replace('.', "%2E");
    }
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_place() {
        for (name, expected) in [
            ("user", "user"),
            ("system:node", "system:node"),
            ("../secrets/x?y=z", "..%2Fsecrets%2Fx%3Fy%3Dz"),
            ("..", "%2E%2E"),
            ("größe", "gr%C3%B6%C3%9Fe"),
        ] {
            assert_eq!(segment(name), expected);
        }
    }

    #[test]
    fn warnings_are_read_without_their_quotes() {
        let mut headers = HeaderMap::new();
        headers.append(WARNING, "299 - \"unknown field \\\"spec.foo\\\"\"".parse().unwrap());
        headers.append(WARNING, "nonsense".parse().unwrap());
        assert_eq!(warnings(&headers), ["unknown field \"spec.foo\""]);
    }

    #[test]
    fn only_what_is_safe_is_asked_again() {
        let reply = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            Ok((Reply { status, warnings: Vec::new(), body: Value::Null }, HeaderMap::new()))
        };
        let missed = |before: bool| {
            let error =
                KubeError::Unreachable { what: "x".into(), server: "y".into(), reason: "reset".into() };
            Err(if before { Missed::Before(error) } else { Missed::Somewhere(error) })
        };
        let table = [
            (reply(200), false, false),
            (reply(404), false, false),
            (reply(429), true, true),
            (reply(500), true, false),
            (reply(503), true, false),
            (missed(true), true, true),
            (missed(false), true, false),
        ];
        for (result, always, untouched) in table {
            assert_eq!(may_repeat(Again::Always, &result, false), always);
            assert_eq!(may_repeat(Again::Untouched, &result, false), untouched);
        }
    }
}
