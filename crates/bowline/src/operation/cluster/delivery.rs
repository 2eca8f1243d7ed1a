//! From a release in the registry to a cluster: what `plan`, `deploy`, `ship` and `rollback` have in common.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::event::Summary;
use bowline_core::kube::naming::is_named;
use bowline_core::kube::object::ObjectId;
use bowline_core::kube::revision::Revision;
use bowline_core::reference::Repository;
use bowline_core::release::Milestone;

use super::deploy::{Deployment, Options};
use super::goal::{Goal, Images, Prepared};
use super::proposal::{Proposal, Wish, propose};
use super::site::Site;
use crate::config::{Config, KubernetesTarget};
use crate::error::{Failure, Outcome};
use crate::operation::Cancel;
use crate::operation::archive::Release;
use crate::operation::capacity::aftermath;
use crate::operation::choice;
use crate::operation::delivery::Order;
use crate::operation::depot::Depot;
use crate::record::Recorder;
use crate::ui::Ui;

/// A cluster connected to, with the registry that its releases come from.
pub struct Delivery<'c> {
    /// The configuration of today.
    pub config: &'c Config,
    /// The cluster.
    pub site: Site,
    /// The registry.
    pub depot: &'c Depot,
}

impl<'c> Delivery<'c> {
    /// Connects to a target.
    ///
    /// # Errors
    /// When it cannot be reached, or its nodes could not pull from the registry.
    pub async fn open(config: &'c Config, depot: &'c Depot, target: &KubernetesTarget) -> Outcome<Self> {
        let site = Site::connect(config, target).await?.with_registry(config, depot);
        Ok(Self { config, site, depot })
    }

    /// The release that is meant.
    ///
    /// # Errors
    /// When there is none.
    pub async fn choose(&self, version: Option<&str>) -> Outcome<Release> {
        // Nodes may be of several platforms: this machine's is taken.
        choice::find(self.depot, self.config, version, async { Ok(None) }).await
    }

    /// The goal of deploying a release; `manifests` are handed over in place of the release's own.
    ///
    /// # Errors
    /// When its manifests are wrong, or the cluster does not answer.
    pub async fn prepare(
        &self,
        release: &Release,
        manifests: Option<BTreeMap<String, String>>,
        verb: &str,
    ) -> Outcome<Prepared> {
        let images = Images { record: &release.record, repository: self.repository()? };
        Goal::of_release(&self.site, self.config, &images, release.spec.clone(), manifests, verb).await
    }

    /// Nodes pull for themselves: they cannot reach a registry that is up on this machine for as long as this run lasts.
    fn repository(&self) -> Outcome<&'c Repository> {
        self.config.repository.as_ref().ok_or_else(|| {
            Failure::invalid(format!("{} needs a registry that its nodes reach", self.site.target.name))
                .since("the embedded registry is on this machine, and only while Bowline runs")
                .hint("name one: `[registry]` with `repository = \"registry.example/chat\"`")
        })
    }

    /// What deploying would do. Changes nothing.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn plan(&self, prepared: Prepared, order: &Order) -> Outcome<Proposal> {
        let wish = wish(&prepared.goal, order)?;
        propose(&self.site, prepared, &wish).await
    }

    /// Brings the cluster to the goal, or back.
    ///
    /// # Errors
    /// See [`Deployment::run`].
    pub async fn deploy(
        &self,
        ui: &Ui,
        recorder: &Recorder,
        prepared: Prepared,
        order: &Order,
        verb: &'static str,
    ) -> Outcome<Summary> {
        let wish = wish(&prepared.goal, order)?;
        let deployment = Deployment {
            site: &self.site,
            directory: &self.config.directory,
            recorder,
            ui,
            options: Options { verb, no_rollback: order.no_rollback, patience: order.patience, wish },
            cancel: Cancel::on_signals(
                ui,
                "stopping; what was changed is put back (once more ends it at once)",
            ),
        };
        let compare_after = self.config.capacity.compare_after;
        let before = match compare_after {
            Some(_) => aftermath::look(&self.site).await,
            None => Vec::new(),
        };
        let mut summary = tokio::select! {
            summary = deployment.run(prepared) => summary,
            lost = self.site.wait_lost() => {
                Err(lost.hint("the next deploy or rollback finishes or undoes what was begun; the pods there run on"))
            }
        }?;
        if let Some(wait) = compare_after {
            let comparing = aftermath::on_cluster(&self.site, &before, wait);
            aftermath::add(&mut summary, recorder, &deployment.cancel, comparing).await;
        }
        Ok(summary)
    }

    /// The goal of going back: a named release; or, after a run that did not end, what was there before it; else the
    /// release that ran before the one that runs was deployed.
    ///
    /// # Errors
    /// When there is nothing to go back to.
    pub async fn prepare_rollback(&self, version: Option<&str>) -> Outcome<Prepared> {
        let state = self.site.state().await?;
        let target = &self.site.target.name;
        let Some(newest) = state.newest() else {
            return Err(Failure::invalid(format!("nothing was deployed to {target} yet")));
        };
        let interrupted = state.intents.iter().any(|intent| intent.base == Some(newest.number));
        let history: Vec<Milestone<'_>> = state.revisions.values().map(Revision::milestone).collect();
        let back = choice::revision_back(&history, interrupted, version);
        if let Some(revision) = back.and_then(|number| state.revisions.get(&number)) {
            return Goal::of_revision(&self.site, &self.config.directory, revision).await;
        }
        match version {
            Some(version) => {
                let release = self.choose(Some(version)).await?;
                self.prepare(&release, None, "rollback").await
            }
            None => Err(Failure::invalid(format!("{target} has no earlier release to go back to")).hint(
                "`bowline history` shows what ran there; `bowline rollback TARGET VERSION` takes any release",
            )),
        }
    }
}

/// What somebody allows, with the objects that they name found among the goal's.
fn wish(goal: &Goal, order: &Order) -> Outcome<Wish> {
    if let Some(service) = order.only.first() {
        return Err(Failure::invalid(format!("`--service {service}` is for Docker hosts")).hint(
            "a cluster is brought to a release as a whole: what did not change is not touched anyway",
        ));
    }
    let mut renew = BTreeSet::new();
    for name in &order.renew {
        let named: Vec<&ObjectId> =
            goal.manifests.iter().map(|manifest| &manifest.id).filter(|id| is_named(id, name)).collect();
        if named.is_empty() {
            return Err(Failure::invalid(format!("the release has no object `{name}`"))
                .hint("name it by kind and name: `--renew StatefulSet/nats`"));
        }
        renew.extend(named.into_iter().cloned());
    }
    Ok(Wish { renew, prune: order.prune, ..Wish::default() })
}
