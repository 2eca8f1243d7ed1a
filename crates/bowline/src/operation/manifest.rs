//! The manifests of a cluster: which files of the repository they are, and what a command renders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bowline_core::kube::edit::{Change, Wanted, edit, edit_resources};
use bowline_core::kube::image::Pin;
use bowline_core::kube::manifest::Remark;
use bowline_core::placeholder::Placeholders;
use bowline_core::release::Spec;
use globset::GlobSet;

use crate::config::{Config, KubernetesTarget, Target, globs};
use crate::error::{Attempt, Failure, Outcome};

/// How long rendering may take: charts may be fetched first.
const PATIENCE: Duration = Duration::from_secs(300);

/// The name, in a release's spec, of what a target's command rendered.
pub fn rendered_file(target: &str) -> String {
    format!(".bowline/{target}.rendered.yaml")
}

/// Which files are a target's manifests.
pub struct Selection<'t> {
    target: &'t KubernetesTarget,
    exclude: GlobSet,
}

impl<'t> Selection<'t> {
    /// The files that the configuration names for a target.
    ///
    /// # Errors
    /// When a glob makes no sense. The configuration was checked for that.
    pub fn of(target: &'t KubernetesTarget) -> Outcome<Self> {
        let exclude = globs(target.exclude.iter().map(String::as_str)).map_err(|error| {
            Failure::invalid(format!("reading `exclude` of target {}", target.name)).because(&error)
        })?;
        Ok(Self { target, exclude })
    }

    /// Whether the file at this path, relative to the configuration's directory, is one of them.
    pub fn holds(&self, path: &str) -> bool {
        let read = Path::new(path).extension().is_some_and(|extension| {
            ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
        });
        let below = |root: &String| Path::new(path).starts_with(root.trim_end_matches('/')) || root == ".";
        let named = |root: &String| root == path;
        let roots = &self.target.manifests;
        roots.iter().any(|root| named(root) || (read && below(root))) && !self.exclude.is_match(path)
    }

    /// The manifests in a release's spec, by their paths, what was rendered included.
    ///
    /// # Errors
    /// When a file is not UTF-8.
    pub fn read(&self, spec: &Spec) -> Outcome<BTreeMap<String, String>> {
        let rendered = rendered_file(&self.target.name);
        let chosen = spec.files.iter().filter(|(path, _)| **path == rendered || self.holds(path));
        let texts = chosen.map(|(path, file)| match String::from_utf8(file.content.clone()) {
            Ok(text) => Ok((path.clone(), text)),
            Err(error) => Err(Failure::invalid(format!("reading the manifest {path}"))
                .since(format!("it is not UTF-8: {}", error.utf8_error()))),
        });
        texts.collect()
    }

    /// All files below the configured roots, for a directory that is no git repository.
    pub(super) fn find(&self, directory: &Path) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut open: Vec<PathBuf> = self.target.manifests.iter().map(PathBuf::from).collect();
        while let Some(path) = open.pop() {
            let at = directory.join(&path);
            let Ok(kind) = std::fs::symlink_metadata(&at).map(|metadata| metadata.file_type()) else {
                continue;
            };
            if kind.is_dir() {
                let entries = std::fs::read_dir(&at).into_iter().flatten().flatten();
                open.extend(entries.map(|entry| path.join(entry.file_name())));
            } else if kind.is_file() && self.holds(&path.to_string_lossy()) {
                found.insert(path);
            }
        }
        found
    }
}

/// Writes images into the manifests of a checkout: nothing but the bytes of the images changes. Gives the files that were
/// written. Nothing is written unless all can be.
///
/// # Errors
/// Where a file is not as the release has it, or an image cannot be changed without touching anything else: says where.
pub fn write_images(directory: &Path, pins: &[Pin]) -> Outcome<Vec<String>> {
    let mut changes: BTreeMap<String, Vec<Change>> = BTreeMap::new();
    for pin in pins.iter().filter(|pin| pin.is_change()) {
        changes.entry(pin.place.origin.file.clone()).or_default().push(pin.change());
    }
    rewrite(directory, "images", changes, edit)
}

/// Writes what containers are to be given into the manifests of a checkout: nothing else in them changes. Gives the files
/// that were written. Nothing is written unless all can be.
///
/// # Errors
/// Where a file is not as it was, or a container cannot be given it without touching anything else: says where.
pub fn write_resources(directory: &Path, wanted: Vec<Wanted>) -> Outcome<Vec<String>> {
    let mut changes: BTreeMap<String, Vec<Wanted>> = BTreeMap::new();
    for wanted in wanted {
        changes.entry(wanted.object.file.clone()).or_default().push(wanted);
    }
    rewrite(directory, "resources", changes, edit_resources)
}

/// Edits files of a checkout, all of them or none.
fn rewrite<C>(
    directory: &Path,
    what: &str,
    changes: BTreeMap<String, Vec<C>>,
    edit: impl Fn(&str, &str, &[C]) -> Result<String, Vec<Remark>>,
) -> Outcome<Vec<String>> {
    let mut edited = Vec::new();
    let mut told = Vec::new();
    for (file, changes) in changes {
        let path = directory.join(&file);
        let text = std::fs::read_to_string(&path).attempt(|| format!("reading {}", path.display()))?;
        match edit(&file, &text, &changes) {
            Ok(same) if same == text => {}
            Ok(text) => edited.push((file, path, text)),
            Err(remarks) => told.extend(remarks.iter().map(ToString::to_string)),
        }
    }
    if !told.is_empty() {
        return Err(Failure::invalid(format!("writing {what} into the manifests"))
            .detail(told)
            .hint("nothing was written; write these by hand, or release the files as they are first"));
    }
    for (_, path, text) in &edited {
        let attempt = || format!("writing {}", path.display());
        let fresh = tempfile_beside(path);
        std::fs::write(&fresh, text).attempt(attempt)?;
        let permissions = std::fs::metadata(path).attempt(attempt)?.permissions();
        std::fs::set_permissions(&fresh, permissions).attempt(attempt)?;
        std::fs::rename(&fresh, path).attempt(attempt)?;
    }
    Ok(edited.into_iter().map(|(file, _, _)| file).collect())
}

fn tempfile_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.bowline", std::process::id()));
    path.with_file_name(name)
}

/// Runs the commands that render manifests, in the configuration's directory; gives what each target's printed.
///
/// # Errors
/// When one cannot be run, fails or prints no text.
pub async fn render(config: &Config, values: &Placeholders) -> Outcome<BTreeMap<String, String>> {
    let mut rendered = BTreeMap::new();
    for target in config.targets.values() {
        let Target::Kubernetes(target) = target else { continue };
        let Some(command) = &target.render else { continue };
        rendered.insert(target.name.clone(), print(config, &target.name, &command.argv(values)).await?);
    }
    Ok(rendered)
}

async fn print(config: &Config, target: &str, words: &[String]) -> Outcome<String> {
    let rendering =
        || Failure::failed(format!("rendering the manifests of {target} by `{}`", words.join(" ")));
    let (program, arguments) =
        words.split_first().map_or(("", words), |(first, rest)| (first.as_str(), rest));
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).current_dir(&config.directory).stdin(Stdio::null()).kill_on_drop(true);
    for hidden in config.secret_variables() {
        command.env_remove(hidden);
    }
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .map_err(|_| rendering().since(format!("it did not end within {} s", PATIENCE.as_secs())))?
        .map_err(|error| rendering().because(&error).hint("is it installed, and in PATH?"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<String> = complaint.lines().map(crate::ui::printable).collect();
        let tail: Vec<String> = lines.iter().skip(lines.len().saturating_sub(10)).cloned().collect();
        return Err(rendering().since(output.status.to_string()).detail(tail));
    }
    String::from_utf8(output.stdout).map_err(|_| rendering().since("what it printed is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> KubernetesTarget {
        let text = format!("[project]\nname = \"chat\"\n[services.a]\n[targets.cluster]\n{text}\n");
        let config = Config::parse(&text, Path::new(".")).unwrap();
        match config.targets.into_values().next() {
            Some(Target::Kubernetes(target)) => target,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn manifests_are_chosen_by_folder_ending_and_exclusion() {
        let target = target("kubernetes = [\"k8s/\", \"extra.txt\"]\nexclude = [\"k8s/monitoring/**\"]");
        let selection = Selection::of(&target).unwrap();
        for (path, holds) in [
            ("k8s/service/user.yaml", true),
            ("k8s/a.YML", true),
            ("k8s/board.json", true),
            ("k8s/README.md", false),
            ("k8s2/a.yaml", false),
            ("k8s/monitoring/board.json", false),
            ("extra.txt", true),
            ("a.yaml", false),
        ] {
            assert_eq!(selection.holds(path), holds, "{path}");
        }
    }

    #[tokio::test]
    async fn what_a_command_renders_becomes_part_of_the_release() {
        let text =
            "[project]\nname = \"chat\"\n[services.a]\n[targets.cluster]\nrender = \"echo kind: {tag}\"\n";
        let config = Config::parse(text, Path::new(".")).unwrap();
        let rendered = render(&config, &Placeholders::new("1.0.0-abc")).await.unwrap();
        assert_eq!(rendered["cluster"], "kind: v1.0.0-abc\n");
        let text = text.replace("echo kind: {tag}", "sh -c 'echo no such chart >&2; exit 3'");
        let config = Config::parse(&text, Path::new(".")).unwrap();
        let failure = render(&config, &Placeholders::new("1.0.0-abc")).await.unwrap_err();
        assert!(format!("{failure:?}").contains("no such chart"), "{failure:?}");
    }
}
