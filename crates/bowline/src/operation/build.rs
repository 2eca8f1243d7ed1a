//! `build`: artifacts by the project's own commands, then an image of each changed service in the local cache.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use bowline_core::change::Changed;
use bowline_core::event::Phase;
use bowline_core::placeholder::Placeholders;
use bowline_core::service::ServiceName;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::build::command::{Jobs, jobs};
use crate::build::process::{Job, execute};
use crate::cli::Context;
use crate::config::Config;
use crate::error::{Attempt, Outcome};
use crate::record::{PhaseResult, Recorder, state_directory};
use crate::ui::Ui;

/// Where the logs of this run's build are, and the Dockerfiles that it makes.
pub fn logs(recorder: &Recorder) -> PathBuf {
    state_directory().join("logs").join(recorder.run().to_string())
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
    let places = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get)));
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

async fn execute_in_turn(ui: Ui, job: Job, places: Arc<Semaphore>) -> Outcome<()> {
    let _place = places.acquire_owned().await.attempt(|| format!("building {}", job.subject))?;
    execute(&ui, &job).await
}
