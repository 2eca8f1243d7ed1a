//! What this login may do.

use std::collections::BTreeSet;

use bowline_core::kube::preflight::Right;
use futures_util::future::try_join_all;
use http::Method;
use serde_json::{Value, json};

use crate::call::{Again, Call};
use crate::cluster::Cluster;
use crate::discovery::Catalog;
use crate::error::KubeError;

impl Cluster {
    /// Which of these rights the login does not have: one question for each, many at once. Kinds that the catalog does not
    /// know are left out: what does not exist cannot be denied.
    pub async fn denied(
        &self,
        catalog: &Catalog,
        rights: &BTreeSet<Right>,
    ) -> Result<BTreeSet<Right>, KubeError> {
        let ask = async |right: &Right| {
            let Some(resource) = catalog.any(&right.kind) else { return Ok(None) };
            let allowed = self.ask_right(right, &resource.plural, &resource.version.version).await?;
            Ok::<_, KubeError>((!allowed).then(|| right.clone()))
        };
        Ok(try_join_all(rights.iter().map(ask)).await?.into_iter().flatten().collect())
    }

    async fn ask_right(&self, right: &Right, plural: &str, version: &str) -> Result<bool, KubeError> {
        let what = format!("ask whether it is allowed to {right}");
        let call = Call {
            what: &what,
            method: Method::POST,
            path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".into(),
            body: Some(("application/json", review(right, plural, version).to_string().into_bytes())),
            // It is a question, whatever its verb.
            again: Again::Always,
        };
        let answer = self.fetch(&call).await?;
        Ok(answer.pointer("/status/allowed").and_then(Value::as_bool).unwrap_or(false))
    }
}

fn review(right: &Right, plural: &str, version: &str) -> Value {
    let mut attributes = json!({
        "verb": right.verb, "group": right.kind.group, "version": version, "resource": plural,
    });
    if let Some(map) = attributes.as_object_mut() {
        let parts = [("namespace", right.namespace.as_deref()), ("subresource", right.part)];
        for (field, value) in parts {
            map.extend(value.map(|value| (field.to_owned(), json!(value))));
        }
    }
    json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    })
}

#[cfg(test)]
mod tests {
    use bowline_core::kube::object::Kind;

    use super::*;

    #[test]
    fn a_right_is_a_question_with_only_what_it_names() {
        let right = |part, namespace: Option<&str>| Right {
            verb: "get",
            kind: Kind::new("", "Pod"),
            part,
            namespace: namespace.map(str::to_owned),
        };
        let attributes = |right: &Right| review(right, "pods", "v1")["spec"]["resourceAttributes"].clone();
        assert_eq!(
            attributes(&right(Some("log"), Some("chat"))),
            json!({"verb": "get", "group": "", "version": "v1", "resource": "pods", "namespace": "chat",
                "subresource": "log"})
        );
        assert_eq!(
            attributes(&right(None, None)),
            json!({"verb": "get", "group": "", "version": "v1", "resource": "pods"})
        );
    }
}
