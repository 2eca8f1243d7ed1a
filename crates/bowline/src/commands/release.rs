//! `bowline release`.

use bowline_core::event::Summary;
use clap::Args;

use super::version::VersionArgs;
use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::operation::depot::Depot;
use crate::operation::release::{Released, release, summarise};
use crate::operation::run;
use crate::record::Recorder;

/// What to release.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Which commit, and what its version depends on
    #[command(flatten)]
    pub version: VersionArgs,
}

/// Makes the commit's release, or uses the one that exists.
///
/// # Errors
/// The first step that fails; run again, it goes on from there.
pub async fn run(context: &Context, args: ReleaseArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let request = args.version.request(context)?;
    let depot = Depot::open(&config).await?;
    let work = async |recorder: &Recorder| {
        let released = release(context, recorder, &config, &depot, &request).await?;
        Ok(match &released {
            Released::Complete(release) => {
                context.ui.done(format_args!("{} is released", release.record.tag));
                summarise(recorder, &release.record)
            }
            other => unreleased(context, recorder, other),
        })
    };
    run::record(context, &config, "release", None, work).await.map(drop)
}

/// The summary of a run that found nothing to release, and why in words. That is no failure.
pub fn unreleased(context: &Context, recorder: &Recorder, released: &Released) -> Summary {
    match released {
        Released::Superseded(by) => {
            context.ui.say(format_args!("nothing to do: release {by} contains this commit already"));
        }
        Released::Nothing => context.ui.say("nothing to do: no title since the last release asks for one"),
        Released::Complete(_) => {}
    }
    recorder.summary()
}
