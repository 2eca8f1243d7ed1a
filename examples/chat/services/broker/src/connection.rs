//! One client's connection: what it says is done, what it must hear is written.

use std::io::{self, BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use wire::nats::{Message, PAYLOAD_LIMIT, read_line, read_payload};

use crate::{BACKLOG, Broker, subject};

/// How often a client is asked whether it lives, when nothing else is to be written.
const PING: Duration = Duration::from_secs(20);
/// A client that says nothing for so long, not even the answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// A message as the subscription `id` gets it.
pub fn message_bytes(message: &Message, id: &str) -> Vec<u8> {
    let reply = message.reply.as_deref().map(|reply| format!(" {reply}")).unwrap_or_default();
    let head = format!("MSG {} {id}{reply} {}\r\n", message.subject, message.payload.len());
    [head.as_bytes(), &message.payload, b"\r\n"].concat()
}

/// Serves one client until it leaves.
pub fn converse(stream: TcpStream, broker: &Broker) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let (sender, receiver) = sync_channel(BACKLOG);
    let mut writer = stream.try_clone()?;
    let info = serde_json::json!({
        "server_id": "chat-broker", "server_name": "chat-broker", "version": "2.9.0", "go": "", "proto": 1,
        "host": "0.0.0.0", "port": 4222, "headers": false, "max_payload": PAYLOAD_LIMIT,
    });
    writer.write_all(format!("INFO {info}\r\n").as_bytes())?;
    let number = broker.join(sender);
    let writing = std::thread::spawn(move || {
        let _ = write(&mut writer, &receiver);
        let _ = writer.shutdown(Shutdown::Both);
    });
    let ended = listen(&mut BufReader::new(stream), broker, number);
    if let Err(error) = &ended
        && error.kind() == io::ErrorKind::InvalidData
    {
        broker.send(number, format!("-ERR '{error}'\r\n").as_bytes());
    }
    broker.leave(number);
    let _ = writing.join();
    ended
}

fn write(writer: &mut TcpStream, receiver: &Receiver<Arc<[u8]>>) -> io::Result<()> {
    loop {
        match receiver.recv_timeout(PING) {
            Ok(bytes) => writer.write_all(&bytes)?,
            Err(RecvTimeoutError::Timeout) => writer.write_all(b"PING\r\n")?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn listen(reader: &mut BufReader<TcpStream>, broker: &Broker, number: u64) -> io::Result<()> {
    let mut verbose = false;
    loop {
        let line = read_line(reader)?;
        let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
        let words: Vec<_> = rest.split_ascii_whitespace().collect();
        match (verb.to_ascii_uppercase().as_str(), words.as_slice()) {
            ("CONNECT", _) => {
                let hello: serde_json::Value =
                    serde_json::from_str(rest).map_err(|_| invalid("CONNECT is not JSON"))?;
                // Told off by default: a client that does not say anything wants the answers.
                verbose = hello.get("verbose").and_then(serde_json::Value::as_bool).unwrap_or(true);
            }
            ("PING", _) => {
                broker.send(number, b"PONG\r\n");
                continue;
            }
            ("PONG", _) => continue,
            ("PUB", [subject, length]) => publish(reader, broker, subject, None, length)?,
            ("PUB", [subject, reply, length]) => publish(reader, broker, subject, Some(reply), length)?,
            ("SUB", [subject, id]) if subject::is_valid(subject, true) => {
                broker.subscribe(number, subject, None, id)
            }
            ("SUB", [subject, queue, id]) if subject::is_valid(subject, true) => {
                broker.subscribe(number, subject, Some(queue), id);
            }
            ("UNSUB", [id]) => broker.unsubscribe(number, id, None),
            ("UNSUB", [id, after]) => broker.unsubscribe(number, id, after.parse().ok()),
            ("SUB", _) => return Err(invalid("Invalid Subject")),
            _ => return Err(invalid("Unknown Protocol Operation")),
        }
        if verbose {
            broker.send(number, b"+OK\r\n");
        }
    }
}

fn publish(
    reader: &mut BufReader<TcpStream>,
    broker: &Broker,
    subject: &str,
    reply: Option<&str>,
    length: &str,
) -> io::Result<()> {
    let payload = read_payload(reader, length)?;
    if !subject::is_valid(subject, false) {
        return Err(invalid("Invalid Publish Subject"));
    }
    broker.publish(&Message { subject: subject.to_owned(), reply: reply.map(str::to_owned), payload });
    Ok(())
}
