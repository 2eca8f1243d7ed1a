use std::sync::Arc;
use std::time::Duration;

use bowline_compose::document::{Creation, Documents, Kind};
use bowline_compose::lease::{self, AuthorityError, Lease, LeaseError, Status};
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
