//! From a recipe to an image in the local cache: assembled here where that is certain, else built by the engine.

use std::fmt;
use std::path::PathBuf;

use bowline_core::image::ImageId;
use bowline_core::reference::Repository;
use bowline_core::service::ServiceName;
use bowline_oci::assemble::{AssembleError, Image, assemble};
use bowline_oci::context::Context;
use bowline_oci::dockerfile::{self, Handover};
use bowline_oci::store::{Store, StoreError};

use super::recipe::Recipe;
use crate::error::{Failure, Outcome};
use crate::record::cache_directory;

/// An image in the local cache.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// What identifies it.
    pub id: ImageId,
    /// Its manifest, config and layers: what a push sends.
    pub image: Image,
    /// Where the layers of its base can be had: they need not be in the cache.
    pub base: Option<Repository>,
    /// Who made it.
    pub how: How,
    /// What its Dockerfile was made from, where it had none.
    pub made_from: Option<String>,
}

/// Who made an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Bowline.
    Assembled,
    /// The engine's builder, because of a line.
    Engine(Handover),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assembled => f.write_str("assembled"),
            Self::Engine(Handover { line, reason }) => write!(f, "by the engine, for line {line}: {reason}"),
        }
    }
}

/// Where images are kept on this machine.
pub fn cache() -> PathBuf {
    cache_directory().join("images")
}

/// Opens the image cache.
///
/// # Errors
/// When its directory cannot be made.
pub fn open_cache() -> Outcome<Store> {
    Store::open(&cache()).map_err(|error| unstored("opening the image cache", &error))
}

/// Makes the image of a recipe.
///
/// # Errors
/// When a file that the Dockerfile copies is not there, or the cache cannot take the image.
pub async fn make(store: &Store, name: &ServiceName, recipe: &Recipe) -> Outcome<BuiltImage> {
    let attempt = || format!("making the image of {name} from {}", recipe.dockerfile.display());
    let parsed = dockerfile::parse(&recipe.text, None, &recipe.arguments, &recipe.platform);
    let context = Context::open(&recipe.context, &recipe.dockerfile)
        .map_err(|error| Failure::failed(attempt()).because(&error))?;
    let parsed = parsed.map_err(|handover| Failure::failed(attempt()).because(&handover))?;
    if let Some(base) = &parsed.from {
        return Err(Failure::failed(attempt()).since(format!("its base image {base} cannot be read yet")));
    }
    let image = assemble(store, &parsed, &context, None).map_err(|error| unassembled(attempt(), &error))?;
    Ok(BuiltImage {
        id: image.id.clone(),
        image,
        base: None,
        how: How::Assembled,
        made_from: recipe.made_from.as_ref().map(|artifact| artifact.describe()),
    })
}

fn unassembled(attempt: String, error: &AssembleError) -> Failure {
    Failure::failed(attempt).because(error)
}

fn unstored(attempt: &str, error: &StoreError) -> Failure {
    let failure = Failure::failed(attempt).because(error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
