//! The services together, without containers.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use gateway::Gateway;
use rooms::Rooms;
use serde_json::{Value, json};
use wire::http;
use wire::nats::Client;
use wire::websocket;

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn start_broker() -> String {
    let (listener, address) = listen();
    std::thread::spawn(move || broker::serve(&listener, &Arc::default()));
    address
}

/// Starts all services on one broker; gives the gateway's address.
fn start(broker: &str, folder: &std::path::Path) -> String {
    users::serve(&Client::connect(broker, "users"));
    rooms::serve(&Client::connect(broker, "rooms"), &Arc::new(Rooms::open(folder).unwrap()));
    let gateway = Gateway::new(Client::connect(broker, "gateway"));
    let (listener, address) = listen();
    std::thread::spawn(move || gateway::serve(&listener, &gateway));
    address
}

struct Browser(websocket::Client);

impl Browser {
    fn enter(address: &str, name: &str) -> Self {
        let mut browser = Self(websocket::Client::connect(address, "/ws").unwrap());
        browser.tell(json!({ "do": "enter", "name": name }));
        assert_eq!(browser.wait("welcome")["name"], name);
        browser.wait("rooms");
        browser
    }

    fn tell(&mut self, message: Value) {
        self.0.send(&message.to_string()).unwrap();
    }

    fn wait(&mut self, is: &str) -> Value {
        self.wait_until(is, |_| true)
    }

    fn wait_until(&mut self, is: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message: Value = serde_json::from_str(&self.0.receive().unwrap()).unwrap();
            if message["is"] == is && wanted(&message) {
                return message;
            }
        }
    }
}

#[test]
fn what_one_says_the_other_reads_and_a_third_finds_later() {
    let folder = tempfile::tempdir().unwrap();
    let address = start(&start_broker(), folder.path());
    let mut ada = Browser::enter(&address, "Ada");
    let mut bob = Browser::enter(&address, "Bob");
    ada.wait_until("online", |message| message["users"].as_array().unwrap().len() == 2);
    ada.tell(json!({ "do": "say", "room": "lobby", "id": "1", "text": "<b>hello</b> 👋" }));
    assert_eq!(ada.wait("said")["number"], 1);
    let heard = bob.wait("message");
    assert_eq!(heard["message"]["text"], "<b>hello</b> 👋");
    assert_eq!(heard["message"]["name"], "Ada");
    drop(ada);
    bob.wait_until("online", |message| message["users"].as_array().unwrap().len() == 1);
    let mut eve = Browser::enter(&address, "Eve");
    eve.tell(json!({ "do": "open", "room": "lobby" }));
    assert_eq!(eve.wait("history")["messages"][0]["number"], 1);
}

#[test]
fn nobody_speaks_without_a_name_or_from_another_site() {
    let folder = tempfile::tempdir().unwrap();
    let address = start(&start_broker(), folder.path());
    let mut stranger = Browser(websocket::Client::connect(&address, "/ws").unwrap());
    stranger.tell(json!({ "do": "say", "room": "lobby", "id": "1", "text": "spam" }));
    assert_eq!(stranger.wait("error")["error"], "say your name first");
    stranger.tell(json!({ "do": "enter", "name": "   " }));
    assert_eq!(stranger.wait("error")["error"], "a name is needed");

    let mut stream = TcpStream::connect(&address).unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: chat\r\nOrigin: http://elsewhere\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: x\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 403"), "{line}");
}

#[test]
fn the_page_is_served_and_health_follows_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let address = start(&start_broker(), folder.path());
    let get = |path: &str| http::get(&address, path, Duration::from_secs(5)).unwrap();
    assert!(String::from_utf8_lossy(&get("/").1).contains("<title>Chat</title>"));
    assert_eq!(get("/nothing").0, 404);
    let healthy = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        get("/health").0 == 200
    });
    assert!(healthy);

    let (_, nowhere) = listen();
    let lonely = start(&nowhere, folder.path());
    assert_eq!(http::get(&lonely, "/health", Duration::from_secs(5)).unwrap().0, 503);
}

#[test]
fn a_message_said_while_the_rooms_are_away_is_kept_once_they_are_back() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start_broker();
    users::serve(&Client::connect(&broker, "users"));
    let gateway = Gateway::new(Client::connect(&broker, "gateway"));
    let (listener, address) = listen();
    std::thread::spawn(move || gateway::serve(&listener, &gateway));
    let mut ada = Browser(websocket::Client::connect(&address, "/ws").unwrap());
    ada.tell(json!({ "do": "enter", "name": "Ada" }));
    ada.tell(json!({ "do": "say", "room": "lobby", "id": "1", "text": "patience" }));
    std::thread::sleep(Duration::from_secs(2));
    rooms::serve(&Client::connect(&broker, "rooms"), &Arc::new(Rooms::open(folder.path()).unwrap()));
    assert_eq!(ada.wait("said")["number"], 1);
}

/// The client against the real NATS server, where Debian's package is installed: our broker is not its own measure.
#[test]
fn the_services_work_on_the_real_nats_server() {
    let Some(mut server) = start_nats_server() else {
        eprintln!("SKIPPED: nats-server is not installed (scripts/setup nats)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let address = start(&server.address, folder.path());
    let mut ada = Browser::enter(&address, "Ada");
    ada.tell(json!({ "do": "say", "room": "lobby", "id": "1", "text": "over the real one" }));
    assert_eq!(ada.wait("said")["number"], 1);

    let client = Client::connect(&server.address, "test");
    let (sender, receiver) = channel();
    client.subscribe("a.*", None, move |message| sender.send(message.subject.clone()).unwrap());
    let other = Client::connect(&server.address, "other");
    let heard = (0..100).any(|_| {
        other.publish("a.b", b"");
        receiver.recv_timeout(Duration::from_millis(50)).is_ok()
    });
    assert!(heard);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let away = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        !client.is_connected()
    });
    assert!(away);
}

struct NatsServer {
    child: std::process::Child,
    address: String,
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_nats_server() -> Option<NatsServer> {
    let (listener, address) = listen();
    let port = listener.local_addr().ok()?.port().to_string();
    drop(listener);
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let program =
        std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|path| path.is_file())?;
    let child = Command::new(program)
        .args(["--addr", "127.0.0.1", "--port", &port])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    Some(NatsServer { child, address })
}
