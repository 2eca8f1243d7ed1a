//! From a release in the registry to a target: what `plan`, `deploy`, `ship` and `rollback` have in common.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::event::Summary;
use bowline_core::release::{Milestone, Revision};

use super::Cancel;
use super::apply::Source;
use super::archive::Release;
use super::capacity::{aftermath, fit};
use super::choice;
use super::deploy::{Deployment, NEXT, Options, Proposal};
use super::depot::Depot;
use super::goal::Goal;
use super::host::{Host, compose_target};
use crate::clock;
use crate::config::{ComposeTarget, Config};
use crate::error::{Failure, Outcome};
use crate::record::Recorder;
use crate::ui::Ui;

/// How a target is to be changed.
#[derive(Debug, Clone)]
pub struct Order {
    /// The target's name.
    pub target: String,
    /// The release by its version; none: the newest.
    pub version: Option<String>,
    /// Only these services of the compose file.
    pub only: BTreeSet<String>,
    /// Leave things as they are when it fails.
    pub no_rollback: bool,
    /// How long to wait for somebody else's lock.
    pub patience: Duration,
    /// Objects of a cluster (`Kind/name`) that may be deleted and made anew.
    pub renew: Vec<String>,
    /// Whether objects of a cluster that the release no longer has are deleted.
    pub prune: bool,
}

/// A target connected to, with the registry that its releases come from.
pub struct Delivery<'c> {
    /// The configuration of today.
    pub config: &'c Config,
    /// The target in it.
    pub target: &'c ComposeTarget,
    /// The host.
    pub host: Arc<Host>,
    /// The registry.
    pub depot: &'c Depot,
}

impl<'c> Delivery<'c> {
    /// Connects to a target.
    ///
    /// # Errors
    /// When there is no such target, or it cannot be reached.
    pub async fn open(config: &'c Config, depot: &'c Depot, target: &str) -> Outcome<Self> {
        let target = compose_target(config, target)?;
        let host = Arc::new(Host::connect(config, target).await?);
        Ok(Self { config, target, host, depot })
    }

    /// The goal of deploying a release.
    pub fn goal(&self, release: &Release, verb: &str) -> Goal {
        Goal::of_release(&release.record, release.spec.clone(), &self.depot.kept_as, verb)
    }

    /// The release that is meant.
    ///
    /// # Errors
    /// When there is none.
    pub async fn choose(&self, version: Option<&str>) -> Outcome<Release> {
        let platform = async {
            let machine = self.host.engine.machine_without_disk().await;
            Ok(machine.map_err(|error| self.host.failure("looking at", &error))?.engine.platform)
        };
        choice::find(self.depot, self.config, version, platform).await
    }

    /// What deploying would do. Changes nothing.
    ///
    /// # Errors
    /// When the host does not answer or the release makes no sense there.
    pub async fn plan(&self, goal: &Goal, only: &BTreeSet<String>) -> Outcome<Proposal> {
        fit::propose(self.config, &self.host, self.target, self.depot, goal, only).await
    }

    /// Brings the target to the goal, or back.
    ///
    /// # Errors
    /// See [`Deployment::run`].
    pub async fn deploy(
        &self,
        ui: &Ui,
        recorder: &Recorder,
        goal: &Goal,
        order: &Order,
        verb: &'static str,
    ) -> Outcome<Summary> {
        let (repository, passing) = self.depot.seen_from(&self.host).await?;
        let source = Source { repository, passing, credentials: self.depot.credentials.clone() };
        let deployment = Deployment {
            host: self.host.clone(),
            config: self.config,
            target: self.target,
            depot: self.depot,
            source,
            recorder,
            ui,
            options: Options {
                verb,
                no_rollback: order.no_rollback,
                patience: order.patience,
                only: order.only.clone(),
            },
            cancel: Cancel::on_signals(
                ui,
                "stopping; what was changed is put back (once more ends it at once)",
            ),
        };
        let began = clock::now().as_millisecond();
        let mut summary = tokio::select! {
            summary = deployment.run(goal) => summary,
            lost = self.host.connection.wait_lost() => {
                let failure = format!("changing {}", self.host.target);
                Err(Failure::new(crate::error::FailureKind::Unreachable, failure)
                    .because(&lost)
                    .hint(NEXT))
            }
        }?;
        if let Some(wait) = self.config.capacity.compare_after {
            let comparing = aftermath::on_host(&self.host, began, wait);
            aftermath::add(&mut summary, recorder, &deployment.cancel, comparing).await;
        }
        Ok(summary)
    }

    /// The goal of going back: a named release; or, after a run that did not end, what was there before it; else the
    /// release that ran before the one that runs was deployed.
    ///
    /// # Errors
    /// When there is nothing to go back to.
    pub async fn goal_of_rollback(&self, version: Option<&str>) -> Outcome<Goal> {
        let state = self.host.documents.state().await.map_err(|error| {
            self.host.explain("reading what was deployed to", &error, error.is_unreachable(), error.hint())
        })?;
        let Some(newest) = state.newest() else {
            return Err(Failure::invalid(format!("nothing was deployed to {} yet", self.host.target)));
        };
        let interrupted = state.intents.iter().any(|intent| intent.base == Some(newest.number));
        let history: Vec<Milestone<'_>> = state.revisions.values().map(Revision::milestone).collect();
        let back = choice::revision_back(&history, interrupted, version);
        if let Some(revision) = back.and_then(|number| state.revisions.get(&number)) {
            return Goal::of_revision(&self.host, revision).await;
        }
        match version {
            Some(version) => {
                let release = self.choose(Some(version)).await?;
                Ok(self.goal(&release, "rollback"))
            }
            None => Err(Failure::invalid(format!(
                "{} has no earlier release to go back to",
                self.host.target
            ))
            .hint(
                "`bowline history` shows what ran there; `bowline rollback TARGET VERSION` takes any release",
            )),
        }
    }
}
