//! What a target's machines did: read from where it is kept.

use std::io::Read as _;

use bowline_compose::engine::{SAMPLER, Streams};
use bowline_core::capacity::picture::Deployment;
use bowline_core::capacity::series::Series;
use bowline_measurement::frame::Decoder;
use bowline_measurement::rollup::Step;
use flate2::read::GzDecoder;

use crate::error::{Failure, Outcome};
use crate::operation::history::Entry;
use crate::operation::host::Host;

/// How much a program that complains may say.
const COMPLAINT: usize = 2_000;

/// A window, in milliseconds since 1970, and how fine it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Its beginning.
    pub since: i64,
    /// Its end; none: now.
    pub until: Option<i64>,
    /// The length of a row.
    pub step: Step,
}

/// Asks the program that measures a host.
///
/// # Errors
/// Kind `Failed`: it does not run there. Otherwise when the host does not answer.
pub async fn of_host(host: &Host, asked: Asked) -> Outcome<Series> {
    let looking = || format!("reading what was measured on {}", host.target);
    let sampler = host.engine.sampler().await.map_err(|error| host.failure("looking at", &error))?;
    let Some(sampler) = sampler.filter(|there| there.running && there.fingerprint.is_some()) else {
        return Err(Failure::failed(looking())
            .since("nothing measures it")
            .hint(format!("bowline capacity start {}", host.target)));
    };
    let mut command = vec!["/bowline-gate".to_owned(), "export".to_owned(), "--gzip".to_owned()];
    command.extend(["--since".to_owned(), asked.since.to_string()]);
    command.extend(["--step".to_owned(), asked.step.to_string()]);
    if let Some(until) = asked.until {
        command.extend(["--until".to_owned(), until.to_string()]);
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let streams =
        Streams { stdin: None::<tokio::io::Empty>, stdout: &mut out, stderr: &mut err, terminal: None };
    let code = host.engine.exec(&sampler.id, &command, streams).await;
    let code = code.map_err(|error| host.failure("reading what was measured on", &error))?;
    if code != 0 {
        let complaint = String::from_utf8_lossy(&err).chars().take(COMPLAINT).collect::<String>();
        return Err(Failure::failed(looking())
            .since(complaint.trim().to_owned())
            .hint(format!("docker logs {SAMPLER}, there")));
    }
    read(&out).map_err(|why| Failure::failed(looking()).since(why))
}

/// Reads rows as they are exported, compressed.
fn read(bytes: &[u8]) -> Result<Series, String> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).map_err(|error| error.to_string())?;
    let mut decoder = Decoder::default();
    decoder.feed(&plain);
    let mut series = Series::default();
    while let Some(record) = decoder.next_record().map_err(|error| error.to_string())? {
        series.push(record);
    }
    if series.complete { Ok(series) } else { Err("it broke off in the middle".to_owned()) }
}

/// To which service of a project a container belongs, by the name under which it was measured.
pub fn service_of<'p>(project: &'p str) -> impl Fn(&str) -> Option<String> + 'p {
    move |container| {
        let mut parts = container.split('/');
        let service = (parts.next() == Some(project)).then(|| parts.next()).flatten()?;
        Some(service.to_owned())
    }
}

/// What was deployed to a target, for the axis of time.
pub fn deployments(history: &[Entry]) -> Vec<Deployment> {
    let deployment = |entry: &Entry| match entry {
        Entry::Revision { release: Some(release), at, .. } => {
            Some(Deployment { at: at.as_millisecond() as f64 / 1000.0, release: release.clone() })
        }
        _ => None,
    };
    history.iter().rev().filter_map(deployment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_beside_a_service_is_not_taken_for_it() {
        let service = service_of("chat");
        assert_eq!(service("chat/user/1"), Some("user".to_owned()));
        for other in ["chat-user-run-1f2e3d", "chat", "shop/user/1"] {
            assert_eq!(service(other), None, "{other}");
        }
    }
}
