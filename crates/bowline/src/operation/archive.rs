//! Releases in a registry: their records and specs, found, read and written.

use std::time::Duration;

use bowline_core::release::{FORMAT, Record, Spec, media_type};
use bowline_core::tag::Tag;
use bowline_oci::artifact::{Artifact, ArtifactError, Part, pull_artifact, push_artifact};
use bowline_oci::list::list;
use bowline_oci::registry::RegistryError;

use super::depot::Depot;
use super::host::with_hint;
use crate::error::{Failure, Outcome};

/// How long another writer of the same record may be under way between its look and its write: as long as this one was,
/// with room, since both ask the same registry.
fn settle(took: Duration) -> Duration {
    (took * 3).clamp(Duration::from_secs(1), Duration::from_secs(15))
}

/// A release as it is in the registry.
#[derive(Debug, Clone)]
pub struct Release {
    /// What it is.
    pub record: Record,
    /// The files it is deployed with.
    pub spec: Spec,
}

/// The tags that may be those of releases, newest first: other tools push images under such names, too.
///
/// # Errors
/// When the registry does not list its tags.
pub async fn releases(depot: &Depot) -> Outcome<Vec<Tag>> {
    let listing = list(&depot.client, &depot.repository).await.map_err(|error| {
        let failure = Failure::failed(format!("listing the releases in {}", depot.place())).because(&error);
        with_hint(failure, error.hint())
    })?;
    let mut tags: Vec<Tag> = listing.bare.iter().filter_map(|text| text.parse().ok()).collect();
    tags.sort_by_key(|tag| std::cmp::Reverse(tag.version()));
    Ok(tags)
}

/// Reads a release; nothing where nothing is under that tag.
///
/// # Errors
/// When the registry fails, or what is there is no release that this Bowline can read.
pub async fn read(depot: &Depot, tag: &str) -> Outcome<Option<Release>> {
    interpret(tag, pull(depot, tag).await)
}

/// Reads a release; nothing where there is none under that tag, be it that somebody else's image is.
///
/// # Errors
/// When the registry fails, or the release is none that this Bowline can read.
pub async fn look_up(depot: &Depot, tag: &Tag) -> Outcome<Option<Release>> {
    let tag = tag.to_string();
    match pull(depot, &tag).await {
        Err(ArtifactError::Kind { .. }) => Ok(None),
        pulled => interpret(&tag, pulled),
    }
}

type Pulled = Result<Option<Artifact>, ArtifactError>;

async fn pull(depot: &Depot, tag: &str) -> Pulled {
    let reference = depot.repository.tagged(tag);
    let found = pull_artifact(&depot.client, &reference, media_type::RELEASE).await?;
    Ok(found.map(|(_, artifact)| artifact))
}

fn interpret(tag: &str, pulled: Pulled) -> Outcome<Option<Release>> {
    let failed = |error: ArtifactError| {
        with_hint(Failure::failed(format!("reading release {tag}")).because(&error), error.hint())
    };
    let Some(artifact) = pulled.map_err(failed)? else { return Ok(None) };
    let part = |kind: &str| artifact.parts.iter().find(|part| part.media_type == kind);
    let (Some(record), Some(spec)) = (part(media_type::RECORD), part(media_type::SPEC)) else {
        return Err(Failure::failed(format!("reading release {tag}")).since("its record lacks a part"));
    };
    let odd = |error: &serde_json::Error| {
        Failure::failed(format!("reading release {tag}"))
            .because(error)
            .hint("a newer bowline may have written it: update this one")
    };
    let record: Record = serde_json::from_slice(&record.bytes).map_err(|error| odd(&error))?;
    let spec: Spec = serde_json::from_slice(&spec.bytes).map_err(|error| odd(&error))?;
    if record.format > FORMAT {
        return Err(Failure::failed(format!("reading release {tag}"))
            .since(format!("its format is {}, this bowline reads up to {FORMAT}", record.format))
            .hint("update bowline"));
    }
    if record.tag != tag || record.spec != spec.digest() {
        return Err(Failure::failed(format!("reading release {tag}"))
            .since("the record does not fit its tag or its files")
            .hint("somebody wrote it by hand or damaged it: release again"));
    }
    Ok(Some(Release { record, spec }))
}

/// Writes a release under its tag: the commit point. Where another run was faster, its release is given back.
///
/// # Errors
/// When the registry fails, or the tag names something else.
pub async fn commit(depot: &Depot, release: Release) -> Outcome<Release> {
    let tag = release.record.tag.clone();
    let failed = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("committing release {tag} to {}", depot.place())).since(error.to_string())
    };
    let json = |error: serde_json::Error| failed(&error);
    let part = |title: &str, kind: &str, bytes: Vec<u8>| Part {
        title: title.into(),
        media_type: kind.into(),
        bytes,
    };
    let artifact = Artifact {
        kind: media_type::RELEASE.into(),
        annotations: [
            ("org.opencontainers.image.version".to_owned(), release.record.version.clone()),
            ("org.opencontainers.image.revision".to_owned(), release.record.commit.clone()),
            ("org.opencontainers.image.created".to_owned(), release.record.created.to_string()),
        ]
        .into(),
        parts: vec![
            part("record.json", media_type::RECORD, serde_json::to_vec(&release.record).map_err(json)?),
            part("spec.json", media_type::SPEC, serde_json::to_vec(&release.spec).map_err(json)?),
        ],
    };
    let written = push_artifact(&depot.client, &depot.repository, &tag, &artifact).await;
    let took = match written {
        Ok(written) => written.took,
        Err(ArtifactError::Registry { source: RegistryError::Taken { .. }, .. }) => Duration::ZERO,
        Err(error) => {
            let failure = Failure::failed(format!("committing release {tag} to {}", depot.place()));
            return Err(with_hint(failure.because(&error), error.hint()));
        }
    };
    // Most registries do not decide between two writers, and reads and writes alone cannot decide for them (see
    // ARCHITECTURE.md, "A release"). Each looks just before it writes, so that whoever is going to write over this one
    // does so within the time of a request; what is read back after that is what all will see.
    if !depot.decides() {
        tokio::time::sleep(settle(took)).await;
    }
    read(depot, &tag).await?.ok_or_else(|| failed(&"the record is not there after it was written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_registries_are_given_longer() {
        for (took, wait) in [(0, 1000), (200, 1000), (2000, 6000), (120_000, 15_000)] {
            assert_eq!(settle(Duration::from_millis(took)), Duration::from_millis(wait), "{took} ms");
        }
    }
}
