//! A connection to the API server of a cluster.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::error::KubeError;

/// How long an ordinary question may take. A server under load answers slowly; a dead one is noticed by the connection.
pub const ORDINARY: Duration = Duration::from_secs(30);

/// A cluster, reached. Clones share the connections.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    server: Arc<str>,
    namespace: Arc<str>,
}

impl Cluster {
    /// The client, for requests that this crate has no words for.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// The API server's address, as the kubeconfig has it.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The namespace of the context; `default` where it names none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Waits for an answer, or for the timeout. `what` completes "cannot …".
    pub async fn ask<T>(
        &self,
        what: &str,
        within: Duration,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, KubeError> {
        match tokio::time::timeout(within, answer).await {
            Ok(answer) => answer.map_err(|error| self.explain(what, &error)),
            Err(_) => Err(KubeError::Timeout {
                what: what.to_owned(),
                server: self.server.to_string(),
                after: within,
            }),
        }
    }

    /// Says in our words what kube says. `what` completes "cannot …".
    pub fn explain(&self, what: &str, error: &kube::Error) -> KubeError {
        KubeError::explain(what, &self.server, error)
    }
}
