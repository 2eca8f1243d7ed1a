//! Dockerfiles: where they are and what they give away.

use super::module::{Module, Tool};
use super::place::{last, lies_in, parent};
use super::tree::Tree;

/// A Dockerfile.
#[derive(Debug, Clone)]
pub(super) struct Dockerfile {
    pub(super) path: String,
    pub(super) directory: String,
    /// The first port that it exposes.
    pub(super) port: Option<u16>,
    /// What it copies from its context.
    pub(super) copies: Vec<String>,
    /// Whether it builds the artifact itself, in a stage of its own.
    pub(super) builds: bool,
}

/// All Dockerfiles, except those for development and tests.
pub(super) fn dockerfiles(tree: &Tree) -> Vec<Dockerfile> {
    tree.texts()
        .filter(|(path, text)| is_dockerfile(last(path)) && starts_from(text))
        .map(|(path, text)| read(path, text))
        .collect()
}

/// Whether some line is a FROM: `dockerfile.rs` is named like one, and has none.
fn starts_from(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().get(..5).is_some_and(|word| word.eq_ignore_ascii_case("from ")))
}

fn is_dockerfile(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let flavour = name.strip_prefix("dockerfile.").or_else(|| name.strip_suffix(".dockerfile"));
    let other = |flavour: &str| {
        ["dev", "test", "local", "debug", "ci", "e2e", "dockerignore"]
            .iter()
            .any(|word| flavour.contains(word))
    };
    name == "dockerfile" || flavour.is_some_and(|flavour| !other(flavour))
}

fn read(path: &str, text: &str) -> Dockerfile {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut file = Dockerfile {
        path: path.into(),
        directory: parent(path).into(),
        port: None,
        copies: Vec::new(),
        builds: false,
    };
    let (mut stages, mut ran) = (0, false);
    for line in joined.lines() {
        let mut words = line.split_whitespace();
        match words.next().map(str::to_ascii_uppercase).as_deref() {
            Some("FROM") => {
                stages += 1;
                file.builds |= ran && stages > 1;
            }
            Some("RUN") => ran = true,
            Some("EXPOSE") => {
                let port = words.find_map(|word| word.split('/').next()?.parse().ok());
                file.port = file.port.or(port);
            }
            Some("COPY" | "ADD") => {
                let words: Vec<&str> = words.collect();
                if !words.iter().any(|word| word.starts_with("--from")) {
                    let sources = words.iter().filter(|word| !word.starts_with("--"));
                    let sources =
                        sources.map(|word| word.trim_matches(['[', ']', '"', ',']).trim_start_matches("./"));
                    let sources: Vec<&str> = sources.collect();
                    let count = sources.len().saturating_sub(1);
                    file.copies.extend(sources.into_iter().take(count).map(str::to_owned));
                }
            }
            _ => {}
        }
    }
    file
}

/// Gives Dockerfiles to the modules that they are for, and makes modules of the others.
pub(super) fn attach(modules: &mut Vec<Module>, dockerfiles: &[Dockerfile], tree: &Tree) {
    for file in dockerfiles {
        let copied = |module: &Module| {
            file.copies.iter().any(|copy| !module.directory.is_empty() && lies_in(copy, &module.directory))
        };
        // A Dockerfile beside a module is the module's; one elsewhere names what it copies.
        let named = last(&file.path).to_ascii_lowercase();
        let same = |module: &&mut Module| {
            module.runs.is_some()
                && module.dockerfile.as_ref().is_none_or(|(path, _)| *path == file.path)
                && module.directory == file.directory
        };
        let plain = named == "dockerfile";
        let target = match modules
            .iter()
            .position(|module| same(&&mut module.clone()) && (plain || named.contains(&module.name)))
        {
            Some(at) => Some(at),
            None => {
                let users: Vec<usize> = (0..modules.len())
                    .filter(|at| {
                        modules.get(*at).is_some_and(|module| module.runs.is_some() && copied(module))
                    })
                    .collect();
                match users.as_slice() {
                    [only] => Some(*only),
                    _ => None,
                }
            }
        };
        if let Some(module) = target.and_then(|at| modules.get_mut(at)) {
            module.dockerfile = Some((file.path.clone(), file.builds));
            module.copies.clone_from(&file.copies);
            if let Some(port) = file.port {
                module.port = Some((port, format!("{} exposes it", file.path)));
            }
            continue;
        }
        let alone =
            !modules.iter().any(|module| module.directory == file.directory && module.dockerfile.is_some());
        if alone {
            modules.push(module(file, tree));
        }
    }
}

fn module(file: &Dockerfile, tree: &Tree) -> Module {
    let name = if file.directory.is_empty() { tree.name.as_str() } else { last(&file.directory) };
    let stem = last(&file.path);
    let flavour = stem
        .strip_suffix(".Dockerfile")
        .or_else(|| stem.strip_suffix(".dockerfile"))
        .or_else(|| stem.strip_prefix("Dockerfile."));
    let mut module = Module::new(Tool::Docker, flavour.unwrap_or(name), &file.directory);
    module.runs = Some(format!("it has {}", file.path));
    module.port = file.port.map(|port| (port, format!("{} exposes it", file.path)));
    module.dockerfile = Some((file.path.clone(), true));
    module.copies.clone_from(&file.copies);
    module
}
