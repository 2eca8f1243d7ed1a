//! The container that measures a host: one of them, whatever projects run there.
//!
//! It belongs to no project and no revision, so that it needs no lease: its name is taken or not, and whoever creates it
//! creates the same.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig, RestartPolicy, RestartPolicyNameEnum};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ImportImageOptionsBuilder, InspectContainerOptions,
    RemoveContainerOptionsBuilder, RemoveImageOptions, StartContainerOptions,
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::{Engine, EngineError, ORDINARY};

/// Its name, and that of the volume in which it keeps what it measured.
pub const NAME: &str = "bowline-gate";
/// The label that says from which program, and with which arguments, it was made.
const LABEL: &str = "dev.bowline.gate";
/// The most memory that it may take.
const MEMORY: i64 = 64 << 20;
/// What is up for so long has begun to measure.
const SETTLED: Duration = Duration::from_millis(1500);
/// How long the engine may take to unpack an image of some megabytes.
const LOADING: Duration = Duration::from_secs(120);

/// What the container is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The image as `docker load` takes it.
    pub archive: Bytes,
    /// The image's name in it.
    pub image: String,
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// What distinguishes it: another one replaces it.
    pub fingerprint: String,
}

/// The container as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampler {
    /// Its id.
    pub id: String,
    /// Whether it runs.
    pub running: bool,
    /// From what it was made; none where somebody else made it.
    pub fingerprint: Option<String>,
    /// The name of its image.
    image: String,
}

impl Engine {
    /// The container that measures this host, if there is one.
    pub async fn sampler(&self) -> Result<Option<Sampler>, EngineError> {
        let what = format!("look at container {NAME}");
        let found = self.docker.inspect_container(NAME, None::<InspectContainerOptions>);
        let found = match self.ask(&what, ORDINARY, found).await {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        let config = found.config.unwrap_or_default();
        let labels = config.labels.unwrap_or_default();
        Ok(Some(Sampler {
            id: found.id.unwrap_or_default(),
            running: found.state.and_then(|state| state.running).unwrap_or(false),
            fingerprint: labels.get(LABEL).cloned(),
            image: config.image.unwrap_or_default(),
        }))
    }

    /// Makes sure that it runs as wanted; what it measured before stays. Says whether anything was done.
    ///
    /// # Errors
    /// When a container of this name is somebody else's, or the engine refuses.
    pub async fn start_sampler(&self, wanted: &Wanted) -> Result<bool, EngineError> {
        if let Some(there) = self.sampler().await? {
            match &there.fingerprint {
                None => {
                    return Err(EngineError::Unexpected {
                        what: format!("create container {NAME}"),
                        message: "there is one of this name that Bowline did not make".into(),
                    });
                }
                Some(fingerprint) if *fingerprint == wanted.fingerprint && there.running => return Ok(false),
                Some(_) => self.remove_sampler(&there).await?,
            }
        }
        self.load(wanted).await?;
        // With a label, so that it is known for Bowline's when it is to be deleted. One that is there stays what it is.
        self.claim_volume(NAME, HashMap::from([(LABEL.to_owned(), "store".to_owned())])).await?;
        let what = format!("create container {NAME}");
        let options = CreateContainerOptionsBuilder::new().name(NAME).build();
        let creation =
            self.docker.create_container(Some(options), body(wanted, self.connection.engine_socket()));
        let id = self.ask(&what, ORDINARY, creation).await?.id;
        let what = format!("start container {NAME}");
        let start = self.docker.start_container(&id, None::<StartContainerOptions>);
        self.ask(&what, Duration::from_secs(60), start).await?;
        self.await_sampler(&id).await?;
        Ok(true)
    }

    /// Whether it stays up: what cannot begin ends at once, and would be started again for ever.
    async fn await_sampler(&self, id: &str) -> Result<(), EngineError> {
        tokio::time::sleep(SETTLED).await;
        let what = format!("look at container {NAME}");
        let found = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        let found = self.ask(&what, ORDINARY, found).await?;
        let up =
            found.state.is_some_and(|state| state.running == Some(true) && state.restarting != Some(true));
        if up && found.restart_count.unwrap_or(0) == 0 {
            return Ok(());
        }
        let log = self.log_tail(id, 3).await.unwrap_or_default();
        let said: Vec<String> = log.into_iter().map(|line| line.text).collect();
        if let Some(there) = self.sampler().await? {
            self.remove_sampler(&there).await?;
        }
        let message = if said.is_empty() { "it ended at once".to_owned() } else { said.join("; ") };
        Err(EngineError::Unexpected { what: format!("measure with container {NAME}"), message })
    }

    /// Takes it away; what it measured goes only where that is asked for. Says whether it was there.
    ///
    /// # Errors
    /// When the engine refuses; and where what it measured is to go, when the volume of that name bears no label of
    /// Bowline's: then nothing was touched.
    pub async fn stop_sampler(&self, forget: bool) -> Result<bool, EngineError> {
        if forget {
            self.ensure_own_store().await?;
        }
        let there = self.sampler().await?.filter(|there| there.fingerprint.is_some());
        if let Some(there) = &there {
            self.remove_sampler(there).await?;
        }
        if forget {
            self.drop_volume(NAME).await?;
        }
        Ok(there.is_some())
    }

    /// Whether the volume in which it keeps what it measured may be deleted: it is Bowline's, or not there.
    async fn ensure_own_store(&self) -> Result<(), EngineError> {
        let what = format!("remove volume {NAME}");
        let volume = match self.ask(&what, ORDINARY, self.docker.inspect_volume(NAME)).await {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        if volume.labels.contains_key(LABEL) {
            return Ok(());
        }
        let message = format!(
            "it has no label {LABEL}, so that nobody knows whether Bowline made it; if nothing in it is needed, stop without \
             --forget, and remove it there: docker volume rm {NAME}"
        );
        Err(EngineError::Unexpected { what, message })
    }

    /// Takes the container away, and its image.
    async fn remove_sampler(&self, there: &Sampler) -> Result<(), EngineError> {
        // It writes down what it has when it is told to end.
        let what = format!("stop container {NAME}");
        let stop = self.docker.stop_container(NAME, None);
        match self.ask(&what, Duration::from_secs(30), stop).await {
            Err(EngineError::NotFound { .. } | EngineError::Refused { status: 304, .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        let what = format!("remove container {NAME}");
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        match self.ask(&what, ORDINARY, self.docker.remove_container(NAME, Some(options))).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        let what = format!("remove image {}", there.image);
        match self
            .ask(&what, ORDINARY, self.docker.remove_image(&there.image, None::<RemoveImageOptions>, None))
            .await
        {
            Err(error)
                if !matches!(
                    error,
                    EngineError::NotFound { .. } | EngineError::Refused { status: 409, .. }
                ) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Brings its image, unless it is there.
    async fn load(&self, wanted: &Wanted) -> Result<(), EngineError> {
        if self.image(&wanted.image).await?.is_some() {
            return Ok(());
        }
        let what = format!("load image {}", wanted.image);
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let archive = bollard::body_full(wanted.archive.clone());
        let loading = self.docker.import_image(options, archive, None).try_collect::<Vec<_>>();
        self.ask(&what, LOADING, loading).await?;
        Ok(())
    }
}

/// It sees the whole machine and writes to its own volume alone. The engine's socket lets whoever has it do everything, though:
/// the program asks for names only, and it is trusted with that.
fn body(wanted: &Wanted, socket: &Path) -> ContainerCreateBody {
    let binds = [
        "/proc:/host/proc:ro".to_owned(),
        "/sys/fs/cgroup:/host/cgroup:ro".to_owned(),
        format!("{}:/var/run/docker.sock:ro", socket.display()),
        format!("{NAME}:/store"),
    ];
    ContainerCreateBody {
        image: Some(wanted.image.clone()),
        cmd: Some(wanted.arguments.clone()),
        labels: Some(HashMap::from([(LABEL.to_owned(), wanted.fingerprint.clone())])),
        host_config: Some(HostConfig {
            binds: Some(binds.into()),
            // The machine's own network is measured, and the cloud's metadata service answers nobody behind a bridge.
            network_mode: Some("host".into()),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            memory: Some(MEMORY),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".into()]),
            // To look into the network of other processes.
            cap_add: Some(vec!["SYS_PTRACE".into()]),
            security_opt: Some(vec!["no-new-privileges".into()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
