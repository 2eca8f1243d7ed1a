//! A real engine, and containers that do known things.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bowline_gate::difference::between;
use bowline_gate::lookout::{Lookout, Roots};
use bowline_measurement::interval::{Interval, Usage};
use bowline_measurement::rollup::Step;
use bowline_testkit::host::Host;
use bowline_testkit::image::scratch;

use crate::{GATE, read};

fn lookout(host: &Host) -> Lookout {
    let (proc, socket) = (proc(host), host.docker_socket());
    let (cgroup, data) = (Path::new("/sys/fs/cgroup"), Path::new("/tmp"));
    Lookout::new(&Roots { proc: &proc, cgroup, socket: &socket, data }, None).unwrap()
}

/// The host's own `/proc`: a lab host numbers its processes itself.
fn proc(host: &Host) -> PathBuf {
    let state = host.docker_socket().parent().unwrap().to_owned();
    let first = std::fs::read_to_string(state.join("process")).unwrap();
    format!("/proc/{}/root/proc", first.split_whitespace().next().unwrap()).into()
}

/// Looks, waits, looks again, until what was used is as it should be.
async fn eventually(lookout: &mut Lookout, what: &str, holds: impl Fn(&Interval) -> bool) -> Interval {
    let begin = Instant::now();
    let mut before = lookout.look().await.unwrap();
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let after = lookout.look().await.unwrap();
        let row = between(&before, &after).unwrap();
        if holds(&row) {
            return row;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "never: {what}; last: {row:#?}");
        before = after;
    }
}

fn usage<'a>(row: &'a Interval, name: &str) -> Option<&'a Usage> {
    row.containers.get(name)
}

#[tokio::test]
async fn containers_are_measured_by_the_names_that_people_know() {
    let Some(host) = Host::start("g-names") else { return };
    if scratch("lab/thing:1").make(host.docker_host()).is_none() {
        return;
    }
    let labels = ["project=chat", "service=user", "container-number=1"]
        .map(|label| format!("com.docker.compose.{label}"));
    let mut run = vec!["run", "-d", "--name", "chat-user-1", "--memory", "64m"];
    labels.iter().for_each(|label| run.extend(["--label", label]));
    run.extend(["-e", "MEMORY=20", "lab/thing:1"]);
    host.docker(run);
    let busy =
        ["run", "-d", "--name", "busy", "--cpus", "0.3", "-e", "PORT=none", "-e", "BURN=120", "lab/thing:1"];
    host.docker(busy);
    host.docker(["run", "-d", "--name", "plain", "--network", "host", "-e", "PORT=none", "lab/thing:1"]);
    host.docker([
        "run",
        "-d",
        "--name",
        "nested",
        "--cgroup-parent",
        "/custom/deep",
        "-e",
        "PORT=none",
        "lab/thing:1",
    ]);
    // Only now: parents that had no containers yet are found when everything is searched again, a minute later.
    let mut lookout = lookout(&host);
    let row = eventually(&mut lookout, "the work is seen", |row| {
        usage(row, "busy")
            .is_some_and(|usage| usage.cpu > 0 && usage.cpu <= row.seen * 500 && usage.throttled > 0)
            && usage(row, "chat/user/1").is_some_and(|usage| usage.memory > 20 << 20)
    })
    .await;
    host.docker(["rm", "-f", "busy"]);
    let user = usage(&row, "chat/user/1").unwrap();
    assert!(user.memory_limit == 64 << 20 && user.memory_peak >= user.memory, "{user:?}");
    assert!((1..60_000).contains(&user.age) && user.seen <= row.seen, "{user:?}");
    assert!(usage(&row, "plain").is_some_and(|usage| usage.memory_limit == 0), "{row:?}");

    host.docker(["rename", "plain", "renamed"]);
    host.docker(["run", "-d", "--name", "another", "-e", "PORT=none", "lab/thing:1"]);
    let row = eventually(&mut lookout, "the new name", |row| usage(row, "renamed").is_some()).await;
    assert!(usage(&row, "plain").is_none());

    // Asked for by the host: what the container sends is its own traffic.
    let address = host.docker(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "chat-user-1"]);
    let before = lookout.look().await.unwrap();
    let status =
        host.command("curl").args(["-s", "-o", "/dev/null", &format!("http://{address}:8080/")]).status();
    assert!(status.unwrap().success());
    let after = lookout.look().await.unwrap();
    let row = between(&before, &after).unwrap();
    let flow = usage(&row, "chat/user/1").unwrap().network;
    assert!(flow.inward > 60 && flow.outward > 60, "{flow:?}");
    let none = usage(&row, "renamed").unwrap().network;
    assert_eq!((none.inward, none.outward), (0, 0), "the host's network is not the container's");

    host.docker(["rm", "-f", "chat-user-1"]);
    let row = between(&after, &lookout.look().await.unwrap()).unwrap();
    assert!(usage(&row, "chat/user/1").is_none());
    assert!(usage(&row, "nested").is_some(), "a custom parent");
    // Other hosts of this machine have containers too, whose names only their own engines know.
    let names: Vec<_> = row.containers.keys().collect();
    assert_eq!(names, ["another", "nested", "renamed"]);
}

#[tokio::test]
async fn restarts_and_kills_are_counted_where_nobody_looked() {
    let Some(host) = Host::start("g-kills") else { return };
    if scratch("lab/thing:1").make(host.docker_host()).is_none() {
        return;
    }
    let mut lookout = lookout(&host);
    let run = [
        "run",
        "-d",
        "--name",
        "hungry",
        "--memory",
        "32m",
        "--memory-swap",
        "32m",
        "--restart",
        "on-failure:2",
    ];
    host.docker(run.iter().chain(&["-e", "OOM_AFTER=2", "lab/thing:1"]));
    let mut sum: BTreeMap<String, Usage> = BTreeMap::new();
    let begin = Instant::now();
    let mut before = lookout.look().await.unwrap();
    while begin.elapsed() < Duration::from_secs(120) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let after = lookout.look().await.unwrap();
        for (name, usage) in between(&before, &after).unwrap().containers {
            let total = sum.entry(name).or_default();
            total.oom_kills += usage.oom_kills;
            total.restarts += usage.restarts;
        }
        before = after;
        let inspected = host.docker(["inspect", "-f", "{{.State.Running}} {{.RestartCount}}", "hungry"]);
        if inspected == "false 2" && sum.get("hungry").is_some_and(|usage| usage.oom_kills == 3) {
            break;
        }
    }
    let hungry = sum.get("hungry").unwrap();
    assert_eq!((hungry.oom_kills, hungry.restarts), (3, 2), "{:?}", begin.elapsed());

    // One that was never seen running.
    let limits = ["--memory", "32m", "--memory-swap", "32m"];
    let run = ["run", "-d", "--name", "brief"].iter().chain(&limits);
    let mut before = lookout.look().await.unwrap();
    host.docker(run.chain(&["-e", "OOM_AFTER=0", "lab/thing:1"]));
    host.docker(["wait", "brief"]);
    let (begin, mut kills) = (Instant::now(), 0);
    while kills == 0 && begin.elapsed() < Duration::from_secs(60) {
        let after = lookout.look().await.unwrap();
        kills += usage(&between(&before, &after).unwrap(), "brief").map_or(0, |usage| usage.oom_kills);
        before = after;
    }
    assert_eq!(kills, 1);

    host.docker(["run", "-d", "--name", "again", "-e", "PORT=none", "lab/thing:1"]);
    eventually(&mut lookout, "it runs", |row| usage(row, "again").is_some()).await;
    let before = lookout.look().await.unwrap();
    host.docker(["restart", "-t", "0", "again"]);
    let row = between(&before, &lookout.look().await.unwrap()).unwrap();
    let usage = usage(&row, "again").unwrap();
    assert!(usage.restarts == 1 && usage.seen <= row.seen && usage.age < row.seen + 1_000, "{usage:?}");
}

#[tokio::test]
async fn an_engine_that_is_gone_leaves_the_figures_of_what_is_known() {
    let Some(host) = Host::start("g-gone") else { return };
    if scratch("lab/thing:1").make(host.docker_host()).is_none() {
        return;
    }
    host.docker(["run", "-d", "--name", "known", "-e", "PORT=none", "lab/thing:1"]);
    let mut lookout = lookout(&host);
    eventually(&mut lookout, "it is known", |row| usage(row, "known").is_some()).await;
    host.kill_engine();
    eventually(&mut lookout, "it is measured still", |row| usage(row, "known").is_some()).await;
    host.start_engine();
}

/// A sampler that is taken down with the test.
struct Sampler(Child);

impl Drop for Sampler {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn the_binary_samples_serves_and_hands_out() {
    let Some(host) = Host::start("g-binary") else { return };
    if scratch("lab/thing:1").make(host.docker_host()).is_none() {
        return;
    }
    host.docker(["run", "-d", "--name", "thing", "-e", "PORT=none", "lab/thing:1"]);
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new(GATE);
    command.args(["sample", "--every", "1s", "--metadata", "none", "--prometheus", &address, "--store"]);
    command
        .arg(&store)
        .arg("--socket")
        .arg(host.docker_socket())
        .arg("--proc")
        .arg(proc(&host))
        .stderr(Stdio::piped());
    let mut sampler = Sampler(command.spawn().unwrap());
    std::thread::sleep(Duration::from_secs(5));
    let text =
        Command::new("curl").args(["-s", &format!("http://{address}/metrics")]).output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("bowline_container_cpu_seconds_total{name=\"thing\"}"), "{text}");
    let mut again = Command::new(GATE);
    let refused = again.args(["sample", "--store"]).arg(&store).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another sampler"), "{refused:?}");

    Command::new("kill").arg(sampler.0.id().to_string()).status().unwrap();
    assert!(sampler.0.wait().unwrap().success());
    let output = Command::new(GATE).args(["export", "--store"]).arg(&store).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let series = crate::series(&output.stdout);
    let facts = series.facts.clone().unwrap();
    assert!(facts.cores > 0 && facts.every == 1_000 && facts.host == host.name(), "{facts:?}");
    assert!(series.rows.len() >= 3 && series.rows.iter().any(|row| row.containers.contains_key("thing")));
    assert_eq!(series, read(&store, Step::Sample));
    assert!(!read(&store, Step::Hour).rows.is_empty());
}
