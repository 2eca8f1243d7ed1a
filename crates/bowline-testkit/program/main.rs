//! The program in the testkit's images: an HTTP server that behaves as its settings say. Each setting is read from
//! the arguments (`--port=8080`) or else from the environment (`PORT=8080`). Only the standard library, so that
//! `rustc` alone builds it.
//!
//! PORT            where it listens; `none`: nowhere (default 8080)
//! LISTEN_AFTER    seconds until it listens (0)
//! HEALTH_PATH     (/health)
//! HEALTHY_AFTER   seconds until the health path answers 200 instead of 503; `never` (0)
//! UNHEALTHY_AFTER seconds after which it answers 503 again (never)
//! EXIT_AFTER      seconds until it exits with EXIT_CODE (never; code 1)
//! FAIL_STARTS     how many first starts exit with EXIT_CODE at once; counted in the container's file system (0)
//! NEEDS           HOST:PORT that must take a connection at the start, else it exits with 1
//! OOM_AFTER       seconds until it takes memory without end (never)
//! MEMORY          megabytes to hold from the start (0)
//! BURN            seconds of processor time to burn at the start (0)
//! TERM            what SIGTERM does: `exit` with 0, `ignore`, or a number of seconds to go on first (exit)
//! LOG             a line to print at the start (`started NAME VERSION`)
//! LOG_EVERY       seconds between further lines (never)
//! NAME, VERSION   what `/` and `/version` answer; VERSION falls back to the file /version
//!
//! On the same port it answers gRPC's health check (`grpc.health.v1.Health/Check`) as it answers the health path.
//!
//! `program health [PATH]` asks the server in the same container and exits 0 or 1; `program get URL` prints an answer;
//! `program print TEXT` prints TEXT; `program echo` prints what it reads, to its end; `program exit CODE` exits; `program sleep SECONDS` sleeps.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
}
const SIGTERM: i32 = 15;
const SIG_IGN: usize = 1;
static TERM_SECONDS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_term(_: i32) {
    let seconds = TERM_SECONDS.load(Ordering::Relaxed);
    if seconds > 0 {
        std::thread::sleep(Duration::from_secs(seconds));
    }
    unsafe { _exit(0) }
}

fn setting(name: &str) -> Option<String> {
    let flag = format!("--{}=", name.to_lowercase().replace('_', "-"));
    let given = std::env::args().skip(1).find_map(|argument| argument.strip_prefix(&flag).map(str::to_owned));
    given.or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
}

fn seconds(name: &str) -> Option<Duration> {
    setting(name)?.parse().ok().map(Duration::from_secs_f64)
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
    let _ = std::io::stdout().flush();
}

fn exit_code() -> i32 {
    setting("EXIT_CODE").and_then(|code| code.parse().ok()).unwrap_or(1)
}

fn version() -> String {
    let file = || std::fs::read_to_string("/version").ok().map(|text| text.trim().to_owned());
    setting("VERSION").or_else(file).unwrap_or_default()
}

fn name() -> String {
    setting("NAME").unwrap_or_else(|| "program".to_owned())
}

fn port() -> Option<u16> {
    match setting("PORT") {
        None => Some(8080),
        Some(text) => text.parse().ok(),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |index: usize| arguments.get(index).cloned().unwrap_or_default();
    match argument(1).as_str() {
        "health" => {
            let path =
                arguments.get(2).cloned().or_else(|| setting("HEALTH_PATH")).unwrap_or("/health".into());
            let url = format!("http://127.0.0.1:{}{path}", port().unwrap_or(8080));
            std::process::exit(if get(&url).is_some_and(|(status, _)| status == 200) { 0 } else { 1 });
        }
        "get" => match get(&argument(2)) {
            Some((status, body)) => {
                say(body.trim_end());
                std::process::exit(if status == 200 { 0 } else { 1 });
            }
            None => std::process::exit(2),
        },
        "print" => say(&argument(2)),
        "echo" => drop(std::io::copy(&mut std::io::stdin(), &mut std::io::stdout())),
        "exit" => std::process::exit(argument(2).parse().unwrap_or(1)),
        "sleep" => std::thread::sleep(Duration::from_secs_f64(argument(2).parse().unwrap_or(1.0))),
        _ => serve(),
    }
}

fn serve() {
    let begin = Instant::now();
    match setting("TERM").as_deref() {
        Some("ignore") => unsafe {
            signal(SIGTERM, SIG_IGN);
        },
        other => {
            TERM_SECONDS.store(other.and_then(|text| text.parse().ok()).unwrap_or(0), Ordering::Relaxed);
            unsafe {
                signal(SIGTERM, on_term as *const () as usize);
            }
        }
    }
    say(&setting("LOG").unwrap_or_else(|| format!("started {} {}", name(), version())));
    fail_first_starts();
    if let Some(address) = setting("NEEDS") {
        let reached = address
            .to_socket_addrs()
            .ok()
            .into_iter()
            .flatten()
            .any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok());
        if !reached {
            say(&format!("cannot reach {address}"));
            std::process::exit(1);
        }
    }
    let held = setting("MEMORY")
        .and_then(|text| text.parse().ok())
        .map(|megabytes: usize| vec![1u8; megabytes << 20]);
    std::hint::black_box(&held);
    if let Some(time) = seconds("BURN") {
        while begin.elapsed() < time {
            std::hint::black_box(begin);
        }
    }
    if let Some(time) = seconds("EXIT_AFTER") {
        later(time, || {
            say("exiting as told");
            std::process::exit(exit_code())
        });
    }
    if let Some(time) = seconds("OOM_AFTER") {
        later(time, || {
            let mut taken = Vec::new();
            loop {
                taken.push(vec![1u8; 1 << 20]);
                std::hint::black_box(&taken);
            }
        });
    }
    if let Some(time) = seconds("LOG_EVERY") {
        std::thread::spawn(move || {
            for number in 1u64.. {
                std::thread::sleep(time);
                say(&format!("line {number}"));
            }
        });
    }
    std::thread::sleep(seconds("LISTEN_AFTER").unwrap_or_default());
    let Some(port) = port() else {
        loop {
            std::thread::park();
        }
    };
    let listener = match TcpListener::bind(("0.0.0.0", port)) {
        Ok(listener) => listener,
        Err(error) => {
            say(&format!("cannot listen on {port}: {error}"));
            std::process::exit(1)
        }
    };
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || answer(stream, begin));
    }
}

fn later(time: Duration, action: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        action()
    });
}

fn fail_first_starts() {
    let Some(limit) = setting("FAIL_STARTS").and_then(|text| text.parse::<u32>().ok()) else { return };
    let count: u32 =
        std::fs::read_to_string("/starts").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let _ = std::fs::write("/starts", (count + 1).to_string());
    if count < limit {
        say(&format!("start {} of {limit} that fail", count + 1));
        std::process::exit(exit_code());
    }
}

fn answer(mut stream: TcpStream, begin: Instant) {
    let Ok(copy) = stream.try_clone() else { return };
    let mut reader = BufReader::new(copy);
    loop {
        let mut first = String::new();
        let mut length = 0;
        if !matches!(reader.read_line(&mut first), Ok(count) if count > 0) {
            return;
        }
        loop {
            let mut line = String::new();
            if !matches!(reader.read_line(&mut line), Ok(count) if count > 0) {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some((key, value)) = line.split_once(':')
                && key.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        if first.starts_with("PRI * HTTP/2") {
            answer_grpc(reader, stream, begin);
            return;
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let target = first.split_whitespace().nth(1).unwrap_or("/").to_owned();
        let (status, text) = respond(&target, &body, begin);
        let head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            if status == 200 { "OK" } else { "Not so" },
            text.len()
        );
        if stream.write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}

/// HTTP/2, only as much of it as a client of gRPC's health check needs: any call is one.
fn answer_grpc(mut reader: impl Read, mut stream: TcpStream, begin: Instant) -> Option<()> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    let frame = |kind: u8, flags: u8, id: [u8; 4], payload: &[u8]| {
        let mut bytes = vec![0, 0, payload.len() as u8, kind, flags];
        bytes.extend(id);
        bytes.extend(payload);
        bytes
    };
    // The rest of the client's preface.
    reader.read_exact(&mut [0; 6]).ok()?;
    stream.write_all(&frame(SETTINGS, 0, [0; 4], &[])).ok()?;
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        reader.read_exact(&mut payload).ok()?;
        let answer = match kind {
            SETTINGS if flags == 0 => frame(SETTINGS, 1, id, &[]),
            PING if flags == 0 => frame(PING, 1, id, &payload),
            DATA | HEADERS if flags & END_STREAM != 0 => {
                // `:status: 200` and `content-type: application/grpc`, by their places in the static table.
                let head = [&[0x88, 0x0f, 0x10, 16][..], b"application/grpc"].concat();
                let serving = if is_healthy(begin.elapsed()) { 1 } else { 2 };
                let trailer = [&[0, 11][..], b"grpc-status", &[1], b"0"].concat();
                let message = frame(DATA, 0, id, &[0, 0, 0, 0, 2, 8, serving]);
                let (first, last) = (END_HEADERS, END_HEADERS | END_STREAM);
                [frame(HEADERS, first, id, &head), message, frame(HEADERS, last, id, &trailer)].concat()
            }
            _ => continue,
        };
        stream.write_all(&answer).ok()?;
    }
}

fn respond(target: &str, body: &[u8], begin: Instant) -> (u16, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // The API server's proxy makes `?NAME` a `?NAME=`.
    let query = query.trim_end_matches('=');
    if path == setting("HEALTH_PATH").as_deref().unwrap_or("/health") {
        return if is_healthy(begin.elapsed()) {
            (200, "ok\n".into())
        } else {
            (503, "not healthy\n".into())
        };
    }
    let found = |text: Option<String>| text.map_or((404, "none\n".to_owned()), |text| (200, text));
    match path {
        "/" => (200, format!("{} {}\n", name(), version())),
        "/version" => (200, format!("{}\n", version())),
        "/env" => found(std::env::var(query).ok()),
        "/file" => found(std::fs::read_to_string(query).ok()),
        "/write" => found(std::fs::write(query, body).ok().map(|()| "written\n".to_owned())),
        "/get" => found(get(query).map(|(_, body)| body)),
        "/hostname" => found(std::fs::read_to_string("/etc/hostname").ok()),
        "/uptime" => (200, format!("{:.1}\n", begin.elapsed().as_secs_f64())),
        "/exit" => std::process::exit(query.parse().unwrap_or(1)),
        _ => (404, "nothing here\n".into()),
    }
}

fn is_healthy(age: Duration) -> bool {
    let begun = match setting("HEALTHY_AFTER").as_deref() {
        Some("never") => false,
        _ => seconds("HEALTHY_AFTER").is_none_or(|time| age >= time),
    };
    begun && seconds("UNHEALTHY_AFTER").is_none_or(|time| age < time)
}

fn get(url: &str) -> Option<(u16, String)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let address = address.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let path = if path.is_empty() { "/" } else { path };
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let status = line.split_whitespace().nth(1)?.parse().ok()?;
    let mut length = None;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).ok()? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((key, value)) = header.split_once(':')
            && key.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let mut body = String::new();
    reader.take(length.unwrap_or(u64::MAX)).read_to_string(&mut body).ok()?;
    Some((status, body))
}
