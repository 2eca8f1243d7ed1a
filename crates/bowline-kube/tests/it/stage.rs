//! The cluster that the tests use, and a namespace of it for each.

use std::sync::Arc;

use bowline_core::kube::object::ObjectId;
use bowline_kube::document::Documents;
use bowline_kube::watch::Subject;
use bowline_kube::{Cluster, Opener, Stream};
use bowline_testkit::cluster::Cluster as Room;
use bowline_testkit::proxy::FaultProxy;
use futures_util::FutureExt as _;
use serde_json::{Value, json};

/// The cluster, and a namespace of it for one test, which is not there yet and goes with the test.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) room: Room,
}

impl Stage {
    pub(crate) async fn open(hint: &str) -> Option<Self> {
        let room = Room::reach(hint)?;
        Some(Self { cluster: connect(&room).await, room })
    }

    pub(crate) fn namespace(&self) -> &str {
        self.room.namespace()
    }

    /// The documents of a project in the test's namespace.
    pub(crate) fn documents(&self) -> Documents {
        documents(&self.cluster, self.namespace())
    }

    /// The cluster once more, through a proxy that everything to it goes through.
    pub(crate) async fn behind_proxy(&self) -> (Cluster, FaultProxy) {
        let upstream: std::net::SocketAddr =
            self.cluster.server().trim_start_matches("https://").parse().unwrap();
        let proxy = FaultProxy::tcp(upstream).await;
        let address = proxy.address();
        let opener: Opener = Arc::new(move |_, _| {
            let connecting = tokio::net::TcpStream::connect(address);
            async move { Ok(Box::new(connecting.await?) as Box<dyn Stream>) }.boxed()
        });
        let kubeconfig = kube::config::Kubeconfig::read_from(self.room.kubeconfig()).unwrap();
        let text = serde_json::to_string(&kubeconfig).unwrap();
        (Cluster::connect_through(&text, "the test", None, opener).await.unwrap(), proxy)
    }
}

async fn connect(room: &Room) -> Cluster {
    Cluster::connect_by(&[room.kubeconfig().to_owned()], None).await.unwrap()
}

/// The documents of a project in a namespace.
pub(crate) fn documents(cluster: &Cluster, namespace: &str) -> Documents {
    Documents::new(cluster, namespace, "chat", "cluster")
}

pub(crate) async fn make_namespace(cluster: &Cluster, name: &str) {
    post(cluster, "/api/v1/namespaces", json!({"metadata": {"name": name}})).await;
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
