//! A proxy that records what passes and injects faults: before a registry, before an engine's socket, before SSH.

mod http;
mod stream;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

pub use stream::Endpoint;
use stream::{Connection, Listener};

/// A request that passed the proxy, or was stopped by it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Counts all requests of this proxy, from 1.
    pub number: u64,
    /// Such as `PUT`.
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    /// Header names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// The status given to the client; absent while it waits, or when the line was cut before.
    pub status: Option<u16>,
    /// Bytes of the body that reached the server.
    pub sent: u64,
    /// Bytes of the answer's body that reached the client.
    pub received: u64,
}

impl Request {
    /// The value of a header, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The server is not asked; this is the answer.
    Answer {
        /// The status code.
        status: u16,
        /// Further headers, such as `Retry-After`.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The line is cut before the server sees anything.
    Cut,
    /// The line is cut after so many bytes of the request's body.
    CutRequestAfter(u64),
    /// The server does what was asked, and the line is cut before its answer.
    CutAnswer,
    /// The line is cut after so many bytes of the answer's body.
    CutAnswerAfter(u64),
    /// The request waits first.
    Delay(Duration),
    /// No answer, ever; the line stays open.
    Hang,
}

impl Fault {
    /// An answer with nothing but a status.
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: String::new() }
    }

    /// An answer with a status and `Retry-After` in seconds.
    pub fn retry_after(status: u16, seconds: u32) -> Self {
        let headers = vec![("Retry-After".to_owned(), seconds.to_string())];
        Self::Answer { status, headers, body: String::new() }
    }
}

type Matching = Box<dyn Fn(&Request) -> bool + Send + Sync>;

/// Which requests meet which fault. The first rule that applies counts.
pub struct Rule {
    matching: Matching,
    skip: u64,
    times: u64,
    every: Option<u64>,
    seen: u64,
    fault: Fault,
}

impl Rule {
    /// Applies to each request that `matching` takes, until narrowed.
    pub fn new(fault: Fault, matching: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        Self { matching: Box::new(matching), skip: 0, times: u64::MAX, every: None, seen: 0, fault }
    }

    /// Applies to all requests of a method (any: `""`) whose path contains a text.
    pub fn on(method: &str, path: &str, fault: Fault) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self::new(fault, move |request| {
            (method.is_empty() || request.method == method) && request.path.contains(&path)
        })
    }

    /// Applies to the `n`th matching request only, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        (self.skip, self.times) = (n - 1, 1);
        self
    }

    /// Applies so many times, then no more.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Applies to every `n`th matching request.
    #[must_use]
    pub fn every(mut self, n: u64) -> Self {
        self.every = Some(n);
        self
    }

    fn applies(&mut self, request: &Request) -> bool {
        if !(self.matching)(request) {
            return false;
        }
        self.seen += 1;
        let turn = self.every.map_or(self.seen > self.skip, |every| self.seen.is_multiple_of(every));
        let applies = turn && self.times > 0;
        self.times -= u64::from(applies);
        applies
    }
}

#[derive(Default)]
struct State {
    requests: Mutex<Vec<Request>>,
    rules: Mutex<Vec<Rule>>,
    latency: Mutex<Duration>,
    refusing: AtomicBool,
    cut: Notify,
    connections: AtomicU64,
    upward: AtomicU64,
    downward: AtomicU64,
    allowance: Mutex<Option<u64>>,
}

/// Taken even when a test panicked while it held it: what it guards is only counted.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl State {
    /// Notes a request and gives its place in the record and the fault that it meets.
    fn note(&self, mut request: Request) -> (usize, Option<Fault>) {
        let mut requests = locked(&self.requests);
        let place = requests.len();
        request.number = place as u64 + 1;
        let fault = locked(&self.rules)
            .iter_mut()
            .find_map(|rule| rule.applies(&request).then(|| rule.fault.clone()));
        requests.push(request);
        (place, fault)
    }

    fn amend(&self, place: usize, change: impl FnOnce(&mut Request)) {
        // The record may have been cleared since.
        if let Some(request) = locked(&self.requests).get_mut(place) {
            change(request);
        }
    }

    fn latency(&self) -> Duration {
        *locked(&self.latency)
    }

    /// How many of `wanted` bytes may still pass before the line is cut.
    fn allow(&self, wanted: u64) -> u64 {
        let mut allowance = locked(&self.allowance);
        let Some(left) = allowance.as_mut() else { return wanted };
        let granted = wanted.min(*left);
        *left -= granted;
        granted
    }
}

/// A running proxy; dropping it closes all its lines.
pub struct FaultProxy {
    endpoint: Endpoint,
    state: Arc<State>,
    task: AbortHandle,
}

impl FaultProxy {
    /// A proxy that understands HTTP/1.1 (not TLS), on a free port of the loopback, before `upstream`.
    pub async fn http(upstream: impl Into<Endpoint>) -> Self {
        Self::start(Endpoint::loopback(), upstream.into(), true).await
    }

    /// As [`FaultProxy::http`], listening where it is told: `Endpoint::Unix` for an engine's socket.
    pub async fn http_on(listen: impl Into<Endpoint>, upstream: impl Into<Endpoint>) -> Self {
        Self::start(listen.into(), upstream.into(), true).await
    }

    /// A proxy of plain bytes, such as SSH's, on a free port of the loopback: no rules and no record, but latency,
    /// byte counts and cuts.
    pub async fn tcp(upstream: impl Into<Endpoint>) -> Self {
        Self::start(Endpoint::loopback(), upstream.into(), false).await
    }

    /// As [`FaultProxy::tcp`], listening where it is told: port 0 is any that is free.
    pub async fn tcp_on(listen: impl Into<Endpoint>, upstream: impl Into<Endpoint>) -> Self {
        Self::start(listen.into(), upstream.into(), false).await
    }

    async fn start(listen: Endpoint, upstream: Endpoint, speaks_http: bool) -> Self {
        let (listener, endpoint) = Listener::bind(&listen).await.expect("the proxy can listen");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            // Owned by this task: when it is aborted, the lines go too.
            let mut lines = JoinSet::new();
            while let Ok(client) = listener.accept().await {
                while lines.try_join_next().is_some() {}
                if shared.refusing.load(Ordering::Relaxed) {
                    continue;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                lines.spawn(serve(client, upstream.clone(), Arc::clone(&shared), speaks_http));
            }
        });
        Self { endpoint, state, task: task.abort_handle() }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When it listens on a Unix socket.
    pub fn address(&self) -> std::net::SocketAddr {
        match &self.endpoint {
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(path) => panic!("this proxy listens at {}", path.display()),
        }
    }

    /// Where it listens, either kind.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Adds a rule after those that are there.
    pub fn add(&self, rule: Rule) -> &Self {
        locked(&self.state.rules).push(rule);
        self
    }

    /// Forgets all rules, the latency and any refusal: from here on everything passes.
    pub fn heal(&self) -> &Self {
        locked(&self.state.rules).clear();
        *locked(&self.state.allowance) = None;
        self.state.refusing.store(false, Ordering::Relaxed);
        self.set_latency(Duration::ZERO)
    }

    /// Lets everything take so much longer, each way.
    pub fn set_latency(&self, latency: Duration) -> &Self {
        *locked(&self.state.latency) = latency;
        self
    }

    /// Cuts all lines that are open.
    pub fn cut(&self) -> &Self {
        self.state.cut.notify_waiters();
        self
    }

    /// Cuts all lines, and new ones as they come, until [`FaultProxy::heal`].
    pub fn refuse(&self) -> &Self {
        self.state.refusing.store(true, Ordering::Relaxed);
        self.cut()
    }

    /// A proxy of plain bytes: lets so many more pass, counted over both ways and all lines, then cuts.
    pub fn cut_after(&self, bytes: u64) -> &Self {
        *locked(&self.state.allowance) = Some(bytes);
        self
    }

    /// The requests so far, in the order of their beginning.
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.state.requests).clone()
    }

    /// The requests so far as `METHOD path`.
    pub fn lines(&self) -> Vec<String> {
        locked(&self.state.requests).iter().map(|each| format!("{} {}", each.method, each.path)).collect()
    }

    /// Forgets the requests so far; their numbers begin anew.
    pub fn clear(&self) -> &Self {
        locked(&self.state.requests).clear();
        self
    }

    /// How many lines clients have opened.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Bytes passed to the server and to the client: bodies for HTTP, everything for plain bytes.
    pub fn bytes(&self) -> (u64, u64) {
        (self.state.upward.load(Ordering::Relaxed), self.state.downward.load(Ordering::Relaxed))
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
        if let Endpoint::Unix(path) = &self.endpoint {
            std::fs::remove_file(path).ok();
        }
    }
}

async fn serve(client: Connection, upstream: Endpoint, state: Arc<State>, speaks_http: bool) {
    let work = async {
        let server = upstream.connect().await?;
        if speaks_http {
            http::forward(client, server, &state).await
        } else {
            stream::forward(client, server, &state).await
        }
    };
    tokio::select! {
        // A line that ends badly is what this proxy is for.
        ended = work => drop(ended),
        () = state.cut.notified() => {}
    }
}
