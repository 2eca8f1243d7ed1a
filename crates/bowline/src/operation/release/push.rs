//! The images of a release on their way into the registry: each service gets its tag.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bowline_core::digest::Digest;
use bowline_core::event::{EventKind, Phase};
use bowline_core::release::ReleasedImage;
use bowline_core::service::ServiceName;
use bowline_core::tag::Tag;
use bowline_oci::push::{Item, Observer, Progress, push};
use bowline_oci::store::Store;

use super::{Release, bytes, has_healthcheck};
use crate::build::change::definition;
use crate::build::image::{BuiltImage, open_cache};
use crate::cli::Context;
use crate::config::{Config, Service};
use crate::error::{Attempt, Failure, Outcome};
use crate::operation::depot::Depot;
use crate::operation::host::with_hint;
use crate::record::{PhaseResult, Recorder};

/// The way into the registry, for one release.
pub(super) struct Push<'p> {
    pub(super) context: &'p Context,
    pub(super) recorder: &'p Recorder,
    pub(super) config: &'p Config,
    pub(super) depot: &'p Depot,
    pub(super) tag: &'p Tag,
    pub(super) previous: Option<&'p Release>,
    /// Whether tags of services may be taken off other images.
    pub(super) moved: bool,
}

impl Push<'_> {
    /// Pushes what was built and gives every service its tag: the new image's, or the one it keeps. `edited` are those
    /// that were built from files that are in no commit.
    pub(super) async fn images(
        &self,
        built: &BTreeMap<ServiceName, BuiltImage>,
        edited: &BTreeSet<ServiceName>,
    ) -> Outcome<BTreeMap<String, ReleasedImage>> {
        let work = async {
            let mut images = BTreeMap::new();
            let mut items = Vec::new();
            let store = open_cache()?;
            for service in self.config.services.values() {
                let tag = self.config.tag.render(&service.name, &self.tag.number());
                let before =
                    self.previous.and_then(|release| release.record.images.get(service.name.as_str()));
                let image = match (built.get(&service.name), before) {
                    (Some(built), before) => {
                        items.push(Item {
                            name: service.name.to_string(),
                            image: built.image.clone(),
                            base: built.base.clone(),
                            tags: vec![tag.clone()],
                        });
                        let edited = edited.contains(&service.name);
                        self.describe(service, built, before, &store, edited, tag)
                    }
                    (None, Some(before)) => {
                        keep(self.depot, before, &tag, self.moved).await?;
                        self.recorder.emit(EventKind::ImageReady {
                            service: service.name.to_string(),
                            digest: before.id.manifest.to_string(),
                            how: "kept".into(),
                            changed: false,
                        });
                        ReleasedImage { tag, changed: false, ..before.clone() }
                    }
                    (None, None) => {
                        return Err(Failure::failed(format!("releasing {}", service.name))
                            .since("it was neither built nor part of the previous release"));
                    }
                };
                images.insert(service.name.to_string(), image);
            }
            let (sent, skipped) = self.send(&store, items).await?;
            let note = format!("{} sent, {} there already", bytes(sent), bytes(skipped));
            Ok((images, PhaseResult { bytes: sent, note }))
        };
        self.recorder.phase(Phase::Push, work).await
    }

    fn describe(
        &self,
        service: &Service,
        built: &BuiltImage,
        before: Option<&ReleasedImage>,
        store: &Store,
        edited: bool,
        tag: String,
    ) -> ReleasedImage {
        // What came out as it was keeps its first name: a new one would be another pod, for nothing.
        let same = before.filter(|before| before.id == built.id);
        // No commit has what was edited: the next release must not take it for its own, so it finds no service that is
        // built like this.
        let definition = match edited {
            true => Digest::of(b"edited"),
            false => definition(self.config, service),
        };
        ReleasedImage {
            healthcheck: has_healthcheck(store, &built.id),
            id: built.id.clone(),
            tag,
            changed: same.is_none(),
            built_in: same.map_or_else(|| self.tag.to_string(), |same| same.built_in.clone()),
            definition: Some(definition),
            size: built.image.layers.iter().map(|layer| layer.size).sum(),
            layers: built.image.layers.iter().map(|layer| (layer.digest, layer.size)).collect(),
        }
    }

    async fn send(&self, store: &Store, items: Vec<Item>) -> Outcome<(u64, u64)> {
        if items.is_empty() {
            return Ok((0, 0));
        }
        let depot = self.depot;
        let bar = self.context.ui.bytes_bar("push", 0);
        let shown = bar.clone();
        let observer: Observer = Arc::new(move |progress| match progress {
            Progress::Started { bytes, .. } => shown.inc_length(bytes),
            Progress::Sent { bytes, .. } | Progress::Skipped { bytes, .. } => shown.inc(bytes),
            Progress::Done { .. } => {}
        });
        let report = push(&depot.client, store, &depot.repository, &items, self.moved, &observer).await;
        bar.finish_and_clear();
        let report = report.map_err(|error| {
            let failure = Failure::failed(format!("pushing to {}", depot.place())).because(&error);
            with_hint(
                failure,
                error.hint().or_else(|| Some("run it again: what was sent is not sent twice".into())),
            )
        })?;
        Ok((report.sent(), report.images.iter().map(|image| image.skipped).sum()))
    }
}

/// Gives an image that is there already a tag: one request, nothing moved but, where that is wanted, the tag.
pub(super) async fn keep(depot: &Depot, image: &ReleasedImage, tag: &str, moved: bool) -> Outcome<()> {
    let reference = depot.repository.at(image.id.manifest);
    let attempt = || format!("keeping {} as {tag}", image.tag);
    let fetched = depot.client.get_manifest(&reference).await.attempt(attempt)?;
    let manifest = fetched.ok_or_else(|| {
        Failure::failed(attempt())
            .since(format!("{reference} is gone from the registry"))
            .hint("somebody deleted it there: change a file of that service, or remove its inputs, to build it again")
    })?;
    let (kind, bytes) = (&manifest.descriptor.media_type, &manifest.bytes);
    let written = depot.client.put_manifest(&depot.repository, tag, kind, bytes, moved).await;
    written.map(drop).map_err(|error| with_hint(Failure::failed(attempt()).because(&error), error.hint()))
}
