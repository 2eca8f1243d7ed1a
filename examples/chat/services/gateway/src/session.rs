//! One browser.

use std::io::{BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};
use wire::process::now;
use wire::websocket::{self, Event};

use crate::{Gateway, Session, locked};

/// Frames that wait for a browser at most.
const BACKLOG: usize = 512;
/// How long a question waits for a service that is being replaced.
const PATIENCE: Duration = Duration::from_secs(20);

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Serves one browser until it leaves.
pub(crate) fn run(gateway: &Gateway, mut reader: BufReader<TcpStream>) {
    let Ok(mut writer) = reader.get_ref().try_clone() else { return };
    let (sender, receiver) = sync_channel::<Vec<u8>>(BACKLOG);
    let id = format!("{}-{}-{}", std::process::id(), now(), gateway.next.fetch_add(1, Ordering::Relaxed));
    locked(&gateway.sessions).insert(id.clone(), Session { name: None, outgoing: sender.clone() });
    let writing = std::thread::spawn(move || {
        for frame in receiver {
            if writer.write_all(&frame).is_err() {
                break;
            }
        }
        let _ = writer.shutdown(Shutdown::Both);
    });
    let mut browser = Browser { gateway, id: &id, outgoing: sender, who: Value::Null };
    loop {
        match websocket::read(&mut reader) {
            Ok(Event::Text(message)) => browser.hear(&message),
            Ok(Event::Ping(payload)) => browser.send(websocket::pong(&payload)),
            Ok(Event::Pong) => {}
            Ok(Event::Close) | Err(_) => break,
        }
        if !locked(&gateway.sessions).contains_key(&id) {
            break;
        }
    }
    drop(browser);
    locked(&gateway.sessions).remove(&id);
    gateway.client.publish("users.left", id.as_bytes());
    let _ = writing.join();
}

struct Browser<'a> {
    gateway: &'a Gateway,
    id: &'a str,
    outgoing: SyncSender<Vec<u8>>,
    /// What the users service said when the browser gave its name.
    who: Value,
}

impl Browser<'_> {
    fn send(&self, frame: Vec<u8>) {
        // Full: this browser is dropped at the next message for all.
        let _ = self.outgoing.try_send(frame);
    }

    fn tell(&self, value: &Value) {
        self.send(websocket::text(&value.to_string()));
    }

    fn ask(&self, subject: &str, question: &Value) -> Value {
        let answer = self.gateway.client.request(subject, question.to_string().as_bytes(), PATIENCE);
        match answer.map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => json!({ "error": "the answer cannot be read" }),
            Err(error) => json!({ "error": error.to_string() }),
        }
    }

    /// Does what a message of the browser asks for.
    fn hear(&mut self, message: &str) {
        let Ok(message) = serde_json::from_str::<Value>(message) else {
            return self.tell(&json!({ "is": "error", "error": "that is no JSON" }));
        };
        match text(&message, "do") {
            "enter" => self.enter(text(&message, "name")),
            "open" => {
                let mut answer = self.ask("rooms.history", &message);
                self.mark(&mut answer, "history");
            }
            "say" if self.who.is_null() => {
                self.tell(&json!({ "is": "error", "id": message.get("id"), "error": "say your name first" }));
            }
            "say" => {
                let question = json!({
                    "room": message.get("room"), "id": message.get("id"), "text": message.get("text"),
                    "name": self.who.get("name"), "hue": self.who.get("hue"),
                });
                let mut answer = self.ask("rooms.say", &question);
                if let (Some(answer), Some(id)) = (answer.as_object_mut(), message.get("id")) {
                    answer.insert("id".to_owned(), id.clone());
                }
                self.mark(&mut answer, "said");
            }
            _ => self.tell(&json!({ "is": "error", "error": "that is not understood" })),
        }
    }

    /// Sends an answer as what it is, or as an error.
    fn mark(&self, answer: &mut Value, is: &str) {
        let is = if answer.get("error").is_some() { "error" } else { is };
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("is".to_owned(), json!(is));
        }
        self.tell(answer);
    }

    fn enter(&mut self, name: &str) {
        let mut who = self.ask("users.enter", &json!({ "name": name }));
        if who.get("error").is_none() {
            self.who = who.clone();
            let name = text(&who, "name").to_owned();
            let alive = json!({ "session": self.id, "name": name }).to_string();
            if let Some(session) = locked(&self.gateway.sessions).get_mut(self.id) {
                session.name = Some(name);
            }
            self.gateway.client.publish("users.alive", alive.as_bytes());
        }
        self.mark(&mut who, "welcome");
        let mut rooms = self.ask("rooms.list", &Value::Null);
        self.mark(&mut rooms, "rooms");
        let online = locked(&self.gateway.online).clone();
        self.send(websocket::text(&format!(r#"{{"is":"online","users":{online}}}"#)));
        self.send(websocket::text(&self.gateway.services()));
    }
}
