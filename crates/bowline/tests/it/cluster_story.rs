//! A release after the other on a real cluster: what changes is replaced, the rest is left alone.

use crate::cluster::{Harbour, digest_of};
use crate::scene::{Ran, finish};

/// The subjects of a run's steps in the order in which they began.
fn steps(ran: &Ran) -> Vec<String> {
    let begun = ran.events().into_iter().filter(|event| event["event"] == "step-started");
    begun
        .map(|event| event["what"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn the_first_release_creates_everything_in_order_and_the_same_one_again_writes_nothing() {
    let Some(harbour) = Harbour::open("first") else { return };
    harbour.merge("[minor] the first");
    let first = harbour.run(&["--json", "ship", "cluster"]).exits(0);
    assert_eq!(first.summary()["ok"], true);
    harbour.runs("1", "1");
    harbour.is_at_rest();
    let begun = steps(&first);
    let place = |words: &str| {
        begun.iter().position(|step| step.ends_with(words)).unwrap_or_else(|| panic!("no {words}: {begun:?}"))
    };
    let namespace = harbour.namespace();
    for service in ["web", "users"] {
        let deployment = place(&format!("Deployment {namespace}/{service}"));
        assert!(place(&format!("Service {namespace}/{service}")) < deployment, "{begun:?}");
        assert!(place(&format!("ConfigMap {namespace}/settings")) < deployment, "{begun:?}");
    }
    let expected =
        ["ConfigMap/settings", "Deployment/users", "Deployment/web", "Service/users", "Service/web"];
    assert_eq!(harbour.names().iter().collect::<Vec<_>>(), expected);

    let (before, pods) = (harbour.resource_versions(), harbour.pods());
    let again = harbour.run(&["--json", "deploy", "cluster"]).exits(0);
    assert!(steps(&again).is_empty(), "{again}");
    assert_eq!(harbour.resource_versions(), before);
    assert_eq!(harbour.pods(), pods);
    let plan = harbour.run(&["plan", "cluster"]).exits(0);
    assert!(plan.out.contains("nothing to do: it runs already"), "{plan}");
    eprintln!("the first in {:.1?}, nothing to do in {:.1?}", first.took, again.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_a_hundred_objects_takes_no_more_requests_than_looking_at_ten() {
    let Some(mut harbour) = Harbour::open("count") else { return };
    let way = harbour.cluster.watched().await;
    harbour.kubeconfig = Some(way.kubeconfig().to_owned());
    let mut counts = Vec::new();
    for maps in [10, 110] {
        for number in 0..maps {
            harbour.config_map(&format!("map-{number}"), "number", &number.to_string());
        }
        harbour.merge("[minor] some settings");
        harbour.run(&["ship", "cluster"]).exits(0);
        let before = harbour.resource_versions();
        way.proxy.clear();
        harbour.run(&["deploy", "cluster"]).exits(0);
        let requests = way.proxy.requests();
        let writes: Vec<String> = requests
            .iter()
            .filter(|request| request.method != "GET")
            .map(|request| format!("{} {}", request.method, request.path))
            .collect();
        assert!(writes.iter().all(|line| line.contains("/leases")), "{writes:?}");
        assert_eq!(harbour.resource_versions(), before);
        counts.push(requests.len() - writes.len());
    }
    assert_eq!(counts[0], counts[1], "{counts:?}: {:?}", way.proxy.lines());
    eprintln!("{} questions", counts[0]);
}

#[test]
fn a_change_in_one_service_replaces_its_pods_alone_and_going_back_brings_the_old_image() {
    let Some(harbour) = Harbour::open("change") else { return };
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let (pods, images) = (harbour.pods(), harbour.images());
    harbour.service("web", "2", &[]);
    // It is built again, and its bytes are the same.
    harbour.work.write("users/README.md", "nothing that matters");
    harbour.merge("[patch] another web");
    harbour.run(&["ship", "cluster"]).exits(0);
    harbour.runs("2", "1");
    let users = |pods: &[crate::cluster::Pod]| -> Vec<_> {
        pods.iter().filter(|pod| pod.app == "users").cloned().collect()
    };
    assert_eq!(users(&harbour.pods()), users(&pods), "they keep their names");
    let after = harbour.images();
    assert_eq!(after["users"], images["users"], "an equal digest keeps its reference");
    assert_ne!(digest_of(&after["web"]), digest_of(&images["web"]));
    // The first merge's workflow, run again.
    harbour.work.git(["checkout", "--quiet", "HEAD~1"]);
    harbour.run(&["ship", "cluster"]).says("which is newer than v0.1.0").exits(0);
    harbour.work.git(["checkout", "--quiet", "-"]);
    assert_eq!(harbour.images(), after);

    harbour.run(&["rollback", "cluster"]).exits(0);
    harbour.runs("1", "1");
    assert_eq!(harbour.images(), images);
    assert_eq!(users(&harbour.pods()), users(&pods));
    harbour.run(&["rollback", "cluster"]).says("has no earlier release to go back to").exits(2);
    harbour.runs("1", "1");
    harbour.is_at_rest();
}

#[test]
fn going_back_takes_the_files_of_then_whatever_git_has_now() {
    let Some(harbour) = Harbour::open("back") else { return };
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let first = harbour.images();
    harbour.version("2");
    harbour.deployment("web", "          env: [{name: COLOUR, value: blue}]\n");
    harbour.merge("[patch] the second");
    harbour.run(&["ship", "cluster"]).exits(0);
    harbour.runs("2", "2");
    // Not released, and not even valid.
    harbour.work.write("k8s/web.yaml", "kind: Nonsense\n");
    std::fs::remove_file(harbour.work.path().join("k8s/users.yaml")).unwrap();
    harbour.config_map("settings", "version", "3");
    harbour.merge("[patch] something else");
    harbour.run(&["rollback", "cluster"]).exits(0);
    harbour.runs("1", "1");
    assert_eq!(harbour.images(), first);
    let objects = harbour.objects();
    assert_eq!(objects["ConfigMap/settings"]["data"]["version"], "1");
    assert!(objects["Deployment/web"]["spec"]["template"]["spec"]["containers"][0]["env"].is_null());
    harbour.is_at_rest();
}

#[test]
fn of_two_who_want_the_cluster_one_waits_or_is_told_who_has_it() {
    let Some(harbour) = Harbour::open("two") else { return };
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    harbour.service("web", "2", &["ENV LISTEN_AFTER=6"]);
    harbour.merge("[patch] a slow one");
    harbour.run(&["release"]).exits(0);
    let mut first = harbour.spawn(&["deploy", "cluster"]);
    first.wait_for("web starting");
    let at_once = harbour.run(&["rollback", "cluster", "--wait", "0"]);
    at_once.exits(3).says("bowline deploy");
    let waits = harbour.run(&["deploy", "cluster", "--wait", "120"]);
    let first = finish(first);
    assert_eq!(first.code, Some(0), "{first}");
    waits.exits(0).says("waiting for");
    harbour.runs("2", "1");
    harbour.is_at_rest();
}
