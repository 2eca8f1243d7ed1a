//! `bowline deploy TARGET [VERSION]`.

use std::time::Duration;

use clap::Args;

use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::operation::delivery::Order;
use crate::operation::depot::Depot;
use crate::operation::run;
use crate::operation::target::Reached;
use crate::record::Recorder;

/// What to deploy, and how.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The target, as bowline.toml names it
    pub target: String,
    /// The release (else the newest that is complete): v1.2.3-0a1b2c3 or 1.2.3
    #[arg(id = "release", value_name = "VERSION")]
    pub version: Option<String>,
    /// Only this service of the compose file; may be given several times
    #[arg(long = "service", short = 's', value_name = "SERVICE")]
    pub services: Vec<String>,
    /// How it is done
    #[command(flatten)]
    pub manner: Manner,
}

/// How a target is changed: the same for `deploy`, `ship` and `rollback`.
#[derive(Debug, Args)]
pub struct Manner {
    /// Leave things as they are when it fails: for emergencies
    #[arg(long)]
    pub no_rollback: bool,
    /// Let this object of a cluster be deleted and made anew where it cannot change: Kind/name; may be given several times
    #[arg(long, value_name = "OBJECT")]
    pub renew: Vec<String>,
    /// Delete objects of a cluster that the release no longer has; never namespaces or volumes
    #[arg(long)]
    pub prune: bool,
    /// How long to wait for somebody else's lock, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub wait: u64,
}

impl Manner {
    /// The order that these arguments make.
    pub fn order(&self, target: &str, version: Option<String>, services: Vec<String>) -> Order {
        Order {
            target: target.to_owned(),
            version,
            only: services.into_iter().collect(),
            no_rollback: self.no_rollback,
            patience: Duration::from_secs(self.wait),
            renew: self.renew.clone(),
            prune: self.prune,
        }
    }
}

/// Deploys.
///
/// # Errors
/// When it fails; what was there before stands again, unless the failure says otherwise.
pub async fn run(context: &Context, args: DeployArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let order = args.manner.order(&args.target, args.version, args.services);
    let work = async |recorder: &Recorder| {
        let depot = Depot::open(&config).await?;
        let target = Reached::open(&config, &depot, &order.target).await?;
        let release = target.choose(order.version.as_deref()).await?;
        let summary = target.deploy(&context.ui, recorder, &release, &order, "deploy").await?;
        context.ui.done(format_args!("{} runs on {}", release.record.tag, order.target));
        Ok(summary)
    };
    run::record(context, &config, "deploy", Some(&order.target), work).await.map(drop)
}
