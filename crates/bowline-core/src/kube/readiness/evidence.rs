//! All that is wrong with an object's pods: what to show, what logs to fetch, what to save before anything is put back.

use jiff::Timestamp;

use super::container::Life;
use super::crew::kept;
use super::pod::{Standing, look};
use super::probe::is_task;
use super::trouble::{Trouble, compare};
use super::{Budget, Case, Sight, deployment, job};
use crate::kube::object::Kind;
use crate::kube::workload::template_pointer;

/// What keeps an object's pods from being ready, the most telling first; of a Deployment, those of its new version.
/// Empty for kinds that run no pods.
///
/// A trouble with an exit code and a container asks for that container's log ([`Trouble::is_previous`] says which), and
/// tells more when asked again with it.
pub fn troubles(kind: &Kind, sight: &Sight<'_>, budget: &Budget, now: Timestamp) -> Vec<Trouble> {
    let Some(object) = sight.object.filter(|_| template_pointer(kind).is_some()) else { return Vec::new() };
    let case = Case { object, sight, budget, now };
    let look_at = |pod, life| match look(&case, pod, life) {
        Standing::Troubled(trouble) => Some(trouble),
        Standing::Proven | Standing::Settled | Standing::Completed => None,
    };
    let mut troubles: Vec<_> = match (kind.group.as_str(), kind.kind.as_str()) {
        ("batch", _) => job::find_troubles(&case),
        ("", "Pod") => {
            let life = if object.get("spec").is_some_and(is_task) { Life::Task } else { Life::Service };
            look_at(object, life).into_iter().collect()
        }
        ("apps", "Deployment") => {
            let pods = deployment::find_newest(&case).map(|set| kept(&case, set)).unwrap_or_default();
            pods.into_iter().filter_map(|pod| look_at(pod, Life::Service)).collect()
        }
        _ => kept(&case, object).into_iter().filter_map(|pod| look_at(pod, Life::Service)).collect(),
    };
    troubles.sort_by(compare);
    troubles
}
