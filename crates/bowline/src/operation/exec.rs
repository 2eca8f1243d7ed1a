//! `exec` on a Docker host: a command in a container that runs already.

use std::time::Instant;

use bowline_compose::engine::Streams;
use bowline_core::compose::observed::Container;
use bowline_core::health::ProcessState;
use tokio::io::{AsyncRead, AsyncWrite};

use super::host::Host;
use crate::error::{Failure, Outcome};

/// Finds the container: the one of this name, else the first of the service that runs.
///
/// # Errors
/// Kind `Invalid`: there is no such service or container. Kind `Failed`: none of it runs.
pub async fn find(host: &Host, service: &str, named: Option<&str>) -> Outcome<Container> {
    let containers = host.containers(Instant::now()).await;
    let containers = containers.map_err(|error| host.failure("looking at", &error))?;
    let own: Vec<Container> =
        containers.iter().filter(|there| there.service == service && !there.one_off).cloned().collect();
    if own.is_empty() {
        let mut known: Vec<&str> = containers.iter().map(|there| there.service.as_str()).collect();
        known.dedup();
        return Err(Failure::invalid(format!("{} runs no service `{service}`", host.target)).hint(
            match known.is_empty() {
                true => "nothing of the project runs there".to_owned(),
                false => format!("it has {}", known.join(", ")),
            },
        ));
    }
    if let Some(named) = named {
        let found = own.iter().find(|there| there.name == named);
        return found.cloned().ok_or_else(|| {
            let known: Vec<&str> = own.iter().map(|there| there.name.as_str()).collect();
            Failure::invalid(format!("{service} has no container `{named}` on {}", host.target))
                .hint(format!("it has {}", known.join(", ")))
        });
    }
    own.into_iter().find(|there| there.state == ProcessState::Running).ok_or_else(|| {
        Failure::failed(format!("running a command in {service} on {}", host.target))
            .since("none of its containers runs")
            .hint(format!("`bowline status {}` says why", host.target))
    })
}

/// Runs a command to its end, connected with these streams; gives its exit code.
///
/// # Errors
/// When it cannot be started, or the connection breaks.
pub async fn run<I, O, E>(
    host: &Host,
    container: &Container,
    command: &[String],
    streams: Streams<I, O, E>,
) -> Outcome<i64>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    let code = host.engine.exec(&container.id, command, streams).await;
    code.map_err(|error| host.failure("running a command on", &error))
}
