//! `release`: from a commit to a complete release in the registry.
//!
//! The tag is reserved first and makes the run resumable: a run that was cut off is taken up by the next one on the same
//! commit. A release exists when its record does, and the record is written last.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bowline_core::decision::Verdict;
use bowline_core::event::{EventKind, Phase, ServiceSummary, Summary};
use bowline_core::history::Change;
use bowline_core::image::ImageId;
use bowline_core::placeholder::Placeholders;
use bowline_core::release::{FORMAT, Record, ReleasedImage};
use bowline_core::service::ServiceName;
use bowline_core::tag::Tag;
use bowline_oci::push::{Item, Observer, Progress, push};
use bowline_oci::store::Store;

use super::archive::{self, Release};
use super::depot::Depot;
use super::host::with_hint;
use super::version::{DEADLINE, Request, Reserved, reserve};
use super::{build, manifest, spec};
use crate::build::change::definition;
use crate::build::image::{BuiltImage, open_cache};
use crate::cli::Context;
use crate::clock;
use crate::config::Config;
use crate::error::{Attempt, Failure, Outcome};
use crate::git::Git;
use crate::record::{PhaseResult, Recorder};

/// What came of it.
#[derive(Debug)]
pub enum Released {
    /// There is a complete release for the commit.
    Complete(Box<Release>),
    /// A newer release contains the commit.
    Superseded(Tag),
    /// No title asks for a release.
    Nothing,
}

/// Brings the commit's release about. What exists already is used.
///
/// # Errors
/// The first step that fails; the next run on the same commit goes on from there.
pub async fn release(
    context: &Context,
    recorder: &Recorder,
    config: &Config,
    depot: &Depot,
    request: &Request,
) -> Outcome<Released> {
    let git = Git::open(&config.directory).await?;
    let reserved = reserve_tag(context, recorder, request).await?;
    let Some(tag) = &reserved.tag else {
        return Ok(match reserved.decision.verdict {
            Verdict::Superseded { by } => Released::Superseded(by.tag),
            _ => Released::Nothing,
        });
    };
    let reused = matches!(reserved.decision.verdict, Verdict::Reused { .. });
    recorder.emit(EventKind::Tagged { tag: tag.to_string(), reused });
    // Also where the tag is new to this remote: the commit's release may be older than the remote.
    if let Some(release) = find(depot, tag, reserved.commit.as_str()).await? {
        return Ok(Released::Complete(release));
    }
    warn_of_local_changes(&git, recorder).await?;
    let previous = previous_release(depot, tag).await?;
    let record = previous.as_ref().map(|previous| &previous.record);
    let changed = build::find_changes(config, &git, &request.remote, record, &reserved.commit).await?;
    let values = Placeholders::new(tag.number());
    let built = build::build(context, recorder, config, &values, &changed).await?;
    // Another run on the same commit may have been faster by the time of a build: its tags are not to be moved then.
    if let Some(release) = find(depot, tag, reserved.commit.as_str()).await? {
        context.ui.faint(
            "another run on this commit was faster: its release is taken, what was built is not pushed",
        );
        return Ok(Released::Complete(release));
    }
    let images = push_images(context, recorder, config, depot, tag, &built, previous.as_ref()).await?;
    let mut collected = spec::collect(config, &tracked_files(&git, config).await?)?;
    collected.add_rendered(manifest::render(config, &values).await?);
    for text in collected.warnings {
        recorder.emit(EventKind::Warning { text });
    }
    let record = Record {
        format: FORMAT,
        project: config.project.clone(),
        tag: tag.to_string(),
        version: tag.number(),
        commit: reserved.commit.to_string(),
        previous: previous.as_ref().map(|previous| previous.record.tag.clone()),
        images,
        spec: collected.spec.digest(),
        created: clock::now(),
        changes: reserved.changes.iter().map(title).collect(),
    };
    let release = commit(recorder, depot, Release { record, spec: collected.spec }).await?;
    Ok(Released::Complete(Box::new(release)))
}

/// The commit's release, where it is complete.
async fn find(depot: &Depot, tag: &Tag, commit: &str) -> Outcome<Option<Box<Release>>> {
    let release = archive::read(depot, &tag.to_string()).await?;
    Ok(release.filter(|release| release.record.commit == commit).map(Box::new))
}

fn title(change: &Change) -> String {
    change.title.chars().take(500).collect()
}

async fn reserve_tag(context: &Context, recorder: &Recorder, request: &Request) -> Outcome<Reserved> {
    let work = async {
        let reserved = reserve(request, DEADLINE, |why| context.ui.faint(why)).await?;
        let note = match &reserved.decision.verdict {
            Verdict::New { tag, previous: Some(previous), .. } => format!("{tag}, after {}", previous.tag),
            Verdict::New { tag, previous: None, .. } => format!("{tag}, the first"),
            Verdict::Reused { tag, .. } => format!("{tag}, as before"),
            Verdict::Superseded { by } => format!("superseded by {}", by.tag),
            Verdict::Nothing { .. } => "nothing to release".into(),
        };
        Ok((reserved, PhaseResult { bytes: 0, note }))
    };
    recorder.phase(Phase::Version, work).await
}

/// What is built is what lies there, and the release says that it is the commit.
async fn warn_of_local_changes(git: &Git, recorder: &Recorder) -> Outcome<()> {
    let changes = git.local_changes().await?;
    if let Some(first) = changes.first() {
        let more = changes.len() - 1;
        let text = format!(
            "{}{} differs from the commit, and is built into this release as it is",
            first.display(),
            if more > 0 { format!(" (and {more} more)") } else { String::new() }
        );
        recorder.emit(EventKind::Warning { text });
    }
    Ok(())
}

/// The newest complete release below this one: what did not change since then need not be built.
async fn previous_release(depot: &Depot, tag: &Tag) -> Outcome<Option<Release>> {
    let releases = archive::releases(depot).await?;
    for candidate in releases.iter().filter(|there| there.version() < tag.version()).take(5) {
        if let Some(release) = archive::read(depot, &candidate.to_string()).await? {
            return Ok(Some(release));
        }
    }
    Ok(None)
}

/// The configuration's directory, relative to the repository's top.
fn prefix(git: &Git, config: &Config) -> PathBuf {
    let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (top, own) = (canonical(git.directory()), canonical(&config.directory));
    own.strip_prefix(&top).map(Path::to_owned).unwrap_or_default()
}

/// The files below the configuration's directory that git tracks, relative to it.
pub(super) async fn tracked_files(git: &Git, config: &Config) -> Outcome<BTreeSet<PathBuf>> {
    let prefix = prefix(git, config);
    let files = git.tracked_files(&prefix).await?;
    Ok(files.into_iter().filter_map(|path| path.strip_prefix(&prefix).map(Path::to_owned).ok()).collect())
}

/// Pushes what was built and gives every service its tag: the new image's, or the one it keeps.
async fn push_images(
    context: &Context,
    recorder: &Recorder,
    config: &Config,
    depot: &Depot,
    tag: &Tag,
    built: &BTreeMap<ServiceName, BuiltImage>,
    previous: Option<&Release>,
) -> Outcome<BTreeMap<String, ReleasedImage>> {
    let work = async {
        let mut images = BTreeMap::new();
        let mut items = Vec::new();
        let store = open_cache()?;
        let kept_before =
            |name: &ServiceName| previous.and_then(|release| release.record.images.get(name.as_str()));
        for service in config.services.values() {
            let service_tag = config.tag.render(&service.name, &tag.number());
            let image = match (built.get(&service.name), kept_before(&service.name)) {
                (Some(built), before) => {
                    let size = built.image.layers.iter().map(|layer| layer.size).sum();
                    let layers = built.image.layers.iter().map(|layer| (layer.digest, layer.size)).collect();
                    items.push(Item {
                        name: service.name.to_string(),
                        image: built.image.clone(),
                        base: built.base.clone(),
                        tags: vec![service_tag.clone()],
                    });
                    // What came out as it was keeps its first name: a new one would be another pod, for nothing.
                    let same = before.filter(|before| before.id == built.id);
                    ReleasedImage {
                        healthcheck: has_healthcheck(&store, &built.id),
                        id: built.id.clone(),
                        tag: service_tag,
                        changed: same.is_none(),
                        built_in: same.map_or_else(|| tag.to_string(), |same| same.built_in.clone()),
                        definition: Some(definition(config, service)),
                        size,
                        layers,
                    }
                }
                (None, Some(before)) => {
                    keep(depot, before, &service_tag).await?;
                    recorder.emit(EventKind::ImageReady {
                        service: service.name.to_string(),
                        digest: before.id.manifest.to_string(),
                        how: "kept".into(),
                        changed: false,
                    });
                    ReleasedImage { tag: service_tag, changed: false, ..before.clone() }
                }
                (None, None) => {
                    return Err(Failure::failed(format!("releasing {}", service.name))
                        .since("it was neither built nor part of the previous release"));
                }
            };
            images.insert(service.name.to_string(), image);
        }
        let (sent, skipped) = push_items(context, depot, &store, items).await?;
        let note = format!("{} sent, {} there already", bytes(sent), bytes(skipped));
        Ok((images, PhaseResult { bytes: sent, note }))
    };
    recorder.phase(Phase::Push, work).await
}

async fn push_items(
    context: &Context,
    depot: &Depot,
    store: &Store,
    items: Vec<Item>,
) -> Outcome<(u64, u64)> {
    if items.is_empty() {
        return Ok((0, 0));
    }
    let bar = context.ui.bytes_bar("push", 0);
    let moved = Arc::new(AtomicU64::new(0));
    let (shown, counter) = (bar.clone(), moved.clone());
    let observer: Observer = Arc::new(move |progress| match progress {
        Progress::Started { bytes, .. } => shown.inc_length(bytes),
        Progress::Sent { bytes, .. } => {
            counter.fetch_add(bytes, Ordering::Relaxed);
            shown.inc(bytes);
        }
        Progress::Skipped { bytes, .. } => shown.inc(bytes),
        Progress::Done { .. } => {}
    });
    // Tags may move until the record exists: what an interrupted run left under them was never a release.
    let report = push(&depot.client, store, &depot.repository, &items, true, &observer).await;
    bar.finish_and_clear();
    let report = report.map_err(|error| {
        let failure = Failure::failed(format!("pushing to {}", depot.place())).because(&error);
        with_hint(
            failure,
            error.hint().or_else(|| Some("run it again: what was sent is not sent twice".into())),
        )
    })?;
    Ok((report.sent(), report.images.iter().map(|image| image.skipped).sum()))
}

/// Gives an image that did not change its tag of this release: one request, nothing moved.
async fn keep(depot: &Depot, image: &ReleasedImage, tag: &str) -> Outcome<()> {
    let reference = depot.repository.at(image.id.manifest);
    let attempt = || format!("keeping {} as {tag}", image.tag);
    let fetched = depot.client.get_manifest(&reference).await.attempt(attempt)?;
    let manifest = fetched.ok_or_else(|| {
        Failure::failed(attempt())
            .since(format!("{reference} is gone from the registry"))
            .hint("somebody deleted it there: change a file of that service, or remove its inputs, to build it again")
    })?;
    let written = depot
        .client
        .put_manifest(&depot.repository, tag, &manifest.descriptor.media_type, &manifest.bytes, true)
        .await;
    written.map(drop).attempt(attempt)
}

/// The commit point. Of several runs on one commit one wins; the tags follow its record.
async fn commit(recorder: &Recorder, depot: &Depot, release: Release) -> Outcome<Release> {
    let work = async {
        let ours = release.record.clone();
        let committed = archive::commit(depot, release).await?;
        let foreign = committed.record.created != ours.created || committed.record.images != ours.images;
        if foreign {
            for image in committed.record.images.values() {
                keep(depot, image, &image.tag).await?;
            }
        }
        let note = match foreign {
            true => format!("{}, by a run that was faster", committed.record.tag),
            false => committed.record.tag.clone(),
        };
        Ok((committed, PhaseResult { bytes: 0, note }))
    };
    recorder.phase(Phase::Commit, work).await
}

/// Whether an image in the cache brings a health check of its own (image config, `config.Healthcheck`).
pub(super) fn has_healthcheck(store: &Store, id: &ImageId) -> bool {
    let config = store.read(&id.config).ok();
    let config: Option<serde_json::Value> = config.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let test = config.as_ref().and_then(|config| config.pointer("/config/Healthcheck/Test/0"));
    test.and_then(serde_json::Value::as_str).is_some_and(|kind| kind != "NONE")
}

/// A number of bytes for people.
pub fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// The summary of a run that released and deployed nothing.
pub fn summarise(recorder: &Recorder, record: &Record) -> Summary {
    let services = record.images.iter().map(|(name, image)| {
        let summary = ServiceSummary {
            changed: image.changed,
            digest: Some(image.id.manifest.to_string()),
            state: "released".into(),
        };
        (name.clone(), summary)
    });
    Summary {
        ok: true,
        tag: Some(record.tag.clone()),
        target: None,
        services: services.collect(),
        phases: recorder.phases(),
        seconds: recorder.seconds(),
        capacity: None,
    }
}
