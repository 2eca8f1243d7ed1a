use std::path::Path;
use std::process::Command;

use bowline_compose::document::Documents;
use bowline_compose::engine::{Credential, Engine, EngineError, Progress, Writer};
use bowline_compose::lease::Lease;
use bowline_core::reference::Reference;
use bowline_testkit::host::{self, Host};
use bowline_testkit::image;
use bowline_testkit::registry::{self, PASSWORD, USER};

use crate::{far, near};

async fn writer(engine: &Engine) -> (Lease, Writer) {
    let documents = Documents::new(engine, "chat").unwrap();
    let lease = Lease::take(&documents, "run", "deploy").await.unwrap();
    let writer = Writer::new(engine, lease.authority());
    (lease, writer)
}

/// Makes an image, pushes it under a name and takes it off the host again; gives its reference by digest.
fn push(host: &Host, repository: &str, login: Option<&Path>) -> Option<Reference> {
    let name = format!("{repository}:1");
    image::scratch(&name).payload(3 << 20, 5).make(host.docker_host())?;
    let mut docker = Command::new("docker");
    docker.args(["-H", host.docker_host()]);
    if let Some(folder) = login {
        docker.arg("--config").arg(folder);
    }
    let output = docker.args(["push", "-q", &name]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let digests = host.docker(["inspect", "--format", "{{index .RepoDigests 0}}", &name]);
    host.docker(["rmi", &name]);
    Some(digests.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_by_digest_named_and_removed() {
    let Some(host) = Host::start("i-pull") else { return };
    let Some(registry) = registry::start_docker_registry_on(host.gateway()) else { return };
    let Some(image) = push(&host, &registry.repository("chat/user"), None) else { return };
    let engine = near(&host).await;
    let (lease, writer) = writer(&engine).await;
    let mut last = Progress::default();
    writer.pull(&image, None, |progress| last = progress).await.unwrap();
    assert!(last.layers > 0 && last.layers_done == last.layers && last.received >= 3 << 20, "{last:?}");
    writer.pull(&image, None, |_| {}).await.unwrap();
    let there = engine.image(&image.to_string()).await.unwrap().unwrap();
    assert_eq!(there.manifests.iter().next(), image.digest.as_ref());
    assert_eq!(there.repositories.iter().next().unwrap(), &image.repository.to_string());

    writer.tag(&image.to_string(), &"main-service_user:latest".parse().unwrap()).await.unwrap();
    let images = engine.images().await.unwrap();
    assert!(images[0].names.contains("docker.io/library/main-service_user:latest"), "{images:?}");
    assert!(writer.remove_image_whole(&images[0]).await.unwrap());
    assert!(engine.images().await.unwrap().is_empty());
    assert!(!writer.remove_image("main-service_user:latest").await.unwrap());

    let absent = image.repository.at(bowline_core::digest::Digest::of(b"nothing"));
    let error = writer.pull(&absent, None, |_| {}).await.unwrap_err();
    assert!(matches!(error, EngineError::NotFound { .. }), "{error}");
    lease.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_engine_pulls_from_our_loopback_and_keeps_no_password() {
    let Some(host) = Host::start("i-back") else { return };
    let Some(registry) = registry::start_docker_registry_with_login() else { return };
    let engine = far(&host).await;
    let port = engine.connection().forward_back(registry.address().port()).await.unwrap();
    let repository = format!("127.0.0.1:{port}/chat");
    let folder = tempfile::tempdir().unwrap();
    let login = Command::new("docker")
        .arg("--config")
        .arg(folder.path())
        .args(["-H", host.docker_host(), "login", "-u", USER, "-p", PASSWORD, &format!("127.0.0.1:{port}")])
        .output()
        .unwrap();
    assert!(login.status.success(), "{}", String::from_utf8_lossy(&login.stderr));
    let Some(image) = push(&host, &repository, Some(folder.path())) else { return };

    let (lease, writer) = writer(&engine).await;
    let error = writer.pull(&image, None, |_| {}).await.unwrap_err();
    assert!(matches!(error, EngineError::Denied { .. }), "{error}");
    let password = |password: &str| Credential::Password { username: USER.into(), password: password.into() };
    let error = writer.pull(&image, Some(&password("wrong?>~")), |_| {}).await.unwrap_err();
    assert!(matches!(error, EngineError::Denied { .. }), "{error}");
    assert!(!error.to_string().contains("wrong"));
    writer.pull(&image, Some(&password(PASSWORD)), |_| {}).await.unwrap();
    assert_eq!(engine.images().await.unwrap().len(), 1);
    assert_eq!(host.ssh("ls -A /root/.docker 2>/dev/null || true"), "");
    lease.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_leaves_what_was_there() {
    let options = host::Options { disk: Some("48M".into()), ..Default::default() };
    let (Some(small), Some(large)) = (Host::start_with("i-full", &options), Host::start("i-large")) else {
        return;
    };
    let Some(registry) = registry::start_docker_registry_on(large.gateway()) else { return };
    let name = registry.repository("big:1");
    if image::scratch(&name).payload(80 << 20, 7).make(large.docker_host()).is_none() {
        return;
    }
    if image::scratch("old:1").make(small.docker_host()).is_none() {
        return;
    }
    large.docker(["push", "-q", &name]);
    let engine = far(&small).await;
    let free = engine.machine().await.unwrap().engine.disk_free.unwrap();
    assert!(free < 48 << 20, "{free}");
    let (lease, writer) = writer(&engine).await;
    let error = writer.pull(&name.parse().unwrap(), None, |_| {}).await.unwrap_err();
    assert!(matches!(error, EngineError::NoSpace { .. }), "{error}");
    assert!(error.hint().unwrap().contains("prune"));
    assert_eq!(engine.images().await.unwrap().len(), 1);
    lease.release().await.unwrap();
}
