//! The rooms and what was said in them, each in a file of lines that only grows.

mod room;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use wire::nats::Client;
use wire::process::now;

use room::Room;

const TEXT_LIMIT: usize = 4_000;
const HISTORY_LIMIT: usize = 100;
const ROOMS_LIMIT: usize = 200;
const ALWAYS: [&str; 3] = ["lobby", "engineering", "random"];

/// All rooms of a folder.
pub struct Rooms {
    folder: PathBuf,
    rooms: Mutex<BTreeMap<String, Room>>,
}

fn is_name(name: &str) -> bool {
    let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    (1..=24).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('-')
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl Rooms {
    /// Reads what is in the folder; the rooms that are always there are made if they are missing.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        std::fs::create_dir_all(&folder)?;
        let mut rooms = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.extension().is_some_and(|extension| extension == "jsonl") && is_name(&name) {
                rooms.insert(name, Room::open(&path)?);
            }
        }
        for name in ALWAYS {
            if !rooms.contains_key(name) {
                rooms.insert(name.to_owned(), Room::open(&folder.join(format!("{name}.jsonl")))?);
            }
        }
        Ok(Self { folder, rooms: Mutex::new(rooms) })
    }

    fn rooms(&self) -> MutexGuard<'_, BTreeMap<String, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All rooms: name, and how much was said.
    pub fn list(&self) -> Value {
        let rooms = self.rooms();
        let entries = rooms.iter().map(|(name, room)| json!({ "name": name, "last": room.last() }));
        json!({ "rooms": entries.collect::<Vec<_>>() })
    }

    /// The newest messages of `room` after the message number `after`, the oldest of them first.
    pub fn history(&self, question: &Value) -> Result<Value, String> {
        let name = text(question, "room");
        let after = question.get("after").and_then(Value::as_u64).unwrap_or(0);
        let rooms = self.rooms();
        let room = rooms.get(name).ok_or("there is no such room")?;
        Ok(json!({ "room": name, "messages": room.after(after, HISTORY_LIMIT) }))
    }

    /// Keeps a message and gives it its number. A message with an `id` that was kept already is not kept again: the
    /// gateway asks until it is answered.
    pub fn say(&self, question: &Value, at: u64) -> Result<Value, String> {
        let (name, id, said) = (text(question, "room"), text(question, "id"), text(question, "text").trim());
        if !is_name(name) {
            return Err("a room's name has small letters, digits and dashes, at most 24".to_owned());
        }
        if said.is_empty() || said.chars().count() > TEXT_LIMIT {
            return Err(format!("a message has 1 to {TEXT_LIMIT} characters"));
        }
        if id.is_empty() || id.len() > 64 {
            return Err("a message needs an id of at most 64 characters".to_owned());
        }
        let mut rooms = self.rooms();
        if !rooms.contains_key(name) {
            if rooms.len() >= ROOMS_LIMIT {
                return Err("there are too many rooms".to_owned());
            }
            let room = Room::open(&self.folder.join(format!("{name}.jsonl")));
            rooms.insert(name.to_owned(), room.map_err(|error| format!("the room cannot be made: {error}"))?);
        }
        let room = rooms.get_mut(name).ok_or("there is no such room")?;
        let kept = room.keep(
            |number| {
                json!({
                    "room": name, "number": number, "id": id, "at": at, "text": said,
                    "name": text(question, "name"), "hue": question.get("hue"),
                })
            },
            id,
        );
        kept.map_err(|error| format!("the message cannot be kept: {error}"))
    }
}

/// What is done with a question.
type Work = Box<dyn Fn(&Value, &Client) -> Result<Value, String> + Send + Sync>;

/// Answers on the broker, for the life of the process.
pub fn serve(client: &Arc<Client>, rooms: &Arc<Rooms>) {
    let answer = |subject: &str, work: Work| {
        let answerer = Arc::clone(client);
        client.subscribe(subject, Some("rooms"), move |message| {
            let question: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
            let answer = work(&question, &answerer).unwrap_or_else(|error| json!({ "error": error }));
            if let Some(reply) = &message.reply {
                answerer.publish(reply, answer.to_string().as_bytes());
            }
        });
    };
    let known = Arc::clone(rooms);
    answer("rooms.list", Box::new(move |_, _| Ok(known.list())));
    let known = Arc::clone(rooms);
    answer("rooms.history", Box::new(move |question, _| known.history(question)));
    let known = Arc::clone(rooms);
    answer(
        "rooms.say",
        Box::new(move |question, client| {
            let message = known.say(question, now())?;
            client.publish(
                &format!("rooms.message.{}", text(&message, "room")),
                message.to_string().as_bytes(),
            );
            Ok(json!({ "number": message.get("number") }))
        }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(room: &str, id: &str, words: &str) -> Value {
        json!({ "room": room, "id": id, "text": words, "name": "Ada", "hue": 1 })
    }

    #[test]
    fn what_was_said_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let rooms = Rooms::open(folder.path()).unwrap();
        assert_eq!(rooms.say(&said("lobby", "a", "one"), 5).unwrap()["number"], 1);
        assert_eq!(rooms.say(&said("lobby", "b", "two\nlines"), 6).unwrap()["number"], 2);
        assert_eq!(rooms.say(&said("new-room", "c", "three"), 7).unwrap()["number"], 1);
        drop(rooms);
        let rooms = Rooms::open(folder.path()).unwrap();
        assert_eq!(rooms.list()["rooms"].as_array().unwrap().len(), 4);
        let history = rooms.history(&json!({ "room": "lobby", "after": 1 })).unwrap();
        assert_eq!(history["messages"][0]["text"], "two\nlines");
        assert_eq!(history["messages"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_same_message_asked_twice_is_kept_once_even_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let rooms = Rooms::open(folder.path()).unwrap();
        let first = rooms.say(&said("lobby", "a", "one"), 5).unwrap();
        assert_eq!(rooms.say(&said("lobby", "a", "one"), 9).unwrap(), first);
        drop(rooms);
        let rooms = Rooms::open(folder.path()).unwrap();
        assert_eq!(rooms.say(&said("lobby", "a", "one"), 9).unwrap()["number"], 1);
    }

    #[test]
    fn a_line_that_a_crash_cut_short_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let rooms = Rooms::open(folder.path()).unwrap();
        rooms.say(&said("lobby", "a", "one"), 5).unwrap();
        drop(rooms);
        let path = folder.path().join("lobby.jsonl");
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{}", &whole[..20])).unwrap();
        let rooms = Rooms::open(folder.path()).unwrap();
        assert_eq!(rooms.say(&said("lobby", "b", "two"), 6).unwrap()["number"], 2);
        drop(rooms);
        let rooms = Rooms::open(folder.path()).unwrap();
        assert_eq!(
            rooms.history(&json!({ "room": "lobby" })).unwrap()["messages"].as_array().unwrap().len(),
            2
        );
    }

    #[test]
    fn bad_rooms_and_messages_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let rooms = Rooms::open(folder.path()).unwrap();
        for (room, id, words) in
            [("../etc", "a", "x"), ("lobby", "", "x"), ("lobby", "a", "  "), ("Lobby", "a", "x")]
        {
            assert!(rooms.say(&said(room, id, words), 1).is_err(), "{room} {id} {words}");
        }
        assert!(rooms.history(&json!({ "room": "nowhere" })).is_err());
    }
}
