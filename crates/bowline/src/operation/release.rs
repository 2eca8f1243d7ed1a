//! `release`: from a commit to a complete release in the registry.
//!
//! The tag is reserved first and makes the run resumable: a run that was cut off is taken up by the next one on the same
//! commit. A release exists when its record does, and the record is written last.

mod push;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bowline_core::decision::Verdict;
use bowline_core::event::{EventKind, Phase, ServiceSummary, Summary};
use bowline_core::history::Change;
use bowline_core::image::ImageId;
use bowline_core::placeholder::Placeholders;
use bowline_core::release::{FORMAT, Record};
use bowline_core::service::ServiceName;
use bowline_core::tag::Tag;
use bowline_oci::store::Store;

use self::push::{Push, keep};
use super::archive::{self, Release};
use super::depot::Depot;
use super::version::{DEADLINE, Request, Reserved, reserve};
use super::{build, manifest, spec};
use crate::cli::Context;
use crate::clock;
use crate::config::Config;
use crate::error::{Failure, Outcome};
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
    refuse_another_commit(&git, &request.commit).await?;
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
    let local = git.local_changes().await?;
    let previous = previous_release(depot, tag).await?;
    let record = previous.as_ref().map(|previous| &previous.record);
    let changed =
        build::find_changes(config, &git, &request.remote, record, &reserved.commit, &local).await?;
    let edited = build::find_edited(config, &git, &local)?;
    warn_of_local_changes(&local, &edited, recorder);
    let values = Placeholders::new(tag.number());
    let built = build::build(context, recorder, config, &values, &changed).await?;
    // Another run on the same commit may have been faster by the time of a build: its tags are not to be moved then.
    if let Some(release) = find(depot, tag, reserved.commit.as_str()).await? {
        context.ui.faint(
            "another run on this commit was faster: its release is taken, what was built is not pushed",
        );
        return Ok(Released::Complete(release));
    }
    // Tags may move until the record exists: what an interrupted run left under them was never a release. Those of a tag
    // that another tool made are in use already.
    let moved = !matches!(reserved.decision.verdict, Verdict::Reused { bump: None, .. });
    let push = Push { context, recorder, config, depot, tag, previous: previous.as_ref(), moved };
    let images = push.images(&built, &edited).await?;
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

/// What is built is what is checked out: it must not get another commit's version.
async fn refuse_another_commit(git: &Git, commit: &str) -> Outcome<()> {
    let (wanted, here) = (git.commit(commit).await?, git.head().await?);
    if wanted == here {
        return Ok(());
    }
    Err(Failure::invalid(format!("releasing commit {}", wanted.short()))
        .since(format!("{} is checked out, and that is what would be built", here.short()))
        .hint(format!("git checkout {}", wanted.short())))
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
fn warn_of_local_changes(local: &[PathBuf], edited: &BTreeSet<ServiceName>, recorder: &Recorder) {
    let Some(first) = local.first() else { return };
    let more = match local.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let effect = match edited.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ") {
        names if names.is_empty() => "what is built from it is built as it is".to_owned(),
        names => format!("{names}: built as it is, and again by the next release"),
    };
    let text = format!("{}{more} differs from the commit; {effect}", first.display());
    recorder.emit(EventKind::Warning { text });
}

/// The newest complete release below this one: what did not change since then need not be built.
async fn previous_release(depot: &Depot, tag: &Tag) -> Outcome<Option<Release>> {
    let releases = archive::releases(depot).await?;
    for candidate in releases.iter().filter(|there| there.version() < tag.version()).take(5) {
        if let Some(release) = archive::look_up(depot, candidate).await? {
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

/// The commit point. Of several runs on one commit one wins; the tags follow its record.
async fn commit(recorder: &Recorder, depot: &Depot, release: Release) -> Outcome<Release> {
    let work = async {
        let ours = release.record.clone();
        let committed = archive::commit(depot, release).await?;
        let foreign = committed.record.created != ours.created || committed.record.images != ours.images;
        if foreign {
            for image in committed.record.images.values() {
                keep(depot, image, &image.tag, true).await?;
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
    Summary { tag: Some(record.tag.clone()), services: services.collect(), ..recorder.summary() }
}
