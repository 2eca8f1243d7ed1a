//! Registries and lines that misbehave.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bowline_oci::artifact::{Artifact, Part, push_artifact};
use bowline_oci::credential::{Credential, Credentials};
use bowline_oci::push::push;
use bowline_oci::registry::{Client, Options};
use bowline_oci::store::Store;
use bowline_testkit::proxy::{Fault, FaultProxy, Rule};
use bowline_testkit::registry::{
    PASSWORD, Registry, USER, start_docker_registry, start_docker_registry_with_login,
};

use crate::place::{chain, client, image_of, item, noise, options, quiet, repository, write};

/// A registry behind a proxy, and an image to push through it.
struct Scene {
    registry: Registry,
    proxy: FaultProxy,
    home: tempfile::TempDir,
    store: Store,
}

impl Scene {
    async fn new(registry: Option<Registry>) -> Option<Self> {
        let registry = registry?;
        let proxy = FaultProxy::http(registry.address()).await;
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("cache")).unwrap();
        Some(Self { registry, proxy, home, store })
    }

    async fn push(&self, client: &Client, size: usize) -> Result<u64, String> {
        let image = image_of(&self.store, self.home.path(), &noise(size, 7));
        let target = repository(&format!("{}/chat", self.proxy.address()));
        let pushed =
            push(client, &self.store, &target, &[item("user", &image, "user_v1")], false, &quiet()).await;
        pushed.map(|report| report.sent()).map_err(|error| chain(&error))
    }
}

fn patient(seconds: u64) -> Client {
    Client::new(Options { patience: Duration::from_secs(seconds), ..options() }).unwrap()
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let Some(scene) = Scene::new(start_docker_registry()).await else { return };
    for (verb, path) in
        [("HEAD", "/manifests/"), ("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PUT", "/manifests/")]
    {
        scene.proxy.add(Rule::on(verb, path, Fault::status(503)).times(1));
        scene.proxy.add(Rule::on(verb, path, Fault::Cut).times(1));
    }
    let sent = scene.push(&patient(30), 300_000).await.unwrap();
    assert!(sent > 300_000);
}

#[tokio::test]
async fn a_limit_is_waited_out_as_the_registry_asks() {
    let Some(scene) = Scene::new(start_docker_registry()).await else { return };
    scene.proxy.add(Rule::on("HEAD", "/blobs/", Fault::retry_after(429, 2)).times(1));
    let start = Instant::now();
    scene.push(&patient(30), 1000).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn patience_has_an_end_and_the_answer_is_told() {
    let Some(scene) = Scene::new(start_docker_registry()).await else { return };
    scene.proxy.add(Rule::on("", "/v2/", Fault::status(500)));
    let start = Instant::now();
    let error = scene.push(&patient(2), 1000).await.unwrap_err();
    assert!(error.contains("answered 500"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(error.contains("could not look for 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn an_upload_that_is_cut_is_finished() {
    // This registry forgets what it got before the cut, so the upload starts over; `ecr` has one that does not.
    let Some(scene) = Scene::new(start_docker_registry()).await else { return };
    scene.proxy.add(Rule::on("PATCH", "/uploads/", Fault::CutRequestAfter(1 << 20)).times(2));
    scene.push(&patient(30), 8 << 20).await.unwrap();
    let patches = scene.proxy.requests().iter().filter(|request| request.method == "PATCH").count();
    assert_eq!(patches, 3);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_no_failure() {
    let Some(scene) = Scene::new(start_docker_registry()).await else { return };
    scene.proxy.add(Rule::on("PUT", "/manifests/user_v1", Fault::CutAnswer).times(1));
    scene.proxy.add(Rule::on("PUT", "/uploads/", Fault::CutAnswer).times(1));
    scene.push(&patient(30), 100_000).await.unwrap();
    let target = repository(&format!("{}/chat", scene.proxy.address()));
    assert!(client().head_manifest(&target.tagged("user_v1")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_registry_that_hangs_is_left_after_a_while() {
    let Some(scene) = Scene::new(start_docker_registry()).await else { return };
    scene.proxy.add(Rule::on("PATCH", "/uploads/", Fault::Hang));
    let options = Options { idle: Duration::from_secs(1), patience: Duration::from_secs(2), ..options() };
    let start = Instant::now();
    let error = scene.push(&Client::new(options).unwrap(), 1 << 20).await.unwrap_err();
    assert!(error.contains("did nothing for 1 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_and_one_that_lies_is_refused() {
    let Some(scene) = Scene::new(start_docker_registry()).await else { return };
    scene.push(&client(), 2 << 20).await.unwrap();
    let image = image_of(&scene.store, scene.home.path(), &noise(2 << 20, 7));
    let target = repository(&format!("{}/chat", scene.proxy.address()));
    let (layer, size) = (image.layers[0].digest, image.layers[0].size);
    let other = Store::open(&scene.home.path().join("other")).unwrap();
    scene.proxy.add(Rule::on("GET", "/blobs/", Fault::CutAnswerAfter(1 << 20)).times(1));
    let tick = bowline_oci::build::unwatched();
    patient(20).pull_blob(&target, (&layer, size), &other, &tick).await.unwrap();
    assert_eq!(other.size(&layer), Some(image.layers[0].size));

    let lie = Fault::Answer { status: 200, headers: Vec::new(), body: "something else".into() };
    scene.proxy.add(Rule::on("GET", "/blobs/", lie).times(1));
    let third = Store::open(&scene.home.path().join("third")).unwrap();
    let error = client().pull_blob(&target, (&layer, size), &third, &tick).await.unwrap_err();
    assert!(chain(&error).contains("cut or changed on the way"), "{}", chain(&error));
    assert_eq!(third.size(&layer), None);

    let endless = Fault::Answer { status: 200, headers: Vec::new(), body: "x".repeat(3 << 20) };
    scene.proxy.add(Rule::on("GET", "/blobs/", endless));
    let error = client().pull_blob(&target, (&layer, 1 << 20), &third, &tick).await.unwrap_err();
    assert!(chain(&error).contains("sends more than"), "{}", chain(&error));
}

#[tokio::test]
async fn a_blob_that_the_disk_damaged_is_named_and_dropped() {
    let Some(scene) = Scene::new(start_docker_registry()).await else { return };
    let image = image_of(&scene.store, scene.home.path(), &noise(200_000, 7));
    let path = scene.store.path(&image.layers[0].digest);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let target = repository(&format!("{}/chat", scene.proxy.address()));
    let items = [item("user", &image, "user_v1")];
    let error = push(&client(), &scene.store, &target, &items, false, &quiet()).await.unwrap_err();
    assert!(chain(&error).contains("is not in the image cache"), "{}", chain(&error));
    assert!(!path.exists());
    let again = image_of(&scene.store, scene.home.path(), &noise(200_000, 7));
    assert_eq!(again, image);
    push(&client(), &scene.store, &target, &items, false, &quiet()).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_not_waited_for_long() {
    let patient = patient(300);
    let start = Instant::now();
    let target = repository("127.0.0.1:1/chat");
    let error = patient.head_manifest(&target.tagged("x")).await.unwrap_err();
    assert!(error.hint().unwrap().contains("can be reached"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(17), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_login_is_used_and_a_wrong_one_is_told() {
    let Some(scene) = Scene::new(start_docker_registry_with_login()).await else { return };
    let host = scene.proxy.address().to_string();
    let with = |password: &str| {
        let login = Credential::Password { username: USER.into(), password: password.into(), until: None };
        let credentials = Credentials::none().with(&host, login);
        Client::new(Options { credentials, ..options() }).unwrap()
    };
    let error = scene.push(&client(), 1000).await.unwrap_err();
    assert!(error.contains("wants a login, and there is none"), "{error}");
    let error = scene.push(&with("wrong-password"), 1000).await.unwrap_err();
    assert!(error.contains("does not accept the login"), "{error}");
    assert!(!error.contains("wrong-password"), "{error}");
    scene.push(&with(PASSWORD), 200_000).await.unwrap();

    // The same from a file, as `docker login` writes it.
    let auth = base64_of(&format!("{USER}:{PASSWORD}"));
    let file = scene.home.path().join("config.json");
    write(
        scene.home.path(),
        "config.json",
        format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#).as_bytes(),
    );
    let credentials = Credentials::none().with_file(&file);
    let client = Client::new(Options { credentials, ..options() }).unwrap();
    let target = repository(&format!("{host}/chat"));
    assert!(client.head_manifest(&target.tagged("user_v1")).await.unwrap().is_some());
    client.ping(&target).await.unwrap();
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn a_refusal_that_drips_is_not_read_to_its_end() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = repository(&format!("{}/chat", listener.local_addr().unwrap()));
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 9000\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        std::future::pending::<()>().await;
    };
    let (client, reference) = (client(), target.tagged("v1"));
    let start = Instant::now();
    tokio::select! {
        () = server => {}
        answer = client.get_manifest(&reference) => assert!(answer.is_err(), "{answer:?}"),
    }
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_tag_that_was_taken_while_a_writer_waited_is_not_written_over() {
    let Some(scene) = Scene::new(start_docker_registry()).await else { return };
    let record = |text: &str| Artifact {
        kind: "application/vnd.bowline.release.v1+json".into(),
        annotations: BTreeMap::new(),
        parts: vec![Part {
            title: "record.json".into(),
            media_type: "application/json".into(),
            bytes: text.into(),
        }],
    };
    scene.proxy.add(Rule::on("PUT", "/manifests/v1", Fault::retry_after(503, 2)).times(1));
    let through = repository(&format!("{}/chat", scene.proxy.address()));
    let (waits, slow) = (patient(30), record("slow"));
    let slow = push_artifact(&waits, &through, "v1", &slow);
    let target = repository(&scene.registry.repository("chat"));
    let fast = async {
        while !scene
            .proxy
            .requests()
            .iter()
            .any(|request| request.method == "PUT" && request.path.ends_with("/manifests/v1"))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        push_artifact(&client(), &target, "v1", &record("fast")).await.unwrap().digest
    };
    let (slow, fast) = tokio::join!(slow, fast);
    let error = slow.unwrap_err();
    assert!(chain(&error).contains("exists with other content"), "{}", chain(&error));
    assert_eq!(client().head_manifest(&target.tagged("v1")).await.unwrap().unwrap().digest, fast);
}
