//! Volumes, and the claims to them.

use std::cmp::Reverse;

use serde_json::Value;

use super::Case;
use super::event::{about, newest};
use super::status::{name, shorten, text, time};
use crate::health::{Cause, Health};

/// A claim is up when it is bound, or when only a pod that uses it is missing: a class with `WaitForFirstConsumer` binds
/// it where that pod is placed, and who waits for the claim before the pod waits for ever (krane:
/// lib/krane/kubernetes_resource/persistent_volume_claim.rb).
pub(super) fn judge_claim(case: &Case<'_>) -> Health {
    match text(case.object, "/status/phase") {
        "Bound" => return Health::Ready("bound"),
        "Lost" => {
            let volume = text(case.object, "/spec/volumeName");
            return Health::Failed(Cause::new(format!("its volume {volume} does not exist any more")));
        }
        _ => {}
    }
    let told = newest(about(case.sight.events, case.object));
    if is_bound_late(case) || told.is_some_and(|event| is_about_consumer(event.reason)) {
        return Health::Ready("waits for its first consumer");
    }
    match told {
        None => Health::Starting("it is not bound yet".into()),
        Some(event) => {
            let words = format!("{}: {}", event.reason, shorten(event.message));
            let is_unknown = event.reason == "ProvisioningFailed" && event.message.contains("storageclass");
            match is_unknown && case.is_lasting(time(case.object, "/metadata/creationTimestamp")) {
                true => Health::Failed(Cause::new(words)),
                false => Health::Starting(words),
            }
        }
    }
}

/// kubernetes: pkg/controller/volume/persistentvolume/pv_controller.go, `emitEventForUnboundDelayBindingClaim`.
fn is_about_consumer(reason: &str) -> bool {
    matches!(reason, "WaitForFirstConsumer" | "WaitForPodScheduled")
}

fn is_bound_late(case: &Case<'_>) -> bool {
    find_class(case).is_some_and(|class| text(class, "/volumeBindingMode") == "WaitForFirstConsumer")
}

/// The claim's class: the named one; without a name the default, the youngest where there are several (kubernetes 1.26,
/// pkg/volume/util/storageclass.go). An empty name means no class.
fn find_class<'a>(case: &Case<'a>) -> Option<&'a Value> {
    const DEFAULT: &str = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
    let classes = case.sight.classes.iter().copied();
    match case.object.pointer("/spec/storageClassName").and_then(Value::as_str) {
        Some(wanted) => classes.into_iter().find(|class| !wanted.is_empty() && name(class) == wanted),
        None => classes
            .into_iter()
            .filter(|class| text(class, DEFAULT) == "true")
            .min_by_key(|class| (Reverse(time(class, "/metadata/creationTimestamp")), name(class))),
    }
}

/// A volume is up when it can be, or is, bound.
pub(super) fn judge_volume(case: &Case<'_>) -> Health {
    match text(case.object, "/status/phase") {
        "Bound" => Health::Ready("bound"),
        "Available" => Health::Ready("available"),
        "Released" => Health::Ready("released: another claim may have it once its claimRef is cleared"),
        "Failed" => {
            let message = shorten(text(case.object, "/status/message"));
            Health::Failed(Cause::new(format!("its reclamation has failed: {message}")))
        }
        _ => Health::Starting("it is not available yet".into()),
    }
}
