//! A process that holds a lease and writes all the time; the tests start this very binary again to be it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bowline_compose::connection::{Address, Connection, Options};
use bowline_compose::document::Documents;
use bowline_compose::engine::{Engine, Writer};
use bowline_compose::lease::{self, Lease, Status};
use bowline_testkit::host::Host;
use bowline_testkit::image;

use crate::near;

#[tokio::test(flavor = "multi_thread")]
async fn hold() {
    let Ok(address) = std::env::var("HOLD_ADDRESS") else { return };
    let options = Options { docker_host: std::env::var("HOLD_DOCKER_HOST").ok(), ..Options::from_env() };
    let address: Address = address.parse().unwrap();
    let engine = Engine::open(&Connection::open(&address, &options).await.unwrap()).await.unwrap();
    let documents = Documents::new(&engine, "chat").unwrap();
    let lease = Lease::take(&documents, "held", "deploy").await.unwrap();
    let writer = Writer::new(&engine, lease.authority());
    println!("\nholding");
    for number in 0.. {
        if let Err(error) = writer.tag("web:1", &format!("mark:{number}").parse().unwrap()).await {
            println!("\nstopped: {error}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts such a process and waits until it writes.
fn start(host: &Host, far: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "holder::hold", "--nocapture"]).env("HOLD_DOCKER_HOST", host.docker_host());
    let address = if far { format!("ssh://{}", host.name()) } else { "local".into() };
    command.env("HOLD_ADDRESS", address).env("BOWLINE_SSH_CONFIG", host.ssh_config());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding"));
    // The pipe must stay open: it writes once more when it stops.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

fn marks(host: &Host) -> usize {
    host.docker(["images", "-q", "mark"]).lines().count()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_holder_writes_nothing_more_when_it_wakes_up() {
    let Some(host) = Host::start("h-pause") else { return };
    if image::scratch("web:1").make(host.docker_host()).is_none() {
        return;
    }
    let mut child = start(&host, false);
    while marks(&host) < 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    signal(&child, "-STOP");
    let documents = Documents::new(&near(&host).await, "chat").unwrap();
    assert!(Lease::take(&documents, "early", "deploy").await.is_err(), "it is alive");
    let begin = Instant::now();
    let mut asked = 0;
    let lease =
        Lease::wait(&documents, "next", "deploy", Duration::from_secs(60), |_| asked += 1).await.unwrap();
    assert!(begin.elapsed() > Duration::from_secs(20) && asked > 0);
    let before = marks(&host);
    signal(&child, "-CONT");
    let ended = child.wait().unwrap();
    assert!(ended.success());
    assert_eq!(marks(&host), before);
    lease.authority().check().unwrap();
    lease.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_holder_leaves_no_connection_and_its_lease_to_the_next() {
    let Some(host) = Host::start("h-kill") else { return };
    if image::scratch("web:1").make(host.docker_host()).is_none() {
        return;
    }
    let mut child = start(&host, true);
    let config = host.ssh_config().display().to_string();
    let connected =
        || Command::new("pgrep").args(["-f", &format!("ssh -F {config}")]).output().unwrap().status.success();
    assert!(connected());
    child.kill().unwrap();
    child.wait().unwrap();
    let documents = Documents::new(&near(&host).await, "chat").unwrap();
    assert!(
        matches!(lease::status(&documents).await.unwrap(), Status::Held { holder, .. } if lease::is_dead(&holder))
    );
    // Its process was on this machine and is dead: no need to wait.
    let begin = Instant::now();
    let lease = Lease::take(&documents, "next", "deploy").await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    lease.release().await.unwrap();
    let begin = Instant::now();
    while connected() {
        assert!(begin.elapsed() < Duration::from_secs(15), "ssh lives on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
