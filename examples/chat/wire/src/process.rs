//! A service as a process: settings, its health command, its end.

use std::net::TcpListener;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::http;

/// A setting from the environment, or what it is without one.
pub fn setting(name: &str, otherwise: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| otherwise.to_owned())
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0))
}

/// Runs a service: `SERVICE health` asks the one that runs beside it, in the same container, and anything else
/// serves on `PORT` until SIGTERM or SIGINT, whereupon `stop` has its say.
///
/// As process 1 of a container a program that does not ask for SIGTERM never sees it, and the engine waits ten
/// seconds before it kills it: every deployment would be that much slower.
pub fn run(port: &str, serve: impl FnOnce(TcpListener) + Send + 'static, stop: impl FnOnce()) -> ExitCode {
    let port = setting("PORT", port);
    if std::env::args().nth(1).as_deref() == Some("health") {
        let asked = http::get(&format!("127.0.0.1:{port}"), "/health", Duration::from_secs(2));
        return match asked {
            Ok((200, _)) => ExitCode::SUCCESS,
            Ok((status, body)) => complain(&format!("{status}: {}", String::from_utf8_lossy(&body).trim())),
            Err(error) => complain(&format!("nothing answers on port {port}: {error}")),
        };
    }
    let listener = match TcpListener::bind(format!("0.0.0.0:{port}")) {
        Ok(listener) => listener,
        Err(error) => return complain(&format!("cannot listen on port {port}: {error}")),
    };
    let signals = [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT];
    let mut signals = match signal_hook::iterator::Signals::new(signals) {
        Ok(signals) => signals,
        Err(error) => return complain(&format!("cannot wait for signals: {error}")),
    };
    println!("listening on port {port}");
    std::thread::spawn(move || serve(listener));
    signals.forever().next();
    stop();
    println!("stopped");
    ExitCode::SUCCESS
}

fn complain(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}
