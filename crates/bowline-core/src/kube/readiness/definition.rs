//! What other objects need to exist: kinds, APIs, namespaces.

use super::Case;
use super::status::{condition, is_terminating, text};
use crate::health::{Cause, Health};

/// A definition is up when the API serves its kind (kubernetes: apiextensions-apiserver/pkg/controller/establish).
pub(super) fn judge_definition(case: &Case<'_>) -> Health {
    if let Some(names) = condition(case.object, "NamesAccepted").filter(|names| names.is_false()) {
        return Health::Failed(Cause::new(format!("its names are taken: {}", names.words())));
    }
    let is = |kind: &str| condition(case.object, kind).is_some_and(|condition| condition.is_true());
    if is("Terminating") {
        return Health::Starting("it is being deleted, with all objects of its kind".into());
    }
    match is("Established") && is("NamesAccepted") {
        true => Health::Ready("its kind is served"),
        false => Health::Starting("its kind is not served yet".into()),
    }
}

/// An aggregated API is up when its server answers (kubernetes: kube-aggregator/pkg/controllers/status).
pub(super) fn judge_api(case: &Case<'_>) -> Health {
    match condition(case.object, "Available") {
        Some(available) if available.is_true() => Health::Ready("it answers"),
        Some(available) => Health::Starting(available.words()),
        None => Health::Starting("nobody has asked it yet".into()),
    }
}

/// A namespace is up when it is not on its way out: nothing new can be made in one that is, and it never comes back.
pub(super) fn judge_namespace(case: &Case<'_>) -> Health {
    let namespace = case.object;
    if !is_terminating(namespace) && text(namespace, "/status/phase") != "Terminating" {
        return Health::Ready("active");
    }
    const WHY: [&str; 4] = [
        "NamespaceDeletionDiscoveryFailure",
        "NamespaceDeletionContentFailure",
        "NamespaceFinalizersRemaining",
        "NamespaceContentRemaining",
    ];
    let why = WHY.iter().find_map(|kind| condition(namespace, kind).filter(|condition| condition.is_true()));
    let why = why.map(|condition| format!(": {}", condition.words())).unwrap_or_default();
    Health::Failed(Cause::new(format!("it is being deleted, and nothing new can be made in it{why}")))
}
