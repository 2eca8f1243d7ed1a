//! What would make a deploy to a cluster fail, found before anything is written.
//!
//! [`references`] says what must be looked up, [`rights`] what must be allowed; whoever has looked fills a [`Cluster`], and
//! [`check`] judges. A refusal is a proof: with what is known, it cannot work. What may work is at most a warning.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::finding::{Finding, Findings};
use crate::image::Platform;

use super::object::{Manifest, ObjectId};
use super::scheduling::{node, pod, request, rollout, selector};

mod contention;
mod existence;
mod growth;
mod image;
mod quota;
mod reference;
mod right;
mod room;
mod service;
mod situation;
mod storage;
mod volume;
mod weakness;

pub use growth::grows;
pub use reference::{Reference, references};
pub use right::{Deed, Right, rights};

pub use super::scheduling::{HostPort, Requests, RunningPod};

/// What a registry knows of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageFact {
    /// It is not there.
    Missing,
    /// It is there for these platforms.
    Platforms(BTreeSet<Platform>),
}

/// What is known of a cluster before a release is applied to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// All its nodes, as the API has them; empty where they may not be listed.
    pub nodes: Vec<Value>,
    /// All pods that are on a node and have not ended.
    pub pods: Vec<RunningPod>,
    /// What was found of that which [`references`] asks for. Of Secrets the keys are enough: their values may be anything.
    pub existing: BTreeMap<ObjectId, Value>,
    /// What could not be looked up: nobody says that it is missing.
    pub unreadable: BTreeSet<Reference>,
    /// What is known of images, by the name that the manifests use. Of others nothing is said.
    pub images: BTreeMap<String, ImageFact>,
    /// The rights, of those that [`rights`] asks for, that are denied.
    pub denied: BTreeSet<Right>,
    /// Objects of the release that are as they should be: they bring no new pods.
    pub unchanged: BTreeSet<ObjectId>,
    /// Whether nodes are added when pods find no room: then no room is no refusal.
    pub grows: bool,
}

/// Checks all objects of a release against the cluster that they are for.
pub fn check(objects: &[Manifest], cluster: &Cluster) -> Findings {
    let mut findings = Findings::default();
    let situation = situation::Situation::new(objects, cluster);
    right::check(cluster, &mut findings);
    existence::check(objects, &situation, &mut findings);
    storage::check(&situation, &mut findings);
    service::check(&situation, &mut findings);
    image::check(&situation, &mut findings);
    room::check(&situation, &mut findings);
    contention::check(&situation, &mut findings);
    quota::check(&situation, &mut findings);
    volume::check(&situation, &mut findings);
    weakness::check(&situation, &mut findings);
    findings
}

/// A finding about an object of the release.
fn finding(manifest: &Manifest, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::new(manifest.id.to_string(), text, remedy).at(&manifest.origin)
}

/// `1 node`, `3 nodes`.
fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests;
