//! Whether images are there, and run on the nodes.

use std::collections::BTreeSet;

use crate::finding::Findings;
use crate::image::Platform;
use crate::kube::order::mention::text;
use crate::kube::workload::containers;
use crate::reference::Reference;

use super::situation::{Situation, Workload};
use super::{ImageFact, finding};

pub(super) fn check(situation: &Situation<'_>, findings: &mut Findings) {
    for workload in &situation.workloads {
        let images: BTreeSet<&str> =
            containers(workload.spec).filter_map(|container| text(container, "/image")).collect();
        for image in &images {
            match situation.cluster.images.get(*image) {
                Some(ImageFact::Missing) => findings.refusals.push(finding(
                    workload.manifest,
                    format!("its image {image} is not in the registry"),
                    "release again, or correct the name",
                )),
                Some(ImageFact::Platforms(platforms)) => {
                    check_platforms(workload, image, platforms, situation, findings);
                }
                None => {}
            }
        }
        warn_of_moving_tags(workload, &images, situation, findings);
    }
}

/// The scheduler does not know what an image runs on: it must fit every node that its pods may come to.
fn check_platforms(
    workload: &Workload<'_>,
    image: &str,
    platforms: &BTreeSet<Platform>,
    situation: &Situation<'_>,
    findings: &mut Findings,
) {
    let nodes = workload.eligible.iter().filter_map(|place| situation.nodes.get(*place));
    let (mut fit, mut unfit) = (0, Vec::new());
    for node in nodes {
        let Some(machine) = &node.platform else { continue };
        if platforms.iter().any(|platform| platform.runs_on(machine)) {
            fit += 1;
        } else {
            unfit.push((node.name, machine));
        }
    }
    let Some((_, machine)) = unfit.first() else { return };
    let made: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    let made = made.join(", ");
    if fit == 0 {
        findings.refusals.push(finding(
            workload.manifest,
            format!("its image {image} is for {made}, the nodes that may run it are {machine}"),
            format!("build it for {machine}"),
        ));
        return;
    }
    let names: Vec<&str> = unfit.iter().map(|(name, _)| *name).collect();
    let architecture = platforms.iter().next().map_or("amd64", |platform| platform.architecture.as_str());
    findings.warnings.push(finding(
        workload.manifest,
        format!("its image {image} is for {made}; on {} ({machine}) it does not run", names.join(", ")),
        format!(
            "keep it from these nodes (nodeSelector kubernetes.io/arch: {architecture}), or build it for both"
        ),
    ));
}

/// Nodes pull a moving tag at different times.
fn warn_of_moving_tags(
    workload: &Workload<'_>,
    images: &BTreeSet<&str>,
    situation: &Situation<'_>,
    findings: &mut Findings,
) {
    let moving = |image: &&&str| {
        image
            .parse::<Reference>()
            .is_ok_and(|image| image.digest.is_none() && image.effective_tag() == Some("latest"))
    };
    let moving: Vec<&str> = images.iter().filter(moving).copied().collect();
    if !moving.is_empty() && situation.nodes.len() > 1 {
        findings.warnings.push(finding(
            workload.manifest,
            format!("{} may be another image on each node, as its tag moves", moving.join(", ")),
            "name a version or a digest",
        ));
    }
}
