//! Image references: `[registry/]repository[:tag][@digest]`, as the distribution project defines them
//! (distribution/reference, `reference.go`; tag and repository grammar also in distribution-spec, "Pulling manifests").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The longest tag that registries take (distribution-spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`).
pub const TAG_LENGTH: usize = 128;

/// Whether a text is a legal image tag.
pub fn is_tag(text: &str) -> bool {
    text.len() <= TAG_LENGTH
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// A place in a registry that holds images: `registry/name`, e.g. `127.0.0.1:5000/chat`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    /// Host, with a port where one is given: `docker.io`, `127.0.0.1:5000`.
    pub registry: String,
    /// The path below it, e.g. `library/nginx`.
    pub name: String,
}

/// A named image. Without tag and digest it means `:latest`, as everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Where it is kept.
    pub repository: Repository,
    /// Its tag, as written.
    pub tag: Option<String>,
    /// Its manifest's digest, as written.
    pub digest: Option<Digest>,
}

/// Why a text is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct InvalidReference {
    text: String,
    reason: &'static str,
}

impl Repository {
    /// Whether the registry is on this machine's loopback, where engines and clients speak plain HTTP.
    pub fn is_loopback(&self) -> bool {
        let host = self.registry.rsplit_once(':').map_or(self.registry.as_str(), |(host, _)| host);
        host == "localhost" || host.starts_with("127.") || host == "[::1]"
    }

    /// The image in it with this tag.
    pub fn tagged(&self, tag: &str) -> Reference {
        Reference { repository: self.clone(), tag: Some(tag.into()), digest: None }
    }

    /// The image in it with this manifest digest.
    pub fn at(&self, digest: Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest) }
    }
}

impl Reference {
    /// The tag that counts: the written one, else `latest` where there is no digest either.
    pub fn effective_tag(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, None) => Some("latest"),
            (None, Some(_)) => None,
        }
    }

    /// Whether both name one image: `x` is `docker.io/library/x:latest`.
    pub fn is_same_image(&self, other: &Self) -> bool {
        self.repository == other.repository
            && self.effective_tag() == other.effective_tag()
            && self.digest == other.digest
    }

    /// The short form in which Docker shows it: `docker.io/library/` and `docker.io/` are left out.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        full.strip_prefix("docker.io/library/")
            .or_else(|| full.strip_prefix("docker.io/"))
            .unwrap_or(&full)
            .into()
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

fn is_name(name: &str) -> bool {
    let component = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-'))
    };
    name.len() <= 255 && !name.is_empty() && name.split('/').all(component)
}

fn is_registry(host: &str) -> bool {
    host.contains(['.', ':']) || host == "localhost"
}

impl FromStr for Repository {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| InvalidReference { text: text.chars().take(300).collect(), reason };
        let (registry, name) = match text.split_once('/') {
            Some((host, rest)) if is_registry(host) => (host, rest.to_owned()),
            Some(_) => ("docker.io", text.to_owned()),
            None => ("docker.io", format!("library/{text}")),
        };
        let (registry, name) = match registry {
            "index.docker.io" => ("docker.io", name),
            other => (other, name),
        };
        let name =
            if registry == "docker.io" && !name.contains('/') { format!("library/{name}") } else { name };
        if !registry.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '[' | ']')) {
            return Err(invalid("the registry's host holds a character that no host has"));
        }
        if !is_name(&name) {
            return Err(invalid("repository names are lower-case letters, digits and . _ - between slashes"));
        }
        Ok(Self { registry: registry.into(), name })
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| InvalidReference { text: text.chars().take(300).collect(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| invalid("the part after @ is no sha256 digest"))?))
            }
            None => (text, None),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => {
                if !is_tag(tag) {
                    return Err(invalid("the tag holds a character that tags cannot have, or is too long"));
                }
                (repository, Some(tag.to_owned()))
            }
            _ => (rest, None),
        };
        let repository = repository
            .parse()
            .map_err(|InvalidReference { reason, .. }: InvalidReference| invalid(reason))?;
        Ok(Self { repository, tag, digest })
    }
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
serde_as_text!(Repository);
serde_as_text!(Reference);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised_as_docker_does() {
        let zero = format!("sha256:{}", "0".repeat(64));
        for (text, full) in [
            ("nginx", "docker.io/library/nginx".to_owned()),
            ("nginx:1.27", "docker.io/library/nginx:1.27".into()),
            ("docker.io/nginx", "docker.io/library/nginx".into()),
            ("main-service_user:latest", "docker.io/library/main-service_user:latest".into()),
            ("org/app", "docker.io/org/app".into()),
            ("127.0.0.1:5000/chat:user_v5.0.2-b321acf", "127.0.0.1:5000/chat:user_v5.0.2-b321acf".into()),
            ("localhost/chat", "localhost/chat".into()),
            (&format!("ghcr.io/a/b@{zero}"), format!("ghcr.io/a/b@{zero}")),
            (&format!("ghcr.io/a/b:t@{zero}"), format!("ghcr.io/a/b:t@{zero}")),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), full);
        }
    }

    #[test]
    fn what_is_no_reference_says_why() {
        for text in
            ["", "UPPER/case", "a b", "a:bad tag", "a@sha256:1", "a//b", &format!("a:{}", "x".repeat(129))]
        {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn familiar_names_are_short() {
        assert_eq!("docker.io/library/nginx:1".parse::<Reference>().unwrap().familiar(), "nginx:1");
        assert_eq!("ghcr.io/a/b".parse::<Reference>().unwrap().familiar(), "ghcr.io/a/b");
    }
}
