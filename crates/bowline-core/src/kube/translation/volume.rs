//! What a service mounts: named volumes, files of the repository, secrets, memory, and what stays on a host.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::image::needs_empty_directory;
use super::name::Names;
use super::yaml::Node;
use super::{Content, Source, Writer};

/// What a pod brings along for its container, and where that is put.
#[derive(Default)]
pub(super) struct Mounts {
    pub(super) volumes: Vec<Node>,
    pub(super) mounts: Vec<Node>,
    /// Whether only one pod may have it at a time.
    pub(super) exclusive: bool,
    /// Whether a claim is among it.
    pub(super) claims: bool,
    names: Names,
}

impl Mounts {
    /// Adds a volume under the name nearest to this, unless the same one is there already, and mounts it.
    fn add(&mut self, wanted: &str, source: Value, target: &str, mut rest: Node) {
        // Two empty directories are two.
        let shared = source.get("emptyDir").is_none();
        let same = self.volumes.iter().map(Node::value).filter(|_| shared).find(|volume| {
            let mut volume = volume.clone();
            volume.as_object_mut().map(|volume| volume.shift_remove("name"));
            volume == source
        });
        let known = same.and_then(|volume| Some(volume.get("name")?.as_str()?.to_owned()));
        let name = known.unwrap_or_else(|| {
            let name = self.names.take(wanted);
            let mut volume = Node::default();
            volume.set("name", name.as_str());
            for (key, value) in source.as_object().into_iter().flatten() {
                volume.set(key, value.clone());
            }
            self.volumes.push(volume);
            name
        });
        let mut mount = Node::default();
        mount.set("name", name);
        mount.set("mountPath", target);
        mount.merge(std::mem::take(&mut rest));
        self.mounts.push(mount);
    }
}

impl Writer<'_> {
    /// Everything that a service mounts.
    pub(super) fn mounts(&mut self, service: &str, raw: &Value, image: &str) -> Mounts {
        let mut mounts = Mounts::default();
        let list = |key: &str| raw.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        for volume in list("volumes") {
            let text = |key: &str| volume.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let read_only = volume.get("read_only").and_then(Value::as_bool).unwrap_or(false);
            let mut rest = Node::default();
            if read_only {
                rest.set("readOnly", true);
            }
            match text("type").as_str() {
                "bind" => self.bind(service, &mut mounts, (&text("source"), &text("target")), read_only),
                "tmpfs" => {
                    let size = volume.pointer("/tmpfs/size").and_then(number);
                    mounts.add("tmp", memory(size), &text("target"), rest);
                }
                "volume" => match self.volumes.get(&text("source")).cloned() {
                    Some(claim) => {
                        mounts.exclusive |= !read_only;
                        mounts.claims = true;
                        if needs_empty_directory(image) && volume.pointer("/volume/subpath").is_none() {
                            rest.set("subPath", "data");
                            rest.note("subPath", "A new volume may have a lost+found, and this image starts in an empty directory only.");
                        }
                        rest.set_some("subPath", volume.pointer("/volume/subpath").cloned());
                        let source = json!({"persistentVolumeClaim": {"claimName": claim}});
                        mounts.add(&claim, source, &text("target"), rest);
                    }
                    None => {
                        self.guess(
                            Some(service),
                            format!(
                                "{} is a volume without a name: it is empty whenever a pod starts",
                                text("target")
                            ),
                        );
                        mounts.add("scratch", json!({"emptyDir": {}}), &text("target"), rest);
                    }
                },
                other => self.doubt(
                    Some(service),
                    format!("the mount of {} is a {other}, and left out", text("target")),
                ),
            }
        }
        for path in list("tmpfs") {
            let path = path.as_str().unwrap_or_default();
            let (path, options) = path.split_once(':').unwrap_or((path, ""));
            let size = options.split(',').find_map(|option| option.strip_prefix("size=")?.parse().ok());
            mounts.add("tmp", memory(size), path, Node::default());
        }
        for used in list("configs") {
            self.config(service, &mut mounts, &used);
        }
        for used in list("secrets") {
            self.secret_file(service, &mut mounts, &used);
        }
        mounts
    }

    fn bind(&mut self, service: &str, mounts: &mut Mounts, (source, target): (&str, &str), read_only: bool) {
        let found = self.given.sources.get(source).cloned().unwrap_or(Source::Host {
            path: source.into(),
            directory: true,
            why: "it is a path of the host",
        });
        let mut rest = Node::default();
        match found {
            Source::File(content) => {
                let key = file_name(source);
                let config = self.config_map(source, &key, &BTreeMap::from([(key.clone(), content.clone())]));
                let source = config_source(&config, &BTreeMap::from([(key.clone(), content)]));
                rest.set("subPath", key);
                mounts.add(&config, source, target, rest);
            }
            Source::Directory(files) => {
                let config = self.config_map(source, &file_name(source), &files);
                mounts.add(&config, config_source(&config, &files), target, rest);
            }
            Source::Host { path, directory, why } => {
                let kind = match (path.ends_with(".sock"), directory) {
                    (true, _) => "Socket",
                    (_, true) => "DirectoryOrCreate",
                    (_, false) => "File",
                };
                self.doubt(Some(service), format!(
                    "{target} is {path} of whichever node a pod runs on ({why}): bring what it holds along in another way, or put it on every node"
                ));
                rest.remark(format!("Taken from the node, as it was from the machine ({why})."));
                if read_only {
                    rest.set("readOnly", true);
                }
                mounts.exclusive |= !read_only && directory;
                mounts.add(
                    &file_name(&path),
                    json!({"hostPath": {"path": path, "type": kind}}),
                    target,
                    rest,
                );
                return;
            }
        }
        if !read_only {
            self.guess(
                Some(service),
                format!("{target} can be read only: it is a ConfigMap of what lies in the repository"),
            );
        }
    }

    /// A ConfigMap of these files, the same one for everybody who mounts them.
    fn config_map(&mut self, made_of: &str, wanted: &str, files: &BTreeMap<String, Content>) -> String {
        if let Some(name) = self.configs.get(made_of) {
            return name.clone();
        }
        let name = self.config_names.take(wanted);
        self.configs.insert(made_of.into(), name.clone());
        let data: Map<String, Value> =
            files.iter().map(|(path, content)| (key_of(path), Value::from(content.text.as_str()))).collect();
        let mut node = Node::object("v1", "ConfigMap", &name);
        node.remark("A copy of what lies in the repository beside the compose file: from now on, this one counts here.");
        node.set("data", data);
        self.add("config", &node, "");
        name
    }

    /// A top-level `config` of the compose file.
    fn config(&mut self, service: &str, mounts: &mut Mounts, used: &Value) {
        let text = |key: &str| used.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = text("source").unwrap_or_default();
        let target = text("target").unwrap_or_else(|| format!("/{name}"));
        let declared = |key: &str| {
            let value = self.config.get("configs")?.get(&name)?.get(key)?;
            value.as_str().map(str::to_owned)
        };
        let content = declared("content").or_else(|| match self.given.sources.get(&declared("file")?)? {
            Source::File(content) => Some(content.text.clone()),
            _ => None,
        });
        let Some(content) = content else {
            return self.doubt(
                Some(service),
                format!("the config {name} is left out: what is in it is not in the repository"),
            );
        };
        let key = file_name(&target);
        let files = BTreeMap::from([(key.clone(), Content { text: content, executable: false })]);
        let config = self.config_map(&format!("config {name} as {key}"), &name, &files);
        let mut rest = Node::default();
        rest.set("subPath", key);
        mounts.add(&config, config_source(&config, &files), &target, rest);
    }

    /// A top-level `secret` of the compose file: its content goes nowhere; the target makes it.
    fn secret_file(&mut self, service: &str, mounts: &mut Mounts, used: &Value) {
        let text = |key: &str| used.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = text("source").unwrap_or_default();
        let target = text("target").unwrap_or_else(|| name.clone());
        let target = if target.starts_with('/') { target } else { format!("/run/secrets/{target}") };
        let declared = |key: &str| {
            let value = self.config.get("secrets")?.get(&name)?.get(key)?;
            value.as_str().map(str::to_owned)
        };
        let from = match (declared("environment"), declared("file")) {
            (Some(variable), _) => format!("env:{variable}"),
            (_, Some(file)) => match self.given.sources.get(&file) {
                Some(Source::Host { path, .. }) => format!("file:{path}"),
                _ => format!("file:{file}"),
            },
            _ => format!("env:{}", variable(&name)),
        };
        let (secret, key) = (super::name::label(&name), super::name::label(&name));
        self.guess(Some(service), format!("{target} is the Secret {secret}, made from {from}"));
        self.written.secrets.entry(secret.clone()).or_default().insert(key.clone(), from);
        let mut rest = Node::default();
        rest.set("subPath", key);
        rest.set("readOnly", true);
        mounts.add(&format!("secret-{secret}"), json!({"secret": {"secretName": secret}}), &target, rest);
    }
}

/// `POSTGRES_PASSWORD` of `postgres-password`.
pub(super) fn variable(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let variable: String = name.chars().map(legal).collect();
    if variable.starts_with(|c: char| c.is_ascii_digit()) { format!("_{variable}") } else { variable }
}

fn file_name(path: &str) -> String {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned()
}

/// The key of a file in a ConfigMap: `[-._a-zA-Z0-9]+`.
fn key_of(path: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    path.replace('/', "__").chars().map(|c| if legal(c) { c } else { '_' }).collect()
}

fn config_source(config: &str, files: &BTreeMap<String, Content>) -> Value {
    let mut source = json!({"name": config});
    let Some(map) = source.as_object_mut() else { return source };
    if files.keys().any(|path| key_of(path) != *path) {
        let items: Vec<Value> = files.keys().map(|path| json!({"key": key_of(path), "path": path})).collect();
        map.insert("items".into(), items.into());
    }
    if files.values().any(|content| content.executable) {
        map.insert("defaultMode".into(), 0o755.into());
    }
    json!({"configMap": source})
}

fn memory(size: Option<u64>) -> Value {
    match size.filter(|size| *size > 0) {
        Some(size) => json!({"emptyDir": {"medium": "Memory", "sizeLimit": super::container::bytes(size)}}),
        None => json!({"emptyDir": {"medium": "Memory"}}),
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
