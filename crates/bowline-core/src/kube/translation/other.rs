//! What a compose file says that a manifest has no place for: it is told, not dropped in silence.

use serde_json::Value;

use super::Writer;

/// Keys that are translated elsewhere, or that mean nothing in a cluster.
const KNOWN: [&str; 44] = [
    "annotations",
    "attach",
    "build",
    "cap_add",
    "cap_drop",
    "command",
    "configs",
    "container_name",
    "cpus",
    "depends_on",
    "deploy",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extra_hosts",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "ipc",
    "links",
    "mem_limit",
    "mem_reservation",
    "memswap_limit",
    "network_mode",
    "networks",
    "pid",
    "platform",
    "ports",
    "privileged",
    "profiles",
    "pull_policy",
    "read_only",
    "restart",
    "scale",
    "secrets",
    "stdin_open",
    "stop_grace_period",
    "sysctls",
    "tmpfs",
    "tty",
    "user",
];
/// The rest of them.
const MORE: [&str; 4] = ["volumes", "working_dir", "develop", "logging"];

impl Writer<'_> {
    pub(super) fn other(&mut self, service: &str, raw: &Value) {
        let mut left: Vec<String> = raw
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| {
                !KNOWN.contains(&key.as_str())
                    && !MORE.contains(&key.as_str())
                    && !key.starts_with("x-")
                    && !value.is_null()
            })
            .map(|(key, _)| key.clone())
            .collect();
        left.sort();
        if !left.is_empty() {
            self.doubt(Some(service), format!("{} of the compose file: left out", left.join(", ")));
        }
        let text = |pointer: &str| raw.pointer(pointer).and_then(Value::as_str);
        if text("/deploy/mode") == Some("global") {
            self.doubt(Some(service), "runs on every machine (`mode: global`): make it a DaemonSet");
        }
        let constraints = raw.pointer("/deploy/placement/constraints").and_then(Value::as_array);
        if constraints.is_some_and(|constraints| !constraints.is_empty()) {
            self.doubt(
                Some(service),
                "has placement constraints: left out (`nodeSelector` or affinity say it here)",
            );
        }
        if let Some(mode) = text("/network_mode").filter(|mode| mode.contains(':')) {
            self.doubt(
                Some(service),
                format!("shares the network of {mode}: put both containers into one pod"),
            );
        }
        if text("/restart").is_some_and(|policy| policy.starts_with("on-failure")) && !self.is_task(service) {
            self.doubt(
                Some(service),
                "is restarted on failure only; a Deployment starts it again whenever it ends",
            );
        }
    }
}
