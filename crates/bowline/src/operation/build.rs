//! `build`: artifacts by the project's own commands, then an image of each changed service in the local cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use bowline_core::change::{Changed, History, Reason};
use bowline_core::event::{EventKind, Phase};
use bowline_core::history::CommitId;
use bowline_core::placeholder::Placeholders;
use bowline_core::release::Record;
use bowline_core::service::ServiceName;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::build::change::{Definitions, decide_all, definition};
use crate::build::command::{Jobs, jobs};
use crate::build::image::{BuiltImage, How, Workshop};
use crate::build::output::Prefix;
use crate::build::process::{Job, execute};
use crate::build::recipe::{Adopted, adopt, choose};
use crate::cli::Context;
use crate::config::Config;
use crate::error::{Attempt, Outcome};
use crate::git::{ChangedPaths, Git};
use crate::record::{PhaseResult, Recorder, state_directory};
use crate::ui::Ui;

/// Where the logs of this run's build are, and the Dockerfiles that it makes.
pub fn logs(recorder: &Recorder) -> PathBuf {
    state_directory().join("logs").join(recorder.run().to_string())
}

/// Works out which services a release of `head` changes, compared with the release before. `local` are files of the working
/// copy that differ from the commit, relative to the repository's top.
///
/// # Errors
/// When git cannot be run. What cannot be told is no error: then services count as changed.
pub async fn find_changes(
    config: &Config,
    git: &Git,
    remote: &str,
    previous: Option<&Record>,
    head: &CommitId,
    local: &[PathBuf],
) -> Outcome<BTreeMap<ServiceName, Changed>> {
    let Some(previous) = previous else {
        return decide_all(config, &History::First, &Definitions::new());
    };
    let definitions = previous
        .images
        .iter()
        .filter_map(|(name, image)| Some((name.parse::<ServiceName>().ok()?, image.definition)));
    let history = match previous.commit.parse::<CommitId>() {
        Ok(commit) => match observe_history(git, remote, &commit, head).await? {
            History::Paths(paths) => History::Paths(paths.into_iter().chain(inside(git, local)).collect()),
            unknown => unknown,
        },
        Err(_) => History::Unknown(format!("release {} names no commit", previous.tag)),
    };
    decide_all(config, &history, &definitions.collect())
}

/// The services that are built from files that differ from the commit.
///
/// # Errors
/// When an `inputs` glob is none, which a checked configuration has not.
pub fn find_edited(config: &Config, git: &Git, local: &[PathBuf]) -> Outcome<BTreeSet<ServiceName>> {
    let same = config.services.values().map(|service| {
        let definition = definition(config, service);
        (service.name.clone(), Some(definition))
    });
    let edited = decide_all(config, &History::Paths(inside(git, local).collect()), &same.collect())?;
    let by_input = |changed: &Changed| matches!(changed, Changed::Yes(Reason::Input { .. }));
    Ok(edited.into_iter().filter(|(_, changed)| by_input(changed)).map(|(name, _)| name).collect())
}

/// Those of the repository's files that are in the project's directory, relative to it.
fn inside<'p>(git: &'p Git, paths: &'p [PathBuf]) -> impl Iterator<Item = String> + 'p {
    paths.iter().filter_map(|path| path.to_str()?.strip_prefix(&git.prefix).map(str::to_owned))
}

/// What changed in the project's directory since a commit; what lies outside it is nobody's input.
async fn observe_history(git: &Git, remote: &str, since: &CommitId, head: &CommitId) -> Outcome<History> {
    Ok(match git.changed_paths(remote, since, head).await? {
        ChangedPaths::Unknown { reason } => History::Unknown(reason),
        ChangedPaths::Known(paths) => History::Paths(
            paths.iter().filter_map(|path| path.strip_prefix(&git.prefix)).map(str::to_owned).collect(),
        ),
    })
}

/// Builds artifacts and images of the services that changed.
///
/// # Errors
/// The first command or image that fails.
pub async fn build(
    context: &Context,
    recorder: &Recorder,
    config: &Config,
    values: &Placeholders,
    changed: &BTreeMap<ServiceName, Changed>,
) -> Outcome<BTreeMap<ServiceName, BuiltImage>> {
    make_artifacts(context, recorder, config, values, changed).await?;
    make_images(context, recorder, config, values, changed, &Workshop::open()?).await
}

/// Makes an image of each changed service from what the build left.
///
/// # Errors
/// The first image that cannot be made.
pub async fn make_images(
    context: &Context,
    recorder: &Recorder,
    config: &Config,
    values: &Placeholders,
    changed: &BTreeMap<ServiceName, Changed>,
    workshop: &Workshop,
) -> Outcome<BTreeMap<ServiceName, BuiltImage>> {
    let work = async {
        let places = places();
        let mut running = JoinSet::<Outcome<(ServiceName, BuiltImage)>>::new();
        let logs = logs(recorder);
        let width = changed.keys().map(|name| name.as_str().len()).max().unwrap_or(0);
        let services = config.services.values().filter(|service| is_changed(changed, &service.name));
        for (index, service) in services.enumerate() {
            let recipe = choose(config, service, values, &logs)?;
            let name = service.name.clone();
            let prefix = Prefix::new(name.as_str(), index + 1, width);
            let log = logs.join(format!("{name}.image.log"));
            let (ui, workshop, places) = (context.ui.clone(), workshop.clone(), Arc::clone(&places));
            running.spawn(async move {
                let _place =
                    places.acquire_owned().await.attempt(|| format!("making the image of {name}"))?;
                let image = workshop.make(&ui, &name, &prefix, &recipe, &log).await?;
                Ok((name, image))
            });
        }
        let mut images = BTreeMap::new();
        while let Some(ended) = running.join_next().await {
            let (name, image) = ended.attempt(|| "making an image".into())??;
            recorder.emit(EventKind::ImageReady {
                service: name.to_string(),
                digest: image.id.manifest.to_string(),
                how: image.how.word().to_owned(),
                changed: true,
            });
            if workshop.names_version(&image, values) {
                let text = format!(
                    "the image of {name} names its version in its settings, so it changes with every release; \
                     take it out of ENV or LABEL in its Dockerfile (the release record keeps it)"
                );
                recorder.emit(EventKind::Warning { text });
            }
            images.insert(name, image);
        }
        let note = note(&images);
        Ok((images, PhaseResult { bytes: 0, note }))
    };
    recorder.phase(Phase::Images, work).await
}

fn note(images: &BTreeMap<ServiceName, BuiltImage>) -> String {
    let engine = images.values().filter(|image| matches!(image.how, How::Engine(_))).count();
    match (images.len() - engine, engine) {
        (0, 0) => "none".into(),
        (assembled, 0) => format!("{assembled} assembled"),
        (0, engine) => format!("{engine} by the engine"),
        (assembled, engine) => format!("{assembled} assembled, {engine} by the engine"),
    }
}

/// Builds, then writes a Dockerfile for each changed service that has none. Nothing is overwritten.
///
/// # Errors
/// When a command fails, or a service's artifact is not there or not recognised.
pub async fn write_dockerfiles(
    context: &Context,
    recorder: &Recorder,
    config: &Config,
    values: &Placeholders,
    changed: &BTreeMap<ServiceName, Changed>,
) -> Outcome<BTreeMap<ServiceName, Adopted>> {
    make_artifacts(context, recorder, config, values, changed).await?;
    let mut written = BTreeMap::new();
    for service in config.services.values() {
        if !is_changed(changed, &service.name) {
            continue;
        }
        let Some(adopted) = adopt(config, service, values)? else { continue };
        let path = config.directory.join(&adopted.path);
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(adopted.text.as_bytes())
        };
        write().attempt(|| format!("writing {}", path.display()))?;
        written.insert(service.name.clone(), adopted);
    }
    Ok(written)
}

/// Runs the build commands that the changed services need.
///
/// # Errors
/// The first command that fails; the others are stopped then.
pub async fn make_artifacts(
    context: &Context,
    recorder: &Recorder,
    config: &Config,
    values: &Placeholders,
    changed: &BTreeMap<ServiceName, Changed>,
) -> Outcome<()> {
    let count = changed.values().filter(|changed| changed.is_yes()).count();
    let jobs = jobs(config, values, changed, &logs(recorder));
    let work = async {
        let note = match (&jobs.project, jobs.services.len()) {
            _ if count == 0 => "nothing changed".to_owned(),
            (None, 0) => "no command configured".to_owned(),
            _ => format!("{count} of {} services", config.services.len()),
        };
        run(&context.ui, jobs).await?;
        Ok(((), PhaseResult { bytes: 0, note }))
    };
    recorder.phase(Phase::Build, work).await
}

async fn run(ui: &Ui, jobs: Jobs) -> Outcome<()> {
    if let Some(job) = &jobs.project {
        execute(ui, job).await?;
    }
    let places = places();
    let mut running = JoinSet::new();
    for job in jobs.services {
        running.spawn(execute_in_turn(ui.clone(), job, Arc::clone(&places)));
    }
    // Leaving early drops the set, and with it every command that still runs.
    while let Some(ended) = running.join_next().await {
        ended.attempt(|| "building a service".into())??;
    }
    Ok(())
}

/// As many places as there are processors: builds are busy.
fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get)))
}

fn is_changed(changed: &BTreeMap<ServiceName, Changed>, name: &ServiceName) -> bool {
    changed.get(name).is_some_and(Changed::is_yes)
}

async fn execute_in_turn(ui: Ui, job: Job, places: Arc<Semaphore>) -> Outcome<()> {
    let _place = places.acquire_owned().await.attempt(|| format!("building {}", job.subject))?;
    execute(&ui, &job).await
}
