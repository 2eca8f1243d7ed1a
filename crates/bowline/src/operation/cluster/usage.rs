//! What a cluster's nodes and workloads use: asked of the kubelets while somebody looks. Nothing is installed for it, so that
//! nothing is remembered there either: who wants to remember records it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::capacity::kubelet::Summary;
use bowline_core::kube::object::Kind;
use bowline_core::quantity::Quantity;
use bowline_kube::{Catalog, GroupVersion, KubeError};
use bowline_measurement::interval::Interval;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::site::Site;
use crate::error::{Failure, Outcome};

/// The kubelet looks every ten seconds: who asks more often hears the same again.
const EVERY: Duration = Duration::from_secs(10);

/// To which workload of a namespace a container belongs, by the name under which it was measured here. Of pods with several
/// containers each counts for itself.
pub fn workload_of<'n>(namespace: &'n str) -> impl Fn(&str) -> Option<String> + 'n {
    move |container| match container.split('/').collect::<Vec<_>>()[..] {
        [there, workload, _, _] if there == namespace => Some(workload.to_owned()),
        _ => None,
    }
}

/// The same, each container of a workload's pods for itself: `workload/container`.
pub fn container_of<'n>(namespace: &'n str) -> impl Fn(&str) -> Option<String> + 'n {
    move |container| match container.split('/').collect::<Vec<_>>()[..] {
        [there, workload, _, name] if there == namespace => Some(format!("{workload}/{name}")),
        _ => None,
    }
}

/// Looks for so long. `each` hears how much of it is over, and what happened since it heard last: containers of the target's
/// namespace are called `namespace/workload/pod/container`, others `namespace/pod/container`. Gives the nodes that did not
/// answer, and why.
///
/// # Errors
/// When the cluster does not answer, or lets nobody ask its nodes; and what `each` returns.
pub async fn watch(
    site: &Site,
    time: Duration,
    mut each: impl FnMut(Duration, Option<Interval>) -> Outcome<()>,
) -> Outcome<BTreeSet<String>> {
    let looking = |error: &KubeError| site.explain("measuring", error);
    let core = BTreeSet::from([GroupVersion::new("", "v1")]);
    let catalog = site.cluster.discover(&core).await.map_err(|error| looking(&error))?;
    let nodes = list(site, &catalog, "Node", None).await?;
    let (begin, mut notes) = (Instant::now(), BTreeSet::new());
    let mut before = ask(site, &nodes, &mut notes).await?;
    let mut pods = Pods::read(&list(site, &catalog, "Pod", Some(&site.namespace)).await?);
    while begin.elapsed() < time {
        sleep(EVERY).await;
        let (now, there) =
            tokio::join!(ask(site, &nodes, &mut notes), list(site, &catalog, "Pod", Some(&site.namespace)));
        let now = now?;
        let interval = before.until(&now);
        let named = match interval {
            Some(mut interval) => {
                before = now;
                let there = Pods::read(&there?);
                there.name(&mut interval, &pods);
                pods.0.extend(there.0);
                Some(interval)
            }
            None => None,
        };
        each(begin.elapsed().min(time), named)?;
    }
    Ok(notes)
}

/// The pods of a namespace, by namespace and name: those that are gone are remembered, as what they did is told after it.
#[derive(Debug, Clone, Default)]
struct Pods(BTreeMap<String, Pod>);

/// What the API knows of a pod, and its kubelet does not tell.
#[derive(Debug, Clone, Default)]
struct Pod {
    workload: String,
    containers: BTreeMap<String, Container>,
}

/// The same of one of its containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Container {
    /// Its memory limit in bytes.
    limit: Option<u64>,
    /// How often it was started anew.
    restarts: u64,
    /// When it was killed for want of memory the last time, in milliseconds since 1970.
    killed: Option<i64>,
}

impl Pods {
    fn read(pods: &[Value]) -> Self {
        Self(pods.iter().filter_map(read).collect())
    }

    /// Gives the containers of an interval their full names, and what else is known of them, if only from `earlier`. Of those
    /// that are new since then all restarts happened in it.
    fn name(&self, interval: &mut Interval, earlier: &Self) {
        let unnamed = std::mem::take(&mut interval.containers);
        for (name, mut usage) in unnamed {
            let found = name.rsplit_once('/').and_then(|(pod, container)| {
                let known = self.0.get(pod).or_else(|| earlier.0.get(pod))?;
                let (namespace, pod_name) = pod.split_once('/')?;
                let before = earlier.0.get(pod).and_then(|earlier| earlier.containers.get(container));
                if let Some(now) = known.containers.get(container) {
                    usage.memory_limit = now.limit.unwrap_or(0);
                    let restarts = now.restarts.saturating_sub(before.map_or(0, |before| before.restarts));
                    usage.restarts = u32::try_from(restarts).unwrap_or(u32::MAX);
                    let anew = now.killed.is_some() && now.killed != before.and_then(|before| before.killed);
                    usage.oom_kills = u32::from(anew && now.killed > Some(interval.from));
                }
                Some(format!("{namespace}/{}/{pod_name}/{container}", known.workload))
            });
            interval.containers.insert(found.unwrap_or(name), usage);
        }
    }
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

/// A pod by namespace and name, and its workload: what made it, a Deployment where that is a ReplicaSet of one.
fn read(pod: &Value) -> Option<(String, Pod)> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    let (namespace, name) = (text("/metadata/namespace")?, text("/metadata/name")?);
    let owner = text("/metadata/ownerReferences/0/name").unwrap_or(name);
    let hash = text("/metadata/labels/pod-template-hash");
    let deployment = hash.and_then(|hash| owner.strip_suffix(hash)?.strip_suffix('-'));
    let listed = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let named = |one: &Value| one.get("name").and_then(Value::as_str).map(str::to_owned);
    let mut containers: BTreeMap<String, Container> = BTreeMap::new();
    for declared in listed("/spec/containers") {
        let limit = declared.pointer("/resources/limits/memory").and_then(Value::as_str);
        let limit = limit.and_then(|text| text.parse::<Quantity>().ok()).map(Quantity::units);
        containers.extend(named(declared).map(|name| (name, Container { limit, ..Container::default() })));
    }
    for status in listed("/status/containerStatuses") {
        let Some(container) = named(status).and_then(|name| containers.get_mut(&name)) else { continue };
        container.restarts = status.get("restartCount").and_then(Value::as_u64).unwrap_or(0);
        let ended = ["/lastState/terminated", "/state/terminated"].iter();
        let killed = ended.filter_map(|pointer| status.pointer(pointer)).filter_map(|ended| {
            let at = ended.get("finishedAt")?.as_str()?.parse::<jiff::Timestamp>().ok()?;
            (ended.get("reason")?.as_str()? == "OOMKilled").then(|| at.as_millisecond())
        });
        container.killed = killed.max();
    }
    let workload = deployment.unwrap_or(owner).to_owned();
    Some((format!("{namespace}/{name}"), Pod { workload, containers }))
}

#[cfg(test)]
mod tests {
    use bowline_measurement::interval::{Machine, Usage};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_belongs_to_the_deployment_behind_its_replica_set() {
        let pod = |owner: &str, labels: Value| {
            read(&json!({ "metadata": { "namespace": "chat", "name": "p-1", "labels": labels,
                "ownerReferences": [{ "name": owner }] } }))
            .map(|(name, pod)| (name, pod.workload))
        };
        let named = |name: &str| Some(("chat/p-1".to_owned(), name.to_owned()));
        assert_eq!(pod("user-7d9f8", json!({ "pod-template-hash": "7d9f8" })), named("user"));
        assert_eq!(pod("nats", json!({})), named("nats"));
        assert_eq!(
            read(&json!({ "metadata": { "namespace": "chat", "name": "alone" } }))
                .map(|(name, pod)| (name, pod.workload)),
            Some(("chat/alone".into(), "alone".into()))
        );
    }

    #[test]
    fn what_the_kubelet_does_not_tell_the_api_does() {
        let pod = |restarts: u64, killed: &str| {
            json!({ "metadata": { "namespace": "chat", "name": "user-0", "ownerReferences": [{ "name": "user" }] },
                "spec": { "containers": [
                    { "name": "app", "resources": { "limits": { "memory": "64Mi" } } }, { "name": "side" }] },
                "status": { "containerStatuses": [{ "name": "app", "restartCount": restarts,
                    "lastState": { "terminated": { "reason": "OOMKilled", "finishedAt": killed } } }] } })
        };
        let before = Pods::read(&[pod(2, "2026-11-26T10:00:00Z")]);
        let after = Pods::read(&[pod(3, "2026-11-26T10:05:00Z")]);
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let names = ["chat/user-0/app", "chat/user-0/side", "kube-system/dns-1/dns"];
        let mut interval = Interval {
            from: at("2026-11-26T10:04:55Z"),
            seen: 10_000,
            to: at("2026-11-26T10:05:05Z"),
            samples: 1,
            machine: Machine::default(),
            containers: names.map(|name| (name.to_owned(), Usage::default())).into(),
        };
        let mut calm = interval.clone();
        after.name(&mut interval, &before);
        let app = &interval.containers["chat/user/user-0/app"];
        assert_eq!((app.memory_limit, app.restarts, app.oom_kills), (64 << 20, 1, 1));
        assert_eq!(interval.containers["chat/user/user-0/side"], Usage::default());
        let of = |name: &str| (workload_of("chat")(name), container_of("chat")(name));
        assert_eq!(of("chat/user/user-0/app"), (Some("user".into()), Some("user/app".into())));
        assert_eq!(of("kube-system/dns-1/dns"), (None, None));
        // What was so before has not happened again.
        after.name(&mut calm, &after);
        let app = &calm.containers["chat/user/user-0/app"];
        assert_eq!((app.restarts, app.oom_kills), (0, 0));
    }
}
