//! What the Compose CLI understood of a compose file: the parts that planning needs, read from its JSON.
//!
//! Source of the shapes: the Compose Specification and the output of `docker compose config --format json`.
//! The model holds secrets (environment values): it has no `Debug` that shows them, and nothing of it is logged.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::compose::observed::HostPort;

/// A compose project as the CLI canonicalised it.
#[derive(Clone, Default, PartialEq)]
pub struct Model {
    /// Its services, in the order of their names. Those whose profile is not asked for are not there.
    pub services: BTreeMap<String, ServiceModel>,
    /// The top-level `configs` and `secrets` that come from files: their names and absolute paths.
    pub file_sources: BTreeMap<String, String>,
}

/// One service of a compose file.
#[derive(Clone, PartialEq)]
pub struct ServiceModel {
    /// Everything the CLI printed for it.
    pub raw: Value,
    /// The image's name as written; none where it is only built.
    pub image: Option<String>,
    /// The name its container must have.
    pub container_name: Option<String>,
    /// Whom it waits for.
    pub depends_on: BTreeMap<String, Dependency>,
    /// What happens when it ends: `no`, `always`, `on-failure[:n]`, `unless-stopped`.
    pub restart: String,
    /// How many containers.
    pub replicas: u32,
    /// Whether the file declares a health check (`None`: the image may have one; `Some(false)`: disabled).
    pub healthcheck: Option<bool>,
    /// The host ports it takes.
    pub ports: Vec<Port>,
    /// Bind mounts: absolute host paths.
    pub binds: Vec<String>,
    /// The most memory it may use, in bytes, where limited.
    pub memory: Option<u64>,
    /// `os/arch`, where the file asks for one.
    pub platform: Option<String>,
}

/// An edge of `depends_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// What it waits for.
    pub condition: Condition,
    /// Whether it must be there at all.
    pub required: bool,
}

/// What a dependant waits for (Compose Specification, `depends_on`, long syntax).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Its process was started.
    Started,
    /// Its health check passed.
    Healthy,
    /// It ended with exit code 0.
    Completed,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The address it is bound to; empty is every address.
    pub address: String,
    /// The host's port; a range of several counts as its first; none is chosen by the engine.
    pub published: Option<u16>,
    /// The container's port.
    pub target: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// Where a container's ports are reached (Compose Specification, `network_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// At addresses of its own.
    Own,
    /// At the host's.
    Host,
    /// Nowhere, or at another container's addresses.
    Hidden,
}

/// Why the CLI's output is no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the output of `docker compose config` is not what Bowline expects: {0}")]
pub struct InvalidModel(String);

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.services.keys()).finish()
    }
}

impl fmt::Debug for ServiceModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceModel").field("image", &self.image).finish_non_exhaustive()
    }
}

impl Model {
    /// Reads the CLI's JSON. `staged` and `directory` undo a staging directory: every text that begins with the first
    /// path is read as beginning with the second.
    ///
    /// # Errors
    /// When something that Compose always writes has another shape.
    pub fn parse(mut config: Value, staged: &str, directory: &str) -> Result<Self, InvalidModel> {
        move_paths(&mut config, staged, directory);
        let mut services = BTreeMap::new();
        for (name, raw) in entries(&config, "services") {
            services.insert(name.clone(), ServiceModel::parse(name, raw.clone())?);
        }
        let mut file_sources = BTreeMap::new();
        for kind in ["configs", "secrets"] {
            for (name, value) in entries(&config, kind) {
                if let Some(file) = value.get("file").and_then(Value::as_str) {
                    file_sources.insert(format!("{kind}/{name}"), file.to_owned());
                }
            }
        }
        Ok(Self { services, file_sources })
    }
}

fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(key).and_then(Value::as_object).into_iter().flatten()
}

fn move_paths(value: &mut Value, from: &str, to: &str) {
    if from.is_empty() || from == to {
        return;
    }
    match value {
        Value::String(text) => {
            if let Some(rest) = text.strip_prefix(from)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                *text = format!("{to}{rest}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_paths(item, from, to)),
        Value::Object(map) => map.values_mut().for_each(|item| move_paths(item, from, to)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[derive(Deserialize)]
struct WireDependency {
    condition: String,
    #[serde(default = "yes")]
    required: bool,
}

fn yes() -> bool {
    true
}

impl ServiceModel {
    fn parse(name: &str, raw: Value) -> Result<Self, InvalidModel> {
        let text = |key: &str| raw.get(key).and_then(Value::as_str).map(str::to_owned);
        let mut depends_on = BTreeMap::new();
        for (on, edge) in entries(&raw, "depends_on") {
            let edge: WireDependency = serde_json::from_value(edge.clone())
                .map_err(|error| InvalidModel(format!("services.{name}.depends_on.{on}: {error}")))?;
            let condition = match edge.condition.as_str() {
                "service_healthy" => Condition::Healthy,
                "service_completed_successfully" => Condition::Completed,
                _ => Condition::Started,
            };
            depends_on.insert(on.clone(), Dependency { condition, required: edge.required });
        }
        Ok(Self {
            image: text("image"),
            container_name: text("container_name"),
            depends_on,
            restart: restart_policy(&raw),
            replicas: replicas(&raw),
            healthcheck: healthcheck(&raw),
            ports: ports(&raw),
            binds: binds(&raw),
            memory: memory(&raw),
            platform: text("platform"),
            raw,
        })
    }

    /// The ports of the host that it is to have, where they are not left to the engine.
    pub fn host_ports(&self) -> impl Iterator<Item = HostPort> {
        self.ports.iter().filter_map(|port| HostPort::new(&port.protocol, &port.address, port.published?))
    }

    /// Whether the engine starts it again after this exit code, when it has done so this many times already.
    pub fn restarts_after(&self, exit_code: i64, restarts: u32) -> bool {
        match self.restart.split_once(':').unwrap_or((&self.restart, "")) {
            ("always" | "unless-stopped", _) => true,
            // No number, or 0, is no limit.
            ("on-failure", most) => {
                let most = most.parse().unwrap_or(0);
                exit_code != 0 && (most == 0 || restarts < most)
            }
            _ => false,
        }
    }

    /// Where its containers' ports are reached.
    pub fn network(&self) -> Network {
        match self.raw.get("network_mode").and_then(Value::as_str) {
            Some("host") => Network::Host,
            Some("none") => Network::Hidden,
            Some(mode) if mode.starts_with("service:") || mode.starts_with("container:") => Network::Hidden,
            _ => Network::Own,
        }
    }
}

fn restart_policy(raw: &Value) -> String {
    let written = raw.get("restart").and_then(Value::as_str);
    let deploy = raw.pointer("/deploy/restart_policy/condition").and_then(Value::as_str);
    match (written, deploy) {
        (Some(policy), _) => policy.to_owned(),
        (None, Some("any")) => "always".into(),
        (None, Some("on-failure")) => match raw.pointer("/deploy/restart_policy/max_attempts") {
            Some(most) => format!("on-failure:{most}"),
            None => "on-failure".into(),
        },
        _ => "no".into(),
    }
}

fn replicas(raw: &Value) -> u32 {
    raw.get("scale")
        .or_else(|| raw.pointer("/deploy/replicas"))
        .and_then(Value::as_u64)
        .map_or(1, |n| u32::try_from(n).unwrap_or(u32::MAX))
}

fn healthcheck(raw: &Value) -> Option<bool> {
    let check = raw.get("healthcheck")?;
    let disabled = check.get("disable").and_then(Value::as_bool).unwrap_or(false);
    let none = check.pointer("/test/0").and_then(Value::as_str) == Some("NONE");
    if disabled || none {
        return Some(false);
    }
    // A file may only set times for the image's own check.
    check.get("test").map(|_| true)
}

fn ports(raw: &Value) -> Vec<Port> {
    let number = |value: &Value| match value {
        Value::Number(n) => n.as_u64().and_then(|n| u16::try_from(n).ok()),
        Value::String(text) => text.split('-').next().and_then(|first| first.parse().ok()),
        _ => None,
    };
    let list = raw.get("ports").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|port| {
            Some(Port {
                address: port.get("host_ip").and_then(Value::as_str).unwrap_or_default().to_owned(),
                published: port.get("published").and_then(number).filter(|port| *port != 0),
                target: port.get("target").and_then(number)?,
                protocol: port.get("protocol").and_then(Value::as_str).unwrap_or("tcp").to_owned(),
            })
        })
        .collect()
}

fn binds(raw: &Value) -> Vec<String> {
    let list = raw.get("volumes").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter(|volume| volume.get("type").and_then(Value::as_str) == Some("bind"))
        .filter_map(|volume| volume.get("source").and_then(Value::as_str).map(str::to_owned))
        .collect()
}

fn memory(raw: &Value) -> Option<u64> {
    let limit = raw.get("mem_limit").or_else(|| raw.pointer("/deploy/resources/limits/memory"))?;
    limit.as_u64().or_else(|| limit.as_str()?.parse().ok()).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_that_planning_needs_are_read() {
        let config = serde_json::json!({"services": {"app": {
            "image": "main-service_app:latest",
            "container_name": "app",
            "depends_on": {"db": {"condition": "service_healthy", "required": true}, "mq": {"condition": "service_started"}},
            "restart": "on-failure:3",
            "deploy": {"replicas": 2, "resources": {"limits": {"memory": "536870912"}}},
            "healthcheck": {"test": ["CMD", "true"]},
            "ports": [{"mode": "ingress", "target": 80, "published": "8080-8081", "protocol": "tcp", "host_ip": "127.0.0.1"}],
            "volumes": [{"type": "bind", "source": "/stage/x/conf", "target": "/c"}, {"type": "volume", "source": "d"}]
        }}, "configs": {"c": {"file": "/stage/x/c.conf"}}});
        let model = Model::parse(config, "/stage/x", "/srv/chat").unwrap();
        let app = &model.services["app"];
        assert_eq!(app.replicas, 2);
        assert_eq!(app.memory, Some(512 << 20));
        assert_eq!(app.binds, ["/srv/chat/conf"]);
        assert_eq!(app.ports[0].published, Some(8080));
        assert_eq!(app.depends_on["db"].condition, Condition::Healthy);
        assert!(app.depends_on["mq"].required);
        assert_eq!(app.healthcheck, Some(true));
        assert!(app.restarts_after(1, 0) && app.restarts_after(1, 2) && !app.restarts_after(0, 0));
        assert!(!app.restarts_after(1, 3), "all its attempts are used up");
        let unlimited = ServiceModel { restart: "on-failure".into(), ..app.clone() };
        assert!(unlimited.restarts_after(1, 99));
        assert_eq!(app.network(), Network::Own);
        assert_eq!(model.file_sources["configs/c"], "/srv/chat/c.conf");
    }

    #[test]
    fn debug_shows_no_secrets() {
        let config = serde_json::json!({"services": {"db": {"environment": {"PASSWORD": "hunter2"}}}});
        let model = Model::parse(config, "", "").unwrap();
        assert!(!format!("{model:?} {:?}", model.services["db"]).contains("hunter2"));
    }
}
