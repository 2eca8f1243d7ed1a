//! Where two targets of one repository differ, service by service: a Docker host and a cluster, or two of a kind.
//!
//! Both are described in the same few words first ([`Facets`]); what only one of the two worlds has is left out. A value
//! that cannot be seen, since a Secret holds it, differs from nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::kube::translation::environment::is_secret;
use crate::kube::translation::name::label;
use crate::kube::translation::probe::Probe;

pub mod cluster;
pub mod compose;

/// The services of a target, by the names that it gives them.
pub type Side = BTreeMap<String, Facets>;

/// What a service is on a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facets {
    /// Our service whose image it runs.
    pub ours: Option<String>,
    /// Its further names there: container, Services.
    pub names: BTreeSet<String>,
    /// The image, in the short form.
    pub image: String,
    /// What it runs instead of the image's own entry point and command.
    pub command: Option<String>,
    /// Its variables.
    pub env: BTreeMap<String, Setting>,
    /// Whether it has variables besides that are not seen from here.
    pub more_env: bool,
    /// The ports on which others reach it, with the protocol: `80`, `53/udp`.
    pub ports: BTreeSet<String>,
    /// Whether others reach it on every other port as well.
    pub open: bool,
    /// Those of its ports that are reached from outside.
    pub outside: BTreeSet<String>,
    /// What it mounts, by path.
    pub mounts: BTreeMap<String, Mount>,
    /// How one sees that it is ready.
    pub health: Option<Probe>,
    /// The most memory, in bytes.
    pub memory: Option<u64>,
    /// The most processor time, in thousandths.
    pub milli_cpus: Option<u64>,
    /// How many run; none where its kind has no number.
    pub replicas: Option<u32>,
}

/// The value of a variable.
#[derive(Clone, PartialEq, Eq)]
pub enum Setting {
    /// Written down.
    Plain(String),
    /// In a Secret, or made when it starts; where.
    Hidden(String),
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Plain(_)) { "Plain" } else { "Hidden" })
    }
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A volume that is kept.
    Kept(String),
    /// A path of the machine, which may be data or files of the repository.
    Host(String),
    /// Files that come with the release.
    Files(String),
    /// Empty at each start.
    Scratch,
    /// Secret files.
    Secret(String),
}

impl std::fmt::Display for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kept(name) => write!(f, "the volume {name}"),
            Self::Host(path) => write!(f, "{path} of the host"),
            Self::Files(name) => write!(f, "the files {name}"),
            Self::Scratch => f.write_str("empty at each start"),
            Self::Secret(name) => write!(f, "the secret {name}"),
        }
    }
}

impl Mount {
    /// Whether both serve the same end: names and places are each world's own.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Host(one), Self::Host(other)) => one == other,
            (Self::Host(_), Self::Kept(_) | Self::Files(_))
            | (Self::Kept(_) | Self::Files(_), Self::Host(_)) => true,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The service, as the first target calls it, else the second.
    pub service: String,
    /// What differs: `image`, `env NAME`, `port`, …
    pub what: String,
    /// What it is on the first target; none: nothing.
    pub one: Option<String>,
    /// What it is on the second.
    pub other: Option<String>,
}

/// Where two targets differ. Secrets are masked.
pub fn compare(one: &Side, other: &Side) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut met: BTreeSet<&String> = BTreeSet::new();
    for (name, facets) in one {
        let partner = partner(name, facets, other).filter(|(there, _)| !met.contains(*there));
        met.extend(partner.iter().map(|(there, _)| *there));
        match partner {
            Some((_, there)) => of_service(&mut found, name, facets, there),
            None if facets.replicas == Some(0) => {}
            None => found.push(whole(name, Some(facets), None)),
        }
    }
    for (name, facets) in
        other.iter().filter(|(name, facets)| !met.contains(name) && facets.replicas != Some(0))
    {
        found.push(whole(name, None, Some(facets)));
    }
    found
}

/// The same service on the other side: by its name, by the image of ours that only it runs, or by a further name.
fn partner<'o>(name: &str, facets: &Facets, other: &'o Side) -> Option<(&'o String, &'o Facets)> {
    let called = |text: &str| label(text) == label(name);
    let by_name = other.iter().find(|(there, _)| called(there));
    let mut of_ours = other.iter().filter(|(_, there)| facets.ours.is_some() && there.ours == facets.ours);
    let by_image = match (of_ours.next(), of_ours.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    };
    let shares = |there: &Facets| {
        let theirs = there.names.iter().any(|further| called(further));
        theirs || facets.names.iter().any(|further| there.names.contains(further))
    };
    by_name
        .or(by_image)
        .or_else(|| other.iter().find(|(there, _)| facets.names.contains(*there)))
        .or_else(|| other.iter().find(|(_, there)| shares(there)))
}

fn whole(name: &str, one: Option<&Facets>, other: Option<&Facets>) -> Difference {
    let text = |facets: &Facets| format!("runs {}", facets.image);
    Difference { service: name.into(), what: "service".into(), one: one.map(text), other: other.map(text) }
}

fn of_service(found: &mut Vec<Difference>, service: &str, one: &Facets, other: &Facets) {
    let mut tell = |what: &str, one: Option<String>, other: Option<String>| {
        if one != other {
            found.push(Difference { service: service.into(), what: what.into(), one, other });
        }
    };
    let image = |facets: &Facets| {
        facets.ours.clone().map_or_else(|| facets.image.clone(), |ours| format!("{ours} of this repository"))
    };
    tell("image", Some(image(one)), Some(image(other)));
    tell("command", one.command.clone(), other.command.clone());
    for (what, one, other) in environment(one, other) {
        tell(&what, one, other);
    }
    let missing = |mine: &Facets, theirs: &Facets| -> BTreeSet<String> {
        if theirs.open { BTreeSet::new() } else { mine.ports.difference(&theirs.ports).cloned().collect() }
    };
    for port in missing(one, other) {
        tell("port", Some(port), None);
    }
    for port in missing(other, one) {
        tell("port", None, Some(port));
    }
    let list = |ports: &BTreeSet<String>| {
        (!ports.is_empty()).then(|| ports.iter().cloned().collect::<Vec<_>>().join(", "))
    };
    tell("from outside", list(&one.outside), list(&other.outside));
    let paths: BTreeSet<&String> = one.mounts.keys().chain(other.mounts.keys()).collect();
    for path in paths {
        let (mine, theirs) = (one.mounts.get(path), other.mounts.get(path));
        if !matches!((mine, theirs), (Some(mine), Some(theirs)) if mine.is_like(theirs)) {
            tell(&format!("volume {path}"), mine.map(ToString::to_string), theirs.map(ToString::to_string));
        }
    }
    tell(
        "health",
        one.health.as_ref().map(ToString::to_string),
        other.health.as_ref().map(ToString::to_string),
    );
    let bytes = |facets: &Facets| facets.memory.map(|bytes| crate::quantity::Quantity::whole(bytes).bytes());
    if one.memory != other.memory {
        tell("memory", bytes(one), bytes(other));
    }
    let cores = |facets: &Facets| facets.milli_cpus.map(|milli| format!("{milli}m"));
    tell("cpus", cores(one), cores(other));
    if let (Some(mine), Some(theirs)) = (one.replicas, other.replicas) {
        tell("replicas", Some(mine.to_string()), Some(theirs.to_string()));
    }
}

type Row = (String, Option<String>, Option<String>);

fn environment(one: &Facets, other: &Facets) -> Vec<Row> {
    let mut rows = Vec::new();
    let names: BTreeSet<&String> = one.env.keys().chain(other.env.keys()).collect();
    for name in names {
        let (mine, theirs) = (one.env.get(name), other.env.get(name));
        let plain = |setting: Option<&Setting>| match setting {
            Some(Setting::Plain(value)) => Some(value.clone()),
            _ => None,
        };
        let masked =
            [mine, theirs].into_iter().any(|it| plain(it).is_some_and(|value| is_secret(name, &value)));
        let show = |setting: &Setting| match setting {
            Setting::Plain(_) if masked => "(secret)".to_owned(),
            Setting::Plain(value) => value.clone(),
            Setting::Hidden(place) => place.clone(),
        };
        let what = format!("env {name}");
        match (mine, theirs) {
            (Some(Setting::Plain(one)), Some(Setting::Plain(other))) if one != other => {
                let same = (masked).then(|| ("(a secret)".to_owned(), "(another)".to_owned()));
                let (one, other) = same.unwrap_or((one.clone(), other.clone()));
                rows.push((what, Some(one), Some(other)));
            }
            (Some(mine), None) if !other.more_env => rows.push((what, Some(show(mine)), None)),
            (None, Some(theirs)) if !one.more_env => rows.push((what, None, Some(show(theirs)))),
            _ => {}
        }
    }
    rows
}

#[cfg(test)]
mod tests;
