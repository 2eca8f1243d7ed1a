use std::future::Future;
use std::time::Duration;

use bowline_core::kube::object::{Kind, ObjectId};
use bowline_kube::Cluster;
use bowline_kube::watch::{Subject, Watch};
use serde_json::{Value, json};

use crate::stage::{self, Stage};

/// Waits until the picture shows something.
async fn until(watch: &mut Watch, what: &str, shows: impl Fn(&Watch) -> bool) {
    let wait = async {
        while !shows(watch) {
            watch.changed().await;
        }
    };
    let within = Duration::from_secs(30);
    assert!(tokio::time::timeout(within, wait).await.is_ok(), "{what}: not within {within:?}");
}

fn config_map(namespace: &str, name: &str) -> Subject {
    stage::subject("", "ConfigMap", "configmaps", namespace, name)
}

fn data(watch: &Watch, id: &ObjectId) -> Option<Value> {
    watch.sight(id).object.map(|object| object["data"]["a"].clone())
}

fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_seen_as_they_happen() {
    let Some(stage) = Stage::open("watch").await else { return };
    let (cluster, namespace) = (stage.cluster.clone(), stage.namespace().to_owned());
    stage::make_namespace(&cluster, &namespace).await;
    let (a, b) = (config_map(&namespace, "a"), config_map(&namespace, "b"));
    let space = Subject {
        id: ObjectId::of_cluster("", "Namespace", &namespace),
        version: "v1".into(),
        plural: "namespaces".into(),
    };
    stage::post(&cluster, &path(&namespace), json!({"metadata": {"name": "a"}, "data": {"a": "1"}})).await;
    let mut watch = Watch::open(&cluster, &[a.clone(), b.clone(), space.clone()]).await.unwrap();
    assert_eq!(data(&watch, &a.id), Some(json!("1")));
    assert!(watch.sight(&space.id).object.is_some() && watch.sight(&b.id).object.is_none());
    assert!(watch.missing().is_empty(), "{:?}", watch.missing());
    stage::post(&cluster, &path(&namespace), json!({"metadata": {"name": "b"}, "data": {"a": "2"}})).await;
    until(&mut watch, "b is made", |watch| data(watch, &b.id) == Some(json!("2"))).await;
    let answer =
        stage::patch(&cluster, &format!("{}/a", path(&namespace)), json!({"data": {"a": "3"}})).await;
    watch.learn(answer);
    assert_eq!(data(&watch, &a.id), Some(json!("3")), "what was answered is known at once");
    stage::delete(&cluster, &format!("{}/a", path(&namespace))).await;
    until(&mut watch, "a goes", |watch| watch.sight(&a.id).object.is_none()).await;
    assert_eq!(
        watch.seen(&Kind::new("", "ConfigMap"), Some(&namespace)).len(),
        1 + root_certificate(&watch, &namespace)
    );
}

/// A controller manager puts one into each namespace.
fn root_certificate(watch: &Watch, namespace: &str) -> usize {
    let id = ObjectId::namespaced("", "ConfigMap", namespace, "kube-root-ca.crt");
    usize::from(watch.sight(&id).object.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_object_owns_is_seen_with_it() {
    let Some(stage) = Stage::open("owned").await else { return };
    let (cluster, namespace) = (stage.cluster.clone(), stage.namespace().to_owned());
    stage::make_namespace(&cluster, &namespace).await;
    let subject = stage::subject("apps", "Deployment", "deployments", &namespace, "user");
    let mut watch = Watch::open(&cluster, std::slice::from_ref(&subject)).await.unwrap();
    let all = format!("/apis/apps/v1/namespaces/{namespace}");
    let template = json!({"metadata": {"labels": {"app": "user"}}, "spec": {"containers": [{"name": "app", "image": "x"}]}});
    // No replicas: a controller manager, where one runs, makes nothing of it.
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "user"}}, "template": template});
    let deployment = stage::post(
        &cluster,
        &format!("{all}/deployments"),
        json!({"metadata": {"name": "user"}, "spec": spec}),
    )
    .await;
    let owner = |object: &Value, version: &str, kind: &str| json!([{"apiVersion": version, "kind": kind, "name": object["metadata"]["name"], "uid": object["metadata"]["uid"], "controller": true}]);
    let set = json!({"metadata": {"name": "user-1", "labels": {"app": "user"}, "ownerReferences": owner(&deployment, "apps/v1", "Deployment")}, "spec": spec});
    let set = stage::post(&cluster, &format!("{all}/replicasets"), set).await;
    let pod = json!({"metadata": {"name": "user-1-a", "labels": {"app": "user"}, "ownerReferences": owner(&set, "apps/v1", "ReplicaSet"),
        "finalizers": ["bowline.dev/test"]}, "spec": {"containers": [{"name": "app", "image": "x"}], "automountServiceAccountToken": false, "nodeName": "nowhere"}});
    wait_for_service_account(&cluster, &namespace).await;
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let pod = stage::post(&cluster, &pods, pod).await;
    let event = json!({"metadata": {"name": "e1"}, "reason": "Failed", "message": "no image", "involvedObject":
        {"kind": "Pod", "namespace": namespace, "name": "user-1-a", "uid": pod["metadata"]["uid"]}});
    stage::post(&cluster, &format!("/api/v1/namespaces/{namespace}/events"), event).await;
    until(&mut watch, "all is seen", |watch| {
        let sight = watch.sight(&subject.id);
        let messages: Vec<_> = sight.events.iter().filter_map(|event| event["message"].as_str()).collect();
        sight.pods().count() == 1 && messages.contains(&"no image")
    })
    .await;
    let sight = watch.sight(&subject.id);
    assert_eq!(
        sight
            .owned_of(&Kind::new("apps", "ReplicaSet"))
            .filter(|set| set["metadata"]["name"] == "user-1")
            .count(),
        1
    );
    stage::patch(&cluster, &format!("{pods}/user-1-a"), json!({"metadata": {"finalizers": null}})).await;
}

/// Pods are admitted once their namespace has an account, which a controller makes; alone, we make it.
async fn wait_for_service_account(cluster: &Cluster, namespace: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    for _ in 0..20 {
        let accounts = stage::get(cluster, &path).await;
        if !accounts["items"].as_array().unwrap().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    stage::post(cluster, &path, json!({"metadata": {"name": "default"}})).await;
}

/// A watch of one object, while the way to the API server goes away for 20 s and comes back.
async fn survives<F: Future<Output = ()>>(
    watched: &Cluster,
    direct: &Cluster,
    namespace: &str,
    away: impl FnOnce() -> F,
    during: bool,
) {
    stage::make_namespace(direct, namespace).await;
    let (a, b) = (config_map(namespace, "a"), config_map(namespace, "b"));
    for name in ["a", "b"] {
        stage::post(direct, &path(namespace), json!({"metadata": {"name": name}, "data": {"a": "1"}})).await;
    }
    let mut watch = Watch::open(watched, std::slice::from_ref(&a)).await.unwrap();
    let gone = away();
    if during {
        // Behind its back: one changes, one goes.
        stage::patch(direct, &format!("{}/a", path(namespace)), json!({"data": {"a": "2"}})).await;
        stage::delete(direct, &format!("{}/b", path(namespace))).await;
        until(&mut watch, "the trouble is told", |watch| watch.trouble().is_some()).await;
        assert_eq!(data(&watch, &a.id), Some(json!("1")));
        assert_eq!(data(&watch, &b.id), Some(json!("1")));
    }
    gone.await;
    if !during {
        stage::patch(direct, &format!("{}/a", path(namespace)), json!({"data": {"a": "2"}})).await;
        stage::delete(direct, &format!("{}/b", path(namespace))).await;
    }
    until(&mut watch, "the change is seen", |watch| data(watch, &a.id) == Some(json!("2"))).await;
    until(&mut watch, "b is gone", |watch| watch.sight(&b.id).object.is_none()).await;
    until(&mut watch, "the trouble is over", |watch| watch.trouble().is_none()).await;
    stage::patch(direct, &format!("{}/a", path(namespace)), json!({"data": {"a": "3"}})).await;
    until(&mut watch, "it goes on", |watch| data(watch, &a.id) == Some(json!("3"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_survives_an_api_server_that_cannot_be_reached_for_a_while() {
    let Some(stage) = Stage::open("away").await else { return };
    let (cluster, proxy) = stage.behind_proxy().await;
    let away = || {
        proxy.refuse();
        async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            proxy.heal();
        }
    };
    survives(&cluster, &stage.cluster, stage.namespace(), away, true).await;
}

/// `BOWLINE_TEST_API_RESTART` is a command that stops the API server for a while and starts it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_survives_a_restart_of_the_api_server() {
    let Ok(command) = std::env::var("BOWLINE_TEST_API_RESTART") else { return };
    let Some(stage) = Stage::open("restart").await else { return };
    let away = || async {
        let status = tokio::process::Command::new("sh").args(["-c", &command]).status().await.unwrap();
        assert!(status.success());
    };
    survives(&stage.cluster, &stage.cluster, stage.namespace(), away, false).await;
}
