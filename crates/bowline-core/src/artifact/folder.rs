//! Folders: a Node application, a Python application, a static site.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Artifact, Dependencies, Unknown};

/// What lies in a folder, one level deep, and the files whose content decides.
#[derive(Debug, Default)]
pub struct Folder {
    /// The names of its entries.
    pub names: BTreeSet<String>,
    /// `package.json`, where it is there and is JSON.
    pub package: Option<Value>,
    /// `requirements.txt`, where it is there.
    pub requirements: Option<String>,
    /// `pyproject.toml`, where it is there.
    pub pyproject: Option<String>,
}

/// Recognises a folder. Sources that are run win over pages that are served: a Node application may well have an
/// `index.html`.
///
/// # Errors
/// When it is none of the three, or it is not clear how to start it.
pub fn recognise(folder: &Folder) -> Result<Artifact, Unknown> {
    let site = folder.names.contains("index.html");
    if let Some(package) = &folder.package {
        return match node(package, &folder.names) {
            // A bundler's output folder may carry a package.json that starts nothing.
            Err(_) if site => Ok(Artifact::Site),
            other => other,
        };
    }
    let python = folder.requirements.is_some()
        || folder.pyproject.is_some()
        || folder.names.iter().any(|name| name.ends_with(".py"));
    match (python, site) {
        (true, _) => python_application(folder),
        (false, true) => Ok(Artifact::Site),
        (false, false) => Err(Unknown::Nothing),
    }
}

fn node(package: &Value, names: &BTreeSet<String>) -> Result<Artifact, Unknown> {
    let start = package.pointer("/scripts/start").and_then(Value::as_str).map(str::trim);
    let command = match start {
        // npm as process 1 does not pass signals on; a plain `node file` is started without it.
        Some(script) if is_plain_node(script) => script.split_whitespace().map(str::to_owned).collect(),
        Some(script) if !script.is_empty() => vec!["npm".into(), "start".into()],
        _ => {
            let named = package.get("main").and_then(Value::as_str).map(|main| main.trim_start_matches("./"));
            let main = named
                .filter(|main| !main.is_empty())
                .or_else(|| ["server.js", "index.js"].into_iter().find(|name| names.contains(*name)))
                .ok_or(Unknown::NoStart)?;
            vec!["node".into(), main.into()]
        }
    };
    let wants = package.get("dependencies").and_then(Value::as_object).is_some_and(|map| !map.is_empty());
    let dependencies = if !wants || names.contains("node_modules") {
        Dependencies::Inside
    } else if names.contains("package-lock.json") {
        Dependencies::NpmLock
    } else {
        Dependencies::Npm
    };
    let version = package.pointer("/engines/node").and_then(Value::as_str).and_then(major);
    Ok(Artifact::Node { command, version, dependencies })
}

fn is_plain_node(script: &str) -> bool {
    script.starts_with("node ")
        && script.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '/' | '-' | '_' | '='))
}

/// The first number of `>=20`, `^22.1.0`, `20.x`.
fn major(range: &str) -> Option<u16> {
    let digits = range.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn python_application(folder: &Folder) -> Result<Artifact, Unknown> {
    let entry = match ["__main__.py", "main.py", "app.py", "server.py"]
        .into_iter()
        .find(|name| folder.names.contains(*name))
        .ok_or(Unknown::NoEntry)?
    {
        "__main__.py" => ".",
        other => other,
    };
    let wants = folder.requirements.as_ref().is_some_and(|text| {
        text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'))
    });
    let dependencies = if wants {
        Dependencies::Requirements
    } else if folder.requirements.is_none()
        && folder
            .pyproject
            .as_ref()
            .is_some_and(|text| text.lines().any(|line| line.trim() == "[build-system]"))
    {
        Dependencies::Project
    } else {
        Dependencies::Inside
    };
    Ok(Artifact::Python { entry: entry.into(), dependencies })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str], package: Option<&str>, requirements: Option<&str>) -> Folder {
        Folder {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            package: package.map(|text| serde_json::from_str(text).unwrap()),
            requirements: requirements.map(str::to_owned),
            pyproject: None,
        }
    }

    fn node(command: &[&str], version: Option<u16>, dependencies: Dependencies) -> Result<Artifact, Unknown> {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Ok(Artifact::Node { command, version, dependencies })
    }

    #[test]
    fn a_package_says_how_it_starts() {
        for (names, package, expected) in [
            (
                vec![],
                r#"{"scripts":{"start":"node dist/server.js"},"engines":{"node":">=20"}}"#,
                node(&["node", "dist/server.js"], Some(20), Dependencies::Inside),
            ),
            (
                vec!["package-lock.json"],
                r#"{"scripts":{"start":"FOO=1 next start"},"dependencies":{"next":"1"}}"#,
                node(&["npm", "start"], None, Dependencies::NpmLock),
            ),
            (
                vec!["node_modules"],
                r#"{"main":"./server.mjs","dependencies":{"x":"1"}}"#,
                node(&["node", "server.mjs"], None, Dependencies::Inside),
            ),
            (
                vec!["index.js"],
                r#"{"dependencies":{"x":"1"}}"#,
                node(&["node", "index.js"], None, Dependencies::Npm),
            ),
            (vec![], "{}", Err(Unknown::NoStart)),
            (vec!["index.html"], "{}", Ok(Artifact::Site)),
        ] {
            assert_eq!(recognise(&folder(&names, Some(package), None)), expected, "{package}");
        }
    }

    #[test]
    fn python_and_pages_are_told_apart() {
        let python = |entry: &str, dependencies| Ok(Artifact::Python { entry: entry.into(), dependencies });
        for (names, requirements, expected) in [
            (vec!["__main__.py"], None, python(".", Dependencies::Inside)),
            (
                vec!["main.py", "index.html"],
                Some("flask==3\n"),
                python("main.py", Dependencies::Requirements),
            ),
            (vec!["app.py"], Some("# none\n\n"), python("app.py", Dependencies::Inside)),
            (vec!["lib.py"], None, Err(Unknown::NoEntry)),
            (vec!["index.html", "app.js"], None, Ok(Artifact::Site)),
            (vec!["README"], None, Err(Unknown::Nothing)),
        ] {
            assert_eq!(recognise(&folder(&names, None, requirements)), expected, "{names:?}");
        }
    }
}
