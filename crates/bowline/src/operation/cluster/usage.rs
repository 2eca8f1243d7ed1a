//! What a cluster's nodes and workloads use: asked of the kubelets while somebody looks. Nothing is installed for it, so that
//! nothing is remembered either.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::capacity::kubelet::Summary;
use bowline_core::kube::object::Kind;
use bowline_kube::{Catalog, GroupVersion, KubeError};
use bowline_measurement::interval::Interval;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::site::Site;
use crate::error::{Failure, Outcome};

/// The kubelet looks every ten seconds: who asks more often hears the same again.
const EVERY: Duration = Duration::from_secs(10);

/// What was seen.
pub struct Usage {
    /// Interval by interval.
    pub intervals: Vec<Interval>,
    /// The workload of each pod, by namespace and name.
    workloads: BTreeMap<String, String>,
    /// Nodes that did not answer, and why.
    pub notes: Vec<String>,
}

impl Usage {
    /// To which workload of the target's namespace a container belongs. Of pods with several containers each counts for
    /// itself.
    pub fn workload_of(&self, namespace: &str, container: &str) -> Option<String> {
        let (pod, _) = container.rsplit_once('/')?;
        pod.starts_with(&format!("{namespace}/")).then(|| self.workloads.get(pod).cloned()).flatten()
    }
}

/// Looks for so long; `told` hears how much of it is over.
///
/// # Errors
/// When the cluster does not answer, or lets nobody ask its nodes.
pub async fn watch(site: &Site, time: Duration, mut told: impl FnMut(Duration)) -> Outcome<Usage> {
    let looking = |error: &KubeError| site.explain("measuring", error);
    let core = BTreeSet::from([GroupVersion::new("", "v1")]);
    let catalog = site.cluster.discover(&core).await.map_err(|error| looking(&error))?;
    let nodes = list(site, &catalog, "Node", None).await?;
    let (begin, mut notes) = (Instant::now(), BTreeSet::new());
    let mut before = ask(site, &nodes, &mut notes).await?;
    let mut intervals = Vec::new();
    while begin.elapsed() < time {
        sleep(EVERY).await;
        told(begin.elapsed().min(time));
        let now = ask(site, &nodes, &mut notes).await?;
        if let Some(interval) = before.until(&now) {
            intervals.push(interval);
            before = now;
        }
    }
    let pods = list(site, &catalog, "Pod", Some(&site.namespace)).await?;
    let workloads = pods.iter().filter_map(workload).collect();
    Ok(Usage { intervals, workloads, notes: notes.into_iter().collect() })
}

async fn list(site: &Site, catalog: &Catalog, kind: &str, namespace: Option<&str>) -> Outcome<Vec<Value>> {
    let resource = catalog.any(&Kind::new("", kind)).ok_or_else(|| {
        Failure::failed(format!("measuring {}", site.target.name)).since(format!("it knows no {kind}"))
    })?;
    site.cluster.list(resource, namespace).await.map_err(|error| site.explain("measuring", &error))
}

/// What all nodes say. One that is gone does not keep the others from being heard; where none answers, the first says why.
async fn ask(site: &Site, nodes: &[Value], notes: &mut BTreeSet<String>) -> Outcome<Summary> {
    let asked = nodes.iter().filter_map(|node| {
        let name = node.pointer("/metadata/name")?.as_str()?;
        let cores = node.pointer("/status/capacity/cpu").and_then(Value::as_str)?.parse().unwrap_or(0);
        Some(async move { (cores, site.cluster.node_summary(name).await) })
    });
    let (mut found, mut first, mut answered) = (Summary::default(), None, false);
    for (cores, answer) in join_all(asked).await {
        match answer {
            Ok(summary) => {
                found.add(&summary, cores);
                answered = true;
            }
            Err(error) => {
                notes.insert(error.to_string());
                first.get_or_insert(error);
            }
        }
    }
    match first {
        Some(error) if !answered => Err(site.explain("measuring", &error)),
        _ => Ok(found),
    }
}

/// A pod and its workload: what made it, a Deployment where that is a ReplicaSet of one.
fn workload(pod: &Value) -> Option<(String, String)> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    let (namespace, name) = (text("/metadata/namespace")?, text("/metadata/name")?);
    let owner = text("/metadata/ownerReferences/0/name").unwrap_or(name);
    let hash = text("/metadata/labels/pod-template-hash");
    let deployment = hash.and_then(|hash| owner.strip_suffix(hash)?.strip_suffix('-'));
    Some((format!("{namespace}/{name}"), deployment.unwrap_or(owner).to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_belongs_to_the_deployment_behind_its_replica_set() {
        let pod = |owner: &str, labels: Value| {
            workload(&json!({ "metadata": { "namespace": "chat", "name": "p-1", "labels": labels,
                "ownerReferences": [{ "name": owner }] } }))
        };
        let named = |name: &str| Some(("chat/p-1".to_owned(), name.to_owned()));
        assert_eq!(pod("user-7d9f8", json!({ "pod-template-hash": "7d9f8" })), named("user"));
        assert_eq!(pod("nats", json!({})), named("nats"));
        assert_eq!(
            workload(&json!({ "metadata": { "namespace": "chat", "name": "alone" } })),
            Some(("chat/alone".into(), "alone".into()))
        );
    }
}
