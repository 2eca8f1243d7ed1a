//! A crowd for the chat: some look at the page, some talk, until they are told to stop. What went wrong for them is counted:
//! by that an upgrade under load is measured.
//!
//! `crowd ADDRESS` goes on until its standard input ends, and then prints one line of JSON. It fails when a request failed,
//! or a message was lost or kept twice.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wire::http;
use wire::websocket::Client;

const LOOKERS: usize = 2;
const TALKERS: usize = 4;
/// Between two requests, and between two messages.
const PAUSE: Duration = Duration::from_millis(40);
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a message is said again and again, as the page does, until it counts as lost.
const PERSISTENCE: Duration = Duration::from_secs(90);
/// A room's history is asked for at once, and tells 100 messages.
const MESSAGES_OF_A_ROOM: usize = 90;

static STOPPING: AtomicBool = AtomicBool::new(false);

/// What happened to those who look.
#[derive(Default)]
struct Looks {
    answered: usize,
    failures: Vec<String>,
    slowest: Duration,
}

fn look(address: &str) -> Looks {
    let mut looks = Looks::default();
    while !STOPPING.load(Ordering::Relaxed) {
        let began = Instant::now();
        match http::get(address, "/", PATIENCE) {
            Ok((200, _)) => looks.answered += 1,
            Ok((status, _)) => looks.failures.push(format!("status {status}")),
            Err(error) => looks.failures.push(error.to_string()),
        }
        looks.slowest = looks.slowest.max(began.elapsed());
        std::thread::sleep(PAUSE);
    }
    looks
}

/// Somebody who talks, and does what the page does when its connection ends: comes back, and says again what was not
/// confirmed.
struct Talker<'a> {
    address: &'a str,
    name: String,
    client: Option<Client>,
    /// What was confirmed: the room and the text.
    said: Vec<(String, String)>,
    unsaid: usize,
    connections: usize,
    slowest: Duration,
}

impl<'a> Talker<'a> {
    fn new(address: &'a str, number: usize) -> Self {
        let name = format!("c{}-{number}", std::process::id());
        Self {
            address,
            name,
            client: None,
            said: Vec::new(),
            unsaid: 0,
            connections: 0,
            slowest: Duration::ZERO,
        }
    }

    fn talk(mut self) -> Self {
        while !STOPPING.load(Ordering::Relaxed) {
            let number = self.said.len() + self.unsaid;
            let room = format!("{}-{}", self.name, number / MESSAGES_OF_A_ROOM);
            let text = format!("{} says {number}", self.name);
            let began = Instant::now();
            if self.say(&room, &text, began + PERSISTENCE) {
                self.said.push((room, text))
            } else {
                self.unsaid += 1
            }
            self.slowest = self.slowest.max(began.elapsed());
            std::thread::sleep(PAUSE);
        }
        self
    }

    fn say(&mut self, room: &str, text: &str, until: Instant) -> bool {
        while Instant::now() < until {
            match self.try_say(room, text) {
                Ok(()) => return true,
                Err(_) => self.client = None,
            }
            std::thread::sleep(PAUSE);
        }
        false
    }

    /// The text is its own id: however often it is said, it is kept once.
    fn try_say(&mut self, room: &str, text: &str) -> io::Result<()> {
        let client = match &mut self.client {
            Some(client) => client,
            gone => {
                self.connections += 1;
                gone.insert(enter(self.address, &self.name)?)
            }
        };
        ask(client, &json!({ "do": "say", "room": room, "id": text, "text": text }), "said").map(drop)
    }
}

fn enter(address: &str, name: &str) -> io::Result<Client> {
    let mut client = Client::connect(address, "/ws")?;
    ask(&mut client, &json!({ "do": "enter", "name": name }), "welcome")?;
    Ok(client)
}

/// Sends a question and waits for its answer.
fn ask(client: &mut Client, question: &Value, is: &str) -> io::Result<Value> {
    client.send(&question.to_string())?;
    loop {
        let answer: Value = serde_json::from_str(&client.receive()?)?;
        match answer.get("is").and_then(Value::as_str) {
            Some("error") => return Err(io::Error::other(answer.to_string())),
            Some(found) if found == is && answer.get("id") == question.get("id") => return Ok(answer),
            _ => {}
        }
    }
}

/// How often each text is in the history of its room.
fn count(address: &str, said: &[(String, String)]) -> io::Result<(usize, usize)> {
    let (mut lost, mut twice) = (0, 0);
    let mut client = enter(address, "counter")?;
    for of_room in said.chunk_by(|one, other| one.0 == other.0) {
        let Some((room, _)) = of_room.first() else { continue };
        let history = ask(&mut client, &json!({ "do": "open", "room": room }), "history")?;
        let kept = history.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (_, text) in of_room {
            match kept
                .iter()
                .filter(|message| message.get("text").and_then(Value::as_str) == Some(text))
                .count()
            {
                0 => lost += 1,
                1 => {}
                _ => twice += 1,
            }
        }
    }
    Ok((lost, twice))
}

fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: crowd ADDRESS");
        return ExitCode::from(2);
    };
    let address = address.as_str();
    let (looks, talkers) = std::thread::scope(|scope| {
        let lookers: Vec<_> = (0..LOOKERS).map(|_| scope.spawn(|| look(address))).collect();
        let talkers: Vec<_> =
            (0..TALKERS).map(|number| scope.spawn(move || Talker::new(address, number).talk())).collect();
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        STOPPING.store(true, Ordering::Relaxed);
        let looks: Vec<Looks> = lookers.into_iter().filter_map(|each| each.join().ok()).collect();
        let talkers: Vec<Talker> = talkers.into_iter().filter_map(|each| each.join().ok()).collect();
        (looks, talkers)
    });
    let (mut lost, mut twice) = (talkers.iter().map(|talker| talker.unsaid).sum::<usize>(), 0);
    for talker in &talkers {
        match count(address, &talker.said) {
            Ok(found) => (lost, twice) = (lost + found.0, twice + found.1),
            Err(error) => {
                eprintln!("what was kept of {} cannot be told: {error}", talker.name);
                return ExitCode::FAILURE;
            }
        }
    }
    let failures: Vec<&String> = looks.iter().flat_map(|looks| &looks.failures).collect();
    println!(
        "{}",
        json!({
            "requests": looks.iter().map(|looks| looks.answered).sum::<usize>() + failures.len(),
            "failed": failures.len(),
            "reasons": failures.iter().take(5).collect::<Vec<_>>(),
            "slowest_request": looks.iter().map(|looks| looks.slowest.as_secs_f64()).fold(0.0, f64::max),
            "messages": talkers.iter().map(|talker| talker.said.len() + talker.unsaid).sum::<usize>(),
            "lost": lost,
            "twice": twice,
            "slowest_message": talkers.iter().map(|talker| talker.slowest.as_secs_f64()).fold(0.0, f64::max),
            "connections": talkers.iter().map(|talker| talker.connections).sum::<usize>(),
        })
    );
    let well = failures.is_empty() && lost == 0 && twice == 0;
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
