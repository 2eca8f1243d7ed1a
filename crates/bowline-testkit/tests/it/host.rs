use bowline_testkit::host::{Host, Options};

#[test]
fn a_host_has_an_engine_of_its_own_and_leaves_nothing() {
    let Some(host) = Host::start("kit") else { return };
    assert_eq!(host.docker(["info", "--format", "{{.Name}}"]), host.name());
    assert_eq!(host.ssh("hostname && ls /home && docker ps -q"), host.name());
    let inside = host.command("docker").args(["info", "--format", "{{.Name}}"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&inside.stdout).trim(), host.name());

    let (name, socket) = (host.name().to_owned(), host.docker_socket());
    drop(host);
    assert!(!socket.exists());
    let left = std::process::Command::new("ip").arg("netns").output().unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains(&name));
}

#[test]
fn a_host_that_lost_its_power_comes_back_with_its_data() {
    let Some(host) = Host::start("kit") else { return };
    host.docker(["volume", "create", "kept"]);
    host.kill();
    assert!(!host.try_docker(["ps"]).status.success());
    host.revive();
    assert_eq!(host.docker(["volume", "ls", "-q"]), "kept");
    host.stop_engine();
    assert!(!host.try_docker(["ps"]).status.success());
    host.start_engine();
    assert_eq!(host.docker(["volume", "ls", "-q"]), "kept");
}

#[test]
fn a_host_can_have_a_small_disk() {
    let Some(host) = Host::start_with("kit", &Options { disk: Some("40M".into()), ..Options::default() })
    else {
        return;
    };
    let root = host.docker(["info", "--format", "{{.DockerRootDir}}"]);
    let size: u64 = host.ssh(&format!("df --output=size -m {root} | tail -1")).trim().parse().unwrap();
    assert!(size <= 40, "{size} MB");
}
