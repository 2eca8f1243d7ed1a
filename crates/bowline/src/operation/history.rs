//! `history`: what ran on a target before, and how it came to be.

use std::collections::BTreeMap;

use bowline_core::journal::Setback;
use bowline_core::kube;
use bowline_core::release::{Placed, Revision};
use jiff::Timestamp;
use serde::Serialize;

use super::host::Host;
use super::target::Connected;
use crate::error::Outcome;

/// Something that happened to a target.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// It was brought to something.
    Revision {
        /// The revision's number.
        number: u64,
        /// The release, unless it was adopted.
        release: Option<String>,
        /// When it was reached.
        at: Timestamp,
        /// Who asked: `user@machine`.
        by: String,
        /// `deploy`, `ship`, `rollback`, `restore`, `adopt`.
        verb: String,
        /// How long that took.
        seconds: f64,
        /// What changed against the revision before, in words.
        changed: Vec<String>,
        /// The run.
        run: String,
    },
    /// A release failed, and was turned back from.
    Setback {
        /// The release that failed.
        release: Option<String>,
        /// When.
        at: Timestamp,
        /// The service that failed first.
        subject: String,
        /// Why.
        cause: String,
        /// The last lines that it wrote.
        log: Vec<String>,
        /// The revision that was gone back to.
        base: Option<u64>,
        /// The run.
        run: String,
    },
}

impl Entry {
    fn at(&self) -> Timestamp {
        match self {
            Self::Revision { at, .. } | Self::Setback { at, .. } => *at,
        }
    }
}

/// Reads what is written down on the target, newest first.
///
/// # Errors
/// When the target does not answer.
pub async fn observe(target: &Connected) -> Outcome<Vec<Entry>> {
    match target {
        Connected::Host(host) => of_host(host).await,
        Connected::Cluster(site) => {
            let state = site.state().await?;
            Ok(fold(of_cluster(&state.revisions), &state.setbacks))
        }
    }
}

async fn of_host(host: &Host) -> Outcome<Vec<Entry>> {
    let state = host.documents.state().await.map_err(|error| {
        host.explain("reading what was deployed to", &error, error.is_unreachable(), error.hint())
    })?;
    let revisions: Vec<&Revision> = state.revisions.values().collect();
    Ok(fold(of_revisions(&revisions), &state.setbacks))
}

/// Milliseconds of any deploy are far below 2^53.
#[allow(clippy::cast_precision_loss)]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// A cluster's revisions, in the order of their numbers.
fn of_cluster(revisions: &BTreeMap<u64, kube::revision::Revision>) -> Vec<Entry> {
    let before = std::iter::once(None).chain(revisions.values().map(Some));
    let entry = |(revision, before): (&kube::revision::Revision, Option<&kube::revision::Revision>)| {
        Entry::Revision {
            number: revision.number,
            release: revision.release.clone(),
            at: revision.at,
            by: revision.by.clone(),
            verb: revision.verb.clone(),
            seconds: seconds(revision.milliseconds),
            changed: match before {
                None if revision.number > 1 => vec!["not known: what was before is forgotten".into()],
                before => kube::revision::changes(before, revision),
            },
            run: revision.run.to_string(),
        }
    };
    revisions.values().zip(before).map(entry).collect()
}

/// A host's revisions, in the order of their numbers.
fn of_revisions(revisions: &[&Revision]) -> Vec<Entry> {
    let before = std::iter::once(None).chain(revisions.iter().map(Some));
    let revisions = revisions.iter().zip(before).map(|(revision, before)| Entry::Revision {
        number: revision.number,
        release: revision.release.clone(),
        at: revision.at,
        by: revision.by.clone(),
        verb: revision.verb.clone(),
        seconds: seconds(revision.milliseconds),
        changed: changes(before.copied(), revision),
        run: revision.run.to_string(),
    });
    revisions.collect()
}

/// Revisions and setbacks, newest first.
fn fold(revisions: Vec<Entry>, setbacks: &[Setback]) -> Vec<Entry> {
    let setbacks = setbacks.iter().map(|setback| Entry::Setback {
        release: setback.release.clone(),
        at: setback.at,
        subject: setback.evidence.subject.clone(),
        cause: setback.evidence.cause.to_string(),
        log: setback.evidence.cause.log.clone(),
        base: setback.base,
        run: setback.run.to_string(),
    });
    let mut entries: Vec<Entry> = revisions.into_iter().chain(setbacks).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.at()));
    entries
}

/// What a revision changed against the one before it.
fn changes(before: Option<&Revision>, after: &Revision) -> Vec<String> {
    let Some(before) = before else {
        let word = if after.verb == "adopt" { "found" } else { "first" };
        return after.services.keys().map(|name| format!("{name} ({word})")).collect();
    };
    let mut changed = Vec::new();
    for (name, placed) in &after.services {
        match before.services.get(name) {
            None => changed.push(format!("{name} (new)")),
            Some(old) => changed.extend(change(name, old, placed)),
        }
    }
    let gone = before.services.keys().filter(|name| !after.services.contains_key(*name));
    changed.extend(gone.map(|name| format!("{name} (removed)")));
    changed
}

fn change(name: &str, old: &Placed, new: &Placed) -> Option<String> {
    let image = |placed: &Placed| placed.released.as_ref().map_or(placed.image, |id| id.config);
    if image(old) != image(new) {
        Some(name.to_owned())
    } else if old.fingerprint != new.fingerprint {
        Some(format!("{name} (configuration)"))
    } else if old.containers != new.containers {
        Some(format!("{name} (replaced)"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use bowline_core::digest::Digest;
    use bowline_core::event::RunId;
    use bowline_core::health::Cause;
    use bowline_core::rollout::Evidence;

    use super::*;

    fn placed(image: &str, fingerprint: &str, container: &str) -> Placed {
        Placed {
            image: Digest::of(image.as_bytes()),
            image_name: "x".into(),
            released: None,
            fingerprint: Digest::of(fingerprint.as_bytes()),
            containers: vec![container.into()],
            task: false,
        }
    }

    fn revision(number: u64, minute: u64, services: &[(&str, Placed)]) -> Revision {
        Revision {
            number,
            release: Some(format!("v{number}.0.0")),
            verb: "deploy".into(),
            at: format!("2026-11-22T10:{minute:02}:00Z").parse().unwrap(),
            run: RunId::from(format!("r{number}")),
            by: "ada@desk".into(),
            spec: Digest::of(b""),
            files: BTreeMap::new(),
            images: BTreeMap::new(),
            services: services.iter().map(|(name, placed)| ((*name).to_owned(), placed.clone())).collect(),
            milliseconds: 1500,
        }
    }

    #[test]
    fn each_entry_says_what_changed_and_setbacks_stand_between() {
        let first = revision(1, 0, &[("a", placed("1", "1", "c1")), ("b", placed("1", "1", "c2"))]);
        let second = revision(
            2,
            20,
            &[("a", placed("2", "2", "c3")), ("b", placed("1", "9", "c4")), ("c", placed("1", "1", "c5"))],
        );
        let third = revision(3, 30, &[("a", placed("2", "2", "c6")), ("c", placed("1", "1", "c5"))]);
        let setback = Setback {
            run: RunId::from("r0".to_owned()),
            at: "2026-11-22T10:10:00Z".parse().unwrap(),
            release: Some("v1.5.0".into()),
            base: Some(1),
            evidence: Evidence { subject: "a".into(), cause: Cause::new("exited with code 3") },
        };
        let entries = fold(of_revisions(&[&first, &second, &third]), &[setback]);
        let changed = |entry: &Entry| match entry {
            Entry::Revision { changed, .. } => changed.join(", "),
            Entry::Setback { subject, cause, .. } => format!("{subject}: {cause}"),
        };
        let words: Vec<_> = entries.iter().map(changed).collect();
        assert_eq!(
            words,
            [
                "a (replaced), b (removed)",
                "a, b (configuration), c (new)",
                "a: exited with code 3",
                "a (first), b (first)"
            ]
        );
    }
}
