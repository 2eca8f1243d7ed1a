//! Whether pods can share their volumes, and find them again.

use serde_json::Value;

use crate::finding::Findings;
use crate::kube::order::mention::{list, text};
use crate::kube::workload::containers;

use super::finding;
use super::rollout::Strategy;
use super::situation::{Sight, Situation, Workload, claim_id, claims};

pub(super) fn check(situation: &Situation<'_>, findings: &mut Findings) {
    for workload in situation.workloads.iter().filter(|workload| !workload.is("apps", "DaemonSet")) {
        // With one node to run on, all pods meet there.
        let one_node = workload.eligible.len() == 1;
        let namespace = workload.manifest.id.namespace.as_deref();
        for claim in claims(workload.spec) {
            if let Sight::There(value) = situation.find(&claim_id(namespace, claim)) {
                let modes: Vec<&str> = list(value, "/spec/accessModes").filter_map(Value::as_str).collect();
                check_modes(workload, claim, &modes, one_node, findings);
            }
            if let Some((name, volume)) = situation.volume_of(namespace, claim)
                && !one_node
                && volume.pointer("/spec/nodeAffinity/required").is_none()
            {
                warn_of_local_volume(workload, name, volume, findings);
            }
        }
        if !one_node {
            warn_of_host_paths(workload, findings);
        }
    }
}

fn check_modes(
    workload: &Workload<'_>,
    claim: &str,
    modes: &[&str],
    one_node: bool,
    findings: &mut Findings,
) {
    let shared = modes.iter().any(|mode| matches!(*mode, "ReadWriteMany" | "ReadOnlyMany"));
    let single_pod = modes.contains(&"ReadWriteOncePod");
    if shared || modes.is_empty() || (one_node && !single_pod) {
        return;
    }
    let what = if single_pod { "one pod" } else { "the pods of one node" };
    let surges = matches!(workload.strategy, Strategy::Rolling { surge, .. } if surge > 0);
    if workload.replicas > 1 {
        let found = finding(
            workload.manifest,
            format!(
                "its {} pods share the claim `{claim}`, which {what} at a time can use",
                workload.replicas
            ),
            "run one replica, use a StatefulSet with volumeClaimTemplates, or a class that knows ReadWriteMany",
        );
        if single_pod { findings.refusals.push(found) } else { findings.warnings.push(found) }
    } else if surges && workload.replicas == 1 {
        let found = finding(
            workload.manifest,
            format!(
                "its rolling update starts a new pod before the old one has left the claim `{claim}`, which {what} at a \
                 time can use: on another node it waits (Multi-Attach) until somebody steps in"
            ),
            "set `strategy: {type: Recreate}`",
        );
        // A second pod is not even scheduled while the first one holds such a claim.
        let stuck = single_pod && workload.is_tight() && !workload.present.is_empty() && workload.changes;
        if stuck { findings.refusals.push(found) } else { findings.warnings.push(found) }
    }
}

fn warn_of_local_volume(workload: &Workload<'_>, name: &str, volume: &Value, findings: &mut Findings) {
    if ["/spec/hostPath", "/spec/local"].iter().any(|kind| volume.pointer(kind).is_some()) {
        findings.warnings.push(finding(
            workload.manifest,
            format!("PersistentVolume {name} is a folder of one node, and does not say of which"),
            "give the volume a nodeAffinity (kubernetes.io/hostname), or its pods lose their data when they move",
        ));
    }
}

/// Folders that are on every node anyway.
const EVERYWHERE: [&str; 7] =
    ["/dev", "/etc/localtime", "/etc/timezone", "/proc", "/run", "/sys", "/var/run"];

fn warn_of_host_paths(workload: &Workload<'_>, findings: &mut Findings) {
    let pinned = ["/nodeName", "/nodeSelector", "/affinity/nodeAffinity"]
        .iter()
        .any(|field| workload.spec.pointer(field).is_some());
    if pinned {
        return;
    }
    let written = |volume: &str| {
        containers(workload.spec).flat_map(|container| list(container, "/volumeMounts")).any(|mount| {
            text(mount, "/name") == Some(volume)
                && !mount.get("readOnly").and_then(Value::as_bool).unwrap_or(false)
        })
    };
    let folders: Vec<&str> = list(workload.spec, "/volumes")
        .filter(|volume| text(volume, "/name").is_some_and(written))
        .filter_map(|volume| text(volume, "/hostPath/path"))
        .filter(|path| {
            !EVERYWHERE.iter().any(|known| {
                path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        })
        .collect();
    if !folders.is_empty() {
        findings.warnings.push(finding(
            workload.manifest,
            format!(
                "it writes into {} of whatever node it comes to; on another node it finds nothing",
                folders.join(", ")
            ),
            "use a PersistentVolumeClaim, or keep it on one node with a nodeSelector",
        ));
    }
}
