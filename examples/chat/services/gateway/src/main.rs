use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use gateway::Gateway;
use wire::nats::Client;
use wire::{about, process};

fn main() -> ExitCode {
    let running = Arc::new(OnceLock::new());
    let started = Arc::clone(&running);
    let serve = move |listener| {
        let client = Client::connect(&process::setting("BROKER", "broker:4222"), "gateway");
        about::announce("gateway", Arc::clone(&client));
        gateway::serve(&listener, started.get_or_init(|| Gateway::new(client)));
    };
    process::run("8080", serve, || {
        if let Some(gateway) = running.get() {
            gateway.stop();
        }
    })
}
