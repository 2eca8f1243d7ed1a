//! Kubernetes manifests: the folder that holds them and the workloads in it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compose::brief;
use super::deployed::Deployed;
use super::place::{last, lies_in, parent};
use super::tree::Tree;

/// A folder of manifests.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    /// `""` is the repository's root.
    pub(super) directory: String,
    /// The workloads' containers.
    pub(super) workloads: Vec<Deployed>,
    /// The one namespace that the manifests name, where it is one.
    pub(super) namespace: Option<String>,
}

/// The folder with the most workloads, and what there is to say about others.
pub(super) fn folder(tree: &Tree) -> (Option<Folder>, Vec<String>) {
    let mut notes = Vec::new();
    let mut folders: BTreeMap<&str, Vec<(Deployed, Option<String>)>> = BTreeMap::new();
    for (path, text) in tree.texts() {
        let yaml = last(path).ends_with(".yaml") || last(path).ends_with(".yml");
        if !yaml || !text.contains("apiVersion:") || !text.contains("kind:") {
            continue;
        }
        if text.contains("{{") {
            let chart = format!("{} is a template (Helm or like it) and was not read", parent(path));
            if !notes.contains(&chart) {
                notes.push(chart);
            }
            continue;
        }
        match serde_saphyr::from_multiple::<Value>(text) {
            Ok(documents) => {
                let found = documents.iter().flat_map(|document| workloads(path, document));
                folders.entry(parent(path)).or_default().extend(found);
            }
            Err(error) => notes.push(format!("{path} could not be read: {}", brief(&error.to_string()))),
        }
    }
    folders.retain(|_, workloads| !workloads.is_empty());
    // Folders below one that has workloads itself belong to it; siblings below a common parent to that parent.
    let Some(most) =
        folders.iter().max_by_key(|(_, workloads)| workloads.len()).map(|(directory, _)| *directory)
    else {
        return (None, notes);
    };
    let parent_of_most = parent(most);
    let siblings = folders
        .keys()
        .filter(|directory| parent(directory) == parent_of_most && !directory.is_empty())
        .count();
    let directory = if siblings > 1 && !parent_of_most.is_empty() { parent_of_most } else { most };
    for other in folders.keys().filter(|other| !lies_in(other, directory)) {
        notes.push(format!("{other} holds manifests too; the target takes those in {directory}"));
    }
    let inside: Vec<(Deployed, Option<String>)> = folders
        .into_iter()
        .filter(|(path, _)| lies_in(path, directory))
        .flat_map(|(_, found)| found)
        .collect();
    let mut namespaces: Vec<String> = inside.iter().filter_map(|(_, namespace)| namespace.clone()).collect();
    namespaces.sort();
    namespaces.dedup();
    let namespace = match namespaces.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    };
    let workloads = inside.into_iter().map(|(workload, _)| workload).collect();
    (Some(Folder { directory: directory.into(), workloads, namespace }), notes)
}

/// The containers of a Deployment and its likes; lists are looked into. Init containers are not services.
fn workloads(path: &str, document: &Value) -> Vec<(Deployed, Option<String>)> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    match text("/kind") {
        Some("List") => {
            let items = document.get("items").and_then(Value::as_array).into_iter().flatten();
            return items.flat_map(|item| workloads(path, item)).collect();
        }
        Some("Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "CronJob" | "Job") => {}
        _ => return Vec::new(),
    }
    let name = text("/metadata/name").unwrap_or_default();
    let namespace = text("/metadata/namespace").map(str::to_owned);
    let template = document
        .pointer("/spec/template/spec")
        .or_else(|| document.pointer("/spec/jobTemplate/spec/template/spec"));
    let containers: Vec<&Value> = template
        .and_then(|spec| spec.get("containers"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    let several = containers.len() > 1;
    containers
        .iter()
        .map(|container| {
            let own = container.get("name").and_then(Value::as_str).unwrap_or_default();
            let port = container.pointer("/ports/0/containerPort").and_then(Value::as_u64);
            let deployed = Deployed {
                name: if several { own.to_owned() } else { name.to_owned() },
                file: path.into(),
                image: container.get("image").and_then(Value::as_str).map(str::to_owned),
                port: port.and_then(|port| u16::try_from(port).ok()),
                checked: container.get("readinessProbe").is_some()
                    || container.get("livenessProbe").is_some(),
                alias: (!several).then(|| own.to_owned()),
                ..Deployed::default()
            };
            (deployed, namespace.clone())
        })
        .collect()
}
