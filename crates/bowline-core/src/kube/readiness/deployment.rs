//! Deployments and what they are made of.

use serde_json::Value;

use super::Case;
use super::creation::{Refusal, told_by_condition};
use super::crew::{Crew, kept};
use super::status::{
    condition, count, is_owned, is_true, is_unobserved, name, pods, shorten, text, time, wanted_replicas,
};
use crate::health::{Cause, Health};

const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

/// A Deployment is up when every wanted pod is of the new version and available, and no old one is left (kubernetes:
/// `DeploymentComplete` in pkg/controller/deployment/util). `maxUnavailable` allows pods to be missing on the way, not
/// at the end: with one replica, none would do.
pub(super) fn judge_deployment(case: &Case<'_>) -> Health {
    let deployment = case.object;
    if is_unobserved(deployment) {
        return Health::Starting("its controller has not seen the change yet".into());
    }
    let wanted = wanted_replicas(deployment);
    let Some(newest) = find_newest(case) else { return judge_bodiless(case, wanted) };
    let crew = Crew::look(case, kept(case, newest).into_iter());
    if let Some(cause) = crew.find_failure() {
        return Health::Failed(cause);
    }
    let (all, updated) =
        (count(deployment, "/status/replicas"), count(deployment, "/status/updatedReplicas"));
    let refusal = told_by_condition(case, newest, all > updated);
    if let Some(failed) = fail_refused(refusal.as_ref()).or_else(|| fail_overdue(case, newest, &crew)) {
        return failed;
    }
    let available = count(deployment, "/status/availableReplicas");
    let counted = match (updated, all, available) {
        (updated, ..) if updated < wanted => format!("{updated} of {} of the new version", pods(wanted)),
        (updated, all, _) if all > updated => {
            format!("{} of the old version still there", pods(all - updated))
        }
        (updated, ..) if updated > wanted => format!("{} too many", pods(updated - wanted)),
        (.., available) if available < wanted => format!("{available} of {} available", pods(wanted)),
        _ => return crew.conclude(wanted),
    };
    wait(case, &crew, refusal, counted)
}

/// A Deployment whose newest ReplicaSet is not seen: paused before it could make one, scaled to nothing, or one of the
/// two is older in this sight than the other.
fn judge_bodiless(case: &Case<'_>, wanted: u64) -> Health {
    if is_true(case.object, "/spec/paused") {
        return Health::Starting(
            "it is paused: its change is not rolled out until somebody resumes it".into(),
        );
    }
    // Its controller tries again (kubernetes: pkg/controller/deployment/sync.go). The Deployment's `ReplicaFailure` is
    // not asked: without a new ReplicaSet it is that of an old one.
    if let Some(created) =
        condition(case.object, "Progressing").filter(|c| c.reason() == "ReplicaSetCreateError")
    {
        return Health::Starting(created.words());
    }
    match (wanted, count(case.object, "/status/replicas")) {
        (0, 0) => Health::Ready("no pods wanted"),
        _ => Health::Starting("its new ReplicaSet is not seen yet".into()),
    }
}

/// The ReplicaSet of the present template: it carries the Deployment's own revision. Names and hashes say nothing, since
/// another Deployment of the same name may have left some behind; nor does age, since a rollback takes an old one.
pub(super) fn find_newest<'a>(case: &Case<'a>) -> Option<&'a Value> {
    let uid = text(case.object, "/metadata/uid");
    let revision = text(case.object, REVISION);
    if revision.is_empty() {
        return None;
    }
    let own = case.sight.replica_sets.iter().copied().filter(|set| is_owned(set, uid));
    let newest = own
        .filter(|set| text(set, REVISION) == revision)
        .min_by_key(|set| (time(set, "/metadata/creationTimestamp"), name(set)));
    // While a Deployment is paused, or scaled and changed at once, its controller observes the change without making a
    // ReplicaSet: the one that carries the revision has pods, and none of them counts as updated.
    newest.filter(|set| {
        count(set, "/status/replicas") == 0 || count(case.object, "/status/updatedReplicas") > 0
    })
}

fn fail_refused(refusal: Option<&Refusal>) -> Option<Health> {
    let refusal = refusal.filter(|refusal| refusal.is_final)?;
    Some(Health::Failed(Cause::new(refusal.words.clone())))
}

/// The controller's own verdict. It stays while a Deployment is scaled or set back, so it must be about this ReplicaSet
/// and not be older than the change (krane#765; kubernetes: pkg/controller/deployment/progress.go).
fn fail_overdue(case: &Case<'_>, newest: &Value, crew: &Crew) -> Option<Health> {
    let overdue = condition(case.object, "Progressing")
        .filter(|progressing| progressing.is_false() && progressing.reason() == "ProgressDeadlineExceeded")
        .filter(|progressing| !case.is_stale(progressing.written()))
        .filter(|progressing| progressing.message().contains(&format!("\"{}\"", name(newest))))?;
    let deadline = count(case.object, "/spec/progressDeadlineSeconds");
    let words = format!(
        "no progress within its progressDeadlineSeconds of {deadline}: {}",
        shorten(overdue.message())
    );
    Some(Health::Failed(crew.explain(words)))
}

fn wait(case: &Case<'_>, crew: &Crew, refusal: Option<Refusal>, counted: String) -> Health {
    let counted = match refusal {
        Some(refusal) => format!("{counted}; {}", refusal.words),
        None => counted,
    };
    match is_true(case.object, "/spec/paused") {
        true => crew.wait(&format!("{counted}; it is paused until somebody resumes it")),
        false => crew.wait(&counted),
    }
}

/// A ReplicaSet or ReplicationController of its own. It does not replace pods when its template changes: what runs is
/// what its selector finds.
pub(super) fn judge_replica_set(case: &Case<'_>) -> Health {
    let set = case.object;
    if is_unobserved(set) {
        return Health::Starting("its controller has not seen the change yet".into());
    }
    let wanted = wanted_replicas(set);
    let crew = Crew::look(case, kept(case, set).into_iter());
    if let Some(cause) = crew.find_failure() {
        return Health::Failed(cause);
    }
    let refusal = told_by_condition(case, set, false);
    if let Some(failed) = fail_refused(refusal.as_ref()) {
        return failed;
    }
    let (all, available) = (count(set, "/status/replicas"), count(set, "/status/availableReplicas"));
    let counted = match (all, available) {
        (all, _) if all > wanted => format!("{} too many", pods(all - wanted)),
        (_, available) if available < wanted => format!("{available} of {} available", pods(wanted)),
        _ => return crew.conclude(wanted),
    };
    wait(case, &crew, refusal, counted)
}
