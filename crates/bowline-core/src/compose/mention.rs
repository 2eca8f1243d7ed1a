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
    /// Files and directories, relative to the project's directory, without `.` and `..` parts.
    pub paths: BTreeSet<String>,
    /// Compose files (`include`, `extends`), each with the directory that the paths in it begin at. They are not among
    /// the others.
    pub compose_files: BTreeSet<(String, String)>,
    /// Paths that cannot travel, with the reason: they lead out of the project's directory, or hold a variable.
    pub left_out: BTreeSet<(String, &'static str)>,
}

/// Collects the relative paths that a compose file (as parsed YAML) mentions. `base` is where they begin, relative to the
/// project's directory: empty for the files that the project is made of, the directory of their own for included ones and
/// those that a service extends (Compose Specification, "include" and "extends").
pub fn find(file: &Value, base: &str) -> Mentioned {
    let mut mentioned = Finder { base, found: Mentioned::default() };
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
            mentioned.add_compose_file(file, parent(file));
        }
    }
    for config in values(file, "configs") {
        mentioned.add_any(config.get("file").unwrap_or(&Value::Null));
    }
    for include in list(file.get("include")) {
        let paths = list(Some(include.get("path").unwrap_or(include)));
        let paths: Vec<&str> = paths.into_iter().filter_map(Value::as_str).collect();
        let own = include.get("project_directory").and_then(Value::as_str);
        let base = own.unwrap_or_else(|| paths.first().map_or("", |path| parent(path)));
        paths.iter().for_each(|path| mentioned.add_compose_file(path, base));
        list(include.get("env_file")).into_iter().for_each(|path| mentioned.add_any(path));
    }
    mentioned.found
}

/// The directory of a path as it is written.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

struct Finder<'b> {
    base: &'b str,
    found: Mentioned,
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

impl Finder<'_> {
    fn add_any(&mut self, value: &Value) {
        value.as_str().into_iter().for_each(|path| self.add(path));
    }

    fn add_compose_file(&mut self, path: &str, base: &str) {
        // An absolute directory is the host's own business; what lies there is not looked for.
        let base = if base.is_empty() { Ok(self.base.to_owned()) } else { normalise(self.base, base) };
        if let Some(path) = self.place(path) {
            self.found.compose_files.insert((path, base.unwrap_or_default()));
        }
    }

    fn add(&mut self, path: &str) {
        let path = self.place(path);
        self.found.paths.extend(path);
    }

    fn place(&mut self, path: &str) -> Option<String> {
        match normalise(self.base, path) {
            Ok(path) => Some(path),
            // An absolute path is the host's own business.
            Err(None) => None,
            Err(Some(why)) => {
                self.found.left_out.insert((path.to_owned(), why));
                None
            }
        }
    }
}

/// `./a/../b` as `b`, below the base; nothing for what is not relative.
fn normalise(base: &str, path: &str) -> Result<String, Option<&'static str>> {
    if path.is_empty() || path.starts_with(['/', '~']) {
        return Err(None);
    }
    if path.contains('$') {
        return Err(Some("its path holds a variable"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => {
                return Err(Some("it lies outside of the project's directory"));
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
        let found = find(&file, "");
        let paths: Vec<_> = found.paths.iter().map(String::as_str).collect();
        assert_eq!(paths, ["a.env", "b.env", "c.conf", "c.env", "conf", "t", "x.env"]);
        let files: Vec<_> = found.compose_files.iter().map(|(file, _)| file.as_str()).collect();
        assert_eq!(files, ["a.yaml", "b.yaml", "base.yaml", "more.yaml"]);
        assert_eq!(found.left_out.len(), 2);
    }

    #[test]
    fn paths_of_other_compose_files_begin_where_those_lie() {
        let file = serde_json::json!({
            "include": ["deep/more.yaml", {"path": "../x/y.yaml", "project_directory": ".."}],
            "services": {"a": {"volumes": ["./conf:/conf", "../top:/top", "../../out:/out"]},
                "b": {"extends": {"file": "deep/base.yaml", "service": "x"}}}
        });
        let found = find(&file, "sub");
        let paths: Vec<_> = found.paths.iter().map(String::as_str).collect();
        assert_eq!(paths, ["sub/conf", "top"]);
        let files: Vec<_> = found.compose_files.iter().map(|(f, base)| (f.as_str(), base.as_str())).collect();
        assert_eq!(
            files,
            [("sub/deep/base.yaml", "sub/deep"), ("sub/deep/more.yaml", "sub/deep"), ("x/y.yaml", "")]
        );
        assert_eq!(found.left_out.len(), 1);
    }

    #[test]
    fn any_yaml_is_survived() {
        for odd in
            [serde_json::json!(null), serde_json::json!([1]), serde_json::json!({"services": {"a": null}})]
        {
            assert_eq!(find(&odd, ""), Mentioned::default());
        }
    }
}
