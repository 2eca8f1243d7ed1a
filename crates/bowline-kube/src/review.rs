//! Whether the caller may do something, asked of the API server before it is done.

use std::collections::BTreeSet;

use bowline_core::kube::object::Kind;
use bowline_core::kube::preflight::Right;
use futures_util::future::try_join_all;
use http::Method;
use serde_json::{Value, json};

use crate::call::{Again, Call};
use crate::cluster::Cluster;
use crate::discovery::Resource;
use crate::error::KubeError;

impl Cluster {
    /// Which of these rights the caller does not have. `resource` says how a kind is asked for; one that nobody knows yet
    /// is not asked about. One question where the caller may do everything, else one for each right, all at once.
    ///
    /// # Errors
    /// When the API server does not answer, or not even this may be asked.
    pub async fn denied<'c>(
        &self,
        resource: impl Fn(&Kind) -> Option<&'c Resource>,
        rights: &BTreeSet<Right>,
    ) -> Result<BTreeSet<Right>, KubeError> {
        let everything = json!({"verb": "*", "group": "*", "resource": "*"});
        if rights.is_empty() || self.may(everything).await? {
            return Ok(BTreeSet::new());
        }
        let asked = rights.iter().filter_map(|right| Some((right, resource(&right.kind)?)));
        let ask = async |(right, resource): (&Right, &Resource)| {
            Ok::<_, KubeError>((right.clone(), self.may(attributes(right, resource)).await?))
        };
        let answers = try_join_all(asked.map(ask)).await?;
        Ok(answers.into_iter().filter(|(_, allowed)| !allowed).map(|(right, _)| right).collect())
    }

    async fn may(&self, attributes: Value) -> Result<bool, KubeError> {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        });
        let call = Call {
            what: "ask what it allows",
            method: Method::POST,
            path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".into(),
            body: Some(("application/json", body.to_string().into_bytes())),
            // Nothing is made by it.
            again: Again::Always,
        };
        let answer = self.fetch(&call).await?;
        Ok(answer.pointer("/status/allowed").and_then(Value::as_bool).unwrap_or(false))
    }
}

fn attributes(right: &Right, resource: &Resource) -> Value {
    json!({
        "verb": right.verb,
        "group": resource.version.group,
        "version": resource.version.version,
        "resource": resource.plural,
        "subresource": right.part.unwrap_or_default(),
        "namespace": right.namespace.as_deref().unwrap_or_default(),
        // Requests for a namespace are in that namespace, and name it.
        "name": right.namespace.as_deref().filter(|_| right.kind.is("", "Namespace")).unwrap_or_default(),
    })
}
