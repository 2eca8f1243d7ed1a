//! Services: what a repository builds and a target runs.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::reference::{TAG_LENGTH, is_tag};

/// The longest version that is planned for: three numbers of five digits and a whole SHA-1 commit id behind the `v`.
/// Suffixes are the shortest prefix of a commit id that will do, so that real ones are much shorter.
pub const LONGEST_VERSION: &str = "99999.99999.99999-ffffffffffffffffffffffffffffffffffffffff";

/// The name of a service: letters, digits and `.` `_` `-`, not starting with `.` or `-`, so that it is a Compose
/// service name (compose-spec, 05-services) and can begin an image tag (distribution-spec, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(String);

/// Why a text is no service name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServiceName {
    /// There is nothing.
    #[error("a service needs a name")]
    Empty,
    /// It starts with `.`, `-` or something that no name holds.
    #[error("a service name starts with a letter, a digit or `_`, not with `{0}`")]
    Start(char),
    /// It holds something that no image tag holds.
    #[error("a service name holds letters, digits and `.` `_` `-`, but no `{0}`")]
    Character(char),
    /// It is too long to be part of a tag.
    #[error("a service name has at most {TAG_LENGTH} characters")]
    Long,
}

impl ServiceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let Some(first) = text.chars().next() else { return Err(InvalidServiceName::Empty) };
        if let Some(odd) = text.chars().find(|c| !legal(*c)) {
            return Err(InvalidServiceName::Character(odd));
        }
        if matches!(first, '.' | '-') {
            return Err(InvalidServiceName::Start(first));
        }
        if text.len() > TAG_LENGTH {
            return Err(InvalidServiceName::Long);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for ServiceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for ServiceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ServiceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How a service and a version make an image tag, and how they are told apart again: `{service}_{tag}` by default.
///
/// Between the two there is at least one `_`. No version holds one, so that a tag is split at the last place where
/// the separator stands and both halves are compared whole: `user_v5.0.2` is neither `user_v5.0.21` nor
/// `super-user_v5.0.2`, and a bare `v5.0.2` is never a service's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagTemplate {
    text: String,
    before: String,
    between: String,
    /// Whether the version is written with its `v`: `{tag}` rather than `{version}`.
    with_v: bool,
}

/// Why a text is no tag template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// `{service}` is missing, or stands there twice.
    #[error("a tag template names `{{service}}` once")]
    Service,
    /// It does not end in the version.
    #[error(
        "a tag template ends in `{{tag}}` or `{{version}}`, and names one of them once, behind `{{service}}`"
    )]
    Version,
    /// Service and version could not be told apart.
    #[error(
        "a tag template has a `_` between `{{service}}` and the version, so that the two can be told apart"
    )]
    Separator,
    /// Something in it that no tag holds.
    #[error("`{0}` cannot be part of an image tag: letters, digits and `.` `_` `-` can")]
    Character(char),
}

impl TagTemplate {
    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The image tag of a service at a version. `version` is without the `v`: `5.0.2-b321acf`.
    /// It can be longer than a registry takes, [`is_tag`] tells.
    pub fn render(&self, service: &ServiceName, version: &str) -> String {
        let v = if self.with_v { "v" } else { "" };
        format!("{}{service}{}{v}{version}", self.before, self.between)
    }

    /// The service and the version (without the `v`) of an image tag of this form; nothing for a tag of another form.
    /// Whether the version is one is for the caller to see.
    pub fn parse<'t>(&self, tag: &'t str) -> Option<(ServiceName, &'t str)> {
        let (service, version) = tag.strip_prefix(&self.before)?.rsplit_once(&self.between)?;
        let version = if self.with_v { version.strip_prefix('v')? } else { version };
        (!version.is_empty() && !version.contains('_')).then_some((service.parse().ok()?, version))
    }

    /// Whether every thinkable version of the service makes a legal tag.
    pub fn fits(&self, service: &ServiceName) -> bool {
        is_tag(&self.render(service, LONGEST_VERSION))
    }
}

impl Default for TagTemplate {
    fn default() -> Self {
        Self { text: "{service}_{tag}".into(), before: String::new(), between: "_".into(), with_v: true }
    }
}

impl fmt::Display for TagTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for TagTemplate {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (before, rest) = text.split_once("{service}").ok_or(InvalidTemplate::Service)?;
        if rest.contains("{service}") {
            return Err(InvalidTemplate::Service);
        }
        let (between, with_v) = match (rest.strip_suffix("{tag}"), rest.strip_suffix("{version}")) {
            (Some(between), _) => (between, true),
            (None, Some(between)) => (between, false),
            (None, None) => return Err(InvalidTemplate::Version),
        };
        if [before, between].iter().any(|part| part.contains("{tag}") || part.contains("{version}")) {
            return Err(InvalidTemplate::Version);
        }
        let odd = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if let Some(odd) = before.chars().chain(between.chars()).find(odd) {
            return Err(InvalidTemplate::Character(odd));
        }
        if let Some(first @ ('.' | '-')) = before.chars().next() {
            return Err(InvalidTemplate::Character(first));
        }
        if !between.contains('_') {
            return Err(InvalidTemplate::Separator);
        }
        Ok(Self { text: text.into(), before: before.into(), between: between.into(), with_v })
    }
}

/// What one target needs differently for one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceOverride {
    /// Environment values set or replaced.
    pub env: BTreeMap<String, String>,
    /// The most memory, in bytes.
    pub memory: Option<u64>,
    /// The most processor time, in processors.
    pub cpus: Option<f64>,
    /// How many containers.
    pub replicas: Option<u32>,
    /// `Some(false)`: it does not run there.
    pub enabled: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    #[test]
    fn names_that_compose_and_tags_take_are_taken() {
        for text in ["user", "user-server", "User.2", "_x", "0", "a_b"] {
            assert_eq!(name(text).as_str(), text);
        }
    }

    #[test]
    fn names_that_cannot_begin_a_tag_say_why() {
        for (text, reason) in [
            ("", InvalidServiceName::Empty),
            ("-x", InvalidServiceName::Start('-')),
            (".x", InvalidServiceName::Start('.')),
            ("a b", InvalidServiceName::Character(' ')),
            ("a/b", InvalidServiceName::Character('/')),
            ("ä", InvalidServiceName::Character('ä')),
            (&"x".repeat(129), InvalidServiceName::Long),
        ] {
            assert_eq!(text.parse::<ServiceName>(), Err(reason), "{text:?}");
        }
    }

    #[test]
    fn tags_are_split_at_the_last_separator_and_compared_whole() {
        let template = TagTemplate::default();
        for (tag, expected) in [
            ("user_v5.0.2-b321acf", Some(("user", "5.0.2-b321acf"))),
            ("user_v5.0.21", Some(("user", "5.0.21"))),
            ("super-user_v5.0.2", Some(("super-user", "5.0.2"))),
            ("a_b_v1.2.3", Some(("a_b", "1.2.3"))),
            ("v5.0.2-b321acf", None),
            ("user_5.0.2", None),
            ("user_v", None),
            ("_v1.0.0", None),
        ] {
            let expected = expected.map(|(service, version)| (name(service), version));
            assert_eq!(template.parse(tag), expected, "{tag}");
        }
    }

    #[test]
    fn what_a_template_renders_it_parses() {
        for text in
            ["{service}_{tag}", "{service}_{version}", "eu.{service}__{version}", "x_{service}-_{tag}"]
        {
            let template: TagTemplate = text.parse().unwrap();
            for service in ["user", "a_b", "x-y.z"] {
                let tag = template.render(&name(service), "5.0.2-b321acf");
                assert_eq!(template.parse(&tag), Some((name(service), "5.0.2-b321acf")), "{text} {tag}");
            }
        }
    }

    #[test]
    fn templates_whose_tags_could_not_be_read_again_are_refused() {
        for (text, reason) in [
            ("{tag}", InvalidTemplate::Service),
            ("{service}{service}_{tag}", InvalidTemplate::Service),
            ("{service}", InvalidTemplate::Version),
            ("{tag}_{service}", InvalidTemplate::Version),
            ("{version}{service}_{tag}", InvalidTemplate::Version),
            ("{service}-{tag}", InvalidTemplate::Separator),
            ("{service}_+{tag}", InvalidTemplate::Character('+')),
            ("-{service}_{tag}", InvalidTemplate::Character('-')),
        ] {
            assert_eq!(text.parse::<TagTemplate>(), Err(reason), "{text}");
        }
    }

    #[test]
    fn a_service_name_leaves_room_for_the_longest_version() {
        let template = TagTemplate::default();
        let room = TAG_LENGTH - template.render(&name("x"), LONGEST_VERSION).len() + 1;
        assert!(template.fits(&name(&"x".repeat(room))));
        assert!(!template.fits(&name(&"x".repeat(room + 1))));
    }
}
