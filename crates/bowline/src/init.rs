//! What `bowline init` finds in a repository, and the `bowline.toml` that it proposes.
//!
//! Three parts that do not mix: [`tree`] reads files, [`detect`] is pure over what was read, [`text`] renders the
//! proposal as a commented file. Nothing is asked and nothing is run.

mod binary;
mod compose;
mod deployed;
mod dockerfile;
mod gradle;
mod manifest;
mod matching;
mod maven;
mod module;
mod node;
mod place;
pub mod proposal;
mod script;
mod service;
mod spring;
pub mod text;
pub mod tree;
pub mod workflow;
mod workspace;

use proposal::Proposal;
use tree::Tree;

/// What a repository seems to build and where it seems to run. Pure. `None`: nothing tells.
pub fn detect(tree: &Tree) -> Option<Proposal> {
    let (composes, mut notes) = compose::files(tree);
    let (folder, manifest_notes) = manifest::folder(tree);
    notes.extend(manifest_notes);
    let dockerfiles = dockerfile::dockerfiles(tree);
    let mut modules = gradle::modules(tree);
    modules.extend(maven::modules(tree));
    modules.extend(binary::modules(tree));
    modules.extend(node::modules(tree));
    dockerfile::attach(&mut modules, &dockerfiles, tree);
    let found = workspace::Found { modules, dockerfiles, composes, manifests: folder, notes };
    workspace::propose(tree, found)
}
