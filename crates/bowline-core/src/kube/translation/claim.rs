//! Named volumes become claims: what is kept when pods go.

use serde_json::{Value, json};

use super::Writer;
use super::name::Names;
use super::yaml::Node;

/// What a volume is asked to hold, for nobody says how much that is.
const SIZE: &str = "1Gi";

impl Writer<'_> {
    /// Writes a claim for each named volume that a service mounts.
    pub(super) fn claims(&mut self) {
        let declared = self.config.get("volumes").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut names = Names::default();
        for (volume, options) in &declared {
            let users = self.users(volume);
            if users.is_empty() {
                continue;
            }
            let name = names.take(volume);
            self.volumes.insert(volume.clone(), name.clone());
            let mut node = Node::object("v1", "PersistentVolumeClaim", &name);
            let mut requests = Node::default();
            requests.set("storage", SIZE);
            requests.note("storage", "A guess: Compose sets no size.");
            let mut resources = Node::default();
            resources.put("requests", requests);
            let mut spec = Node::default();
            spec.set("accessModes", json!(["ReadWriteOnce"]));
            spec.note("accessModes", "One node at a time.");
            spec.put("resources", resources);
            node.put("spec", spec);
            let tail = by_hand(&self.given.namespace, &name);
            self.add("volume", &node, &tail);
            self.guess(None, format!("the volume {volume} is a claim for {SIZE}: Compose sets no size"));
            if let [_, _, ..] = users.as_slice() {
                self.doubt(
                    None,
                    format!(
                        "the volume {volume} is mounted by {}: ReadWriteOnce holds them all on one node; ReadWriteMany needs a storage class that has it",
                        users.join(" and ")
                    ),
                );
            }
            let driver =
                options.get("driver").and_then(Value::as_str).is_some_and(|driver| driver != "local");
            if driver || options.get("driver_opts").is_some_and(|options| options != &json!({})) {
                self.doubt(None, format!("the volume {volume} has a driver or options, which are left out"));
            }
        }
        if !self.volumes.is_empty() {
            self.doubt(
                None,
                "the volumes start empty: what is in those of the machine has to be copied; and they need a default storage class (`kubectl get storageclass`), or the PersistentVolume at the end of their files",
            );
        }
    }

    /// The services that mount a named volume.
    fn users(&self, volume: &str) -> Vec<String> {
        let mounts = |raw: &Value| {
            let list = raw.get("volumes").and_then(Value::as_array);
            list.into_iter().flatten().any(|mount| {
                let text = |key: &str| mount.get(key).and_then(Value::as_str);
                text("type") == Some("volume") && text("source") == Some(volume)
            })
        };
        let users = self.model.services.iter().filter(|(_, service)| mounts(&service.raw));
        users.map(|(name, _)| name.clone()).collect()
    }
}

/// A volume made by hand, for clusters in which nothing makes one.
fn by_hand(namespace: &str, claim: &str) -> String {
    format!(
        "# No default storage class (`kubectl get storageclass`)? Then nothing makes this volume. What follows keeps it in a
# directory of one node, where the pods that mount it run then. Put in the node's name, and take away the `# `:
# ---
# apiVersion: v1
# kind: PersistentVolume
# metadata:
#   name: {namespace}-{claim}
# spec:
#   capacity:
#     storage: {SIZE}
#   accessModes: [\"ReadWriteOnce\"]
#   persistentVolumeReclaimPolicy: Retain
#   claimRef:
#     namespace: {namespace}
#     name: {claim}
#   hostPath:
#     path: /var/lib/{namespace}/{claim}
#     type: DirectoryOrCreate
#   nodeAffinity:
#     required:
#       nodeSelectorTerms:
#         - matchExpressions:
#             - key: kubernetes.io/hostname
#               operator: In
#               values: [\"NODE\"]
"
    )
}
