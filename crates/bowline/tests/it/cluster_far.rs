//! A cluster whose API is reached through a machine by SSH.

use bowline_testkit::host::{Host, Options};
use bowline_testkit::proxy::{Endpoint, FaultProxy};

use crate::cluster::{Harbour, QUICK};

#[tokio::test(flavor = "multi_thread")]
async fn a_private_api_is_reached_through_the_machine_of_the_control_plane() {
    let Some(harbour) = Harbour::open("far") else { return };
    let options = Options { without_engine: true, ..Options::default() };
    let Some(host) = Host::start_with("far", &options) else { return };
    // The host reaches nothing but this machine: here something listens that leads to the API.
    let config = harbour.cluster.kubectl(["config", "view", "--raw", "--flatten", "--minify"]);
    let server = config.lines().find_map(|line| line.trim().strip_prefix("server: https://")).unwrap();
    let upstream: std::net::SocketAddr = server.parse().unwrap();
    let listen = Endpoint::Tcp((host.gateway(), 0).into());
    let proxy = FaultProxy::tcp_on(listen, upstream).await;
    let line = format!("server: https://{server}");
    let there = format!("tls-server-name: {}\n    server: https://{}", upstream.ip(), proxy.address());
    let config = config.replace(&line, &there);
    let file = harbour.scratch.path().join("kubeconfig");
    std::fs::write(&file, config).unwrap();
    // This machine's files are the host's too, but for its home.
    host.ssh(&format!(
        "mkdir -p ~/.kube && cp {} ~/.kube/config && chmod 600 ~/.kube/config",
        file.display()
    ));
    std::fs::remove_file(&file).unwrap();

    harbour.configure(&format!("host = \"ssh://{}\"\n{QUICK}", host.name()), "");
    let ssh_config = host.ssh_config().display().to_string();
    harbour.variables.borrow_mut().extend([
        ("BOWLINE_SSH_CONFIG".to_owned(), ssh_config),
        // Not used: the way is the host's.
        ("KUBECONFIG".to_owned(), "/nowhere/kubeconfig".to_owned()),
    ]);
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    harbour.runs("1", "1");
    assert!(proxy.connections() > 0, "it went through the host");
    harbour.service("web", "2", &["ENV EXIT_AFTER=0 EXIT_CODE=3"]);
    harbour.merge("[patch] a broken one");
    harbour.run(&["ship", "cluster"]).exits(1).says("exiting as told");
    harbour.runs("1", "1");
    harbour.is_at_rest();

    // The machine is gone, and with it the way.
    host.kill();
    harbour.run(&["deploy", "cluster"]).exits(4).says(host.name());
}
