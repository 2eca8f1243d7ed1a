//! Listing tags (distribution-spec, "Content Discovery").

use bowline_core::reference::Repository;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::auth::Scope;
use super::{Call, Client, DOCUMENT_LIMIT, RegistryError, may_follow, method};

/// Tags per page: ECR refuses more than 1000.
const PAGE: usize = 1000;
/// More pages than any repository has: ECR holds 100 000 images in one.
const PAGES: usize = 2000;

impl Client {
    /// All tags of a repository, as the registry orders them. An empty list where the repository does not exist:
    /// registries make them with the first push.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let call = Call {
            registry: &repository.registry,
            repository: &repository.name,
            scope: Scope::pull(&repository.name),
            doing: format!("list the tags of {repository}"),
        };
        let mut url = self.url(call.registry, &format!("{}/tags/list?n={PAGE}", repository.name))?;
        let mut tags = Vec::new();
        for _ in 0..PAGES {
            let answer = self.send(&call, |http| method(http, Method::GET, &url)).await?;
            if answer.0.status().as_u16() == 404 && tags.is_empty() {
                return Ok(tags);
            }
            let answer = answer.accept(&call, &[200]).await?;
            let next = answer.header("link").and_then(|link| next(&url, link));
            let body = self.read_body(&call, answer.0, DOCUMENT_LIMIT).await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|_| call.protocol("answered with something else than tags"))?;
            tags.extend(page.tags.unwrap_or_default());
            match next {
                Some(next) if next != url => url = next,
                _ => return Ok(tags),
            }
        }
        Err(call.protocol("has no last page of tags"))
    }
}

/// The next page that a `Link` header names (RFC 8288): same host only.
fn next(url: &Url, link: &str) -> Option<Url> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let relation = rest.split(';').any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next"));
    let next = url.join(target).ok()?;
    (relation && next.host_str() == url.host_str() && may_follow(url, &next)).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_on_the_same_host() {
        let url = Url::parse("https://r.example/v2/chat/tags/list?n=1000").unwrap();
        let link = next(&url, "</v2/chat/tags/list?n=1000&last=b>; rel=\"next\"").unwrap();
        assert_eq!(link.as_str(), "https://r.example/v2/chat/tags/list?n=1000&last=b");
        assert!(next(&url, "<https://evil.example/>; rel=\"next\"").is_none());
        assert!(next(&url, "</v2/x>; rel=\"prev\"").is_none());
    }
}
