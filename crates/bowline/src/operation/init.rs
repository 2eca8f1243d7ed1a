//! Writing the first `bowline.toml`.

use std::path::{Path, PathBuf};

use crate::config::{Config, FILE};
use crate::error::{Attempt, Failure, Outcome};
use crate::init::proposal::Proposal;
use crate::init::tree::Tree;
use crate::init::{detect, text};
use crate::ui::place;

/// A configuration that was written.
#[derive(Debug)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// What it says and how it came to be.
    pub proposal: Proposal,
}

/// Looks at a repository and writes the configuration that fits.
///
/// # Errors
/// Kind `Invalid`: there is a configuration already (and `force` is not set), or nothing tells what to deploy.
pub fn init(directory: &Path, force: bool) -> Outcome<Written> {
    let path = directory.strip_prefix(".").unwrap_or(directory).join(FILE);
    if path.exists() && !force {
        return Err(Failure::invalid(format!("{} is there already", path.display()))
            .hint("`bowline init --force` replaces it; `git diff` then shows what changed"));
    }
    let tree = Tree::read(directory)?;
    let proposal = detect(&tree).ok_or_else(|| nothing(directory))?;
    let text = text::render(&proposal);
    // What is written can be read: a name that slipped through would be told here, not at the first deployment.
    Config::parse(&text, directory)?;
    std::fs::write(&path, text).attempt(|| format!("writing {}", path.display()))?;
    Ok(Written { path, proposal })
}

fn nothing(directory: &Path) -> Failure {
    Failure::invalid(format!("nothing in {} tells what to build or deploy", place(directory)))
        .detail([
            "looked for: settings.gradle and build.gradle, pom.xml, Cargo.toml, package.json with a start script,",
            "Dockerfiles, compose files, and folders with Kubernetes manifests",
        ])
        .hint("`bowline -C DIR init` looks elsewhere; or write bowline.toml by hand, `bowline schema` says what it can hold")
}
