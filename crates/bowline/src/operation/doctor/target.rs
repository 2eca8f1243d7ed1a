//! A Docker host: reached, used, with room and time, and in order.

use std::collections::BTreeSet;

use bowline_compose::connection::Command;
use bowline_compose::observation::Observation;
use bowline_compose::project::Project;
use jiff::{SignedDuration, Timestamp};

use super::{Findings, order};
use crate::config::{ComposeTarget, Config};
use crate::operation::host::Host;
use crate::operation::{adopt, lock, status};
use crate::ui::table;

/// Clocks that are further apart make logs and histories hard to compare.
const SKEW: SignedDuration = SignedDuration::from_secs(5);
/// Less free room than this is soon none.
const LITTLE_DISK: u64 = 2 << 30;
/// With less than this, pulls of ordinary images fail.
const NO_DISK: u64 = 300 << 20;
/// Less memory than this is little for an engine and services.
const LITTLE_MEMORY: u64 = 900 << 20;

/// Says whether the nearest existing directory above a path (`$1`) can be written to.
const WRITABLE: &str = r#"path=$1
while [ ! -e "$path" ]; do path=${path%/*}; [ -n "$path" ] || path=/; done
[ -w "$path" ] || { echo "$path"; exit 1; }"#;

pub(super) async fn look(findings: &mut Findings, config: &Config, target: &ComposeTarget) {
    let subject = |what: &str| format!("{}: {what}", target.name);
    let host = match Host::connect(config, target).await {
        Ok(host) => host,
        Err(failure) => return findings.broken(&subject("engine"), failure),
    };
    match Project::check_compose(&host.connection).await {
        Ok(version) if Project::mistakes_dependents(&version) => findings.warn(
            &subject("compose"),
            format!(
                "{version}: after a deploy, a `docker compose up` by hand replaces services with depends_on, once \
                 (docker/compose issue 12069)"
            ),
            "install 2.30 or newer there: the package docker-compose-plugin",
        ),
        Ok(version) => findings.ok(&subject("compose"), version),
        Err(error) => findings.fail(&subject("compose"), error.to_string(), error.hint()),
    }
    // The clocks, first: what comes later takes its time.
    let asked = Timestamp::now();
    let machine = host.engine.machine_without_disk().await;
    let answered = Timestamp::now();
    match machine {
        Ok(machine) => clock(findings, &subject("clock"), asked, answered, machine.time),
        Err(error) => findings.fail(&subject("engine"), error.to_string(), error.hint()),
    }
    let observation = match host.look(&BTreeSet::new()).await {
        Ok(observation) => observation,
        Err(failure) => return findings.broken(&subject("engine"), failure),
    };
    machine_itself(findings, &subject, &host, &observation);
    writable(findings, &subject("directory"), &host).await;
    let (lock, report) = (lock::of_host(&host).await, status::of_host(&host).await);
    order(findings, &subject, &target.name, lock, report);
    place(findings, &subject("project"), &host, config, target, &observation).await;
}

/// The engine's clock against ours. It was read somewhere between the question and the answer.
pub(super) fn clock(
    findings: &mut Findings,
    subject: &str,
    asked: Timestamp,
    answered: Timestamp,
    theirs: Timestamp,
) {
    let skew = if theirs < asked {
        asked.duration_since(theirs)
    } else if theirs > answered {
        theirs.duration_since(answered)
    } else {
        SignedDuration::ZERO
    };
    if skew <= SKEW {
        findings.ok(subject, format!("agrees with ours to {} s", SKEW.as_secs()));
        return;
    }
    let side = if theirs < asked { "behind" } else { "ahead of" };
    let remedy = "switch time synchronisation on, there and here: sudo timedatectl set-ntp true";
    findings.warn(subject, format!("{} {side} ours", table::span(skew.as_secs())), remedy);
}

fn machine_itself(
    findings: &mut Findings,
    subject: &impl Fn(&str) -> String,
    host: &Host,
    observation: &Observation,
) {
    let engine = &observation.machine.engine;
    let platform = engine.platform.as_ref().map(ToString::to_string).unwrap_or_default();
    let text = format!("{} {platform}, as {}", engine.version, host.connection.user());
    findings.ok(&subject("engine"), text);
    let prune = format!(
        "`bowline prune {}` removes what nothing needs; `docker system df` shows the rest",
        host.target
    );
    match engine.disk_free {
        None => {
            let remedy = format!("look at {} there: df -h", observation.machine.root);
            findings.warn(&subject("disk"), "how much is free could not be found out", remedy);
        }
        Some(free) if free < NO_DISK => {
            findings.fail(&subject("disk"), format!("{} free", table::bytes(free)), Some(prune));
        }
        Some(free) if free < LITTLE_DISK => {
            findings.warn(&subject("disk"), format!("{} free", table::bytes(free)), prune);
        }
        Some(free) => findings.ok(&subject("disk"), format!("{} free", table::bytes(free))),
    }
    let memory = format!("{}, {} processors", table::bytes(engine.memory), engine.cpus);
    if engine.memory < LITTLE_MEMORY {
        let remedy = "give services a limit (`memory` in [targets.X.services.Y]), or take a larger machine";
        findings.warn(&subject("memory"), memory, remedy);
    } else {
        findings.ok(&subject("memory"), memory);
    }
}

async fn writable(findings: &mut Findings, subject: &str, host: &Host) {
    let path = host.directory.path();
    let command = Command::new("sh").args(["-c", WRITABLE, "sh", path]);
    match host.connection.run(command).await {
        Ok(output) if output.is_success() => findings.ok(subject, path),
        Ok(output) => {
            let place = output.text().trim().to_owned();
            let remedy =
                format!("make it writable for {}, or set another `directory`", host.connection.user());
            findings.fail(subject, format!("{path}: {place} cannot be written to"), Some(remedy));
        }
        Err(error) => findings.fail(subject, error.to_string(), error.hint()),
    }
}

/// Whether something runs there that Bowline does not know yet.
async fn place(
    findings: &mut Findings,
    subject: &str,
    host: &Host,
    config: &Config,
    target: &ComposeTarget,
    observation: &Observation,
) {
    if let Some(revision) = observation.state.newest() {
        let release = revision.release.as_deref().unwrap_or("what was adopted");
        findings.ok(subject, format!("{}: {release}, revision {}", host.project, revision.number));
        return;
    }
    match adopt::observe_place(host, config, target).await {
        Ok(place) => {
            let text = format!("{} runs in {} already, and was not adopted", place.project, place.directory);
            let remedy = format!("`bowline adopt {}` takes it over without touching it", host.target);
            findings.warn(subject, text, remedy);
        }
        Err(_) => findings.ok(subject, format!("{}: nothing was deployed yet", host.project)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_slow_answer_is_no_wrong_clock() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (asked, answered) = (at("2026-11-22T10:00:00Z"), at("2026-11-22T10:00:20Z"));
        for (theirs, state) in [
            ("2026-11-22T10:00:15Z", State::Ok),
            ("2026-11-22T10:00:24Z", State::Ok),
            ("2026-11-22T10:00:26Z", State::Warning),
            ("2026-11-22T09:59:54Z", State::Warning),
        ] {
            let mut findings = Findings::default();
            clock(&mut findings, "clock", asked, answered, at(theirs));
            assert_eq!(findings.0.first().map(|finding| finding.state), Some(state), "{theirs}");
        }
    }
}
