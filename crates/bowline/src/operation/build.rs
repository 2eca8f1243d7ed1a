//! `build`: artifacts by the project's own commands, then an image of each changed service in the local cache.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use bowline_core::change::Changed;
use bowline_core::event::{EventKind, Phase};
use bowline_core::placeholder::Placeholders;
use bowline_core::service::ServiceName;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::build::command::{Jobs, jobs};
use crate::build::image::{self, BuiltImage, How};
use crate::build::process::{Job, execute};
use crate::build::recipe::{Adopted, adopt, choose};
use crate::cli::Context;
use crate::config::Config;
use crate::error::{Attempt, Outcome};
use crate::record::{PhaseResult, Recorder, state_directory};
use crate::ui::Ui;

/// Where the logs of this run's build are, and the Dockerfiles that it makes.
pub fn logs(recorder: &Recorder) -> PathBuf {
    state_directory().join("logs").join(recorder.run().to_string())
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
    make_images(recorder, config, values, changed).await
}

/// Makes an image of each changed service from what the build left.
///
/// # Errors
/// The first image that cannot be made.
pub async fn make_images(
    recorder: &Recorder,
    config: &Config,
    values: &Placeholders,
    changed: &BTreeMap<ServiceName, Changed>,
) -> Outcome<BTreeMap<ServiceName, BuiltImage>> {
    let work = async {
        let store = image::open_cache()?;
        let places = places();
        let mut running = JoinSet::<Outcome<(ServiceName, BuiltImage)>>::new();
        for service in config.services.values().filter(|service| is_changed(changed, &service.name)) {
            let recipe = choose(config, service, values, &logs(recorder))?;
            let (store, places, name) = (store.clone(), Arc::clone(&places), service.name.clone());
            running.spawn(async move {
                let _place =
                    places.acquire_owned().await.attempt(|| format!("making the image of {name}"))?;
                let image = image::make(&store, &name, &recipe).await?;
                Ok((name, image))
            });
        }
        let mut images = BTreeMap::new();
        while let Some(ended) = running.join_next().await {
            let (name, image): (ServiceName, BuiltImage) = ended.attempt(|| "making an image".into())??;
            recorder.emit(EventKind::ImageReady {
                service: name.to_string(),
                digest: image.id.manifest.to_string(),
                how: image.how.to_string(),
                changed: true,
            });
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
