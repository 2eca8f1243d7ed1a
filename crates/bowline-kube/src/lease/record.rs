//! The `Lease` object: read, changed, and written with the version it was read with.

use std::time::Duration;

use bowline_core::lease::{Holder, TTL};
use http::{Method, Request};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use kube::client::Body;
use serde_json::{Map, Value, json};

use crate::call::{Again, Call, segment};
use crate::cluster::{Cluster, ORDINARY};
use crate::document::Documents;
use crate::error::KubeError;

/// Who has the lease, or who gave it back or broke it: a [`Holder`] as JSON.
const HOLDER: &str = "bowline.dev/holder";
/// There in every other version of the lease: up to 1.24 the API server notes the time of a write only where the set of
/// fields changes with it, not where a value does (kubernetes#110058).
const BEAT: &str = "bowline.dev/beat";
/// The name under which the API server notes when we wrote.
const MANAGER: &str = "bowline-lease";

/// A lease as it is, or is to be.
#[derive(Debug, Clone)]
pub(super) struct Record(Value);

/// A lease and the API server's time, asked for together.
pub(super) struct Reading {
    pub(super) record: Option<Record>,
    /// None where the server does not tell.
    pub(super) time: Option<Timestamp>,
}

/// What came of writing.
pub(super) enum Written {
    /// It is as wanted now.
    Done(Record),
    /// Somebody else wrote, or deleted, it since it was read.
    Conflict,
}

impl Reading {
    pub(super) async fn of(documents: &Documents) -> Result<Self, KubeError> {
        // The time is asked for no later than the lease is answered, or only so much that it does not matter: a lease
        // looks younger for it, never older.
        let (time, record) =
            futures_util::future::join(server_time(documents.cluster()), read(documents)).await;
        Ok(Self { record: record?, time: time? })
    }
}

/// Reads the lease; none where there is none, or not even the namespace.
pub(super) async fn read(documents: &Documents) -> Result<Option<Record>, KubeError> {
    let what = format!("read the lock of {}", documents.project());
    let path = format!("{}/{}", path(documents), segment(&documents.name()));
    match documents.cluster().fetch(&Call::get(&what, path)).await {
        Ok(value) => Ok(Some(Record(value))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What time the API server has, to the second, rounded down: every answer says so, also one that is a refusal.
pub(super) async fn server_time(cluster: &Cluster) -> Result<Option<Timestamp>, KubeError> {
    let what = "ask the API server for the time";
    let request = Request::get("/version").body(Body::empty());
    let request =
        request.map_err(|error| KubeError::Unexpected { what: what.into(), message: error.to_string() })?;
    let answer = cluster.ask(what, ORDINARY, cluster.client().send(request)).await?;
    let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    Ok(date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok()))
}

impl Record {
    /// The lease for a new holder, on top of what is there.
    pub(super) fn taken(documents: &Documents, there: Option<&Self>, holder: &Holder) -> Self {
        let now = micros(Timestamp::now());
        let number = there.map_or(0, Self::number) + 1;
        let mut record = there.cloned().unwrap_or_else(|| {
            Self(json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": documents.name(), "namespace": documents.namespace(), "labels": documents.labels()},
            }))
        });
        record.sign(holder);
        record.set_spec(json!({
            "holderIdentity": holder.to_string(),
            "leaseDurationSeconds": TTL.as_secs(),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": number,
        }));
        record
    }

    /// The lease, renewed. The time in it is ours, for people to read.
    pub(super) fn renewed_now(&self) -> Self {
        let mut record = self.clone();
        record.annotate(|_| {});
        if let Some(spec) = record.0.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("renewTime".into(), micros(Timestamp::now()).into());
        }
        record
    }

    /// The lease, given back or broken by `by`. Its number stays.
    pub(super) fn released(&self, by: &Holder) -> Self {
        let mut record = self.clone();
        record.sign(by);
        if let Some(spec) = record.0.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("holderIdentity".into(), Value::Null);
            spec.insert("renewTime".into(), micros(Timestamp::now()).into());
        }
        record
    }

    /// Writes it, unless somebody else did since it was read. Where it is new and there is no namespace, makes that.
    pub(super) async fn write(&self, documents: &Documents) -> Result<Written, KubeError> {
        let mut sent = self.send(documents).await;
        if self.version().is_none() && sent.as_ref().is_err_and(KubeError::is_not_found) {
            make_namespace(documents).await?;
            sent = self.send(documents).await;
        }
        match sent {
            Ok(record) => Ok(Written::Done(record)),
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(Written::Conflict),
            // It may have been written, and the answer lost: then it says just what was to be written.
            Err(error) => match read(documents).await {
                Ok(Some(there)) if there.says_the_same(self) => Ok(Written::Done(there)),
                _ => Err(error),
            },
        }
    }

    async fn send(&self, documents: &Documents) -> Result<Self, KubeError> {
        let what = format!("write the lock of {}", documents.project());
        let (method, name) = match self.version() {
            Some(_) => (Method::PUT, format!("/{}", segment(self.name()))),
            None => (Method::POST, String::new()),
        };
        let call = Call {
            what: &what,
            method,
            path: format!("{}{name}?fieldManager={MANAGER}", path(documents)),
            body: Some(("application/json", self.0.to_string().into_bytes())),
            again: Again::Untouched,
        };
        documents.cluster().fetch(&call).await.map(Self)
    }

    /// Deletes it, unless somebody wrote it since it was read.
    pub(super) async fn remove(&self, documents: &Documents) -> Result<(), KubeError> {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"resourceVersion": self.version()},
        });
        let call = Call {
            what: &format!("remove the lock of {}", documents.project()),
            method: Method::DELETE,
            path: format!("{}/{}", path(documents), segment(self.name())),
            body: Some(("application/json", options.to_string().into_bytes())),
            again: Again::Untouched,
        };
        match documents.cluster().fetch(&call).await {
            Err(error) if !error.is_conflict() && !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.0.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The version that it was read with; none for one that is not there yet.
    pub(super) fn version(&self) -> Option<&str> {
        self.0.pointer("/metadata/resourceVersion").and_then(Value::as_str)
    }

    /// Which holder it is, counted from the first.
    pub(super) fn number(&self) -> u64 {
        self.spec("leaseTransitions").and_then(Value::as_u64).unwrap_or(0)
    }

    /// For how long it is given.
    pub(super) fn ttl(&self) -> Duration {
        self.spec("leaseDurationSeconds").and_then(Value::as_u64).map_or(TTL, Duration::from_secs)
    }

    /// Whoever has it, in words.
    pub(super) fn identity(&self) -> Option<&str> {
        self.spec("holderIdentity").and_then(Value::as_str).filter(|identity| !identity.is_empty())
    }

    pub(super) fn is_free(&self) -> bool {
        self.identity().is_none()
    }

    /// Who has it, or gave it back.
    pub(super) fn holder(&self) -> Result<Holder, String> {
        let text = self.annotation().ok_or("it does not say who wrote it")?;
        let holder: Holder = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match self.identity() {
            Some(identity) if identity != holder.to_string() => {
                Err(format!("it is held by `{}`, not by a bowline", crate::error::clean(identity)))
            }
            _ => Ok(holder),
        }
    }

    pub(super) fn is_held_by(&self, holder: &Holder) -> bool {
        !self.is_free() && self.holder().is_ok_and(|there| there == *holder)
    }

    /// When it was last written, by the API server's clock, to the second, rounded down. Where somebody removed what
    /// the server notes, by the holder's clock.
    pub(super) fn renewed(&self) -> Option<Timestamp> {
        let fields = self.0.pointer("/metadata/managedFields").and_then(Value::as_array);
        let ours = fields
            .into_iter()
            .flatten()
            .filter(|entry| entry.get("manager").and_then(Value::as_str) == Some(MANAGER));
        let noted = ours.filter_map(|entry| entry.get("time")?.as_str()?.parse().ok()).max();
        noted.or_else(|| self.spec("renewTime")?.as_str()?.parse().ok())
    }

    fn says_the_same(&self, other: &Self) -> bool {
        ["holderIdentity", "renewTime", "leaseTransitions"].iter().all(|field| {
            let text = |record: &Self| record.spec(field).filter(|value| !value.is_null()).cloned();
            text(self) == text(other)
        }) && self.annotation() == other.annotation()
    }

    fn annotation(&self) -> Option<&str> {
        self.0.get("metadata")?.get("annotations")?.get(HOLDER)?.as_str()
    }

    fn spec(&self, field: &str) -> Option<&Value> {
        self.0.get("spec")?.get(field)
    }

    fn sign(&mut self, holder: &Holder) {
        // Texts and numbers alone: making JSON of them does not fail.
        let text = serde_json::to_string(holder).unwrap_or_default();
        self.annotate(|annotations| drop(annotations.insert(HOLDER.into(), text.into())));
    }

    /// Changes the annotations, and which of them there are.
    fn annotate(&mut self, change: impl FnOnce(&mut Map<String, Value>)) {
        let Some(metadata) = self.0.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        let Some(annotations) = annotations.as_object_mut() else { return };
        if annotations.remove(BEAT).is_none() {
            annotations.insert(BEAT.into(), "".into());
        }
        change(annotations);
    }

    fn set_spec(&mut self, spec: Value) {
        if let Some(map) = self.0.as_object_mut() {
            map.insert("spec".into(), spec);
        }
    }
}

async fn make_namespace(documents: &Documents) -> Result<(), KubeError> {
    let name = documents.namespace();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let call = Call {
        what: &format!("create the namespace {name}, in which the lock is kept"),
        method: Method::POST,
        path: "/api/v1/namespaces?fieldManager=bowline-lease".into(),
        body: Some(("application/json", namespace.to_string().into_bytes())),
        again: Again::Always,
    };
    match documents.cluster().fetch(&call).await {
        Err(error) if !error.is_already_exists() => Err(error),
        _ => Ok(()),
    }
}

fn path(documents: &Documents) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", segment(documents.namespace()))
}

/// A time as the API's `MicroTime`.
fn micros(time: Timestamp) -> String {
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(run: &str) -> Holder {
        bowline_lease::this_process(run, "deploy")
    }

    fn record() -> Record {
        let mut record = Record(json!({
            "metadata": {"name": "l", "resourceVersion": "7", "managedFields": [
                {"manager": "kubectl-edit", "time": "2026-11-25T10:00:09Z"},
                {"manager": MANAGER, "time": "2026-11-25T10:00:05Z"},
                {"manager": MANAGER, "time": "2026-11-25T10:00:01Z"},
            ]},
            "spec": {"holderIdentity": holder("a").to_string(), "leaseTransitions": 4, "leaseDurationSeconds": 30,
                "renewTime": "2026-11-25T09:00:00.000000Z"},
        }));
        record.sign(&holder("a"));
        record
    }

    #[test]
    fn a_lease_tells_its_holder_and_age_by_the_servers_clock() {
        let mut record = record();
        assert!(record.is_held_by(&holder("a")) && !record.is_held_by(&holder("b")));
        assert_eq!(record.renewed(), "2026-11-25T10:00:05Z".parse().ok());
        record.0["metadata"]["managedFields"] = Value::Null;
        assert_eq!(record.renewed(), "2026-11-25T09:00:00Z".parse().ok());
        record.0["spec"]["holderIdentity"] = "kube-scheduler".into();
        assert!(record.holder().unwrap_err().contains("kube-scheduler"));
    }

    #[test]
    fn a_lease_given_back_keeps_its_number_and_its_version() {
        let free = record().released(&holder("b"));
        assert!(free.is_free() && !free.is_held_by(&holder("b")));
        assert_eq!((free.number(), free.version()), (4, Some("7")));
        assert_eq!(free.holder().unwrap().run, "b");
    }

    #[test]
    fn each_write_changes_which_fields_there_are() {
        let fields = |record: &Record| record.0["metadata"]["annotations"].as_object().unwrap().len();
        let mut record = record();
        for next in
            [Record::renewed_now, Record::renewed_now, |record: &Record| record.released(&holder("a"))]
        {
            let written = next(&record);
            assert_ne!(fields(&written), fields(&record));
            record = written;
        }
    }

    #[test]
    fn a_lost_answer_is_told_from_somebody_elses() {
        let wanted = record().renewed_now();
        let mut there = wanted.clone();
        there.0["metadata"]["resourceVersion"] = "8".into();
        assert!(there.says_the_same(&wanted));
        assert!(!record().says_the_same(&wanted), "it was not renewed");
        let free = record().released(&holder("a"));
        let mut there = free.clone();
        if let Some(spec) = there.0["spec"].as_object_mut() {
            spec.remove("holderIdentity");
        }
        assert!(there.says_the_same(&free), "the server leaves out what is null");
    }

    #[test]
    fn times_are_written_as_the_api_wants_them() {
        assert_eq!(micros("2026-11-25T10:00:05Z".parse().unwrap()), "2026-11-25T10:00:05.000000Z");
    }
}
