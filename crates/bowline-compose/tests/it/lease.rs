use std::sync::Arc;
use std::time::Duration;

use bowline_compose::document::{Creation, Documents, Kind};
use bowline_compose::lease::{self, AuthorityError, Lease, LeaseError, Status};
use bowline_compose::state::StateError;
use bowline_core::event::RunId;
use bowline_core::journal::Intent;
use bowline_core::release::{Revision, Spec, SpecFile};
use bowline_testkit::host::Host;
use serde_json::json;

use crate::{far, near};

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_created_once_and_survive_a_prune() {
    let Some(host) = Host::start("d-once") else { return };
    let documents = Documents::new(&near(&host).await, "chat").unwrap();
    let large = json!({"files": (0..50_000).map(|n| format!("{n:x}")).collect::<Vec<_>>()});
    let created = documents.create(Kind::Revision, "10", &large).await.unwrap();
    assert!(matches!(created, Creation::Created(_)));
    documents.create(Kind::Revision, "9", &json!({"by": "me"})).await.unwrap();
    let again = documents.create(Kind::Revision, "9", &json!({"by": "another"})).await.unwrap();
    assert!(matches!(again, Creation::Exists(there) if there.content == json!({"by": "me"})));
    host.docker(["system", "prune", "--all", "--force"]);
    let found = documents.list().await.unwrap();
    let keys: Vec<_> = found.of(Kind::Revision).map(|document| document.key.as_str()).collect();
    assert_eq!(keys, ["9", "10"]);
    assert_eq!(found.documents[1].content, large);
    assert!(Documents::new(documents.engine(), "cha").unwrap().list().await.unwrap().documents.is_empty());
    documents.delete(Kind::Revision, "9").await.unwrap();
    documents.delete(Kind::Revision, "9").await.unwrap();
    assert_eq!(documents.list().await.unwrap().documents.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_contenders_one_gets_the_lease() {
    let Some(host) = Host::start("l-twenty") else { return };
    let engines = [near(&host).await, far(&host).await];
    let barrier = Arc::new(tokio::sync::Barrier::new(20));
    let contenders = (0..20).map(|n| {
        let documents = Documents::new(&engines[n % 2], "chat").unwrap();
        let barrier = Arc::clone(&barrier);
        tokio::spawn(async move {
            barrier.wait().await;
            Lease::take(&documents, &format!("run-{n}"), "deploy").await
        })
    });
    let mut winners = Vec::new();
    for contender in contenders.collect::<Vec<_>>() {
        match contender.await.unwrap() {
            Ok(lease) => winners.push(lease),
            Err(LeaseError::Held { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    let lease = winners.pop().unwrap();
    let documents = Documents::new(&engines[0], "chat").unwrap();
    assert!(matches!(lease::status(&documents).await.unwrap(), Status::Held { .. }));
    // Renewed, and only the newest is kept.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(lease.authority().number(), 2);
    lease.authority().check().unwrap();
    lease.release().await.unwrap();
    assert_eq!(lease::status(&documents).await.unwrap(), Status::Free);
    assert_eq!(documents.list_kind(Kind::Lease).await.unwrap().documents.len(), 1);
    let next = Lease::take(&documents, "next", "deploy").await.unwrap();
    assert_eq!(next.authority().number(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_lock_ends_the_right_of_its_holder() {
    let Some(host) = Host::start("l-break") else { return };
    let documents = Documents::new(&near(&host).await, "chat").unwrap();
    let lease = Lease::take(&documents, "first", "deploy").await.unwrap();
    let broken = lease::force_release(&documents, "operator").await.unwrap().unwrap();
    assert_eq!(broken.run, "first");
    let second = Lease::take(&documents, "second", "deploy").await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(matches!(lease.authority().check(), Err(AuthorityError::Taken { .. })));
    second.authority().check().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn journal_and_revisions_are_kept_and_forgotten() {
    let Some(host) = Host::start("s-state") else { return };
    let documents = Documents::new(&far(&host).await, "chat").unwrap();
    let lease = Lease::take(&documents, "run", "deploy").await.unwrap();
    let authority = lease.authority();
    let run = RunId::from("20261122T101500-3f9c2ab417".to_owned());
    let at = jiff::Timestamp::UNIX_EPOCH;
    let intent = Intent {
        run: run.clone(),
        verb: "deploy".into(),
        by: "me@here".into(),
        at,
        base: None,
        to: Some("v1.0.0-abf2154".into()),
        traces: Default::default(),
    };
    documents.begin(authority, &intent).await.unwrap();
    assert_eq!(documents.state().await.unwrap().intents, [intent]);
    documents.end(authority, &run).await.unwrap();

    let spec = |text: &str| {
        let file = SpecFile { executable: false, content: text.into() };
        Spec { files: [("compose.yaml".to_owned(), file)].into() }
    };
    let revision = |number: u64, spec: &Spec| Revision {
        number,
        release: None,
        verb: "deploy".into(),
        at,
        run: run.clone(),
        by: "me@here".into(),
        spec: spec.digest(),
        files: Default::default(),
        images: Default::default(),
        services: Default::default(),
        milliseconds: 5,
    };
    for (number, text) in [(1, "a"), (2, "b"), (3, "b")] {
        documents.keep_spec(authority, &spec(text)).await.unwrap();
        documents.commit(authority, &revision(number, &spec(text))).await.unwrap();
    }
    documents.commit(authority, &revision(3, &spec("b"))).await.unwrap();
    documents.keep_spec(authority, &spec("c")).await.unwrap();
    let conflict = documents.commit(authority, &revision(3, &spec("c"))).await;
    assert!(matches!(conflict, Err(StateError::Conflict { number: 3, .. })));
    let state = documents.state().await.unwrap();
    assert_eq!(state.newest(), Some(&revision(3, &spec("b"))));
    assert_eq!((state.revisions.len(), state.specs.len(), state.intents.len()), (3, 3, 0));
    assert!(state.unreadable.is_empty(), "{:?}", state.unreadable);
    documents.forget(authority, &[1]).await.unwrap();
    assert_eq!(documents.spec(&spec("b").digest()).await.unwrap(), Some(spec("b")));
    assert_eq!(documents.spec(&spec("a").digest()).await.unwrap(), None);
    documents.forget_all(authority).await.unwrap();
    lease.release().await.unwrap();
    assert_eq!(
        host.docker(["volume", "ls", "-q"]).lines().count(),
        1,
        "the lease's number is all that stays"
    );
}
