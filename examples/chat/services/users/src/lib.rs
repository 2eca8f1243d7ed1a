//! Who is in the chat. Nothing is kept: the gateways say again and again who is connected to them, so that a users
//! service that has just started knows it again after some seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use wire::nats::Client;
use wire::process::now;

/// Milliseconds after which a session that nobody mentions is over. Gateways mention theirs every two seconds.
const AWAY: u64 = 7_000;
/// How often everybody is told who is there, when nothing changes.
const EVERY: Duration = Duration::from_secs(2);
const NAME_LIMIT: usize = 24;

/// The sessions that are known, by their ids.
#[derive(Default)]
pub struct Users {
    sessions: Mutex<BTreeMap<String, Session>>,
}

struct Session {
    name: String,
    seen: u64,
}

/// What a name looks like to the others; an error says what is wrong with it.
pub fn enter(name: &str) -> Result<Value, &'static str> {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() {
        return Err("a name is needed");
    }
    if name.chars().count() > NAME_LIMIT {
        return Err("a name has at most 24 characters");
    }
    if name.chars().any(char::is_control) {
        return Err("a name has no control characters");
    }
    Ok(json!({ "name": name, "hue": hue(&name) }))
}

/// A colour that follows from the name alone (FNV-1a), so that it survives everything.
fn hue(name: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    name.to_lowercase().bytes().fold(2_166_136_261, step) % 360
}

impl Users {
    fn sessions(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a session lives; says whether somebody new is there.
    pub fn note(&self, session: &str, name: &str, at: u64) -> bool {
        let known = Session { name: name.to_owned(), seen: at };
        self.sessions().insert(session.to_owned(), known).is_none_or(|before| before.name != name)
    }

    /// Forgets a session; says whether it was known.
    pub fn forget(&self, session: &str) -> bool {
        self.sessions().remove(session).is_some()
    }

    /// Who is there at a time: each name once.
    pub fn online(&self, at: u64) -> Value {
        let mut sessions = self.sessions();
        sessions.retain(|_, session| session.seen + AWAY > at);
        let names: BTreeMap<_, _> =
            sessions.values().map(|each| (each.name.clone(), hue(&each.name))).collect();
        json!(names.into_iter().map(|(name, hue)| json!({ "name": name, "hue": hue })).collect::<Vec<_>>())
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Answers on the broker, for the life of the process.
pub fn serve(client: &Arc<Client>) {
    let users = Arc::new(Users::default());
    let answerer = Arc::clone(client);
    client.subscribe("users.enter", Some("users"), move |message| {
        let question: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let answer = enter(text(&question, "name")).unwrap_or_else(|error| json!({ "error": error }));
        if let Some(reply) = &message.reply {
            answerer.publish(reply, answer.to_string().as_bytes());
        }
    });
    let (known, teller) = (Arc::clone(&users), Arc::clone(client));
    client.subscribe("users.alive", None, move |message| {
        let Ok(session) = serde_json::from_slice::<Value>(&message.payload) else { return };
        if known.note(text(&session, "session"), text(&session, "name"), now()) {
            tell(&known, &teller);
        }
    });
    let (known, teller) = (Arc::clone(&users), Arc::clone(client));
    client.subscribe("users.left", None, move |message| {
        if known.forget(&String::from_utf8_lossy(&message.payload)) {
            tell(&known, &teller);
        }
    });
    let teller = Arc::clone(client);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(EVERY);
            tell(&users, &teller);
        }
    });
}

fn tell(users: &Users, client: &Client) {
    client.publish("users.online", users.online(now()).to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tidied_and_bad_ones_refused() {
        assert_eq!(enter("  Ada   Lovelace ").unwrap()["name"], "Ada Lovelace");
        assert_eq!(enter("ada").unwrap()["hue"], enter("ADA").unwrap()["hue"]);
        for bad in ["", "   ", "\u{1b}[31m", &"x".repeat(25)] {
            assert!(enter(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_session_lasts_while_it_is_mentioned_and_a_name_counts_once() {
        let users = Users::default();
        assert!(users.note("1", "Ada", 0));
        assert!(!users.note("1", "Ada", 5_000));
        assert!(users.note("2", "Ada", 5_000));
        assert!(users.note("3", "Bob", 1_000));
        assert_eq!(users.online(6_000).as_array().unwrap().len(), 2);
        assert_eq!(users.online(9_000).as_array().unwrap().len(), 1, "Bob is away");
        assert!(users.forget("1") && !users.forget("1"));
        assert_eq!(users.online(20_000), json!([]));
    }
}
