//! The page, and the WebSocket behind it: browsers on one side, the broker on the other.

mod session;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use wire::http::{self, Handler, Reply, Request, Response};
use wire::nats::Client;
use wire::process::now;
use wire::websocket;

/// Milliseconds after which a service that says nothing of itself counts as away.
const AWAY: u64 = 6_000;
/// How often sessions are mentioned to the users service and browsers are asked whether they live.
const ALIVE: Duration = Duration::from_secs(2);

const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'";
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("/chat.css", "text/css; charset=utf-8", include_str!("../page/chat.css")),
    ("/chat.js", "text/javascript; charset=utf-8", include_str!("../page/chat.js")),
    ("/icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
];

struct Session {
    name: Option<String>,
    outgoing: SyncSender<Vec<u8>>,
}

/// All browsers of one gateway.
pub struct Gateway {
    client: Arc<Client>,
    sessions: Mutex<BTreeMap<String, Session>>,
    services: Mutex<BTreeMap<String, (Value, u64)>>,
    online: Mutex<String>,
    next: AtomicU64,
    stopping: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gateway {
    /// A gateway that passes on what the broker says.
    pub fn new(client: Arc<Client>) -> Arc<Self> {
        let gateway = Arc::new(Self {
            client,
            sessions: Mutex::default(),
            services: Mutex::default(),
            online: Mutex::new("[]".to_owned()),
            next: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        });
        let here = Arc::clone(&gateway);
        gateway.client.subscribe("rooms.message.*", None, move |message| {
            here.tell_all(&format!(
                r#"{{"is":"message","message":{}}}"#,
                String::from_utf8_lossy(&message.payload)
            ));
        });
        let here = Arc::clone(&gateway);
        gateway.client.subscribe("users.online", None, move |message| {
            let online = String::from_utf8_lossy(&message.payload).into_owned();
            if *locked(&here.online) != online {
                (*locked(&here.online)).clone_from(&online);
                here.tell_all(&format!(r#"{{"is":"online","users":{online}}}"#));
            }
        });
        let here = Arc::clone(&gateway);
        gateway.client.subscribe("about.*", None, move |message| {
            let Ok(about) = serde_json::from_slice::<Value>(&message.payload) else { return };
            let name = about.get("service").and_then(Value::as_str).unwrap_or_default().to_owned();
            let before = locked(&here.services).insert(name, (about.clone(), now()));
            if before.is_none_or(|(known, seen)| known != about || seen + AWAY < now()) {
                here.tell_all(&here.services());
            }
        });
        let here = Arc::clone(&gateway);
        std::thread::spawn(move || here.keep_alive());
        gateway
    }

    /// Every two seconds: who is here goes to the users service, a ping and who is away to the browsers.
    fn keep_alive(&self) {
        let mut away = 0;
        while !self.stopping.load(Ordering::Relaxed) {
            let names: Vec<_> = locked(&self.sessions)
                .iter()
                .filter_map(|(id, session)| session.name.clone().map(|name| (id.clone(), name)))
                .collect();
            for (session, name) in names {
                let alive = json!({ "session": session, "name": name }).to_string();
                self.client.publish("users.alive", alive.as_bytes());
            }
            self.send_all(&websocket::ping());
            let silent = locked(&self.services).values().filter(|(_, seen)| seen + AWAY < now()).count();
            if silent != away {
                away = silent;
                self.tell_all(&self.services());
            }
            std::thread::sleep(ALIVE);
        }
    }

    /// What the services say of themselves, and who of them is silent.
    pub fn services(&self) -> String {
        let services = locked(&self.services);
        let entries =
            services.values().map(|(about, seen)| json!({ "about": about, "away": seen + AWAY < now() }));
        json!({ "is": "services", "services": entries.collect::<Vec<_>>(), "now": now() }).to_string()
    }

    fn tell_all(&self, text: &str) {
        self.send_all(&websocket::text(text));
    }

    fn send_all(&self, frame: &[u8]) {
        // Who does not take it is dropped; the writer of that session then ends, and the browser comes back.
        locked(&self.sessions).retain(|_, session| session.outgoing.try_send(frame.to_vec()).is_ok());
    }

    /// Says goodbye to all browsers, which connect again: to the gateway that comes after this one.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.send_all(&websocket::going_away());
        locked(&self.sessions).clear();
        // Time for the writers; the process ends after this.
        std::thread::sleep(Duration::from_millis(100));
    }

    /// Answers a request of a browser.
    pub fn answer(self: &Arc<Self>, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        match path {
            "/health" => http::health(self.client.is_connected().then_some(()).ok_or("the broker is away")),
            "/api/services" => Reply::Answer(Response::new(200, "application/json", self.services())),
            "/ws" => self.open(request),
            path => Reply::Answer(FILES.iter().find(|(name, ..)| *name == path).map_or_else(
                || Response::text(404, "nothing here"),
                |(_, kind, content)| {
                    let mut response = Response::new(200, kind, *content);
                    response.headers.push(("Content-Security-Policy", POLICY.to_owned()));
                    response.headers.push(("Cache-Control", "no-cache".to_owned()));
                    response
                },
            )),
        }
    }

    fn open(self: &Arc<Self>, request: &Request) -> Reply {
        // Pages of other sites must not speak here in the name of whoever looks at them.
        let own = request.header("host").unwrap_or_default();
        let origin = request.header("origin").map(|origin| origin.rsplit('/').next().unwrap_or_default());
        if origin.is_some_and(|origin| origin != own) {
            return Reply::Answer(Response::text(403, "this page is of another site"));
        }
        let Some(response) = websocket::accept(request) else {
            return Reply::Answer(Response::text(400, "a WebSocket is spoken here"));
        };
        let here = Arc::clone(self);
        Reply::Upgrade(response, Box::new(move |reader| session::run(&here, reader)))
    }
}

/// Serves until the listener fails.
pub fn serve(listener: &TcpListener, gateway: &Arc<Gateway>) {
    let gateway = Arc::clone(gateway);
    let handler: Handler = Arc::new(move |request| gateway.answer(request));
    http::serve(listener, &handler);
}
