//! What the kubelets say of their nodes and containers.

use serde_json::Value;

use crate::call::{Call, segment};
use crate::cluster::Cluster;
use crate::error::KubeError;

impl Cluster {
    /// The kubelet's summary of a node (kubelet, `/stats/summary`), through the API server. Who asks needs the right to get
    /// `nodes/proxy`.
    ///
    /// # Errors
    /// When that is not allowed, or the node does not answer.
    pub async fn node_summary(&self, node: &str) -> Result<Value, KubeError> {
        let what = format!("ask node {node} what it measured");
        let path = format!("/api/v1/nodes/{}/proxy/stats/summary", segment(node));
        self.fetch(&Call::get(&what, path)).await
    }
}
