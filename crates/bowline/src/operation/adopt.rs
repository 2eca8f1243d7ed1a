//! `adopt`: takes over a compose project that runs already, without touching it.
//!
//! What runs becomes revision 0: its images get names that keep them, its files become the spec, and each service's
//! fingerprint is that of the files where Compose's own hash says that the containers were made from them. So the first
//! deploy leaves alone what is equal, and the first rollback comes back to what was there.

pub mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bowline_compose::engine::Writer;
use bowline_compose::lease::{Authority, Lease};
use bowline_compose::observation::Observation;
use bowline_core::compose::desired::{DeployImage, Desired};
use bowline_core::compose::observed::Container;
use bowline_core::compose::placement::have_ended;
use bowline_core::digest::Digest;
use bowline_core::event::RunId;
use bowline_core::reference::{Reference, Repository};
use bowline_core::release::{Placed, Revision, Spec, SpecFile};
use serde::Serialize;

use self::place::{Line, Place};
use super::depot::LOCAL;
use super::goal::{Goal, prepare, project_of, whoever};
use super::host::{Host, with_hint};
use super::release::tracked_files;
use super::{lock, spec};
use crate::clock;
use crate::config::{ComposeTarget, Config, FILE};
use crate::error::{Attempt, Failure, Outcome};
use crate::git::Git;

/// What was found on a target, and whether it was recorded.
#[derive(Debug, Clone, Serialize)]
pub struct Adoption {
    /// The target's name.
    pub target: String,
    /// Where the project is.
    #[serde(flatten)]
    pub place: Place,
    /// Its services.
    pub services: Vec<Adopted>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// A service of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adopted {
    /// The compose service.
    pub name: String,
    /// Our service whose image it runs.
    pub ours: Option<String>,
    /// The name of its image.
    pub image: String,
    /// What the first deploy does to it, in words.
    pub first_deploy: String,
    /// Whether the first deploy interrupts it whatever the release is.
    pub interrupted: bool,
}

/// Finds the project that runs on a host. Changes nothing.
///
/// # Errors
/// When none runs there that could be meant.
pub async fn observe_place(host: &Host, config: &Config, target: &ComposeTarget) -> Outcome<Place> {
    let failed = |error| host.failure("looking at", &error);
    let projects = host.engine.projects().await.map_err(failed)?;
    let project = place::choose(&projects, config, target)?;
    let (containers, _) = host.engine.containers(&project.name).await.map_err(failed)?;
    place::locate(project, &containers, target)
}

/// What bowline.toml must say to mean that place, and does not.
pub fn missing_lines(place: &Place, config: &Config, target: &ComposeTarget) -> Vec<Line> {
    place::lines(place, config, target, |file| config.directory.join(file).is_file())
}

/// Writes the lines into bowline.toml; comments stay. Gives the configuration that it is now.
///
/// # Errors
/// When the file cannot be written, or would be wrong then: it is as it was.
pub fn write_lines(config: &Config, target: &str, lines: &[Line]) -> Outcome<Config> {
    config.replace(&place::edit(&config.text, target, lines)?)
}

/// Records what runs as revision 0. No container, network, volume or file there is changed.
///
/// # Errors
/// Kind `Locked`: somebody else has the lock. Kind `Invalid`: Bowline has deployed there already.
pub async fn adopt(host: &Host, config: &Config, target: &ComposeTarget, place: &Place) -> Outcome<Adoption> {
    let lease = lock::take(host, "adopt").await?;
    let outcome = adopt_under(host, config, target, place, &lease).await;
    // It ends by itself within 30 s.
    let _ = lease.release().await;
    outcome
}

async fn adopt_under(
    host: &Host,
    config: &Config,
    target: &ComposeTarget,
    place: &Place,
    lease: &Lease,
) -> Outcome<Adoption> {
    let started = Instant::now();
    let look = host.look(&BTreeSet::new()).await?;
    check_untouched(host, &look)?;
    let mut notes = Vec::new();
    let today = todays_spec(config, &mut notes).await?;
    let spec = found_spec(host, config, target, place, &today).await?;
    let mut goal = Goal {
        release: None,
        revision: None,
        spec,
        images: BTreeMap::new(),
        verb: "adopt".into(),
        by: whoever(),
    };
    // Which services are ours decides which images they run, and these are part of what they are.
    let ours = prepare(host, target, &goal).await?.desired;
    goal.images = images(host, &look, &ours, &mut notes);
    let desired = prepare(host, target, &goal).await?.desired;
    let made_from_files = compare_hashes(host, target, place, &look).await?;
    keep(host, lease.authority(), &goal.images).await?;
    let revision = revision(&goal, &desired, &look, &made_from_files, started);
    let record = async {
        host.documents.keep_spec(lease.authority(), &goal.spec).await?;
        host.documents.commit(lease.authority(), &revision).await
    };
    record.await.map_err(|error| {
        host.explain("recording what runs on", &error, error.is_unreachable(), error.hint())
    })?;
    let wanted = match prepare(host, target, &Goal { spec: today, ..goal.clone() }).await {
        Ok(prepared) => Some(prepared.desired),
        Err(failure) => {
            notes.push(format!("what the first deploy does cannot be told: {failure}"));
            None
        }
    };
    let known: BTreeSet<&str> = desired.services.keys().map(String::as_str).collect();
    for service in place::unknown(&look.observed.containers, &known) {
        notes.push(format!(
            "{service} runs, and the compose files there do not name it: a profile? (`profiles` in [targets.{}])",
            target.name
        ));
    }
    let services = tell(&desired, wanted.as_ref(), &look, &made_from_files);
    Ok(Adoption { target: host.target.clone(), place: place.clone(), services, notes })
}

/// Nothing may have been deployed there yet. What was adopted before is adopted anew, and only then.
fn check_untouched(host: &Host, look: &Observation) -> Outcome<()> {
    let failure = Failure::invalid(format!("adopting what runs on {}", host.target));
    if let Some(intent) = look.state.intents.first() {
        return Err(failure
            .since(format!("a {} by {} did not end", intent.verb, intent.by))
            .hint("deploy or roll back: that finishes or undoes it"));
    }
    match look.state.newest() {
        None => Ok(()),
        Some(revision) => Err(failure
            .since(format!(
                "it is known already: {} by {}, revision {}",
                revision.verb, revision.by, revision.number
            ))
            .hint(format!(
                "`bowline diff {0}` shows what was changed by hand since; `bowline detach {0}` forgets it",
                host.target
            ))),
    }
}

/// The files that a release of this checkout would carry.
async fn todays_spec(config: &Config, notes: &mut Vec<String>) -> Outcome<Spec> {
    let tracked = match Git::open(&config.directory).await {
        Ok(git) => tracked_files(&git, config).await?,
        Err(_) => BTreeSet::new(),
    };
    let collected = spec::collect(config, &tracked)?;
    notes.extend(collected.warnings);
    Ok(collected.spec)
}

/// The files on the host: the compose files that the project was made from, and of what they mention the same files
/// that releases carry. Everything else there (data, secrets) is the host's own.
async fn found_spec(
    host: &Host,
    config: &Config,
    target: &ComposeTarget,
    place: &Place,
    today: &Spec,
) -> Outcome<Spec> {
    let below = spec::project_directory(&target.files);
    let mut paths: BTreeSet<String> = today.below(&below).files.into_keys().collect();
    paths.remove(FILE);
    paths.extend(place.files.iter().cloned());
    let found = host.directory.read(&paths).await.map_err(|error| {
        let doing = format!("reading the project's files in {} on", host.directory.path());
        host.explain(&doing, &error, false, error.hint())
    })?;
    if let Some(missing) = place.files.iter().find(|file| !found.contains_key(*file)) {
        return Err(Failure::failed(format!("reading the compose files on {}", host.target))
            .since(format!("{missing} is no longer in {}", place.directory))
            .hint("put the file back that the containers were made from, or start them from the one that is there"));
    }
    let files = place.files.iter().map(|file| place::in_repository(file, target)).collect();
    let text = place::as_found(&config.text, &target.name, files)?;
    let mut files: BTreeMap<String, SpecFile> =
        found.into_iter().map(|(path, file)| (place::in_repository(&path, target), file)).collect();
    files.insert(FILE.into(), SpecFile { executable: false, content: text.into_bytes() });
    Ok(Spec { files })
}

/// The images that our services run, by our services' names.
fn images(
    host: &Host,
    look: &Observation,
    desired: &Desired,
    notes: &mut Vec<String>,
) -> BTreeMap<String, DeployImage> {
    let repository = Repository { registry: LOCAL.into(), name: host.project.clone() };
    let mut images: BTreeMap<String, DeployImage> = BTreeMap::new();
    for (name, service) in &desired.services {
        let Some(ours) = &service.ours else { continue };
        let Some(container) = look.observed.containers_of(name).last() else { continue };
        if !look.observed.images.iter().any(|image| image.id == container.image) {
            notes.push(format!(
                "the image that {name} runs is no longer on the host: a rollback cannot bring it back"
            ));
            continue;
        }
        let keep = repository.tagged(&format!("{ours}_adopted")).to_string();
        match images.get(ours) {
            Some(other) if !other.is(&container.image) => {
                notes.push(format!(
                    "{name} runs another image of {ours} than others do: a rollback gives it theirs"
                ));
            }
            Some(_) => {}
            None => {
                images.insert(ours.clone(), DeployImage::Adopted { id: container.image, keep });
            }
        }
    }
    images
}

/// The services all of whose containers were made from the files as they are, as Compose's own hash says.
async fn compare_hashes(
    host: &Host,
    target: &ComposeTarget,
    place: &Place,
    look: &Observation,
) -> Outcome<BTreeSet<String>> {
    let files = place.files.iter().map(|file| place::in_repository(file, target)).collect();
    let there = ComposeTarget { files, ..target.clone() };
    let hashes = project_of(host, &there, false)?.hashes().await.map_err(|error| {
        let failure = Failure::failed(format!("reading the compose files on {}", host.target));
        with_hint(failure.because(&error), error.hint())
    })?;
    let same = |(service, hash): &(&String, &String)| {
        look.observed.containers_of(service).all(|container| container.config_hash == **hash)
    };
    Ok(hashes.iter().filter(same).map(|(service, _)| service.clone()).collect())
}

/// Gives the images names that keep them when the compose file's names move on.
async fn keep(host: &Host, authority: &Authority, images: &BTreeMap<String, DeployImage>) -> Outcome<()> {
    let writer = Writer::new(&host.engine, authority);
    for image in images.values() {
        let DeployImage::Adopted { id, keep } = image else { continue };
        let name: Reference = keep.parse().attempt(|| format!("naming {keep}"))?;
        let named = writer.tag(&id.to_string(), &name).await;
        named.map_err(|error| host.failure("keeping the images on", &error))?;
    }
    Ok(())
}

fn revision(
    goal: &Goal,
    desired: &Desired,
    look: &Observation,
    made_from_files: &BTreeSet<String>,
    started: Instant,
) -> Revision {
    let mut services = BTreeMap::new();
    for (name, service) in &desired.services {
        let own: Vec<&Container> = look.observed.containers_of(name).collect();
        let Some(image) = own.last().map(|container| container.image) else { continue };
        let containers: Vec<String> = own.iter().map(|container| container.id.clone()).collect();
        let fingerprint = match made_from_files.contains(name) {
            true => service.fingerprint,
            // Nothing has this one: the next deploy replaces it.
            false => Digest::of(format!("not known: {}", containers.join(" ")).as_bytes()),
        };
        let image_name = service.image_name.clone();
        let task = service.is_awaited() || have_ended(&own);
        let placed = Placed { image, image_name, released: None, fingerprint, containers, task };
        services.insert(name.clone(), placed);
    }
    Revision {
        number: 0,
        release: None,
        verb: goal.verb.clone(),
        at: clock::now(),
        run: RunId::new(clock::now(), rand::random()),
        by: goal.by.clone(),
        spec: goal.spec.digest(),
        files: desired.files.iter().map(|(path, file)| (path.clone(), file.digest())).collect(),
        images: goal.images.clone(),
        services,
        milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// What the first deploy will do to each service.
fn tell(
    found: &Desired,
    wanted: Option<&Desired>,
    look: &Observation,
    made_from_files: &BTreeSet<String>,
) -> Vec<Adopted> {
    let mut names: BTreeSet<&String> = found.services.keys().collect();
    names.extend(wanted.iter().flat_map(|wanted| wanted.services.keys()));
    let one = |name: &String| {
        let there = found.services.get(name).filter(|_| look.observed.containers_of(name).next().is_some());
        let then = wanted.and_then(|wanted| wanted.services.get(name));
        let ours = then.or(there).and_then(|service| service.ours.clone());
        let image = then.or(there).map(|service| service.image_name.clone()).unwrap_or_default();
        let (interrupted, words) = match (there, then) {
            (None, _) => (false, "started"),
            (Some(_), None) if wanted.is_some() => (true, "removed: this checkout does not name it"),
            (Some(_), _) if !made_from_files.contains(name) => {
                (true, "replaced: it was not made from the files as they are there now")
            }
            (Some(there), Some(then)) if there.fingerprint != then.fingerprint => {
                (true, "replaced: this checkout defines it in another way")
            }
            _ if ours.is_some() => (false, "replaced when the release has another image"),
            _ => (false, "left alone"),
        };
        let first_deploy = words.to_owned();
        Adopted { name: name.clone(), ours, image, first_deploy, interrupted }
    };
    names.into_iter().map(one).collect()
}
