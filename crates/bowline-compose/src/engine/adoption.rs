//! The compose projects that an engine runs, whoever started them.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters::{ListNetworksOptionsBuilder, ListVolumesOptionsBuilder};
use bowline_core::digest::Digest;

use super::container::{DIRECTORY, FILES, PROJECT, SERVICE, label};
use super::{Engine, EngineError, ORDINARY, filter};

/// A compose project that was found on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundProject {
    /// Its name.
    pub name: String,
    /// The directories that its containers say it has: one, unless it was moved.
    pub directories: BTreeSet<String>,
    /// The compose files that its containers say they were made from.
    pub files: BTreeSet<String>,
    /// Its services.
    pub services: BTreeMap<String, FoundService>,
}

/// A service of such a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundService {
    /// The names of the images that its containers were made from.
    pub images: BTreeSet<String>,
    /// The engine's ids of these images.
    pub image_ids: BTreeSet<Digest>,
    /// How many containers it has.
    pub containers: usize,
    /// How many of them run.
    pub running: usize,
}

impl Engine {
    /// All compose projects with containers, in the order of their names: one round trip.
    pub async fn projects(&self) -> Result<Vec<FoundProject>, EngineError> {
        let mut projects: BTreeMap<String, FoundProject> = BTreeMap::new();
        for summary in self.summaries().await? {
            let (Some(name), Some(service)) = (label(&summary, PROJECT), label(&summary, SERVICE)) else {
                continue;
            };
            let project = projects.entry(name.to_owned()).or_default();
            project.name = name.to_owned();
            project.directories.extend(label(&summary, DIRECTORY).map(str::to_owned));
            let files = label(&summary, FILES).unwrap_or_default().split(',').filter(|file| !file.is_empty());
            project.files.extend(files.map(str::to_owned));
            let service = project.services.entry(service.to_owned()).or_default();
            service.containers += 1;
            service.running += usize::from(summary.state == Some(ContainerSummaryStateEnum::RUNNING));
            service.images.extend(summary.image);
            service.image_ids.extend(summary.image_id.and_then(|id| id.parse::<Digest>().ok()));
        }
        Ok(projects.into_values().collect())
    }

    /// The names of a project's networks.
    pub async fn networks_of(&self, project: &str) -> Result<BTreeSet<String>, EngineError> {
        let filters = filter("label", format!("{PROJECT}={project}"));
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let found = self.ask("list networks", ORDINARY, self.docker.list_networks(Some(options))).await?;
        Ok(found.into_iter().filter_map(|network| network.name).collect())
    }

    /// The names of a project's volumes.
    pub async fn volumes_of(&self, project: &str) -> Result<BTreeSet<String>, EngineError> {
        let filters = filter("label", format!("{PROJECT}={project}"));
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let found = self.ask("list volumes", ORDINARY, self.docker.list_volumes(Some(options))).await?;
        Ok(found.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect())
    }
}
