//! Where in a workload a command is run: which of its pods, and which container of that.

use serde_json::Value;

use super::readiness::is_pod_ready;
use super::workload::containers;

/// The annotation by which a template says which of its containers people mean.
const DEFAULT: &str = "kubectl.kubernetes.io/default-container";

/// Of a workload's pods the one that is most likely to be of use: up rather than only running, and the newest of those.
/// None where none runs.
pub fn choose_pod<'v>(pods: impl IntoIterator<Item = &'v Value>) -> Option<&'v Value> {
    let text =
        |pod: &'v Value, pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let running = pods.into_iter().filter(|pod| {
        text(pod, "/status/phase") == "Running" && pod.pointer("/metadata/deletionTimestamp").is_none()
    });
    running.max_by_key(|pod| {
        (
            is_pod_ready(pod),
            text(pod, "/metadata/creationTimestamp"),
            std::cmp::Reverse(text(pod, "/metadata/name")),
        )
    })
}

/// The container of a pod that is meant where nobody names one: the one that its template says, else the first with an
/// image of ours, else the first.
pub fn choose_container<'v>(pod: &'v Value, is_ours: impl Fn(&str) -> bool) -> Option<&'v str> {
    let named = pod.get("metadata")?.get("annotations").and_then(|all| all.get(DEFAULT)?.as_str());
    let spec = pod.get("spec")?;
    let main = || spec.get("containers").and_then(Value::as_array).into_iter().flatten();
    let name = |container: &'v Value| container.get("name").and_then(Value::as_str);
    let exists = |wanted: &&str| containers(spec).any(|container| name(container) == Some(wanted));
    let ours = || {
        main()
            .find(|container| container.get("image").and_then(Value::as_str).is_some_and(&is_ours))
            .and_then(name)
    };
    named.filter(exists).or_else(ours).or_else(|| main().next().and_then(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, phase: &str, ready: &str, created: &str) -> Value {
        json!({"metadata": {"name": name, "creationTimestamp": created},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[test]
    fn the_newest_pod_that_is_up_is_chosen() {
        let mut going = pod("e", "Running", "True", "2026-11-22T10:09:00Z");
        going["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:10:00Z");
        let pods = [
            pod("a", "Running", "True", "2026-11-22T10:00:00Z"),
            pod("b", "Running", "True", "2026-11-22T10:01:00Z"),
            pod("c", "Running", "False", "2026-11-22T10:02:00Z"),
            pod("d", "Pending", "False", "2026-11-22T10:03:00Z"),
            going,
        ];
        for (range, expected) in [(0..5, Some("b")), (2..5, Some("c")), (3..5, None)] {
            let chosen = choose_pod(&pods[range]).and_then(|pod| pod["metadata"]["name"].as_str());
            assert_eq!(chosen, expected);
        }
    }

    #[test]
    fn the_container_that_people_mean_is_chosen() {
        let with = |annotations: Value| {
            json!({"metadata": {"annotations": annotations}, "spec": {
                "initContainers": [{"name": "wait", "image": "busy"}],
                "containers": [{"name": "side", "image": "proxy"}, {"name": "app", "image": "ours"}]}})
        };
        let (plain, named, wrong) =
            (with(json!({})), with(json!({DEFAULT: "side"})), with(json!({DEFAULT: "gone"})));
        let ours = |image: &str| image == "ours";
        assert_eq!(choose_container(&plain, ours), Some("app"));
        assert_eq!(choose_container(&plain, |_| false), Some("side"));
        assert_eq!(choose_container(&named, ours), Some("side"));
        assert_eq!(choose_container(&wrong, ours), Some("app"));
    }
}
