//! Docker's engine and its containerd.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bowline_registry::Limits;
use bowline_testkit::host::Host;
use bowline_testkit::image::scratch;
use tokio::task::block_in_place;

use crate::served::{Served, header};

#[tokio::test(flavor = "multi_thread")]
async fn docker_pushes_pulls_mounts_and_runs() {
    let Some(host) = block_in_place(|| Host::start("registry")) else { return };
    // The engine takes this machine's address without TLS, and it is no loopback address.
    let served = Served::start_at("0.0.0.0", tempfile::tempdir().unwrap(), Limits::default()).await;
    let port = served.address.rsplit(':').next().unwrap();
    let at = |image: &str| format!("{}:{port}/{image}", host.gateway());
    let docker = |arguments: &[&str]| block_in_place(|| host.docker(arguments));

    let (user, chat) = (at("main/chat:user_v1"), at("main/chat:chat_v1"));
    let image = scratch(&user).version("1").payload(30 << 20, 1);
    let Some(id) = block_in_place(|| image.make(host.docker_host())) else { return };
    docker(&["push", &user]);
    docker(&["tag", &user, &chat]);
    let again = docker(&["push", &chat]);
    assert!(again.contains("Layer already exists"), "{again}");
    let elsewhere = at("main/elsewhere/chat:v1");
    docker(&["tag", &user, &elsewhere]);
    let mounted = docker(&["push", &elsewhere]);
    assert!(mounted.contains("Mounted from main/chat"), "{mounted}");

    let pushed = served.send("HEAD", "/v2/main/chat/manifests/user_v1").await;
    let digest = header(&pushed, "docker-content-digest");
    for name in [&user, &chat, &elsewhere] {
        docker(&["rmi", name]);
    }
    let by_digest = at(&format!("main/chat@{digest}"));
    docker(&["pull", &by_digest]);
    assert_eq!(docker(&["inspect", "--format", "{{.Id}}", &by_digest]), id);
    docker(&["pull", &chat]);
    let listed = served.send("GET", "/v2/main/chat/tags/list").await.text().await.unwrap();
    assert_eq!(listed, r#"{"name":"main/chat","tags":["chat_v1","user_v1"]}"#);

    // containerd's own client, which engines with the containerd store use: other requests than the engine's.
    let ctr = |line: &str| {
        let socket = "/run/docker/containerd/containerd.sock";
        block_in_place(|| host.ssh(&format!("ctr --address {socket} --namespace test images {line}")))
    };
    ctr(&format!("pull --plain-http {user}"));
    let copy = at("from/containerd:v1");
    ctr(&format!("tag {user} {copy}"));
    ctr(&format!("push --plain-http {copy}"));
    let pushed = served.send("HEAD", "/v2/from/containerd/manifests/v1").await;
    assert_eq!(header(&pushed, "docker-content-digest"), digest);
}

/// A port of the host's loopback that leads to the registry, as far hosts reach it.
struct Forward(Child);

impl Forward {
    fn open(host: &Host, port: u16, to: &str) -> Self {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(host.ssh_config()).args(["-N", "-o", "ExitOnForwardFailure=yes", "-R"]);
        command.args([&format!("127.0.0.1:{port}:{to}"), host.name()]).stdin(Stdio::null());
        let forward = Self(command.spawn().unwrap());
        let start = Instant::now();
        let url = format!("http://127.0.0.1:{port}/v2/");
        while !host.command("curl").args(["-sf", &url]).output().unwrap().status.success() {
            assert!(start.elapsed() < Duration::from_secs(20), "the forwarded port does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        forward
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_engine_pulls_and_pushes_through_ssh() {
    let Some(host) = block_in_place(|| Host::start("registry")) else { return };
    let served = Served::start().await;
    // Another port there than here: locations that the registry gives must hold all the same.
    let port = 5017;
    let forward = block_in_place(|| Forward::open(&host, port, &served.address));
    let name = format!("127.0.0.1:{port}/main/chat:user_v1");
    let image = scratch(&name).version("1").payload(10 << 20, 2);
    let Some(id) = block_in_place(|| image.make(host.docker_host())) else { return };
    block_in_place(|| {
        host.docker(["push", &name]);
        host.docker(["rmi", &name]);
        host.docker(["pull", &name]);
        assert_eq!(host.docker(["inspect", "--format", "{{.Id}}", &name]), id);
    });
    drop(forward);
    assert_eq!(served.send("HEAD", "/v2/main/chat/manifests/user_v1").await.status(), 200);
}
