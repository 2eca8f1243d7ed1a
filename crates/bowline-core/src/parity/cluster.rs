//! The workloads of a cluster in the words of [`super`], from its manifests alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Facets, Mount, Setting, Side};
use crate::kube::object::Manifest;
use crate::kube::translation::environment::read_literal;
use crate::kube::translation::probe::of_container;
use crate::kube::workload::{labels, pod_spec, template};
use crate::quantity::Quantity;
use crate::reference::Reference;

/// Describes the workloads of manifests, with the target's overrides worked in. `secrets` are the keys of the Secrets
/// that the target makes; `ours` says whose image one is.
pub fn describe(
    manifests: &[Manifest],
    secrets: &BTreeMap<String, BTreeSet<String>>,
    ours: impl Fn(&Reference) -> Option<String>,
) -> Side {
    let mut side = Side::new();
    for manifest in manifests {
        let Some(spec) = pod_spec(&manifest.id.kind, &manifest.value) else { continue };
        let containers: Vec<&Value> = list(Some(spec), "containers").collect();
        for container in &containers {
            let own = text(container, "/name").unwrap_or_default();
            let name = if containers.len() == 1 { manifest.id.name.as_str() } else { own };
            let pod = Pod { manifests, manifest, spec, container, secrets };
            let mut facets = pod.facets();
            facets.names.extend(
                [manifest.id.name.clone(), own.to_owned()].into_iter().filter(|_| containers.len() == 1),
            );
            let image = text(container, "/image").unwrap_or_default();
            let reference: Option<Reference> = image.parse().ok();
            facets.ours = reference.as_ref().and_then(&ours);
            facets.image = reference.map_or_else(|| image.to_owned(), |image| super::compose::short(&image));
            side.insert(name.to_owned(), facets);
        }
    }
    side
}

/// `80`, `53/udp`.
pub(super) fn port(number: u64, protocol: &str) -> String {
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => number.to_string(),
        other => format!("{number}/{other}"),
    }
}

fn list<'v>(value: Option<&'v Value>, key: &str) -> impl Iterator<Item = &'v Value> {
    value.and_then(|value| value.get(key)).and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// A container, and all that it is among.
struct Pod<'m> {
    manifests: &'m [Manifest],
    manifest: &'m Manifest,
    spec: &'m Value,
    container: &'m Value,
    secrets: &'m BTreeMap<String, BTreeSet<String>>,
}

impl Pod<'_> {
    fn facets(&self) -> Facets {
        let (env, more_env) = self.environment();
        let limit = |name: &str| -> Option<Quantity> {
            let value = self.container.pointer(&format!("/resources/limits/{name}"))?;
            value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse().ok()
        };
        let mut facets = Facets {
            command: super::compose::command(
                literal(self.container.get("command")).as_ref(),
                literal(self.container.get("args")).as_ref(),
            ),
            env,
            more_env,
            mounts: self.mounts(),
            health: of_container(self.container),
            memory: limit("memory").map(Quantity::units),
            milli_cpus: limit("cpu").map(|cpu| cpu.times(1000).units()),
            replicas: self.replicas(),
            ..Facets::default()
        };
        for listening in list(Some(self.container), "ports") {
            let number = listening.get("containerPort").and_then(Value::as_u64).unwrap_or_default();
            facets.ports.insert(port(number, text(listening, "/protocol").unwrap_or_default()));
        }
        self.add_services(&mut facets);
        facets
    }

    fn replicas(&self) -> Option<u32> {
        let value = &self.manifest.value;
        let off = value.pointer("/spec/suspend") == Some(&Value::Bool(true))
            || text(value, "/spec/template/spec/nodeSelector/bowline.dev~1disabled").is_some();
        match self.manifest.id.kind.kind.as_str() {
            _ if off => Some(0),
            "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController" => {
                let replicas = value.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
                Some(u32::try_from(replicas).unwrap_or(u32::MAX))
            }
            "Pod" | "Job" => Some(1),
            _ => None,
        }
    }

    fn add_services(&self, facets: &mut Facets) {
        let own: BTreeMap<&str, &str> = template(&self.manifest.id.kind, &self.manifest.value)
            .map(|template| labels(template.pointer("/metadata/labels")).collect())
            .unwrap_or_default();
        let selecting = self.of_kind("", "Service").filter(|service| {
            let mut selector = labels(service.value.pointer("/spec/selector")).peekable();
            selector.peek().is_some() && selector.all(|(name, value)| own.get(name) == Some(&value))
        });
        for service in selecting {
            facets.names.insert(service.id.name.clone());
            let spec = service.value.get("spec");
            let outside = matches!(text(&service.value, "/spec/type"), Some("NodePort" | "LoadBalancer"));
            facets.open |= list(spec, "ports").next().is_none();
            for led in list(spec, "ports") {
                let Some(number) = self.target(led) else { continue };
                let target = port(number, text(led, "/protocol").unwrap_or_default());
                if outside || self.has_ingress(&service.id.name, led) {
                    facets.outside.insert(target.clone());
                }
                facets.ports.insert(target);
            }
        }
    }

    /// The container's port that a port of a Service leads to.
    fn target(&self, led: &Value) -> Option<u64> {
        match led.get("targetPort") {
            Some(Value::String(name)) => list(Some(self.container), "ports")
                .find(|port| text(port, "/name") == Some(name))
                .and_then(|port| port.get("containerPort")?.as_u64()),
            Some(number @ Value::Number(_)) => number.as_u64(),
            _ => led.get("port").and_then(Value::as_u64),
        }
    }

    fn has_ingress(&self, service: &str, led: &Value) -> bool {
        let leads = |backend: Option<&Value>| {
            let Some(backend) = backend.and_then(|backend| backend.get("service")) else { return false };
            let port = backend.get("port");
            let meant = port
                .and_then(|port| port.get("number"))
                .is_some_and(|number| led.get("port") == Some(number))
                || port.and_then(|port| port.get("name")).is_some_and(|name| led.get("name") == Some(name));
            text(backend, "/name") == Some(service) && meant
        };
        self.of_kind("networking.k8s.io", "Ingress").any(|ingress| {
            let spec = ingress.value.get("spec");
            let paths = list(spec, "rules").flat_map(|rule| list(rule.get("http"), "paths"));
            leads(spec.and_then(|spec| spec.get("defaultBackend")))
                || paths.into_iter().any(|path| leads(path.get("backend")))
        })
    }

    fn of_kind(&self, group: &'static str, kind: &'static str) -> impl Iterator<Item = &Manifest> {
        let namespace = self.manifest.id.namespace.clone();
        self.manifests
            .iter()
            .filter(move |other| other.id.kind.is(group, kind) && other.id.namespace == namespace)
    }

    /// The data of a ConfigMap of the manifests.
    fn config(&self, name: &str) -> Option<&Value> {
        self.of_kind("", "ConfigMap").find(|config| config.id.name == name).map(|config| &config.value)
    }

    /// The keys of a Secret, of the manifests or of the target.
    fn keys(&self, name: &str) -> Option<BTreeSet<String>> {
        let written = self.of_kind("", "Secret").find(|secret| secret.id.name == name).map(|secret| {
            let maps =
                ["data", "stringData"].into_iter().filter_map(|key| secret.value.get(key)?.as_object());
            maps.flat_map(|map| map.keys().cloned()).collect()
        });
        written.or_else(|| self.secrets.get(name).cloned())
    }

    fn environment(&self) -> (BTreeMap<String, Setting>, bool) {
        let (mut env, mut more) = (BTreeMap::new(), false);
        for from in list(Some(self.container), "envFrom") {
            let prefix = text(from, "/prefix").unwrap_or_default();
            let optional = ["/configMapRef/optional", "/secretRef/optional"];
            let optional = optional.iter().any(|at| from.pointer(at) == Some(&Value::Bool(true)));
            if let Some(name) = text(from, "/configMapRef/name") {
                let data = self.config(name).map(|config| config.get("data").and_then(Value::as_object));
                more |= data.is_none() && !optional;
                for (key, value) in data.flatten().into_iter().flatten() {
                    let value = value.as_str().unwrap_or_default().to_owned();
                    env.insert(format!("{prefix}{key}"), Setting::Plain(value));
                }
            } else if let Some(name) = text(from, "/secretRef/name") {
                let keys = self.keys(name);
                more |= keys.is_none() && !optional;
                for key in keys.into_iter().flatten() {
                    env.insert(format!("{prefix}{key}"), Setting::Hidden(format!("in the Secret {name}")));
                }
            }
        }
        for variable in list(Some(self.container), "env") {
            let Some(name) = text(variable, "/name") else { continue };
            let config = text(variable, "/valueFrom/configMapKeyRef/name");
            let setting = if let Some(secret) = text(variable, "/valueFrom/secretKeyRef/name") {
                Setting::Hidden(format!("in the Secret {secret}"))
            } else if let Some(config) = config {
                let key = text(variable, "/valueFrom/configMapKeyRef/key").unwrap_or_default();
                let value = self.config(config).and_then(|config| config.get("data")?.get(key)?.as_str());
                value.map_or_else(
                    || Setting::Hidden(format!("in the ConfigMap {config}")),
                    |value| Setting::Plain(value.to_owned()),
                )
            } else if variable.get("valueFrom").is_some() {
                Setting::Hidden("made at its start".into())
            } else {
                Setting::Plain(read_literal(text(variable, "/value").unwrap_or_default()))
            };
            env.insert(name.to_owned(), setting);
        }
        (env, more)
    }

    fn mounts(&self) -> BTreeMap<String, Mount> {
        let volume =
            |name: &str| list(Some(self.spec), "volumes").find(|volume| text(volume, "/name") == Some(name));
        let mut mounts = BTreeMap::new();
        for mount in list(Some(self.container), "volumeMounts") {
            let name = text(mount, "/name").unwrap_or_default();
            let path = text(mount, "/mountPath").unwrap_or_default();
            let found = match volume(name) {
                // Claims of a StatefulSet's own.
                None => Mount::Kept(name.to_owned()),
                Some(volume) => of_volume(volume),
            };
            mounts.insert(path.to_owned(), found);
        }
        mounts
    }
}

fn of_volume(volume: &Value) -> Mount {
    let at = |pointer: &str| text(volume, pointer).map(str::to_owned);
    if let Some(claim) = at("/persistentVolumeClaim/claimName") {
        Mount::Kept(claim)
    } else if let Some(path) = at("/hostPath/path") {
        Mount::Host(path)
    } else if let Some(config) = at("/configMap/name") {
        Mount::Files(config)
    } else if let Some(secret) = at("/secret/secretName") {
        Mount::Secret(secret)
    } else if volume.get("emptyDir").is_some() {
        Mount::Scratch
    } else {
        Mount::Kept(at("/name").unwrap_or_default())
    }
}

/// Words as they are run.
fn literal(words: Option<&Value>) -> Option<Value> {
    let words = words?.as_array()?.iter().filter_map(Value::as_str);
    Some(words.map(|word| Value::from(read_literal(word))).collect())
}
