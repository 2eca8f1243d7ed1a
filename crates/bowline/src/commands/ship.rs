//! `bowline ship TARGET`: release, then deploy.

use clap::Args;

use super::deploy::Manner;
use super::release::unreleased;
use super::version::VersionArgs;
use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::operation::depot::Depot;
use crate::operation::release::{Released, release};
use crate::operation::run;
use crate::operation::target::Reached;
use crate::record::Recorder;

/// What to ship, where to, and how.
#[derive(Debug, Args)]
pub struct ShipArgs {
    /// The target, as bowline.toml names it
    pub target: String,
    /// Which commit, and what its version depends on
    #[command(flatten)]
    pub version: VersionArgs,
    /// How it is done
    #[command(flatten)]
    pub manner: Manner,
}

/// Releases and deploys.
///
/// # Errors
/// When either fails; what was there before stands again, unless the failure says otherwise.
pub async fn run(context: &Context, args: ShipArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let order = args.manner.order(&args.target, None, Vec::new());
    let request = args.version.request(context)?;
    let work = async |recorder: &Recorder| {
        let depot = Depot::open(&config).await?;
        // A target that cannot be reached is known before minutes are spent on building.
        let target = Reached::open(&config, &depot, &order.target).await?;
        let released = release(context, recorder, &config, &depot, &request).await?;
        let Released::Complete(release) = &released else {
            return Ok(unreleased(context, recorder, &released));
        };
        let summary = target.deploy(&context.ui, recorder, release, &order, "ship").await?;
        let running = summary.tag.as_deref().unwrap_or(&release.record.tag);
        context.ui.done(format_args!("{running} runs on {}", order.target));
        Ok(summary)
    };
    run::record(context, &config, "ship", Some(&order.target), work).await.map(drop)
}
