use std::time::{Duration, Instant};

use bowline_testkit::{host::Host, image, registry};

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come true");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_image_behaves_as_it_is_told() {
    let Some(host) = Host::start("image") else { return };
    let image = image::scratch("kit/web:1").version("5.0.1").env("HEALTHY_AFTER", "1").healthcheck();
    let Some(id) = image.make(host.docker_host()) else { return };
    assert!(id.starts_with("sha256:"), "{id}");

    host.docker(["network", "create", "net"]);
    host.docker(["run", "-d", "--network", "net", "--name", "web", "-p", "8080:8080", "kit/web:1"]);
    let state = |name: &str, field: &str| {
        host.docker(["inspect", "--format", &format!("{{{{.State.{field}}}}}"), name])
    };
    wait_for("healthy", || state("web", "Health.Status") == "healthy");
    // Names of other containers resolve in a static program.
    let asked =
        host.docker(["run", "--rm", "--network", "net", "kit/web:1", "get", "http://web:8080/version"]);
    assert_eq!(asked, "5.0.1");
    let outside = host.command("curl").args(["-s", "http://127.0.0.1:8080/version"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&outside.stdout).trim(), "5.0.1");
    let begin = Instant::now();
    host.docker(["stop", "web"]);
    assert!(begin.elapsed() < Duration::from_secs(5), "it ends on SIGTERM");

    host.docker(["run", "-d", "--name", "oom", "-m", "32m", "-e", "OOM_AFTER=0", "kit/web:1"]);
    wait_for("killed", || state("oom", "OOMKilled") == "true");
    host.docker(["run", "-d", "--name", "ends", "kit/web:1", "--exit-after=0.2", "--exit-code=7"]);
    wait_for("exited", || state("ends", "ExitCode") == "7");
    host.docker(["run", "-d", "--name", "third", "--restart", "always", "kit/web:1", "--fail-starts=2"]);
    wait_for("converged", || {
        host.docker(["inspect", "--format", "{{.RestartCount}} {{.State.Running}}", "third"]) == "2 true"
    });
}

#[test]
fn a_host_pushes_to_a_registry_of_this_machine() {
    let Some(host) = Host::start("push") else { return };
    let Some(registry) = registry::start_docker_registry_on(host.gateway()) else { return };
    let name = registry.repository("kit:one");
    let Some(_) = image::scratch(&name).payload(100_000, 7).make(host.docker_host()) else { return };
    host.docker(["push", &name]);
    assert!(registry.log().contains("PUT /v2/kit/manifests/one"), "{}", registry.log());
}

#[test]
fn a_registry_with_a_login_refuses_strangers() {
    let Some(registry) = registry::start_docker_registry_with_login() else { return };
    let ask = |extra: &[&str]| {
        let url = format!("http://{}/v2/", registry.address());
        let output = std::process::Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url])
            .args(extra)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(ask(&[]), "401");
    assert_eq!(ask(&["-u", &format!("{}:{}", registry::USER, registry::PASSWORD)]), "200");
}

#[test]
fn a_context_builds_where_the_builder_is_the_engines() {
    let Some(host) = Host::start("build") else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = image::scratch("kit/built:1").version("7").instruction("EXPOSE 8080");
    if image.write_context(folder.path()).is_none() {
        return;
    }
    host.docker(["build", "-q", "-t", "kit/built:1", folder.path().to_str().unwrap()]);
    assert_eq!(host.docker(["run", "--rm", "kit/built:1", "print", "hello"]), "hello");
}
