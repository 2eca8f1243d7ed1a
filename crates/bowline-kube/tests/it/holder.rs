//! A process that holds a lease and writes all the time; the tests start this very binary again to be it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bowline_kube::Cluster;
use bowline_kube::lease::{self, Lease, Status};
use serde_json::json;

use crate::stage::{self, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn hold() {
    let Ok(namespace) = std::env::var("HOLD_NAMESPACE") else { return };
    let kubeconfig = std::env::var_os("HOLD_KUBECONFIG").unwrap().into();
    let cluster = Cluster::connect_by(&[kubeconfig], None).await.unwrap();
    let documents = stage::documents(&cluster, &namespace);
    let lease = Lease::take(&documents, "held", "deploy").await.unwrap();
    println!("\nholding");
    for number in 0.. {
        if let Err(error) = lease.authority().check() {
            println!("\nstopped: {error}");
            return;
        }
        let mark = json!({"metadata": {"name": format!("mark-{number}")}});
        stage::post(&cluster, &format!("/api/v1/namespaces/{namespace}/configmaps"), mark).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts such a process and waits until it writes.
fn start(stage: &Stage) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "holder::hold", "--nocapture"]);
    command.env("HOLD_NAMESPACE", stage.namespace()).env("HOLD_KUBECONFIG", stage.room.kubeconfig());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding"));
    // The pipe must stay open: it writes once more when it stops.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

async fn marks(cluster: &Cluster, namespace: &str) -> usize {
    let list = stage::get(cluster, &format!("/api/v1/namespaces/{namespace}/configmaps")).await;
    let items = list["items"].as_array().unwrap();
    items.iter().filter(|item| item["metadata"]["name"].as_str().unwrap().starts_with("mark-")).count()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_holder_writes_nothing_more_when_it_wakes_up() {
    let Some(stage) = Stage::open("pause").await else { return };
    let documents = stage.documents();
    let (cluster, namespace) = (documents.cluster(), documents.namespace());
    let mut child = start(&stage);
    while marks(cluster, namespace).await < 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    signal(&child, "-STOP");
    assert!(Lease::take(&documents, "early", "deploy").await.is_err(), "it is alive");
    let begin = Instant::now();
    let mut asked = 0;
    let lease =
        Lease::wait(&documents, "next", "deploy", Duration::from_secs(60), |_| asked += 1).await.unwrap();
    assert!(begin.elapsed() > Duration::from_secs(20) && asked > 0);
    assert_eq!(lease.authority().number(), 2);
    let before = marks(cluster, namespace).await;
    signal(&child, "-CONT");
    assert!(child.wait().unwrap().success());
    // A write that was under way when it was stopped may still arrive; a new one must not.
    assert!(marks(cluster, namespace).await <= before + 1);
    lease.authority().check().unwrap();
    lease.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_holder_leaves_its_lease_to_the_next() {
    let Some(stage) = Stage::open("kill").await else { return };
    let documents = stage.documents();
    let mut child = start(&stage);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        matches!(lease::status(&documents).await.unwrap(), Status::Held { holder, .. } if lease::is_dead(&holder))
    );
    // Its process was on this machine and is dead: no need to wait.
    let begin = Instant::now();
    let lease = Lease::take(&documents, "next", "deploy").await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    lease.release().await.unwrap();
}
