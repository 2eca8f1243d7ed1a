//! Everything that changes the engine, each call under a lease that still holds.

use std::time::Duration;

use bollard::query_parameters::{
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, RenameContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder, TagImageOptionsBuilder,
};
use bowline_core::compose::observed::HostImage;
use bowline_core::reference::Reference;

use crate::lease::Authority;

use super::{Credential, Engine, EngineError, ORDINARY, Progress, short};

/// The engine, with the right to change it. Containers are named by id: one that somebody else put in the place of the
/// one that was planned for is never hit.
#[derive(Clone)]
pub struct Writer {
    engine: Engine,
    authority: Authority,
}

impl Writer {
    /// An engine and the right to change it.
    pub fn new(engine: &Engine, authority: &Authority) -> Self {
        Self { engine: engine.clone(), authority: authority.clone() }
    }

    /// The engine, to look at.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The right.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Pulls one image, by digest where the reference has one; nothing happens where it is there. The credential goes
    /// with the request and stays nowhere.
    pub async fn pull(
        &self,
        image: &Reference,
        credential: Option<&Credential>,
        progress: impl FnMut(Progress),
    ) -> Result<(), EngineError> {
        self.authority.check()?;
        self.engine.pull(image, credential, progress).await
    }

    /// Gives an image (id, name or `repository@digest`) one more name.
    pub async fn tag(&self, image: &str, name: &Reference) -> Result<(), EngineError> {
        self.authority.check()?;
        let what = format!("name {image} {}", name.familiar());
        let options = TagImageOptionsBuilder::new()
            .repo(&name.repository.to_string())
            .tag(name.effective_tag().unwrap_or("latest"))
            .build();
        let docker = &self.engine.docker;
        self.engine.ask(&what, ORDINARY, docker.tag_image(image, Some(options))).await
    }

    /// Takes a name off an image, and the image away where that was its last. One that is in use, or is not there, is
    /// left: says whether anything was removed.
    pub async fn remove_image(&self, name: &str) -> Result<bool, EngineError> {
        self.authority.check()?;
        let what = format!("remove image {name}");
        let options = RemoveImageOptionsBuilder::new().force(false).build();
        let removal = self.engine.docker.remove_image(name, Some(options), None);
        match self.engine.ask(&what, Duration::from_secs(120), removal).await {
            Ok(_) => Ok(true),
            Err(EngineError::NotFound { .. } | EngineError::Refused { status: 409, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes an image with all its names, unless a container uses it: says whether it is gone.
    pub async fn remove_image_whole(&self, image: &HostImage) -> Result<bool, EngineError> {
        for name in &image.names {
            self.remove_image(name).await?;
        }
        // What was pulled by digest is still there without any name.
        let id = image.id.to_string();
        if self.engine.image(&id).await?.is_some() {
            self.remove_image(&id).await?;
        }
        Ok(self.engine.image(&id).await?.is_none())
    }

    /// Starts a container; one that runs is no error.
    pub async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.authority.check()?;
        let what = format!("start container {}", short(id));
        let start = self.engine.docker.start_container(id, None::<StartContainerOptions>);
        match self.engine.ask(&what, Duration::from_secs(60), start).await {
            Err(EngineError::Refused { status: 304, .. }) => Ok(()),
            other => other,
        }
    }

    /// Stops a container: its stop signal, then SIGKILL after `grace`, or after its own grace period where none is
    /// given. One that is stopped or gone is no error.
    pub async fn stop(&self, id: &str, grace: Option<Duration>) -> Result<(), EngineError> {
        self.authority.check()?;
        let what = format!("stop container {}", short(id));
        let options = grace.map(|grace| {
            let seconds = grace.as_secs().try_into().unwrap_or(i32::MAX);
            StopContainerOptionsBuilder::new().t(seconds).build()
        });
        // Its own grace period may be long; the engine knows it, and answers when it is over.
        let patience = grace.unwrap_or(Duration::from_secs(600)) + Duration::from_secs(30);
        match self.engine.ask(&what, patience, self.engine.docker.stop_container(id, options)).await {
            Err(EngineError::NotFound { .. } | EngineError::Refused { status: 304, .. }) => Ok(()),
            other => other,
        }
    }

    /// Removes a container, killing it where it still runs. Its volumes stay. One that is gone is no error.
    pub async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.authority.check()?;
        let what = format!("remove container {}", short(id));
        let options = RemoveContainerOptionsBuilder::new().force(true).v(false).build();
        let removal = self.engine.docker.remove_container(id, Some(options));
        match self.engine.ask(&what, Duration::from_secs(60), removal).await {
            Err(EngineError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Gives a container another name.
    pub async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        self.authority.check()?;
        let what = format!("rename container {} to {name}", short(id));
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        self.engine.ask(&what, ORDINARY, self.engine.docker.rename_container(id, options)).await
    }
}
