use std::process::ExitCode;
use std::sync::Arc;

use rooms::Rooms;
use wire::http::{self, Handler, Reply, Response};
use wire::nats::Client;
use wire::{about, process};

fn main() -> ExitCode {
    let serve = |listener| {
        let folder = process::setting("DATA", "/data");
        let rooms = match Rooms::open(&folder) {
            Ok(rooms) => Arc::new(rooms),
            Err(error) => {
                eprintln!("cannot read the rooms in {folder}: {error}");
                std::process::exit(1);
            }
        };
        let client = Client::connect(&process::setting("BROKER", "broker:4222"), "rooms");
        rooms::serve(&client, &rooms);
        about::announce("rooms", Arc::clone(&client));
        let handler: Handler = Arc::new(move |request| match request.path.as_str() {
            "/health" => http::health(client.is_connected().then_some(()).ok_or("the broker is away")),
            _ => Reply::Answer(Response::text(404, "nothing here")),
        });
        http::serve(&listener, &handler);
    };
    process::run("8002", serve, || ())
}
