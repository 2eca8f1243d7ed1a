//! From files to manifests, as kubectl reads them, with everything that is wrong said at once and with its place.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::object::{Kind, Manifest, ObjectId, Origin, identify, split_api_version};

pub(in crate::kube) mod document;
pub(in crate::kube) mod place;
pub(in crate::kube) mod scalar;
mod scope;
mod stranger;
pub(in crate::kube) mod value;

pub use scope::{Scope, is_built_in, is_of_cluster};

use document::{Documents, Mark, NodeId, Note};
use value::Reader;

/// The longest file that is read, in bytes. A cluster takes no object above 1.5 MiB; the largest bundles of custom
/// resource definitions have about 5 MiB.
pub const FILE_BYTES: usize = 8 << 20;
/// What a ConfigMap or a Secret holds at most, in bytes (core/v1, `MaxSecretSize`).
pub const DATA_BYTES: usize = 1 << 20;
/// How many remarks of a kind about one file are told one by one.
const REMARKS: usize = 50;
/// Where objects go if nobody says where: what kubectl does.
const NAMESPACE: &str = "default";

/// Something to say about a place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Remark {
    /// Where.
    pub at: Origin,
    /// What, without the place.
    pub message: String,
}

impl fmt::Display for Remark {
    /// `k8s/user.yaml:3:5: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// What was found in files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// The manifests in the order of the files and of the documents in them. Those with a problem may be missing.
    pub manifests: Vec<Manifest>,
    /// What is no manifest, and was left out.
    pub skipped: Vec<Remark>,
    /// What is read otherwise than it looks.
    pub warnings: Vec<Remark>,
    /// What must be put right first.
    pub problems: Vec<Remark>,
    /// Kinds whose scope nobody knows, with the first place of each. They were taken to live in a namespace.
    pub unknown: BTreeMap<Kind, Origin>,
}

/// An object on its way to be a manifest.
struct Found {
    value: Value,
    at: Mark,
}

/// Reads files (texts by their paths). An object that names no namespace goes to `namespace`, or to `default`. `scope`
/// answers for kinds that are neither Kubernetes' own nor defined by the files themselves.
pub fn read(
    files: &BTreeMap<String, String>,
    namespace: Option<&str>,
    scope: impl Fn(&Kind) -> Option<Scope>,
) -> Reading {
    let mut reading = Reading::default();
    let mut manifests = Vec::new();
    for (path, text) in files {
        let mut file = File::new(path);
        file.read(text);
        manifests.append(&mut file.manifests);
        for (all, of_file) in [
            (&mut reading.skipped, file.skipped),
            (&mut reading.warnings, file.warnings),
            (&mut reading.problems, file.problems),
        ] {
            all.extend(first_few(of_file));
        }
    }
    let definitions =
        |manifest: &&Manifest| manifest.id.kind.is("apiextensions.k8s.io", "CustomResourceDefinition");
    let defined: BTreeMap<Kind, Scope> = manifests
        .iter()
        .filter(definitions)
        .filter_map(|definition| scope::defined(&definition.value))
        .collect();
    let mut places: BTreeMap<ObjectId, Origin> = BTreeMap::new();
    for mut manifest in manifests {
        let found = scope::find(&manifest.id.kind, &defined, &scope);
        if found.is_none() {
            reading.unknown.entry(manifest.id.kind.clone()).or_insert_with(|| manifest.origin.clone());
        }
        let dropped = settle(&mut manifest, found.unwrap_or(Scope::Namespaced), namespace);
        reading.warnings.extend(dropped);
        if let Some(first) = places.get(&manifest.id) {
            let message = format!("{} is already described in {first}", manifest.id);
            reading.problems.push(Remark { at: manifest.origin, message });
            continue;
        }
        places.insert(manifest.id.clone(), manifest.origin.clone());
        reading.manifests.push(manifest);
    }
    reading.warnings.sort();
    reading.problems.sort();
    reading
}

/// The first remarks of a file, the last of which says how many more there are.
fn first_few(mut remarks: Vec<Remark>) -> Vec<Remark> {
    let more = remarks.len().saturating_sub(REMARKS);
    remarks.truncate(REMARKS);
    if let (Some(last), 1..) = (remarks.last_mut(), more) {
        last.message.push_str(&format!(" (and {more} more like it in this file)"));
    }
    remarks
}

/// Puts an object where it belongs; says so if its manifest named a place that it cannot have.
fn settle(manifest: &mut Manifest, scope: Scope, namespace: Option<&str>) -> Option<Remark> {
    let named = manifest.id.namespace.take();
    let metadata = manifest.value.get_mut("metadata").and_then(Value::as_object_mut);
    match scope {
        Scope::Cluster => {
            metadata.map(|metadata| metadata.shift_remove("namespace"));
            named.map(|named| Remark {
                at: manifest.origin.clone(),
                message: format!(
                    "{} belongs to the whole cluster: its namespace `{}` is left out",
                    manifest.id,
                    brief(&named)
                ),
            })
        }
        Scope::Namespaced => {
            let place = named.unwrap_or_else(|| namespace.unwrap_or(NAMESPACE).to_owned());
            metadata.map(|metadata| metadata.insert("namespace".to_owned(), Value::from(place.as_str())));
            manifest.id.namespace = Some(place);
            None
        }
    }
}

/// One file, while it is read.
struct File<'p> {
    path: &'p str,
    manifests: Vec<Manifest>,
    skipped: Vec<Remark>,
    warnings: Vec<Remark>,
    problems: Vec<Remark>,
}

impl<'p> File<'p> {
    fn new(path: &'p str) -> Self {
        Self { path, manifests: Vec::new(), skipped: Vec::new(), warnings: Vec::new(), problems: Vec::new() }
    }

    fn remark(&self, at: Mark, message: impl Into<String>) -> Remark {
        Remark { at: at.origin(self.path), message: message.into() }
    }

    fn problem(&mut self, at: Mark, message: impl Into<String>) {
        self.problems.push(self.remark(at, message));
    }

    fn skip(&mut self, at: Mark, message: impl Into<String>) {
        self.skipped.push(self.remark(at, message));
    }

    fn read(&mut self, text: &str) {
        let start = Mark { line: 1, column: 1 };
        if !stranger::is_manifest_name(self.path) {
            return self.skip(start, "is neither YAML nor JSON by its name");
        }
        if text.len() > FILE_BYTES {
            let limit = FILE_BYTES >> 20;
            return self.problem(start, format!("has {} bytes; at most {limit} MiB are read", text.len()));
        }
        let documents = Documents::parse(text);
        if let (Some(first), true) = (documents.errors.first(), text.contains("{{")) {
            let message = format!(
                "is a template (Helm or like it), and not valid YAML as it stands ({}): render it first, or exclude it",
                first.message
            );
            return self.problem(first.at, message);
        }
        let notes = documents.errors.iter().map(|note| self.remark(note.at, note.message.as_str()));
        let notes: Vec<Remark> = notes.collect();
        self.problems.extend(notes);
        let mut reader = Reader::new(&documents);
        for root in &documents.roots {
            let Some(at) = documents.node(*root).map(|node| node.at) else { continue };
            let wrong = reader.problems.len();
            let value = reader.read(*root);
            // What cannot be read whole is not judged further.
            if reader.problems.len() == wrong {
                self.take(&documents, Some(*root), Found { value, at }, None);
            }
        }
        for Note { at, message } in reader.problems {
            self.problem(at, message);
        }
        for Note { at, message } in reader.warnings {
            self.warnings.push(self.remark(at, message));
        }
    }

    /// Takes a document, or an item of a list. Items of a list of one kind need not say it (`inherited`).
    fn take(
        &mut self,
        documents: &Documents<'_>,
        node: Option<NodeId>,
        found: Found,
        inherited: Option<(&str, &str)>,
    ) {
        let Found { mut value, at } = found;
        let Some(map) = value.as_object_mut() else {
            if !value.is_null() {
                self.skip(at, "is no manifest: it is no mapping");
            }
            return;
        };
        if let (Some((api_version, kind)), false) = (inherited, map.contains_key("kind")) {
            map.insert("apiVersion".to_owned(), Value::from(api_version));
            map.insert("kind".to_owned(), Value::from(kind));
        }
        if !(map.contains_key("apiVersion") && map.contains_key("kind")) {
            match stranger::describe(self.path, map) {
                Some(what) => self.skip(at, what),
                None if map.contains_key("kind") => self.problem(at, "has a `kind` and no `apiVersion`"),
                None => self.problem(at, "has an `apiVersion` and no `kind`"),
            }
            return;
        }
        let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return self.problem(at, "its `apiVersion` and `kind` must be text");
        };
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        if let Some(what) = stranger::local(split_api_version(&api_version).0, &kind) {
            return self.skip(at, what);
        }
        match kind.strip_suffix("List") {
            Some(of) if value.get("items").is_some_and(|items| items.is_array() || items.is_null()) => {
                let inherited = (!of.is_empty()).then_some((api_version.as_str(), of));
                self.take_items(documents, node, value, at, inherited);
            }
            Some("") => {}
            _ => self.add(value, at, &api_version),
        }
    }

    fn take_items(
        &mut self,
        documents: &Documents<'_>,
        list: Option<NodeId>,
        mut value: Value,
        at: Mark,
        inherited: Option<(&str, &str)>,
    ) {
        let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) else { return };
        let nodes = list.map(|list| place::items(documents, list)).unwrap_or_default();
        for (index, value) in items.into_iter().enumerate() {
            // Items that an alias or `<<` brings are placed where their list is.
            let node = nodes.get(index).copied();
            let at = node.and_then(|node| documents.node(node)).map_or(at, |node| node.at);
            self.take(documents, node, Found { value, at }, inherited);
        }
    }

    fn add(&mut self, value: Value, at: Mark, api_version: &str) {
        let (_, version) = split_api_version(api_version);
        if version.is_empty() || version.contains('/') {
            return self.problem(at, format!("`{}` is no `apiVersion`", brief(api_version)));
        }
        if let Some(message) = nameless(&value) {
            return self.problem(at, message);
        }
        let Some(id) = identify(&value) else { return self.problem(at, "does not say which object it is") };
        if let Some(size) = data_size(&id.kind, &value).filter(|size| *size > DATA_BYTES) {
            return self
                .problem(at, format!("{id} holds {size} bytes; a {} takes at most {DATA_BYTES}", id.kind));
        }
        let (version, origin) = (version.to_owned(), at.origin(self.path));
        self.manifests.push(Manifest { id, version, value, origin });
    }
}

/// What is wrong with an object's name and namespace.
fn nameless(value: &Value) -> Option<&'static str> {
    let metadata = value.get("metadata");
    if metadata.is_some_and(|metadata| !metadata.is_object() && !metadata.is_null()) {
        return Some("its `metadata` must be a mapping");
    }
    let field = |key: &str| metadata.and_then(|metadata| metadata.get(key)).filter(|field| !field.is_null());
    if field("namespace").is_some_and(|namespace| !namespace.is_string()) {
        return Some("its `metadata.namespace` must be text: quote it");
    }
    match field("name") {
        Some(Value::String(name)) if !name.is_empty() => None,
        Some(Value::String(_)) | None if field("generateName").is_some() => Some(
            "has `generateName` and no `name`: it would be another object with every deploy; give it a `metadata.name`",
        ),
        Some(Value::String(_)) | None => Some("has no `metadata.name`"),
        Some(_) => Some("its `metadata.name` must be text: quote it"),
    }
}

/// The bytes that a ConfigMap or a Secret holds, as the API counts them.
fn data_size(kind: &Kind, value: &Value) -> Option<usize> {
    let plain = |value: &Value| value.as_str().map_or(0, str::len);
    // The API decodes before it counts; what is no base64 it refuses itself.
    let packed = |value: &Value| {
        value.as_str().map_or(0, |text| STANDARD.decode(text).map_or(text.len(), |bytes| bytes.len()))
    };
    let entries = |key: &str| value.get(key).and_then(Value::as_object).into_iter().flatten();
    let secret = kind.is("", "Secret");
    if !secret && !kind.is("", "ConfigMap") {
        return None;
    }
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    if secret {
        sizes.extend(entries("data").map(|(key, value)| (key.as_str(), packed(value))));
        // These replace those of the same key.
        sizes.extend(entries("stringData").map(|(key, value)| (key.as_str(), plain(value))));
    } else {
        sizes.extend(entries("data").map(|(key, value)| (key.as_str(), plain(value))));
        sizes.extend(entries("binaryData").map(|(key, value)| (key.as_str(), packed(value))));
    }
    Some(sizes.values().sum())
}

/// A text of a file for a message: not longer than one reads.
pub(in crate::kube) fn brief(text: &str) -> String {
    const LENGTH: usize = 80;
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
