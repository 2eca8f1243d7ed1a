//! What lies at the paths that a compose file mounts, and where values of variables come from.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bowline_core::kube::translation::environment::is_secret;
use bowline_core::kube::translation::{Content, Origin, Source};
use serde_json::Value;

use crate::config::{ComposeTarget, Config};
use crate::error::{Attempt, Failure, Outcome};
use crate::operation::checkout::{Interpreted, directory_on_host};
use crate::operation::host::read_variables;

/// What a ConfigMap is given at most, in bytes. It holds 1 MiB, and a release's configuration is small.
const LARGEST: usize = 512 << 10;
/// How many files of a directory become one ConfigMap.
const MOST: usize = 50;

/// The checkout, seen from its compose project.
pub(super) struct Lying<'c> {
    pub(super) config: &'c Config,
    pub(super) compose: &'c ComposeTarget,
    pub(super) interpreted: &'c Interpreted,
    /// What git tracks, relative to the configuration's directory; none: everything counts.
    pub(super) tracked: Option<&'c BTreeSet<PathBuf>>,
}

impl Lying<'_> {
    /// What lies at each path that services mount, and that `configs` and `secrets` are made of.
    pub(super) fn sources(&self) -> BTreeMap<String, Source> {
        let config = &self.interpreted.config;
        let tables = |key: &str| config.get(key).and_then(Value::as_object).into_iter().flatten();
        let mounts =
            tables("services").filter_map(|(_, service)| service.get("volumes")?.as_array()).flatten();
        let binds = mounts.filter(|mount| mount.get("type").and_then(Value::as_str) == Some("bind"));
        let binds = binds.filter_map(|mount| mount.get("source")?.as_str());
        let files = tables("configs").filter_map(|(_, config)| config.get("file")?.as_str());
        let mut sources: BTreeMap<String, Source> =
            binds.chain(files).map(|path| (path.to_owned(), self.source(path))).collect();
        for path in tables("secrets").filter_map(|(_, secret)| secret.get("file")?.as_str()) {
            let below = self.relative(Path::new(path)).map(|path| path.to_string_lossy().into_owned());
            let below = below.unwrap_or_else(|| path.into());
            // As bowline.toml names it; what is in it is not read.
            let source = Source::Host { path: below, directory: false, why: "it is a secret" };
            sources.insert(path.to_owned(), source);
        }
        sources
    }

    fn source(&self, path: &str) -> Source {
        let at = Path::new(path);
        let host = |path: String, why| Source::Host { path, directory: !at.is_file(), why };
        let Some(relative) = self.relative(at) else { return host(path.into(), "it is a path of the host") };
        let there = self.on_host(at);
        if !at.exists() {
            return host(there, "it is not in the repository");
        }
        let found = self.files(&relative);
        if found.is_empty() {
            return host(there, "git does not track it");
        }
        let mut size = 0;
        let mut contents = BTreeMap::new();
        for file in &found {
            let whole = self.config.directory.join(file);
            let text = std::fs::read(&whole).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let Some(text) = text.filter(|text| !text.contains('\0')) else {
                return host(there, "it is no text");
            };
            size += text.len();
            if size > LARGEST || contents.len() == MOST {
                return host(there, "it is too large for a ConfigMap");
            }
            let mode = std::fs::metadata(&whole).map(|metadata| metadata.permissions().mode());
            let name = file.strip_prefix(&relative).unwrap_or(file).to_string_lossy().into_owned();
            contents.insert(name, Content { text, executable: mode.is_ok_and(|mode| mode & 0o100 != 0) });
        }
        match contents.pop_first() {
            Some((name, content)) if name.is_empty() => Source::File(content),
            first => Source::Directory(first.into_iter().chain(contents).collect()),
        }
    }

    /// The path below the configuration's directory.
    fn relative(&self, path: &Path) -> Option<PathBuf> {
        let root = std::fs::canonicalize(&self.config.directory).ok()?;
        path.strip_prefix(root).ok().map(Path::to_owned)
    }

    /// Where it lies on the compose target's host.
    fn on_host(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.interpreted.directory).unwrap_or(path);
        let directory = directory_on_host(self.compose, &self.interpreted.project);
        Path::new(&directory).join(below).to_string_lossy().into_owned()
    }

    /// The files at and below a path that belong to the repository, relative to the configuration's directory.
    fn files(&self, relative: &Path) -> BTreeSet<PathBuf> {
        if let Some(tracked) = self.tracked {
            return tracked.iter().filter(|file| file.starts_with(relative)).cloned().collect();
        }
        let mut found = BTreeSet::new();
        let mut open = vec![relative.to_owned()];
        while let Some(path) = open.pop() {
            let at = self.config.directory.join(&path);
            if at.is_file() {
                found.insert(path);
            } else if found.len() <= MOST {
                let entries = std::fs::read_dir(&at).into_iter().flatten().flatten();
                open.extend(entries.map(|entry| path.join(entry.file_name())));
            }
        }
        found
    }

    /// Where values of variables come from that do not stand in the compose files.
    pub(super) fn origins(&self) -> Outcome<BTreeMap<(String, String), Origin>> {
        let mut origins = BTreeMap::new();
        let set = self.variables()?;
        for file in &self.compose.files {
            let path = self.config.directory.join(file);
            let text = std::fs::read_to_string(&path).attempt(|| format!("reading {}", path.display()))?;
            let value: Value = serde_saphyr::from_str(&text)
                .map_err(|error| Failure::invalid(format!("reading {file}")).since(error.to_string()))?;
            let services = value.get("services").and_then(Value::as_object);
            for (service, raw) in services.into_iter().flatten() {
                for env_file in list(raw.get("env_file")) {
                    self.add_untracked(&mut origins, service, env_file);
                }
                for (name, written) in environment(raw) {
                    let key = (service.clone(), name);
                    origins.remove(&key);
                    if let Some((name, whole)) = variable(&written)
                        && (set.contains(&name) || is_secret(&name, "x"))
                    {
                        origins.insert(key, Origin::Variable { name, whole });
                    }
                }
            }
        }
        Ok(origins)
    }

    /// The variables that are set for Compose here.
    fn variables(&self) -> Outcome<BTreeSet<String>> {
        let mut set: BTreeSet<String> = read_variables(self.config, self.compose)?.into_keys().collect();
        set.extend(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()));
        let text = std::fs::read_to_string(self.interpreted.directory.join(".env")).unwrap_or_default();
        set.extend(names(&text));
        Ok(set)
    }

    fn add_untracked(
        &self,
        origins: &mut BTreeMap<(String, String), Origin>,
        service: &str,
        env_file: &Value,
    ) {
        let Some(path) = env_file.get("path").unwrap_or(env_file).as_str() else { return };
        let at = self.interpreted.directory.join(path);
        let at = std::fs::canonicalize(&at).unwrap_or(at);
        let known = self.relative(&at).is_some_and(|relative| match self.tracked {
            Some(tracked) => tracked.contains(&relative),
            None => true,
        });
        if !known {
            for name in names(&std::fs::read_to_string(&at).unwrap_or_default()) {
                origins.insert((service.to_owned(), name), Origin::Untracked(path.into()));
            }
        }
    }
}

/// The names of a file with variables.
fn names(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        Some(line.split_once('=')?.0.trim().trim_start_matches("export ").trim().to_owned())
    })
}

fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(single) => vec![single],
    }
}

/// The variables of a service as they are written.
fn environment(service: &Value) -> Vec<(String, String)> {
    match service.get("environment") {
        Some(Value::Object(map)) => {
            map.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        }
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(|item| item.as_str()?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        _ => Vec::new(),
    }
}

/// The first variable that Compose fills in, and whether it is all of the text.
fn variable(text: &str) -> Option<(String, bool)> {
    let without = text.replace("$$", "\0\0");
    let at = without.find('$')?;
    let rest = text.get(at + 1..)?;
    let (inside, end) = match rest.strip_prefix('{') {
        Some(inside) => (inside, inside.find('}').map_or(inside.len(), |end| end + 1)),
        None => (rest, rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len())),
    };
    let name: String = inside.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let whole = at == 0 && inside.get(end..).is_none_or(str::is_empty);
    (!name.is_empty()).then_some((name, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_as_compose_finds_them() {
        for (text, found) in [
            ("${DB_PASSWORD}", Some(("DB_PASSWORD", true))),
            ("${DB_PASSWORD:-x}", Some(("DB_PASSWORD", true))),
            ("$A", Some(("A", true))),
            ("$A/b", Some(("A", false))),
            ("jdbc://${HOST}/x", Some(("HOST", false))),
            ("a$$b", None),
            ("$$$A", Some(("A", false))),
            ("plain", None),
        ] {
            assert_eq!(variable(text), found.map(|(name, whole)| (name.to_owned(), whole)), "{text}");
        }
    }
}
