//! `adopt` of a cluster: takes over objects that are there already, without touching them.
//!
//! The objects that this checkout's manifests name become revision 0, as they are: so the first rollback comes back to what
//! was there. Values of Secrets stay where they are, and a rollback leaves Secrets alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bowline_core::event::RunId;
use bowline_core::kube::adoption::{adopt as wish_of, withheld};
use bowline_core::kube::comparison::remember;
use bowline_core::kube::image::{Pin, image_at, set_images};
use bowline_core::kube::object::{Manifest, ObjectId};
use bowline_core::kube::order::runs_pods;
use bowline_core::kube::planning::Assessment;
use bowline_core::kube::revision::{Entry, KeptManifest, Manifests, PlacedImage, Revision};
use bowline_kube::Wanted;
use bowline_kube::lease::Lease;
use serde::Serialize;
use serde_json::Value;

use super::assessment::{Assessments, assess, compare};
use super::checkout::{self, Checkout};
use super::goal::{Assembled, Goal, Prepared};
use super::lock;
use super::site::Site;
use crate::clock;
use crate::config::Config;
use crate::error::{Failure, Outcome};
use crate::operation::adopt::Adopted;
use crate::operation::goal::whoever;

/// What was found in a cluster and recorded.
#[derive(Debug, Clone, Serialize)]
pub struct Adoption {
    /// The target's name.
    pub target: String,
    /// The namespace of manifests that name none.
    pub namespace: String,
    /// Its objects, by kind and name.
    pub services: Vec<Adopted>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// Records what runs as revision 0. No object is changed.
///
/// # Errors
/// Kind `Locked`: somebody else has the lock. Kind `Invalid`: Bowline has deployed there already, or nothing of what the
/// manifests name is there.
pub async fn adopt(site: &Site, config: &Config) -> Outcome<Adoption> {
    let started = Instant::now();
    check_untouched(site).await?;
    let Checkout { assembled, spec } = checkout::read(site, config).await?;
    let live = look(site, &assembled).await?;
    if !live.keys().any(|id| !id.kind.is("", "Namespace")) {
        return Err(Failure::invalid(format!("adopting what runs on {}", site.target.name))
            .since("none of the objects that the manifests name is there")
            .hint(format!(
                "manifests without a namespace mean {}; `namespace` in [targets.{}] says another",
                site.namespace, site.target.name
            )));
    }
    let lease = lock::take(site, "adopt").await?;
    let recorded = record(site, &assembled, &live, &spec, &lease, started).await;
    // It ends by itself within 30 s.
    let _ = lease.release().await;
    recorded?;
    let mut notes = assembled.notes.clone();
    if live.keys().any(|id| id.kind.is("", "Secret")) {
        notes.push(
            "values of Secrets were not read: a rollback to this state leaves Secrets as they are".into(),
        );
    }
    let services = tell(site, assembled, spec, &live, &mut notes).await?;
    Ok(Adoption { target: site.target.name.clone(), namespace: site.namespace.clone(), services, notes })
}

/// Nothing may have been deployed there yet.
async fn check_untouched(site: &Site) -> Outcome<()> {
    let state = site.state().await?;
    let target = &site.target.name;
    let failure = Failure::invalid(format!("adopting what runs on {target}"));
    if let Some(intent) = state.intents.first() {
        return Err(failure
            .since(format!("a {} by {} did not end", intent.verb, intent.by))
            .hint("deploy or roll back: that finishes or undoes it"));
    }
    match state.newest() {
        None => Ok(()),
        Some(revision) => Err(failure
            .since(format!("it is known already: {} by {}, revision {}", revision.verb, revision.by, revision.number))
            .hint(format!(
                "`bowline diff {target}` shows what was changed by hand since; `bowline detach {target}` forgets it"
            ))),
    }
}

async fn look(site: &Site, assembled: &Assembled) -> Outcome<BTreeMap<ObjectId, Value>> {
    let objects: BTreeSet<ObjectId> =
        assembled.manifests.iter().map(|manifest| manifest.id.clone()).collect();
    let wanted = Wanted { objects, lists: BTreeSet::new() };
    let seen = site.cluster.observe(&assembled.catalog, &wanted).await;
    Ok(seen.map_err(|error| site.explain("looking at", &error))?.objects)
}

async fn record(
    site: &Site,
    assembled: &Assembled,
    live: &BTreeMap<ObjectId, Value>,
    spec: &bowline_core::release::Spec,
    lease: &Lease,
    started: Instant,
) -> Outcome<()> {
    // Others may have been faster.
    check_untouched(site).await?;
    let mut kept = Vec::new();
    let mut entries = Vec::new();
    for manifest in &assembled.manifests {
        let Some(live) = live.get(&manifest.id) else { continue };
        let value = wish_of(live);
        let remembered = remember(&value, live, &[]);
        let (id, version, origin) =
            (manifest.id.clone(), manifest.version.clone(), Some(manifest.origin.clone()));
        entries.push(Entry { id, version, remembered: Some(remembered), origin });
        let hidden = withheld(&value).collect();
        kept.push(KeptManifest::new(Manifest { value, ..manifest.clone() }, hidden));
    }
    let manifests = Manifests { manifests: kept };
    let revision = Revision {
        number: 0,
        release: None,
        verb: "adopt".into(),
        at: clock::now(),
        run: RunId::new(clock::now(), rand::random()),
        by: whoever(),
        spec: spec.digest(),
        manifests: manifests.digest(),
        images: images(&assembled.pins, live),
        inventory: entries.into_iter().collect(),
        milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let written = async {
        site.documents.keep(lease.authority(), spec, (&manifests, revision.manifests)).await?;
        site.documents.commit(lease.authority(), &revision).await
    };
    written.await.map_err(|error| {
        site.explain_any("recording what runs on", &error, error.is_unreachable(), error.hint())
    })
}

/// The images that our services run, by our services' names.
fn images(pins: &[Pin], live: &BTreeMap<ObjectId, Value>) -> BTreeMap<String, PlacedImage> {
    let found = pins.iter().filter_map(|pin| {
        let reference = image_at(pin, live.get(&pin.place.object)?)?;
        Some((pin.service.to_string(), PlacedImage { reference, id: None }))
    });
    found.collect()
}

/// What the first deploy will do to each object, tried out with the images that run now.
async fn tell(
    site: &Site,
    assembled: Assembled,
    spec: bowline_core::release::Spec,
    live: &BTreeMap<ObjectId, Value>,
    notes: &mut Vec<String>,
) -> Outcome<Vec<Adopted>> {
    let Assembled { mut manifests, catalog, pins, .. } = assembled;
    let running = |pin: &Pin| {
        let there = live.get(&pin.place.object).and_then(|live| image_at(pin, live));
        there.or_else(|| Some(pin.place.image.clone()))
    };
    set_images(&mut manifests, &pins, running);
    let goal = Goal {
        release: None,
        spec,
        manifests,
        withheld: BTreeMap::new(),
        logins: BTreeMap::new(),
        stays: Vec::new(),
        images: BTreeMap::new(),
        pins,
        verb: "adopt".into(),
        by: whoever(),
        notes: Vec::new(),
    };
    let prepared = Prepared { goal, catalog };
    let verdicts = compare(&prepared, live, None);
    let Assessments { each, findings, forbidden } =
        assess(site, &prepared, live, &verdicts, &BTreeSet::new()).await?;
    let told = findings.refusals.iter().chain(forbidden.values().map(|(_, finding)| finding));
    let refused: BTreeMap<&str, &str> =
        told.map(|found| (found.subject.as_str(), found.text.as_str())).collect();
    notes.extend(findings.warnings.iter().map(|found| format!("{}: {}", found.subject, found.text)));
    let goal = &prepared.goal;
    let one = |manifest: &Manifest| {
        let pin = goal.pins.iter().find(|pin| pin.place.object == manifest.id);
        let refusal = refused.get(manifest.id.to_string().as_str()).copied();
        let (first_deploy, interrupted) = words(&manifest.id, each.get(&manifest.id), refusal, pin.is_some());
        Adopted {
            name: format!("{}/{}", manifest.id.kind, manifest.id.name),
            ours: pin.map(|pin| pin.service.to_string()),
            image: pin.and_then(running).unwrap_or_default(),
            first_deploy,
            interrupted,
        }
    };
    Ok(goal.manifests.iter().map(one).collect())
}

/// What the first deploy does to an object, and whether pods of it are replaced whatever the release is.
fn words(id: &ObjectId, found: Option<&Assessment>, refusal: Option<&str>, ours: bool) -> (String, bool) {
    let pods = runs_pods(&id.kind);
    match found {
        None => (format!("refused: {}", refusal.unwrap_or("it cannot be applied")), false),
        Some(Assessment::Create { .. }) => ("made".into(), false),
        Some(Assessment::Renew { .. }) => ("deleted and made anew".into(), pods),
        Some(Assessment::Change { changes, .. }) if !changes.is_empty() => {
            let fields: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
            let rolls = pods && fields.iter().any(|field| field.starts_with(".spec.template"));
            let what = if rolls { "changed, and its pods are replaced" } else { "changed in place" };
            (format!("{what}: {}", fields.join(", ")), rolls)
        }
        Some(_) if pods && ours => {
            ("taken over; its pods are replaced when the release has another image".into(), false)
        }
        Some(_) => ("taken over as it is".into(), false),
    }
}

#[cfg(test)]
mod tests {
    use bowline_core::kube::comparison::{Change, Loss, Shown};

    use super::*;

    #[test]
    fn the_first_deploy_is_told_object_by_object() {
        let change = |path: &str| Assessment::Change {
            changes: vec![Change { path: path.into(), before: Shown::Absent, after: Shown::Absent }],
            taken: Vec::new(),
            yielded: Vec::new(),
        };
        let nothing = Assessment::Change { changes: Vec::new(), taken: Vec::new(), yielded: Vec::new() };
        let renew = Assessment::Renew { fields: Vec::new(), loss: Loss::Pods };
        for (kind, found, ours, begins, interrupted) in [
            (
                "Deployment",
                Some(change(".spec.template.spec.x")),
                true,
                "changed, and its pods are replaced",
                true,
            ),
            ("Deployment", Some(change(".spec.replicas")), true, "changed in place: .spec.replicas", false),
            ("Deployment", Some(nothing.clone()), true, "taken over; its pods are replaced when", false),
            ("Deployment", Some(nothing), false, "taken over as it is", false),
            ("Service", Some(Assessment::Unchanged), false, "taken over as it is", false),
            ("Deployment", Some(renew), true, "deleted and made anew", true),
            ("Service", Some(Assessment::Create { checked: true }), false, "made", false),
            ("Service", None, false, "refused: no", false),
        ] {
            let group = if kind == "Deployment" { "apps" } else { "" };
            let id = ObjectId::namespaced(group, kind, "chat", "x");
            let (told, stops) = words(&id, found.as_ref(), Some("no"), ours);
            assert!(told.starts_with(begins), "{told}");
            assert_eq!(stops, interrupted, "{told}");
        }
    }
}
