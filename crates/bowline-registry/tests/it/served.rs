//! A registry that runs in this process, and an HTTP client for it.

use std::path::Path;
use std::sync::Once;

use bowline_core::digest::Digest;
use bowline_registry::{Limits, OpenError, Store, serve_with};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(crate) struct Served {
    pub(crate) address: String,
    pub(crate) client: Client,
    pub(crate) store: Store,
    pub(crate) directory: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

pub(crate) fn http_client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    Client::new()
}

/// Opens a store whose last owner has just gone: a child that some other test is starting at this very moment holds its
/// lock for the instant between fork and exec.
pub(crate) fn open_soon(directory: &Path) -> Store {
    for _ in 0..200 {
        match Store::open(directory) {
            Err(OpenError::InUse { .. }) => std::thread::sleep(std::time::Duration::from_millis(10)),
            opened => return opened.unwrap(),
        }
    }
    Store::open(directory).unwrap()
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), Limits::default()).await
    }

    pub(crate) async fn start_in(directory: tempfile::TempDir, limits: Limits) -> Self {
        Self::start_at("127.0.0.1", directory, limits).await
    }

    pub(crate) async fn start_at(host: &str, directory: tempfile::TempDir, limits: Limits) -> Self {
        let store = open_soon(directory.path());
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve_with(listener, store.clone(), limits, stopped));
        Self { address, client: http_client(), store, directory, stop, task }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
        self.directory
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), url)
    }

    pub(crate) async fn send(&self, method: &str, path: &str) -> Response {
        self.ask(method, path).send().await.unwrap()
    }

    /// Uploads a blob in one request and gives its descriptor.
    pub(crate) async fn push_blob(&self, name: &str, content: &[u8]) -> Value {
        let digest = Digest::of(content);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = self.ask("POST", &path).body(content.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        descriptor(content)
    }

    pub(crate) async fn put_manifest(&self, name: &str, reference: &str, manifest: &Value) -> Response {
        let kind = manifest["mediaType"].as_str().unwrap().to_owned();
        let request = self.ask("PUT", &format!("/v2/{name}/manifests/{reference}"));
        request.header("content-type", kind).body(manifest.to_string()).send().await.unwrap()
    }

    /// Pushes an image with one layer and gives its manifest and digest.
    pub(crate) async fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> (Value, Digest) {
        let config = self.push_blob(name, b"{}").await;
        let layer = self.push_blob(name, layer).await;
        let manifest = image(config, vec![layer]);
        assert_eq!(self.put_manifest(name, tag, &manifest).await.status(), 201);
        let digest = Digest::of(manifest.to_string().as_bytes());
        (manifest, digest)
    }
}

pub(crate) fn descriptor(content: &[u8]) -> Value {
    json!({"mediaType": "application/octet-stream", "digest": Digest::of(content), "size": content.len()})
}

pub(crate) fn image(config: Value, layers: Vec<Value>) -> Value {
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})
}

pub(crate) fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// The code of the first error in a refusal's body.
pub(crate) async fn code(response: Response) -> String {
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert!(body["errors"][0]["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}
