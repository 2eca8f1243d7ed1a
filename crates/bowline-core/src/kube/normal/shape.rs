//! Values of the wrong type in places where people often have them: numbers and switches without quotes where Kubernetes
//! takes text only. The server says so one object at a time, without the place, and late.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kube::manifest::brief;
use crate::kube::object::Kind;
use crate::kube::workload::{CONTAINER_LISTS, template_pointer};

/// What a value has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Whole,
    Switch,
    Base64,
}

use Type::{Base64, Switch, Text, Whole};

const OF_METADATA: [(&str, Type); 3] =
    [("metadata.labels{}", Text), ("metadata.annotations{}", Text), ("metadata.finalizers[]", Text)];

const OF_POD: [(&str, Type); 9] = [
    ("nodeSelector{}", Text),
    ("serviceAccountName", Text),
    ("priorityClassName", Text),
    ("restartPolicy", Text),
    ("hostNetwork", Switch),
    ("terminationGracePeriodSeconds", Whole),
    ("volumes[].name", Text),
    ("imagePullSecrets[].name", Text),
    ("tolerations[].value", Text),
];

const OF_CONTAINER: [(&str, Type); 21] = [
    ("name", Text),
    ("image", Text),
    ("imagePullPolicy", Text),
    ("workingDir", Text),
    ("command[]", Text),
    ("args[]", Text),
    ("env[].name", Text),
    ("env[].value", Text),
    ("env[].valueFrom.configMapKeyRef.key", Text),
    ("env[].valueFrom.secretKeyRef.key", Text),
    ("envFrom[].configMapRef.name", Text),
    ("ports[].containerPort", Whole),
    ("ports[].hostPort", Whole),
    ("ports[].name", Text),
    ("volumeMounts[].mountPath", Text),
    ("volumeMounts[].readOnly", Switch),
    ("readinessProbe.periodSeconds", Whole),
    ("readinessProbe.initialDelaySeconds", Whole),
    ("livenessProbe.periodSeconds", Whole),
    ("livenessProbe.initialDelaySeconds", Whole),
    ("securityContext.privileged", Switch),
];

fn of_kind(kind: &Kind) -> &'static [(&'static str, Type)] {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "ConfigMap") => &[("data{}", Text), ("binaryData{}", Base64), ("immutable", Switch)],
        ("", "Secret") => {
            &[("data{}", Base64), ("stringData{}", Text), ("type", Text), ("immutable", Switch)]
        }
        ("", "Service") => &[
            ("spec.selector{}", Text),
            ("spec.ports[].port", Whole),
            ("spec.ports[].nodePort", Whole),
            ("spec.ports[].name", Text),
            ("spec.clusterIP", Text),
        ],
        ("apps", "Deployment" | "StatefulSet" | "ReplicaSet" | "DaemonSet") => {
            &[("spec.replicas", Whole), ("spec.selector.matchLabels{}", Text), ("spec.serviceName", Text)]
        }
        ("batch", "Job") => {
            &[("spec.backoffLimit", Whole), ("spec.completions", Whole), ("spec.parallelism", Whole)]
        }
        ("batch", "CronJob") => &[("spec.schedule", Text), ("spec.suspend", Switch)],
        ("networking.k8s.io", "Ingress") => &[
            ("spec.rules[].host", Text),
            ("spec.rules[].http.paths[].backend.service.port.number", Whole),
            ("spec.tls[].hosts[]", Text),
        ],
        _ => &[],
    }
}

/// A value of the wrong type: where it is, as a JSON pointer, and what is wrong.
pub(super) type Faults = BTreeMap<String, String>;

/// All values of a manifest that the server would refuse for their type, of those that it is known of.
pub(super) fn faults(kind: &Kind, value: &Value) -> Faults {
    let mut found = Finder { faults: Faults::new() };
    let own = OF_METADATA.iter().chain(of_kind(kind));
    own.for_each(|(path, wanted)| found.walk(value, path, *wanted, "", ""));
    let Some(template) = template_pointer(kind) else { return found.faults };
    if let Some(pods) = value.pointer(template).filter(|_| !template.is_empty()) {
        OF_METADATA.iter().for_each(|(path, wanted)| found.walk(pods, path, *wanted, template, ""));
    }
    let pointer = format!("{template}/spec");
    let Some(spec) = value.pointer(&pointer) else { return found.faults };
    OF_POD.iter().for_each(|(path, wanted)| found.walk(spec, path, *wanted, &pointer, ""));
    for list in CONTAINER_LISTS {
        for (path, wanted) in OF_CONTAINER {
            found.walk(spec, &format!("{list}[].{path}"), wanted, &pointer, "");
        }
    }
    found.faults
}

struct Finder {
    faults: Faults,
}

impl Finder {
    /// Follows a path: `a.b` into fields, `a[]` into the items of a list, `a{}` into the values of a mapping. `said` is the
    /// way there in people's words.
    fn walk(&mut self, value: &Value, path: &str, wanted: Type, pointer: &str, said: &str) {
        let (step, rest) = path.split_once('.').unwrap_or((path, ""));
        let Some(map) = value.as_object() else { return };
        let (name, each) = match step.strip_suffix("[]") {
            Some(name) => (name, Some(true)),
            None => step.strip_suffix("{}").map_or((step, None), |name| (name, Some(false))),
        };
        let Some(field) = map.get(name).filter(|field| !field.is_null()) else { return };
        let pointer = format!("{pointer}/{name}");
        let said = if said.is_empty() { name.to_owned() } else { format!("{said}.{name}") };
        match (each, field) {
            (None, _) => self.arrive(field, rest, wanted, &pointer, &said),
            (Some(true), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate().filter(|(_, item)| !item.is_null()) {
                    let named = item.get("name").and_then(Value::as_str);
                    let label = named.map_or_else(|| index.to_string(), brief);
                    let said = format!("{said}[{label}]");
                    self.arrive(item, rest, wanted, &format!("{pointer}/{index}"), &said);
                }
            }
            (Some(false), Value::Object(entries)) => {
                for (key, entry) in entries.iter().filter(|(_, entry)| !entry.is_null()) {
                    let part = key.replace('~', "~0").replace('/', "~1");
                    let said = format!("{said}[{}]", brief(key));
                    self.arrive(entry, rest, wanted, &format!("{pointer}/{part}"), &said);
                }
            }
            (Some(list), _) => {
                let (wanted, how) = if list {
                    ("a list", "begin each of its items with `- `")
                } else {
                    ("a mapping", "write `name: value` below it")
                };
                let message = format!("`{said}` must be {wanted}, and is {}: {how}", describe(field));
                self.faults.entry(pointer).or_insert(message);
            }
        }
    }

    fn arrive(&mut self, value: &Value, rest: &str, wanted: Type, pointer: &str, said: &str) {
        if !rest.is_empty() {
            if value.is_object() {
                self.walk(value, rest, wanted, pointer, said);
            } else {
                let message = format!("`{said}` must be a mapping, and is {}", describe(value));
                self.faults.entry(pointer.to_owned()).or_insert(message);
            }
            return;
        }
        if let Some(message) = judge(value, wanted) {
            self.faults.entry(pointer.to_owned()).or_insert(format!("`{said}` {message}"));
        }
    }
}

fn judge(value: &Value, wanted: Type) -> Option<String> {
    let is = describe(value);
    match (wanted, value) {
        (Text, Value::String(_)) | (Switch, Value::Bool(_)) => None,
        (Whole, Value::Number(number)) if number.as_i64().is_some() => None,
        (Text | Base64, Value::Number(_) | Value::Bool(_)) => {
            Some(format!("must be text, and is {is}: put it in quotes"))
        }
        (Text | Base64, Value::Array(_) | Value::Object(_)) => Some(format!("must be text, and is {is}")),
        (Base64, Value::String(text)) => {
            let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            let plain = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).is_err();
            plain.then(|| "is not base64: plain text belongs into `stringData`".to_owned())
        }
        (Whole, Value::String(_)) => Some("must be a whole number, and is text: take the quotes away".into()),
        (Whole, Value::Number(_)) => Some("must be a whole number".into()),
        (Whole, _) => Some(format!("must be a whole number, and is {is}")),
        (Switch, Value::String(_)) => Some("must be true or false, and is text: take the quotes away".into()),
        (Switch, _) => Some(format!("must be true or false, and is {is}")),
        (Text | Base64, Value::Null) => None,
    }
}

/// What a value is; what it says is not told: it may be secret.
fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(group: &str, kind: &str, value: Value) -> Vec<String> {
        let found = faults(&Kind::new(group, kind), &value);
        found.into_iter().map(|(pointer, message)| format!("{pointer}: {message}")).collect()
    }

    #[test]
    fn what_the_server_refuses_for_its_type_is_found_at_once() {
        let pods = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
        let container = |fields: Value| pods(json!({"containers": [fields]}));
        for (group, kind, value, expected) in [
            (
                "apps",
                "Deployment",
                container(
                    json!({"name": "app", "env": [{"name": "PORT", "value": 8080}, {"name": "A", "value": true}]}),
                ),
                vec![
                    "/spec/template/spec/containers/0/env/0/value: `containers[app].env[PORT].value` must be text, and is \
                     a number: put it in quotes",
                    "/spec/template/spec/containers/0/env/1/value: `containers[app].env[A].value` must be text, and is \
                     true or false: put it in quotes",
                ],
            ),
            (
                "apps",
                "Deployment",
                container(json!({"name": "app", "env": {"A": "1"}, "ports": [{"containerPort": "80"}]})),
                vec![
                    "/spec/template/spec/containers/0/env: `containers[app].env` must be a list, and is a mapping: begin \
                     each of its items with `- `",
                    "/spec/template/spec/containers/0/ports/0/containerPort: \
                     `containers[app].ports[0].containerPort` must be a whole number, and is text: take the quotes away",
                ],
            ),
            (
                "",
                "ConfigMap",
                json!({"metadata": {"labels": {"version": 1.2}}, "data": {"ON": false, "a/b": "x", "no": null}}),
                vec![
                    "/data/ON: `data[ON]` must be text, and is true or false: put it in quotes",
                    "/metadata/labels/version: `metadata.labels[version]` must be text, and is a number: put it in quotes",
                ],
            ),
            (
                "",
                "Secret",
                json!({"data": {"a": "c2VjcmV0", "b": "hunter2!"}, "stringData": {"c": 1}}),
                vec![
                    "/data/b: `data[b]` is not base64: plain text belongs into `stringData`",
                    "/stringData/c: `stringData[c]` must be text, and is a number: put it in quotes",
                ],
            ),
            (
                "batch",
                "CronJob",
                json!({"spec": {"schedule": "* * * * *", "suspend": "no", "jobTemplate": {"spec": {"template":
                    {"metadata": {"annotations": {"a": 1}}, "spec": {"containers": "app"}}}}}}),
                vec![
                    "/spec/jobTemplate/spec/template/metadata/annotations/a: `metadata.annotations[a]` must be text, and \
                     is a number: put it in quotes",
                    "/spec/jobTemplate/spec/template/spec/containers: `containers` must be a list, and is text: begin \
                     each of its items with `- `",
                    "/spec/suspend: `spec.suspend` must be true or false, and is text: take the quotes away",
                ],
            ),
            (
                "",
                "Service",
                json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 8.5}], "selector": {"app": "x"}}}),
                vec!["/spec/ports/1/port: `spec.ports[1].port` must be a whole number"],
            ),
            ("example.org", "Thing", json!({"data": {"a": 1}}), vec![]),
        ] {
            assert_eq!(told(group, kind, value), expected, "{kind}");
        }
    }
}
