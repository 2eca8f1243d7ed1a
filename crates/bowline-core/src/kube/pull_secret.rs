//! With which Secrets the cluster's nodes pull our images: those that the manifests name, or one of ours.
//!
//! One of ours is attached to the ServiceAccounts of the pods. Adding it to their templates would replace what a
//! ServiceAccount has, as pods that name a Secret themselves get none of its, and would start all pods anew whenever
//! somebody deploys from where there is a login, and then from where there is none.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::object::{Manifest, ObjectId, Origin};
use super::order::mention::{list, text};
use super::workload::{containers, pod_spec};
use crate::reference::{Reference, Repository};

/// What the names of Secrets of ours begin with; the project follows, as projects that share a namespace may have different
/// registries.
pub const OWN: &str = "bowline-registry-";

/// What pods need to pull our images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Secrets that pods or their ServiceAccounts name, and that are not in the release. Somebody may have made them.
    pub named: BTreeSet<ObjectId>,
    /// Secrets of ours: one for each namespace whose pods name none, or name it.
    pub own: BTreeSet<ObjectId>,
    /// The ServiceAccounts to which that of ours is to be attached.
    pub accounts: BTreeSet<ObjectId>,
}

impl Needs {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.own.is_empty()
    }
}

/// What the pods that run images of a repository need; `own` is what a Secret of ours is called.
pub fn needs(manifests: &[Manifest], repository: &Repository, own: &str) -> Needs {
    let by_id: BTreeMap<&ObjectId, &Manifest> =
        manifests.iter().map(|manifest| (&manifest.id, manifest)).collect();
    let mut needs = Needs::default();
    for manifest in manifests {
        let spec = pod_spec(&manifest.id.kind, &manifest.value);
        let (Some(spec), Some(namespace)) = (spec, manifest.id.namespace.as_deref()) else { continue };
        if !containers(spec).any(|container| is_of(container, repository)) {
            continue;
        }
        let account = text(spec, "/serviceAccountName").or_else(|| text(spec, "/serviceAccount"));
        let account = ObjectId::namespaced("", "ServiceAccount", namespace, account.unwrap_or("default"));
        let mut names = pulled_with(spec);
        if names.is_empty() {
            names = by_id.get(&account).map(|account| pulled_with(&account.value)).unwrap_or_default();
        }
        let secret = |name: &str| ObjectId::namespaced("", "Secret", namespace, name);
        if names.is_empty() {
            needs.own.insert(secret(own));
            needs.accounts.insert(account);
        }
        for name in names {
            let id = secret(name);
            if by_id.contains_key(&id) {
                continue;
            }
            if name == own { &mut needs.own } else { &mut needs.named }.insert(id);
        }
    }
    needs
}

fn is_of(container: &Value, repository: &Repository) -> bool {
    let image = text(container, "/image").and_then(|image| image.parse::<Reference>().ok());
    image.is_some_and(|image| image.repository == *repository)
}

fn pulled_with(value: &Value) -> BTreeSet<&str> {
    list(value, "/imagePullSecrets").filter_map(|secret| text(secret, "/name")).collect()
}

/// Attaches a Secret to a ServiceAccount: to its manifest, or with one that has nothing else, whose `origin` is given.
pub fn attach(manifests: &mut Vec<Manifest>, account: &ObjectId, secret: &str, origin: &Origin) {
    let entry = json!({"name": secret});
    let Some(there) = manifests.iter_mut().find(|manifest| manifest.id == *account) else {
        manifests.push(Manifest {
            id: account.clone(),
            version: "v1".into(),
            value: json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": account.name, "namespace": account.namespace},
                "imagePullSecrets": [entry],
            }),
            origin: origin.clone(),
        });
        return;
    };
    if let Some(map) = there.value.as_object_mut()
        && let Some(list) = map.entry("imagePullSecrets").or_insert_with(|| json!([])).as_array_mut()
        && !list.contains(&entry)
    {
        list.push(entry);
    }
}

/// The content of a Secret of type `kubernetes.io/dockerconfigjson`: the login for one registry.
pub fn docker_config(registry: &str, username: &str, password: &str) -> String {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    // Docker Hub's is filed under its old address.
    let registry = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
    json!({"auths": {registry: {"username": username, "password": password, "auth": auth}}}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::order::tests::object;

    const IMAGE: &str = "r.example/chat:web_1";

    fn pods(name: &str, image: &str, spec: Value) -> Manifest {
        let mut pod = json!({"containers": [{"name": "app", "image": image}]});
        for (field, value) in spec.as_object().unwrap() {
            pod[field] = value.clone();
        }
        object("k8s/a.yaml", &format!("Deployment chat/{name}"), json!({"spec": {"template": {"spec": pod}}}))
    }

    fn told(manifests: &[Manifest]) -> String {
        let repository = IMAGE.parse::<Reference>().unwrap().repository;
        let needs = needs(manifests, &repository, "ours");
        let words =
            |ids: &BTreeSet<ObjectId>| ids.iter().map(|id| id.name.clone()).collect::<Vec<_>>().join(",");
        format!("{}|{}|{}", words(&needs.named), words(&needs.own), words(&needs.accounts))
    }

    #[test]
    fn pods_that_name_no_secret_get_one_of_ours() {
        let naming = |name: &str| json!({"imagePullSecrets": [{"name": name}]});
        let account = |fields: Value| object("k8s/a.yaml", "ServiceAccount chat/web", fields);
        let secret = || object("k8s/a.yaml", "Secret chat/regcred", json!({}));
        let as_web = || json!({"serviceAccountName": "web"});
        for (manifests, expected) in [
            (vec![pods("web", IMAGE, json!({}))], "|ours|default"),
            (vec![pods("web", "nginx", json!({}))], "||"),
            (vec![pods("web", "r.example/other:1", json!({}))], "||"),
            (vec![pods("web", IMAGE, naming("regcred"))], "regcred||"),
            (vec![pods("web", IMAGE, naming("regcred")), secret()], "||"),
            (vec![pods("web", IMAGE, naming("ours"))], "|ours|"),
            (vec![pods("web", IMAGE, as_web()), account(json!({}))], "|ours|web"),
            (vec![pods("web", IMAGE, as_web()), account(naming("regcred"))], "regcred||"),
            (vec![pods("web", IMAGE, as_web()), account(naming("ours"))], "|ours|"),
            (
                vec![pods("web", IMAGE, naming("regcred")), pods("users", IMAGE, json!({}))],
                "regcred|ours|default",
            ),
        ] {
            assert_eq!(told(&manifests), expected, "{manifests:?}");
        }
    }

    #[test]
    fn attaching_twice_is_like_attaching_once() {
        let origin = Origin { file: "bowline.toml".into(), line: 1, column: 1 };
        let default = ObjectId::namespaced("", "ServiceAccount", "chat", "default");
        let web = ObjectId::namespaced("", "ServiceAccount", "chat", "web");
        let mut all = vec![object(
            "k8s/a.yaml",
            "ServiceAccount chat/web",
            json!({"imagePullSecrets": [{"name": "a"}]}),
        )];
        for _ in 0..2 {
            attach(&mut all, &default, "ours", &origin);
            attach(&mut all, &web, "ours", &origin);
        }
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].value["imagePullSecrets"], json!([{"name": "a"}, {"name": "ours"}]));
        assert_eq!(all[1].value["imagePullSecrets"], json!([{"name": "ours"}]));
        assert_eq!(all[1].id, default);
    }

    #[test]
    fn a_login_is_filed_under_its_registry() {
        let text = docker_config("r.example", "ci", "x\"y");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            json!({"auths": {"r.example": {"username": "ci", "password": "x\"y", "auth": "Y2k6eCJ5"}}})
        );
        assert!(docker_config("docker.io", "a", "b").contains("https://index.docker.io/v1/"));
    }
}
