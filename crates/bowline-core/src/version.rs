//! Version numbers: three numbers, compared as numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bump::Bump;

/// A numeric core `MAJOR.MINOR.PATCH` (semver.org 2.0.0, item 2): each part is 0 or has no leading zero, and fits
/// 64 bits. It orders by number, so that 5.0.10 comes after 5.0.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version {
    /// Rises when something incompatible changed.
    pub major: u64,
    /// Rises when something was added.
    pub minor: u64,
    /// Rises with every other release.
    pub patch: u64,
}

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version of the form MAJOR.MINOR.PATCH")]
pub struct InvalidVersion(String);

impl Version {
    /// The version with these parts.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self { major, minor, patch }
    }

    /// The version that follows; `None` when a part would exceed 64 bits.
    pub fn next(self, bump: Bump) -> Option<Self> {
        let Self { major, minor, patch } = self;
        Some(match bump {
            Bump::Major => Self::new(major.checked_add(1)?, 0, 0),
            Bump::Minor => Self::new(major, minor.checked_add(1)?, 0),
            Bump::Patch => Self::new(major, minor, patch.checked_add(1)?),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.').map(number);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
                Ok(Self::new(major, minor, patch))
            }
            _ => Err(InvalidVersion(text.chars().take(100).collect())),
        }
    }
}

/// A part of a version: digits only (`u64::from_str` would take a sign), no leading zero, 64 bits.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if digits && !padded { text.parse().ok() } else { None }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_three_plain_numbers_is_refused() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.02.3",
            "1.2.03",
            "v1.2.3",
            "1.2.-3",
            "1.2.+3",
            "1..3",
            " 1.2.3",
            "1.2.3 ",
            "1.2.x",
            "1.2.18446744073709551616",
            "１.2.3",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        let parse = |text: &str| text.parse::<Version>().unwrap();
        assert!(parse("5.0.10") > parse("5.0.2"));
        assert!(parse("10.0.0") > parse("9.99.99"));
    }

    #[test]
    fn the_largest_number_has_no_successor() {
        let last = Version::new(u64::MAX, u64::MAX, u64::MAX);
        assert_eq!(last.next(Bump::Major), None);
        assert_eq!(last.next(Bump::Patch), None);
    }

    proptest! {
        #[test]
        fn text_and_version_round_trip(major: u64, minor: u64, patch: u64) {
            let version = Version::new(major, minor, patch);
            prop_assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        }

        #[test]
        fn every_bump_rises_and_a_higher_bump_rises_further(major in 0..1000u64, minor in 0..1000u64, patch in 0..1000u64) {
            let version = Version::new(major, minor, patch);
            let next = |bump| version.next(bump).unwrap();
            prop_assert!(version < next(Bump::Patch));
            prop_assert!(next(Bump::Patch) < next(Bump::Minor));
            prop_assert!(next(Bump::Minor) < next(Bump::Major));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Version>();
        }
    }
}
