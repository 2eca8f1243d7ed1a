//! What identifies an image.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Operating system and processor of an image, in the words of the OCI image index
/// (image-spec, image-index.md, "platform"): `linux/amd64`, `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// `GOOS`, e.g. `linux`.
    pub os: String,
    /// `GOARCH`, e.g. `amd64`.
    pub architecture: String,
    /// The CPU variant, e.g. `v8`, where one is named.
    pub variant: Option<String>,
}

impl Platform {
    /// A Linux platform from the machine name that the kernel and Docker's `/info` use (`x86_64`, `aarch64`)
    /// or from a `GOARCH`.
    pub fn linux(machine: &str) -> Self {
        let architecture = match machine {
            "x86_64" => "amd64",
            "aarch64" | "arm64" => "arm64",
            "armv7l" | "armv6l" => "arm",
            "i386" | "i686" => "386",
            other => other,
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// Whether an image of this platform runs on a machine of that one. A variant counts only where both name one,
    /// and `arm64` without a variant is `arm64/v8`.
    pub fn runs_on(&self, machine: &Self) -> bool {
        self.os == machine.os
            && self.architecture == machine.architecture
            && match (&self.variant, &machine.variant) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => true,
            }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// Why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform of the form os/architecture[/variant]")]
pub struct InvalidPlatform(String);

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(os), Some(architecture), variant, None)
                if !os.is_empty() && !architecture.is_empty() && variant.as_deref() != Some("") =>
            {
                Ok(Self { os, architecture, variant })
            }
            _ => Err(InvalidPlatform(text.into())),
        }
    }
}

impl Serialize for Platform {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An image, named for every kind of engine: the classic store knows it by its config's digest, the containerd
/// store by its manifest's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageId {
    /// The digest of the image manifest: what registries serve and `repository@sha256:…` names.
    pub manifest: Digest,
    /// The digest of the image config: what `docker images --no-trunc` shows on the classic store.
    pub config: Digest,
    /// Where it runs.
    pub platform: Platform,
}

impl ImageId {
    /// Whether an engine's own id of an image (its config or its manifest digest) means this image.
    pub fn is(&self, engine_id: &Digest) -> bool {
        self.config == *engine_id || self.manifest == *engine_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_round_trip() {
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/", "a/b/c/d"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_image_without_variant_runs_on_any_variant() {
        let machine = Platform::linux("aarch64");
        assert!("linux/arm64/v8".parse::<Platform>().unwrap().runs_on(&machine));
        assert!(!"linux/amd64".parse::<Platform>().unwrap().runs_on(&machine));
    }
}
