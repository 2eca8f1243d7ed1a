//! What of an object that runs already is somebody's wish: the manifest that would bring it back.
//!
//! Who set a field stands in `metadata.managedFields`. What the cluster set by itself (addresses, nodes, volumes that it
//! bound, replicas that an autoscaler chose) is left out: it would choose anew.

use serde_json::{Map, Value, json};

use super::comparison::is_secret;
use super::conflict::unite;

/// The parts of a Secret that hold its values.
const DATA: &str = "data";

/// The manifest behind a live object. Values of Secrets stay out: see [`withheld`].
pub fn adopt(live: &Value) -> Value {
    let mut wish = match wished(live) {
        Some(fields) => pick(live, &fields),
        None => live.clone(),
    };
    let Some(map) = wish.as_object_mut() else { return wish };
    map.shift_remove("status");
    for field in ["apiVersion", "kind"] {
        map.insert(field.into(), live.get(field).cloned().unwrap_or_default());
    }
    let metadata =
        map.get("metadata").map(|metadata| clean(metadata, live)).unwrap_or_else(|| clean(&json!({}), live));
    map.insert("metadata".into(), metadata);
    match live.get("kind").and_then(Value::as_str) {
        Some("Service") => drop_addresses(&mut wish),
        Some("Job") => drop_job_labels(&mut wish),
        Some("Pod") => drop_placement(&mut wish),
        _ => {}
    }
    wish
}

/// Where in an adopted manifest values stand that are kept nowhere but in the cluster, as JSON pointers.
pub fn withheld(manifest: &Value) -> impl Iterator<Item = String> {
    let data = manifest.get(DATA).filter(|_| is_secret(manifest)).and_then(Value::as_object);
    data.into_iter()
        .flatten()
        .map(|(key, _)| format!("/{DATA}/{}", key.replace('~', "~0").replace('/', "~1")))
}

/// The fields that people and their tools set; none where the cluster does not say who set what.
fn wished(live: &Value) -> Option<Value> {
    let text =
        |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let mut fields = json!({});
    for entry in entries {
        let manager = text(entry, "manager");
        let own =
            manager.starts_with("kube-") || manager == "kubelet" || manager.ends_with("-controller-manager");
        if !own && text(entry, "subresource").is_empty() {
            unite(&mut fields, entry.get("fieldsV1").unwrap_or(&Value::Null));
        }
    }
    fields.as_object().is_some_and(|fields| !fields.is_empty()).then_some(fields)
}

/// The part of a value that some fields name.
fn pick(value: &Value, fields: &Value) -> Value {
    let named = fields.as_object().into_iter().flatten().filter(|(name, _)| *name != ".");
    let named: Vec<(&String, &Value)> = named.collect();
    match value {
        Value::Object(map) if !named.is_empty() => {
            let fields = named.iter().filter_map(|(name, inner)| {
                let name = name.strip_prefix("f:")?;
                Some((name.to_owned(), pick(map.get(name)?, inner)))
            });
            Value::Object(fields.collect())
        }
        Value::Array(list) if !named.is_empty() => list
            .iter()
            .filter_map(|element| named.iter().find_map(|(name, inner)| pick_element(element, name, inner)))
            .collect(),
        value => value.clone(),
    }
}

/// An element of a list, where it is the one that is named: `k:{"name":"app"}`, `v:"a"`.
fn pick_element(element: &Value, name: &str, inner: &Value) -> Option<Value> {
    if let Some(text) = name.strip_prefix("v:") {
        let value: Value = serde_json::from_str(text).ok()?;
        return (value == *element).then_some(value);
    }
    let keys: Map<String, Value> = serde_json::from_str(name.strip_prefix("k:")?).ok()?;
    if !keys.iter().all(|(key, value)| element.get(key) == Some(value)) {
        return None;
    }
    let mut picked = pick(element, inner);
    if let Some(map) = picked.as_object_mut() {
        for (key, value) in keys {
            map.entry(key).or_insert(value);
        }
    }
    Some(picked)
}

/// Of an object's metadata what is somebody's: names, labels, annotations.
fn clean(metadata: &Value, live: &Value) -> Value {
    const OWN: [&str; 3] =
        ["deployment.kubernetes.io/", "deprecated.daemonset.template.", "pv.kubernetes.io/"];
    let mut kept = Map::new();
    for field in ["name", "namespace"] {
        kept.extend(
            live.pointer(&format!("/metadata/{field}")).map(|value| (field.to_owned(), value.clone())),
        );
    }
    kept.extend(metadata.get("labels").map(|labels| ("labels".to_owned(), labels.clone())));
    let annotations = metadata.get("annotations").and_then(Value::as_object).into_iter().flatten();
    let annotations: Map<String, Value> = annotations
        .filter(|(name, _)| {
            !OWN.iter().any(|own| name.starts_with(own))
                && *name != "kubectl.kubernetes.io/last-applied-configuration"
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !annotations.is_empty() {
        kept.insert("annotations".into(), annotations.into());
    }
    Value::Object(kept)
}

/// Addresses that the cluster gave; that a Service has none is a wish.
fn drop_addresses(wish: &mut Value) {
    let Some(spec) = wish.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if spec.get("clusterIP").and_then(Value::as_str) != Some("None") {
        spec.shift_remove("clusterIP");
        spec.shift_remove("clusterIPs");
    }
    spec.shift_remove("healthCheckNodePort");
}

/// The labels by which a Job knows its pods are the cluster's, and another Job has others.
fn drop_job_labels(wish: &mut Value) {
    let own = |name: &str| {
        let name = name.strip_prefix("batch.kubernetes.io/").unwrap_or(name);
        matches!(name, "controller-uid" | "job-name")
    };
    let manual = wish.pointer("/spec/manualSelector").and_then(Value::as_bool).unwrap_or(false);
    if manual {
        return;
    }
    if let Some(spec) = wish.get_mut("spec").and_then(Value::as_object_mut) {
        spec.shift_remove("selector");
    }
    for pointer in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(Value::Object(labels)) = wish.pointer_mut(pointer) {
            labels.retain(|name, _| !own(name));
        }
    }
}

/// The node that a pod was given, and the token that was mounted into it.
fn drop_placement(wish: &mut Value) {
    let Some(spec) = wish.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.shift_remove("nodeName");
    let token = |item: &Value| {
        item.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with("kube-api-access-"))
    };
    if let Some(Value::Array(volumes)) = spec.get_mut("volumes") {
        volumes.retain(|volume| !token(volume));
    }
    for list in super::workload::CONTAINER_LISTS {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers {
            if let Some(Value::Array(mounts)) = container.get_mut("volumeMounts") {
                mounts.retain(|mount| !token(mount));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_set_is_kept_and_what_the_cluster_set_is_not() {
        let entry = |manager: &str, subresource: &str, fields: Value| json!({"manager": manager, "operation": "Update", "subresource": subresource, "fieldsV1": fields});
        let live = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "status": {"replicas": 5},
            "metadata": {
                "name": "user", "namespace": "chat", "uid": "u", "resourceVersion": "7", "generation": 3,
                "labels": {"app": "user"},
                "annotations": {"deployment.kubernetes.io/revision": "3", "note": "ours",
                    "kubectl.kubernetes.io/last-applied-configuration": "{}"},
                "managedFields": [
                    entry("kubectl-client-side-apply", "", json!({
                        "f:metadata": {"f:annotations": {".": {}, "f:note": {}, "f:kubectl.kubernetes.io/last-applied-configuration": {}},
                            "f:labels": {"f:app": {}}},
                        "f:spec": {"f:template": {"f:spec": {"f:containers": {
                            "k:{\"name\":\"app\"}": {".": {}, "f:image": {}, "f:ports": {
                                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}}}}}}}}})),
                    entry("kubectl-edit", "", json!({"f:spec": {"f:paused": {}}})),
                    entry("kube-controller-manager", "scale", json!({"f:spec": {"f:replicas": {}}})),
                    entry("kube-controller-manager", "", json!({"f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}}})),
                ],
            },
            "spec": {"replicas": 5, "paused": false, "revisionHistoryLimit": 10, "template": {"spec": {"containers": [
                {"name": "injected", "image": "side"},
                {"name": "app", "image": "user:1", "imagePullPolicy": "Always",
                    "ports": [{"containerPort": 80, "protocol": "TCP", "name": "x"}]}]}}},
        });
        assert_eq!(
            adopt(&live),
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "user", "namespace": "chat", "labels": {"app": "user"}, "annotations": {"note": "ours"}},
                "spec": {"paused": false, "template": {"spec": {"containers": [
                    {"name": "app", "image": "user:1", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "x"}]}]}}},
            })
        );
    }

    #[test]
    fn what_the_cluster_gave_is_left_out_kind_by_kind() {
        for (kind, spec, expected) in [
            (
                "Service",
                json!({"clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "type": "NodePort"}),
                json!({"type": "NodePort"}),
            ),
            ("Service", json!({"clusterIP": "None"}), json!({"clusterIP": "None"})),
            (
                "Job",
                json!({"selector": {}, "template": {"metadata": {"labels": {"a": "b", "controller-uid": "u", "batch.kubernetes.io/job-name": "j"}}}}),
                json!({"template": {"metadata": {"labels": {"a": "b"}}}}),
            ),
            (
                "Pod",
                json!({"nodeName": "n", "volumes": [{"name": "kube-api-access-x"}, {"name": "v"}],
                    "containers": [{"name": "a", "volumeMounts": [{"name": "kube-api-access-x"}]}]}),
                json!({"volumes": [{"name": "v"}], "containers": [{"name": "a", "volumeMounts": []}]}),
            ),
        ] {
            let live = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "uid": "u"}, "spec": spec});
            let wish = adopt(&live);
            assert_eq!((&wish["metadata"], &wish["spec"]), (&json!({"name": "x"}), &expected), "{kind}");
        }
    }

    #[test]
    fn values_of_secrets_are_named_to_be_withheld() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"a/b": "eA==", "c": "eQ=="}});
        let pointers: Vec<String> = withheld(&adopt(&secret)).collect();
        assert_eq!(pointers, ["/data/a~1b", "/data/c"]);
        assert_eq!(
            withheld(&json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}})).count(),
            0
        );
    }
}
