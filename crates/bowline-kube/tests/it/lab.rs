//! Manifests against the cluster, and kubeconfigs that differ from its own.

use std::collections::BTreeSet;
use std::path::Path;

use bowline_core::kube::answer::Answer;
use bowline_core::kube::object::{Manifest, Origin, identify, split_api_version};
use bowline_kube::{Catalog, Cluster, Expected, GroupVersion, Resource};
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use crate::stage::Stage;

/// A kubeconfig like that of the cluster, changed.
pub(crate) fn changed(original: &Path, change: impl FnOnce(&mut Value)) -> tempfile::NamedTempFile {
    let kubeconfig = Kubeconfig::read_from(original).unwrap();
    let mut value = serde_json::to_value(kubeconfig).unwrap();
    change(&mut value);
    write(&value.to_string())
}

pub(crate) fn write(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// A namespace of the cluster, which goes with the test.
pub(crate) struct Lab {
    pub(crate) cluster: Cluster,
    pub(crate) catalog: Catalog,
    pub(crate) namespace: String,
    stage: Stage,
}

/// What the tests have to do with.
pub(crate) fn versions() -> BTreeSet<GroupVersion> {
    [
        ("", "v1"),
        ("apps", "v1"),
        ("batch", "v1"),
        ("rbac.authorization.k8s.io", "v1"),
        ("nothing.example.com", "v1"),
    ]
    .into_iter()
    .map(|(group, version)| GroupVersion::new(group, version))
    .collect()
}

impl Lab {
    pub(crate) async fn open(name: &str) -> Option<Self> {
        let stage = Stage::open(name).await?;
        let cluster = stage.cluster.clone();
        let catalog = cluster.discover(&versions()).await.unwrap();
        let lab = Self { cluster, catalog, namespace: stage.namespace().to_owned(), stage };
        lab.applied(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": lab.namespace}}))
            .await;
        Some(lab)
    }

    /// A manifest in the lab's namespace.
    pub(crate) fn manifest(&self, mut value: Value) -> Manifest {
        if !["Namespace", "ClusterRole", "ClusterRoleBinding"].contains(&value["kind"].as_str().unwrap())
            && value["metadata"].get("namespace").is_none()
        {
            value["metadata"]["namespace"] = json!(self.namespace);
        }
        let (_, version) = split_api_version(value["apiVersion"].as_str().unwrap());
        Manifest {
            id: identify(&value).unwrap(),
            version: version.to_owned(),
            value,
            origin: Origin { file: "test.yaml".into(), line: 1, column: 1 },
        }
    }

    pub(crate) fn resource(&self, manifest: &Manifest) -> &Resource {
        self.catalog.any(&manifest.id.kind).unwrap()
    }

    pub(crate) async fn apply(&self, manifest: &Manifest, expected: &Expected, force: bool) -> Answer {
        self.cluster.apply(self.resource(manifest), manifest, expected, force).await.unwrap().answer
    }

    /// Applies what can be applied; the object as it is then.
    pub(crate) async fn applied(&self, value: Value) -> Value {
        let manifest = self.manifest(value);
        match self.apply(&manifest, &Expected::Anything, false).await {
            Answer::Applied(live) => live,
            answer => panic!("{}: {answer:?}", manifest.id),
        }
    }

    pub(crate) async fn live(&self, manifest: &Manifest) -> Option<Value> {
        self.cluster.get(self.resource(manifest), &manifest.id).await.unwrap()
    }

    /// Writes an object as another manager does: a `PATCH` of some kind, or a `POST`.
    pub(crate) async fn write_as(
        &self,
        manager: &str,
        manifest: &Manifest,
        how: &str,
        part: &str,
        body: &Value,
    ) {
        let group = &manifest.id.kind.group;
        let base =
            if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", manifest.api_version()) };
        let plural = &self.resource(manifest).plural;
        let all = format!("{base}/namespaces/{}/{plural}", self.namespace);
        let (method, path) = match how {
            "create" => ("POST", all),
            _ => ("PATCH", format!("{all}/{}{part}", manifest.id.name)),
        };
        let kind = match how {
            "create" => "application/json",
            "merge" => "application/merge-patch+json",
            _ => "application/apply-patch+yaml",
        };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{path}?fieldManager={manager}"))
            .header("content-type", kind)
            .body(body.to_string().into_bytes())
            .unwrap();
        self.cluster.client().request::<Value>(request).await.unwrap();
    }

    /// The same cluster, as another user.
    pub(crate) async fn as_user(&self, user: &str) -> Cluster {
        let file = changed(self.stage.room.kubeconfig(), |config| {
            for entry in config["users"].as_array_mut().unwrap() {
                entry["user"]["as"] = json!(user);
            }
        });
        Cluster::connect_by(&[file.path().to_owned()], None).await.unwrap()
    }
}

pub(crate) fn deployment(name: &str, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [
            {"name": "app", "image": image, "env": [{"name": "A", "value": "1"}]},
        ]}},
    }})
}
