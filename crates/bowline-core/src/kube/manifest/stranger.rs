//! What lies between manifests and is none: said and left out, never an error.

use serde_json::{Map, Value};

/// Kinds that tools read on somebody's machine and that no API server knows.
const LOCAL: [(&str, &str); 8] = [
    ("k3d.io", "configures k3d"),
    ("kind.x-k8s.io", "configures kind"),
    ("kubeadm.k8s.io", "configures kubeadm"),
    ("kubelet.config.k8s.io", "configures the kubelet"),
    ("kubeproxy.config.k8s.io", "configures kube-proxy"),
    ("eksctl.io", "configures eksctl"),
    ("skaffold", "configures Skaffold"),
    ("kustomize.config.k8s.io", KUSTOMIZATION),
];

const KUSTOMIZATION: &str =
    "is a kustomization: what it would change in the manifests beside it is not applied";

/// The last part of a path.
fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Whether kubectl would read a file of this name in a directory.
pub(super) fn is_manifest_name(path: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|end| name(path).ends_with(end))
}

/// Why a document with `apiVersion` and `kind` is nothing for the API; none where it is.
pub(super) fn local(group: &str, kind: &str) -> Option<&'static str> {
    if group.is_empty() && kind == "Config" {
        return Some("is a kubeconfig");
    }
    LOCAL.iter().find(|(local, _)| *local == group).map(|(_, what)| *what)
}

/// What a mapping is that lacks `apiVersion` or `kind`; none where it looks like a manifest that is wrong.
pub(super) fn describe(path: &str, value: &Map<String, Value>) -> Option<&'static str> {
    let (file, has) = (name(path), |key: &str| value.contains_key(key));
    if matches!(file, "kustomization.yaml" | "kustomization.yml") {
        return Some(KUSTOMIZATION);
    }
    if matches!(file, "Chart.yaml" | "Chart.yml") && has("name") && has("version") {
        return Some("describes a Helm chart");
    }
    if has("apiVersion") || has("kind") {
        return None;
    }
    if value.get("services").is_some_and(Value::is_object) {
        return Some("is a Compose file");
    }
    if has("panels") || has("dashboard") {
        return Some("is a dashboard");
    }
    if file.starts_with("values") {
        return Some("holds values for a Helm chart");
    }
    Some("is no manifest: it has neither `apiVersion` nor `kind`")
}
