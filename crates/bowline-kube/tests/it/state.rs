use std::collections::BTreeSet;

use bowline_core::digest::Digest;
use bowline_core::event::RunId;
use bowline_core::health::Cause;
use bowline_core::journal::{Intent, Setback};
use bowline_core::kube::comparison::Remembered;
use bowline_core::kube::object::{Manifest, ObjectId, Origin};
use bowline_core::kube::revision::{Entry, KeptManifest, Manifests, Revision};
use bowline_core::release::{Spec, SpecFile};
use bowline_core::rollout::Evidence;
use bowline_kube::document::{Creation, Documents, Kind};
use bowline_kube::lease::Lease;
use bowline_kube::state::StateError;
use serde_json::json;

use crate::stage::{self, Stage};

fn run() -> RunId {
    RunId::from("20261122T101500-3f9c2ab417".to_owned())
}

fn spec(text: &str) -> Spec {
    let file = SpecFile { executable: false, content: text.into() };
    Spec { files: [("k8s/user.yaml".to_owned(), file)].into() }
}

fn manifests(text: &str) -> Manifests {
    let id = ObjectId::namespaced("", "ConfigMap", "chat", "user");
    let origin = Origin { file: "k8s/user.yaml".into(), line: 1, column: 1 };
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": text}});
    let manifest = Manifest { id, version: "v1".into(), value, origin };
    Manifests { manifests: vec![KeptManifest::new(manifest, BTreeSet::new())] }
}

fn revision(number: u64, spec: &Spec, manifests: &Manifests) -> Revision {
    Revision {
        number,
        release: None,
        verb: "deploy".into(),
        at: jiff::Timestamp::UNIX_EPOCH,
        run: run(),
        by: "me@here".into(),
        spec: spec.digest(),
        manifests: manifests.digest(),
        images: Default::default(),
        inventory: Default::default(),
        milliseconds: 5,
    }
}

/// Text that does not get smaller when it is compressed.
fn noise(bytes: usize) -> String {
    (0..bytes / 64).map(|n| Digest::of(&n.to_be_bytes()).hex()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn journal_and_revisions_are_kept_and_forgotten() {
    let Some(stage) = Stage::open("state").await else { return };
    let documents = stage.documents();
    assert!(documents.state().await.unwrap().revisions.is_empty(), "there is not even a namespace");
    let lease = Lease::take(&documents, "run", "deploy").await.unwrap();
    let authority = lease.authority();
    let intent = Intent {
        run: run(),
        verb: "deploy".into(),
        by: "me@here".into(),
        at: jiff::Timestamp::UNIX_EPOCH,
        base: None,
        to: Some("v1.0.0-abf2154".into()),
        traces: Default::default(),
    };
    documents.begin(authority, &intent).await.unwrap();
    assert_eq!(documents.state().await.unwrap().intents, [intent]);
    let setback = Setback {
        run: run(),
        at: jiff::Timestamp::UNIX_EPOCH,
        release: None,
        base: Some(1),
        evidence: Evidence { subject: "user".into(), cause: Cause::new("it died") },
    };
    documents.turn_back(authority, &setback).await.unwrap();
    documents.end(authority, &run()).await.unwrap();
    for (number, text) in [(1, "a"), (2, "b"), (3, "b")] {
        let (spec, manifests) = (spec(text), manifests(text));
        documents.keep(authority, &spec, (&manifests, manifests.digest())).await.unwrap();
        documents.commit(authority, &revision(number, &spec, &manifests)).await.unwrap();
    }
    let (b, c) = ((spec("b"), manifests("b")), (spec("c"), manifests("c")));
    documents.commit(authority, &revision(3, &b.0, &b.1)).await.unwrap();
    documents.keep(authority, &c.0, (&c.1, c.1.digest())).await.unwrap();
    let conflict = documents.commit(authority, &revision(3, &c.0, &c.1)).await;
    assert!(matches!(conflict, Err(StateError::Conflict { number: 3, .. })));
    let state = documents.state().await.unwrap();
    assert_eq!(state.newest(), Some(&revision(3, &b.0, &b.1)));
    assert_eq!((state.revisions.len(), state.intents.len(), state.setbacks.len()), (3, 0, 1));
    assert!(state.unreadable.is_empty(), "{:?}", state.unreadable);
    assert_eq!(documents.prune(authority, &documents.state().await.unwrap(), 2).await.unwrap(), [1]);
    let state = documents.state().await.unwrap();
    assert_eq!((state.revisions.len(), state.setbacks.len()), (2, 0));
    assert_eq!(documents.spec(&b.0.digest()).await.unwrap(), Some(b.0));
    assert_eq!(documents.manifests(&b.1.digest()).await.unwrap(), Some(b.1));
    assert_eq!(documents.spec(&spec("a").digest()).await.unwrap(), None);
    assert_eq!(documents.spec(&c.0.digest()).await.unwrap(), None, "of a revision that was never written");
    documents.forget_all(authority).await.unwrap();
    assert!(
        documents.list(&[Kind::Revision, Kind::Spec, Kind::Manifests]).await.unwrap().documents.is_empty()
    );
    lease.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_of_one_revision_one_wins() {
    let Some(stage) = Stage::open("race").await else { return };
    let documents = stage.documents();
    stage::make_namespace(documents.cluster(), documents.namespace()).await;
    // Large ones: parts come before the head that decides.
    let texts: Vec<String> = (0..6).map(|n| format!("{n}{}", noise(3 << 20))).collect();
    let writers = texts.iter().map(|text| documents.create(Kind::Revision, "7", text));
    let outcomes = futures_util::future::join_all(writers).await;
    let created: Vec<usize> = outcomes
        .iter()
        .enumerate()
        .filter(|(_, outcome)| matches!(outcome, Ok(Creation::Created)))
        .map(|(n, _)| n)
        .collect();
    assert_eq!(created.len(), 1, "{outcomes:?}");
    let winner = &texts[created[0]];
    for outcome in outcomes {
        if let Creation::Exists(there) = outcome.unwrap() {
            assert_eq!(there.content, json!(winner));
        }
    }
    let found = documents.list(&[Kind::Revision]).await.unwrap();
    assert_eq!(found.documents.len(), 1);
    assert_eq!(found.documents[0].content, json!(winner));
    assert!(found.unreadable.is_empty(), "the others left nothing: {:?}", found.unreadable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_of_three_megabytes_survives_and_one_that_is_damaged_is_told_of() {
    let Some(stage) = Stage::open("large").await else { return };
    let documents = stage.documents();
    let lease = Lease::take(&documents, "run", "deploy").await.unwrap();
    let entry = |number: usize| Entry {
        id: ObjectId::namespaced("apps", "Deployment", "chat", &format!("service-{number}")),
        version: "v1".into(),
        remembered: Some(Remembered {
            desired: Digest::of(&number.to_be_bytes()),
            live: Digest::of(&number.to_le_bytes()),
            yielded: Vec::new(),
        }),
        origin: None,
    };
    let (spec, manifests) = (spec(&noise(3 << 20)), manifests(&noise(3 << 20)));
    let large = Revision { inventory: (0..20_000).map(entry).collect(), ..revision(4, &spec, &manifests) };
    assert!(serde_json::to_vec(&large).unwrap().len() > 3 << 20);
    documents.keep(lease.authority(), &spec, (&manifests, manifests.digest())).await.unwrap();
    documents.commit(lease.authority(), &large).await.unwrap();
    documents.commit(lease.authority(), &revision(5, &spec, &manifests)).await.unwrap();
    let state = documents.state().await.unwrap();
    assert_eq!(state.revisions.get(&4), Some(&large));
    assert_eq!(documents.spec(&large.spec).await.unwrap(), Some(spec));
    assert_eq!(documents.manifests(&large.manifests).await.unwrap(), Some(manifests));

    // A part goes: the revision cannot be read, the others can, and nothing that it may need is forgotten.
    let secrets = format!("/api/v1/namespaces/{}/secrets", documents.namespace());
    let all = stage::get(documents.cluster(), &secrets).await;
    let names =
        all["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap());
    let part = names.filter(|name| name.contains(".revision.4.")).max().unwrap();
    stage::delete(documents.cluster(), &format!("{secrets}/{part}")).await;
    let state = documents.state().await.unwrap();
    assert_eq!(state.revisions.keys().collect::<Vec<_>>(), [&5]);
    let reason = &state.unreadable["bowline.chat.cluster.revision.4"];
    assert!(reason.contains("missing"), "{reason}");
    documents.forget(lease.authority(), &[5]).await.unwrap();
    assert!(documents.spec(&large.spec).await.unwrap().is_some());

    // Written half: the head is missing.
    stage::delete(documents.cluster(), &format!("{secrets}/bowline.chat.cluster.revision.4")).await;
    let state = documents.state().await.unwrap();
    assert!(state.unreadable.values().all(|reason| reason.contains("never finished")), "{state:?}");
    assert!(!state.unreadable.is_empty());
    documents.forget(lease.authority(), &[]).await.unwrap();
    assert!(documents.state().await.unwrap().unreadable.is_empty());
    let others = Documents::new(documents.cluster(), documents.namespace(), "cha", "cluster");
    assert!(others.state().await.unwrap().revisions.is_empty());
    lease.release().await.unwrap();
}
