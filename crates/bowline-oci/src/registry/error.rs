//! What can go wrong between here and a registry.

use std::time::Duration;

use bowline_core::digest::Digest;

use crate::credential::CredentialError;
use crate::manifest::InvalidManifest;
use crate::store::StoreError;

/// Why a registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The client could not be set up.
    #[error("could not set up the HTTP client")]
    Setup(#[source] reqwest::Error),
    /// No connection, or one that broke.
    #[error("could not {doing}: the connection to {registry} failed")]
    Transport {
        /// What was attempted, on what.
        doing: String,
        /// The registry's host.
        registry: String,
        /// Why it failed.
        #[source]
        source: reqwest::Error,
    },
    /// Nothing moved for too long.
    #[error("could not {doing}: {registry} did nothing for {} s", idle.as_secs())]
    Timeout {
        /// What was attempted, on what.
        doing: String,
        /// The registry's host.
        registry: String,
        /// How long was waited.
        idle: Duration,
    },
    /// The registry wants a login that it accepts.
    #[error("could not {doing}: {registry} {}", if *.anonymous { "wants a login, and there is none" } else { "does not accept the login" })]
    Unauthorized {
        /// What was attempted, on what.
        doing: String,
        /// The registry's host.
        registry: String,
        /// Whether no login was found.
        anonymous: bool,
    },
    /// The login may not do this.
    #[error("could not {doing}: {registry} forbids it to this login{}", said(.message))]
    Denied {
        /// What was attempted, on what.
        doing: String,
        /// The registry's host.
        registry: String,
        /// What the registry said.
        message: String,
    },
    /// There is no such thing.
    #[error("could not {doing}: {registry} does not have it{}", said(.message))]
    NotFound {
        /// What was attempted, on what.
        doing: String,
        /// The registry's host.
        registry: String,
        /// What the registry said.
        message: String,
    },
    /// Any other answer.
    #[error("could not {doing}: {registry} answered {status}{}", said(.message))]
    Status {
        /// What was attempted, on what.
        doing: String,
        /// The registry's host.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// What the registry said.
        message: String,
    },
    /// An answer that makes no sense.
    #[error("could not {doing}: {registry} {problem}")]
    Protocol {
        /// What was attempted, on what.
        doing: String,
        /// The registry's host.
        registry: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The tag is taken.
    #[error("the tag {reference} exists with other content ({present}, not {wanted})")]
    Taken {
        /// The tag.
        reference: String,
        /// What it names.
        present: Digest,
        /// What it was to name.
        wanted: Digest,
    },
    /// What came is not what was asked for.
    #[error("{reference} came with the digest {actual}: it was changed on the way")]
    Mismatch {
        /// What was asked for.
        reference: String,
        /// What came.
        actual: Digest,
    },
    /// A manifest that is not understood.
    #[error("could not understand {reference}")]
    Manifest {
        /// Which.
        reference: String,
        /// Why not.
        #[source]
        source: InvalidManifest,
    },
    /// An index without an image for the platform.
    #[error("{reference} has no image for {platform}")]
    Platform {
        /// Which.
        reference: String,
        /// The platform.
        platform: String,
    },
    /// The login could not be found out.
    #[error("could not find the login for {registry}")]
    Credential {
        /// The registry's host.
        registry: String,
        /// Why not.
        #[source]
        source: CredentialError,
    },
    /// The store failed.
    #[error("could not {doing}: the image cache failed")]
    Store {
        /// What was attempted, on what.
        doing: String,
        /// Why.
        #[source]
        source: StoreError,
    },
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

impl RegistryError {
    /// Whether a manifest was refused because a blob of it is not there (code `MANIFEST_BLOB_UNKNOWN` of the OCI
    /// distribution specification).
    pub(super) fn lacks_blob(&self) -> bool {
        let (Self::Status { message, .. } | Self::NotFound { message, .. }) = self else { return false };
        message.contains("MANIFEST_BLOB_UNKNOWN")
    }

    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unauthorized { registry, .. } if crate::ecr::region(registry).is_some() => {
                Some("give AWS access by environment, profile, instance role or OIDC; `bowline doctor` says what is found".into())
            }
            Self::Unauthorized { registry, .. } => Some(format!("run `docker login {registry}`")),
            Self::Denied { .. } => Some("the login needs the rights to pull from and push to this repository".into()),
            Self::Taken { .. } => {
                Some("a released version is never changed: release the next one".into())
            }
            Self::Transport { registry, source, .. } if source.is_connect() => {
                Some(format!("check that {registry} is the right registry and can be reached from here"))
            }
            Self::Credential { source, .. } => source.hint(),
            Self::Store { source, .. } => source.hint().map(str::to_owned),
            _ => None,
        }
    }

    /// Whether there was no connection at all.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Transport { source, .. } if source.is_connect())
    }

    /// Whether the same request may be answered otherwise in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Timeout { .. } => true,
            Self::Status { status, .. } => is_passing(*status),
            _ => false,
        }
    }
}

/// Answers that say "not now": overload, limits and broken gateways.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504 | 522 | 524)
}

/// What a registry said about an error, fit to be shown: `errors[].message` of the distribution specification
/// ("Error Codes"), or the start of the body; control characters escaped.
pub(crate) fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let text = match serde_json::from_slice::<Body>(body) {
        Ok(body) if !body.errors.is_empty() => {
            let entry = |entry: &Entry| format!("{}: {}", entry.code, entry.message);
            body.errors.iter().map(entry).collect::<Vec<_>>().join("; ")
        }
        _ => String::from_utf8_lossy(body).trim().to_owned(),
    };
    let text: String = text.chars().take(300).collect();
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_say_is_shown_without_control_characters() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no \u001b[31mway"}]}"#;
        assert_eq!(message(body), "DENIED: no \\u{1b}[31mway");
        assert_eq!(message(b"<html>"), "<html>");
        assert_eq!(message(b""), "");
        assert!(message(&[b'x'; 5000]).len() <= 300);
    }
}
