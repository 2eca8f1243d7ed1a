//! Custom resources, by the conventions that most of their controllers keep (kstatus: fluxcd/cli-utils pkg/kstatus).

use serde_json::Value;

use super::Case;
use super::status::{condition, count};
use crate::health::{Cause, Health};

/// Whether a group is part of Kubernetes itself. Its kinds with a state have rules of their own; the others (ConfigMap,
/// Ingress, HorizontalPodAutoscaler, Role …) are up when they exist.
pub(super) fn is_built_in(group: &str) -> bool {
    !group.contains('.')
        || matches!(
            group,
            "admissionregistration.k8s.io"
                | "apiextensions.k8s.io"
                | "apiregistration.k8s.io"
                | "authentication.k8s.io"
                | "authorization.k8s.io"
                | "certificates.k8s.io"
                | "coordination.k8s.io"
                | "discovery.k8s.io"
                | "events.k8s.io"
                | "flowcontrol.apiserver.k8s.io"
                | "internal.apiserver.k8s.io"
                | "networking.k8s.io"
                | "node.k8s.io"
                | "rbac.authorization.k8s.io"
                | "resource.k8s.io"
                | "scheduling.k8s.io"
                | "storage.k8s.io"
                | "storagemigration.k8s.io"
        )
}

/// A custom resource is up when its controller says `Ready`, or says nothing of the kind.
pub(super) fn judge(case: &Case<'_>) -> Health {
    let object = case.object;
    let observed = object.pointer("/status/observedGeneration").and_then(Value::as_u64);
    if observed.is_some_and(|observed| observed != count(object, "/metadata/generation")) {
        return Health::Starting("its controller has not seen the change yet".into());
    }
    let is =
        |kind: &str| condition(object, kind).filter(|found| found.is_true() && !found.is_outdated(object));
    if let Some(stalled) = is("Stalled") {
        return Health::Failed(Cause::new(format!("its controller has given up: {}", stalled.words())));
    }
    if let Some(reconciling) = is("Reconciling") {
        return Health::Starting(reconciling.words());
    }
    match condition(object, "Ready") {
        Some(ready) if ready.is_outdated(object) => {
            Health::Starting("its controller has not seen the change yet".into())
        }
        Some(ready) if ready.is_true() => Health::Ready("its controller calls it ready"),
        Some(ready) => Health::Starting(ready.words()),
        None => Health::Ready("it exists"),
    }
}
