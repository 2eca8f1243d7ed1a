//! Releases that cannot run on a cluster, or must not be tried: what runs stays, or comes back, and the cause is told.

use serde_json::Value;

use crate::cluster::{Harbour, digest_of};
use crate::scene::{Ran, finish};

/// The first evidence that a run told.
fn evidence(ran: &Ran) -> Value {
    let events = ran.events();
    let told = events.iter().find(|event| event["event"] == "evidence");
    told.unwrap_or_else(|| panic!("no evidence: {ran}")).clone()
}

#[test]
fn a_release_whose_pods_crash_goes_back_by_itself_and_says_why() {
    let Some(harbour) = Harbour::open("crash") else { return };
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let (names, images, pods) = (harbour.names(), harbour.images(), harbour.pods());
    let revision = harbour.revision();

    harbour.version("2");
    harbour.service("web", "2", &["ENV EXIT_AFTER=0 EXIT_CODE=3"]);
    harbour.config_map("brought", "by", "the broken one");
    harbour.merge("[patch] a broken one");
    let broken = harbour.run(&["--json", "ship", "cluster"]);
    let told = evidence(&broken);
    let broken = broken.exits(1);
    assert_eq!(told["exit_code"], 3, "{broken}");
    assert!(told["log"].to_string().contains("exiting as told"), "{broken}");
    assert!(told["service"].as_str().unwrap().ends_with("/web"), "{broken}");
    assert_eq!(broken.summary()["ok"], false, "{broken}");

    assert_eq!(harbour.images(), images);
    assert_eq!(harbour.names(), names, "what the failed release brought is gone");
    assert_eq!(harbour.objects()["ConfigMap/settings"]["data"]["version"], "1");
    harbour.runs("1", "1");
    let web = |pods: &[crate::cluster::Pod]| -> Vec<_> {
        pods.iter().filter(|pod| pod.app == "web").cloned().collect()
    };
    assert_eq!(web(&harbour.pods()), web(&pods), "its old pods ran all the time");
    assert_eq!(harbour.revision()["release"], revision["release"]);
    harbour.is_at_rest();
    let kept = harbour.documents();
    let setback = kept.iter().find(|(kind, _, _)| kind == "setback").unwrap();
    assert!(setback.2.to_string().contains("exiting as told"), "{setback:?}");
}

#[test]
fn a_release_whose_pods_never_become_healthy_goes_back_when_its_time_is_over() {
    let Some(harbour) = Harbour::open("sick") else { return };
    harbour.configure("start = \"10s\"\nsettle = \"1s\"\nrestarts = 1\n", "");
    harbour.merge("[minor] the first");
    // The first start of a fresh image may take longer than that.
    harbour.configure(crate::cluster::QUICK, "");
    harbour.merge("[minor] with time");
    harbour.run(&["ship", "cluster"]).exits(0);
    let images = harbour.images();
    harbour.configure("start = \"10s\"\nsettle = \"1s\"\nrestarts = 1\n", "");
    harbour.service("web", "2", &["ENV HEALTHY_AFTER=never"]);
    harbour.merge("[patch] a sick one");
    harbour.run(&["ship", "cluster"]).exits(1).says("503");
    assert_eq!(harbour.images(), images);
    harbour.runs("1", "1");
    harbour.is_at_rest();
}

#[test]
fn an_image_that_is_not_there_fails_at_once_and_changes_nothing_that_runs() {
    let Some(harbour) = Harbour::open("image") else { return };
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let (names, images, pods) = (harbour.names(), harbour.images(), harbour.pods());
    harbour.deployment("other", "");
    let file = harbour.work.path().join("k8s/other.yaml");
    let missing = format!("{}/nobody/nothing:1", harbour.cluster.registry().unwrap());
    let text = std::fs::read_to_string(&file).unwrap().replace("tiny-other:latest", &missing);
    harbour.work.write("k8s/other.yaml", text);
    harbour.merge("[patch] with a stranger");
    let ran = harbour.run(&["ship", "cluster"]);
    assert!(matches!(ran.code, Some(1 | 2)), "{ran}");
    assert!(ran.err.contains("nobody/nothing:1"), "{ran}");
    assert!(ran.took.as_secs() < 50, "it did not wait for the end of its patience: {ran}");
    assert_eq!((harbour.names(), harbour.images(), harbour.pods()), (names, images, pods));
    harbour.is_at_rest();
}

#[test]
fn one_invalid_object_among_twenty_stops_the_release_before_anything_is_changed() {
    let Some(harbour) = Harbour::open("invalid") else { return };
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    harbour.version("2");
    for number in 0..20 {
        harbour.config_map(&format!("map-{number}"), "number", &number.to_string());
    }
    let bad = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n";
    harbour.work.write("k8s/bad.yaml", bad);
    harbour.merge("[patch] with a mistake");
    harbour.run(&["release"]).exits(0);
    let (before, pods) = (harbour.resource_versions(), harbour.pods());
    for verb in ["plan", "deploy"] {
        let ran = harbour.run(&[verb, "cluster"]).exits(2);
        assert!(ran.err.contains("k8s/bad.yaml:1:1") && ran.err.contains("99999"), "{ran}");
        assert!(ran.err.contains("spec.ports[0].port"), "{ran}");
    }
    assert_eq!(harbour.resource_versions(), before);
    assert_eq!(harbour.pods(), pods);
    harbour.is_at_rest();
}

#[test]
fn manifests_with_mistakes_are_refused_with_all_of_them_and_where_they_stand() {
    let Some(harbour) = Harbour::open("mistakes") else { return };
    harbour.work.write("k8s/broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a\n");
    harbour.work.write("k8s/nameless.yaml", "apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n");
    harbour.work.write("k8s/twice.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n");
    harbour.work.write("k8s/tab.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n  name: c\n");
    harbour.merge("[minor] full of mistakes");
    harbour.run(&["release"]).exits(0);
    for verb in ["plan", "deploy"] {
        let ran = harbour.run(&[verb, "cluster"]).exits(2);
        for place in ["k8s/broken.yaml:", "k8s/nameless.yaml:1:1", "k8s/tab.yaml:5:3", "settings"] {
            assert!(ran.err.contains(place), "no {place}: {ran}");
        }
        let twice = ran.err.contains("k8s/twice.yaml:1:1") || ran.err.contains("k8s/settings.yaml:1:1");
        assert!(twice, "{ran}");
    }
    let namespace = harbour.cluster.try_kubectl(["get", "namespace", harbour.namespace()]);
    assert!(!namespace.status.success(), "not even the namespace was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_cannot_be_reached_is_told_of_and_one_that_comes_back_is_brought_to_the_end() {
    let Some(mut harbour) = Harbour::open("away") else { return };
    let way = harbour.cluster.watched().await;
    harbour.kubeconfig = Some(way.kubeconfig().to_owned());
    harbour.merge("[minor] the first");
    harbour.run(&["release"]).exits(0);
    way.proxy.refuse();
    for verb in ["plan", "deploy", "rollback"] {
        let ran = harbour.run(&[verb, "cluster"]).exits(4);
        assert!(ran.err.contains(&way.proxy.address().to_string()), "{ran}");
    }
    way.proxy.heal();
    harbour.run(&["deploy", "cluster"]).exits(0);
    harbour.runs("1", "1");

    // It goes away in the middle: whoever comes next brings it to the end.
    harbour.version("2");
    harbour.service("web", "2", &["ENV LISTEN_AFTER=4"]);
    harbour.merge("[patch] the second");
    let mut running = harbour.spawn(&["ship", "cluster"]);
    running.wait_for("web starting");
    way.proxy.refuse();
    let cut = finish(running);
    assert!(matches!(cut.code, Some(3 | 4)), "{cut}");
    way.proxy.heal();
    harbour.run(&["ship", "cluster", "--wait", "90"]).exits(0);
    harbour.runs("2", "2");
    let images = harbour.images();
    assert_ne!(digest_of(&images["web"]), digest_of(&images["users"]));
    harbour.is_at_rest();
}
