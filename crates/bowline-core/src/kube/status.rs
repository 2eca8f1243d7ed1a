//! What runs in a cluster, in few words.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::naming::names;
use super::object::{Kind, ObjectId};
use super::readiness::{Budget, Progress, Sight, judge, progress};
use super::revision::{PlacedImage, Revision};
use super::workload::{containers, pod_spec};
use crate::health::Health;
use crate::status::{ServiceStatus, Status};

/// Folds one look into words. `workloads` are the newest revision's objects that run pods, each with the pods that belong
/// to it alone; `now` is the API server's time.
pub fn fold(
    target: &str,
    revisions: &BTreeMap<u64, Revision>,
    workloads: &[(ObjectId, Sight<'_>)],
    budget: &Budget,
    now: Timestamp,
) -> Status {
    let newest = revisions.last_key_value().map(|(_, revision)| revision);
    let names = names(workloads.iter().map(|(id, _)| id));
    let mut healthy = true;
    let mut services = Vec::new();
    for (id, sight) in workloads {
        let health = judge(&id.kind, sight, budget, now);
        let count = sight.object.and_then(|object| progress(&id.kind, object));
        let (state, well) = words(&id.kind, &health, count, sight);
        healthy &= well;
        let image = find_image(&id.kind, sight, revisions);
        services.push(ServiceStatus {
            name: names.get(id).cloned().unwrap_or_else(|| id.name.clone()),
            version: image.as_ref().and_then(|image| image.release.clone()),
            digest: image.and_then(|image| image.digest),
            state,
            since: started(&id.kind, sight),
            count,
        });
    }
    services.sort_by(|a, b| a.name.cmp(&b.name));
    Status {
        target: target.to_owned(),
        release: newest.and_then(|revision| revision.release.clone()),
        revision: newest.map(|revision| revision.number),
        healthy: healthy && !services.is_empty(),
        services,
        interrupted: None,
    }
}

/// The state in words, and whether the workload does its work.
fn words(kind: &Kind, health: &Health, count: Option<Progress>, sight: &Sight<'_>) -> (String, bool) {
    let off = count.is_some_and(|count| count.wanted == 0);
    let suspended =
        sight.object.and_then(|object| object.pointer("/spec/suspend")?.as_bool()).unwrap_or(false);
    match health {
        Health::Ready(_) if suspended => ("suspended".into(), true),
        Health::Ready(_) if kind.is("batch", "CronJob") => ("scheduled".into(), true),
        Health::Ready(_) if off => ("switched off".into(), true),
        Health::Ready("settled") => ("running".into(), true),
        Health::Ready("completed") => ("completed".into(), true),
        Health::Ready(_) => ("healthy".into(), true),
        Health::Absent => ("absent".into(), false),
        Health::Starting(why) => (format!("starting ({why})"), false),
        // It has died more often than a deploy would bear, and is back.
        Health::Failed(_) if !off && count.is_some_and(|count| count.ready >= count.wanted) => {
            ("healthy".into(), true)
        }
        Health::Failed(cause) => (format!("failed ({cause})"), false),
    }
}

struct Image {
    release: Option<String>,
    digest: Option<String>,
}

/// The image that a workload is about: the first of ours, else the first at all.
fn find_image(kind: &Kind, sight: &Sight<'_>, revisions: &BTreeMap<u64, Revision>) -> Option<Image> {
    let spec = pod_spec(kind, sight.object?)?;
    let images = || containers(spec).filter_map(|container| container.get("image")?.as_str());
    let placed = |image: &str| -> Option<(&Revision, &PlacedImage)> {
        revisions.values().rev().find_map(|revision| {
            let placed = revision.images.values().find(|placed| placed.reference == image)?;
            Some((revision, placed))
        })
    };
    if let Some((image, (revision, placed))) = images().find_map(|image| Some((image, placed(image)?))) {
        let known = placed.id.as_ref().map(|id| id.manifest.to_string());
        let release = revision.release.clone();
        return Some(Image { release, digest: known.or_else(|| digest_in(image)) });
    }
    let first = containers(spec).last().and_then(|container| container.get("image")?.as_str())?;
    let told =
        || sight.pods.iter().find_map(|pod| pod.pointer("/status/containerStatuses/0/imageID")?.as_str());
    Some(Image { release: None, digest: digest_in(first).or_else(|| digest_in(told()?)) })
}

/// The digest in `docker.io/library/nats@sha256:…`.
fn digest_in(reference: &str) -> Option<String> {
    let (_, digest) = reference.rsplit_once('@')?;
    digest.starts_with("sha256:").then(|| digest.to_owned())
}

/// When the newest process of a workload was started.
fn started(kind: &Kind, sight: &Sight<'_>) -> Option<String> {
    let own = sight.object.filter(|_| kind.is("", "Pod"));
    let pods = sight.pods.iter().copied().chain(own);
    let statuses = pods.filter_map(|pod| pod.pointer("/status/containerStatuses")?.as_array()).flatten();
    let start = |status: &Value| {
        let state = status.get("state")?;
        let at = |what: &str| state.get(what)?.get("startedAt")?.as_str().map(str::to_owned);
        at("running").or_else(|| at("terminated"))
    };
    // Times of one form: the last in order is the newest.
    statuses.filter_map(start).max()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::digest::Digest;
    use crate::event::RunId;

    const NOW: &str = "2026-11-22T10:10:00Z";

    fn deployment(replicas: u64, ready: u64) -> Value {
        json!({"metadata": {"name": "users", "namespace": "chat", "uid": "d", "generation": 1},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [
                {"name": "users", "image": "reg/chat:users_v1@sha256:a"}]}}},
            "status": {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas,
                "readyReplicas": ready, "availableReplicas": ready}})
    }

    fn revision(number: u64, image: &str) -> (u64, Revision) {
        let placed = PlacedImage { reference: image.into(), id: None };
        let revision = Revision {
            number,
            release: Some(format!("v{number}")),
            verb: "deploy".into(),
            at: NOW.parse().unwrap(),
            run: RunId::from("r".to_owned()),
            by: "t".into(),
            spec: Digest::of(b""),
            manifests: Digest::of(b""),
            images: BTreeMap::from([("users".into(), placed)]),
            inventory: Default::default(),
            milliseconds: 0,
        };
        (number, revision)
    }

    fn budget() -> Budget {
        Budget { settle: Duration::from_secs(2), restarts: 3, since: None }
    }

    #[test]
    fn a_workload_says_which_release_it_runs_and_since_when() {
        let (one, two) = (
            deployment(0, 0),
            json!({"status": {"containerStatuses": [
            {"state": {"running": {"startedAt": "2026-11-22T10:00:00Z"}}},
            {"state": {"terminated": {"startedAt": "2026-11-22T10:01:00Z"}}}]}}),
        );
        let id = ObjectId::namespaced("apps", "Deployment", "chat", "users");
        let pods = [&two];
        let seen = [(id, Sight { object: Some(&one), pods: &pods, ..Sight::default() })];
        let revisions =
            [revision(1, "reg/chat:users_v1@sha256:a"), revision(2, "reg/chat:users_v2@sha256:b")].into();
        let status = fold("cluster", &revisions, &seen, &budget(), NOW.parse().unwrap());
        assert_eq!((status.release.as_deref(), status.revision), (Some("v2"), Some(2)));
        let value = serde_json::to_value(&status.services[0]).unwrap();
        assert_eq!(
            value,
            json!({"name": "users", "version": "v1", "digest": "sha256:a", "state": "switched off",
                "since": "2026-11-22T10:01:00Z", "ready": 0, "wanted": 0})
        );
        assert!(status.healthy);
        let gone = [(seen[0].0.clone(), Sight::default())];
        let status = fold("cluster", &revisions, &gone, &budget(), NOW.parse().unwrap());
        assert_eq!((status.services[0].state.as_str(), status.healthy), ("absent", false));
        assert!(!fold("cluster", &revisions, &[], &budget(), NOW.parse().unwrap()).healthy);
    }

    #[test]
    fn states_are_the_words_that_hosts_have_too() {
        use Health::{Absent, Failed, Ready, Starting};
        let deployment = Kind::new("apps", "Deployment");
        let count = |ready, wanted| Some(Progress { ready, wanted });
        let failed = || Failed(crate::health::Cause::new("exited with code 3"));
        for (kind, health, count, expected, well) in [
            (deployment.clone(), Ready("all pods are ready"), count(2, 2), "healthy", true),
            (deployment.clone(), Ready("settled"), count(1, 1), "running", true),
            (deployment.clone(), Ready("no pods wanted"), count(0, 0), "switched off", true),
            (Kind::new("batch", "Job"), Ready("completed"), count(1, 1), "completed", true),
            (Kind::new("batch", "CronJob"), Ready("it waits for its time"), None, "scheduled", true),
            (deployment.clone(), Absent, None, "absent", false),
            (deployment.clone(), Starting("1 of 2".into()), count(1, 2), "starting (1 of 2)", false),
            (deployment.clone(), failed(), count(1, 2), "failed (exited with code 3)", false),
            (deployment, failed(), count(2, 2), "healthy", true),
        ] {
            let told = words(&kind, &health, count, &Sight::default());
            assert_eq!((told.0.as_str(), told.1), (expected, well));
        }
    }

    #[test]
    fn an_image_of_others_is_known_by_what_its_node_pulled() {
        let object = json!({"spec": {"template": {"spec": {"containers": [{"image": "nats:2"}]}}}});
        let pod = json!({"status": {"containerStatuses": [{"imageID": "docker.io/library/nats@sha256:c"}]}});
        let pods = [&pod];
        let sight = Sight { object: Some(&object), pods: &pods, ..Sight::default() };
        let image = find_image(&Kind::new("apps", "StatefulSet"), &sight, &BTreeMap::new()).unwrap();
        assert_eq!((image.release, image.digest.as_deref()), (None, Some("sha256:c")));
        assert_eq!(digest_in("nats:2"), None);
    }
}
