//! What works, but proves little or will hurt later.

use crate::finding::Findings;
use crate::kube::order::mention::{list, text};

use super::finding;
use super::situation::{Situation, Workload};

pub(super) fn check(situation: &Situation<'_>, findings: &mut Findings) {
    for workload in &situation.workloads {
        warn_of_probes(workload, findings);
        warn_of_autoscaler(workload, situation, findings);
    }
}

/// A pod without a readiness probe is ready as soon as it runs.
fn warn_of_probes(workload: &Workload<'_>, findings: &mut Findings) {
    if !matches!(workload.manifest.id.kind.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet") {
        return;
    }
    let bare: Vec<&str> = list(workload.spec, "/containers")
        .filter(|container| container.get("readinessProbe").is_none_or(|probe| probe.is_null()))
        .map(|container| text(container, "/name").unwrap_or("?"))
        .collect();
    // A name only where there are others: what is said of many workloads in the same words is said once.
    let has = match (bare.len(), list(workload.spec, "/containers").count()) {
        (0, _) => return,
        (1, 1) => "it has no readinessProbe".to_owned(),
        (bare, all) if bare == all => "none of its containers has a readinessProbe".to_owned(),
        _ => format!("{} has no readinessProbe", bare.join(", ")),
    };
    let told = finding(
        workload.manifest,
        format!("weak: {has}, so it counts as ready as soon as it runs"),
        "add a readinessProbe; until then staying up is all the proof there is",
    );
    findings.warnings.push(told.weak());
}

/// What a manifest says is set back at every deploy, whatever the load is.
fn warn_of_autoscaler(workload: &Workload<'_>, situation: &Situation<'_>, findings: &mut Findings) {
    let Some(replicas) = workload.manifest.value.pointer("/spec/replicas") else { return };
    if let Some((autoscaler, _)) = situation.autoscaler(&workload.manifest.id) {
        findings.warnings.push(finding(
            workload.manifest,
            format!(
                "it sets replicas to {replicas}, which {autoscaler} sets too: each deploy undoes the other"
            ),
            "leave `replicas` out of the manifest",
        ));
    }
}
