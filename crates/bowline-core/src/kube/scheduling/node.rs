//! Nodes, and which pods they take.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::image::Platform;
use crate::kube::order::mention::{list, text};
use crate::kube::workload::labels;

use super::request::Requests;
use super::selector::{fits_term, fits_terms};

/// A node, as the scheduler sees it.
pub(crate) struct Node<'a> {
    pub(crate) name: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    taints: Vec<&'a Value>,
    /// All that pods may ask for on it.
    pub(crate) allocatable: Requests,
    cordoned: bool,
    ready: bool,
    pub(crate) platform: Option<Platform>,
}

impl<'a> Node<'a> {
    pub(crate) fn read(node: &'a Value) -> Option<Self> {
        let info = |field: &str| text(node, &format!("/status/nodeInfo/{field}"));
        let labels: BTreeMap<&str, &str> = labels(node.pointer("/metadata/labels")).collect();
        let os = labels.get("kubernetes.io/os").copied().or_else(|| info("operatingSystem"));
        let architecture = labels.get("kubernetes.io/arch").copied().or_else(|| info("architecture"));
        let platform = os.zip(architecture).map(|(os, architecture)| Platform {
            os: os.into(),
            architecture: architecture.into(),
            variant: None,
        });
        let condition = list(node, "/status/conditions").find(|one| text(one, "/type") == Some("Ready"));
        Some(Self {
            name: text(node, "/metadata/name")?,
            labels,
            taints: list(node, "/spec/taints").collect(),
            allocatable: Requests::read(
                node.pointer("/status/allocatable").or_else(|| node.pointer("/status/capacity")),
            ),
            cordoned: node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false),
            ready: condition.is_none_or(|ready| text(ready, "/status") == Some("True")),
            platform,
        })
    }

    pub(crate) fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.get(name).copied()
    }

    /// What keeps a pod with this `spec` from it, if anything; room does not count here. Pods of a DaemonSet are let in
    /// whatever the node's condition, and `reach` is the node affinity of the pod's volumes.
    pub(crate) fn bar(&self, spec: &Value, daemon: bool, reach: &[(&str, &Value)]) -> Option<Bar> {
        if text(spec, "/nodeName").is_some() {
            return self.bar_by_name(spec);
        }
        if !daemon && let Some(bar) = self.bar_by_cordon(spec) {
            return Some(bar);
        }
        if !self.ready && !daemon {
            return Some(Bar::NotReady);
        }
        let volume = || reach.iter().find(|(_, required)| !self.fits(required));
        self.bar_by_affinity(spec)
            .or_else(|| volume().map(|(volume, _)| Bar::Volume((*volume).to_owned())))
            .or_else(|| self.bar_by_taint(spec, |key, _| daemon && key.starts_with("node.kubernetes.io/")))
    }

    /// Whether the pod names another node.
    pub(crate) fn bar_by_name(&self, spec: &Value) -> Option<Bar> {
        text(spec, "/nodeName")
            .filter(|wanted| *wanted != self.name)
            .map(|wanted| Bar::Name(wanted.to_owned()))
    }

    /// Whether it is cordoned, and the pod minds.
    pub(crate) fn bar_by_cordon(&self, spec: &Value) -> Option<Bar> {
        let minds = self.cordoned && !tolerates(spec, "node.kubernetes.io/unschedulable", "", "NoSchedule");
        minds.then_some(Bar::Cordoned)
    }

    /// The first of its taints that keeps the pod away; `spared` are taints, by key and effect, that do not count.
    pub(crate) fn bar_by_taint(&self, spec: &Value, spared: impl Fn(&str, &str) -> bool) -> Option<Bar> {
        let taint = self.taints.iter().find(|taint| {
            let (key, effect) = (text(taint, "/key").unwrap_or(""), text(taint, "/effect").unwrap_or(""));
            matches!(effect, "NoSchedule" | "NoExecute")
                && !spared(key, effect)
                && !tolerates(spec, key, text(taint, "/value").unwrap_or(""), effect)
        });
        taint.map(|taint| Bar::Taint(describe(taint)))
    }

    /// Whether the pod's `nodeSelector` or required node affinity excludes it.
    pub(crate) fn bar_by_affinity(&self, spec: &Value) -> Option<Bar> {
        let wanted = labels(spec.get("nodeSelector")).find(|(name, value)| self.label(name) != Some(*value));
        if let Some((name, value)) = wanted {
            return Some(Bar::Label(format!("{name}={value}")));
        }
        let required = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
        let outside = spec.pointer(required).is_some_and(|required| !self.fits(required));
        outside.then_some(Bar::Affinity)
    }

    /// Whether it fits one of the terms of a node affinity's `required…`.
    pub(crate) fn fits(&self, required: &Value) -> bool {
        fits_terms(required, self.name, |name| self.label(name))
    }

    /// How many of its taints would rather not have the pod, which does not tolerate them.
    pub(crate) fn count_reserves(&self, spec: &Value) -> i64 {
        let reserves = self.taints.iter().filter(|taint| {
            let part = |pointer: &str| text(taint, pointer).unwrap_or("");
            part("/effect") == "PreferNoSchedule"
                && !tolerates(spec, part("/key"), part("/value"), "PreferNoSchedule")
        });
        i64::try_from(reserves.count()).unwrap_or(i64::MAX)
    }

    /// The weights of the pod's preferences among nodes that it meets, added up.
    pub(crate) fn weigh_preferences(&self, spec: &Value) -> i64 {
        let preferred = "/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution";
        let met = list(spec, preferred).filter(|each| {
            let preference = each.get("preference");
            preference.is_some_and(|term| fits_term(term, self.name, &|name: &str| self.label(name)))
        });
        met.filter_map(|each| each.get("weight")?.as_i64()).sum()
    }
}

/// Why a node does not take a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bar {
    Name(String),
    Cordoned,
    NotReady,
    Label(String),
    Affinity,
    Volume(String),
    Taint(String),
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "it must run on {name}"),
            Self::Cordoned => f.write_str("cordoned"),
            Self::NotReady => f.write_str("not ready"),
            Self::Label(label) => write!(f, "without the label {label} of its nodeSelector"),
            Self::Affinity => f.write_str("outside its node affinity"),
            Self::Volume(volume) => write!(f, "out of reach of PersistentVolume {volume}"),
            Self::Taint(taint) => write!(f, "with the taint {taint}, which it does not tolerate"),
        }
    }
}

fn describe(taint: &Value) -> String {
    let part = |pointer: &str| text(taint, pointer).unwrap_or("");
    let value = text(taint, "/value").map(|value| format!("={value}")).unwrap_or_default();
    format!("{}{value}:{}", part("/key"), part("/effect"))
}

fn tolerates(spec: &Value, key: &str, value: &str, effect: &str) -> bool {
    list(spec, "/tolerations").any(|toleration| {
        let exists = text(toleration, "/operator") == Some("Exists");
        text(toleration, "/effect").is_none_or(|own| own == effect)
            && text(toleration, "/key").map_or(exists, |own| own == key)
            && (exists || text(toleration, "/value").unwrap_or("") == value)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_take_the_pods_that_fit_them() {
        let value = json!({"metadata": {"name": "n", "labels": {"disk": "ssd", "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "arm64"}},
            "spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"},
                                {"key": "soft", "effect": "PreferNoSchedule"}]}});
        let node = Node::read(&value).unwrap();
        assert_eq!(node.platform.as_ref().unwrap().to_string(), "linux/arm64");
        let tolerant = |toleration: Value| json!({"tolerations": [toleration]});
        for (spec, expected) in [
            (json!({}), Some("with the taint gpu=yes:NoSchedule, which it does not tolerate")),
            (tolerant(json!({"operator": "Exists"})), None),
            (tolerant(json!({"key": "gpu", "operator": "Exists"})), None),
            (tolerant(json!({"key": "gpu", "value": "yes"})), None),
            (
                tolerant(json!({"key": "gpu", "value": "no"})),
                Some("with the taint gpu=yes:NoSchedule, which it does not tolerate"),
            ),
            (
                tolerant(json!({"key": "gpu", "value": "yes", "effect": "NoExecute"})),
                Some("with the taint gpu=yes:NoSchedule, which it does not tolerate"),
            ),
            (
                json!({"nodeSelector": {"disk": "hdd"}}),
                Some("without the label disk=hdd of its nodeSelector"),
            ),
            (json!({"nodeName": "m"}), Some("it must run on m")),
            (json!({"nodeName": "n"}), None),
        ] {
            let bar = node.bar(&spec, false, &[]).map(|bar| bar.to_string());
            assert_eq!(bar.as_deref(), expected, "{spec}");
        }
        let value = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true}});
        let node = Node::read(&value).unwrap();
        assert_eq!(node.bar(&json!({}), false, &[]), Some(Bar::Cordoned));
        assert_eq!(node.bar(&json!({}), true, &[]), None, "DaemonSets run there");
    }
}
