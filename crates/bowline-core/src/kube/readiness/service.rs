//! Services: what others call pods by.

use serde_json::Value;

use super::Case;
use super::event::{about, newest};
use super::status::{items, shorten, text, time};
use crate::health::Health;
use crate::kube::workload::labels;

/// A Service is up when it has an address. Whether it has pods is not asked: it is made before they are.
///
/// An outer address is waited for only where somebody gives one: krane and Helm wait for it always, and so for ever on
/// machines without a cloud; kstatus never does. Whoever is to give one marks the Service, or reports of it.
pub(super) fn judge(case: &Case<'_>) -> Health {
    let service = case.object;
    let kind = text(service, "/spec/type");
    if kind == "ExternalName" {
        return Health::Ready("it is a name for something else");
    }
    if text(service, "/spec/clusterIP").is_empty() {
        return Health::Starting("it has no address yet".into());
    }
    if kind == "LoadBalancer" {
        return judge_balanced(case);
    }
    let is_empty = selector(service).next().is_some()
        && !case.sight.pods.is_empty()
        && !case.sight.pods.iter().any(|pod| selects(service, pod.pointer("/metadata/labels")));
    Health::Ready(if is_empty { "it has an address, but selects no pod" } else { "it has an address" })
}

fn judge_balanced(case: &Case<'_>) -> Health {
    let service = case.object;
    let given = items(service, "/status/loadBalancer/ingress").next().is_some()
        || items(service, "/spec/externalIPs").next().is_some();
    if given {
        return Health::Ready("it has an outer address");
    }
    let told = newest(about(case.sight.events, service).filter(|event| is_about_balancer(event.reason)));
    let failed = told.filter(|event| event.reason.ends_with("Failed"));
    if let Some(event) = failed {
        return Health::Starting(format!("{}: {}", event.reason, shorten(event.message)));
    }
    let marked = items(service, "/metadata/finalizers").any(|finalizer| {
        // kubernetes: cloud-provider/controllers/service; the others are their providers' own.
        finalizer
            .as_str()
            .is_some_and(|finalizer| finalizer.contains("load-balancer") || finalizer.contains("/elb"))
    });
    if marked || told.is_some() || !case.is_lasting(time(service, "/metadata/creationTimestamp")) {
        return Health::Starting("it waits for the address of its load balancer".into());
    }
    Health::Ready("it has an address inside the cluster; nobody gives it an outer one")
}

/// Reports of who gives outer addresses: cloud controllers, MetalLB, k3s.
fn is_about_balancer(reason: &str) -> bool {
    matches!(
        reason,
        "EnsuringLoadBalancer"
            | "EnsuredLoadBalancer"
            | "SyncLoadBalancerFailed"
            | "IPAllocated"
            | "AllocationFailed"
            | "AppliedDaemonSet"
            | "SuccessfullyReconciled"
    )
}

fn selector(service: &Value) -> impl Iterator<Item = (&str, &str)> {
    labels(service.pointer("/spec/selector"))
}

/// Whether a Service sends to pods with these labels (of a pod, or of a template). One without a selector sends to none:
/// its endpoints are written by somebody else.
pub fn selects(service: &Value, pod_labels: Option<&Value>) -> bool {
    let has = |name: &str, value: &str| labels(pod_labels).any(|label| label == (name, value));
    let mut wanted = selector(service).peekable();
    wanted.peek().is_some() && wanted.all(|(name, value)| has(name, value))
}
