//! Objects that run pods, whatever their kind.

use serde_json::Value;

use super::object::Kind;

/// The JSON pointer of the pod template in an object of this kind (for a pod: of itself); none where it runs no pods.
pub fn template_pointer(kind: &Kind) -> Option<&'static str> {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => Some(""),
        ("", "ReplicationController" | "PodTemplate") => {
            Some(if kind.kind == "PodTemplate" { "/template" } else { "/spec/template" })
        }
        ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job") => Some("/spec/template"),
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// The pod template of an object (`metadata` and `spec`).
pub fn template<'v>(kind: &Kind, value: &'v Value) -> Option<&'v Value> {
    value.pointer(template_pointer(kind)?)
}

/// The `spec` of the pods that an object runs.
pub fn pod_spec<'v>(kind: &Kind, value: &'v Value) -> Option<&'v Value> {
    template(kind, value)?.get("spec")
}

/// The `spec` of the pods that an object runs, to be changed.
pub fn pod_spec_mut<'v>(kind: &Kind, value: &'v mut Value) -> Option<&'v mut Value> {
    value.pointer_mut(template_pointer(kind)?)?.get_mut("spec")
}

/// The lists of containers in a pod's `spec`.
pub const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// All containers of a pod's `spec`, those that only prepare it first.
pub fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    CONTAINER_LISTS.iter().filter_map(|list| spec.get(list)?.as_array()).flatten()
}

/// The labels of a map like `metadata.labels` or `matchLabels`, text by text.
pub fn labels(value: Option<&Value>) -> impl Iterator<Item = (&str, &str)> {
    let map = value.and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_are_found_wherever_the_kind_keeps_them() {
        let spec = json!({"initContainers": [{"name": "wait"}], "containers": [{"name": "app"}]});
        for (group, kind, value) in [
            ("", "Pod", json!({"spec": spec})),
            ("apps", "Deployment", json!({"spec": {"template": {"spec": spec}}})),
            ("batch", "CronJob", json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}})),
        ] {
            let found = pod_spec(&Kind::new(group, kind), &value).unwrap();
            let names: Vec<_> =
                containers(found).filter_map(|container| container["name"].as_str()).collect();
            assert_eq!(names, ["wait", "app"], "{kind}");
        }
        assert_eq!(pod_spec(&Kind::new("", "Service"), &json!({})), None);
    }
}
