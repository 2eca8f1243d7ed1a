//! What the volumes of a pod demand of its node.

use serde_json::Value;

use crate::kube::order::mention::{list, text};
use crate::kube::scheduling::node::Node;

use super::Storage;
use super::obstacle::Bar;

/// The claims that a pod mounts.
#[derive(Default)]
pub(super) struct Claims<'a> {
    /// What keeps the pod from every node.
    pub(super) bar: Option<Bar>,
    /// The volumes that they are bound to.
    pub(super) volumes: Vec<(&'a str, &'a Value)>,
    /// All of them, and those that one pod at a time may have (`ReadWriteOncePod`).
    pub(super) used: Vec<String>,
    pub(super) single: Vec<String>,
}

impl<'a> Claims<'a> {
    /// Nothing is judged where the cluster's storage is not known.
    pub(super) fn read(spec: &'a Value, namespace: &str, storage: Option<&Storage<'a>>) -> Self {
        let mut claims = Self::default();
        for name in list(spec, "/volumes").filter_map(|each| text(each, "/persistentVolumeClaim/claimName")) {
            let key = format!("{namespace}/{name}");
            claims.used.push(key.clone());
            let Some(storage) = storage else { continue };
            let bar = claims.resolve(name, &key, namespace, storage);
            claims.bar = claims.bar.take().or(bar);
        }
        claims
    }

    fn resolve(&mut self, name: &str, key: &str, namespace: &str, storage: &Storage<'a>) -> Option<Bar> {
        let bar = |why: &str| Some(Bar::Claim(format!("the claim {name} {why}")));
        let found = storage.claims.iter().find(|claim| {
            text(claim, "/metadata/name") == Some(name)
                && text(claim, "/metadata/namespace").unwrap_or("default") == namespace
        });
        let Some(claim) = found else { return bar("is not there") };
        if text(claim, "/status/phase") == Some("Lost") {
            return bar("has lost its volume");
        }
        if text(claim, "/metadata/deletionTimestamp").is_some() {
            return bar("is being deleted");
        }
        if list(claim, "/spec/accessModes").any(|mode| mode == "ReadWriteOncePod") {
            self.single.push(key.to_owned());
        }
        let bound = claim
            .pointer("/metadata/annotations")
            .is_some_and(|all| all.get("pv.kubernetes.io/bind-completed").is_some());
        match text(claim, "/spec/volumeName") {
            Some(volume) if bound => {
                let there = storage.volumes.iter().find(|each| text(each, "/metadata/name") == Some(volume));
                let Some(there) = there else { return bar("is bound to a volume that is not there") };
                self.volumes.push((volume, there));
                None
            }
            None if waits(claim, storage) => None,
            _ => bar("is not bound yet"),
        }
    }
}

/// Whether a claim gets its volume where its first pod is.
fn waits(claim: &Value, storage: &Storage<'_>) -> bool {
    let class = text(claim, "/spec/storageClassName");
    let found = storage.classes.iter().find(|each| text(each, "/metadata/name") == class);
    class.is_some()
        && found.is_some_and(|class| text(class, "/volumeBindingMode") == Some("WaitForFirstConsumer"))
}

/// Whether a volume cannot be reached from a node: by its node affinity, or because it belongs to other zones.
pub(super) fn bar_by_volume(node: &Node<'_>, name: &str, volume: &Value) -> Option<Bar> {
    let out = volume.pointer("/spec/nodeAffinity/required").is_some_and(|required| !node.fits(required));
    (out || is_elsewhere(node, volume)).then(|| Bar::Volume(name.to_owned()))
}

/// The labels that say where a volume is, and what today's name of each is.
const WHERE: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

fn is_elsewhere(node: &Node<'_>, volume: &Value) -> bool {
    if WHERE.iter().all(|(key, _)| node.label(key).is_none()) {
        return false;
    }
    let labels = volume.pointer("/metadata/labels");
    WHERE.iter().any(|(key, today)| {
        let zones = labels.and_then(|labels| labels.get(*key)).and_then(Value::as_str);
        let here = node.label(key).or_else(|| node.label(today));
        zones.is_some_and(|zones| !here.is_some_and(|here| zones.split("__").any(|zone| zone == here)))
    })
}
