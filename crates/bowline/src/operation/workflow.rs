//! Writing the GitHub workflow that ships every merge.

use std::path::{Path, PathBuf};

use crate::config::{Config, Target};
use crate::error::{Attempt, Failure, Outcome};
use crate::git::Git;
use crate::init::tree::Tree;
use crate::init::workflow::Workflow;

/// Where GitHub looks for it, below the repository's top.
const FILE: &str = ".github/workflows/ship.yml";

/// A workflow that was written.
#[derive(Debug)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// What it does.
    pub workflow: Workflow,
}

/// Writes the workflow for a target of the configuration in `directory`: the named one, else the first.
///
/// # Errors
/// Kind `Invalid`: there is a workflow already (and `force` is not set), no repository, no configuration or no target.
pub async fn write(directory: &Path, target: Option<&str>, force: bool) -> Outcome<Written> {
    let config = Config::load(directory)?;
    let target = choose(&config, target)?;
    let git = Git::open(directory).await.map_err(|error| {
        Failure::invalid(format!("writing {FILE}"))
            .because(&error)
            .hint("a workflow belongs to a git repository")
    })?;
    let path = git.directory().join(FILE);
    if path.exists() && !force {
        return Err(Failure::invalid(format!("{} is there already", path.display()))
            .hint("`bowline init --github --force` replaces it; `git diff` then shows what changed"));
    }
    let branch = git.default_branch("origin").await.attempt(|| "finding the default branch".to_owned())?;
    let branch = branch.unwrap_or_else(|| "main".into());
    let workflow = Workflow::of(&config, &Tree::read(directory)?, target, &branch, &git.prefix);
    let folder = path.parent().unwrap_or(git.directory());
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, workflow.render()))
        .attempt(|| format!("writing {}", path.display()))?;
    Ok(Written { path, workflow })
}

fn choose<'c>(config: &'c Config, target: Option<&str>) -> Outcome<&'c Target> {
    match target {
        Some(name) => config.target(name),
        // A Docker host before a cluster: it is where teams begin.
        None => {
            config.targets.values().min_by_key(|target| matches!(target, Target::Kubernetes(_))).ok_or_else(
                || Failure::invalid("bowline.toml names no target to ship to").hint("add `[targets.box]`"),
            )
        }
    }
}
