//! Single steps of a plan, carried out in the cluster.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bowline_core::health::Cause;
use bowline_core::kube::answer::Answer;
use bowline_core::kube::comparison::{Loss, Remembered, difference, remember};
use bowline_core::kube::conflict::{Conflict, yield_fields};
use bowline_core::kube::object::{Manifest, ObjectId};
use bowline_core::kube::planning::{Action, Assessment};
use bowline_core::plan::Step;
use bowline_kube::lease::Authority;
use bowline_kube::{
    Catalog, Cluster, Deleted, Dependents, Expected, GroupVersion, Handover, KubeError, Resource,
};
use serde_json::Value;

use crate::operation::apply::chain;

/// How often a write is tried that finds the object changed since it was looked at: a status changes all the time.
const TRIES: u32 = 8;
/// How long an object that is to be made anew may take to go.
const GOING: Duration = Duration::from_secs(240);

/// Carries out steps, and remembers what the objects were left as.
pub(super) struct Applier {
    pub(super) cluster: Cluster,
    pub(super) catalog: Catalog,
    pub(super) authority: Authority,
    pub(super) manifests: BTreeMap<ObjectId, Manifest>,
    /// The objects as they were when the plan was made.
    pub(super) live: BTreeMap<ObjectId, Value>,
    /// The objects that were written, as the next run is to know them.
    pub(super) written: Mutex<BTreeMap<ObjectId, Remembered>>,
}

impl Applier {
    /// Carries out one step. Gives the object as it was left, where it is there: what is watched may be older.
    pub(super) async fn apply(&self, step: &Step<Action>) -> Result<Option<Value>, Cause> {
        match &step.action {
            Action::Await { .. } | Action::Gather => Ok(None),
            Action::Apply { id, assessment } => {
                let (taken, yielded) = match assessment {
                    Assessment::Change { taken, yielded, .. } => (taken.as_slice(), yielded.as_slice()),
                    _ => (&[][..], &[][..]),
                };
                self.write(id, self.live.get(id), taken, yielded).await
            }
            Action::Replace { id, loss, .. } => {
                let resource = self.resource(id).await?;
                if let Some(live) = self.live.get(id) {
                    let dependents =
                        if *loss == Loss::Orphans { Dependents::Orphan } else { Dependents::First };
                    self.check()?;
                    let gone = self.cluster.replace_by_delete(&resource, id, live, dependents, GOING).await;
                    self.gone(id, gone)?;
                }
                self.write(id, None, &[], &[]).await
            }
            Action::Delete { id } => {
                let Some(live) = self.live.get(id) else { return Ok(None) };
                let resource = self.resource(id).await?;
                self.check()?;
                let gone =
                    self.cluster.delete(&resource, id, &Expected::object(live), Dependents::After).await;
                match gone {
                    Ok(Deleted::Going) => Ok(None),
                    other => self.gone(id, other).map(|()| None),
                }
            }
        }
    }

    /// How a kind is asked for. One that this release itself defines is known only once it is there.
    pub(super) async fn resource(&self, id: &ObjectId) -> Result<Resource, Cause> {
        let version = match self.manifests.get(id) {
            Some(manifest) => GroupVersion::new(&id.kind.group, &manifest.version),
            None => match self.catalog.any(&id.kind) {
                Some(resource) => return Ok(resource.clone()),
                None => return Err(Cause::new(format!("the cluster does not know the kind of {id}"))),
            },
        };
        if let Some(resource) = self.catalog.resource(&version, &id.kind.kind) {
            return Ok(resource.clone());
        }
        let asked = self.cluster.discover(&[version.clone()].into()).await.map_err(|error| cause(&error))?;
        let found = asked.resource(&version, &id.kind.kind).cloned();
        found.ok_or_else(|| Cause::new(asked.explain(&version, &id.kind.kind)))
    }

    fn check(&self) -> Result<(), Cause> {
        self.authority.check().map_err(|lost| Cause::new(lost.to_string()))
    }

    async fn write(
        &self,
        id: &ObjectId,
        live: Option<&Value>,
        taken: &[Conflict],
        yielded: &[Conflict],
    ) -> Result<Option<Value>, Cause> {
        let Some(manifest) = self.manifests.get(id) else {
            return Err(Cause::new(format!("there is no manifest of {id}")));
        };
        let resource = self.resource(id).await?;
        let sent = yield_fields(manifest, yielded).map_err(|error| Cause::new(error.to_string()))?;
        // Fields are taken by force, and only from the object as it was when that was decided.
        let force = !taken.is_empty() || !yielded.is_empty();
        let mut live = live.cloned();
        for _ in 0..TRIES {
            let expected = match &live {
                None => Expected::Anything,
                Some(live) if force => Expected::exactly(live),
                Some(live) => Expected::object(live),
            };
            self.check()?;
            let applied = self.cluster.apply(&resource, &sent, &expected, force).await;
            match applied.map_err(|error| cause(&error))?.answer {
                Answer::Applied(now) => {
                    let now = self.take_over(&resource, id, now).await;
                    let fields: Vec<String> = yielded.iter().map(|conflict| conflict.field.clone()).collect();
                    let remembered = remember(&manifest.value, &now, &fields);
                    let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                    written.insert(id.clone(), remembered);
                    return Ok(Some(now));
                }
                Answer::Stale { message } => {
                    let now = self.cluster.get(&resource, id).await.map_err(|error| cause(&error))?;
                    let same = match (&live, &now) {
                        (Some(then), Some(now)) => difference(then, now).is_empty(),
                        _ => false,
                    };
                    if !same {
                        return Err(Cause::new(format!(
                            "somebody changed it since the plan was made: {message}"
                        )));
                    }
                    live = now;
                }
                other => return Err(Cause::new(explain(&other))),
            }
        }
        Err(Cause::new("it changes faster than it can be written"))
    }

    /// What kubectl once wrote becomes Bowline's, so that what leaves the manifest leaves the cluster too. Where that
    /// does not work nothing is lost.
    async fn take_over(&self, resource: &Resource, id: &ObjectId, written: Value) -> Value {
        let mut now = written;
        for _ in 0..TRIES {
            let Ok(handover) = self.cluster.take_over(resource, id, &now).await else { return now };
            if handover == Handover::Nothing {
                return now;
            }
            let Ok(Some(there)) = self.cluster.get(resource, id).await else { return now };
            if handover == Handover::Done {
                return there;
            }
            // What somebody else writes in the meantime is theirs, and no part of what was applied.
            if !difference(&now, &there).is_empty() {
                return now;
            }
            now = there;
        }
        now
    }

    /// Deletes a pod that its StatefulSet waits for and that will never be ready: without that, putting an earlier
    /// template back has no effect (Kubernetes calls it a forced rollback).
    pub(super) async fn free(&self, namespace: &str, pod: &str) -> Result<(), Cause> {
        let id = ObjectId::namespaced("", "Pod", namespace, pod);
        let resource = self.resource(&id).await?;
        self.check()?;
        let deleted = self.cluster.delete(&resource, &id, &Expected::Anything, Dependents::After).await;
        deleted.map(drop).map_err(|error| cause(&error))
    }

    fn gone(&self, id: &ObjectId, deleted: Result<Deleted, KubeError>) -> Result<(), Cause> {
        match deleted.map_err(|error| cause(&error))? {
            Deleted::Gone | Deleted::Absent => Ok(()),
            Deleted::Going => Err(Cause::new(format!(
                "{id} does not go: something holds it, see its finalizers (kubectl get {} -o yaml)",
                id.name
            ))),
            Deleted::Stale { message } => {
                Err(Cause::new(format!("somebody changed it since the plan was made: {message}")))
            }
        }
    }
}

fn cause(error: &KubeError) -> Cause {
    Cause::new(chain(error))
}

/// An answer that is no success, in words.
fn explain(answer: &Answer) -> String {
    match answer {
        Answer::Conflict(conflicts) => {
            let told: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
            format!("somebody took fields of it since the plan was made: {}", told.join(", "))
        }
        Answer::Immutable { message, .. }
        | Answer::Invalid { message, .. }
        | Answer::Denied { message, .. }
        | Answer::Stale { message } => message.clone(),
        Answer::Missing(missing) => format!("what it needs is not there: {missing:?}"),
        Answer::Applied(_) => "it was applied".into(),
    }
}
