//! Runs on a cluster that are killed or put to sleep: all old or all new, and nothing left of them.

use std::collections::BTreeSet;
use std::time::Instant;

use bowline_testkit::cluster::Way;

use crate::cluster::{Harbour, SERVICES, tag_of};
use crate::scene::{finish, spawn};
use crate::survival::Dice;

/// How many moments of one `ship` are tried.
const MOMENTS: u32 = 8;

/// Writes version `number` of everything, with an object that only this version has.
fn write_version(harbour: &Harbour, number: u32) {
    harbour.version(&number.to_string());
    let last = harbour.work.path().join(format!("k8s/only-{}.yaml", number - 1));
    std::fs::remove_file(last).ok();
    harbour.config_map(&format!("only-{number}"), "version", &number.to_string());
    harbour.merge(&format!("[patch] version {number}"));
}

/// Asserts that all objects are of one release, and gives its version.
#[track_caller]
fn is_whole(harbour: &Harbour, context: &str) -> u32 {
    let objects = harbour.objects();
    let made = objects["ConfigMap/settings"]["data"]["version"].as_str().unwrap().to_owned();
    let only = format!("ConfigMap/only-{made}");
    let mut expected: BTreeSet<String> = ["ConfigMap/settings".to_owned(), only].into();
    for service in SERVICES {
        expected.extend([format!("Service/{service}"), format!("Deployment/{service}")]);
    }
    assert_eq!(harbour.names(), expected, "{context}");
    let revision = harbour.revision();
    for (service, image) in harbour.images() {
        let release = revision["release"].as_str().unwrap();
        assert_eq!(tag_of(&image), format!("{service}_{release}"), "{context}");
    }
    for service in SERVICES {
        let pods = harbour.pods_of(service);
        assert!(pods.len() == 2 && pods.iter().all(|pod| pod.ready), "{context}: {pods:?}");
        assert!(pods.iter().all(|pod| pod.image == harbour.images()[service]), "{context}: {pods:?}");
        assert_eq!(harbour.answers(service), made, "{context}");
    }
    harbour.is_at_rest();
    made.parse().unwrap()
}

#[test]
fn a_ship_to_a_cluster_killed_at_any_moment_is_finished_or_undone_by_the_next_command() {
    let Some(harbour) = Harbour::open("kill") else { return };
    let mut dice = Dice::from_environment();
    write_version(&harbour, 1);
    harbour.run(&["ship", "cluster"]).exits(0);
    write_version(&harbour, 2);
    let whole = harbour.run(&["ship", "cluster", "--prune"]).exits(0).took;
    let begin = Instant::now();
    for moment in 0..MOMENTS {
        let number = moment + 3;
        write_version(&harbour, number);
        // Spread over the whole run, a little beyond its usual end too.
        let share = (f64::from(moment) + dice.roll()) / f64::from(MOMENTS);
        let pause = whole.mul_f64(share * 1.05);
        let mut running = harbour.spawn(&["ship", "cluster", "--prune"]);
        std::thread::sleep(pause);
        running.child.kill().unwrap();
        let killed = finish(running);
        let context = format!("killed after {pause:.2?} of {whole:.2?}: {killed}");
        if moment % 2 == 1 {
            // Back instead of on: to the version before, or the one before that where nothing had begun.
            let back = harbour.run(&["rollback", "cluster", "--prune"]);
            assert_eq!(back.code, Some(0), "{context}\n{back}");
            let runs = is_whole(&harbour, &format!("{context}\n{back}"));
            assert!(runs == number - 1 || runs == number - 2, "{runs} {context}\n{back}");
        }
        let next = harbour.run(&["ship", "cluster", "--prune"]);
        assert_eq!(next.code, Some(0), "{context}\n{next}");
        assert_eq!(is_whole(&harbour, &format!("{context}\n{next}")), number);
    }
    eprintln!("{MOMENTS} moments of {whole:.1?} in {:.0?}", begin.elapsed());
}

/// How many writes to the cluster have been asked for so far; what is only tried out or asked is none.
fn writes(way: &Way) -> usize {
    let seen = way.proxy.requests();
    let is_write = |method: &str, path: &str| {
        method != "GET" && !path.contains("dryRun") && !path.contains("selfsubject")
    };
    seen.iter().filter(|request| is_write(&request.method, &request.path)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_killed_at_any_of_its_writes_is_finished_by_the_next() {
    let Some(harbour) = Harbour::open("step") else { return };
    let way = harbour.cluster.watched().await;
    write_version(&harbour, 1);
    harbour.run(&["ship", "cluster"]).exits(0);
    let deploy = || {
        let mut command = harbour.command(&["deploy", "cluster", "--prune"]);
        command.env("KUBECONFIG", way.kubeconfig());
        spawn(command)
    };
    let mut number = 1;
    let mut release = || {
        number += 1;
        write_version(&harbour, number);
        harbour.run(&["release"]).exits(0);
        number
    };
    release();
    let before = writes(&way);
    finish(deploy()).exits(0);
    let all = writes(&way) - before;
    assert!(all >= 8, "lock, journal, four objects, a deletion, revision: {all}");
    for moment in 1..=all {
        let wanted = release();
        let before = writes(&way);
        let mut running = deploy();
        while writes(&way) < before + moment && running.child.try_wait().unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        running.child.kill().unwrap();
        let killed = finish(running);
        let next = harbour.run(&["deploy", "cluster", "--prune"]);
        let context = format!("killed at write {moment} of {all}: {killed}\n{next}");
        assert_eq!(next.code, Some(0), "{context}");
        assert_eq!(is_whole(&harbour, &context), wanted);
    }
    eprintln!("killed at each of {all} writes");
}

#[test]
fn a_way_back_on_a_cluster_that_is_killed_is_finished_by_the_next_command() {
    let Some(harbour) = Harbour::open("undo") else { return };
    let mut dice = Dice::from_environment();
    write_version(&harbour, 1);
    harbour.run(&["ship", "cluster"]).exits(0);
    write_version(&harbour, 2);
    harbour.service("web", "2", &["ENV EXIT_AFTER=0"]);
    harbour.merge("[patch] a broken one");
    for verb in ["rollback", "ship"] {
        let mut running = harbour.spawn(&["ship", "cluster", "--prune"]);
        running.wait_for("web failed");
        std::thread::sleep(std::time::Duration::from_secs_f64(dice.roll() * 1.5));
        running.child.kill().unwrap();
        let killed = finish(running);
        let next = harbour.run(&[verb, "cluster", "--prune"]);
        // Where the kill came after the end, there is no earlier release to go back to.
        let nothing = next.code == Some(2) && next.err.contains("no earlier release");
        let code = if verb == "rollback" { 0 } else { 1 };
        assert!(nothing || next.code == Some(code), "{killed}\n{next}");
        assert_eq!(is_whole(&harbour, &format!("{killed}\n{next}")), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_slept_beyond_its_lease_writes_nothing_more_to_the_cluster() {
    let Some(harbour) = Harbour::open("sleep") else { return };
    let way = harbour.cluster.watched().await;
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    harbour.version("2");
    harbour.service("web", "2", &["ENV LISTEN_AFTER=4"]);
    harbour.merge("[patch] the second");
    harbour.run(&["release"]).exits(0);
    let mut command = harbour.command(&["deploy", "cluster"]);
    command.env("KUBECONFIG", way.kubeconfig());
    let mut paused = spawn(command);
    paused.wait_for("web starting");
    paused.signal("-STOP");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    harbour.run(&["rollback", "cluster", "--wait", "90"]).exits(0);
    harbour.runs("1", "1");
    let (before, pods) = (harbour.resource_versions(), harbour.pods());
    let seen = way.proxy.requests().len();
    paused.signal("-CONT");
    let woken = finish(paused);
    assert_eq!(woken.code, Some(3), "{woken}");
    let written: Vec<String> = way.proxy.requests()[seen..]
        .iter()
        .filter(|request| request.method != "GET")
        .map(|request| format!("{} {}", request.method, request.path))
        .collect();
    assert!(written.is_empty(), "{written:?}");
    assert_eq!((harbour.resource_versions(), harbour.pods()), (before, pods));
    harbour.is_at_rest();
}
