//! What a repository holds, read off its tags: `{service}_{tag}` are images, a bare tag is a release's record.
//!
//! Names are compared whole. A release tag has no `_`, so the last one separates it from the service:
//! `super-user_v5.0.2` is not the `user` of `v5.0.2`, and `user_v5.0.21` is not of it either.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::reference::Repository;

use crate::registry::{Client, RegistryError};

/// What the tags of a repository say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Tags without a service.
    pub bare: BTreeSet<String>,
    /// Per tag, the services that have an image of it.
    pub images: BTreeMap<String, BTreeSet<String>>,
}

/// Service and tag of an image's tag; `None` where it is none.
pub fn split(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once('_').filter(|(service, tag)| !service.is_empty() && !tag.is_empty())
}

/// Sorts tags into what they say.
pub fn fold<T: AsRef<str>>(tags: impl IntoIterator<Item = T>) -> Listing {
    let mut listing = Listing::default();
    for text in tags {
        let text = text.as_ref();
        match split(text) {
            Some((service, tag)) => {
                listing.images.entry(tag.to_owned()).or_default().insert(service.to_owned());
            }
            None => {
                listing.bare.insert(text.to_owned());
            }
        }
    }
    listing
}

/// Lists a repository.
pub async fn list(client: &Client, repository: &Repository) -> Result<Listing, RegistryError> {
    client.tags(repository).await.map(fold)
}

impl Listing {
    /// Which of these services have no image under this tag.
    pub fn missing<'a>(&self, tag: &str, services: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let there = self.images.get(tag);
        let lacks = |service: &&str| !there.is_some_and(|there| there.contains(*service));
        services.into_iter().filter(lacks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_services_are_compared_whole() {
        let listing = fold([
            "user_v5.0.2",
            "user_v5.0.21",
            "super-user_v5.0.2",
            "a_b_v5.0.2",
            "v5.0.2",
            "latest",
            "_x",
        ]);
        let services: Vec<&str> = listing.images["v5.0.2"].iter().map(String::as_str).collect();
        assert_eq!(services, ["a_b", "super-user", "user"]);
        assert_eq!(listing.images["v5.0.21"].len(), 1);
        assert_eq!(listing.bare, ["_x", "latest", "v5.0.2"].map(String::from).into());
        assert_eq!(listing.missing("v5.0.21", ["user", "super-user"]), ["super-user"]);
        assert_eq!(listing.missing("v5.0", ["user"]), ["user"]);
    }
}
