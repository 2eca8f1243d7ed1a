//! From what a cluster is to what it should be: which objects are written, in which order, and what is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::comparison::{Change, Loss};
use super::conflict::Conflict;
use super::object::{Kind, Manifest, ObjectId};
use super::order::{Barrier, Edge, Node, Ordering, Until, until};
use super::workload::template_pointer;
use crate::health::{Gate, Test};
use crate::plan::{Plan, PlanError, Precondition, Step, StepId};

/// What can be done in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// Bring an object to its manifest, by server-side apply.
    Apply {
        /// Which.
        id: ObjectId,
        /// What that means for it.
        #[serde(flatten)]
        assessment: Assessment,
    },
    /// Delete an object and make it anew, because it cannot become what its manifest says.
    Replace {
        /// Which.
        id: ObjectId,
        /// The fields that cannot change, in the server's words.
        fields: Vec<String>,
        /// What that costs.
        loss: Loss,
    },
    /// Do nothing, and wait until the object is ready.
    Await {
        /// Which.
        id: ObjectId,
    },
    /// Do nothing: many wait here for many.
    Gather,
    /// Delete an object that is no longer wanted.
    Delete {
        /// Which.
        id: ObjectId,
    },
}

impl Action {
    /// The object that it is about.
    pub fn id(&self) -> Option<&ObjectId> {
        match self {
            Self::Apply { id, .. } | Self::Replace { id, .. } | Self::Await { id } | Self::Delete { id } => {
                Some(id)
            }
            Self::Gather => None,
        }
    }

    /// Whether it writes something.
    pub fn writes(&self) -> bool {
        !matches!(self, Self::Await { .. } | Self::Gather)
    }
}

/// What applying a manifest means for its object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Assessment {
    /// It is as it should be.
    Unchanged,
    /// It is as it should be, and nobody has seen that it came up: a run that did not end wrote it, or a release that failed
    /// and had nothing to go back to.
    Unproven,
    /// It is not there.
    Create {
        /// Whether the server has checked it. It cannot where the namespace or the kind is made by the same release.
        checked: bool,
    },
    /// It changes in place.
    Change {
        /// The fields that change. None: Bowline becomes the owner of what is right already.
        changes: Vec<Change>,
        /// Fields that are taken from people's tools.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        taken: Vec<Conflict>,
        /// Fields that are left to others.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        yielded: Vec<Conflict>,
    },
    /// It cannot become what its manifest says without being made anew.
    Renew {
        /// The fields that cannot change, in the server's words.
        fields: Vec<String>,
        /// What that costs.
        loss: Loss,
    },
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a workload may take to become ready, restarts included.
    pub start: Duration,
    /// How often a pod may die and be restarted on the way.
    pub restarts: u32,
}

/// How long one write may take: admission webhooks have up to 30 s each.
const WRITE: Duration = Duration::from_secs(60);
/// How long deleting may take: pods have their grace period, and finalizers work.
const DELETE: Duration = Duration::from_secs(300);

/// Plans the way. `manifests` are what should be, `ordering` is theirs, `assessments` say what each means (an object without
/// one is unchanged), `gone` are the objects that are to be deleted, last.
///
/// # Errors
/// When steps wait for each other in a circle; the ordering has none.
pub fn plan(
    base: Option<u64>,
    manifests: &[Manifest],
    ordering: &Ordering,
    assessments: &BTreeMap<ObjectId, Assessment>,
    gone: &BTreeSet<ObjectId>,
    pace: &Pace,
) -> Result<Plan<Action>, PlanError> {
    let counts = |id: &ObjectId| match assessments.get(id) {
        None | Some(Assessment::Unchanged) => false,
        Some(Assessment::Unproven) => is_gated(&id.kind),
        Some(_) => true,
    };
    let written = |id: &ObjectId| assessments.get(id).is_some_and(|found| *found != Assessment::Unproven);
    let known: BTreeSet<&ObjectId> = manifests.iter().map(|manifest| &manifest.id).collect();
    let mut steps = Vec::new();
    for entry in ordering.among(|id| known.contains(id) && counts(id)).entries() {
        // What is there already is not waited for until it is applied.
        let there = |edge: &Edge| match &edge.to {
            Node::Object(id) => !written(id) && edge.until == Until::Applied,
            Node::Barrier(_) => false,
        };
        let after = entry.after.iter().filter(|edge| !there(edge));
        let after = after.map(|edge| step_of(&edge.to, edge.until)).collect();
        match &entry.node {
            Node::Barrier(barrier) => steps.push(gather(barrier, after)),
            Node::Object(id) => {
                if let Some(assessment) = assessments.get(id) {
                    steps.extend(change(id, assessment, after, pace));
                }
            }
        }
    }
    let before: BTreeSet<StepId> = steps.iter().map(|step| step.id.clone()).collect();
    steps.extend(gone.iter().map(|id| Step {
        id: StepId::new("delete", &name(id)),
        subject: id.to_string(),
        action: Action::Delete { id: id.clone() },
        after: before.clone(),
        expect: Precondition::Nothing,
        gate: None,
        timeout: DELETE,
    }));
    Plan::order(base, steps)
}

/// The steps that bring an object to its manifest: the write, and where readiness means something, the wait for it.
fn change(id: &ObjectId, assessment: &Assessment, after: BTreeSet<StepId>, pace: &Pace) -> Vec<Step<Action>> {
    let (action, timeout) = match assessment {
        Assessment::Unproven => return vec![wait(id, after, pace)],
        Assessment::Renew { fields, loss } => {
            (Action::Replace { id: id.clone(), fields: fields.clone(), loss: *loss }, DELETE)
        }
        other => (Action::Apply { id: id.clone(), assessment: other.clone() }, WRITE),
    };
    let write = Step {
        id: StepId::new("apply", &name(id)),
        subject: id.to_string(),
        action,
        after,
        expect: Precondition::Nothing,
        gate: None,
        timeout,
    };
    if !is_gated(&id.kind) {
        return vec![write];
    }
    let wait = wait(id, BTreeSet::from([write.id.clone()]), pace);
    vec![write, wait]
}

/// The step that waits until an object is ready.
fn wait(id: &ObjectId, after: BTreeSet<StepId>, pace: &Pace) -> Step<Action> {
    Step {
        id: StepId::new("await", &name(id)),
        subject: id.to_string(),
        action: Action::Await { id: id.clone() },
        after,
        expect: Precondition::Nothing,
        gate: Some(Gate { test: Test::Status, start: pace.start, restarts: pace.restarts, replicas: 1 }),
        timeout: WRITE,
    }
}

fn gather(barrier: &Barrier, after: BTreeSet<StepId>) -> Step<Action> {
    let node = Node::Barrier(barrier.clone());
    Step {
        id: step_of(&node, Until::Ready),
        subject: node.to_string(),
        action: Action::Gather,
        after,
        expect: Precondition::Nothing,
        gate: None,
        timeout: WRITE,
    }
}

/// The step that one waits for.
fn step_of(node: &Node, wait: Until) -> StepId {
    match node {
        Node::Barrier(_) => StepId::new("gather", &node.to_string()),
        Node::Object(id) if wait == Until::Ready && is_gated(&id.kind) => StepId::new("await", &name(id)),
        Node::Object(id) => StepId::new("apply", &name(id)),
    }
}

/// Whether being there is not yet being ready: what runs pods, and what the cluster has to set up first.
pub fn is_gated(kind: &Kind) -> bool {
    const BUILT_IN: [&str; 10] = [
        "",
        "apps",
        "batch",
        "autoscaling",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
        "node.k8s.io",
    ];
    let runs = template_pointer(kind).is_some() && !matches!(kind.kind.as_str(), "PodTemplate" | "CronJob");
    let set_up = matches!(
        (kind.group.as_str(), kind.kind.as_str()),
        ("", "Namespace" | "PersistentVolume" | "PersistentVolumeClaim")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
            | ("apiregistration.k8s.io", "APIService")
    );
    let custom = !BUILT_IN.contains(&kind.group.as_str()) && !kind.group.ends_with(".k8s.io");
    (runs || set_up || custom) && until(kind) == Until::Ready
}

/// The name of an object in a plan: unlike what people read, it has the group, so that no two are the same.
fn name(id: &ObjectId) -> String {
    match id.kind.group.as_str() {
        "" => id.to_string(),
        group => format!("{group}/{id}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::object::{Origin, identify};
    use super::super::order::edges;
    use super::*;

    fn manifest(value: serde_json::Value) -> Manifest {
        let origin = Origin { file: "k8s/a.yaml".into(), line: 1, column: 1 };
        Manifest { id: identify(&value).unwrap(), version: "v1".into(), value, origin }
    }

    fn release() -> Vec<Manifest> {
        [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "chat"}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "chat"}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "user", "namespace": "chat"},
                "spec": {"template": {"spec": {"containers": [{"name": "user", "envFrom": [{"configMapRef": {"name": "settings"}}]}]}}}}),
        ]
        .map(manifest)
        .into()
    }

    fn planned(assess: impl Fn(&ObjectId) -> Assessment, gone: &[ObjectId]) -> Vec<String> {
        let manifests = release();
        let ordering = edges(&manifests).unwrap();
        let assessments =
            manifests.iter().map(|manifest| (manifest.id.clone(), assess(&manifest.id))).collect();
        let pace = Pace { start: Duration::from_secs(60), restarts: 3 };
        let gone = gone.iter().cloned().collect();
        let plan = plan(Some(1), &manifests, &ordering, &assessments, &gone, &pace).unwrap();
        let line = |step: &Step<Action>| {
            let after: Vec<String> = step.after.iter().map(ToString::to_string).collect();
            format!("{} <- {}", step.id, after.join(", "))
        };
        plan.steps.iter().map(line).collect()
    }

    #[test]
    fn what_is_named_comes_first_and_what_runs_is_waited_for() {
        assert_eq!(
            planned(|_| Assessment::Create { checked: true }, &[]),
            [
                "apply:Namespace chat <- ",
                "await:Namespace chat <- apply:Namespace chat",
                "apply:ConfigMap chat/settings <- await:Namespace chat",
                "apply:apps/Deployment chat/user <- apply:ConfigMap chat/settings, await:Namespace chat",
                "await:apps/Deployment chat/user <- apply:apps/Deployment chat/user",
            ]
        );
    }

    #[test]
    fn what_nobody_has_seen_up_is_waited_for_and_not_written() {
        assert_eq!(
            planned(|_| Assessment::Unproven, &[]),
            ["await:Namespace chat <- ", "await:apps/Deployment chat/user <- await:Namespace chat",]
        );
        let changed = |id: &ObjectId| match id.kind.kind.as_str() {
            "Deployment" => Assessment::Change { changes: vec![], taken: vec![], yielded: vec![] },
            _ => Assessment::Unproven,
        };
        assert_eq!(
            planned(changed, &[]),
            [
                "await:Namespace chat <- ",
                "apply:apps/Deployment chat/user <- await:Namespace chat",
                "await:apps/Deployment chat/user <- apply:apps/Deployment chat/user",
            ]
        );
    }

    #[test]
    fn what_is_unchanged_costs_no_step_and_what_is_gone_goes_last() {
        assert_eq!(planned(|_| Assessment::Unchanged, &[]), [""; 0]);
        let old = ObjectId::namespaced("", "Service", "chat", "old");
        let changed = |id: &ObjectId| match id.kind.kind.as_str() {
            "ConfigMap" => Assessment::Change { changes: vec![], taken: vec![], yielded: vec![] },
            _ => Assessment::Unchanged,
        };
        assert_eq!(
            planned(changed, &[old]),
            ["apply:ConfigMap chat/settings <- ", "delete:Service chat/old <- apply:ConfigMap chat/settings"]
        );
    }
}
