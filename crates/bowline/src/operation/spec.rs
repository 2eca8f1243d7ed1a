//! The spec of a release: the files that a deploy needs from the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bowline_core::compose::mention;
use bowline_core::release::{Spec, SpecFile};

use super::manifest::{Selection, rendered_file};
use crate::config::{Config, Target};
use crate::error::{Attempt, Failure, Outcome};

/// A larger file is data, not configuration: it stays on the host.
const LARGEST_FILE: u64 = 1 << 20;
/// All files together.
const LARGEST_SPEC: usize = 8 << 20;

/// A spec, and what could not become part of it.
#[derive(Debug)]
pub struct Collected {
    /// The files.
    pub spec: Spec,
    /// What was left out although a compose file mentions it, and why.
    pub warnings: Vec<String>,
}

/// Collects `bowline.toml`, the compose files of all targets and the tracked files that they mention, and the manifests
/// of clusters.
///
/// `tracked` are the files below the configuration's directory that git tracks, relative to it: what git does not track
/// (data, secrets, `.env`) belongs to the host.
///
/// # Errors
/// When a compose file is missing or no YAML, or the files are too large.
pub fn collect(config: &Config, tracked: &BTreeSet<PathBuf>) -> Outcome<Collected> {
    let mut collected = Collected { spec: Spec::default(), warnings: Vec::new() };
    let own = SpecFile { executable: false, content: config.text.clone().into_bytes() };
    collected.spec.files.insert(crate::config::FILE.into(), own);
    collected.warn_if_untracked(crate::config::FILE, tracked);
    for target in config.targets.values() {
        let target = match target {
            Target::Compose(target) => target,
            Target::Kubernetes(target) => {
                collected.add_manifests(config, &Selection::of(target)?, tracked)?;
                continue;
            }
        };
        let directory = project_directory(&target.files);
        for file in &target.files {
            if !tracked.is_empty() && !tracked.contains(Path::new(file)) {
                let text = format!("{file} travels with the release although git does not track it");
                collected.warnings.push(text);
            }
        }
        // Each with the directory, below the project's, that its paths begin at.
        let mut open: Vec<(String, String)> =
            target.files.iter().rev().map(|file| (file.clone(), String::new())).collect();
        let mut seen = BTreeSet::new();
        while let Some((file, base)) = open.pop() {
            if !seen.insert((file.clone(), base.clone())) {
                continue;
            }
            collected.add_compose_file(config, &directory, &file)?;
            collected.warn_if_untracked(&file, tracked);
            open.extend(collected.add_mentioned(config, &directory, (&file, &base), tracked)?);
        }
    }
    collected.warnings.dedup();
    let size: usize = collected.spec.files.values().map(|file| file.content.len()).sum();
    if size > LARGEST_SPEC {
        let failure = format!("compose files, what they mount, and manifests have {} MiB", size >> 20);
        return Err(Failure::invalid(failure)
            .since(format!("a release carries at most {} MiB of configuration", LARGEST_SPEC >> 20))
            .hint("mount large files from a volume or from outside of the repository"));
    }
    Ok(collected)
}

/// The compose project's directory in the repository: where its first file lies.
pub fn project_directory(files: &[String]) -> String {
    let first = files.first().map(Path::new).and_then(Path::parent);
    first.map(|directory| directory.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Collected {
    fn add_manifests(
        &mut self,
        config: &Config,
        selection: &Selection<'_>,
        tracked: &BTreeSet<PathBuf>,
    ) -> Outcome<()> {
        let found;
        let files = if tracked.is_empty() {
            found = selection.find(&config.directory);
            &found
        } else {
            tracked
        };
        for path in files.iter().filter(|path| selection.holds(&path.to_string_lossy())) {
            let at = config.directory.join(path);
            // Not left out for its size: a cluster without one of its objects is not what was released.
            let content = std::fs::read(&at).attempt(|| format!("reading the manifest {}", at.display()))?;
            let file = SpecFile { executable: false, content };
            self.spec.files.insert(path.to_string_lossy().into_owned(), file);
        }
        Ok(())
    }

    /// Adds what the commands of clusters rendered.
    pub fn add_rendered(&mut self, rendered: BTreeMap<String, String>) {
        for (target, text) in rendered {
            let file = SpecFile { executable: false, content: text.into_bytes() };
            self.spec.files.insert(rendered_file(&target), file);
        }
    }

    /// A release is said to be its commit.
    fn warn_if_untracked(&mut self, file: &str, tracked: &BTreeSet<PathBuf>) {
        if !tracked.contains(Path::new(file)) {
            self.warnings.push(format!("{file} is not committed: the release carries it as it lies here"));
        }
    }

    fn add_compose_file(&mut self, config: &Config, directory: &str, file: &str) -> Outcome<()> {
        let inside = directory.is_empty() || Path::new(file).starts_with(directory);
        if !inside {
            return Err(Failure::invalid(format!(
                "{file} lies outside of {directory}, the project's directory"
            ))
            .hint(
                "compose takes the directory of its first file as the project's: list a file there first",
            ));
        }
        let path = config.directory.join(file);
        let content = std::fs::read(&path).map_err(|error| {
            Failure::invalid(format!("reading the compose file {}", path.display())).because(&error)
        })?;
        self.spec.files.insert(file.to_owned(), SpecFile { executable: false, content });
        Ok(())
    }

    /// Adds what a compose file mentions, and gives the compose files among it.
    fn add_mentioned(
        &mut self,
        config: &Config,
        directory: &str,
        (file, base): (&str, &str),
        tracked: &BTreeSet<PathBuf>,
    ) -> Outcome<Vec<(String, String)>> {
        let text = self.spec.text(file).unwrap_or_default();
        let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| {
            Failure::invalid(format!("reading the compose file {file}")).since(error.to_string())
        })?;
        let mentioned = mention::find(&value, base);
        for (path, why) in &mentioned.left_out {
            self.warnings
                .push(format!("{file} mentions {path}, which does not travel with the release: {why}"));
        }
        let below = |path: &str| Path::new(directory).join(path);
        for path in &mentioned.paths {
            let at = below(path);
            for found in tracked.iter().filter(|there| there.starts_with(&at)) {
                self.add_file(&config.directory, found)?;
            }
        }
        let mut more = Vec::new();
        for (path, base) in mentioned.compose_files {
            let at = below(&path);
            if tracked.is_empty() || tracked.contains(&at) {
                more.push((at.to_string_lossy().into_owned(), base));
            } else {
                // What git does not track belongs to the host, secrets above all.
                let text =
                    format!("{file} includes {path}, which git does not track: it must be on the target");
                self.warnings.push(text);
            }
        }
        Ok(more)
    }

    fn add_file(&mut self, root: &Path, relative: &Path) -> Outcome<()> {
        let name = relative.to_string_lossy().into_owned();
        let path = root.join(relative);
        let reading = || format!("reading {}, which belongs to the release", path.display());
        let metadata = std::fs::symlink_metadata(&path).attempt(reading)?;
        if !metadata.is_file() {
            self.warnings.push(format!("{name} is no regular file and does not travel with the release"));
        } else if metadata.len() > LARGEST_FILE {
            let size = metadata.len() >> 20;
            self.warnings.push(format!("{name} has {size} MiB: it does not travel with the release"));
        } else {
            let content = std::fs::read(&path).attempt(reading)?;
            let executable = metadata.permissions().mode() & 0o100 != 0;
            self.spec.files.insert(name, SpecFile { executable, content });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect_from(files: &[(&str, &str)], tracked: &[&str]) -> Outcome<Collected> {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let config = Config::load(directory.path()).unwrap();
        collect(&config, &tracked.iter().map(PathBuf::from).collect())
    }

    const TOML: &str =
        "[project]\nname = \"chat\"\n[services.a]\n[targets.box]\ncompose = \"deploy/compose.yaml\"\n";

    #[test]
    fn tracked_files_travel_and_others_stay() {
        let yaml = "services:\n  a:\n    volumes: ['./conf:/conf', './data:/data', './big.bin:/big']\n    env_file: secret.env\n";
        let collected = collect_from(
            &[
                ("bowline.toml", TOML),
                ("deploy/compose.yaml", yaml),
                ("deploy/conf/a.conf", "a"),
                ("deploy/data/x", "user data"),
                ("deploy/secret.env", "P=1"),
                ("deploy/big.bin", &"x".repeat(2 << 20)),
            ],
            &["bowline.toml", "deploy/compose.yaml", "deploy/conf/a.conf", "deploy/big.bin"],
        )
        .unwrap();
        let paths: Vec<_> = collected.spec.files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["bowline.toml", "deploy/compose.yaml", "deploy/conf/a.conf"]);
        assert_eq!(collected.warnings, ["deploy/big.bin has 2 MiB: it does not travel with the release"]);
        let below = collected.spec.below("deploy");
        assert_eq!(
            below.files.keys().map(String::as_str).collect::<Vec<_>>(),
            ["compose.yaml", "conf/a.conf"]
        );
    }

    #[test]
    fn included_files_bring_what_lies_beside_them_unless_git_ignores_them() {
        let yaml = "include: [sub/more.yaml, secret.yaml]\nservices: {a: {image: a}}\n";
        let files = [
            ("bowline.toml", TOML),
            ("deploy/compose.yaml", yaml),
            ("deploy/secret.yaml", "services: {}"),
            ("deploy/sub/more.yaml", "services: {b: {volumes: ['./conf:/conf', '../top:/top']}}"),
            ("deploy/sub/conf/b.conf", "b"),
            ("deploy/top/t.conf", "t"),
        ];
        let tracked: Vec<&str> =
            files.iter().map(|(path, _)| *path).filter(|path| !path.contains("secret")).collect();
        let collected = collect_from(&files, &tracked).unwrap();
        let paths: Vec<_> = collected.spec.files.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "bowline.toml",
                "deploy/compose.yaml",
                "deploy/sub/conf/b.conf",
                "deploy/sub/more.yaml",
                "deploy/top/t.conf"
            ]
        );
        assert_eq!(collected.warnings.len(), 1, "{:?}", collected.warnings);
    }

    #[test]
    fn a_missing_or_broken_compose_file_is_named() {
        let failure = collect_from(&[("bowline.toml", TOML)], &[]).unwrap_err();
        assert!(failure.message.contains("deploy/compose.yaml"), "{failure}");
        let failure =
            collect_from(&[("bowline.toml", TOML), ("deploy/compose.yaml", "a: [b")], &[]).unwrap_err();
        assert!(failure.message.contains("deploy/compose.yaml"), "{failure}");
    }
}
