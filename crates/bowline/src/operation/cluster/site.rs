//! A cluster connected to.

use std::sync::Arc;
use std::time::Duration;

use bowline_compose::connection::{Address, Command, Connection, Options};
use bowline_core::event::RunId;
use bowline_core::reference::Repository;
use bowline_kube::document::{DocumentError, Documents};
use bowline_kube::lease::{Holder, Lease, LeaseError};
use bowline_kube::state::State;
use bowline_kube::{CONTROL_PLANE_KUBECONFIGS, Cluster, KubeError, Opener, Stream};
use bowline_oci::credential::Credentials;
use bowline_oci::registry::Client;

use crate::config::{Config, KubernetesTarget};
use crate::error::{Failure, FailureKind, Outcome};
use crate::operation::depot::Depot;
use crate::operation::host::{self, with_hint};

/// The registry that the cluster's nodes pull our images from.
pub struct Registry {
    /// Talks to it.
    pub client: Client,
    /// The repository of all our images.
    pub repository: Repository,
    /// Where logins for it are found.
    pub credentials: Credentials,
}

/// A connection to a target's cluster, and what Bowline keeps there.
pub struct Site {
    /// The target, as today's configuration has it.
    pub target: KubernetesTarget,
    /// The project's name.
    pub project: String,
    /// The cluster.
    pub cluster: Cluster,
    /// The namespace of manifests that name none; Bowline's own documents are there too.
    pub namespace: String,
    /// What Bowline keeps there.
    pub documents: Documents,
    /// The registry; none where the nodes reach none, and for verbs that do not need it.
    pub registry: Option<Registry>,
    /// The way through the control plane's machine, where that is the way.
    connection: Option<Connection>,
}

impl Site {
    /// Connects to a target.
    ///
    /// # Errors
    /// Kind `Unreachable` or `Invalid`: says which server was asked, and what is missing.
    pub async fn connect(config: &Config, target: &KubernetesTarget) -> Outcome<Self> {
        let explain = |error: &KubeError| explain(&target.name, "connecting to", error);
        let (cluster, connection) = match &target.host {
            None => {
                (Cluster::connect(target.context.as_deref()).await.map_err(|error| explain(&error))?, None)
            }
            Some(host) => {
                let (cluster, connection) = connect_through(target, host).await?;
                (cluster, Some(connection))
            }
        };
        let namespace = target.namespace.clone().unwrap_or_else(|| cluster.namespace().to_owned());
        let documents = Documents::new(&cluster, &namespace, &config.project, &target.name);
        let (target, project) = (target.clone(), config.project.clone());
        Ok(Self { target, project, cluster, namespace, documents, registry: None, connection })
    }

    /// The same, with the registry that is configured: the embedded one is not reached by nodes.
    #[must_use]
    pub fn with_registry(mut self, config: &Config, depot: &Depot) -> Self {
        self.registry = config.repository.as_ref().map(|repository| Registry {
            client: depot.client.clone(),
            repository: repository.clone(),
            credentials: depot.credentials.clone(),
        });
        self
    }

    /// Waits until the way to the cluster is lost; for ever where there is none that could be.
    pub async fn wait_lost(&self) -> Failure {
        match &self.connection {
            Some(connection) => {
                let lost = connection.wait_lost().await;
                let doing = format!("changing {}", self.target.name);
                Failure::new(FailureKind::Unreachable, doing).because(&lost)
            }
            None => std::future::pending().await,
        }
    }

    /// An error of the adapter in words: what was attempted on this target.
    pub fn explain(&self, doing: &str, error: &KubeError) -> Failure {
        explain(&self.target.name, doing, error)
    }

    /// Any error of the adapter in words.
    pub fn explain_any(
        &self,
        doing: &str,
        error: &(dyn std::error::Error + 'static),
        unreachable: bool,
        hint: Option<String>,
    ) -> Failure {
        host::explain(&self.target.name, doing, error, unreachable, hint)
    }

    /// What Bowline keeps there.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn state(&self) -> Outcome<State> {
        self.documents.state().await.map_err(|error| self.explain_document(&error))
    }

    /// An error of a document in words.
    pub fn explain_document(&self, error: &DocumentError) -> Failure {
        self.explain_any("reading what was deployed to", error, error.is_unreachable(), error.hint())
    }

    /// Takes the lock, waiting at most so long for whoever has it; `waiting` is told whom.
    ///
    /// # Errors
    /// Kind `Locked`: somebody else has it.
    pub async fn take_lease(
        &self,
        run: &RunId,
        verb: &str,
        patience: Duration,
        waiting: impl FnMut(&Holder),
    ) -> Outcome<Lease> {
        let taken = Lease::wait(&self.documents, &run.to_string(), verb, patience, waiting).await;
        taken.map_err(|error| {
            let unreachable = matches!(&error, LeaseError::Document(error) if error.is_unreachable());
            let failure = self.explain_any("taking the lock of", &error, unreachable, error.hint());
            match error {
                LeaseError::Held { .. } => Failure { kind: FailureKind::Locked, ..failure },
                _ => failure,
            }
        })
    }
}

fn explain(target: &str, doing: &str, error: &KubeError) -> Failure {
    host::explain(target, doing, error, error.is_unreachable(), error.hint())
}

/// Reaches a private API through the control plane's machine, by the kubeconfig that is kept there.
async fn connect_through(target: &KubernetesTarget, host: &str) -> Outcome<(Cluster, Connection)> {
    let failed = || Failure::new(FailureKind::Unreachable, format!("connecting to {}", target.name));
    let address: Address = host.parse().map_err(|error| {
        Failure::invalid(format!("reading the host of target {}", target.name)).because(&error)
    })?;
    let options = Options { without_engine: true, ..Options::from_env() };
    let connection = Connection::open(&address, &options)
        .await
        .map_err(|error| with_hint(failed().because(&error), error.hint()))?;
    let (place, text) = read_kubeconfig(target, &connection).await?;
    let streams = connection.clone();
    let opener: Opener = Arc::new(move |host, port| {
        let connection = streams.clone();
        Box::pin(async move {
            let stream = connection.stream_to(&host, port).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    });
    let cluster = Cluster::connect_through(&text, &place, None, opener)
        .await
        .map_err(|error| explain(&target.name, "connecting to", &error))?;
    Ok((cluster, connection))
}

/// The control plane's own kubeconfig; it is read with `sudo` where the login may not, as such files are root's.
async fn read_kubeconfig(target: &KubernetesTarget, connection: &Connection) -> Outcome<(String, String)> {
    for file in CONTROL_PLANE_KUBECONFIGS {
        let path = file.replacen('~', connection.home(), 1);
        for words in [&["cat", "--", &path][..], &["sudo", "-n", "cat", "--", &path]] {
            let [program, arguments @ ..] = words else { continue };
            let command = Command::new(*program).args(arguments.iter().copied());
            if let Ok(output) = connection.run(command).await
                && output.is_success()
            {
                return Ok((format!("{}:{path}", target.host.as_deref().unwrap_or_default()), output.text()));
            }
        }
    }
    Err(Failure::new(FailureKind::Unreachable, format!("connecting to {}", target.name))
        .since(format!(
            "no kubeconfig can be read there; looked for {}",
            CONTROL_PLANE_KUBECONFIGS.join(", ")
        ))
        .hint("let the login read one of them, or run `sudo` without a password"))
}
