use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

use broker::Broker;
use wire::http::{self, Handler, Reply, Response};
use wire::nats::Message;
use wire::{about, process};

/// The broker's own port; the one of `PORT` is for health checks.
const CLIENTS: &str = "0.0.0.0:4222";

fn main() -> ExitCode {
    let serve = |health: TcpListener| {
        let broker = Arc::new(Broker::default());
        let clients = match TcpListener::bind(CLIENTS) {
            Ok(clients) => clients,
            Err(error) => {
                eprintln!("cannot listen on {CLIENTS}: {error}");
                std::process::exit(1);
            }
        };
        let speaker = Arc::clone(&broker);
        std::thread::spawn(move || {
            let payload = about::describe("broker", process::now()).into_bytes();
            let message = Message { subject: "about.broker".to_owned(), reply: None, payload };
            loop {
                speaker.publish(&message);
                std::thread::sleep(about::EVERY);
            }
        });
        std::thread::spawn(move || broker::serve(&clients, &broker));
        let handler: Handler = Arc::new(|request| match request.path.as_str() {
            "/health" => http::health(Ok(())),
            _ => Reply::Answer(Response::text(404, "nothing here")),
        });
        http::serve(&health, &handler);
    };
    process::run("8222", serve, || ())
}
