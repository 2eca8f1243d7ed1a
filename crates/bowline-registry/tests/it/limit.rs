//! Clients that are stuck, greedy or foreign.

use std::time::Duration;

use bowline_core::digest::Digest;
use bowline_registry::{Limits, Store, serve};
use bowline_testkit::skip::{is_root, skip};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::served::{Served, code, header};

async fn start(change: impl FnOnce(&mut Limits)) -> Served {
    let mut limits = Limits::default();
    change(&mut limits);
    Served::start_in(tempfile::tempdir().unwrap(), limits).await
}

/// Sends raw bytes and reads until the server closes.
async fn talk(served: &Served, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(&served.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    read.expect("the server closes").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_client_that_never_finishes_its_headers_is_cut_off() {
    let served = start(|limits| limits.header = Duration::from_millis(200)).await;
    for request in [&b""[..], b"GET /v2/ HTTP/1.1\r\nhost: local"] {
        let answer = talk(&served, request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_stops_in_a_body_is_told_and_can_go_on() {
    let served = start(|limits| limits.idle = Duration::from_millis(200)).await;
    let place = header(&served.send("POST", "/v2/a/blobs/uploads/").await, "location");
    let head = format!("PATCH {place} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n01234");
    let answer = talk(&served, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let status = served.send("GET", &place).await;
    assert_eq!(header(&status, "range"), "0-4");
    let put = served.ask("PUT", &format!("{place}?digest={}", Digest::of(b"0123456789"))).body("56789");
    assert_eq!(put.send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off() {
    let served = start(|limits| {
        limits.idle = Duration::from_millis(200);
        // The pushing client's connection, kept open for more, goes soon too.
        limits.header = Duration::from_millis(200);
        limits.connections = 1;
    })
    .await;
    let content = vec![7; 64 << 20];
    let blob = served.push_blob("a", &content).await;
    let digest = blob["digest"].as_str().unwrap();
    let mut stream = TcpStream::connect(&served.address).await.unwrap();
    let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // The only connection is given away; another one is served once the stuck one was cut off.
    let other =
        timeout(Duration::from_secs(10), talk(&served, b"GET /v2/ HTTP/1.0\r\nhost: localhost\r\n\r\n"));
    assert!(other.await.unwrap().starts_with("HTTP/1.0 200"));
}

#[tokio::test]
async fn headers_have_an_end() {
    let served = Served::start().await;
    let many = "x: y\r\n".repeat(100);
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    for headers in [many, long] {
        let request = format!("GET /v2/ HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        let answer = talk(&served, request.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn uploads_have_a_number_and_come_free_again() {
    let served = start(|limits| limits.uploads = 2).await;
    let first = header(&served.send("POST", "/v2/a/blobs/uploads/").await, "location");
    assert_eq!(served.send("POST", "/v2/a/blobs/uploads/").await.status(), 202);
    let refused = served.send("POST", "/v2/a/blobs/uploads/").await;
    assert_eq!((refused.status().as_u16(), header(&refused, "retry-after").as_str()), (429, "5"));
    assert_eq!(code(refused).await, "TOOMANYREQUESTS");
    assert_eq!(served.send("DELETE", &first).await.status(), 204);
    assert_eq!(served.send("POST", "/v2/a/blobs/uploads/").await.status(), 202);
}

#[tokio::test]
async fn on_loopback_only_loopback_names_are_answered() {
    let served = Served::start().await;
    for (host, status) in [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:5", 200),
        ("evil.example", 421),
        ("10.0.0.1:5000", 421),
    ] {
        let answer = served.ask("GET", "/v2/").header("host", host).send().await.unwrap();
        assert_eq!(answer.status(), status, "{host}");
    }
}

#[tokio::test]
async fn stopping_lets_a_running_request_finish_and_frees_the_store() {
    let served = Served::start().await;
    let place = header(&served.send("POST", "/v2/a/blobs/uploads/").await, "location");
    let mut stream = TcpStream::connect(&served.address).await.unwrap();
    let digest = Digest::of(b"0123456789");
    let head =
        format!("PUT {place}?digest={digest} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n01234");
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let store = served.store.clone();
    let stopping = tokio::spawn(served.stop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.write_all(b"56789").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let directory = timeout(Duration::from_secs(5), stopping).await.unwrap().unwrap();
    drop(store);
    let again = Served::start_in(directory, Limits::default()).await;
    assert_eq!(again.send("HEAD", &format!("/v2/a/blobs/{digest}")).await.status(), 200);
}

/// A small file system of its own.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(size: &str) -> Option<Self> {
        if !is_root() {
            return skip("a file system of its own needs root");
        }
        let place = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "registry-test"]).arg(place.path());
        match command.status() {
            Ok(status) if status.success() => Some(Self(place)),
            other => skip(&format!("no file system can be mounted: {other:?}")),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the store in it may still be open when a test fails.
        std::process::Command::new("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_does_not_fit_and_keeps_what_is_there() {
    let Some(disk) = Disk::mount("16M") else { return };
    let directory = tempfile::tempdir_in(disk.0.path()).unwrap();
    let served = Served::start_in(directory, Limits::default()).await;
    let (manifest, _) = served.push_image("a", "fits", &vec![1; 4 << 20]).await;
    let big = vec![2; 32 << 20];
    for _ in 0..3 {
        let place = header(&served.send("POST", "/v2/a/blobs/uploads/").await, "location");
        let answer = served.ask("PATCH", &place).body(big.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 507);
        let text = answer.text().await.unwrap();
        assert!(text.contains("no storage space"), "{text}");
        assert_eq!(served.send("GET", &place).await.status(), 404, "the upload gave its space back");
    }
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::of(&big));
    assert_eq!(served.ask("POST", &path).body(big).send().await.unwrap().status(), 507);
    served.push_image("a", "fits-too", &vec![3; 4 << 20]).await;
    let stored = served.send("GET", "/v2/a/manifests/fits").await.text().await.unwrap();
    assert_eq!(stored, manifest.to_string());
    drop(served.stop().await);
}

#[tokio::test]
async fn what_is_opened_for_reading_beside_its_owner_is_whole_and_cannot_be_changed() {
    let served = Served::start().await;
    let (manifest, digest) = served.push_image("a", "v1", b"layer").await;
    let layer = Digest::of(b"layer");
    let mark = served.directory().join("repositories/a/_blobs").join(layer.hex());
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().append(true).open(&mark).unwrap().set_modified(old).unwrap();
    let store = Store::open_for_reading(served.directory()).unwrap();
    assert!(store.collect(Duration::ZERO).is_err());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = serve(listener, store, std::future::pending::<()>());
    let talk = async {
        for (method, path, code) in [
            ("GET", "/v2/".to_owned(), 200),
            ("GET", "/v2/a/manifests/v1".into(), 200),
            ("GET", format!("/v2/a/blobs/{layer}"), 200),
            ("POST", "/v2/a/blobs/uploads/".into(), 405),
            ("POST", format!("/v2/b/blobs/uploads/?mount={layer}"), 405),
            ("PUT", "/v2/a/manifests/v2".into(), 405),
            ("DELETE", "/v2/a/manifests/v1".into(), 405),
            ("DELETE", format!("/v2/a/manifests/{digest}"), 405),
            ("DELETE", format!("/v2/a/blobs/{layer}"), 405),
        ] {
            let url = format!("http://{address}{path}");
            let request = served.client.request(method.parse().unwrap(), url);
            let answer = request.body(manifest.to_string()).send().await.unwrap();
            assert_eq!(answer.status(), code, "{method} {path}");
        }
        // What was pushed after it was opened, and taken away again.
        let (_, second) = served.push_image("a", "v2", b"second").await;
        for code in [200, 404] {
            let url = format!("http://{address}/v2/a/manifests/v2");
            assert_eq!(served.client.get(url).send().await.unwrap().status(), code);
            served.send("DELETE", &format!("/v2/a/manifests/{second}")).await;
        }
    };
    tokio::select! { ended = serving => panic!("{ended:?}"), () = talk => {} }
    assert_eq!(std::fs::metadata(&mark).unwrap().modified().unwrap(), old, "reading leaves no mark");
}
