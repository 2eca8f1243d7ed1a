//! When is a service up, when can it never be: gates as pure functions of what was seen.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::seconds;

/// How a service proves that it is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// The engine runs the health check that the compose file or the image declares.
    Healthcheck,
    /// Bowline asks over HTTP from the host's side; any status from 200 to 399 is a yes.
    Http {
        /// The container's port.
        port: u16,
        /// The path, with its leading slash.
        path: String,
    },
    /// Bowline connects to a TCP port of the container.
    Tcp {
        /// The container's port.
        port: u16,
    },
    /// It stays up for a while. Weak: a process can be up and useless.
    Settle {
        /// For how long.
        #[serde(serialize_with = "seconds")]
        time: Duration,
    },
    /// It ends with exit code 0: a task that others wait for.
    Completed,
    /// The API server's own status of the object says that it is ready: see [`crate::kube::readiness`].
    Status,
}

/// What must come true after a change before it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// The proof asked for.
    pub test: Test,
    /// How long it may take from the start.
    #[serde(serialize_with = "seconds")]
    pub start: Duration,
    /// How often it may die and be restarted on the way.
    pub restarts: u32,
    /// How many containers must pass.
    pub replicas: u32,
}

/// What an engine says of a container's own health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// Within its start period or before its first answer.
    Starting,
    /// The last check passed.
    Healthy,
    /// The configured number of checks failed in a row.
    Unhealthy,
}

/// The state of a container's process (Engine API, `State.Status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// Never started.
    Created,
    /// Running.
    Running,
    /// Suspended by somebody.
    Paused,
    /// Died; the engine starts it again after a delay.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// Ended and could not be removed.
    Dead,
}

/// What one look at one container showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The container's id.
    pub container: String,
    /// Its process.
    pub state: ProcessState,
    /// The exit code of the last process that ended.
    pub exit_code: i64,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// What the engine says about a failed start.
    pub error: String,
    /// How often the engine has restarted it.
    pub restarts: u32,
    /// What its own health check says, where it has one.
    pub check: Option<CheckStatus>,
    /// What Bowline's probe says, where there is one and it was asked.
    pub probe: Option<bool>,
    /// For how long the present process has been up.
    pub up: Duration,
    /// Whether the engine starts it again when it ends with this exit code.
    pub restarted_by_engine: bool,
    /// The last lines it wrote, where it has ended or is in trouble.
    pub log: Vec<String>,
}

/// Why a service cannot get better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// In words: `exited with code 3 (restart: no)`.
    pub reason: String,
    /// The exit code, where a process ended.
    pub exit_code: Option<i64>,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// The last lines it wrote.
    pub log: Vec<String>,
}

impl Cause {
    /// A cause that is only words.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), exit_code: None, oom_killed: false, log: Vec::new() }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What the sightings add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// There is no container.
    Absent,
    /// It may still come up. Says what is being waited for.
    Starting(String),
    /// It has proved that it is up. Says how.
    Ready(&'static str),
    /// It cannot get better, or its time is up.
    Failed(Cause),
}

impl Health {
    /// What it is once `waited` has passed: what is not ready when the gate's start time is over has failed, of what it
    /// suffers from.
    #[must_use]
    pub fn within(self, gate: &Gate, waited: Duration, suffers: Option<&Cause>) -> Self {
        let why = match &self {
            Self::Starting(why) if waited >= gate.start => why.as_str(),
            Self::Absent if waited >= gate.start => "it is not there",
            _ => return self,
        };
        let reason = format!("not ready within {} s: {why}", gate.start.as_secs());
        Self::Failed(match suffers {
            Some(cause) => Cause { reason, ..cause.clone() },
            None => Cause::new(reason),
        })
    }
}

/// Judges one service by its gate.
///
/// `waited` is the time since the service was started. Every container must pass; one that cannot get better fails the
/// service at once, and so does the end of the start time.
pub fn judge(gate: &Gate, sightings: &[Sighting], waited: Duration) -> Health {
    let mut starting = None;
    let mut proof = None;
    let mut ready = 0;
    for sighting in sightings {
        match judge_container(gate, sighting) {
            Health::Failed(cause) => return Health::Failed(cause),
            Health::Ready(how) => {
                ready += 1;
                proof = Some(how);
            }
            Health::Starting(why) => starting = Some(why),
            Health::Absent => {}
        }
    }
    match (starting, proof) {
        (None, Some(how)) if ready >= gate.replicas => Health::Ready(how),
        (None, None) if gate.replicas == 0 => Health::Ready("no containers wanted"),
        (why, _) if waited >= gate.start => Health::Failed(late(gate, why, sightings)),
        (Some(why), _) => Health::Starting(why),
        (None, None) if sightings.is_empty() => Health::Absent,
        (None, _) => Health::Starting(format!("{ready} of {} containers are up", gate.replicas)),
    }
}

fn late(gate: &Gate, why: Option<String>, sightings: &[Sighting]) -> Cause {
    let last = sightings.iter().find(|sighting| sighting.state != ProcessState::Running).or(sightings.last());
    Cause {
        reason: format!(
            "not up within {} s: {}",
            gate.start.as_secs(),
            why.unwrap_or_else(|| "there is no container".into())
        ),
        exit_code: last.filter(|s| s.state != ProcessState::Running).map(|sighting| sighting.exit_code),
        oom_killed: last.is_some_and(|sighting| sighting.oom_killed),
        log: last.map(|sighting| sighting.log.clone()).unwrap_or_default(),
    }
}

fn judge_container(gate: &Gate, sighting: &Sighting) -> Health {
    if let Some(reason) = hopeless(gate, sighting) {
        return Health::Failed(Cause {
            reason,
            exit_code: Some(sighting.exit_code),
            oom_killed: sighting.oom_killed,
            log: sighting.log.clone(),
        });
    }
    match sighting.state {
        ProcessState::Running => judge_running(gate, sighting),
        ProcessState::Exited if sighting.exit_code == 0 && !sighting.restarted_by_engine => {
            Health::Ready("completed with exit code 0")
        }
        ProcessState::Restarting | ProcessState::Exited => Health::Starting(format!(
            "exited with code {}, restart {} of {} allowed",
            sighting.exit_code, sighting.restarts, gate.restarts
        )),
        ProcessState::Paused => Health::Starting("it is paused".into()),
        ProcessState::Created | ProcessState::Removing | ProcessState::Dead => {
            Health::Starting("not started yet".into())
        }
    }
}

fn judge_running(gate: &Gate, sighting: &Sighting) -> Health {
    let answered = |how, waiting: &str| match sighting.probe {
        Some(true) => Health::Ready(how),
        _ => Health::Starting(waiting.to_owned()),
    };
    match &gate.test {
        Test::Healthcheck => match sighting.check {
            Some(status) => judge_check(status),
            None => Health::Starting("the engine reports no health check".into()),
        },
        Test::Http { port, path } => {
            answered("answers over HTTP", &format!("no good answer yet on port {port}, {path}"))
        }
        Test::Tcp { port } => answered("accepts connections", &format!("port {port} does not answer yet")),
        // The image may bring a check that the compose file does not know of: better than settling.
        Test::Settle { time } => match sighting.check {
            Some(status) => judge_check(status),
            None if sighting.up >= *time => Health::Ready("settled"),
            None => Health::Starting(format!("must stay up for {} s", time.as_secs_f64())),
        },
        Test::Completed => Health::Starting("it has not completed yet".into()),
        Test::Status => Health::Starting("no API tells its status".into()),
    }
}

fn judge_check(status: CheckStatus) -> Health {
    match status {
        CheckStatus::Healthy => Health::Ready("health check passed"),
        CheckStatus::Unhealthy => Health::Starting("its health check fails".into()),
        CheckStatus::Starting => Health::Starting("its health check has not passed yet".into()),
    }
}

/// What cannot get better by waiting.
fn hopeless(gate: &Gate, sighting: &Sighting) -> Option<String> {
    let ended = matches!(
        sighting.state,
        ProcessState::Exited | ProcessState::Restarting | ProcessState::Dead | ProcessState::Created
    );
    let wrong_format =
        |text: &str| text.contains("exec format error").then_some("is built for another processor");
    if ended && let Some(what) = wrong_format(&sighting.error) {
        return Some(format!("cannot start: it {what} ({})", sighting.error));
    }
    if ended && !sighting.error.is_empty() && matches!(sighting.exit_code, 126..=128) {
        return Some(format!("cannot start: {}", sighting.error));
    }
    if sighting.oom_killed {
        return Some("killed by the kernel for want of memory (OOM)".into());
    }
    let died = sighting.exit_code != 0 || gate.test != Test::Completed;
    match sighting.state {
        ProcessState::Exited | ProcessState::Restarting if sighting.exit_code != 0 => {
            if let Some(line) = sighting.log.iter().find_map(|line| wrong_format(line)) {
                return Some(format!("cannot start: it {line}"));
            }
            if matches!(sighting.exit_code, 126 | 127) {
                return Some(format!(
                    "command not found or not executable (exit code {})",
                    sighting.exit_code
                ));
            }
            if !sighting.restarted_by_engine {
                return Some(format!("exited with code {}, and nothing restarts it", sighting.exit_code));
            }
        }
        _ => {}
    }
    (died && sighting.restarts > gate.restarts).then(|| {
        format!(
            "restarted {} times, more than the {} allowed (last exit code {})",
            sighting.restarts, gate.restarts, sighting.exit_code
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(test: Test) -> Gate {
        Gate { test, start: Duration::from_secs(60), restarts: 3, replicas: 1 }
    }

    fn running() -> Sighting {
        Sighting {
            container: "c1".into(),
            state: ProcessState::Running,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            restarts: 0,
            check: None,
            probe: None,
            up: Duration::from_secs(1),
            restarted_by_engine: true,
            log: vec![],
        }
    }

    fn words(health: &Health) -> String {
        match health {
            Health::Absent => "absent".into(),
            Health::Starting(why) => format!("starting: {why}"),
            Health::Ready(how) => format!("ready: {how}"),
            Health::Failed(cause) => format!("failed: {cause}"),
        }
    }

    #[test]
    fn one_look_is_judged_by_the_gate() {
        let settle = Test::Settle { time: Duration::from_secs(5) };
        let exited = |code| Sighting { state: ProcessState::Exited, exit_code: code, ..running() };
        let once = |sighting: Sighting| Sighting { restarted_by_engine: false, ..sighting };
        let check = |status| Sighting { check: Some(status), ..running() };
        let tcp = Test::Tcp { port: 80 };
        for (test, sighting, expected) in [
            (settle.clone(), running(), "starting: must stay up for 5 s"),
            (settle.clone(), Sighting { up: Duration::from_secs(5), ..running() }, "ready: settled"),
            (Test::Healthcheck, check(CheckStatus::Healthy), "ready: health check passed"),
            (Test::Healthcheck, check(CheckStatus::Unhealthy), "starting: its health check fails"),
            (
                Test::Healthcheck,
                check(CheckStatus::Starting),
                "starting: its health check has not passed yet",
            ),
            (tcp.clone(), running(), "starting: port 80 does not answer yet"),
            (tcp, Sighting { probe: Some(true), ..running() }, "ready: accepts connections"),
            (Test::Completed, running(), "starting: it has not completed yet"),
            (Test::Completed, once(exited(0)), "ready: completed with exit code 0"),
            (Test::Completed, once(exited(2)), "failed: exited with code 2, and nothing restarts it"),
            (settle.clone(), exited(1), "starting: exited with code 1, restart 0 of 3 allowed"),
            (settle.clone(), once(exited(1)), "failed: exited with code 1, and nothing restarts it"),
            (settle.clone(), exited(127), "failed: command not found or not executable (exit code 127)"),
            (
                settle.clone(),
                Sighting { oom_killed: true, ..exited(137) },
                "failed: killed by the kernel for want of memory (OOM)",
            ),
            (
                settle.clone(),
                Sighting { log: vec!["exec /app: exec format error".into()], ..exited(255) },
                "failed: cannot start: it is built for another processor",
            ),
            (
                settle.clone(),
                Sighting { error: "exec: \"/nope\": no such file".into(), ..exited(127) },
                "failed: cannot start: exec: \"/nope\": no such file",
            ),
            (
                settle,
                Sighting { restarts: 4, ..running() },
                "failed: restarted 4 times, more than the 3 allowed (last exit code 0)",
            ),
        ] {
            assert_eq!(words(&judge(&gate(test), &[sighting], Duration::from_secs(2))), expected);
        }
    }

    #[test]
    fn the_start_time_ends_the_waiting() {
        let health = judge(&gate(Test::Healthcheck), &[running()], Duration::from_secs(60));
        assert_eq!(words(&health), "failed: not up within 60 s: the engine reports no health check");
        let health = judge(&gate(Test::Healthcheck), &[], Duration::from_secs(60));
        assert_eq!(words(&health), "failed: not up within 60 s: there is no container");
    }

    #[test]
    fn every_replica_must_pass() {
        let up = Sighting { check: Some(CheckStatus::Healthy), ..running() };
        let gate = Gate { replicas: 2, ..gate(Test::Healthcheck) };
        let after = Duration::from_secs(1);
        assert_eq!(
            words(&judge(&gate, std::slice::from_ref(&up), after)),
            "starting: 1 of 2 containers are up"
        );
        assert_eq!(words(&judge(&gate, &[up.clone(), up], after)), "ready: health check passed");
    }
}
