use std::process::Command;
use std::time::{Duration, Instant};

use bowline_testkit::host::Host;
use bowline_testkit::proxy::{Endpoint, Fault, FaultProxy, Rule};
use bowline_testkit::registry::{Registry, start_docker_registry};
use tokio::runtime::Runtime;

/// A registry, and a proxy before it. The runtime works on its own threads while the test waits for programs.
fn before_registry() -> Option<(Registry, FaultProxy, Runtime)> {
    let registry = start_docker_registry()?;
    let runtime = Runtime::new().unwrap();
    let proxy = runtime.block_on(FaultProxy::http(registry.address()));
    Some((registry, proxy, runtime))
}

fn curl(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("curl").args(["-sS", "--max-time", "10"]).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn requests_are_recorded_and_answered_as_the_rules_say() {
    let Some((_registry, proxy, _runtime)) = before_registry() else { return };
    let url = format!("http://{}/v2/", proxy.address());
    proxy.add(Rule::on("GET", "/v2/", Fault::retry_after(429, 7)).nth(2));
    let (_, first) = curl(&["-o", "/dev/null", "-w", "%{http_code}", &url]);
    let (_, second) = curl(&["-i", &url]);
    let (_, third) = curl(&["-o", "/dev/null", "-w", "%{http_code}", &url]);
    assert_eq!((first.as_str(), third.as_str()), ("200", "200"));
    assert!(second.starts_with("HTTP/1.1 429") && second.contains("Retry-After: 7"), "{second}");
    assert_eq!(proxy.lines(), ["GET /v2/"; 3]);
    let statuses: Vec<_> = proxy.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(200), Some(429), Some(200)]);
}

#[test]
fn a_line_can_be_cut_in_a_body_and_before_an_answer() {
    let Some((_registry, proxy, _runtime)) = before_registry() else { return };
    let start = format!("http://{}/v2/cut/blobs/uploads/", proxy.address());
    let upload = || {
        let (_, head) = curl(&["-i", "-X", "POST", &start]);
        let line = head.lines().find(|line| line.to_lowercase().starts_with("location:")).unwrap().to_owned();
        line.split_once(": ").unwrap().1.trim().to_owned()
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 500_000]).unwrap();
    let data = format!("@{}", file.path().display());
    let patch = |url: &str| curl(&["-X", "PATCH", "-H", "Expect:", "--data-binary", &data, url]);

    proxy.add(Rule::on("PATCH", "", Fault::CutRequestAfter(100_000)).times(1));
    assert!(!patch(&upload()).0);
    assert_eq!(proxy.requests().last().unwrap().sent, 100_000);
    proxy.add(Rule::on("PATCH", "", Fault::CutAnswer).times(1));
    assert!(!patch(&upload()).0);
    assert_eq!(proxy.requests().last().unwrap().sent, 500_000);
    assert_eq!(proxy.requests().last().unwrap().status, None);
    assert!(patch(&upload()).0, "the rules are used up");
}

#[test]
fn real_clients_push_and_pull_through_it() {
    let Some(host) = Host::start("proxy") else { return };
    let Some(registry) = start_docker_registry() else { return };
    let runtime = Runtime::new().unwrap();
    let listen = std::net::SocketAddr::from((host.gateway(), 0));
    let proxy = runtime.block_on(FaultProxy::http_on(listen, registry.address()));
    let name = format!("{}/kit:one", proxy.address());
    let image = bowline_testkit::image::scratch(&name).payload(300_000, 3);
    if image.make(host.docker_host()).is_none() {
        return;
    }
    proxy.add(Rule::on("", "", Fault::status(503)).nth(3));
    host.docker(["push", &name]);
    let payload = proxy.bytes().0;
    assert!(payload > 300_000, "{payload}");
    host.docker(["rmi", &name]);
    host.docker(["pull", &name]);
    assert!(proxy.lines().iter().any(|line| line == "PUT /v2/kit/manifests/one"), "{:#?}", proxy.lines());
}

#[test]
fn an_engine_works_through_it_with_attached_streams() {
    let Some(host) = Host::start("proxy") else { return };
    let Some(_) = bowline_testkit::image::scratch("kit:1").make(host.docker_host()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let runtime = Runtime::new().unwrap();
    let proxy = runtime.block_on(FaultProxy::http_on(socket.as_path(), host.docker_socket()));
    assert!(matches!(proxy.endpoint(), Endpoint::Unix(_)));
    let docker_host = format!("unix://{}", socket.display());
    let output = Command::new("docker")
        .args(["-H", &docker_host, "run", "--rm", "kit:1", "print", "streamed"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "streamed");
    assert!(proxy.lines().iter().any(|line| line.contains("/containers/create")), "{:#?}", proxy.lines());
}

#[test]
fn ssh_takes_longer_through_it_and_can_be_cut() {
    let Some(host) = Host::start("proxy") else { return };
    let runtime = Runtime::new().unwrap();
    let upstream = std::net::SocketAddr::from((host.address(), 22));
    let proxy = runtime.block_on(FaultProxy::tcp(upstream));
    let config = host.ssh_config_through(proxy.address());
    let run = |line: &str| {
        let begin = Instant::now();
        let output = Command::new("ssh").arg("-F").arg(&config).args([host.name(), line]).output().unwrap();
        (output.status.success(), begin.elapsed())
    };
    let (works, quick) = run("true");
    assert!(works);
    proxy.set_latency(Duration::from_millis(50));
    let (works, slow) = run("true");
    assert!(works && slow > quick + Duration::from_millis(400), "{quick:?} {slow:?}");
    proxy.set_latency(Duration::ZERO).cut_after(100_000);
    assert!(!run("cat /dev/zero").0);
    proxy.refuse();
    assert!(!run("true").0);
    proxy.heal();
    assert!(run("true").0);
}
