//! Whether a cluster gets nodes by itself when pods find no room.

use serde_json::Value;

use crate::kube::order::mention::text;
use crate::kube::workload::{containers, labels};

/// Whether somebody adds nodes: Karpenter or a provider's own mode has made one of these, or one of these pods is an
/// autoscaler of nodes. `status` is the report that the cluster autoscaler writes (ConfigMap
/// `kube-system/cluster-autoscaler-status`), also where its own pods are the provider's and not to be seen.
pub fn grows<'v>(
    nodes: impl IntoIterator<Item = &'v Value>,
    pods: impl IntoIterator<Item = &'v Value>,
    status: Option<&Value>,
) -> bool {
    status.is_some() || nodes.into_iter().any(is_made) || pods.into_iter().any(is_autoscaler)
}

/// A node that was made because pods wanted it.
fn is_made(node: &Value) -> bool {
    labels(node.pointer("/metadata/labels")).any(|(name, value)| {
        let auto = name == "eks.amazonaws.com/compute-type" && matches!(value, "auto" | "fargate");
        auto || name.starts_with("karpenter.sh/")
    })
}

fn is_autoscaler(pod: &Value) -> bool {
    let ended = matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed"));
    let images = pod.get("spec").into_iter().flat_map(containers);
    let mut images = images.filter_map(|container| text(container, "/image"));
    !ended
        && images.any(|image| image.contains("/cluster-autoscaler") || image.contains("karpenter/controller"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_adds_nodes_is_known() {
        let node = |name: &str, value: &str| json!({"metadata": {"name": "n", "labels": {name: value}}});
        let pod = |image: &str, phase: &str| json!({"spec": {"containers": [{"image": image}]}, "status": {"phase": phase}});
        for (node, pod, status, expected) in [
            (node("kubernetes.io/os", "linux"), pod("nginx", "Running"), None, false),
            (node("karpenter.sh/nodepool", "default"), pod("nginx", "Running"), None, true),
            (node("eks.amazonaws.com/compute-type", "auto"), pod("nginx", "Running"), None, true),
            (
                node("a", "b"),
                pod("registry.k8s.io/autoscaling/cluster-autoscaler:v1.35.0", "Running"),
                None,
                true,
            ),
            (
                node("a", "b"),
                pod("registry.k8s.io/autoscaling/cluster-autoscaler:v1.35.0", "Failed"),
                None,
                false,
            ),
            (node("a", "b"), pod("public.ecr.aws/karpenter/controller:1.8.1", "Running"), None, true),
            (node("a", "b"), pod("nginx", "Running"), Some(json!({})), true),
        ] {
            assert_eq!(grows([&node], [&pod], status.as_ref()), expected, "{node} {pod}");
        }
    }
}
