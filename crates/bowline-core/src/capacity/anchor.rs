//! What may hold pods to one machine: the data that they left there.
//!
//! Whether a claim's volume can follow its pod is decided by the storage class, of which manifests say the name at most:
//! `local`, `rancher.io/local-path` and the like make volumes with the node affinity of one machine, network disks none. So
//! that a pod with a claim moves is never known from manifests alone, and that it does not move isn't either. A path of the
//! machine is on no other for certain.

use serde_json::Value;

use crate::kube::object::Kind;
use crate::kube::workload::pod_spec;

/// Paths that each machine has of its own: whoever mounts them wants to look at the machine, not to find data again.
const SYSTEM: [&str; 9] = ["/boot", "/dev", "/etc", "/lib", "/proc", "/run", "/sys", "/usr", "/var/run"];

/// By what the pods of a workload may be held to a machine, in words; nothing where they can go anywhere.
///
/// Pods of a DaemonSet never move, whatever they mount. Generic ephemeral volumes are left out: their claims belong to a pod
/// and go with it, so that the next one begins without (Kubernetes, "Ephemeral Volumes").
pub fn anchors(kind: &Kind, value: &Value) -> Vec<String> {
    if kind.kind == "DaemonSet" {
        return Vec::new();
    }
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let templates = list(value.pointer("/spec/volumeClaimTemplates"));
    let templates = templates.iter().filter_map(|template| text(template, "/metadata/name"));
    let mut found: Vec<String> = templates.map(|name| format!("claims from {name}")).collect();
    for volume in list(pod_spec(kind, value).and_then(|spec| spec.get("volumes"))) {
        if let Some(claim) = text(&volume, "/persistentVolumeClaim/claimName") {
            found.push(format!("claim {claim}"));
        } else if let Some(path) = text(&volume, "/hostPath/path").filter(|path| !is_of_the_system(path)) {
            let device = text(&volume, "/hostPath/type");
            if !matches!(device.as_deref(), Some("Socket" | "CharDevice")) {
                found.push(format!("path {path} of the machine"));
            }
        }
    }
    found.dedup();
    found
}

fn is_of_the_system(path: &str) -> bool {
    let is_below =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    SYSTEM.iter().any(|root| is_below(root))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_and_paths_hold_pods_and_what_each_machine_has_does_not() {
        let volumes = |volumes: Value| json!({ "spec": { "template": { "spec": { "volumes": volumes } } } });
        let claim = json!([{ "name": "d", "persistentVolumeClaim": { "claimName": "photos" } }]);
        let path = |path: &str| json!([{ "name": "d", "hostPath": { "path": path } }]);
        let mut broker = volumes(json!([{ "name": "scratch", "emptyDir": {} }]));
        broker["spec"]["volumeClaimTemplates"] = json!([{ "metadata": { "name": "data" } }]);
        for (kind, value, expected) in [
            ("StatefulSet", broker, &["claims from data"][..]),
            ("Deployment", volumes(claim.clone()), &["claim photos"]),
            ("Deployment", volumes(path("/srv/photos")), &["path /srv/photos of the machine"]),
            ("Deployment", volumes(path("/procession")), &["path /procession of the machine"]),
            ("Deployment", volumes(path("/etc/localtime")), &[]),
            ("Deployment", volumes(path("/proc")), &[]),
            (
                "Deployment",
                volumes(json!([{ "name": "d", "hostPath": { "path": "/srv/s", "type": "Socket" } }])),
                &[],
            ),
            ("Deployment", volumes(json!([{ "name": "d", "ephemeral": {} }])), &[]),
            ("Deployment", json!({}), &[]),
            ("DaemonSet", volumes(claim), &[]),
        ] {
            assert_eq!(anchors(&Kind::new("apps", kind), &value), expected, "{kind} {value}");
        }
    }
}
