//! `bowline rollback TARGET [VERSION]`.

use clap::Args;

use super::deploy::Manner;
use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::operation::depot::Depot;
use crate::operation::run;
use crate::operation::target::Reached;
use crate::record::Recorder;

/// What to go back to, and how.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The target, as bowline.toml names it
    pub target: String,
    /// The release (else the one that ran before): v1.2.3-0a1b2c3 or 1.2.3
    #[arg(id = "release", value_name = "VERSION")]
    pub version: Option<String>,
    /// How it is done
    #[command(flatten)]
    pub manner: Manner,
}

/// Goes back, under the same gates as a deploy.
///
/// # Errors
/// When there is nothing to go back to, or it fails.
pub async fn run(context: &Context, args: RollbackArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let order = args.manner.order(&args.target, args.version, Vec::new());
    let work = async |recorder: &Recorder| {
        let depot = Depot::open(&config).await?;
        let target = Reached::open(&config, &depot, &order.target).await?;
        let (summary, release) = target.roll_back(&context.ui, recorder, &order).await?;
        let name = release.as_deref().unwrap_or("what was adopted");
        context.ui.done(format_args!("{name} runs on {}", order.target));
        Ok(summary)
    };
    run::record(context, &config, "rollback", Some(&order.target), work).await.map(drop)
}
