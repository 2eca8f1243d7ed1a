//! The container of a service: what it runs, with which variables, within which limits.

use serde_json::{Map, Value, json};

use super::environment::{is_secret, literal};
use super::name::label;
use super::probe::words;
use super::volume::variable;
use super::yaml::Node;
use super::{Origin, Writer};

impl Writer<'_> {
    /// The container without its ports, probe and mounts.
    pub(super) fn container(&mut self, service: &str, raw: &Value, image: &str) -> Node {
        let name = self.called(service);
        let mut node = Node::default();
        node.set("name", name.as_str());
        node.set("image", image);
        let policy = raw.get("pull_policy").and_then(Value::as_str).and_then(|policy| match policy {
            "always" => Some("Always"),
            "never" => Some("Never"),
            "missing" | "if_not_present" => Some("IfNotPresent"),
            _ => None,
        });
        node.set_some("imagePullPolicy", policy);
        node.set_some("command", words(raw.get("entrypoint")));
        node.set_some("args", words(raw.get("command")));
        node.set_some("workingDir", raw.get("working_dir").cloned());
        for (from, to) in [("stdin_open", "stdin"), ("tty", "tty")] {
            if raw.get(from).and_then(Value::as_bool) == Some(true) {
                node.set(to, true);
            }
        }
        let environment = self.environment(service, raw);
        node.list("env", environment);
        node
    }

    fn environment(&mut self, service: &str, raw: &Value) -> Vec<Node> {
        let mut list = Vec::new();
        let mut first = true;
        for (name, value) in raw.get("environment").and_then(Value::as_object).cloned().unwrap_or_default() {
            let mut node = Node::default();
            node.set("name", name.as_str());
            let value = match value {
                Value::Null => {
                    self.doubt(
                        Some(service),
                        format!("{name} is handed on from the shell that runs Compose: it is left out"),
                    );
                    continue;
                }
                Value::String(text) => text,
                other => other.to_string(),
            };
            let origin = self.given.origins.get(&(service.to_owned(), name.clone())).cloned();
            let by_variable = match &origin {
                Some(Origin::Variable { name, .. }) => is_secret(name, &value),
                Some(Origin::Untracked(_)) => true,
                None => false,
            };
            if by_variable || is_secret(&name, &value) {
                let secret = self.secret(service, &name, &value, origin.as_ref());
                node.set("valueFrom", json!({"secretKeyRef": {"name": secret, "key": name}}));
                if std::mem::take(&mut first) {
                    node.remark(format!(
                        "Not written down here: [targets.{}.secrets.{secret}] in bowline.toml says where it is found.",
                        self.given.target
                    ));
                }
            } else {
                if let Some(Origin::Variable { name: variable, .. }) = &origin {
                    self.doubt(
                        Some(service),
                        format!("{name} is what ${{{variable}}} is on this machine today"),
                    );
                    node.note("value", format!("What ${{{variable}}} was when this was written."));
                }
                node.set("value", literal(&value));
            }
            list.push(node);
        }
        list
    }

    /// Puts a value into the service's Secret; gives that one's name.
    fn secret(&mut self, service: &str, name: &str, value: &str, origin: Option<&Origin>) -> String {
        let secret = label(&format!("{}-secrets", self.called(service)));
        let wanted = match origin {
            Some(Origin::Variable { name, whole: true }) => name.clone(),
            _ => variable(name),
        };
        let free = |found: &String| self.sources.get(found).is_none_or(|there| there == value);
        let own = || variable(&format!("{service}_{wanted}"));
        let found = if free(&wanted) { wanted.clone() } else { own() };
        self.sources.insert(found.clone(), value.to_owned());
        let because = match origin {
            Some(Origin::Untracked(file)) => format!("is in {file}, which git does not track"),
            _ => "looks like a secret".to_owned(),
        };
        self.guess(Some(service), format!("{name} {because}: the Secret {secret}, made from env:{found}"));
        self.written.secrets.entry(secret.clone()).or_default().insert(name.into(), format!("env:{found}"));
        secret
    }

    /// `resources`, and what there is to say about them.
    pub(super) fn resources(&mut self, raw: &Value) -> Node {
        let mut node = Node::default();
        let limits = json!({
            "cpu": raw.get("cpus").and_then(cpu).or_else(|| raw.pointer("/deploy/resources/limits/cpus").and_then(cpu)),
            "memory": size(raw, &["/mem_limit", "/deploy/resources/limits/memory"]),
        });
        let requests = json!({
            "cpu": raw.pointer("/deploy/resources/reservations/cpus").and_then(cpu),
            "memory": size(raw, &["/mem_reservation", "/deploy/resources/reservations/memory"]),
        });
        let present = |value: &Value| -> Map<String, Value> {
            let map = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
            map.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let (limits, requests) = (present(&limits), present(&requests));
        if !requests.is_empty() {
            node.set("requests", requests.clone());
        }
        if !limits.is_empty() {
            if limits.keys().any(|key| !requests.contains_key(key)) {
                node.note(
                    "limits",
                    "Without a request, Kubernetes keeps as much of a node free as the limit.",
                );
            }
            node.set("limits", limits);
        }
        node
    }

    /// Who the container runs as, and what it may. Gives that of the pod, too.
    pub(super) fn security(&mut self, service: &str, raw: &Value, claims: bool) -> (Node, Node) {
        let (mut pod, mut container) = (Node::default(), Node::default());
        let user = raw.get("user").and_then(Value::as_str).map(str::to_owned);
        let mut group = None;
        if let Some(user) = &user {
            let (user, of) = user.split_once(':').unwrap_or((user.as_str(), ""));
            match user.parse::<u64>() {
                Ok(user) => container.set("runAsUser", user),
                Err(_) => self.doubt(
                    Some(service),
                    format!("the user {user} is a name: Kubernetes wants `runAsUser` with its number"),
                ),
            }
            group = of.parse::<u64>().ok();
            container.set_some("runAsGroup", group);
            group = group.or(user.parse().ok());
        }
        group = group.or(self.known(service).traits.user);
        if let (true, Some(group)) = (claims, group.filter(|group| *group > 0)) {
            pod.set("fsGroup", group);
            pod.note("fsGroup", "So that it may write to its volume.");
        }
        let groups: Vec<u64> = list(raw, "group_add")
            .filter_map(|group| group.as_u64().or_else(|| group.as_str()?.parse().ok()))
            .collect();
        if !groups.is_empty() {
            pod.set("supplementalGroups", json!(groups));
        }
        let sysctls: Vec<Value> = raw.get("sysctls").and_then(Value::as_object).into_iter().flatten().map(|(name, value)| {
            json!({"name": name, "value": value.as_str().map_or_else(|| value.to_string(), str::to_owned)})
        }).collect();
        if !sysctls.is_empty() {
            self.doubt(Some(service), "has sysctls: nodes allow few of them");
            pod.set("sysctls", sysctls);
        }
        for (from, to) in [("privileged", "privileged"), ("read_only", "readOnlyRootFilesystem")] {
            if raw.get(from).and_then(Value::as_bool) == Some(true) {
                container.set(to, true);
            }
        }
        let mut capabilities = Node::default();
        for (from, to) in [("cap_add", "add"), ("cap_drop", "drop")] {
            let named: Vec<&str> = list(raw, from)
                .filter_map(Value::as_str)
                .map(|name| name.trim_start_matches("CAP_"))
                .collect();
            if !named.is_empty() {
                capabilities.set(to, json!(named));
            }
        }
        container.put("capabilities", capabilities);
        (pod, container)
    }
}

pub(super) fn list<'v>(raw: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    raw.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn size(raw: &Value, places: &[&str]) -> Option<String> {
    let number =
        |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok()).filter(|size| *size > 0);
    places.iter().find_map(|place| raw.pointer(place).and_then(number)).map(bytes)
}

/// Bytes as Kubernetes counts them, exactly: `512Mi`.
pub(super) fn bytes(size: u64) -> String {
    let units = [(30, "Gi"), (20, "Mi"), (10, "Ki")];
    let fitting = units.into_iter().find(|(shift, _)| size >= 1 << shift && size.is_multiple_of(1 << shift));
    fitting.map_or_else(|| size.to_string(), |(shift, unit)| format!("{}{unit}", size >> shift))
}

fn cpu(value: &Value) -> Option<String> {
    let cores = value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|cores| *cores > 0.0)?;
    // Thousandths, as Kubernetes counts.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let milli = (cores * 1000.0).round().max(1.0) as u64;
    Some(if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") })
}
