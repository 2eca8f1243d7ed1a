//! Compose files, read as far as telling services apart needs. What they mean at a deployment is Compose's to say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::deployed::Deployed;
use super::place::{join, last, parent, within};
use super::tree::Tree;

/// A compose file.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: String,
    /// The project name that it sets.
    pub(super) project: Option<String>,
    pub(super) services: Vec<Deployed>,
    /// Whether it is meant for Docker Swarm.
    pub(super) swarm: bool,
    /// Whether some service has neither image nor build: it adds to another file.
    pub(super) adds: bool,
}

/// All compose files, the one to deploy first, and what could not be read.
pub(super) fn files(tree: &Tree) -> (Vec<File>, Vec<String>) {
    let mut files = Vec::new();
    let mut notes = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| is_compose(last(path))) {
        match serde_saphyr::from_str::<Value>(text) {
            Ok(value) if value.get("services").is_some_and(Value::is_object) => {
                files.push(read(tree, path, &value))
            }
            Ok(_) => {}
            Err(error) => notes.push(format!("{path} could not be read: {}", brief(&error.to_string()))),
        }
    }
    files.sort_by_key(|file| (rank(file), file.path.matches('/').count(), file.path.clone()));
    (files, notes)
}

/// The first line of a message.
pub(super) fn brief(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

fn is_compose(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    yaml && (name.contains("compose") || name.contains("docker-stack"))
}

/// Which file is meant for the machine: a production one, then the default names, then others.
fn rank(file: &File) -> u8 {
    let name = last(&file.path).to_ascii_lowercase();
    let words: Vec<&str> = name.split(['.', '-', '_']).collect();
    let has = |candidates: &[&str]| words.iter().any(|word| candidates.contains(word));
    if has(&["dev", "development", "test", "tests", "local", "ci", "e2e", "override", "debug"]) {
        6
    } else if file.swarm {
        5
    } else if has(&["prod", "production", "live", "release"]) {
        0
    } else {
        match name.as_str() {
            "compose.yaml" => 1,
            "compose.yml" => 2,
            "docker-compose.yml" | "docker-compose.yaml" => 3,
            _ => 4,
        }
    }
}

fn read(tree: &Tree, path: &str, value: &Value) -> File {
    let directory = parent(path);
    let variables = variables(tree.text(&within(directory, ".env")).unwrap_or_default());
    let services = value.get("services").and_then(Value::as_object);
    let services: Vec<Deployed> = services
        .into_iter()
        .flatten()
        .map(|(name, service)| deployed(path, name, service, &variables))
        .collect();
    let swarm = last(path).contains("stack");
    File {
        path: path.into(),
        project: value
            .get("name")
            .and_then(Value::as_str)
            .filter(|name| !name.contains('$'))
            .map(str::to_owned),
        adds: services
            .iter()
            .any(|service| service.image.is_none() && service.build.is_none() && service.unsure.is_none()),
        services,
        swarm,
    }
}

fn deployed(file: &str, name: &str, service: &Value, variables: &BTreeMap<String, String>) -> Deployed {
    let mut deployed = Deployed { name: name.into(), file: file.into(), ..Deployed::default() };
    if let Some(image) = service.get("image").and_then(Value::as_str) {
        deployed.image = expand(image, variables);
        if deployed.image.is_none() {
            deployed.unsure =
                Some(format!("the image {image} has a variable that is not set in the repository"));
        }
    }
    match service.get("build") {
        Some(Value::String(context)) => set_build(&mut deployed, context, None),
        Some(Value::Object(build)) => {
            let text = |key: &str| build.get(key).and_then(Value::as_str);
            set_build(&mut deployed, text("context").unwrap_or("."), text("dockerfile"));
        }
        _ => {}
    }
    let ports = service.get("ports").and_then(Value::as_array).into_iter().flatten();
    let exposed = service.get("expose").and_then(Value::as_array).into_iter().flatten();
    deployed.port = ports.chain(exposed).find_map(|port| target_port(port, variables));
    let check = service.get("healthcheck");
    let disabled = check.and_then(|check| check.get("disable")).and_then(Value::as_bool).unwrap_or(false);
    deployed.checked = check.is_some() && !disabled;
    deployed.alias = service.get("container_name").and_then(Value::as_str).map(str::to_owned);
    deployed
}

fn set_build(deployed: &mut Deployed, context: &str, dockerfile: Option<&str>) {
    match join(parent(&deployed.file), context) {
        Some(context) => {
            let dockerfile = dockerfile.unwrap_or("Dockerfile");
            let path = join(&context, dockerfile).unwrap_or_else(|| within(&context, "Dockerfile"));
            deployed.build = Some((context, path));
        }
        None => deployed.unsure = Some(format!("it is built from {context}, which is not in the repository")),
    }
}

/// The port in the container: `8080:80`, `80`, `127.0.0.1:8080:80/tcp`, `{ target = 80 }`.
fn target_port(port: &Value, variables: &BTreeMap<String, String>) -> Option<u16> {
    let text = match port {
        Value::Number(number) => number.to_string(),
        Value::String(text) => expand(text, variables)?,
        Value::Object(table) => match table.get("target")? {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => return None,
        },
        _ => return None,
    };
    let (text, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
    (protocol == "tcp").then(|| text.rsplit(':').next()?.parse().ok()).flatten()
}

/// A text with `$NAME`, `${NAME}` and `${NAME:-default}` filled in. `None` when one of them is not known.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        filled.push_str(before);
        if let Some(literal) = behind.strip_prefix('$') {
            filled.push('$');
            rest = literal;
        } else if let Some(inside) = behind.strip_prefix('{') {
            let (inside, tail) = inside.split_once('}')?;
            let end = inside.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(inside.len());
            let (name, rule) = inside.split_at(end);
            let default = rule.strip_prefix(":-").or_else(|| rule.strip_prefix('-'));
            let value = variables.get(name).map(String::as_str).filter(|value| !value.is_empty());
            filled.push_str(value.or(default)?);
            rest = tail;
        } else {
            let end = behind.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(behind.len());
            let (name, tail) = behind.split_at(end);
            filled.push_str(variables.get(name)?);
            rest = tail;
        }
    }
    filled.push_str(rest);
    Some(filled)
}

fn variables(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let (name, value) = line.trim().strip_prefix('#').map_or_else(|| line.split_once('='), |_| None)?;
        Some((name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_where_they_are_known() {
        let known = variables("TAG=1\n# X=2\nQUOTED=\"a b\"");
        for (text, filled) in [
            ("a:${TAG}", Some("a:1")),
            ("a:$TAG-x", Some("a:1-x")),
            ("${R:-reg}/a", Some("reg/a")),
            ("${X}/a", None),
            ("a$$b", Some("a$b")),
            ("$QUOTED", Some("a b")),
        ] {
            assert_eq!(expand(text, &known).as_deref(), filled, "{text}");
        }
    }

    #[test]
    fn the_port_in_the_container_is_the_last_one() {
        let none = BTreeMap::new();
        for (port, target) in [
            (serde_json::json!("8080:80"), Some(80)),
            (serde_json::json!(80), Some(80)),
            (serde_json::json!("127.0.0.1:8080:80/tcp"), Some(80)),
            (serde_json::json!("53:53/udp"), None),
            (serde_json::json!({"target": 80, "published": 8080}), Some(80)),
        ] {
            assert_eq!(target_port(&port, &none), target, "{port}");
        }
    }
}
