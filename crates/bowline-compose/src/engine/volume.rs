//! Volumes as places for documents: a name that exists once, and labels that never change.

use std::collections::HashMap;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};

use super::{Engine, EngineError, ORDINARY, filter};

/// A volume's name, labels and time of creation as the engine tells them.
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) created_at: Option<String>,
}

impl From<bollard::models::Volume> for Volume {
    fn from(volume: bollard::models::Volume) -> Self {
        Self { name: volume.name, labels: volume.labels, created_at: volume.created_at }
    }
}

impl Engine {
    /// Creates a volume, or gives the one of that name as it is. The engine takes a lock per name: of many who create
    /// at the same time one wins, and all get the winner's labels.
    pub(crate) async fn claim_volume(
        &self,
        name: &str,
        labels: HashMap<String, String>,
    ) -> Result<Volume, EngineError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".into()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        let what = format!("write {name}");
        let volume: Volume = self.ask(&what, ORDINARY, self.docker.create_volume(request)).await?.into();
        if !volume.labels.is_empty() {
            return Ok(volume);
        }
        // Of one that was there before the engine was started, the answer has no labels (seen with 20.10); they are kept.
        let what = format!("read {name}");
        Ok(self.ask(&what, ORDINARY, self.docker.inspect_volume(name)).await?.into())
    }

    /// All volumes whose name begins so.
    pub(crate) async fn volumes(&self, prefix: &str) -> Result<Vec<Volume>, EngineError> {
        // The filter finds the text anywhere in a name.
        let options = ListVolumesOptionsBuilder::new().filters(&filter("name", prefix.to_owned())).build();
        let what = format!("list {prefix}*");
        let found = self.ask(&what, ORDINARY, self.docker.list_volumes(Some(options))).await?;
        let volumes = found.volumes.unwrap_or_default().into_iter();
        Ok(volumes.filter(|volume| volume.name.starts_with(prefix)).map(Volume::from).collect())
    }

    /// Removes a volume; one that is not there is no error.
    pub(crate) async fn drop_volume(&self, name: &str) -> Result<(), EngineError> {
        let what = format!("remove {name}");
        match self.ask(&what, ORDINARY, self.docker.remove_volume(name, None::<RemoveVolumeOptions>)).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}
