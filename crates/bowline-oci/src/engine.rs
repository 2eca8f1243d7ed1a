//! The engine's builder, for Dockerfiles that need one. What it builds comes into the store, so that pushing is
//! the same as for what is assembled here.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use bowline_core::digest::Digest;
use bowline_core::image::Platform;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

use crate::assemble::{AssembleError, Image, finish};
use crate::config::{EPOCH, ImageConfig};
use crate::layer::{Layer, LayerWriter};
use crate::manifest::{Descriptor, LAYER_GZIP, LAYER_ZSTD};
use crate::store::{Store, StoreError};

/// How many of the last lines of a failed build are kept.
const LINES: usize = 40;
/// The longest line that is passed on, in bytes; the rest of it is dropped.
const LINE: usize = 4096;
/// `manifest.json` and the image's config are small.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// A Docker engine, as its command line tool reaches it.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    /// `DOCKER_HOST`; absent: what the environment and the tool's own context say.
    pub host: Option<String>,
}

/// What to build.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The build context.
    pub context: &'a Path,
    /// The Dockerfile.
    pub dockerfile: &'a Path,
    /// The stage, where it is not the last.
    pub target: Option<&'a str>,
    /// Build arguments. Their values travel in the environment, not in argv.
    pub arguments: &'a BTreeMap<String, String>,
    /// The platform to build for.
    pub platform: &'a Platform,
}

/// Who hears the build's output, line by line and without control characters.
pub type Listener<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Why the engine gave no image.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The tool is not there or could not be run.
    #[error("could not run docker to {doing}")]
    Run {
        /// What for.
        doing: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The tool ran and failed.
    #[error("docker could not {doing} ({status}){}", last(.lines))]
    Failed {
        /// What it was to do.
        doing: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it printed.
        lines: Vec<String>,
    },
    /// The archive of the image is not what engines write.
    #[error("could not read the image that the engine built: {0}")]
    Archive(String),
    /// It is for another machine.
    #[error("the engine built an image for {built}, not for {wanted}")]
    Platform {
        /// What it is for.
        built: String,
        /// What it was to be for.
        wanted: String,
    },
    /// The store failed.
    #[error("could not store the image that the engine built")]
    Store(#[source] StoreError),
    /// The store failed at the end.
    #[error("could not describe the image that the engine built")]
    Describe(#[source] Box<AssembleError>),
}

fn last(lines: &[String]) -> String {
    lines
        .iter()
        .rev()
        .find(|line| !line.trim().is_empty())
        .map(|line| format!(": {line}"))
        .unwrap_or_default()
}

impl EngineError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("install the docker command, or take out of the Dockerfile what needs an engine")
            }
            Self::Failed { doing: "reach the engine", .. } => Some("start the engine, or set DOCKER_HOST"),
            Self::Store(source) => source.hint(),
            _ => None,
        }
    }
}

impl Engine {
    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Builds an image and brings it into the store.
    pub async fn build(
        &self,
        store: &Store,
        order: &Order<'_>,
        hear: Listener<'_>,
    ) -> Result<Image, EngineError> {
        let scratch = store.scratch().map_err(EngineError::Store)?;
        let id_file = scratch.path().join("id");
        let mut command = self.command();
        command.arg("build").arg("--iidfile").arg(&id_file).arg("--file").arg(order.dockerfile);
        // Attestations would make it an index of two, one of them no image.
        command.env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1").env("BUILDKIT_PROGRESS", "plain");
        for (name, value) in order.arguments {
            let ours = ["PATH", "HOME"].contains(&name.as_str())
                || ["DOCKER_", "BUILDX_", "BUILDKIT_"].iter().any(|prefix| name.starts_with(prefix));
            if ours {
                // In the environment it would change what the tool itself does.
                command.arg("--build-arg").arg(format!("{name}={value}"));
            } else {
                command.arg("--build-arg").arg(name).env(name, value);
            }
        }
        if let Some(target) = order.target {
            command.arg("--target").arg(target);
        }
        if self.platform().await? != *order.platform {
            command.arg("--platform").arg(order.platform.to_string());
        }
        command.arg("--").arg(order.context);
        run(command, "build the image", hear).await?;
        let id = std::fs::read_to_string(&id_file)
            .ok()
            .and_then(|text| text.trim().parse::<Digest>().ok())
            .ok_or_else(|| EngineError::Archive("it did not say the image's id".into()))?;
        let image = self.export(store, &id.to_string()).await?;
        if !image.id.platform.runs_on(order.platform) {
            let (built, wanted) = (image.id.platform.to_string(), order.platform.to_string());
            return Err(EngineError::Platform { built, wanted });
        }
        Ok(image)
    }

    /// The platform that the engine itself runs on.
    pub async fn platform(&self) -> Result<Platform, EngineError> {
        let mut command = self.command();
        command.args(["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"]);
        let lines = run(command, "reach the engine", &|_| {}).await?;
        let text = lines.iter().find_map(|line| line.trim().parse::<Platform>().ok());
        text.ok_or_else(|| EngineError::Archive("it does not say its platform".into()))
    }

    /// Brings an image that the engine has into the store. `name` is an id or a name.
    pub async fn export(&self, store: &Store, name: &str) -> Result<Image, EngineError> {
        let scratch = store.scratch().map_err(EngineError::Store)?;
        let archive = scratch.path().join("image.tar");
        let mut command = self.command();
        command.args(["save", "--output"]).arg(&archive).arg("--").arg(name);
        run(command, "save the image", &|_| {}).await?;
        let store = store.clone();
        let import = move || import(&store, &archive, scratch.path());
        tokio::task::spawn_blocking(import)
            .await
            .map_err(|_| EngineError::Archive("a worker thread died".into()))?
    }

    /// The id of an image by this name; `None` where the engine has none, or cannot be asked.
    pub async fn id(&self, name: &str) -> Option<String> {
        let mut command = self.command();
        command.args(["image", "inspect", "--format", "{{.Id}}", "--", name]);
        let lines = run(command, "look for the image", &|_| {}).await.ok()?;
        lines.iter().find_map(|line| line.trim().parse::<Digest>().ok()).map(|id| id.to_string())
    }
}

/// Runs a command to its end; gives its last lines.
async fn run(
    mut command: Command,
    doing: &'static str,
    hear: Listener<'_>,
) -> Result<Vec<String>, EngineError> {
    let failed = |source| EngineError::Run { doing, source };
    let mut child = command.spawn().map_err(failed)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let kept = std::sync::Mutex::new(VecDeque::new());
    let keep = |line: &str| {
        hear(line);
        if let Ok(mut kept) = kept.lock() {
            kept.push_back(line.to_owned());
            if kept.len() > LINES {
                kept.pop_front();
            }
        }
    };
    tokio::join!(lines(out, &keep), lines(err, &keep));
    let status = child.wait().await.map_err(failed)?;
    let lines: Vec<String> = kept.into_inner().unwrap_or_default().into();
    if status.success() { Ok(lines) } else { Err(EngineError::Failed { doing, status, lines }) }
}

async fn lines(stream: Option<impl AsyncRead + Unpin>, keep: &(dyn Fn(&str) + Send + Sync)) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                line.truncate(LINE);
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end().replace('\t', "    ");
                keep(&text.chars().filter(|c| !c.is_control()).collect::<String>());
            }
        }
    }
}

/// What `docker save` says about the image (image-spec v1.2 of the engine, `manifest.json`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

/// Reads an archive of `docker save`: of the classic store, with layers as plain archives, or of the containerd
/// store, with blobs as they are in registries.
fn import(store: &Store, archive: &Path, scratch: &Path) -> Result<Image, EngineError> {
    let odd = |error: io::Error| EngineError::Archive(error.to_string());
    let files = scratch.join("files");
    std::fs::create_dir_all(&files).map_err(odd)?;
    let mut reader = tar::Archive::new(File::open(archive).map_err(odd)?);
    reader.set_preserve_permissions(false);
    reader.set_preserve_mtime(false);
    for entry in reader.entries().map_err(odd)? {
        // Entries that would leave the directory are skipped by the library.
        entry.and_then(|mut entry| entry.unpack_in(&files)).map_err(odd)?;
    }
    let inside = |name: &str| -> Result<PathBuf, EngineError> {
        // Old engines link equal layers to each other; a link must not lead elsewhere.
        let path = files.join(name).canonicalize().map_err(odd)?;
        let root = files.canonicalize().map_err(odd)?;
        if path.starts_with(root) {
            Ok(path)
        } else {
            Err(EngineError::Archive("it has links to elsewhere".into()))
        }
    };
    let document = |name: &str| -> Result<Vec<u8>, EngineError> {
        let mut bytes = Vec::new();
        let file = File::open(inside(name)?).map_err(odd)?;
        file.take(DOCUMENT_LIMIT).read_to_end(&mut bytes).map_err(odd)?;
        Ok(bytes)
    };
    let json = |error: serde_json::Error| EngineError::Archive(error.to_string());
    let saved: Vec<Saved> = serde_json::from_slice(&document("manifest.json")?).map_err(json)?;
    let saved = saved.into_iter().next().ok_or_else(|| EngineError::Archive("it is empty".into()))?;
    let mut config: ImageConfig = serde_json::from_slice(&document(&saved.config)?).map_err(json)?;
    if config.rootfs.diff_ids.len() != saved.layers.len() {
        return Err(EngineError::Archive("its config names other layers than it has".into()));
    }
    let mut layers = Vec::new();
    for (name, diff_id) in saved.layers.iter().zip(&config.rootfs.diff_ids) {
        layers.push(import_layer(store, &inside(name)?, diff_id)?);
    }
    // Content, not the clock, decides what an image is.
    config.created = Some(EPOCH.into());
    for line in config.history.iter_mut().flatten() {
        line.created = None;
    }
    finish(store, &config, layers).map_err(|error| EngineError::Describe(Box::new(error)))
}

fn import_layer(store: &Store, path: &Path, diff_id: &Digest) -> Result<Descriptor, EngineError> {
    let odd = |error: io::Error| EngineError::Archive(error.to_string());
    if let Some(layer) = store.recall::<Layer>("engine", diff_id)
        && store.has(&layer.descriptor.digest, layer.descriptor.size)
    {
        return Ok(layer.descriptor);
    }
    let mut file = File::open(path).map_err(odd)?;
    let mut head = [0; 4];
    let length = file.read(&mut head).map_err(odd)?;
    let kind = match head.get(..length).unwrap_or_default() {
        [0x1f, 0x8b, ..] => Some(LAYER_GZIP),
        [0x28, 0xb5, 0x2f, 0xfd] => Some(LAYER_ZSTD),
        _ => None,
    };
    let mut file = File::open(path).map_err(odd)?;
    let layer = match kind {
        Some(kind) => {
            let mut writer = store.writer().map_err(EngineError::Store)?;
            io::copy(&mut file, &mut writer).map_err(odd)?;
            let blob = writer.commit().map_err(EngineError::Store)?;
            Layer { descriptor: Descriptor::new(kind, blob.digest, blob.size), diff_id: *diff_id }
        }
        None => {
            let mut writer = LayerWriter::new(store).map_err(EngineError::Store)?;
            io::copy(&mut file, &mut writer).map_err(odd)?;
            writer.flush().map_err(odd)?;
            writer.commit().map_err(EngineError::Store)?
        }
    };
    if layer.diff_id != *diff_id {
        return Err(EngineError::Archive(format!("layer {} is damaged", diff_id.short())));
    }
    store.remember("engine", diff_id, &layer);
    Ok(layer.descriptor)
}
