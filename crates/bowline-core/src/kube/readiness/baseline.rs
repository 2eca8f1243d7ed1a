//! What was broken before a change is not the change's fault.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::pod::is_worn;
use super::status::{condition, has_passed, is_owned, is_terminating, text};
use super::{Budget, Case, Sight, judge};
use crate::health::{Cause, Health};
use crate::kube::object::Kind;

/// How long something must have been unready to be called broken rather than starting.
const STANDING: Duration = Duration::from_secs(60);

/// Whether an object was already broken when a change was about to be made, and how. `now` is the time of the look,
/// before anything is written. A workload that is not part of the change and that this names must not fail the release;
/// one that is part of it is to get better by it.
///
/// Broken is what has failed, whenever that was, and what has not been ready for a minute. What somebody else is just
/// rolling out is not broken.
pub fn broken_before(kind: &Kind, sight: &Sight<'_>, budget: &Budget, now: Timestamp) -> Option<Cause> {
    let budget = Budget { since: None, ..*budget };
    match judge(kind, sight, &budget, now) {
        Health::Failed(cause) => Some(cause),
        Health::Starting(why) => is_standing(sight, &budget, now).then(|| Cause::new(why)),
        Health::Absent | Health::Ready(_) => None,
    }
}

fn is_standing(sight: &Sight<'_>, budget: &Budget, now: Timestamp) -> bool {
    let Some(object) = sight.object else { return false };
    let case = Case { object, sight, budget, now };
    if ["Available", "Ready"].iter().any(|kind| is_long_false(object, kind, now)) {
        return true;
    }
    let uid = text(object, "/metadata/uid");
    let is_own = |pod: &Value| {
        let sets = sight.replica_sets.iter().filter(|set| is_owned(set, uid));
        is_owned(pod, uid) || sets.map(|set| text(set, "/metadata/uid")).any(|set| is_owned(pod, set))
    };
    sight
        .pods
        .iter()
        .filter(|pod| !is_terminating(pod) && is_own(pod))
        .any(|pod| is_long_false(pod, "Ready", now) || is_worn(&case, pod))
}

fn is_long_false(object: &Value, kind: &str, now: Timestamp) -> bool {
    let since = condition(object, kind).filter(|found| !found.is_true()).and_then(|found| found.since());
    since.is_some_and(|since| has_passed(since, STANDING, now))
}
