//! The WebSocket protocol (RFC 6455), text messages only.

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::http::{Request, Response};

/// A longer message ends the connection.
const LIMIT: usize = 64 * 1024;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The answer that opens a WebSocket; `None` when the request does not ask for one.
pub fn accept(request: &Request) -> Option<Response> {
    let asked = request.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let key = request.header("sec-websocket-key").filter(|_| asked && request.method == "GET")?;
    let headers = vec![("Upgrade", "websocket".to_owned()), ("Sec-WebSocket-Accept", accept_key(key))];
    Some(Response { status: 101, headers, body: Vec::new() })
}

fn accept_key(key: &str) -> String {
    // The constant of RFC 6455, section 1.3.
    let digest = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest();
    STANDARD.encode(digest.bytes())
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Text(String),
    Ping(Vec<u8>),
    Pong,
    Close,
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// Reads the next event; the pieces of a message are put together.
pub fn read(reader: &mut impl Read) -> io::Result<Event> {
    let mut message = Vec::new();
    loop {
        let mut head = [0; 2];
        reader.read_exact(&mut head)?;
        let [first, second] = head;
        let length = match second & 0x7f {
            126 => {
                let mut bytes = [0; 2];
                reader.read_exact(&mut bytes)?;
                usize::from(u16::from_be_bytes(bytes))
            }
            127 => return Err(invalid("the message is too long")),
            length => usize::from(length),
        };
        if message.len() + length > LIMIT {
            return Err(invalid("the message is too long"));
        }
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            reader.read_exact(&mut mask)?;
        }
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload)?;
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        match first & 0x0f {
            CLOSE => return Ok(Event::Close),
            PING => return Ok(Event::Ping(payload)),
            PONG => return Ok(Event::Pong),
            0 | TEXT => message.extend(payload),
            _ => return Err(invalid("only text is taken")),
        }
        if first & 0x80 != 0 {
            return String::from_utf8(message).map(Event::Text).map_err(|_| invalid("the text is not UTF-8"));
        }
    }
}

fn frame(kind: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = vec![0x80 | kind];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match u8::try_from(payload.len()).ok().filter(|length| *length < 126) {
        Some(length) => bytes.push(masked | length),
        None => match u16::try_from(payload.len()) {
            Ok(length) => {
                bytes.push(masked | 126);
                bytes.extend(length.to_be_bytes());
            }
            Err(_) => {
                bytes.push(masked | 127);
                bytes.extend((payload.len() as u64).to_be_bytes());
            }
        },
    }
    let mask = mask.inspect(|mask| bytes.extend(mask)).unwrap_or_default();
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A frame with a text, as a server sends it.
pub fn text(text: &str) -> Vec<u8> {
    frame(TEXT, text.as_bytes(), None)
}

/// A frame that asks whether the other side still lives.
pub fn ping() -> Vec<u8> {
    frame(PING, b"", None)
}

/// The answer to a ping.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload, None)
}

/// Goodbye, with the code for "going away": a browser then connects again.
pub fn going_away() -> Vec<u8> {
    frame(CLOSE, &1001u16.to_be_bytes(), None)
}

/// A client, for tests and measurements.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Opens a WebSocket at `path`.
    pub fn connect(address: &str, path: &str) -> io::Result<Self> {
        let found = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect_timeout(&found, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        let key = STANDARD.encode([7; 16]);
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )?;
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if io::BufRead::read_line(&mut reader, &mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if !head.starts_with("HTTP/1.1 101") || !head.contains(&accept_key(&key)) {
            return Err(invalid(&head));
        }
        Ok(Self { reader })
    }

    /// Sends a text.
    pub fn send(&mut self, text: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(&frame(TEXT, text.as_bytes(), Some([1, 2, 3, 4])))
    }

    /// Waits for the next text; pings are answered on the way.
    pub fn receive(&mut self) -> io::Result<String> {
        loop {
            match read(&mut self.reader)? {
                Event::Text(text) => return Ok(text),
                Event::Ping(payload) => {
                    self.reader.get_mut().write_all(&frame(PONG, &payload, Some([5, 6, 7, 8])))?;
                }
                Event::Pong => {}
                Event::Close => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_the_one_of_the_rfc() {
        // RFC 6455, section 1.3.
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_come_back_as_they_were() {
        for length in [0, 1, 125, 126, 40_000] {
            let message = "ü".repeat(length / 2);
            for mask in [None, Some([9, 8, 7, 6])] {
                let bytes = frame(TEXT, message.as_bytes(), mask);
                assert_eq!(read(&mut bytes.as_slice()).unwrap(), Event::Text(message.clone()));
            }
        }
    }

    #[test]
    fn pieces_are_put_together_and_too_much_is_refused() {
        // RFC 6455, section 5.7: "Hel" + "lo".
        let pieces = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
        assert_eq!(read(&mut pieces.as_slice()).unwrap(), Event::Text("Hello".into()));
        let endless =
            [0x01, 126, 0xff, 0xff].iter().copied().chain([b'x'; 0xffff]).collect::<Vec<_>>().repeat(2);
        assert!(read(&mut endless.as_slice()).is_err());
        assert!(read(&mut [0x82, 0x00].as_slice()).is_err(), "binary");
    }
}
