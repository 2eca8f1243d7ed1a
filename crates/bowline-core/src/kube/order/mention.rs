//! Which other objects a manifest names.

use serde_json::Value;

use crate::kube::object::{Kind, Manifest, ObjectId, split_api_version};
use crate::kube::workload::{containers, pod_spec};

use super::reason::Reason;

/// Another object that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mention {
    /// Which.
    pub target: ObjectId,
    /// What for.
    pub why: Reason,
    /// The key of it that is needed, where one is named.
    pub key: Option<String>,
    /// Whether the one that names it can do without.
    pub optional: bool,
}

/// All objects that a manifest names in the fields that Kubernetes itself follows. The ServiceAccount `default` of pods
/// that name none is among them.
pub fn mentions(manifest: &Manifest) -> Vec<Mention> {
    let mut reader = Reader { namespace: manifest.id.namespace.as_deref(), found: Vec::new() };
    let value = &manifest.value;
    if let Some(spec) = pod_spec(&manifest.id.kind, value) {
        reader.pods(spec);
    }
    match (manifest.id.kind.group.as_str(), manifest.id.kind.kind.as_str()) {
        ("apps", "StatefulSet") => reader.stateful_set(value),
        ("", "ServiceAccount") => {
            for secret in list(value, "/imagePullSecrets") {
                reader.local("", "Secret", text(secret, "/name"), Reason::PullSecret);
            }
        }
        ("", "Secret") if text(value, "/type") == Some("kubernetes.io/service-account-token") => {
            let account = value.pointer("/metadata/annotations").and_then(|all| all.get(ACCOUNT));
            reader.local("", "ServiceAccount", account.and_then(Value::as_str), Reason::Token);
        }
        ("", "PersistentVolumeClaim") => reader.claim(value.get("spec")),
        ("", "PersistentVolume") => reader.class(value.get("spec")),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => reader.binding(value),
        ("networking.k8s.io" | "extensions", "Ingress") => reader.ingress(value),
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => {
            for hook in list(value, "/webhooks") {
                reader.call(hook.pointer("/clientConfig/service"));
            }
        }
        ("apiregistration.k8s.io", "APIService") => reader.call(value.pointer("/spec/service")),
        // HorizontalPodAutoscaler, and the custom resources that follow its example.
        _ => reader.scaled(value),
    }
    reader.found
}

const ACCOUNT: &str = "kubernetes.io/service-account.name";
const RBAC: &str = "rbac.authorization.k8s.io";

pub(crate) fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

pub(crate) fn list<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

struct Reader<'m> {
    namespace: Option<&'m str>,
    found: Vec<Mention>,
}

impl Reader<'_> {
    fn put(&mut self, target: ObjectId, why: Reason) {
        self.found.push(Mention { target, why, key: None, optional: false });
    }

    /// An object in the same namespace.
    fn local(&mut self, group: &str, kind: &str, name: Option<&str>, why: Reason) {
        if let Some(name) = name {
            let target = self.id(group, kind, name);
            self.put(target, why);
        }
    }

    /// An object of the whole cluster.
    fn global(&mut self, group: &str, kind: &str, name: Option<&str>, why: Reason) {
        if let Some(name) = name {
            self.put(ObjectId::of_cluster(group, kind, name), why);
        }
    }

    fn id(&self, group: &str, kind: &str, name: &str) -> ObjectId {
        ObjectId {
            kind: Kind::new(group, kind),
            namespace: self.namespace.map(str::to_owned),
            name: name.into(),
        }
    }

    /// A ConfigMap or Secret, with the keys that are needed of it.
    fn source(&mut self, kind: &str, name: Option<&str>, from: &Value, keys: Vec<&str>, why: &Reason) {
        let Some(name) = name else { return };
        let optional = from.get("optional").and_then(Value::as_bool).unwrap_or(false);
        let keys: Vec<Option<&str>> =
            if keys.is_empty() { vec![None] } else { keys.into_iter().map(Some).collect() };
        for key in keys {
            let target = self.id("", kind, name);
            let key = key.map(str::to_owned);
            self.found.push(Mention { target, why: why.clone(), key, optional });
        }
    }

    fn pods(&mut self, spec: &Value) {
        let account = text(spec, "/serviceAccountName").or_else(|| text(spec, "/serviceAccount"));
        self.local("", "ServiceAccount", Some(account.unwrap_or("default")), Reason::Account);
        for secret in list(spec, "/imagePullSecrets") {
            self.local("", "Secret", text(secret, "/name"), Reason::PullSecret);
        }
        self.global("scheduling.k8s.io", "PriorityClass", text(spec, "/priorityClassName"), Reason::Priority);
        self.global("node.k8s.io", "RuntimeClass", text(spec, "/runtimeClassName"), Reason::Runtime);
        for volume in list(spec, "/volumes") {
            self.volume(volume);
            for source in list(volume, "/projected/sources") {
                self.files(source, "name");
            }
        }
        for container in containers(spec) {
            for variable in list(container, "/env") {
                for (kind, field) in [("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")] {
                    if let Some(from) = variable.get("valueFrom").and_then(|from| from.get(field)) {
                        let keys = text(from, "/key").into_iter().collect();
                        self.source(kind, text(from, "/name"), from, keys, &Reason::Environment);
                    }
                }
            }
            for all in list(container, "/envFrom") {
                for (kind, field) in [("ConfigMap", "configMapRef"), ("Secret", "secretRef")] {
                    if let Some(from) = all.get(field) {
                        self.source(kind, text(from, "/name"), from, Vec::new(), &Reason::Environment);
                    }
                }
            }
        }
    }

    fn volume(&mut self, volume: &Value) {
        self.files(volume, "secretName");
        let claim = text(volume, "/persistentVolumeClaim/claimName");
        self.local("", "PersistentVolumeClaim", claim, Reason::Mount);
        self.local("", "Secret", text(volume, "/csi/nodePublishSecretRef/name"), Reason::Mount);
        self.class(volume.pointer("/ephemeral/volumeClaimTemplate/spec"));
    }

    /// The files of ConfigMaps and Secrets; a Secret is named by another field in a volume of its own than among others.
    fn files(&mut self, volume: &Value, secret_name: &str) {
        for (kind, field, name) in [("ConfigMap", "configMap", "name"), ("Secret", "secret", secret_name)] {
            if let Some(from) = volume.get(field) {
                let keys = list(from, "/items").filter_map(|item| text(item, "/key")).collect();
                self.source(kind, from.get(name).and_then(Value::as_str), from, keys, &Reason::Mount);
            }
        }
    }

    fn class(&mut self, spec: Option<&Value>) {
        let name = spec.and_then(|spec| text(spec, "/storageClassName"));
        self.global("storage.k8s.io", "StorageClass", name, Reason::StorageClass);
    }

    fn claim(&mut self, spec: Option<&Value>) {
        self.class(spec);
        let Some(spec) = spec else { return };
        self.global("", "PersistentVolume", text(spec, "/volumeName"), Reason::Volume);
        if let Some(source) = spec.get("dataSourceRef").or_else(|| spec.get("dataSource"))
            && let Some(kind) = text(source, "/kind")
        {
            let group = text(source, "/apiGroup").unwrap_or_default();
            self.local(group, kind, text(source, "/name"), Reason::Source);
        }
    }

    fn stateful_set(&mut self, value: &Value) {
        self.local("", "Service", text(value, "/spec/serviceName"), Reason::PodNames);
        for claim in list(value, "/spec/volumeClaimTemplates") {
            self.class(claim.get("spec"));
        }
    }

    fn binding(&mut self, value: &Value) {
        match text(value, "/roleRef/kind") {
            Some("Role") => self.local(RBAC, "Role", text(value, "/roleRef/name"), Reason::Role),
            _ => self.global(RBAC, "ClusterRole", text(value, "/roleRef/name"), Reason::Role),
        }
        for account in subjects(value) {
            let namespace = account.0.or(self.namespace).map(str::to_owned);
            let kind = Kind::new("", "ServiceAccount");
            self.put(ObjectId { kind, namespace, name: account.1.to_owned() }, Reason::Subject);
        }
    }

    fn ingress(&mut self, value: &Value) {
        let class = text(value, "/spec/ingressClassName");
        self.global("networking.k8s.io", "IngressClass", class, Reason::IngressClass);
        for backend in backends(value) {
            self.local("", "Service", text(backend, "/service/name"), Reason::Route);
        }
        // Often made by somebody else (cert-manager) once the Ingress is there: waited for only where it is ours.
        for certificate in list(value, "/spec/tls").filter_map(|tls| text(tls, "/secretName")) {
            let target = self.id("", "Secret", certificate);
            self.put(target, Reason::Certificate);
        }
    }

    fn call(&mut self, service: Option<&Value>) {
        if let Some(service) = service
            && let (Some(namespace), Some(name)) = (text(service, "/namespace"), text(service, "/name"))
        {
            self.put(ObjectId::namespaced("", "Service", namespace, name), Reason::Call);
        }
    }

    fn scaled(&mut self, value: &Value) {
        for field in ["/spec/scaleTargetRef", "/spec/targetRef"] {
            if let Some(target) = value.pointer(field)
                && let Some(name) = text(target, "/name")
            {
                // KEDA leaves both out for Deployments.
                let (group, _) = split_api_version(text(target, "/apiVersion").unwrap_or("apps/v1"));
                self.local(group, text(target, "/kind").unwrap_or("Deployment"), Some(name), Reason::Scale);
            }
        }
    }
}

/// The ServiceAccounts to which a binding grants something: namespace, where one is written, and name.
pub(super) fn subjects(binding: &Value) -> impl Iterator<Item = (Option<&str>, &str)> {
    list(binding, "/subjects")
        .filter(|subject| text(subject, "/kind") == Some("ServiceAccount"))
        .filter_map(|subject| Some((text(subject, "/namespace"), text(subject, "/name")?)))
}

/// The backends of an Ingress.
pub(crate) fn backends(ingress: &Value) -> impl Iterator<Item = &Value> {
    let paths = list(ingress, "/spec/rules").flat_map(|rule| list(rule, "/http/paths"));
    ingress.pointer("/spec/defaultBackend").into_iter().chain(paths.filter_map(|path| path.get("backend")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kube::order::tests::manifest;

    #[test]
    fn pods_name_what_they_need() {
        let value = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "user", "namespace": "chat"},
            "spec": {"template": {"spec": {
                "serviceAccountName": "user", "priorityClassName": "high", "runtimeClassName": "gvisor",
                "imagePullSecrets": [{"name": "ecr"}],
                "volumes": [
                    {"name": "a", "configMap": {"name": "settings", "items": [{"key": "app.yml", "path": "x"}]}},
                    {"name": "b", "secret": {"secretName": "tls", "optional": true}},
                    {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "d", "projected": {"sources": [{"secret": {"name": "token"}}, {"configMap": {"name": "ca"}}]}}],
                "containers": [{"name": "app",
                    "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                            {"name": "Y", "value": "plain"}],
                    "envFrom": [{"configMapRef": {"name": "common"}}]}]}}}});
        let found: Vec<String> = mentions(&manifest("x.yaml", value))
            .iter()
            .map(|one| {
                let key = one.key.as_ref().map(|key| format!(" [{key}]")).unwrap_or_default();
                format!("{}{key}, {}{}", one.target, one.why, if one.optional { "?" } else { "" })
            })
            .collect();
        assert_eq!(
            found,
            [
                "ServiceAccount chat/user, as which it runs",
                "Secret chat/ecr, with which it pulls images",
                "PriorityClass high, which sets its priority",
                "RuntimeClass gvisor, which runs it",
                "ConfigMap chat/settings [app.yml], which it mounts",
                "Secret chat/tls, which it mounts?",
                "PersistentVolumeClaim chat/data, which it mounts",
                "Secret chat/token, which it mounts",
                "ConfigMap chat/ca, which it mounts",
                "Secret chat/db [password], from which its environment is read",
                "ConfigMap chat/common, from which its environment is read",
            ]
        );
    }

    #[test]
    fn other_kinds_name_what_they_need() {
        for (value, expected) in [
            (
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                    "metadata": {"name": "b", "namespace": "chat"}, "roleRef": {"kind": "Role", "name": "r"},
                    "subjects": [{"kind": "ServiceAccount", "name": "user"}, {"kind": "User", "name": "u"},
                                 {"kind": "ServiceAccount", "name": "x", "namespace": "other"}]}),
                vec!["Role chat/r", "ServiceAccount chat/user", "ServiceAccount other/x"],
            ),
            (
                json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                    "metadata": {"name": "i", "namespace": "chat"}, "spec": {"ingressClassName": "nginx",
                    "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}},
                    "rules": [{"http": {"paths": [{"path": "/", "backend": {"service": {"name": "api"}}}]}}]}}),
                vec!["IngressClass nginx", "Service chat/web", "Service chat/api"],
            ),
            (
                json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
                    "metadata": {"name": "h", "namespace": "chat"},
                    "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"}}}),
                vec!["StatefulSet chat/db"],
            ),
            (
                json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "c", "namespace": "chat"},
                    "spec": {"storageClassName": "fast", "volumeName": "disk"}}),
                vec!["StorageClass fast", "PersistentVolume disk"],
            ),
            (
                json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
                    "metadata": {"name": "t", "namespace": "chat",
                        "annotations": {"kubernetes.io/service-account.name": "user"}}}),
                vec!["ServiceAccount chat/user"],
            ),
            (
                json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                    "metadata": {"name": "w"},
                    "webhooks": [{"clientConfig": {"service": {"namespace": "sys", "name": "hook"}}}]}),
                vec!["Service sys/hook"],
            ),
        ] {
            let found: Vec<String> =
                mentions(&manifest("x.yaml", value)).iter().map(|one| one.target.to_string()).collect();
            assert_eq!(found, expected);
        }
    }
}
