//! The cluster that the tests use, and a namespace of it for each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bowline_core::kube::object::ObjectId;
use bowline_kube::document::Documents;
use bowline_kube::watch::Subject;
use bowline_kube::{Cluster, Opener, Stream};
use bowline_testkit::proxy::FaultProxy;
use bowline_testkit::skip::skip;
use futures_util::FutureExt as _;
use serde_json::{Value, json};

fn kubeconfig() -> Option<PathBuf> {
    match std::env::var_os("BOWLINE_TEST_KUBECONFIG") {
        Some(path) if Path::new(&path).is_file() => Some(path.into()),
        Some(path) => skip(&format!("BOWLINE_TEST_KUBECONFIG is no file: {}", path.display())),
        None => skip("no cluster: BOWLINE_TEST_KUBECONFIG is not set (lab/kubernetes up)"),
    }
}

pub(crate) async fn cluster() -> Option<Cluster> {
    Some(Cluster::connect_by(&[kubeconfig()?], None).await.unwrap())
}

/// The cluster, and a proxy that everything to it goes through.
pub(crate) async fn cluster_behind_proxy() -> Option<(Cluster, FaultProxy)> {
    let file = kubeconfig()?;
    let server = Cluster::connect_by(std::slice::from_ref(&file), None).await.unwrap().server().to_owned();
    let upstream: std::net::SocketAddr = server.trim_start_matches("https://").parse().unwrap();
    let proxy = FaultProxy::tcp(upstream).await;
    let address = proxy.address();
    let opener: Opener = Arc::new(move |_, _| {
        let connecting = tokio::net::TcpStream::connect(address);
        async move { Ok(Box::new(connecting.await?) as Box<dyn Stream>) }.boxed()
    });
    let kubeconfig = serde_json::to_value(kube::config::Kubeconfig::read_from(&file).unwrap()).unwrap();
    let cluster = Cluster::connect_through(&kubeconfig.to_string(), "the test", None, opener).await.unwrap();
    Some((cluster, proxy))
}

/// A name for a namespace that no other test has.
pub(crate) fn namespace(name: &str) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("bowline-it-{name}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The documents of a project in a namespace of its own, which is not there yet.
pub(crate) async fn documents(name: &str) -> Option<Documents> {
    Some(Documents::new(&cluster().await?, &namespace(name), "chat", "cluster"))
}

pub(crate) async fn make_namespace(cluster: &Cluster, name: &str) {
    post(cluster, "/api/v1/namespaces", json!({"metadata": {"name": name}})).await;
}

pub(crate) async fn drop_namespace(cluster: &Cluster, name: &str) {
    request(cluster, "DELETE", &format!("/api/v1/namespaces/{name}"), None).await;
}

pub(crate) async fn get(cluster: &Cluster, path: &str) -> Value {
    request(cluster, "GET", path, None).await
}

pub(crate) async fn post(cluster: &Cluster, path: &str, body: Value) -> Value {
    request(cluster, "POST", path, Some(body)).await
}

pub(crate) async fn patch(cluster: &Cluster, path: &str, body: Value) -> Value {
    request(cluster, "PATCH", path, Some(body)).await
}

pub(crate) async fn delete(cluster: &Cluster, path: &str) -> Value {
    request(cluster, "DELETE", path, None).await
}

async fn request(cluster: &Cluster, method: &str, path: &str, body: Option<Value>) -> Value {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    cluster.client().request(request.body(body).unwrap()).await.unwrap()
}

/// An object in a namespace, as it is watched.
pub(crate) fn subject(group: &str, kind: &str, plural: &str, namespace: &str, name: &str) -> Subject {
    let id = ObjectId::namespaced(group, kind, namespace, name);
    Subject { id, version: "v1".into(), plural: plural.into() }
}
