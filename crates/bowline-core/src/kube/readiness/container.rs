//! One container of a pod, as its kubelet tells it.

use serde_json::Value;

use super::event::{about, newest};
use super::probe::is_proven;
use super::status::{count, has_passed, is_true, items, shorten, text, time};
use super::trouble::{Trouble, Weight};
use super::{Case, image};

/// What a pod's containers are for: whether their end is a failure, and who counts the restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It is to stay up.
    Service,
    /// It is to end well. How often it may try again is said by its Job (`backoffLimit`).
    Task,
}

/// A container: what was asked for and what became of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container<'a> {
    pod: &'a Value,
    spec: &'a Value,
    status: &'a Value,
    is_init: bool,
    life: Life,
}

/// All containers of a pod that have a state, those that prepare it first.
///
/// An init container that goes on running (`restartPolicy: Always`, a sidecar, from 1.28) lives like the others.
pub(super) fn containers<'a>(pod: &'a Value, life: Life) -> impl Iterator<Item = Container<'a>> {
    const LISTS: [(&str, &str); 2] = [
        ("/spec/initContainers", "/status/initContainerStatuses"),
        ("/spec/containers", "/status/containerStatuses"),
    ];
    LISTS.into_iter().enumerate().flat_map(move |(index, (specs, statuses))| {
        items(pod, specs).filter_map(move |spec| {
            let name = text(spec, "/name");
            let status = items(pod, statuses).find(|status| text(status, "/name") == name)?;
            let is_init = index == 0 && text(spec, "/restartPolicy") != "Always";
            Some(Container { pod, spec, status, is_init, life })
        })
    })
}

/// How often the containers of a pod have been restarted, all together.
pub(super) fn restarts(pod: &Value) -> u64 {
    let statuses = items(pod, "/status/initContainerStatuses").chain(items(pod, "/status/containerStatuses"));
    statuses.fold(0, |sum, status| sum.saturating_add(count(status, "/restartCount")))
}

impl<'a> Container<'a> {
    fn name(&self) -> &'a str {
        text(self.spec, "/name")
    }

    fn trouble(&self, weight: Weight, words: impl Into<String>) -> Trouble {
        self.place(Trouble::new(self.pod, weight, words))
    }

    fn place(&self, trouble: Trouble) -> Trouble {
        Trouble { container: Some(self.name().to_owned()), is_init: self.is_init, ..trouble }
    }

    /// What keeps it from being ready, if anything does.
    pub(super) fn find_trouble(&self, case: &Case<'_>) -> Option<Trouble> {
        let state = |kind: &str| self.status.pointer(kind).filter(|state| state.is_object());
        if let Some(waiting) = state("/state/waiting") {
            return self.find_waiting(case, waiting, state("/lastState/terminated"));
        }
        if let Some(ended) = state("/state/terminated") {
            let well = count(ended, "/exitCode") == 0 && (self.is_init || self.life == Life::Task);
            return (!well).then(|| self.explain_end(case, ended));
        }
        state("/state/running")
            .and_then(|running| self.find_running(case, running, state("/lastState/terminated")))
    }

    /// The reasons are kubernetes: pkg/kubelet/kuberuntime/kuberuntime_container.go and pkg/kubelet/container/sync_result.go.
    fn find_waiting(&self, case: &Case<'_>, waiting: &Value, last: Option<&Value>) -> Option<Trouble> {
        let message = shorten(text(waiting, "/message"));
        match text(waiting, "/reason") {
            reason if image::is_about_image(reason) => {
                let image = text(self.spec, "/image");
                Some(self.place(image::trouble(case, self.pod, self.name(), image, waiting)))
            }
            "CreateContainerConfigError" => Some(self.explain_configuration(case, &message)),
            "CrashLoopBackOff" => last.map(|ended| self.explain_end(case, ended)),
            reason @ ("CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "PostStartHookError") => Some(match explain_start(&message) {
                Some(why) => {
                    self.trouble(Weight::Start, format!("cannot start: {why} ({message})")).hopeless()
                }
                None => {
                    let (hopeless, tries) = self.weigh_restarts(case);
                    self.trouble(Weight::Start, format!("{reason}: {message}{tries}")).hopeless_if(hopeless)
                }
            }),
            // ContainerCreating and PodInitializing: what it waits for is told of the pod.
            _ => None,
        }
    }

    /// A missing Secret or ConfigMap may be about to be made by an operator, and the kubelet tries again; a key that is
    /// missing in one that exists, or an image that runs as root where it must not, stays as it is.
    fn explain_configuration(&self, case: &Case<'_>, message: &str) -> Trouble {
        // The kubelet's own caches are filled after a start (krane: lib/krane/kubernetes_resource/pod.rb).
        const PASSING: [&str; 3] = ["failed to sync ", "have not yet been read", "timed out waiting"];
        let trouble = self.trouble(Weight::Configuration, format!("CreateContainerConfigError: {message}"));
        if PASSING.iter().any(|words| message.contains(words)) {
            return trouble;
        }
        let may_come = message.ends_with("not found") && !message.contains("couldn't find key");
        let placed = super::status::condition(self.pod, "PodScheduled").and_then(|placed| placed.since());
        trouble.hopeless_if(!may_come || case.is_lasting(placed))
    }

    /// What the end of a process means for a container that may be restarted.
    fn explain_end(&self, case: &Case<'_>, ended: &Value) -> Trouble {
        let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or_default();
        let (reason, message) = (text(ended, "/reason"), text(ended, "/message"));
        let log = self.last_words(case, message);
        let is_previous = self.status.pointer("/state/running").is_some();
        let tell =
            |trouble: Trouble| Trouble { exit_code: Some(code), is_previous, log: log.clone(), ..trouble };
        // Docker's words until 1.23, containerd's since: the process was never there.
        if matches!(reason, "ContainerCannotRun" | "StartError")
            && let Some(why) = explain_start(message)
        {
            let words = format!("cannot start: {why} ({})", shorten(message));
            return tell(self.trouble(Weight::Start, words).hopeless());
        }
        if code != 0 && log.iter().any(|line| line.contains("exec format error")) {
            return tell(
                self.trouble(Weight::Start, "cannot start: it is built for another processor").hopeless(),
            );
        }
        if reason != "Completed" && matches!(code, 126 | 127) {
            let words = format!("command not found or not executable (exit code {code})");
            return tell(self.trouble(Weight::Start, words).hopeless());
        }
        let (hopeless, tries) = self.weigh_restarts(case);
        if reason == "OOMKilled" {
            let words = format!("killed by the kernel for want of memory (OOM){}", self.memory_limit());
            return tell(self.trouble(Weight::Memory, words).hopeless_if(self.life == Life::Service));
        }
        let weight =
            if matches!(reason, "ContainerCannotRun" | "StartError") { Weight::Start } else { Weight::Exit };
        let what = if weight == Weight::Start {
            format!("cannot start: {}", shorten(message))
        } else {
            exited(code)
        };
        let words = format!("{what}{}{tries}", self.failed_check(case, code));
        tell(self.trouble(weight, words).hopeless_if(hopeless))
    }

    /// A process that runs: has it died too often, does it answer, has it stayed up?
    fn find_running(&self, case: &Case<'_>, running: &Value, last: Option<&Value>) -> Option<Trouble> {
        if self.is_init {
            return Some(self.trouble(Weight::Waiting, "it has not completed yet"));
        }
        if self.life == Life::Task {
            return None;
        }
        let (hopeless, tries) = self.weigh_restarts(case);
        if hopeless && let Some(ended) = last {
            return Some(self.explain_end(case, ended).hopeless());
        }
        if !is_true(self.status, "/ready") {
            return Some(match last {
                // It has just been started again: that it died says more than that it is not ready.
                Some(ended) if count(ended, "/exitCode") != 0 => {
                    let end = self.explain_end(case, ended);
                    Trouble { words: format!("{}; it runs again", end.words), hopeless: false, ..end }
                }
                _ => self.explain_unready(case, &tries),
            });
        }
        let up = time(running, "/startedAt").is_some_and(|at| has_passed(at, case.budget.settle, case.now));
        (!is_proven(self.spec) && !up).then(|| {
            self.trouble(Weight::Waiting, format!("must stay up for {} s", case.budget.settle.as_secs_f64()))
        })
    }

    fn explain_unready(&self, case: &Case<'_>, tries: &str) -> Trouble {
        let probe = match self.spec.get("startupProbe") {
            Some(_) if !is_true(self.status, "/started") => "Startup",
            _ => "Readiness",
        };
        let unhealthy = about(case.sight.events, self.pod)
            .filter(|event| event.reason == "Unhealthy" && event.is_about(self.name()))
            .filter(|event| event.message.starts_with(probe));
        match newest(unhealthy) {
            Some(event) => self.trouble(Weight::Probe, format!("{}{tries}", shorten(event.message))),
            None => {
                let words = format!("its {} probe has not passed yet{tries}", probe.to_lowercase());
                self.trouble(Weight::Waiting, words)
            }
        }
    }

    /// Whether its pod has died too often, and how to say it. Restarts of a pod that is older than the change are not
    /// the change's: how many there were is not known.
    fn weigh_restarts(&self, case: &Case<'_>) -> (bool, String) {
        let restarts = restarts(self.pod);
        let allowed = u64::from(case.budget.restarts);
        if self.life == Life::Task {
            return (false, String::new());
        }
        if case.is_stale(time(self.pod, "/metadata/creationTimestamp")) {
            return (
                false,
                match restarts {
                    0 => String::new(),
                    _ => ", in a pod that is older than this change".into(),
                },
            );
        }
        let runs = self.status.pointer("/state/running").is_some();
        match restarts {
            0 if runs => (false, String::new()),
            _ if restarts > allowed => {
                (true, format!(", restarted {restarts} times, more than the {allowed} allowed"))
            }
            // It died again: what comes next would be one restart too many, and the kubelet waits ever longer for it.
            _ if !runs && restarts == allowed => {
                (true, format!(", restarted {restarts} times, all that is allowed"))
            }
            _ => (false, format!(", restart {restarts} of {allowed} allowed")),
        }
    }

    /// Why the kubelet killed it, where it did (exit codes of SIGKILL and SIGTERM).
    fn failed_check(&self, case: &Case<'_>, code: i64) -> String {
        if !matches!(code, 137 | 143) {
            return String::new();
        }
        let unhealthy = about(case.sight.events, self.pod)
            .filter(|event| event.reason == "Unhealthy" && event.is_about(self.name()))
            .filter(|event| event.message.starts_with("Liveness") || event.message.starts_with("Startup"));
        newest(unhealthy).map(|event| format!(" after: {}", shorten(event.message))).unwrap_or_default()
    }

    fn memory_limit(&self) -> String {
        match text(self.spec, "/resources/limits/memory") {
            "" => String::new(),
            limit => format!(", its limit is {limit}"),
        }
    }

    /// What it wrote last; without a log, what it left as its termination message.
    fn last_words(&self, case: &Case<'_>, message: &str) -> Vec<String> {
        let key = (super::status::name(self.pod).to_owned(), self.name().to_owned());
        match case.sight.logs.get(&key) {
            Some(lines) if !lines.is_empty() => lines.clone(),
            _ => message.lines().map(str::to_owned).collect(),
        }
    }
}

fn exited(code: i64) -> String {
    match code {
        0 => "ended by itself (exit code 0)".into(),
        code => format!("exited with code {code}"),
    }
}

/// Why a process cannot be started at all, from the words of runc, crun, containerd and Docker. What is not in here may
/// be the node's trouble, and pass (krane ignores exit code 128 for that reason; containerd uses it for everything).
fn explain_start(message: &str) -> Option<&'static str> {
    let says = |words: &str| message.contains(words);
    let is_about_command = says("exec: ") || says("exec user process") || says("executable file");
    if says("exec format error") {
        Some("it is built for another processor")
    } else if says("executable file not found") || (is_about_command && says("no such file or directory")) {
        Some("its command is not in the image")
    } else if is_about_command && says("permission denied") {
        Some("its command is not executable")
    } else if says("o command specified") {
        Some("neither image nor manifest name a command")
    } else if says("mounting ") && (says("not a directory") || says("is a directory")) {
        Some("a file is mounted where a directory is, or the other way round")
    } else if says("unable to find user")
        || says("unable to find group")
        || says("no matching entries in passwd")
    {
        Some("its user is not in the image")
    } else {
        None
    }
}
