//! What is known of services besides what was measured: what they run on, and what they were given.

use std::collections::BTreeMap;
use std::time::Instant;

use bowline_core::capacity::advice::{Facts, Given};
use bowline_core::capacity::runtime::Runtime;
use bowline_core::capacity::runtime::vitals::Vitals;
use bowline_core::health::ProcessState;
use futures_util::future::join_all;

use crate::error::Outcome;
use crate::operation::host::Host;

/// Looks into one running container of each service of the project. A service none of whose containers runs, or can be
/// looked into, is left out.
///
/// # Errors
/// When the host does not answer.
pub async fn of_host(host: &Host) -> Outcome<BTreeMap<String, Facts>> {
    let containers = host.containers(Instant::now()).await;
    let containers = containers.map_err(|error| host.failure("looking at", &error))?;
    let running = containers.iter().filter(|there| there.state == ProcessState::Running && !there.one_off);
    let first: BTreeMap<&str, &str> =
        running.rev().map(|there| (there.service.as_str(), there.id.as_str())).collect();
    let looks = first.into_iter().map(async |(service, id)| {
        let program = host.engine.program(id).await.ok()?;
        let runtime = Runtime::read(&program.command, &program.environment);
        let vitals = match &runtime {
            Runtime::Jvm(_) => {
                // Advice is made without them where they cannot be had.
                let files = host.engine.counters(id, &program.user).await.unwrap_or_default();
                Vitals::of_container(files.iter().map(Vec::as_slice), program.started)
            }
            Runtime::Plain => None,
        };
        let facts = Facts {
            runtime,
            given: Given { cpu_limit: program.cpu, memory_limit: program.memory, ..Given::default() },
            threads: program.threads,
            vitals,
        };
        Some((service.to_owned(), facts))
    });
    Ok(join_all(looks).await.into_iter().flatten().collect())
}
