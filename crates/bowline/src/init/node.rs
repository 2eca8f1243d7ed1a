//! npm, yarn and pnpm workspaces, and single packages: what has a start script may be a service.

use serde_json::Value;

use super::module::{Module, Tool};
use super::place::{last, lies_in, literal, parent, within, word};
use super::tree::Tree;

/// All packages.
pub(super) fn modules(tree: &Tree) -> Vec<Module> {
    let packages: Vec<(&str, Value)> = tree
        .texts()
        .filter(|(path, _)| last(path) == "package.json")
        .filter_map(|(path, text)| Some((parent(path), serde_json::from_str(text).ok()?)))
        .collect();
    let roots: Vec<(&str, Vec<String>)> = packages
        .iter()
        .filter_map(|(root, package)| Some((*root, workspaces(tree, root, package)?)))
        .collect();
    packages.iter().map(|package| module(tree, package, &packages, &roots)).collect()
}

/// The globs of a workspace's packages.
fn workspaces(tree: &Tree, root: &str, package: &Value) -> Option<Vec<String>> {
    let texts = |list: &Value| {
        list.as_array().map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    let pnpm = tree.text(&within(root, "pnpm-workspace.yaml"));
    let pnpm: Option<Value> = pnpm.and_then(|text| serde_saphyr::from_str(text).ok());
    package
        .get("workspaces")
        .map(|workspaces| workspaces.get("packages").unwrap_or(workspaces))
        .and_then(texts)
        .or_else(|| pnpm.as_ref()?.get("packages").and_then(texts))
}

fn module(
    tree: &Tree,
    (directory, package): &(&str, Value),
    packages: &[(&str, Value)],
    roots: &[(&str, Vec<String>)],
) -> Module {
    let member = |(root, globs): &&(&str, Vec<String>)| {
        let rest = directory.strip_prefix(root).unwrap_or(directory).trim_start_matches('/');
        let own: Vec<&str> = globs
            .iter()
            .filter(|glob| !glob.starts_with('!'))
            .map(|glob| glob.trim_start_matches("./").trim_end_matches('/'))
            .collect();
        lies_in(directory, root)
            && !rest.is_empty()
            && crate::config::globs(own).is_ok_and(|globs| globs.is_match(rest))
    };
    let workspace = roots.iter().filter(member).max_by_key(|(root, _)| root.len());
    let root = workspace.map_or(*directory, |(root, _)| *root);
    let text = |key: &str| package.get(key).and_then(Value::as_str);
    let script = |name: &str| package.get("scripts").and_then(|scripts| scripts.get(name)).is_some();
    let own = text("name").unwrap_or(if directory.is_empty() { &tree.name } else { last(directory) });
    let mut module = Module::new(Tool::Node, own.rsplit('/').next().unwrap_or(own), directory);
    let is_root = roots.iter().any(|(root, _)| root == directory);
    if script("start") && !is_root {
        module.runs = Some("it has a start script".into());
        module.artifact = Some(if directory.is_empty() { ".".into() } else { literal(directory) });
    }
    let names: Vec<&String> = ["dependencies", "optionalDependencies"]
        .iter()
        .filter_map(|key| package.get(*key)?.as_object())
        .flat_map(serde_json::Map::keys)
        .collect();
    module.depends = packages
        .iter()
        .filter(|(other, package)| {
            let name = package.get("name").and_then(Value::as_str);
            other != directory && name.is_some_and(|name| names.iter().any(|needed| *needed == name))
        })
        .map(|(other, _)| (*other).to_owned())
        .collect();
    let (manager, lock) = manager(tree, root);
    module.shared = ["package.json", lock, "pnpm-workspace.yaml", "tsconfig.json", "tsconfig.base.json"]
        .iter()
        .map(|name| within(root, name))
        .filter(|path| tree.has(path))
        .collect();
    let root_builds =
        packages.iter().find(|(directory, _)| directory == &root).is_some_and(|(_, package)| {
            package.get("scripts").and_then(|scripts| scripts.get("build")).is_some()
        });
    let builds = root_builds || script("build");
    module.command = builds.then(|| command(manager, root, None));
    module.own_command = script("build").then(|| command(manager, root, workspace.map(|_| own)));
    if module.runs.is_some() && builds {
        module.unsure.push(format!("dependencies have to be there before the build: run `{manager} install` ahead of it, or build in a Dockerfile"));
    }
    module
}

/// The package manager, by its lock file.
fn manager(tree: &Tree, root: &str) -> (&'static str, &'static str) {
    [("pnpm", "pnpm-lock.yaml"), ("yarn", "yarn.lock"), ("npm", "package-lock.json")]
        .into_iter()
        .find(|(_, lock)| tree.has(&within(root, lock)))
        .unwrap_or(("npm", "package-lock.json"))
}

fn command(manager: &str, root: &str, package: Option<&str>) -> String {
    let (at_root, root) = (root.is_empty(), word(root));
    let package = package.map(word);
    let place = match (manager, at_root) {
        (_, true) => String::new(),
        ("npm", false) => format!(" --prefix {root}"),
        ("yarn", false) => format!(" --cwd {root}"),
        (_, false) => format!(" --dir {root}"),
    };
    match (manager, package) {
        ("npm", Some(package)) => format!("npm{place} run build --workspace {package}"),
        ("yarn", Some(package)) => format!("yarn{place} workspace {package} build"),
        (_, Some(package)) => format!("pnpm{place} --filter {package} run build"),
        (manager, None) => format!("{manager}{place} run build"),
    }
}
