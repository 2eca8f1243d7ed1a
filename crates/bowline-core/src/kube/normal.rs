//! Manifests that `kubectl apply` takes and a server-side apply refuses, brought into one form.
//!
//! The API server merges lists of named things by their keys (`x-kubernetes-list-map-keys`) and takes no key twice, while
//! plain creation and kubectl's own merge take it, with a warning at most. The last one counts, and stands where the first
//! stood, as kubectl's strategic merge has it.

mod shape;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::manifest::document::{Documents, Mark};
use super::manifest::place::{locate, objects};
use super::manifest::{Remark, brief, is_built_in};
use super::object::{Kind, Manifest};
use super::workload::{CONTAINER_LISTS, pod_spec_mut, template_pointer};

/// What was changed, and what could not be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Normalised {
    /// What was left out.
    pub warnings: Vec<Remark>,
    /// What must be put right first.
    pub problems: Vec<Remark>,
}

/// A list whose items are told apart by keys.
struct Keyed {
    list: &'static str,
    /// The fields, with what they are if they are missing.
    keys: &'static [(&'static str, Option<&'static str>)],
}

const NAME: &[(&str, Option<&str>)] = &[("name", None)];

const fn named(list: &'static str) -> Keyed {
    Keyed { list, keys: NAME }
}

/// Lists of a pod's `spec` (core/v1, `PodSpec`). `tolerations` and lists of text are replaced as a whole.
const OF_POD: [Keyed; 6] = [
    named("volumes"),
    named("imagePullSecrets"),
    named("resourceClaims"),
    named("schedulingGates"),
    Keyed { list: "hostAliases", keys: &[("ip", None)] },
    Keyed { list: "topologySpreadConstraints", keys: &[("topologyKey", None), ("whenUnsatisfiable", None)] },
];

/// Lists of a container (core/v1, `Container`).
const OF_CONTAINER: [Keyed; 4] = [
    named("env"),
    Keyed { list: "ports", keys: &[("containerPort", None), ("protocol", Some("TCP"))] },
    Keyed { list: "volumeMounts", keys: &[("mountPath", None)] },
    Keyed { list: "volumeDevices", keys: &[("devicePath", None)] },
];

const OF_SERVICE: Keyed = Keyed { list: "ports", keys: &[("port", None), ("protocol", Some("TCP"))] };

/// What a cluster writes into the metadata of its objects, and takes from nobody.
const SERVED: [&str; 6] =
    ["managedFields", "resourceVersion", "uid", "selfLink", "generation", "creationTimestamp"];
/// What kubectl keeps of the last manifest: all of it, in one annotation.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What kubectl and controllers note down in the annotations of an object, some of it a while after it was written.
pub(super) const SERVED_ANNOTATIONS: [&str; 4] = [
    LAST_APPLIED,
    "deployment.kubernetes.io/revision",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
];

/// Brings manifests into the form that a server-side apply takes. `files` are those that they were read from: places are
/// looked up in them. Call it after [`super::image::pin`], whose pointers are those of the files.
pub fn normalise(manifests: &mut [Manifest], files: &BTreeMap<String, String>) -> Normalised {
    let mut told = Vec::new();
    for manifest in manifests {
        let mut object = Object { manifest, told: Vec::new() };
        object.drop_served();
        if is_built_in(&object.manifest.id.kind) {
            object.drop_nulls();
            object.check_shape();
            object.merge_lists();
            object.name_account_twice();
        }
        let Object { told: of_object, .. } = object;
        told.extend(of_object.into_iter().map(|told| (manifest.origin.clone(), told)));
    }
    let mut trees: BTreeMap<&str, Tree<'_>> = BTreeMap::new();
    let mut normalised = Normalised::default();
    for (origin, told) in told {
        if !trees.contains_key(origin.file.as_str()) {
            let file = files.get_key_value(origin.file.as_str());
            trees.extend(file.map(|(path, text)| (path.as_str(), Tree::of(text))));
        }
        let tree = trees.get(origin.file.as_str());
        let find = |pointer: &str| {
            tree.and_then(|tree| tree.find(Mark::of_origin(&origin), pointer))
                .map_or(origin.clone(), |mark| mark.origin(&origin.file))
        };
        let mut message = told.message;
        if let Some(other) = &told.other {
            let place = find(other);
            let _ = write!(message, " (the last is at {}:{})", place.line, place.column);
        }
        let remark = Remark { at: find(&told.pointer), message };
        if told.refused { normalised.problems.push(remark) } else { normalised.warnings.push(remark) }
    }
    normalised.problems.sort();
    normalised
}

/// A file, read again for its places.
struct Tree<'t> {
    documents: Documents<'t>,
    objects: BTreeMap<Mark, super::manifest::place::Object>,
}

impl<'t> Tree<'t> {
    fn of(text: &'t str) -> Self {
        let documents = Documents::parse(text);
        let objects = objects(&documents);
        Self { documents, objects }
    }

    fn find(&self, object: Mark, pointer: &str) -> Option<Mark> {
        locate(&self.documents, self.objects.get(&object)?, pointer)
    }
}

/// Something to say about a value of an object.
struct Told {
    /// Where it is, as the file has it.
    pointer: String,
    message: String,
    /// The place of what counts instead.
    other: Option<String>,
    refused: bool,
}

struct Object<'m> {
    manifest: &'m mut Manifest,
    told: Vec<Told>,
}

/// What became of two items with one key.
enum Outcome {
    Dropped,
    /// The last needs the value of the first, which is only known when the container starts.
    Needed,
}

impl Object<'_> {
    fn warn(&mut self, pointer: String, what: &str) {
        let message = format!("{}{what}", self.manifest.id);
        self.told.push(Told { pointer, message, other: None, refused: false });
    }

    /// Takes away what an export from a cluster brings along.
    fn drop_served(&mut self) {
        let metadata = self.manifest.value.get_mut("metadata").and_then(Value::as_object_mut);
        let Some(metadata) = metadata else { return };
        let mut dropped: Vec<&str> = Vec::new();
        // `creationTimestamp: null` is in everything that kubectl generates.
        dropped.extend(
            SERVED.into_iter().filter(|key| metadata.get(*key).is_some_and(|value| !value.is_null())),
        );
        metadata.retain(|key, _| !SERVED.contains(&key.as_str()));
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            dropped.extend(SERVED_ANNOTATIONS.iter().filter(|key| annotations.shift_remove(**key).is_some()));
        }
        if !dropped.is_empty() {
            let what = format!(": {} come from a cluster and are left out", dropped.join(", "));
            self.warn("/metadata".into(), &what);
        }
    }

    /// To kubectl a null is a field that is not there; a server-side apply would keep it. In custom kinds it can mean
    /// something of its own.
    fn drop_nulls(&mut self) {
        let kind = &self.manifest.id.kind;
        if kind.is("", "ConfigMap") || kind.is("", "Secret") {
            for map in ["data", "stringData", "binaryData"] {
                let entries = self.manifest.value.get(map).and_then(Value::as_object);
                let nulls = entries.into_iter().flatten().filter(|(_, value)| value.is_null());
                let nulls: Vec<String> = nulls.map(|(key, _)| key.clone()).collect();
                for key in nulls {
                    let pointer = format!("/{map}/{}", key.replace('~', "~0").replace('/', "~1"));
                    let key = brief(&key);
                    self.warn(
                        pointer,
                        &format!(": `{key}` has no value and is left out; for empty text write `\"\"`"),
                    );
                }
            }
        }
        drop_nulls(&mut self.manifest.value);
    }

    /// Values of the wrong type are told before the server is asked: all of them, with their places.
    fn check_shape(&mut self) {
        for (pointer, what) in shape::faults(&self.manifest.id.kind, &self.manifest.value) {
            let message = format!("{}: {what}", self.manifest.id);
            self.told.push(Told { pointer, message, other: None, refused: true });
        }
    }

    /// The API server keeps the account under an old name as well (core/v1, `DeprecatedServiceAccount`), and puts it back
    /// from there: who holds only one of the two can never take it away.
    fn name_account_twice(&mut self) {
        let kind = self.manifest.id.kind.clone();
        let spec = pod_spec_mut(&kind, &mut self.manifest.value).and_then(Value::as_object_mut);
        let Some(spec) = spec else { return };
        for (one, other) in
            [("serviceAccountName", "serviceAccount"), ("serviceAccount", "serviceAccountName")]
        {
            if let (Some(name), false) = (spec.get(one).cloned(), spec.contains_key(other)) {
                spec.insert(other.to_owned(), name);
            }
        }
    }

    fn merge_lists(&mut self) {
        let kind = self.manifest.id.kind.clone();
        if kind.is("", "Service") {
            self.merge("/spec", &OF_SERVICE, None);
        }
        if kind.is("", "ServiceAccount") {
            self.merge("", &named("secrets"), None);
        }
        if is_webhook(&kind) {
            self.merge("", &named("webhooks"), None);
        }
        let Some(template) = template_pointer(&kind) else { return };
        let spec = format!("{template}/spec");
        for keyed in &OF_POD {
            self.merge(&spec, keyed, None);
        }
        for list in CONTAINER_LISTS {
            let containers = format!("{spec}/{list}");
            let names: Vec<String> = match self.manifest.value.pointer(&containers).and_then(Value::as_array)
            {
                Some(items) => items.iter().map(name).collect(),
                None => continue,
            };
            // Inside first: once a container is gone, pointers no longer are those of the file.
            for (index, name) in names.iter().enumerate() {
                for keyed in &OF_CONTAINER {
                    self.merge(&format!("{containers}/{index}"), keyed, Some(name));
                }
            }
            self.merge(&spec, &named(list), None);
        }
    }

    /// Leaves one item of each key in the list below a pointer.
    fn merge(&mut self, parent: &str, keyed: &Keyed, container: Option<&str>) {
        let list = format!("{parent}/{}", keyed.list);
        let Some(items) = self.manifest.value.pointer_mut(&list).and_then(Value::as_array_mut) else {
            return;
        };
        let mut firsts: BTreeMap<Vec<String>, (usize, usize)> = BTreeMap::new();
        let mut kept: Vec<Value> = Vec::with_capacity(items.len());
        let mut twice: Vec<(usize, usize, Vec<String>, Outcome)> = Vec::new();
        for (index, item) in std::mem::take(items).into_iter().enumerate() {
            let Some(key) = key(&item, keyed) else {
                kept.push(item);
                continue;
            };
            let Some((place, before)) = firsts.get(&key).copied() else {
                firsts.insert(key, (kept.len(), index));
                kept.push(item);
                continue;
            };
            let Some(first) = kept.get_mut(place) else { continue };
            match succeed(keyed.list, first, item) {
                Ok(merged) => {
                    *first = merged;
                    firsts.insert(key.clone(), (place, index));
                    twice.push((before, index, key, Outcome::Dropped));
                }
                Err(item) => {
                    twice.push((before, index, key, Outcome::Needed));
                    kept.push(item);
                }
            }
        }
        *items = kept;
        let container = container.map(|name| format!(", container `{}`", brief(name))).unwrap_or_default();
        for (before, index, key, outcome) in twice {
            let key = brief(&key.join("/"));
            let mut message =
                format!("{}{container}: `{}` has `{key}` more than once", self.manifest.id, keyed.list);
            let refused = matches!(outcome, Outcome::Needed);
            message.push_str(if refused {
                ", and the last one builds on the value before it: give that another name"
            } else {
                "; this one does not count"
            });
            let (pointer, other) = (format!("{list}/{before}"), Some(format!("{list}/{index}")));
            self.told.push(Told { pointer, message, other, refused });
        }
    }
}

fn is_webhook(kind: &Kind) -> bool {
    kind.is("admissionregistration.k8s.io", "MutatingWebhookConfiguration")
        || kind.is("admissionregistration.k8s.io", "ValidatingWebhookConfiguration")
}

fn name(value: &Value) -> String {
    value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// An item's key; none for what has none: the API refuses it by itself.
fn key(item: &Value, keyed: &Keyed) -> Option<Vec<String>> {
    let field = |(field, default): &(&str, Option<&str>)| match item.get(*field) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(value @ Value::Number(_)) => Some(value.to_string()),
        Some(_) => None,
        None => default.map(str::to_owned),
    };
    item.is_object().then(|| keyed.keys.iter().map(field).collect()).flatten()
}

/// The item that takes the place of the first. A variable may build on its own value of before, `$(NAME):/more`
/// (kubelet, `makeEnvironmentVariables`); if that is not plain text, both are needed.
fn succeed(list: &str, first: &Value, last: Value) -> Result<Value, Value> {
    let name = name(&last);
    let own = format!("$({name})");
    let text = last.get("value").and_then(Value::as_str).unwrap_or_default();
    if list != "env" || !text.contains(&own) {
        return Ok(last);
    }
    let before = first.get("value").and_then(Value::as_str).filter(|_| first.get("valueFrom").is_none());
    match before {
        // `$$` and other variables would have to be expanded where they stood.
        Some(before) if !before.contains('$') && !text.contains("$$") => {
            let mut merged = Map::new();
            merged.insert("name".into(), Value::from(name));
            merged.insert("value".into(), Value::from(text.replace(&own, before)));
            Ok(Value::Object(merged))
        }
        _ => Err(last),
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
