//! `diff`: what somebody changed on a target by hand since its newest revision.

use std::collections::BTreeSet;

use bowline_core::compose::drift::{Drift, find};
use serde::Serialize;

use super::cluster;
use super::host::Host;
use super::target::Connected;
use crate::error::{Failure, Outcome};

/// How a target differs from what was left there.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The target's name.
    pub target: String,
    /// The newest revision.
    pub revision: u64,
    /// Its release, unless it was adopted.
    pub release: Option<String>,
    /// The differences; none: nobody touched it.
    pub drift: Vec<Drift>,
}

/// Compares a target with its newest revision. Changes nothing.
///
/// # Errors
/// When the target does not answer, or nothing was deployed to it yet.
pub async fn observe(target: &Connected) -> Outcome<Report> {
    match target {
        Connected::Host(host) => of_host(host).await,
        Connected::Cluster(site) => cluster::diff::observe(site).await,
    }
}

/// There is nothing to compare with.
pub(super) fn nothing(target: &str) -> Failure {
    Failure::invalid(format!("nothing was deployed to {target} yet"))
        .hint("`bowline adopt` records what runs there now, so that later changes can be seen")
}

async fn of_host(host: &Host) -> Outcome<Report> {
    let mut look = host.look(&BTreeSet::new()).await?;
    let Some(revision) = look.observed.revision.clone() else {
        return Err(nothing(&host.target));
    };
    look.observed.files = host.directory.digests(revision.files.keys()).await.map_err(|error| {
        let doing = format!("reading the project's files in {} on", host.directory.path());
        host.explain(&doing, &error, false, error.hint())
    })?;
    let drift = find(&look.observed, &revision);
    Ok(Report { target: host.target.clone(), revision: revision.number, release: revision.release, drift })
}
