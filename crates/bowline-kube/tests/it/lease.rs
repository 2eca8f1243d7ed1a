use std::sync::Arc;
use std::time::Duration;

use bowline_kube::document::Documents;
use bowline_kube::lease::{self, AuthorityError, Lease, LeaseError, Status};
use serde_json::json;

use crate::stage::{self, Stage};

fn path(documents: &Documents) -> String {
    let namespace = documents.namespace();
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/bowline.chat.cluster")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_contenders_one_gets_the_lease() {
    let Some(stage) = Stage::open("twenty").await else { return };
    let documents = stage.documents();
    assert_eq!(lease::status(&documents).await.unwrap(), Status::Free, "there is not even a namespace");
    let barrier = Arc::new(tokio::sync::Barrier::new(20));
    let contenders = (0..20).map(|n| {
        let (documents, barrier) = (documents.clone(), Arc::clone(&barrier));
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
    assert!(matches!(lease::status(&documents).await.unwrap(), Status::Held { .. }));
    let before = stage::get(documents.cluster(), &path(&documents)).await;
    assert!(before["spec"]["holderIdentity"].as_str().unwrap().contains("bowline deploy"), "{before}");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let after = stage::get(documents.cluster(), &path(&documents)).await;
    assert_ne!(before["spec"]["renewTime"], after["spec"]["renewTime"]);
    assert_eq!(lease.authority().number(), 1);
    lease.authority().check().unwrap();
    match lease::status(&documents).await.unwrap() {
        Status::Held { age, .. } => assert!(age < Duration::from_secs(5), "{age:?}"),
        other => panic!("{other:?}"),
    }
    lease.release().await.unwrap();
    assert_eq!(lease::status(&documents).await.unwrap(), Status::Free);
    let next = Lease::take(&documents, "next", "deploy").await.unwrap();
    assert_eq!(next.authority().number(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_lock_ends_the_right_of_its_holder() {
    let Some(stage) = Stage::open("break").await else { return };
    let documents = stage.documents();
    let lease = Lease::take(&documents, "first", "deploy").await.unwrap();
    let broken = lease::force_release(&documents, "operator").await.unwrap().unwrap();
    assert_eq!(broken.run, "first");
    assert_eq!(lease::force_release(&documents, "operator").await.unwrap(), None);
    let second = Lease::take(&documents, "second", "deploy").await.unwrap();
    assert_eq!(second.authority().number(), 2);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(matches!(lease.authority().check(), Err(AuthorityError::Taken { .. })));
    second.authority().check().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_others_disturb_no_lease_and_deleting_it_ends_the_right() {
    let Some(stage) = Stage::open("label").await else { return };
    let documents = stage.documents();
    let lease = Lease::take(&documents, "run", "deploy").await.unwrap();
    let label = json!({"metadata": {"labels": {"team": "chat"}}});
    stage::patch(documents.cluster(), &path(&documents), label).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    lease.authority().check().unwrap();
    let there = stage::get(documents.cluster(), &path(&documents)).await;
    assert_eq!(there["metadata"]["labels"]["team"], "chat");
    stage::delete(documents.cluster(), &path(&documents)).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let lost = lease.authority().check().unwrap_err();
    assert!(lost.to_string().contains("deleted"), "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_somebody_else_is_not_taken() {
    let Some(stage) = Stage::open("other").await else { return };
    let documents = stage.documents();
    stage::make_namespace(documents.cluster(), documents.namespace()).await;
    let other = json!({"metadata": {"name": "bowline.chat.cluster"}, "spec": {"holderIdentity": "somebody"}});
    let (all, _) = path(&documents).rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    stage::post(documents.cluster(), &all, other).await;
    let error = Lease::take(&documents, "run", "deploy").await.err().unwrap();
    assert!(matches!(error, LeaseError::Unreadable { .. }), "{error}");
    assert!(error.hint().unwrap().contains("kubectl"), "{:?}", error.hint());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_cut_off_stops_at_half_its_lease() {
    let Some(stage) = Stage::open("cut").await else { return };
    let (cluster, proxy) = stage.behind_proxy().await;
    let documents = stage::documents(&cluster, stage.namespace());
    let lease = Lease::take(&documents, "run", "deploy").await.unwrap();
    // Short trouble is no reason to stop.
    proxy.refuse();
    tokio::time::sleep(Duration::from_secs(7)).await;
    proxy.heal();
    tokio::time::sleep(Duration::from_secs(5)).await;
    lease.authority().check().unwrap();
    proxy.refuse();
    let lost = tokio::time::timeout(Duration::from_secs(17), lease.authority().lost()).await.unwrap();
    assert!(matches!(lost, AuthorityError::Stale { .. }), "{lost}");
    proxy.heal();
    assert!(lease.authority().check().is_err());
}
