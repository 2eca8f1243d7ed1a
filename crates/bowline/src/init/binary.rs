//! Cargo packages and workspaces: what has a binary may be a service.

use toml::Table;
use toml::Value;

use super::module::{Module, Tool};
use super::place::{join, last, lies_in, literal, parent, within, word};
use super::tree::Tree;

/// All packages, one module per binary; libraries too, others are made from them.
pub(super) fn modules(tree: &Tree) -> Vec<Module> {
    let manifests: Vec<(&str, Table)> = tree
        .texts()
        .filter(|(path, _)| last(path) == "Cargo.toml")
        .filter_map(|(path, text)| Some((parent(path), text.parse::<Table>().ok()?)))
        .collect();
    manifests
        .iter()
        .filter(|(_, manifest)| manifest.contains_key("package"))
        .flat_map(|package| modules_of(tree, package, &manifests))
        .collect()
}

fn modules_of(
    tree: &Tree,
    (directory, manifest): &(&str, Table),
    manifests: &[(&str, Table)],
) -> Vec<Module> {
    let name = at(manifest, &["package", "name"]).and_then(Value::as_str).unwrap_or(last(directory));
    // The nearest manifest above with a workspace is the one that Cargo takes.
    let workspace = manifests
        .iter()
        .filter(|(root, table)| table.contains_key("workspace") && lies_in(directory, root))
        .max_by_key(|(root, _)| root.len());
    let (root, workspace) = workspace.map_or((*directory, None), |(root, table)| (*root, Some(table)));
    let mut shared: Vec<String> = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml"]
        .iter()
        .map(|name| within(root, name))
        .filter(|path| tree.has(path))
        .collect();
    shared.sort();
    // Cargo refuses it where there is no lock file.
    let locked = if tree.has(&within(root, "Cargo.lock")) { " --locked" } else { "" };
    let place = if root.is_empty() {
        locked.to_owned()
    } else {
        format!("{locked} --manifest-path {}", word(&within(root, "Cargo.toml")))
    };
    let library = Module {
        depends: depends(directory, manifest, root, workspace),
        shared,
        command: Some(format!("cargo build --release{place}")),
        own_command: Some(format!("cargo build --release{place} -p {}", word(name))),
        ..Module::new(Tool::Cargo, name, directory)
    };
    let binaries = binaries(tree, directory, name, manifest);
    if binaries.is_empty() {
        return vec![library];
    }
    let module = |binary: &String| Module {
        name: binary.clone(),
        runs: Some(if binary == name {
            "it has a binary".into()
        } else {
            format!("its package {name} has this binary")
        }),
        artifact: Some(within(&literal(root), &format!("target/release/{binary}"))),
        ..library.clone()
    };
    binaries.iter().map(module).collect()
}

fn at<'t>(table: &'t Table, path: &[&str]) -> Option<&'t Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.as_table()?.get(*key))
}

/// The names of a package's binaries: declared ones, `src/main.rs`, and what lies in `src/bin`.
fn binaries(tree: &Tree, directory: &str, name: &str, manifest: &Table) -> Vec<String> {
    let declared = manifest.get("bin").and_then(Value::as_array).into_iter().flatten();
    let mut names: Vec<String> =
        declared.filter_map(|bin| Some(bin.get("name")?.as_str()?.to_owned())).collect();
    let automatic = at(manifest, &["package", "autobins"]).and_then(Value::as_bool).unwrap_or(true);
    if automatic {
        let main = within(directory, "src/main.rs");
        let declares_main = manifest.get("bin").and_then(Value::as_array).is_some_and(|bins| {
            bins.iter()
                .any(|bin| bin.get("path").and_then(Value::as_str).is_none_or(|path| path == "src/main.rs"))
        });
        if tree.has(&main) && !declares_main {
            names.push(name.into());
        }
        let folder = within(directory, "src/bin/");
        names.extend(tree.paths().filter_map(|path| {
            let rest = path.strip_prefix(&folder)?;
            let stem = rest.strip_suffix("/main.rs").or_else(|| rest.strip_suffix(".rs"))?;
            (!stem.contains('/')).then(|| stem.to_owned())
        }));
    }
    names.sort();
    names.dedup();
    names
}

/// The directories of the path dependencies, build dependencies included, tests' not.
fn depends(directory: &str, manifest: &Table, root: &str, workspace: Option<&Table>) -> Vec<String> {
    let mut tables: Vec<&Table> = Vec::new();
    let mut owners: Vec<&Table> = vec![manifest];
    owners.extend(
        manifest
            .get("target")
            .and_then(Value::as_table)
            .into_iter()
            .flat_map(|targets| targets.values())
            .filter_map(Value::as_table),
    );
    for owner in owners {
        for key in ["dependencies", "build-dependencies"] {
            tables.extend(owner.get(key).and_then(Value::as_table));
        }
    }
    let mut found: Vec<String> = Vec::new();
    for (name, value) in tables.into_iter().flatten() {
        let inherited = value.get("workspace").and_then(Value::as_bool).unwrap_or(false);
        let path = if inherited {
            let entry = workspace.and_then(|table| at(table, &["workspace", "dependencies", name, "path"]));
            entry.and_then(Value::as_str).and_then(|path| join(root, path))
        } else {
            value.get("path").and_then(Value::as_str).and_then(|path| join(directory, path))
        };
        found.extend(path);
    }
    found.sort();
    found.dedup();
    found
}
