//! Tags and the two lists with pages: tags of a repository, repositories of the registry.

use axum::body::Body;
use axum::response::Response;
use bowline_core::digest::Digest;
use http::{StatusCode, header};
use serde_json::json;

use crate::disk;
use crate::error::Refusal;
use crate::name::Name;
use crate::router::{Asked, Registry, answer, blocking, json};
use crate::store::Store;

/// What a tag means.
pub(crate) fn find(store: &Store, name: &Name, tag: &str) -> std::io::Result<Option<Digest>> {
    let Some(bytes) = disk::read(&store.tags(name).join(tag))? else { return Ok(None) };
    let digest = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
    digest.map(Some).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// GET tags/list.
pub(crate) async fn list(registry: &Registry, name: Name, asked: &Asked) -> Result<Response, Refusal> {
    let store = registry.store.clone();
    let page = Page::asked(asked)?;
    blocking(move || {
        if disk::metadata(&store.manifests(&name))?.is_none() {
            return Err(Refusal::UnknownName { name: name.to_string() });
        }
        let (tags, next) = page.cut(disk::names(&store.tags(&name))?);
        let response = json(&json!({"name": name.to_string(), "tags": tags}));
        Ok(link(response, next.map(|next| format!("/v2/{name}/tags/list{next}"))))
    })
    .await
}

/// GET _catalog: repositories that hold a manifest.
pub(crate) async fn list_names(registry: &Registry, asked: &Asked) -> Result<Response, Refusal> {
    let store = registry.store.clone();
    let page = Page::asked(asked)?;
    blocking(move || {
        let mut names = Vec::new();
        for name in store.names()? {
            if !disk::names(&store.manifests(&name))?.is_empty() {
                names.push(name.to_string());
            }
        }
        let (names, next) = page.cut(names);
        let response = json(&json!({"repositories": names}));
        Ok(link(response, next.map(|next| format!("/v2/_catalog{next}"))))
    })
    .await
}

/// DELETE by tag: the tag alone.
pub(crate) async fn delete(registry: &Registry, name: Name, tag: String) -> Result<Response, Refusal> {
    let store = registry.store.clone();
    blocking(move || {
        let _removing = store.removing();
        if disk::remove(&store.tags(&name).join(&tag))? {
            Ok(answer(StatusCode::ACCEPTED, Vec::new(), Body::empty()))
        } else {
            Err(Refusal::UnknownManifest { reference: tag })
        }
    })
    .await
}

fn link(mut response: Response, next: Option<String>) -> Response {
    let value = next.and_then(|next| format!("<{next}>; rel=\"next\"").try_into().ok());
    if let Some(value) = value {
        response.headers_mut().insert(header::LINK, value);
    }
    response
}

/// Which part of a sorted list is wanted (distribution-spec, "Listing Tags").
#[derive(Debug, Default)]
struct Page {
    n: Option<usize>,
    last: Option<String>,
}

impl Page {
    fn asked(asked: &Asked) -> Result<Self, Refusal> {
        let n = asked.query("n").map(|text| text.parse().map_err(|_| Refusal::InvalidNumber { text }));
        Ok(Self { n: n.transpose()?, last: asked.query("last") })
    }

    /// The entries after `last`, at most `n`, and the query for the next page where there is one.
    fn cut(&self, mut entries: Vec<String>) -> (Vec<String>, Option<String>) {
        if let Some(last) = &self.last {
            entries.retain(|entry| entry > last);
        }
        let mut next = None;
        if let Some(n) = self.n
            && entries.len() > n
        {
            entries.truncate(n);
            // Names and tags have no character that a query would have to escape.
            next = entries.last().map(|last| format!("?n={n}&last={last}"));
        }
        (entries, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_end() {
        let all = || ["a", "b", "c"].map(str::to_owned).to_vec();
        for (n, last, expected, next) in [
            (None, None, "abc", None),
            (Some(2), None, "ab", Some("?n=2&last=b")),
            (Some(2), Some("b"), "c", None),
            (Some(3), None, "abc", None),
            (Some(0), None, "", None),
            (None, Some("a"), "bc", None),
            (None, Some("aa"), "bc", None),
            (Some(5), Some("z"), "", None),
        ] {
            let page = Page { n, last: last.map(str::to_owned) };
            let (entries, link) = page.cut(all());
            assert_eq!((entries.concat().as_str(), link.as_deref()), (expected, next), "{page:?}");
        }
    }
}
