//! What a target needs differently for a service, worked into its manifests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::object::{Kind, Manifest, ObjectId};
use super::workload::{pod_spec_mut, template_pointer};
use crate::quantity::Quantity;
use crate::service::ServiceOverride;

/// Which containers of which workloads are a service's.
pub type Containers = BTreeMap<ObjectId, BTreeSet<String>>;

/// A wish that no workload can be found for, or that one cannot fulfil.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdjustmentError {
    /// Nothing of that name runs here.
    #[error("no workload runs the service `{service}`, and none is called so; there are {}", .known.join(", "))]
    Unknown {
        /// The name that was asked for.
        service: String,
        /// The workloads that there are.
        known: Vec<String>,
    },
    /// The kind has no number of pods.
    #[error("{object} cannot have {replicas} replicas: its kind has no number of pods")]
    Uncountable {
        /// Which.
        object: String,
        /// How many were asked for.
        replicas: u32,
    },
}

/// Works one service's wishes into the manifests. `containers` are those that run the service's image; where there are
/// none, the service is somebody else's and the workload of that name is meant, with all its containers.
///
/// # Errors
/// When no workload is meant, or one cannot do what is asked.
pub fn adjust(
    manifests: &mut [Manifest],
    service: &str,
    containers: &Containers,
    wanted: &ServiceOverride,
) -> Result<(), AdjustmentError> {
    let is_meant = |manifest: &Manifest| {
        template_pointer(&manifest.id.kind).is_some()
            && match containers.is_empty() {
                true => manifest.id.name == service,
                false => containers.contains_key(&manifest.id),
            }
    };
    if !manifests.iter().any(is_meant) {
        let workloads = manifests.iter().filter(|manifest| template_pointer(&manifest.id.kind).is_some());
        let known = workloads.map(|manifest| manifest.id.name.clone()).collect::<BTreeSet<_>>();
        return Err(AdjustmentError::Unknown { service: service.into(), known: known.into_iter().collect() });
    }
    for manifest in manifests.iter_mut().filter(|manifest| is_meant(manifest)) {
        scale(manifest, wanted)?;
        let names = containers.get(&manifest.id);
        let kind = manifest.id.kind.clone();
        let spec = pod_spec_mut(&kind, &mut manifest.value);
        let list = spec.and_then(|spec| spec.get_mut("containers")).and_then(Value::as_array_mut);
        for container in list.into_iter().flatten().filter_map(Value::as_object_mut) {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            if names.is_none_or(|names| names.contains(name)) {
                set_environment(container, &wanted.env);
                limit(container, wanted);
            }
        }
    }
    Ok(())
}

/// Leaves the number of pods as it is where an autoscaler among the manifests sets it: one of none is not its. For servers
/// that do not note that it did: others report a conflict, and it is left then.
pub fn keep_scale(manifests: &mut [Manifest], live: &BTreeMap<ObjectId, Value>) {
    let scaled: BTreeSet<(Option<String>, String, String)> = manifests
        .iter()
        .filter(|manifest| manifest.id.kind.is("autoscaling", "HorizontalPodAutoscaler"))
        .filter_map(|manifest| {
            let of_target = |field: &str| manifest.value.pointer(&format!("/spec/scaleTargetRef/{field}"));
            let text = |field: &str| of_target(field).and_then(Value::as_str).map(str::to_owned);
            Some((manifest.id.namespace.clone(), text("kind")?, text("name")?))
        })
        .collect();
    for manifest in manifests {
        let id = &manifest.id;
        let replicas = live.get(id).and_then(|live| live.pointer("/spec/replicas"));
        if let (Some(wanted), Some(replicas)) = (manifest.value.pointer_mut("/spec/replicas"), replicas)
            && *wanted != 0
            && *replicas != 0
            && scaled.contains(&(id.namespace.clone(), id.kind.kind.clone(), id.name.clone()))
        {
            *wanted = replicas.clone();
        }
    }
}

fn scale(manifest: &mut Manifest, wanted: &ServiceOverride) -> Result<(), AdjustmentError> {
    let off = wanted.enabled == Some(false);
    let replicas = if off { Some(0) } else { wanted.replicas };
    let Some(replicas) = replicas else { return Ok(()) };
    let kind = manifest.id.kind.clone();
    match switch(&kind) {
        Switch::Replicas => insert(&mut manifest.value, &["spec", "replicas"], json!(replicas)),
        Switch::Suspend if off => insert(&mut manifest.value, &["spec", "suspend"], json!(true)),
        // No node has this label: the pods of a DaemonSet go and none comes.
        Switch::Nodes if off => {
            let path = ["spec", "template", "spec", "nodeSelector", "bowline.dev/disabled"];
            insert(&mut manifest.value, &path, json!("true"));
        }
        _ => return Err(AdjustmentError::Uncountable { object: manifest.id.to_string(), replicas }),
    }
    Ok(())
}

/// How a workload of a kind is switched off.
enum Switch {
    Replicas,
    Suspend,
    Nodes,
    None,
}

fn switch(kind: &Kind) -> Switch {
    match kind.kind.as_str() {
        "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController" => Switch::Replicas,
        "CronJob" | "Job" => Switch::Suspend,
        "DaemonSet" => Switch::Nodes,
        _ => Switch::None,
    }
}

/// Sets a field, and makes the maps that lead to it.
fn insert(value: &mut Value, path: &[&str], field: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = field;
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    if let Some(map) = value.as_object_mut() {
        insert(map.entry(*first).or_insert(Value::Null), rest, field);
    }
}

fn set_environment(container: &mut Map<String, Value>, wanted: &BTreeMap<String, String>) {
    if wanted.is_empty() {
        return;
    }
    let list = container.entry("env").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    for (name, value) in wanted {
        let entry = json!({"name": name, "value": value});
        let is_it = |there: &&mut Value| there.get("name").and_then(Value::as_str) == Some(name);
        match list.iter_mut().find(is_it) {
            Some(there) => *there = entry,
            None => list.push(entry),
        }
    }
}

/// A limit below what the manifest requests is refused by the API server: the request becomes the limit then.
fn limit(container: &mut Map<String, Value>, wanted: &ServiceOverride) {
    // In thousandths, as Kubernetes counts processors; the configuration holds it between 0.01 and 1024.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let cpu = wanted.cpus.map(|cpus| format!("{}m", (cpus * 1000.0).round() as u64));
    let memory = wanted.memory.map(|bytes| bytes.to_string());
    for (name, quantity) in [("cpu", cpu), ("memory", memory)] {
        let Some(quantity) = quantity else { continue };
        let resources = container.entry("resources").or_insert_with(|| json!({}));
        insert(resources, &["limits", name], json!(quantity));
        let request = resources.pointer_mut(&format!("/requests/{name}"));
        if let Some(request) = request {
            let text = request.as_str().map_or_else(|| request.to_string(), str::to_owned);
            let more = match (text.parse::<Quantity>(), quantity.parse::<Quantity>()) {
                (Ok(requested), Ok(limit)) => requested > limit,
                _ => false,
            };
            if more {
                *request = json!(quantity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::{Origin, identify};
    use super::*;

    fn workload(kind: &str, spec: Value) -> Manifest {
        let group = if kind == "CronJob" { "batch/v1" } else { "apps/v1" };
        let value = json!({"apiVersion": group, "kind": kind, "metadata": {"name": "user"}, "spec": spec});
        let origin = Origin { file: "a.yaml".into(), line: 1, column: 1 };
        Manifest { id: identify(&value).unwrap(), version: "v1".into(), value, origin }
    }

    fn deployment() -> Manifest {
        let containers = json!([
            {"name": "app", "env": [{"name": "A", "value": "1"}], "resources": {"requests": {"memory": "1Gi", "cpu": 1}}},
            {"name": "side"},
        ]);
        workload("Deployment", json!({"template": {"spec": {"containers": containers}}}))
    }

    #[test]
    fn wishes_reach_the_containers_that_run_the_service() {
        let mut manifests = [deployment()];
        let wanted = ServiceOverride {
            env: BTreeMap::from([("A".into(), "2".into()), ("B".into(), "3".into())]),
            memory: Some(512 << 20),
            cpus: Some(2.0),
            replicas: Some(3),
            enabled: None,
        };
        let ours = Containers::from([(manifests[0].id.clone(), BTreeSet::from(["app".to_owned()]))]);
        adjust(&mut manifests, "user", &ours, &wanted).unwrap();
        assert_eq!(
            manifests[0].value["spec"],
            json!({"replicas": 3, "template": {"spec": {"containers": [
                {"name": "app", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}], "resources": {
                    "requests": {"memory": "536870912", "cpu": 1}, "limits": {"cpu": "2000m", "memory": "536870912"},
                }},
                {"name": "side"},
            ]}}})
        );
    }

    #[test]
    fn what_is_switched_off_stays_there_without_pods() {
        let off = ServiceOverride { enabled: Some(false), ..ServiceOverride::default() };
        for (kind, pointer, expected) in [
            ("Deployment", "/spec/replicas", json!(0)),
            ("CronJob", "/spec/suspend", json!(true)),
            ("DaemonSet", "/spec/template/spec/nodeSelector", json!({"bowline.dev/disabled": "true"})),
        ] {
            let mut manifests = [workload(kind, json!({"template": {"spec": {}}}))];
            adjust(&mut manifests, "user", &Containers::new(), &off).unwrap();
            assert_eq!(manifests[0].value.pointer(pointer), Some(&expected), "{kind}");
        }
    }

    #[test]
    fn what_an_autoscaler_set_is_left() {
        let scaler = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "s"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "user"}}});
        let origin = Origin { file: "s.yaml".into(), line: 1, column: 1 };
        let scaler = Manifest { id: identify(&scaler).unwrap(), version: "v1".into(), value: scaler, origin };
        for (kind, wanted, live, expected) in [
            ("Deployment", json!({"replicas": 1}), json!({"replicas": 3}), json!({"replicas": 3})),
            ("Deployment", json!({"replicas": 0}), json!({"replicas": 3}), json!({"replicas": 0})),
            ("Deployment", json!({"replicas": 1}), json!({"replicas": 0}), json!({"replicas": 1})),
            ("Deployment", json!({}), json!({"replicas": 3}), json!({})),
            ("StatefulSet", json!({"replicas": 1}), json!({"replicas": 3}), json!({"replicas": 1})),
        ] {
            let mut manifests = [scaler.clone(), workload(kind, wanted)];
            let live = BTreeMap::from([(manifests[1].id.clone(), json!({"spec": live}))]);
            keep_scale(&mut manifests, &live);
            assert_eq!(manifests[1].value["spec"], expected, "{kind}");
        }
    }

    #[test]
    fn a_service_that_nothing_runs_is_named() {
        let error = adjust(&mut [deployment()], "usr", &Containers::new(), &ServiceOverride::default());
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "no workload runs the service `usr`, and none is called so; there are user");
    }
}
