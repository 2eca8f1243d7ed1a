//! Repository names and manifest references, as they stand in a URL.

use std::fmt;
use std::path::PathBuf;

use bowline_core::digest::Digest;
use bowline_core::reference::is_tag;

/// The longest name taken: what clients allow for host and name together (distribution-spec, "Pulling manifests").
const NAME_LENGTH: usize = 255;

/// A repository's name: lower-case components, any number of them, between slashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(String);

impl Name {
    /// The name, if the distribution-spec's grammar has it: components of `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text.len() <= NAME_LENGTH && text.split('/').all(is_component)).then(|| Self(text.to_owned()))
    }

    /// The name as a path below the store. No component can be `..`, absolute, or begin with the `_` of our own folders.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_component(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut rest = text;
    loop {
        let after = rest.trim_start_matches(word);
        if after.len() == rest.len() {
            return false;
        }
        let next = after.trim_start_matches(|c| !word(c));
        let separator = after.strip_suffix(next).unwrap_or("");
        let separates = matches!(separator, "." | "_" | "__")
            || (!separator.is_empty() && separator.chars().all(|c| c == '-'));
        match (after.is_empty(), separates) {
            (true, _) => return true,
            (false, false) => return false,
            (false, true) => rest = next,
        }
    }
}

/// How a URL names a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    Tag(String),
    Digest(Digest),
}

impl Reference {
    /// The reference, if the text is a tag or a digest. Tags have no colon, so nothing is both.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(digest) => Some(Self::Digest(digest)),
            Err(_) => is_tag(text).then(|| Self::Tag(text.to_owned())),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for text in
            ["a", "chat", "a/b/c/d/e/f/g", "a.b", "a_b", "a__b", "a-b", "a---b", "0/1", "main-service_user"]
        {
            assert!(Name::parse(text).is_some(), "{text}");
        }
        let long = "a".repeat(256);
        for text in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "..", ".", "a/../b", "_a", "a_", "a___b", "-a", "a-",
            "a._b", "a b", "a/_tags", "ä", "a\n", "a%2fb", &long,
        ] {
            assert!(Name::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn references_are_tags_or_digests() {
        assert!(matches!(Reference::parse("user_v5.0.2-b321acf"), Some(Reference::Tag(_))));
        assert!(matches!(Reference::parse(&Digest::of(b"").to_string()), Some(Reference::Digest(_))));
        for text in ["", "..", ".a", "-a", "a:b", "sha256:12", "a b", "a/b"] {
            assert!(Reference::parse(text).is_none(), "{text:?}");
        }
    }
}
