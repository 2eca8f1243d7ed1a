//! Secrets that manifests refer to and git does not hold: made from the team's own sources at each deploy.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bowline_core::kube::object::{Manifest, ObjectId, Origin};
use serde_json::{Map, Value, json};

use super::site::Site;
use crate::error::{Failure, Outcome};

/// A Secret of ours, and where in it the values stand that are kept nowhere else.
pub(super) struct Made {
    pub(super) manifest: Manifest,
    pub(super) withheld: BTreeSet<String>,
}

/// Makes the Secrets that the target's configuration describes. `directory` is the configuration's.
///
/// # Errors
/// When a source does not give its value. The value itself is in no error.
pub(super) fn make(site: &Site, directory: &std::path::Path) -> Outcome<Vec<Made>> {
    let (mut made, mut wrong) = (Vec::new(), Vec::new());
    for (name, source) in &site.target.secrets {
        let namespace = source.namespace.clone().unwrap_or_else(|| site.namespace.clone());
        let mut data = Map::new();
        let mut withheld = BTreeSet::new();
        for (key, secret) in &source.data {
            match secret.read(directory) {
                Ok(value) => drop(data.insert(key.clone(), Value::String(STANDARD.encode(value)))),
                Err(failure) => wrong.push(format!("Secret {namespace}/{name}, key {key}: {failure}")),
            }
            withheld.insert(format!("/data/{}", key.replace('~', "~0").replace('/', "~1")));
        }
        let value = json!({
            "apiVersion": "v1", "kind": "Secret", "type": source.kind,
            "metadata": {"name": name, "namespace": namespace}, "data": data,
        });
        let manifest = Manifest {
            id: ObjectId::namespaced("", "Secret", &namespace, name),
            version: "v1".into(),
            value,
            origin: Origin { file: crate::config::FILE.into(), line: 1, column: 1 },
        };
        made.push(Made { manifest, withheld });
    }
    if wrong.is_empty() {
        return Ok(made);
    }
    Err(Failure::invalid(format!("the secrets of {} cannot be read", site.target.name))
        .detail(wrong)
        .hint(format!("nothing was touched; see [targets.{}.secrets] in bowline.toml", site.target.name)))
}
