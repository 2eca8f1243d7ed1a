//! From a recipe to an image in the local cache: assembled here where that is certain, else built by the engine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bowline_core::image::ImageId;
use bowline_core::placeholder::Placeholders;
use bowline_core::reference::Repository;
use bowline_core::service::ServiceName;
use bowline_oci::assemble::Image;
use bowline_oci::build as oci;
use bowline_oci::dockerfile::Handover;
use bowline_oci::engine::{Engine, Order};
use bowline_oci::registry::{Client, Options, Tick};
use bowline_oci::store::Store;

use super::output::{Output, Prefix};
use super::recipe::Recipe;
use crate::error::{Failure, Outcome};
use crate::record::cache_directory;
use crate::ui::Ui;

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

impl How {
    /// In one word, for machines.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Assembled => "assembled",
            Self::Engine(_) => "engine",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assembled => f.write_str("assembled"),
            Self::Engine(Handover { line, reason }) => write!(f, "by the engine, for line {line}: {reason}"),
        }
    }
}

/// What images are made with: the cache, a client for the registries of base images, and the engine for what is not
/// assembled here. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Workshop {
    /// The images of this machine.
    pub store: Store,
    /// Finds base images.
    pub client: Client,
    /// Builds what Bowline hands over.
    pub engine: Engine,
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
    Store::open(&cache()).map_err(|error| {
        let failure = Failure::failed("opening the image cache").because(&error);
        hinted(failure, error.hint().map(str::to_owned))
    })
}

impl Workshop {
    /// Opens the image cache and prepares the rest; neither a registry nor an engine is asked anything yet.
    ///
    /// # Errors
    /// When the cache's directory cannot be made, or TLS cannot be set up.
    pub fn open() -> Outcome<Self> {
        let store = open_cache()?;
        let client = Client::new(Options::default())
            .map_err(|error| Failure::failed("preparing to talk to registries").because(&error))?;
        Ok(Self { store, client, engine: Engine::default() })
    }

    /// Whether the version stands in the image's config: then it is another image with every release, even where
    /// nothing else changed (design, "Decided" 3).
    pub fn names_version(&self, image: &BuiltImage, values: &Placeholders) -> bool {
        let version = values.fill("{version}");
        let config = self.store.read(&image.id.config).unwrap_or_default();
        String::from_utf8_lossy(&config).contains(&version)
    }

    /// Makes the image of a service. What an engine has to say goes into `log` and, line by line, to whoever watches.
    ///
    /// # Errors
    /// When the Dockerfile copies what is not there, a base image cannot be had, or the engine fails.
    pub async fn make(
        &self,
        ui: &Ui,
        name: &ServiceName,
        prefix: &Prefix,
        recipe: &Recipe,
        log: &Path,
    ) -> Outcome<BuiltImage> {
        let order = Order {
            context: &recipe.context,
            dockerfile: &recipe.dockerfile,
            target: None,
            arguments: &recipe.arguments,
            platform: &recipe.platform,
        };
        let spinner = ui.spinner(&prefix.name);
        spinner.set_message("making its image");
        let output: Mutex<Option<Output>> = Mutex::new(None);
        let hear = |line: &str| {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            // Opened when there is something to say: most images are assembled in silence.
            if output.is_none() {
                *output = Output::open(ui, prefix, log).ok();
            }
            if let Some(output) = output.as_mut() {
                output.push(line.as_bytes());
                output.push(b"\n");
            }
        };
        let fetched = spinner.clone();
        let total = AtomicU64::new(0);
        let tick: Tick = Arc::new(move |bytes| {
            let bytes = bytes + total.fetch_add(bytes, Ordering::Relaxed);
            fetched.set_message(format!("reading its base image, {:.1} MB", bytes as f64 / 1e6));
        });
        let built = oci::build(&self.store, &self.client, Some(&self.engine), &order, &hear, &tick).await;
        spinner.finish_and_clear();
        let built = built.map_err(|error| {
            let mut failure = Failure::failed(format!("making the image of {name}")).because(&error);
            let said = output.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(output) = said.as_ref() {
                failure = failure.detail(output.last_lines().map(|line| format!("│ {line}")));
            }
            hinted(failure, error.hint())
        })?;
        Ok(BuiltImage {
            id: built.image.id.clone(),
            image: built.image,
            base: built.base,
            how: match built.how {
                oci::How::Native => How::Assembled,
                oci::How::Engine(handover) => How::Engine(handover),
            },
            made_from: recipe.made_from.as_ref().map(|artifact| artifact.describe()),
        })
    }
}

fn hinted(failure: Failure, hint: Option<String>) -> Failure {
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
