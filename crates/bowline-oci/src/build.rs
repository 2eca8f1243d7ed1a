//! A Dockerfile becomes an image: assembled here where that is certain to be right, by the engine where it is not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::digest::Digest;
use bowline_core::reference::{Reference, Repository};

use crate::assemble::{AssembleError, Base, Image, assemble};
use crate::config::ImageConfig;
use crate::context::Context;
use crate::dockerfile::{self, Handover, Recipe};
use crate::engine::{Engine, EngineError, Listener, Order};
use crate::ignore::IgnoreError;
use crate::manifest::LAYER_ZSTD;
use crate::pull::{PullError, pull};
use crate::registry::{Client, Tick};
use crate::store::Store;
use crate::tree::{self, Tree};

/// The largest Dockerfile that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Who built an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Bowline.
    Native,
    /// The engine, because of this.
    Engine(Handover),
}

/// A built image.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image, in the store.
    pub image: Image,
    /// Where the base's layers are, which need not be in the store.
    pub base: Option<Repository>,
    /// Who built it.
    pub how: How,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The ignore file could not be used.
    #[error("could not use the ignore file of {}", dockerfile.display())]
    Ignore {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// Why not.
        #[source]
        source: IgnoreError,
    },
    /// The base image could not be had.
    #[error("could not get the base image of {}, line {line}", dockerfile.display())]
    Base {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// The line of its `FROM`.
        line: usize,
        /// Why not.
        #[source]
        source: Box<PullError>,
    },
    /// It could not be assembled.
    #[error("could not build {}", dockerfile.display())]
    Assemble {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// Why not.
        #[source]
        source: Box<AssembleError>,
    },
    /// It needs an engine, and there is none.
    #[error("{} needs an engine to be built: {handover}", dockerfile.display())]
    NoEngine {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// What needs it.
        handover: Handover,
    },
    /// The engine failed.
    #[error("the engine could not build {} (it was asked because of {handover})", dockerfile.display())]
    Engine {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// What needs it.
        handover: Handover,
        /// Why it failed.
        #[source]
        source: Box<EngineError>,
    },
}

impl BuildError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Base { source, .. } => source.hint(),
            Self::Engine { source, .. } => source.hint().map(str::to_owned),
            Self::NoEngine { .. } => Some("build where a Docker engine can be reached".into()),
            Self::Assemble { source, .. } => match &**source {
                AssembleError::Context { .. } => {
                    Some("is it built before the images are? does .dockerignore leave it out?".into())
                }
                AssembleError::Store(source) => source.hint().map(str::to_owned),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What came of the attempt to do without an engine.
enum Attempt {
    Done(Box<Image>, Option<Repository>),
    Handover(Handover),
}

/// Builds an image into the store. Without an `engine`, what needs one is an error. `hear` gets the engine's
/// output, `tick` the bytes of base layers that come in.
pub async fn build(
    store: &Store,
    client: &Client,
    engine: Option<&Engine>,
    order: &Order<'_>,
    hear: Listener<'_>,
    tick: &Tick,
) -> Result<Built, BuildError> {
    let handover = match attempt(store, client, engine, order, tick).await? {
        Attempt::Done(image, base) => return Ok(Built { image: *image, base, how: How::Native }),
        Attempt::Handover(handover) => handover,
    };
    let dockerfile = order.dockerfile.to_owned();
    let Some(engine) = engine else { return Err(BuildError::NoEngine { dockerfile, handover }) };
    match engine.build(store, order, hear).await {
        Ok(image) => Ok(Built { image, base: None, how: How::Engine(handover) }),
        Err(source) => Err(BuildError::Engine { dockerfile, handover, source: Box::new(source) }),
    }
}

async fn attempt(
    store: &Store,
    client: &Client,
    engine: Option<&Engine>,
    order: &Order<'_>,
    tick: &Tick,
) -> Result<Attempt, BuildError> {
    let dockerfile = || order.dockerfile.to_owned();
    let text = read(order.dockerfile)?;
    let recipe = match dockerfile::parse(&text, order.target, order.arguments, order.platform) {
        Ok(recipe) => recipe,
        Err(handover) => return Ok(Attempt::Handover(handover)),
    };
    let context = Context::open(order.context, order.dockerfile)
        .map_err(|source| BuildError::Ignore { dockerfile: dockerfile(), source })?;
    let failed =
        |source| BuildError::Base { dockerfile: dockerfile(), line: recipe.line, source: Box::new(source) };
    let base = match &recipe.from {
        None => None,
        Some(name) => match find_base(store, client, engine, &recipe, name, tick).await {
            Ok(found) => Some(found),
            Err(Problem::Handover(reason)) => {
                return Ok(Attempt::Handover(Handover { line: recipe.line, reason }));
            }
            Err(Problem::Pull(error)) => return Err(failed(*error)),
        },
    };
    let (base, repository) = base.unzip();
    let repository = repository.flatten();
    let store = store.clone();
    let work = move || assemble(&store, &recipe, &context, base.as_ref());
    let done = tokio::task::spawn_blocking(work).await.unwrap_or(Err(AssembleError::Worker));
    match done {
        Ok(image) => Ok(Attempt::Done(Box::new(image), repository)),
        Err(AssembleError::Handover(handover)) => Ok(Attempt::Handover(handover)),
        Err(source) => Err(BuildError::Assemble { dockerfile: dockerfile(), source: Box::new(source) }),
    }
}

enum Problem {
    Handover(String),
    Pull(Box<PullError>),
}

/// Finds the base in its registry. Images that were made on this machine are in none: where the registry does not
/// answer at once with the image, the engine is asked for it.
async fn find_base(
    store: &Store,
    client: &Client,
    engine: Option<&Engine>,
    recipe: &Recipe,
    name: &str,
    tick: &Tick,
) -> Result<(Base, Option<Repository>), Problem> {
    let Some(engine) = engine else { return base(store, client, recipe, name, tick).await };
    match base(store, &client.with_patience(Duration::ZERO), recipe, name, tick).await {
        Err(Problem::Pull(_)) => match engine.id(name).await {
            Some(id) => Ok((local_base(store, engine, recipe, name, &id).await?, None)),
            None => base(store, client, recipe, name, tick).await,
        },
        result => result,
    }
}

/// An image of the engine as a base: brought into the store once, remembered by its id.
async fn local_base(
    store: &Store,
    engine: &Engine,
    recipe: &Recipe,
    name: &str,
    id: &str,
) -> Result<Base, Problem> {
    let odd =
        |problem: String| Problem::Handover(format!("FROM {name}, which only the engine has: {problem}"));
    let key = Digest::of(id.as_bytes());
    let there = |image: &Image| image.layers.iter().all(|layer| store.has(&layer.digest, layer.size));
    let image = match store.recall::<Image>("local", &key).filter(there) {
        Some(image) => image,
        None => {
            let image = engine.export(store, id).await.map_err(|error| odd(error.to_string()))?;
            store.remember("local", &key, &image);
            image
        }
    };
    if !image.id.platform.runs_on(&recipe.platform) {
        return Err(odd(format!("it is for {}", image.id.platform)));
    }
    let (store, files) = (store.clone(), recipe.touches_files());
    let read = tokio::task::spawn_blocking(move || read_local(&store, &image, files)).await;
    read.unwrap_or_else(|_| Err("a worker thread died".into())).map_err(odd)
}

fn read_local(store: &Store, image: &Image, files: bool) -> Result<Base, String> {
    let bytes = store.read(&image.id.config).map_err(|error| error.to_string())?;
    let config: ImageConfig = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let mut tree = Tree::default();
    let layers = image.layers.iter().zip(&config.rootfs.diff_ids);
    for (layer, diff_id) in layers.filter(|_| files) {
        if layer.media_type == LAYER_ZSTD && tree::recall(store, diff_id).is_none() {
            return Err("it has zstd-compressed layers".into());
        }
        tree.apply(&tree::index(store, &layer.digest, diff_id).map_err(|error| error.to_string())?);
    }
    Ok(Base { config, layers: image.layers.clone(), tree })
}

async fn base(
    store: &Store,
    client: &Client,
    recipe: &Recipe,
    name: &str,
    tick: &Tick,
) -> Result<(Base, Option<Repository>), Problem> {
    let pulling = |error| match error {
        PullError::Layers { .. } => Problem::Handover(error.to_string()),
        other => Problem::Pull(Box::new(other)),
    };
    let reference: Reference = name.parse().map_err(|_| Problem::Handover(format!("FROM {name}")))?;
    let pulled = pull(client, store, &reference, &recipe.platform).await.map_err(pulling)?;
    let base = pulled.base(client, store, recipe.touches_files(), tick).await.map_err(pulling)?;
    Ok((base, Some(pulled.repository)))
}

fn read(path: &Path) -> Result<String, BuildError> {
    let failed = |source| BuildError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > LIMIT {
        return Err(failed(io::Error::other("it is larger than 1 MiB")));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// Progress that nobody watches.
pub fn unwatched() -> Tick {
    Arc::new(|_| {})
}
