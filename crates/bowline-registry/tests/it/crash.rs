//! `kill -9` of the real process in the middle of pushes: whatever is listed afterwards is whole, and whatever was
//! acknowledged is listed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_core::digest::Digest;
use bowline_registry::{Limits, OpenError, Store, serve};
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::Value;

use crate::served::{Served, descriptor, http_client, image, open_soon};

const STORE: &str = "BOWLINE_TEST_REGISTRY_STORE";
const ROUNDS: u32 = 25;

/// Not a test: the process that the others start and kill. It does nothing unless they say where its store is.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_is_killed() {
    let Some(directory) = std::env::var_os(STORE) else { return };
    let store = open_soon(Path::new(&directory));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Path::new(&directory).with_extension("address");
    let written = address.with_extension("new");
    std::fs::write(&written, listener.local_addr().unwrap().to_string()).unwrap();
    std::fs::rename(written, address).unwrap();
    serve(listener, store, std::future::pending::<()>()).await.unwrap();
}

struct Killed {
    child: Child,
    address: String,
}

impl Killed {
    async fn start(directory: &Path) -> Self {
        let file = directory.with_extension("address");
        std::fs::remove_file(&file).ok();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "crash::the_server_that_is_killed"]).env(STORE, directory);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        for _ in 0..1000 {
            if let Ok(address) = std::fs::read_to_string(&file) {
                return Self { child, address };
            }
            assert!(child.try_wait().unwrap().is_none(), "the server ended");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server did not start");
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

type Acknowledged = Arc<Mutex<BTreeMap<(String, String), String>>>;

/// Pushes image after image until the server is gone.
async fn push_until_killed(client: Client, address: String, name: String, acknowledged: Acknowledged) {
    for number in 0.. {
        let tag = format!("t{number}");
        let Some(manifest) = push(&client, &address, &name, &tag).await else { return };
        acknowledged.lock().unwrap().insert((name.clone(), tag), manifest.to_string());
    }
}

async fn push(client: &Client, address: &str, name: &str, tag: &str) -> Option<Value> {
    let base = format!("http://{address}");
    let mut layer = vec![0; rand::random_range(0..400_000)];
    rand::fill(&mut layer[..]);
    let begun = client.post(format!("{base}/v2/{name}/blobs/uploads/")).send().await.ok()?;
    let place = format!("{base}{}", begun.headers().get("location")?.to_str().unwrap());
    for chunk in layer.chunks(65_536) {
        client.patch(&place).body(chunk.to_vec()).send().await.ok()?;
    }
    let done = client.put(format!("{place}?digest={}", Digest::of(&layer))).send().await.ok()?;
    assert_eq!(done.status(), 201);
    let url = format!("{base}/v2/{name}/blobs/uploads/?digest={}", Digest::of(b"{}"));
    assert_eq!(client.post(url).body("{}").send().await.ok()?.status(), 201);
    let manifest = image(descriptor(b"{}"), vec![descriptor(&layer)]);
    let request = client.put(format!("{base}/v2/{name}/manifests/{tag}")).header("if-none-match", "*");
    let request = request.header("content-type", manifest["mediaType"].as_str().unwrap());
    assert_eq!(request.body(manifest.to_string()).send().await.ok()?.status(), 201);
    Some(manifest)
}

/// Reads all that the registry lists below `prefix`, and checks every byte.
async fn check(served: &Served, prefix: &str, acknowledged: &BTreeMap<(String, String), String>) -> usize {
    let read = async |path: &str| {
        let answer = served.send("GET", path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.bytes().await.unwrap()
    };
    let mut seen = BTreeMap::new();
    let catalog: Value = serde_json::from_slice(&read("/v2/_catalog").await).unwrap();
    for name in catalog["repositories"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        if !name.starts_with(prefix) {
            continue;
        }
        let tags: Value = serde_json::from_slice(&read(&format!("/v2/{name}/tags/list")).await).unwrap();
        for tag in tags["tags"].as_array().unwrap() {
            let tag = tag.as_str().unwrap();
            let manifest = read(&format!("/v2/{name}/manifests/{tag}")).await;
            let parsed: Value = serde_json::from_slice(&manifest).unwrap();
            for blob in [&parsed["config"], &parsed["layers"][0]] {
                let digest = blob["digest"].as_str().unwrap();
                let content = read(&format!("/v2/{name}/blobs/{digest}")).await;
                assert_eq!(Digest::of(&content).to_string(), digest);
            }
            seen.insert((name.to_owned(), tag.to_owned()), String::from_utf8(manifest.to_vec()).unwrap());
        }
    }
    for (image, manifest) in acknowledged.iter().filter(|((name, _), _)| name.starts_with(prefix)) {
        assert_eq!(seen.get(image), Some(manifest), "{image:?} was acknowledged");
    }
    seen.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_pushes_it_lists_only_what_is_whole() {
    let place = tempfile::tempdir().unwrap();
    let mut directory = tempfile::tempdir_in(place.path()).unwrap();
    let acknowledged = Acknowledged::default();
    let client = http_client();
    let mut listed = 0;
    for round in 0..ROUNDS {
        let server = Killed::start(directory.path()).await;
        let pushers = (0..4).map(|who| {
            let name = format!("round-{round}/of/{who}");
            let (client, address) = (client.clone(), server.address.clone());
            tokio::spawn(push_until_killed(client, address, name, Arc::clone(&acknowledged)))
        });
        let pushers: Vec<_> = pushers.collect();
        // However slow the machine is: every other kill comes when something has been acknowledged.
        if round % 2 == 1 {
            let began = acknowledged.lock().unwrap().len();
            let some = async {
                while acknowledged.lock().unwrap().len() == began {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), some).await.expect("nothing was acknowledged");
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(20..420))).await;
        server.kill();
        for ended in join_all(pushers).await {
            ended.unwrap();
        }
        let served = Served::start_in(directory, Limits::default()).await;
        let left = std::fs::read_dir(served.directory().join("staging")).unwrap().count();
        assert_eq!(left, 0, "what was not finished is gone");
        let so_far = acknowledged.lock().unwrap().clone();
        listed += check(&served, &format!("round-{round}/"), &so_far).await;
        directory = served.stop().await;
    }
    let served = Served::start_in(directory, Limits::default()).await;
    let before = acknowledged.lock().unwrap().clone();
    served.store.collect(Duration::ZERO).unwrap();
    assert_eq!(check(&served, "round-", &before).await, listed, "collection took nothing that is listed");
    eprintln!("{ROUNDS} kills, {listed} images listed, {} acknowledged", before.len());
    assert!(before.len() >= (ROUNDS / 2) as usize, "pushes went through between the kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_who_has_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let server = Killed::start(directory.path()).await;
    let Err(error) = Store::open(directory.path()) else { panic!("opened twice") };
    assert!(
        matches!(error, OpenError::InUse { process, .. } if process == Some(server.child.id())),
        "{error}"
    );
    server.kill();
    open_soon(directory.path());
}
