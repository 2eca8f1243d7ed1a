use std::process::ExitCode;
use std::sync::Arc;

use wire::http::{self, Handler, Reply, Response};
use wire::nats::Client;
use wire::{about, process};

fn main() -> ExitCode {
    let serve = |listener| {
        let client = Client::connect(&process::setting("BROKER", "broker:4222"), "users");
        users::serve(&client);
        about::announce("users", Arc::clone(&client));
        let handler: Handler = Arc::new(move |request| match request.path.as_str() {
            "/health" => http::health(client.is_connected().then_some(()).ok_or("the broker is away")),
            _ => Reply::Answer(Response::text(404, "nothing here")),
        });
        http::serve(&listener, &handler);
    };
    process::run("8001", serve, || ())
}
