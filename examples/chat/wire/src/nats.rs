//! A client of the NATS protocol: it connects by itself, again and again, and subscribes anew each time.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const LINE_LIMIT: u64 = 8 * 1024;
/// What the broker takes at most, and what is taken from it.
pub const PAYLOAD_LIMIT: usize = 1024 * 1024;
/// A broker that says nothing for so long, not even a ping, is gone. It pings every 20 seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// A message as it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub subject: String,
    pub reply: Option<String>,
    pub payload: Vec<u8>,
}

type Handler = Arc<dyn Fn(&Message) + Send + Sync>;

struct Subscription {
    subject: String,
    queue: Option<String>,
    handler: Handler,
}

#[derive(Default)]
struct Shared {
    writer: Mutex<Option<TcpStream>>,
    subscriptions: Mutex<BTreeMap<u64, Subscription>>,
    waiting: Mutex<BTreeMap<u64, Sender<Vec<u8>>>>,
    next: AtomicU64,
}

/// A connection to the broker, for the life of the process.
pub struct Client {
    shared: Arc<Shared>,
    inbox: String,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Gives a client at once and connects in the background to `HOST:PORT`, until it succeeds and whenever the
    /// connection is lost. `name` must differ between the services.
    pub fn connect(address: &str, name: &str) -> Arc<Self> {
        let unique = format!("{name}-{}-{}", std::process::id(), crate::process::now());
        let inbox = format!("_INBOX.{unique}");
        let client = Arc::new(Self { shared: Arc::default(), inbox: inbox.clone() });
        let shared = Arc::clone(&client.shared);
        client.subscribe(&format!("{inbox}.*"), None, move |message| {
            let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
            // Late answers find nobody waiting.
            if let Some(sender) = number.and_then(|number: u64| locked(&shared.waiting).remove(&number)) {
                let _ = sender.send(message.payload.clone());
            }
        });
        let (shared, address) = (Arc::clone(&client.shared), address.to_owned());
        std::thread::spawn(move || stay_connected(&shared, &address, &unique));
        client
    }

    /// Whether the broker is there right now.
    pub fn is_connected(&self) -> bool {
        locked(&self.shared.writer).is_some()
    }

    /// Calls `handler` for each message of a subject (`*`: one part, `>`: the rest). With a queue, only one of its
    /// members gets each message. The handler runs where messages are read, one after another: it must not make
    /// requests itself.
    pub fn subscribe(
        &self,
        subject: &str,
        queue: Option<&str>,
        handler: impl Fn(&Message) + Send + Sync + 'static,
    ) {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let queue = queue.map(str::to_owned);
        let subscription = Subscription { subject: subject.to_owned(), queue, handler: Arc::new(handler) };
        let line = subscribe_line(number, &subscription);
        // Known first: whoever connects in between subscribes to it.
        locked(&self.shared.subscriptions).insert(number, subscription);
        self.shared.send(line.as_bytes());
    }

    /// Publishes a message; it is lost when the broker is not there.
    pub fn publish(&self, subject: &str, payload: &[u8]) {
        self.shared.send(&publish_bytes(subject, None, payload));
    }

    /// Asks, and asks again each second, until somebody answers or `timeout` is over. Whoever answers must expect
    /// to be asked the same thing twice.
    pub fn request(&self, subject: &str, payload: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nobody answers to {subject}")));
            }
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = channel();
            locked(&self.shared.waiting).insert(number, sender);
            let reply = format!("{}.{number}", self.inbox);
            let sent = self.shared.send(&publish_bytes(subject, Some(&reply), payload));
            let wait = if sent { Duration::from_secs(1) } else { Duration::from_millis(100) };
            let answer = receiver.recv_timeout(left.min(wait));
            locked(&self.shared.waiting).remove(&number);
            if let Ok(answer) = answer {
                return Ok(answer);
            }
        }
    }
}

impl Shared {
    /// Whether the bytes went out.
    fn send(&self, bytes: &[u8]) -> bool {
        let mut writer = locked(&self.writer);
        let sent = writer.as_mut().is_some_and(|stream| stream.write_all(bytes).is_ok());
        if !sent && let Some(stream) = writer.take() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        sent
    }
}

fn subscribe_line(number: u64, subscription: &Subscription) -> String {
    let queue = subscription.queue.as_deref().map(|queue| format!(" {queue}")).unwrap_or_default();
    format!("SUB {}{queue} {number}\r\n", subscription.subject)
}

fn publish_bytes(subject: &str, reply: Option<&str>, payload: &[u8]) -> Vec<u8> {
    let reply = reply.map(|reply| format!(" {reply}")).unwrap_or_default();
    let mut bytes = format!("PUB {subject}{reply} {}\r\n", payload.len()).into_bytes();
    bytes.extend(payload);
    bytes.extend(b"\r\n");
    bytes
}

fn stay_connected(shared: &Shared, address: &str, name: &str) {
    let mut pause = Duration::from_millis(50);
    let mut told = false;
    loop {
        let begin = Instant::now();
        if let Err(error) = converse(shared, address, name)
            && !told
        {
            eprintln!("the broker at {address}: {error}; trying again until it answers");
        }
        *locked(&shared.writer) = None;
        // Said once, not at every try; and again after a connection that held.
        told = begin.elapsed() < Duration::from_secs(5);
        pause = if told { (pause * 2).min(Duration::from_secs(1)) } else { Duration::from_millis(50) };
        std::thread::sleep(pause);
    }
}

fn converse(shared: &Shared, address: &str, name: &str) -> io::Result<()> {
    let address = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    if !read_line(&mut reader)?.starts_with("INFO ") {
        return Err(invalid("this is no NATS server"));
    }
    let hello = serde_json::json!({
        "verbose": false, "pedantic": false, "tls_required": false, "echo": true, "protocol": 1,
        "lang": "rust", "version": "0", "name": name,
    });
    stream.write_all(format!("CONNECT {hello}\r\nPING\r\n").as_bytes())?;
    // The answer to the ping says that the server has accepted us.
    let answer = read_line(&mut reader)?;
    if answer != "PONG" {
        return Err(invalid(&answer));
    }
    {
        // Held while subscribing, so that nothing is published before.
        let mut writer = locked(&shared.writer);
        for (number, subscription) in locked(&shared.subscriptions).iter() {
            stream.write_all(subscribe_line(*number, subscription).as_bytes())?;
        }
        *writer = Some(stream);
    }
    loop {
        let line = read_line(&mut reader)?;
        let mut words = line.split_ascii_whitespace();
        match words.next().unwrap_or_default() {
            "MSG" => {
                let words: Vec<_> = words.collect();
                let (subject, number, reply, length) = match words.as_slice() {
                    [subject, number, length] => (subject, number, None, length),
                    [subject, number, reply, length] => (subject, number, Some((*reply).to_owned()), length),
                    _ => return Err(invalid(&line)),
                };
                let payload = read_payload(&mut reader, length)?;
                let number = number.parse::<u64>().map_err(|_| invalid(&line))?;
                let message = Message { subject: (*subject).to_owned(), reply, payload };
                let handler =
                    locked(&shared.subscriptions).get(&number).map(|found| Arc::clone(&found.handler));
                if let Some(handler) = handler {
                    handler(&message);
                }
            }
            "PING" => {
                shared.send(b"PONG\r\n");
            }
            "-ERR" => return Err(invalid(&line)),
            _ => {}
        }
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// Reads a line of the protocol without its end.
pub fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(LINE_LIMIT).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(if line.len() as u64 + 1 >= LINE_LIMIT {
            invalid("the line is too long")
        } else {
            io::ErrorKind::UnexpectedEof.into()
        });
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| invalid("the line is not UTF-8"))
}

/// Reads a payload of so many bytes (as text) and the line end after it.
pub fn read_payload(reader: &mut impl BufRead, length: &str) -> io::Result<Vec<u8>> {
    let length = length.parse::<usize>().map_err(|_| invalid("the length is no number"))?;
    if length > PAYLOAD_LIMIT {
        return Err(invalid("the payload is too long"));
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload)?;
    if !read_line(reader)?.is_empty() {
        return Err(invalid("the payload is longer than it said"));
    }
    Ok(payload)
}
