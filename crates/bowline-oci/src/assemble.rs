//! A recipe and its base become an image: layers, config and manifest in the store.

use std::collections::BTreeMap;
use std::num::NonZero;

use bowline_core::image::ImageId;
use serde::{Deserialize, Serialize};

use crate::config::{DEFAULT_PATH, EPOCH, History, ImageConfig};
use crate::context::{Context, ContextError};
use crate::copy::{self, Obstacle, Resolved};
use crate::dockerfile::{Action, CommandLine, Copy, Handover, Recipe, Step};
use crate::layer::{self, Entry, Layer, LayerError};
use crate::manifest::{CONFIG, Descriptor, LAYER_GZIP, MANIFEST, Manifest};
use crate::pattern::clean;
use crate::store::{Store, StoreError};
use crate::tree::Tree;
use crate::word::{self, Unsupported};

/// An image to start from: its config, its layers and what is in them.
#[derive(Debug, Clone)]
pub struct Base {
    /// Its config.
    pub config: ImageConfig,
    /// Its compressed layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Its file system. May be empty where [`Recipe::touches_files`] says that nobody asks.
    pub tree: Tree,
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its names.
    pub id: ImageId,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its config.
    pub config: Descriptor,
    /// Its layers, lowest first. Those of the base need not be in the store.
    pub layers: Vec<Descriptor>,
}

/// Why an image was not assembled.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The engine has to build it.
    #[error("the Dockerfile needs an engine: {0}")]
    Handover(Handover),
    /// Something that it copies is not there.
    #[error("line {line} of the Dockerfile cannot be carried out")]
    Context {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: ContextError,
    },
    /// A layer could not be written.
    #[error("could not write a layer of the image")]
    Layer(#[source] LayerError),
    /// The store could not take it.
    #[error("could not store the image")]
    Store(#[source] StoreError),
    /// The image cannot be described.
    #[error("could not write the image's config")]
    Json(#[source] serde_json::Error),
    /// A thread of ours died.
    #[error("a worker thread died while writing a layer")]
    Worker,
}

impl Recipe {
    /// Whether the base's file system has to be known: something is put into it.
    pub fn touches_files(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Copy(_) | Action::Workdir(_)))
    }
}

/// Makes the image of a recipe in the store: the same recipe, base and files give the same digests anywhere.
/// Blocks; files are read and compressed on as many threads as there are processors.
pub fn assemble(
    store: &Store,
    recipe: &Recipe,
    context: &Context,
    base: Option<&Base>,
) -> Result<Image, AssembleError> {
    let (config, tree, base_layers) = match base {
        Some(base) => (base.config.clone(), base.tree.clone(), base.layers.clone()),
        None => (ImageConfig::scratch(&recipe.platform), Tree::default(), Vec::new()),
    };
    if config.config.on_build.as_ref().is_some_and(|triggers| !triggers.is_empty()) {
        let reason = "the base image has ONBUILD instructions".into();
        return Err(AssembleError::Handover(Handover { line: recipe.line, reason }));
    }
    let mut draft =
        Draft { recipe, context, config, tree, arguments: BTreeMap::new(), cmd: false, layers: Vec::new() };
    if draft.config.config.variable("PATH").is_none() {
        draft.config.config.set_variable("PATH", DEFAULT_PATH);
    }
    for step in &recipe.steps {
        draft.apply(step)?;
    }
    let layers = write_layers(store, &draft.layers)?;
    let mut config = draft.config;
    config.created = Some(EPOCH.into());
    config.rootfs.diff_ids.extend(layers.iter().map(|layer| layer.diff_id));
    let mut all = base_layers;
    all.extend(layers.into_iter().map(|layer| layer.descriptor));
    finish(store, &config, all)
}

/// Stores config and manifest of an image whose layers are known.
pub(crate) fn finish(
    store: &Store,
    config: &ImageConfig,
    mut layers: Vec<Descriptor>,
) -> Result<Image, AssembleError> {
    for layer in &mut layers {
        // The same bytes under Docker's name: manifests are not to mix the two families.
        if layer.media_type == crate::manifest::DOCKER_LAYER {
            layer.media_type = LAYER_GZIP.into();
        }
        layer.annotations = None;
    }
    let bytes = serde_json::to_vec(config).map_err(AssembleError::Json)?;
    let config_blob = Descriptor::of(CONFIG, &bytes);
    store.put(&bytes).map_err(AssembleError::Store)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST.into()),
        artifact_type: None,
        config: config_blob.clone(),
        layers: layers.clone(),
        annotations: None,
    };
    let bytes = serde_json::to_vec(&manifest).map_err(AssembleError::Json)?;
    let manifest = Descriptor::of(MANIFEST, &bytes);
    store.put(&bytes).map_err(AssembleError::Store)?;
    let id = ImageId { manifest: manifest.digest, config: config_blob.digest, platform: config.platform() };
    Ok(Image { id, manifest, config: config_blob, layers })
}

/// Writes layers at the same time, as many as there are processors.
fn write_layers(store: &Store, layers: &[Vec<Entry>]) -> Result<Vec<Layer>, AssembleError> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut written = Vec::new();
    for batch in layers.chunks(threads) {
        let results: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> =
                batch.iter().map(|entries| scope.spawn(move || layer::write(store, entries))).collect();
            workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        for result in results {
            written.push(result.map_err(|_| AssembleError::Worker)?.map_err(AssembleError::Layer)?);
        }
    }
    Ok(written)
}

struct Draft<'a> {
    recipe: &'a Recipe,
    context: &'a Context,
    config: ImageConfig,
    tree: Tree,
    /// What `ARG` declared so far in this stage.
    arguments: BTreeMap<String, String>,
    /// Whether this Dockerfile set `CMD`: an `ENTRYPOINT` drops one that the base brought along.
    cmd: bool,
    layers: Vec<Vec<Entry>>,
}

impl Draft<'_> {
    fn apply(&mut self, step: &Step) -> Result<(), AssembleError> {
        let odd = |reason: String| AssembleError::Handover(Handover { line: step.line, reason });
        let unsupported = |Unsupported(reason)| odd(reason);
        match &step.action {
            Action::Arg(words) => self.declare(words).map_err(unsupported)?,
            Action::Env(pairs) => {
                // Every value sees the variables as they were before this instruction.
                for (name, value) in self.expand_pairs(pairs).map_err(unsupported)? {
                    self.config.config.set_variable(&name, &value);
                    self.note(format!("ENV {name}"), true);
                }
            }
            Action::Label(pairs) => {
                let pairs = self.expand_pairs(pairs).map_err(unsupported)?;
                self.config.config.labels.get_or_insert_default().extend(pairs);
                self.note("LABEL".into(), true);
            }
            Action::Cmd(command) => {
                let words = self.command(command);
                self.note("CMD".into(), true);
                self.config.config.cmd = Some(words);
                self.config.config.args_escaped = Some(true);
                self.cmd = true;
            }
            Action::Entrypoint(command) => {
                let words = self.command(command);
                self.note("ENTRYPOINT".into(), true);
                self.config.config.entrypoint = Some(words);
                if !self.cmd {
                    self.config.config.cmd = None;
                }
            }
            Action::Copy(copy) => self.copy(step.line, copy)?,
            Action::Workdir(path) => {
                let path = self.expand(path).map_err(unsupported)?;
                self.change_directory(step.line, &path)?;
            }
            Action::Expose(words) => self.expose(step.line, words)?,
            Action::Volume(words) => {
                for word in words {
                    let path = self.expand(word).map_err(unsupported)?;
                    if path.trim().is_empty() {
                        return Err(odd("VOLUME without a path".into()));
                    }
                    self.config.config.volumes.get_or_insert_default().insert(path, BTreeMap::new());
                }
                self.note("VOLUME".into(), true);
            }
            Action::User(word) => {
                self.config.config.user = Some(self.expand(word).map_err(unsupported)?);
                self.note("USER".into(), true);
            }
            Action::Stopsignal(word) => {
                let signal = self.expand(word).map_err(unsupported)?;
                if !is_signal(&signal) {
                    return Err(odd(format!("STOPSIGNAL {signal}")));
                }
                self.config.config.stop_signal = Some(signal);
                self.note("STOPSIGNAL".into(), true);
            }
            Action::Healthcheck(check) => {
                self.config.config.healthcheck = Some(check.clone());
                self.note("HEALTHCHECK".into(), true);
            }
            Action::Shell(words) => {
                self.config.config.shell = Some(words.clone());
                self.note("SHELL".into(), true);
            }
            Action::Maintainer(name) => {
                self.config.author = Some(name.clone());
                self.note("MAINTAINER".into(), true);
            }
        }
        Ok(())
    }

    fn expose(&mut self, line: usize, words: &[String]) -> Result<(), AssembleError> {
        let odd = |reason: String| AssembleError::Handover(Handover { line, reason });
        let mut ports = Vec::new();
        for word in words {
            let text = self.expand(word).map_err(|Unsupported(reason)| odd(reason))?;
            ports.extend(parse_ports(&text).ok_or_else(|| odd(format!("EXPOSE {text}")))?);
        }
        let set = self.config.config.exposed_ports.get_or_insert_default();
        set.extend(ports.into_iter().map(|port| (port, BTreeMap::new())));
        self.note("EXPOSE".into(), true);
        Ok(())
    }

    /// A line of history: the instruction without its words, which may name a version.
    fn note(&mut self, by: String, empty: bool) {
        self.config.history.get_or_insert_default().push(History {
            created_by: Some(by),
            comment: Some("bowline".into()),
            empty_layer: empty.then_some(true),
            ..History::default()
        });
    }

    fn lookup(&self, name: &str) -> Option<String> {
        // ENV wins over ARG, always.
        let variable = self.config.config.variable(name).map(str::to_owned);
        variable.or_else(|| self.arguments.get(name).cloned())
    }

    fn expand(&self, text: &str) -> Result<String, Unsupported> {
        word::expand(text, self.recipe.escape, &|name| self.lookup(name))
    }

    fn expand_pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, Unsupported> {
        pairs.iter().map(|(name, value)| Ok((self.expand(name)?, self.expand(value)?))).collect()
    }

    /// `ARG`: the command line's value, else the default, else what was declared before the first `FROM`.
    fn declare(&mut self, words: &[(String, Option<String>)]) -> Result<(), Unsupported> {
        // Every default sees the variables as they were before this instruction.
        let mut values = Vec::new();
        for (name, default) in words {
            let default = default.as_ref().map(|word| self.expand(word)).transpose()?;
            let sources = &self.recipe.arguments;
            let value = sources.given.get(name).cloned().or(default);
            let value = value.or_else(|| sources.global.get(name).cloned());
            values.extend(value.map(|value| (name.clone(), value)));
        }
        self.arguments.extend(values);
        Ok(())
    }

    fn command(&self, command: &CommandLine) -> Vec<String> {
        match command {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(line) => {
                let shell = self.config.config.shell.clone().filter(|shell| !shell.is_empty());
                let mut words = shell.unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
                words.push(line.clone());
                words
            }
        }
    }

    /// A path relative to the working directory, cleaned.
    fn absolute(&self, path: &str) -> String {
        let directory = self.config.config.working_dir.as_deref().unwrap_or("/");
        if path.starts_with('/') { clean(path) } else { clean(&format!("/{directory}/{path}")) }
    }

    fn change_directory(&mut self, line: usize, path: &str) -> Result<(), AssembleError> {
        let odd = |reason: &str| AssembleError::Handover(Handover { line, reason: reason.into() });
        if path.is_empty() {
            return Err(odd("WORKDIR without a path"));
        }
        let absolute = self.absolute(path);
        let owner = match self.config.config.user.as_deref().unwrap_or_default() {
            "" | "0" | "root" | "0:0" | "root:root" => Some((0, 0)),
            user => user.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?))),
        };
        let mut tree = self.tree.clone();
        let entries = copy::plan_directory(&mut tree, &absolute, owner.unwrap_or_default())
            .map_err(|obstacle| obstruct(line, obstacle))?;
        if !entries.is_empty() && owner.is_none() {
            return Err(odd(
                "WORKDIR makes a directory that belongs to a USER without numbers for user and group",
            ));
        }
        self.tree = tree;
        self.config.config.working_dir = Some(absolute);
        self.note("WORKDIR".into(), entries.is_empty());
        if !entries.is_empty() {
            self.layers.push(entries);
        }
        Ok(())
    }

    fn copy(&mut self, line: usize, copy: &Copy) -> Result<(), AssembleError> {
        let keyword = if copy.add { "ADD" } else { "COPY" };
        let odd = |reason: String| AssembleError::Handover(Handover { line, reason });
        let expand = |text: &str| self.expand(text).map_err(|Unsupported(reason)| odd(reason));
        let sources = copy.sources.iter().map(|source| expand(source)).collect::<Result<Vec<_>, _>>()?;
        let remote = |source: &&String| source.contains("://") || source.starts_with("git@");
        if let Some(source) = sources.iter().find(remote).filter(|_| copy.add) {
            return Err(odd(format!("ADD {source}")));
        }
        let written = expand(&copy.destination)?;
        let mut destination = self.absolute(&written);
        if !destination.ends_with('/') && (written.is_empty() || written == "." || written.ends_with('/')) {
            destination.push('/');
        }
        if sources.len() > 1 && !destination.ends_with('/') {
            return Err(odd(format!("{keyword} of several sources to what is not marked as a directory")));
        }
        let owner = match &copy.chown {
            None => (0, 0),
            Some(text) => {
                let text = expand(text)?;
                parse_owner(&text).ok_or_else(|| odd(format!("{keyword} --chown={text}")))?
            }
        };
        let mode = match &copy.chmod {
            None => None,
            Some(text) => {
                let text = expand(text)?;
                let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
                Some(mode.ok_or_else(|| odd(format!("{keyword} --chmod={text}")))?)
            }
        };
        if copy.link && self.recipe.from.is_some() {
            return Err(odd(format!("{keyword} --link over a base image")));
        }
        let resolved = Resolved { sources, destination, owner, mode, add: copy.add };
        let entries = copy::plan(self.context, &mut self.tree, &resolved)
            .map_err(|obstacle| obstruct(line, obstacle))?;
        self.note(format!("{keyword} {}", resolved.destination), entries.is_empty());
        if !entries.is_empty() {
            self.layers.push(entries);
        }
        Ok(())
    }
}

fn obstruct(line: usize, obstacle: Obstacle) -> AssembleError {
    match obstacle {
        Obstacle::Engine(reason) => AssembleError::Handover(Handover { line, reason }),
        Obstacle::Context(error @ ContextError::Name { .. }) => {
            AssembleError::Handover(Handover { line, reason: error.to_string() })
        }
        Obstacle::Context(source) => AssembleError::Context { line, source },
    }
}

/// Numbers only: names would have to be looked up in the image. A user alone is its own group.
fn parse_owner(text: &str) -> Option<(u32, u32)> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str| {
        let number = text.bytes().all(|byte| byte.is_ascii_digit());
        number.then(|| text.parse().ok()).flatten()
    };
    Some((number(user)?, number(group)?))
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn parse_ports(text: &str) -> Option<Vec<String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (low, high) = (number(low)?, number(high)?);
    (low <= high && matches!(&*protocol, "tcp" | "udp" | "sctp"))
        .then(|| (low..=high).map(|port| format!("{port}/{protocol}")).collect())
}

/// A number or a signal of Linux by name; the engine checks names, so what is not known here is for it.
fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 16] = [
        "HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP", "ALRM", "PIPE", "ABRT",
        "WINCH", "PWR", "RTMIN+3", "TSTP",
    ];
    let name = text.strip_prefix("SIG").unwrap_or(text);
    NAMES.contains(&name) || text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number))
}
