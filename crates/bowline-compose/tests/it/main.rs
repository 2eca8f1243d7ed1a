//! Against real hosts: a network namespace each, with an engine and an SSH server of its own.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod connection;
mod engine;
mod holder;
mod lease;
mod process;
mod project;
mod pull;

use bowline_compose::connection::{Address, Connection, Options};
use bowline_compose::engine::Engine;
use bowline_testkit::host::Host;

/// Connects to a host's engine as to one of this machine.
async fn near(host: &Host) -> Engine {
    let options = Options { docker_host: Some(host.docker_host().into()), ..Options::default() };
    Engine::open(&Connection::open(&Address::Local, &options).await.unwrap()).await.unwrap()
}

/// Connects to a host by SSH.
async fn far(host: &Host) -> Engine {
    Engine::open(&Connection::open(&address(host), &options(host)).await.unwrap()).await.unwrap()
}

fn address(host: &Host) -> Address {
    format!("ssh://{}", host.name()).parse().unwrap()
}

fn options(host: &Host) -> Options {
    Options { ssh_config: Some(host.ssh_config().into()), ..Options::default() }
}
