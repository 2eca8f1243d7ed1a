//! The files beside a compose file that it mentions: they travel with a release, so that the target has them as they were.
//!
//! This reads only paths, from the file as written; what the file means is the Compose CLI's to say. Paths are those of
//! the Compose Specification: `volumes` (bind mounts), `env_file`, `extends`, `include`, `configs`. Files of `secrets` are
//! left out: they do not belong in a registry.

use std::collections::BTreeSet;

use serde_json::Value;

/// What a compose file mentions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentioned {
    /// Files and directories, relative to the compose file's directory, without `.` and `..` parts.
    pub paths: BTreeSet<String>,
    /// The ones among them that are compose files themselves (`include`, `extends`).
    pub compose_files: BTreeSet<String>,
    /// Paths that cannot travel, with the reason: they lead out of the directory, or hold a variable.
    pub left_out: BTreeSet<(String, &'static str)>,
}

/// Collects the relative paths that a compose file (as parsed YAML) mentions.
pub fn find(file: &Value) -> Mentioned {
    let mut mentioned = Mentioned::default();
    for service in values(file, "services") {
        for volume in list(service.get("volumes")) {
            let source = match volume {
                Value::String(text) => text.split(':').next(),
                other => other.get("source").and_then(Value::as_str),
            };
            // A name without a leading dot is a named volume.
            if let Some(source) = source.filter(|source| source.starts_with('.')) {
                mentioned.add(source);
            }
        }
        for env_file in list(service.get("env_file")) {
            mentioned.add_any(env_file.get("path").unwrap_or(env_file));
        }
        if let Some(file) = service.pointer("/extends/file").and_then(Value::as_str) {
            mentioned.add_compose_file(file);
        }
    }
    for config in values(file, "configs") {
        mentioned.add_any(config.get("file").unwrap_or(&Value::Null));
    }
    for include in list(file.get("include")) {
        for path in list(Some(include.get("path").unwrap_or(include))) {
            path.as_str().into_iter().for_each(|path| mentioned.add_compose_file(path));
        }
        list(include.get("env_file")).into_iter().for_each(|path| mentioned.add_any(path));
    }
    mentioned
}

fn values<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_object).into_iter().flat_map(|map| map.values())
}

fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(single) => vec![single],
    }
}

impl Mentioned {
    fn add_any(&mut self, value: &Value) {
        value.as_str().into_iter().for_each(|path| self.add(path));
    }

    fn add_compose_file(&mut self, path: &str) {
        self.add(path);
        self.compose_files.extend(normalise(path).ok());
    }

    fn add(&mut self, path: &str) {
        match normalise(path) {
            Ok(path) => drop(self.paths.insert(path)),
            // An absolute path is the host's own business.
            Err(None) => {}
            Err(Some(why)) => drop(self.left_out.insert((path.to_owned(), why))),
        }
    }
}

/// `./a/../b` as `b`; nothing for what is not relative.
fn normalise(path: &str) -> Result<String, Option<&'static str>> {
    if path.is_empty() || path.starts_with(['/', '~']) {
        return Err(None);
    }
    if path.contains('$') {
        return Err(Some("its path holds a variable"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => {
                return Err(Some("it lies outside of the compose file's directory"));
            }
            ".." => {}
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_files_are_found_wherever_compose_allows_them() {
        let file = serde_json::json!({
            "include": ["more.yaml", {"path": ["./a.yaml", "b.yaml"], "env_file": "x.env"}],
            "services": {"a": {
                "volumes": ["./conf:/conf:ro", "data:/data", "/abs:/abs", {"type": "bind", "source": "./s/../t"}, "../up:/up"],
                "env_file": ["a.env", {"path": "./b.env", "required": false}],
                "extends": {"file": "base.yaml", "service": "x"}
            }, "b": {"volumes": ["./$X:/x"], "env_file": "c.env"}},
            "configs": {"c": {"file": "./c.conf"}},
            "secrets": {"s": {"file": "./s.secret"}}
        });
        let found = find(&file);
        let paths: Vec<_> = found.paths.iter().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "a.env",
                "a.yaml",
                "b.env",
                "b.yaml",
                "base.yaml",
                "c.conf",
                "c.env",
                "conf",
                "more.yaml",
                "t",
                "x.env"
            ]
        );
        assert_eq!(found.compose_files.len(), 4);
        assert_eq!(found.left_out.len(), 2);
    }

    #[test]
    fn any_yaml_is_survived() {
        for odd in
            [serde_json::json!(null), serde_json::json!([1]), serde_json::json!({"services": {"a": null}})]
        {
            assert_eq!(find(&odd), Mentioned::default());
        }
    }
}
