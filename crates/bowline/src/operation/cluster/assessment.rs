//! What applying each manifest means: known without asking where nothing has changed, else tried out on the server.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::finding::{Finding, Findings};
use bowline_core::kube::answer::{Answer, Cause, Denier, Missing};
use bowline_core::kube::comparison::{Verdict, difference, loss, unchanged};
use bowline_core::kube::conflict::{Settlement, owned, settle, yield_fields};
use bowline_core::kube::object::{Manifest, ObjectId};
use bowline_core::kube::planning::Assessment;
use bowline_core::kube::preflight::Deed;
use bowline_core::kube::revision::Inventory;
use bowline_kube::{Catalog, GroupVersion, KubeError, Resource};
use futures_util::future::try_join_all;
use serde_json::Value;

use super::goal::Prepared;
use super::pull_secret::is_fresh;
use super::site::Site;
use crate::error::Outcome;

/// What the objects mean, one by one, and what speaks against it.
#[derive(Debug, Default)]
pub(super) struct Assessments {
    /// What each means; objects that are refused are missing.
    pub(super) each: BTreeMap<ObjectId, Assessment>,
    /// What the server refuses, and what it warns of.
    pub(super) findings: Findings,
    /// Objects that the caller may not write, with what that would have been.
    pub(super) forbidden: BTreeMap<ObjectId, (Deed, Finding)>,
}

/// What one object's assessment needs to know of all others.
struct Question<'q> {
    site: &'q Site,
    catalog: &'q Catalog,
    live: &'q BTreeMap<ObjectId, Value>,
    /// The objects that this release has itself: namespaces and definitions of kinds among them.
    released: BTreeSet<&'q ObjectId>,
    /// Kinds that this release defines.
    defined: BTreeSet<(String, String)>,
    /// Objects that may be deleted and made anew.
    renew: &'q BTreeSet<ObjectId>,
    /// Secrets with which nodes pull.
    logins: &'q BTreeMap<ObjectId, String>,
}

/// What is known of each manifest without asking, in their order.
pub(super) fn compare(
    prepared: &Prepared,
    live: &BTreeMap<ObjectId, Value>,
    inventory: Option<&Inventory>,
) -> Vec<Verdict> {
    let compare = |manifest: &Manifest| {
        let entry = inventory.and_then(|inventory| inventory.get(&manifest.id));
        let remembered = entry.and_then(|entry| entry.remembered.as_ref());
        unchanged(&manifest.value, live.get(&manifest.id), remembered)
    };
    prepared.goal.manifests.iter().map(compare).collect()
}

/// Finds out what each manifest means, with what is known of each. Changes nothing: what cannot be known by looking is tried out by a dry run on the
/// server, many at once.
pub(super) async fn assess(
    site: &Site,
    prepared: &Prepared,
    live: &BTreeMap<ObjectId, Value>,
    verdicts: &[Verdict],
    renew: &BTreeSet<ObjectId>,
) -> Outcome<Assessments> {
    let manifests = &prepared.goal.manifests;
    let question = Question {
        site,
        catalog: &prepared.catalog,
        live,
        released: manifests.iter().map(|manifest| &manifest.id).collect(),
        defined: manifests.iter().filter_map(|manifest| defined(&manifest.value)).collect(),
        renew,
        logins: &prepared.goal.logins,
    };
    let asked = manifests.iter().zip(verdicts).map(|(manifest, known)| question.ask(manifest, *known));
    let answers = try_join_all(asked).await;
    let answers = answers.map_err(|error| site.explain("trying out the objects on", &error))?;
    let mut all = Assessments::default();
    for (manifest, answer) in manifests.iter().zip(answers) {
        match answer.outcome {
            Ok(assessment) => {
                all.each.insert(manifest.id.clone(), assessment);
            }
            Err((text, remedy)) => {
                let finding = Finding::new(manifest.id.to_string(), text, remedy).at(&manifest.origin);
                match answer.forbidden {
                    Some(deed) => drop(all.forbidden.insert(manifest.id.clone(), (deed, finding))),
                    None => all.findings.refusals.push(finding),
                }
            }
        }
        all.findings.warnings.extend(answer.warnings.into_iter().map(|text| {
            Finding::new(manifest.id.to_string(), text, "the server says so").at(&manifest.origin)
        }));
    }
    Ok(all)
}

/// Group and kind that a definition of custom resources defines.
fn defined(value: &Value) -> Option<(String, String)> {
    if value.get("kind").and_then(Value::as_str) != Some("CustomResourceDefinition") {
        return None;
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some((text("/spec/group")?, text("/spec/names/kind")?))
}

/// What it means that an object would become this.
fn change(live: Option<&Value>, would: &Value, settled: Settlement) -> Assessment {
    let Some(live) = live else { return Assessment::Create { checked: true } };
    let changes = difference(live, would);
    if changes.is_empty() && owned(live) == owned(would) {
        return Assessment::Unchanged;
    }
    Assessment::Change { changes, taken: settled.taken, yielded: settled.yielded }
}

struct Reply {
    outcome: Result<Assessment, (String, String)>,
    warnings: Vec<String>,
    /// What would have been done, where that is not allowed.
    forbidden: Option<Deed>,
}

impl From<Result<Assessment, (String, String)>> for Reply {
    fn from(outcome: Result<Assessment, (String, String)>) -> Self {
        Self { outcome, warnings: Vec::new(), forbidden: None }
    }
}

fn refused(text: impl Into<String>, remedy: impl Into<String>) -> Result<Assessment, (String, String)> {
    Err((text.into(), remedy.into()))
}

impl Question<'_> {
    async fn ask(&self, manifest: &Manifest, known: Verdict) -> Result<Reply, KubeError> {
        let version = GroupVersion::new(&manifest.id.kind.group, &manifest.version);
        let kind = &manifest.id.kind;
        let Some(resource) = self.catalog.resource(&version, &kind.kind) else {
            if self.defined.contains(&(kind.group.clone(), kind.kind.clone())) {
                return Ok(Ok(Assessment::Create { checked: false }).into());
            }
            let text = self.catalog.explain(&version, &kind.kind);
            let remedy = "write it in a version that the cluster has, or install what defines it first";
            return Ok(refused(text, remedy).into());
        };
        let live = self.live.get(&manifest.id);
        let fresh = self.logins.contains_key(&manifest.id) && is_fresh(&manifest.value, live);
        if known == Verdict::Unchanged || fresh {
            return Ok(Ok(Assessment::Unchanged).into());
        }
        // A job that ran cannot run again, and its pods' template cannot change: a new one is what is meant.
        let job = kind.is("batch", "Job") && live.is_some();
        if job && !self.is_same_job(resource, manifest, live).await? {
            let loss = loss(kind);
            return Ok(Ok(Assessment::Renew { fields: Vec::new(), loss }).into());
        }
        self.try_out(resource, manifest, live).await
    }

    /// Whether the job that is there is the one that the manifest describes: applied again, nothing would change.
    async fn is_same_job(
        &self,
        resource: &Resource,
        manifest: &Manifest,
        live: Option<&Value>,
    ) -> Result<bool, KubeError> {
        let tried = self.site.cluster.dry_run(resource, manifest, true).await?;
        Ok(match (tried.answer, live) {
            (Answer::Applied(would), Some(live)) => difference(live, &would).is_empty(),
            _ => false,
        })
    }

    async fn try_out(
        &self,
        resource: &Resource,
        manifest: &Manifest,
        live: Option<&Value>,
    ) -> Result<Reply, KubeError> {
        let cluster = &self.site.cluster;
        let mut tried = cluster.dry_run(resource, manifest, false).await?;
        let mut settlement = Settlement::default();
        let mut left = None;
        if let Answer::Conflict(conflicts) = &tried.answer {
            settlement = settle(conflicts, &[]);
            if let Some(contested) = settlement.contested.first() {
                let text = format!("{contested} is what this release is about");
                let remedy = format!(
                    "stop {} from managing this object, or leave the object to it",
                    contested.manager
                );
                return Ok(refused(text, remedy).into());
            }
            match yield_fields(manifest, &settlement.yielded) {
                Ok(manifest) => tried = cluster.dry_run(resource, left.insert(manifest), true).await?,
                Err(error) => {
                    return Ok(refused(error.to_string(), "take the field out of the manifest").into());
                }
            }
        }
        let warnings = tried.warnings;
        let forbidden = matches!(&tried.answer, Answer::Denied { by: Denier::Roles, .. });
        let deed = if live.is_some() { Deed::Change } else { Deed::Create };
        let outcome = match tried.answer {
            Answer::Applied(would) => Ok(change(live, &would, settlement)),
            other => self.refuse(manifest, other),
        };
        Ok(Reply { outcome, warnings, forbidden: forbidden.then_some(deed) })
    }

    fn refuse(&self, manifest: &Manifest, answer: Answer) -> Result<Assessment, (String, String)> {
        let kind = &manifest.id.kind;
        match answer {
            Answer::Missing(Missing::Namespace(name)) => {
                let namespace = ObjectId::of_cluster("", "Namespace", &name);
                if self.released.contains(&namespace) || name == self.site.namespace {
                    return Ok(Assessment::Create { checked: false });
                }
                refused(format!("the namespace {name} does not exist"), "add a manifest for it, or create it")
            }
            Answer::Missing(Missing::Terminating(name)) => {
                refused(format!("the namespace {name} is being deleted"), "wait until it is gone")
            }
            Answer::Missing(Missing::Kind) => {
                refused("the cluster does not know its kind", "install what defines it first")
            }
            Answer::Immutable { fields, .. } if self.renew.contains(&manifest.id) => {
                Ok(Assessment::Renew { fields, loss: loss(kind) })
            }
            Answer::Immutable { fields, message } => {
                let what = if fields.is_empty() { message } else { fields.join(", ") };
                let remedy = format!(
                    "take the change back, or let it be deleted and made anew: `--renew {}/{}`",
                    kind.kind, manifest.id.name
                );
                refused(format!("{what} cannot change while the object exists"), remedy)
            }
            Answer::Invalid { causes, message } => {
                let told = causes.iter().map(|Cause { field, message }| match field.as_str() {
                    "" => message.clone(),
                    field => format!("{field}: {message}"),
                });
                let told: Vec<String> = told.collect();
                refused(if told.is_empty() { message } else { told.join("; ") }, "correct the manifest")
            }
            Answer::Denied { by, message } => {
                let remedy = match by {
                    Denier::Roles => "ask for the right to do this".to_owned(),
                    Denier::Quota => "raise the namespace's quota, or ask for less".to_owned(),
                    Denier::Webhook(name) => format!("see what the webhook {name} wants, or whether it runs"),
                    Denier::Policy => "see the cluster's policies".to_owned(),
                };
                refused(message, remedy)
            }
            Answer::Stale { message } => refused(message, "somebody is changing it now: try again"),
            Answer::Conflict(conflicts) => {
                let told: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
                refused(format!("others hold {}", told.join(", ")), "somebody is changing it now: try again")
            }
            Answer::Applied(_) => Ok(Assessment::Unchanged),
        }
    }
}
