//! Referrers: which manifests are about another one (distribution-spec, "Listing Referrers").

use axum::body::Body;
use axum::response::Response;
use bowline_core::digest::Digest;
use http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};

use crate::disk;
use crate::document::OCI_INDEX;
use crate::error::Refusal;
use crate::manifest;
use crate::name::Name;
use crate::router::{Asked, Registry, answer, blocking};
use crate::store::Store;

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// GET referrers, all or those of one `artifactType`. A subject that is not known has none; that is no error.
pub(crate) async fn list(
    registry: &Registry,
    name: Name,
    subject: Digest,
    asked: &Asked,
) -> Result<Response, Refusal> {
    let store = registry.store.clone();
    let kind = asked.query("artifactType").filter(|kind| !kind.is_empty());
    blocking(move || {
        let _naming = store.naming();
        let manifests = find(&store, &name, &subject, kind.as_deref())?;
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        let mut headers = vec![(header::CONTENT_TYPE, OCI_INDEX.to_owned())];
        headers.extend(kind.map(|_| (FILTERS, "artifactType".to_owned())));
        Ok(answer(StatusCode::OK, headers, Body::from(index.to_string())))
    })
    .await
}

fn find(store: &Store, name: &Name, subject: &Digest, kind: Option<&str>) -> std::io::Result<Vec<Value>> {
    let mut found = Vec::new();
    for hex in disk::names(&store.referrers(name, subject))? {
        let Ok(digest) = format!("sha256:{hex}").parse() else { continue };
        // The mark is older than the manifest, so there may be a mark alone.
        let Some(manifest) = manifest::find(store, name, &digest)? else { continue };
        let document = manifest.document()?;
        if kind.is_some_and(|kind| document.artifact_type.as_deref() != Some(kind)) {
            continue;
        }
        let mut descriptor =
            json!({"mediaType": manifest.media_type, "digest": digest, "size": manifest.bytes.len()});
        if let Some(fields) = descriptor.as_object_mut() {
            fields
                .extend(document.artifact_type.map(|kind| ("artifactType".to_owned(), Value::String(kind))));
            fields.extend(document.annotations.map(|notes| ("annotations".to_owned(), Value::Object(notes))));
        }
        found.push(descriptor);
    }
    Ok(found)
}
