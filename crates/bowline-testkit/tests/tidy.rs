//! Keeps the house tidy: sizes of files, directions of dependencies, leftovers, forgotten tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file without its tests. Beyond this a file has outgrown its purpose.
const HARD_LIMIT: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn files(below: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![below.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != ".git" {
                open.push(path);
            } else if path.extension().is_some_and(|there| there == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The lines before the file's test module.
fn production(text: &str) -> usize {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

#[test]
fn no_file_outgrows_its_purpose() {
    let long: Vec<String> = files(&root().join("crates"), "rs")
        .iter()
        .filter(|path| !path.components().any(|part| part.as_os_str() == "tests"))
        .map(|path| (path, production(&fs::read_to_string(path).unwrap())))
        .filter(|(_, lines)| *lines > HARD_LIMIT)
        .map(|(path, lines)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "split along the domain: {long:#?}");
}

#[test]
fn nothing_is_left_over() {
    // Written in parts, so that this file is not found itself.
    let markers =
        [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["X", "XX:"].concat(), ["dbg", "!("].concat()];
    let mut found = Vec::new();
    for path in files(&root().join("crates"), "rs") {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            if markers.iter().any(|marker| line.contains(marker.as_str())) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Which of our crates each crate may use. Adapters never import each other; the testkit imports none of ours.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("bowline-measurement", &[][..]),
        ("bowline-core", &["bowline-measurement"]),
        ("bowline-registry", &["bowline-core"]),
        ("bowline-oci", &["bowline-core"]),
        ("bowline-lease", &["bowline-core"]),
        ("bowline-compose", &["bowline-core", "bowline-lease"]),
        ("bowline-kube", &["bowline-core", "bowline-lease"]),
        ("bowline-gate", &["bowline-measurement"]),
        ("bowline-testkit", &[]),
        (
            "bowline",
            &[
                "bowline-core",
                "bowline-measurement",
                "bowline-oci",
                "bowline-registry",
                "bowline-compose",
                "bowline-kube",
            ],
        ),
    ])
}

/// All that the core, and the measurement that it reads, may use: nothing that does IO.
const PURE: [(&str, &[&str]); 2] = [
    (
        "bowline-core",
        &[
            "base64",
            "bowline-measurement",
            "granit-parser",
            "jiff",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
        ],
    ),
    ("bowline-measurement", &["crc32fast", "postcard", "serde", "thiserror"]),
];

fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && !line.trim_start().starts_with('#') && line.contains('=') {
            names.insert(line.split(['.', '=', ' ']).next().unwrap().to_owned());
        }
    }
    names
}

#[test]
fn dependencies_point_one_way() {
    for (name, allowed) in allowed() {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
        let used: Vec<String> =
            dependencies(&manifest).into_iter().filter(|used| used.starts_with("bowline")).collect();
        let wrong: Vec<_> = used.iter().filter(|used| !allowed.contains(&used.as_str())).collect();
        assert!(wrong.is_empty(), "{name} must not use {wrong:?}");
    }
}

#[test]
fn the_core_does_no_io() {
    for (name, allowed) in PURE {
        let folder = root().join("crates").join(name);
        let used = dependencies(&fs::read_to_string(folder.join("Cargo.toml")).unwrap());
        assert!(
            used.iter().all(|name| allowed.contains(&name.as_str())),
            "{used:?}: only {allowed:?} are allowed"
        );
        for path in files(&folder.join("src"), "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for wall in
                ["std::fs", "std::net", "std::process", "std::env", "std::thread", "std::time::Instant"]
            {
                assert!(!text.contains(wall), "{} uses {wall}", path.display());
            }
        }
    }
}

#[test]
fn no_test_file_is_forgotten() {
    for main in files(&root().join("crates"), "rs").iter().filter(|path| path.ends_with("tests/it/main.rs")) {
        let declared = fs::read_to_string(main).unwrap();
        for entry in fs::read_dir(main.parent().unwrap()).unwrap().map(Result::unwrap) {
            let name = entry.path().file_stem().unwrap().to_string_lossy().into_owned();
            assert!(
                name == "main" || name == "snapshots" || declared.contains(&format!("mod {name};")),
                "{}: `mod {name};` is missing",
                main.display()
            );
        }
    }
}

#[test]
fn no_module_is_a_bag() {
    for path in files(&root().join("crates"), "rs") {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        for bag in ["util", "utils", "helper", "helpers", "common", "manager", "misc", "types"] {
            assert_ne!(name, bag, "{}", path.display());
        }
    }
}
