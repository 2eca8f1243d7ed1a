//! Pods that run in the cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::kube::order::mention::{list, text};
use crate::kube::workload::labels;

use super::request::{Defaults, Requests, Side, of_pod};

/// A port of a node that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// The port.
    pub port: u64,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The node's address that it is taken of; empty for all of them.
    pub address: String,
}

impl HostPort {
    /// The ports of its node that a pod with this `spec` takes.
    pub fn of(spec: &Value) -> BTreeSet<Self> {
        let network = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
        let field = if network { "/containerPort" } else { "/hostPort" };
        // Those that only prepare have gone before another pod could want the port.
        let stay =
            list(spec, "/initContainers").filter(|each| text(each, "/restartPolicy") == Some("Always"));
        let ports = stay.chain(list(spec, "/containers")).flat_map(|container| list(container, "/ports"));
        ports
            .filter_map(|port| {
                Some(Self {
                    port: port.pointer(field)?.as_u64().filter(|port| *port > 0)?,
                    protocol: text(port, "/protocol").unwrap_or("TCP").to_owned(),
                    address: text(port, "/hostIP").filter(|ip| *ip != "0.0.0.0").unwrap_or("").to_owned(),
                })
            })
            .collect()
    }

    /// Whether the two cannot be taken on one node.
    pub fn collides(&self, other: &Self) -> bool {
        let apart = !self.address.is_empty() && !other.address.is_empty() && self.address != other.address;
        self.port == other.port && self.protocol == other.protocol && !apart
    }
}

/// A pod that is on a node and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node that it is on.
    pub node: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it asks for, itself counted as one of `pods`.
    pub requests: Requests,
    /// What it may use at most.
    pub limits: Requests,
    /// The ports of the node that it takes.
    pub ports: BTreeSet<HostPort>,
}

impl RunningPod {
    /// Reads a pod of the API; none where it has no node yet, or has ended.
    pub fn read(pod: &Value) -> Option<Self> {
        if matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed")) {
            return None;
        }
        let spec = pod.get("spec")?;
        // Whatever a LimitRange gave it stands in its own spec by now.
        let defaults = Defaults::default();
        Some(Self {
            namespace: text(pod, "/metadata/namespace")?.to_owned(),
            name: text(pod, "/metadata/name")?.to_owned(),
            node: text(spec, "/nodeName")?.to_owned(),
            labels: labels(pod.pointer("/metadata/labels"))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            requests: of_pod(spec, Side::Requests, &defaults),
            limits: of_pod(spec, Side::Limits, &defaults),
            ports: HostPort::of(spec),
        })
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_of_nodes_collide() {
        let ports = |spec: &Value| HostPort::of(spec).into_iter().collect::<Vec<_>>();
        let of = |port: Value| json!({"containers": [{"ports": [port]}]});
        let all = ports(&of(json!({"containerPort": 80, "hostPort": 8080})));
        let one = ports(&of(json!({"containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.1"})));
        let other = ports(&of(json!({"containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.2"})));
        let udp = ports(&of(json!({"containerPort": 80, "hostPort": 8080, "protocol": "UDP"})));
        assert!(all[0].collides(&one[0]) && !one[0].collides(&other[0]) && !all[0].collides(&udp[0]));
        assert!(ports(&of(json!({"containerPort": 80}))).is_empty());
        let network = json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]});
        assert_eq!(ports(&network)[0].port, 80);
    }
}
