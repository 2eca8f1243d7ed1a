//! A target of either kind, and what the verbs ask of it.

use bowline_core::event::Summary;

use super::archive::Release;
use super::cluster;
use super::delivery::{Delivery, Order};
use super::depot::Depot;
use super::host::{Host, compose_target};
use crate::config::{Config, Target};
use crate::error::Outcome;
use crate::record::Recorder;
use crate::ui::Ui;

/// A target connected to, for the verbs that bring no release.
// There is one of it in a run.
#[allow(clippy::large_enum_variant)]
pub enum Connected {
    /// A Docker host.
    Host(Host),
    /// A cluster.
    Cluster(cluster::Site),
}

impl Connected {
    /// Connects to a target.
    ///
    /// # Errors
    /// When there is no such target, or it cannot be reached.
    pub async fn open(config: &Config, target: &str) -> Outcome<Self> {
        Ok(match config.target(target)? {
            Target::Compose(_) => Self::Host(Host::connect(config, compose_target(config, target)?).await?),
            Target::Kubernetes(target) => Self::Cluster(cluster::Site::connect(config, target).await?),
        })
    }

    /// The target's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Host(host) => &host.target,
            Self::Cluster(site) => &site.target.name,
        }
    }
}

/// A target connected to, with the registry that its releases come from.
pub enum Reached<'c> {
    /// A Docker host.
    Host(Delivery<'c>),
    /// A cluster.
    Cluster(Box<cluster::Delivery<'c>>),
}

impl<'c> Reached<'c> {
    /// Connects to a target.
    ///
    /// # Errors
    /// When there is no such target, or it cannot be reached.
    pub async fn open(config: &'c Config, depot: &'c Depot, target: &str) -> Outcome<Self> {
        Ok(match config.target(target)? {
            Target::Compose(_) => Self::Host(Delivery::open(config, depot, target).await?),
            Target::Kubernetes(target) => {
                Self::Cluster(Box::new(cluster::Delivery::open(config, depot, target).await?))
            }
        })
    }

    /// The release that is meant.
    ///
    /// # Errors
    /// When there is none.
    pub async fn choose(&self, version: Option<&str>) -> Outcome<Release> {
        match self {
            Self::Host(delivery) => delivery.choose(version).await,
            Self::Cluster(delivery) => delivery.choose(version).await,
        }
    }

    /// Brings the target to a release, or back to where it was.
    ///
    /// # Errors
    /// When it fails; what was there before stands again, unless the failure says otherwise.
    pub async fn deploy(
        &self,
        ui: &Ui,
        recorder: &Recorder,
        release: &Release,
        order: &Order,
        verb: &'static str,
    ) -> Outcome<Summary> {
        match self {
            Self::Host(delivery) => {
                delivery.deploy(ui, recorder, &delivery.goal(release, verb), order, verb).await
            }
            Self::Cluster(delivery) => {
                let prepared = delivery.prepare(release, None, verb).await?;
                delivery.deploy(ui, recorder, prepared, order, verb).await
            }
        }
    }

    /// Brings the target back to an earlier release, by default the one that ran before. Gives its name, too; none for
    /// what was adopted.
    ///
    /// # Errors
    /// When there is nothing to go back to, or it fails.
    pub async fn roll_back(
        &self,
        ui: &Ui,
        recorder: &Recorder,
        order: &Order,
    ) -> Outcome<(Summary, Option<String>)> {
        let verb = "rollback";
        let version = order.version.as_deref();
        match self {
            Self::Host(delivery) => {
                let goal = delivery.goal_of_rollback(version).await?;
                Ok((delivery.deploy(ui, recorder, &goal, order, verb).await?, goal.release))
            }
            Self::Cluster(delivery) => {
                let prepared = delivery.prepare_rollback(version).await?;
                let release = prepared.goal.release.clone();
                Ok((delivery.deploy(ui, recorder, prepared, order, verb).await?, release))
            }
        }
    }
}
