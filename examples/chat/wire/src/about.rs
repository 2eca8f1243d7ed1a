//! Each service tells the others who it is. Not by a version: that belongs to the release and is kept out of the
//! images, so that a new version does not change what did not change. What identifies a service is its bytes.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::nats::Client;
use crate::process::now;

/// How often a service speaks of itself.
pub const EVERY: Duration = Duration::from_secs(2);

/// What a service says of itself: its name, the beginning of the hash of its program, and when it started.
pub fn describe(service: &str, since: u64) -> String {
    let fingerprint = fingerprint().unwrap_or_else(|_| "unknown".to_owned());
    json!({ "service": service, "fingerprint": fingerprint, "since": since }).to_string()
}

/// Publishes `about.SERVICE` every two seconds, for as long as the process lives.
pub fn announce(service: &'static str, client: Arc<Client>) {
    let text = describe(service, now());
    std::thread::spawn(move || {
        loop {
            client.publish(&format!("about.{service}"), text.as_bytes());
            std::thread::sleep(EVERY);
        }
    });
}

fn fingerprint() -> io::Result<String> {
    let mut file = std::fs::File::open("/proc/self/exe")?;
    let mut hash = sha1_smol::Sha1::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hash.update(buffer.get(..length).unwrap_or_default());
    }
    Ok(hash.digest().to_string().chars().take(10).collect())
}
