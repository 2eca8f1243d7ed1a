//! Objects are applied, replaced and deleted.

use bowline_core::kube::answer::{Answer, classify};
use bowline_core::kube::conflict::{MANAGER, bequeath, inherit};
use bowline_core::kube::object::{Manifest, ObjectId};
use http::Method;
use serde_json::{Value, json};

use crate::call::{Again, Call};
use crate::cluster::Cluster;
use crate::discovery::Resource;
use crate::error::KubeError;

/// What an object has to be for something to be done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is, or nothing at all: for what is made new. Whoever makes it in between is noticed by its fields.
    Anything,
    /// The very object that was looked at, however it has changed since: its status always does.
    Object {
        /// Its uid.
        uid: String,
    },
    /// The very object, exactly as it was looked at.
    Exactly {
        /// Its uid.
        uid: String,
        /// Its version then.
        resource_version: String,
    },
}

impl Expected {
    /// The object that was looked at, however it changes.
    pub fn object(live: &Value) -> Self {
        let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str);
        text("/metadata/uid").map_or(Self::Anything, |uid| Self::Object { uid: uid.to_owned() })
    }

    /// The object exactly as it was looked at.
    pub fn exactly(live: &Value) -> Self {
        let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str);
        match (text("/metadata/uid"), text("/metadata/resourceVersion")) {
            (Some(uid), Some(version)) => {
                Self::Exactly { uid: uid.to_owned(), resource_version: version.to_owned() }
            }
            _ => Self::object(live),
        }
    }

    fn fields(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Anything => Vec::new(),
            Self::Object { uid } => vec![("uid", uid)],
            Self::Exactly { uid, resource_version } => {
                vec![("uid", uid), ("resourceVersion", resource_version)]
            }
        }
    }
}

/// What becomes of the objects that belong to one that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependents {
    /// They stay, and belong to nobody: pods of a StatefulSet that is made anew.
    Orphan,
    /// They go first, and then the object: it is there until they are gone.
    First,
    /// The object goes at once, and they after it.
    After,
}

impl Dependents {
    fn policy(self) -> &'static str {
        match self {
            Self::Orphan => "Orphan",
            Self::First => "Foreground",
            Self::After => "Background",
        }
    }
}

/// What became of a deletion.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// It is gone.
    Gone,
    /// It is being deleted: something has to be done first, by its dependents or its finalizers.
    Going,
    /// It was not there.
    Absent,
    /// It is no longer the object that was looked at: look again.
    Stale {
        /// In the server's words.
        message: String,
    },
}

/// What became of fields that were to pass to another owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// They are the other's.
    Done,
    /// There are none.
    Nothing,
    /// The object has changed since it was looked at, or is gone: look again.
    Stale,
}

/// An answer with what the server warns of.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// What the server says.
    pub answer: Answer,
    /// What it warns of, in its words: unknown fields, versions that will go.
    pub warnings: Vec<String>,
}

impl Cluster {
    /// Asks what would become of an object if it were applied; nothing changes. With `force`, fields are taken from
    /// whoever holds them.
    pub async fn dry_run(
        &self,
        resource: &Resource,
        manifest: &Manifest,
        force: bool,
    ) -> Result<Applied, KubeError> {
        let what = format!("try out {}", manifest.id);
        // A dry run is never kept: it can always be asked again.
        self.patch(resource, manifest, &Expected::Anything, force, true, &what).await
    }

    /// Applies an object, in Bowline's name.
    ///
    /// With `force`, fields are taken from whoever holds them. That must have been decided for the object as it was
    /// looked at, so that it asks for [`Expected::Exactly`]; without it, the server itself guards what others hold.
    pub async fn apply(
        &self,
        resource: &Resource,
        manifest: &Manifest,
        expected: &Expected,
        force: bool,
    ) -> Result<Applied, KubeError> {
        let what = format!("apply {}", manifest.id);
        self.patch(resource, manifest, expected, force, false, &what).await
    }

    async fn patch(
        &self,
        resource: &Resource,
        manifest: &Manifest,
        expected: &Expected,
        force: bool,
        dry: bool,
        what: &str,
    ) -> Result<Applied, KubeError> {
        let id = &manifest.id;
        let mut path = resource.object_path(id.namespace.as_deref(), &id.name);
        // Unknown fields are told and not refused: kubectl and Helm took these manifests so far. (Those of kinds that
        // are built in are refused by server-side apply itself.)
        path += &format!("?fieldManager={MANAGER}&fieldValidation=Warn&force={force}");
        path += if dry { "&dryRun=All" } else { "" };
        let body = body(manifest, expected);
        // Applying the same twice is like applying it once, but the second time the object is no longer as expected.
        let again =
            if matches!(expected, Expected::Exactly { .. }) { Again::Untouched } else { Again::Always };
        let call = Call {
            what,
            method: Method::PATCH,
            path,
            body: Some(("application/apply-patch+yaml", body.to_string().into_bytes())),
            again,
        };
        let reply = self.call(&call).await?;
        match classify(reply.status.as_u16(), &reply.body) {
            Some(answer) => Ok(Applied { answer, warnings: reply.warnings }),
            None => Err(reply.error(what, self.server())),
        }
    }

    /// Makes Bowline the owner of what people's tools wrote in an object, so that what is taken out of its manifest
    /// goes from the cluster as well. Changes no field.
    pub async fn take_over(
        &self,
        resource: &Resource,
        id: &ObjectId,
        live: &Value,
    ) -> Result<Handover, KubeError> {
        let Some(fields) = inherit(live) else { return Ok(Handover::Nothing) };
        self.set_owners(resource, id, live, fields, &format!("take over {id}")).await
    }

    /// Makes kubectl the owner of what Bowline applied in an object, so that `kubectl apply --server-side` finds it as its
    /// own. Changes no field.
    pub async fn hand_over(
        &self,
        resource: &Resource,
        id: &ObjectId,
        live: &Value,
    ) -> Result<Handover, KubeError> {
        let Some(fields) = bequeath(live) else { return Ok(Handover::Nothing) };
        self.set_owners(resource, id, live, fields, &format!("hand over {id}")).await
    }

    async fn set_owners(
        &self,
        resource: &Resource,
        id: &ObjectId,
        live: &Value,
        fields: Vec<Value>,
        what: &str,
    ) -> Result<Handover, KubeError> {
        let version = live.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        let body = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "replace", "path": "/metadata/managedFields", "value": fields},
        ]);
        let call = Call {
            what,
            method: Method::PATCH,
            path: format!(
                "{}?fieldManager={MANAGER}",
                resource.object_path(id.namespace.as_deref(), &id.name)
            ),
            body: Some(("application/json-patch+json", body.to_string().into_bytes())),
            again: Again::Untouched,
        };
        let reply = self.call(&call).await?;
        match reply.status.as_u16() {
            // What a `test` does not find equal is an invalid patch.
            404 | 409 | 422 => Ok(Handover::Stale),
            _ => reply.success(what, self.server()).map(|_| Handover::Done),
        }
    }

    /// Deletes an object.
    pub async fn delete(
        &self,
        resource: &Resource,
        id: &ObjectId,
        expected: &Expected,
        dependents: Dependents,
    ) -> Result<Deleted, KubeError> {
        let what = format!("delete {id}");
        let mut body =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": dependents.policy()});
        let preconditions =
            expected.fields().into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
        if let (Some(body), false) = (body.as_object_mut(), expected == &Expected::Anything) {
            body.insert("preconditions".into(), preconditions.collect::<serde_json::Map<_, _>>().into());
        }
        let call = Call {
            what: &what,
            method: Method::DELETE,
            path: resource.object_path(id.namespace.as_deref(), &id.name),
            body: Some(("application/json", body.to_string().into_bytes())),
            // An object has its uid once: deleting it again finds nothing.
            again: if expected == &Expected::Anything { Again::Untouched } else { Again::Always },
        };
        let reply = self.call(&call).await?;
        match reply.status.as_u16() {
            404 => Ok(Deleted::Absent),
            409 => Ok(Deleted::Stale { message: reply.error(&what, self.server()).to_string() }),
            _ => {
                let object = reply.success(&what, self.server())?;
                // The object itself is answered where it is still there; a `Status` where it is not.
                let going = object.pointer("/metadata/deletionTimestamp").is_some();
                Ok(if going { Deleted::Going } else { Deleted::Gone })
            }
        }
    }

    /// Deletes an object that is to be made anew, exactly as it was looked at, and waits until its name is free: at
    /// most `within`. [`Deleted::Going`] says that it was not by then.
    pub async fn replace_by_delete(
        &self,
        resource: &Resource,
        id: &ObjectId,
        live: &Value,
        dependents: Dependents,
        within: std::time::Duration,
    ) -> Result<Deleted, KubeError> {
        let deleted = self.delete(resource, id, &Expected::exactly(live), dependents).await?;
        if deleted != Deleted::Going {
            return Ok(deleted);
        }
        let end = tokio::time::Instant::now() + within;
        let mut pause = std::time::Duration::from_millis(50);
        let uid = |object: &Value| object.pointer("/metadata/uid").cloned();
        loop {
            match self.get(resource, id).await? {
                None => return Ok(Deleted::Gone),
                Some(object) if uid(&object) != uid(live) => return Ok(Deleted::Gone),
                Some(_) if tokio::time::Instant::now() >= end => return Ok(Deleted::Going),
                Some(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(std::time::Duration::from_secs(1));
        }
    }
}

/// The manifest as it is sent: with what the object is expected to be, and without what only the cluster may say.
fn body(manifest: &Manifest, expected: &Expected) -> Value {
    const OWN: [&str; 7] = [
        "managedFields",
        "resourceVersion",
        "uid",
        "creationTimestamp",
        "generation",
        "selfLink",
        "deletionTimestamp",
    ];
    let mut body = manifest.value.clone();
    let Some(map) = body.as_object_mut() else { return body };
    // A manifest that was once copied from a cluster has a status, which is nobody's to apply.
    map.shift_remove("status");
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        for name in OWN {
            metadata.shift_remove(name);
        }
        metadata.insert("name".into(), json!(manifest.id.name));
        if let Some(namespace) = &manifest.id.namespace {
            metadata.insert("namespace".into(), json!(namespace));
        }
        for (name, value) in expected.fields() {
            metadata.insert(name.into(), json!(value));
        }
    }
    body
}
