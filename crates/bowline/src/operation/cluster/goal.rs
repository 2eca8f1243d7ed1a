//! What a cluster is to be brought to: a release's objects, or those of an earlier revision.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bowline_core::kube::adjustment::{Containers, adjust};
use bowline_core::kube::image::{OurImage, OurImages, Pin, pin};
use bowline_core::kube::manifest::{Reading, Remark, Scope, read};
use bowline_core::kube::normal::normalise;
use bowline_core::kube::object::{Manifest, ObjectId};
use bowline_core::kube::revision::{KeptManifest, Manifests, PlacedImage, Revision};
use bowline_core::reference::Repository;
use bowline_core::release::{Record, Spec};
use bowline_core::service::{ServiceName, ServiceOverride};
use bowline_kube::{Catalog, GroupVersion};

use super::site::Site;
use super::{pull_secret, secret};
use crate::config::{Config, KubernetesTarget, Override, Service, Stored, Target};
use crate::error::{Failure, Outcome};
use crate::operation::goal::{left_out, whoever};
use crate::operation::manifest::Selection;

/// What to bring a cluster to.
#[derive(Debug, Clone)]
pub struct Goal {
    /// The release; none for an adopted state.
    pub release: Option<String>,
    /// The files that it was released with.
    pub spec: Spec,
    /// The objects, images in place.
    pub manifests: Vec<Manifest>,
    /// Where values stand that are kept nowhere but in the cluster's Secrets (JSON pointers).
    pub withheld: BTreeMap<ObjectId, BTreeSet<String>>,
    /// The Secrets among them with which nodes pull, and whose login each holds.
    pub logins: BTreeMap<ObjectId, String>,
    /// What is part of it and stays as it is in the cluster: Secrets whose values nobody has here.
    pub stays: Vec<KeptManifest>,
    /// Our images by our services' names.
    pub images: BTreeMap<String, PlacedImage>,
    /// Which places got which image.
    pub pins: Vec<Pin>,
    /// The verb that asks for it.
    pub verb: String,
    /// Who asks: `user@machine`.
    pub by: String,
    /// What was read otherwise than it looks, or left out.
    pub notes: Vec<String>,
}

/// A goal, and how the cluster calls its kinds.
pub struct Prepared {
    /// The goal.
    pub goal: Goal,
    /// How the cluster calls its kinds.
    pub catalog: Catalog,
}

/// The images that a release brings, as the cluster's nodes pull them.
pub struct Images<'r> {
    /// The release's record.
    pub record: &'r Record,
    /// The repository that holds them.
    pub repository: &'r Repository,
}

impl Goal {
    /// A release, for this cluster. `extra` are manifests that somebody hands over in place of the release's.
    ///
    /// # Errors
    /// When manifests are wrong, with every problem; when a secret has no value; when the cluster does not answer.
    pub async fn of_release(
        site: &Site,
        today: &Config,
        images: &Images<'_>,
        spec: Spec,
        extra: Option<BTreeMap<String, String>>,
        verb: &str,
    ) -> Outcome<Prepared> {
        let (stored, target) = configured(site, &spec)?;
        let files = match extra {
            Some(files) => files,
            None => Selection::of(&target)?.read(&spec)?,
        };
        let ours = our_images(&stored.services, today, images);
        let Assembled { manifests, catalog, pins, mut notes } =
            assemble(site, &target, &files, &ours).await?;
        notes.extend(left_out(&stored));
        let placed = ours.services.iter().filter_map(|(service, image)| {
            let reference = ours.reference(service)?.to_string();
            Some((service.to_string(), PlacedImage { reference, id: Some(image.id.clone()) }))
        });
        let mut goal = Self {
            release: Some(images.record.tag.clone()),
            images: placed.collect(),
            spec,
            manifests,
            withheld: BTreeMap::new(),
            logins: BTreeMap::new(),
            stays: Vec::new(),
            pins,
            verb: verb.into(),
            by: whoever(),
            notes,
        };
        goal.add_secrets(site, &today.directory)?;
        pull_secret::add(&mut goal, site, &catalog).await?;
        Ok(Prepared { goal, catalog })
    }

    /// What an earlier revision had, exactly as it was kept, whatever the files say today.
    ///
    /// # Errors
    /// When its manifests are no longer in the cluster.
    pub async fn of_revision(site: &Site, directory: &Path, revision: &Revision) -> Outcome<Prepared> {
        let (kept, spec) = tokio::try_join!(
            site.documents.manifests(&revision.manifests),
            site.documents.spec(&revision.spec)
        )
        .map_err(|error| site.explain_document(&error))?;
        let Some(kept) = kept else {
            return Err(Failure::failed(format!(
                "the manifests of revision {} are no longer on {}",
                revision.number, site.target.name
            ))
            .hint("deploy a release by its version instead: its manifests are in the registry"));
        };
        let mut goal = Self {
            release: revision.release.clone(),
            spec: spec.unwrap_or_default(),
            manifests: Vec::new(),
            withheld: BTreeMap::new(),
            logins: BTreeMap::new(),
            stays: Vec::new(),
            images: revision.images.clone(),
            pins: Vec::new(),
            verb: "rollback".into(),
            by: whoever(),
            notes: Vec::new(),
        };
        // Secrets of the team's sources are made anew below; where today's configuration has them no longer, what is in
        // the cluster stays as it is.
        let (whole, hidden): (Vec<_>, Vec<_>) =
            kept.manifests.into_iter().partition(|kept| kept.withheld.is_empty());
        goal.manifests = whole.into_iter().map(|kept| kept.manifest).collect();
        goal.add_secrets(site, directory)?;
        let catalog = discover(site, &goal.manifests).await?;
        pull_secret::add(&mut goal, site, &catalog).await?;
        let made: BTreeSet<ObjectId> = goal.ids().cloned().collect();
        goal.stays.extend(hidden.into_iter().filter(|kept| !made.contains(&kept.manifest.id)));
        Ok(Prepared { goal, catalog })
    }

    fn add_secrets(&mut self, site: &Site, directory: &Path) -> Outcome<()> {
        for made in secret::make(site, directory)? {
            if let Some(there) = self.manifests.iter().find(|manifest| manifest.id == made.manifest.id) {
                return Err(Failure::invalid(format!(
                    "{} is made from bowline.toml, and is in {} too",
                    made.manifest.id, there.origin
                ))
                .hint("leave it out in one of them"));
            }
            self.withheld.insert(made.manifest.id.clone(), made.withheld);
            self.manifests.push(made.manifest);
        }
        Ok(())
    }

    /// The manifests as they are kept: without the values that are kept nowhere else.
    pub fn kept(&self) -> Manifests {
        let keep = |manifest: &Manifest| {
            KeptManifest::new(manifest.clone(), self.withheld.get(&manifest.id).cloned().unwrap_or_default())
        };
        Manifests { manifests: self.manifests.iter().map(keep).chain(self.stays.iter().cloned()).collect() }
    }

    /// All that is part of it, what stays as it is included.
    pub fn ids(&self) -> impl Iterator<Item = &ObjectId> {
        let stays = self.stays.iter().map(|kept| &kept.manifest.id);
        self.manifests.iter().map(|manifest| &manifest.id).chain(stays)
    }
}

/// Manifests as they are to be applied.
pub(super) struct Assembled {
    /// The objects, images in place.
    pub(super) manifests: Vec<Manifest>,
    /// How the cluster calls their kinds.
    pub(super) catalog: Catalog,
    /// Which places got which image.
    pub(super) pins: Vec<Pin>,
    /// What was read otherwise than it looks, or left out.
    pub(super) notes: Vec<String>,
}

/// Makes of files what is to be applied: images are put in, and what this target needs differently.
pub(super) async fn assemble(
    site: &Site,
    target: &KubernetesTarget,
    files: &BTreeMap<String, String>,
    ours: &OurImages,
) -> Outcome<Assembled> {
    let (reading, catalog) = read_with(site, files).await?;
    let Reading { mut manifests, skipped, warnings, mut problems, .. } = reading;
    let pinned = pin(&mut manifests, ours);
    let normal = normalise(&mut manifests, files);
    problems.extend(normal.problems);
    let mut told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    told.extend(pinned.problems.iter().map(ToString::to_string));
    if !told.is_empty() {
        return Err(refuse(target, told));
    }
    if manifests.is_empty() {
        return Err(Failure::invalid(format!("there are no manifests for {}", target.name))
            .since(format!("{} hold none", target.manifests.join(", ")))
            .detail(skipped.iter().map(ToString::to_string))
            .hint("`kubernetes = […]` names files and folders that git tracks; `exclude` leaves out globs"));
    }
    let notes = notes(&skipped, warnings.iter().chain(&normal.warnings), &pinned.warnings);
    work_in(&mut manifests, target, &pinned.pins)?;
    Ok(Assembled { manifests, catalog, pins: pinned.pins, notes })
}

/// Reads manifests twice: first to learn which kinds there are, then with what the cluster says of them.
async fn read_with(site: &Site, files: &BTreeMap<String, String>) -> Outcome<(Reading, Catalog)> {
    let namespace = Some(site.namespace.as_str());
    let first = read(files, namespace, |_| None);
    let catalog = discover(site, &first.manifests).await?;
    if first.unknown.is_empty() {
        return Ok((first, catalog));
    }
    let scope = |kind: &bowline_core::kube::object::Kind| {
        let resource = catalog.any(kind)?;
        Some(if resource.namespaced { Scope::Namespaced } else { Scope::Cluster })
    };
    Ok((read(files, namespace, scope), catalog))
}

/// How the cluster calls the kinds of these manifests, and those that it is looked at for besides.
pub(super) async fn discover(site: &Site, manifests: &[Manifest]) -> Outcome<Catalog> {
    let own = manifests.iter().map(|manifest| GroupVersion::new(&manifest.id.kind.group, &manifest.version));
    let always = [("", "v1"), ("apps", "v1"), ("storage.k8s.io", "v1")];
    let wanted = own.chain(always.map(|(group, version)| GroupVersion::new(group, version))).collect();
    site.cluster.discover(&wanted).await.map_err(|error| site.explain("looking at", &error))
}

/// The configuration that the goal was released with; access, names and secrets are today's.
fn configured(site: &Site, spec: &Spec) -> Outcome<(Stored, KubernetesTarget)> {
    let text = spec.text(crate::config::FILE).ok_or_else(|| {
        Failure::failed("the release carries no bowline.toml")
            .hint("release again with this version of Bowline")
    })?;
    let today = &site.target;
    let stored = Stored::parse(text, &today.name)?;
    let target = match &stored.target {
        Some(Target::Kubernetes(then)) => KubernetesTarget {
            context: today.context.clone(),
            host: today.host.clone(),
            namespace: today.namespace.clone(),
            pull_secret: today.pull_secret.clone(),
            secrets: today.secrets.clone(),
            ..then.clone()
        },
        // The target is younger than the release.
        _ => today.clone(),
    };
    Ok((stored, target))
}

fn our_images(services: &BTreeMap<ServiceName, Service>, today: &Config, images: &Images<'_>) -> OurImages {
    let services = images.record.images.iter().filter_map(|(name, image)| {
        let service: ServiceName = name.parse().ok()?;
        let claims = services.get(&service).map(|service| service.images.clone()).unwrap_or_default();
        // By the tag under which it was built: a new tag for the same image would be another pod, for nothing.
        let version = image.built_in.strip_prefix('v').unwrap_or(&image.built_in);
        let tag = today.tag.render(&service, version);
        Some((service, OurImage { claims, id: image.id.clone(), tag }))
    });
    OurImages {
        repository: images.repository.clone(),
        template: today.tag.clone(),
        services: services.collect(),
    }
}

/// Works what this target needs differently into the manifests.
fn work_in(manifests: &mut [Manifest], target: &KubernetesTarget, pins: &[Pin]) -> Outcome<()> {
    for (service, wanted) in &target.services {
        let mut containers = Containers::new();
        for pin in pins.iter().filter(|pin| pin.service == *service) {
            containers.entry(pin.place.object.clone()).or_default().insert(pin.place.container.clone());
        }
        adjust(manifests, service.as_str(), &containers, &wishes(wanted)).map_err(|error| {
            Failure::invalid(format!("reading [targets.{}.services.{service}]", target.name)).because(&error)
        })?;
    }
    Ok(())
}

/// What a target needs differently for a service.
pub(in crate::operation) fn wishes(wanted: &Override) -> ServiceOverride {
    ServiceOverride {
        env: wanted.env.0.clone(),
        memory: wanted.memory,
        cpus: wanted.milli_cpus.map(|milli| f64::from(milli) / 1000.0),
        replicas: wanted.replicas,
        enabled: (!wanted.enabled).then_some(false),
    }
}

fn notes<'r>(
    skipped: &[Remark],
    warnings: impl Iterator<Item = &'r Remark>,
    doubts: &[bowline_core::kube::image::Doubt],
) -> Vec<String> {
    let skipped = skipped.iter().map(ToString::to_string);
    skipped.chain(warnings.map(ToString::to_string)).chain(doubts.iter().map(ToString::to_string)).collect()
}

fn refuse(target: &KubernetesTarget, problems: Vec<String>) -> Failure {
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        several => format!("{several} problems"),
    };
    Failure::invalid(format!("the manifests of {} have {count}", target.name))
        .detail(problems)
        .hint("nothing was touched; correct them and release again")
}
