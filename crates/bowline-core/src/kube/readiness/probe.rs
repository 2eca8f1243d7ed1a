//! Which containers can say of themselves that they are up.

use serde_json::Value;

use crate::kube::object::Kind;
use crate::kube::workload;

use super::status::{items, text};

/// Whether a container has a probe that says when it is up. A liveness probe only says when it is not any more.
pub(super) fn is_proven(container: &Value) -> bool {
    ["readinessProbe", "startupProbe"].iter().any(|probe| container.get(probe).is_some_and(Value::is_object))
}

/// The names of an object's containers that are to stay up and have neither a readiness probe nor a startup probe: of
/// them all that can be asked is that they stay up for a while. Empty for kinds that run no pods and for tasks.
pub fn unproven(kind: &Kind, object: &Value) -> Vec<String> {
    let Some(spec) = workload::pod_spec(kind, object) else { return Vec::new() };
    if kind.group == "batch" || is_task(spec) {
        return Vec::new();
    }
    let sidecars = items(spec, "/initContainers").filter(|init| text(init, "/restartPolicy") == "Always");
    let unproven = sidecars.chain(items(spec, "/containers")).filter(|container| !is_proven(container));
    unproven.map(|container| text(container, "/name").to_owned()).collect()
}

/// Whether a pod is to end. One that is not restarted but has a readiness probe is something that others use.
pub(super) fn is_task(pod_spec: &Value) -> bool {
    matches!(text(pod_spec, "/restartPolicy"), "Never" | "OnFailure")
        && !items(pod_spec, "/containers").any(is_proven)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_without_a_probe_are_named() {
        let probe = json!({"httpGet": {"path": "/", "port": 80}});
        let containers = json!([
            {"name": "user", "livenessProbe": probe},
            {"name": "proxy", "readinessProbe": probe},
            {"name": "slow", "startupProbe": probe}
        ]);
        let init = json!([{"name": "migrate"}, {"name": "mesh", "restartPolicy": "Always"}]);
        let spec = json!({"initContainers": init, "containers": containers});
        let deployment = json!({"spec": {"template": {"spec": spec}}});
        assert_eq!(unproven(&Kind::new("apps", "Deployment"), &deployment), ["mesh", "user"]);
        assert!(unproven(&Kind::new("batch", "Job"), &deployment).is_empty());
        assert!(unproven(&Kind::new("", "Service"), &json!({"spec": {}})).is_empty());
        let task = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "migrate"}]}});
        assert!(unproven(&Kind::new("", "Pod"), &task).is_empty());
    }
}
