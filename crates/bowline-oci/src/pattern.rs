//! Two kinds of patterns over slash-separated paths: those of `COPY` sources (Go's `path/filepath.Match`) and
//! those of `.dockerignore` (moby/patternmatcher: the same and `**`).

/// One piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This character.
    Literal(char),
    /// `?`: any character but a slash.
    One,
    /// `*`: any number of characters but slashes.
    Many,
    /// `**`: anything at all.
    Anything,
    /// `**/`: nothing, or anything that ends in a slash.
    Directories,
    /// `[a-z]`: one of these, or with `^` none of these; never a slash.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid pattern")]
pub struct InvalidPattern(String);

impl InvalidPattern {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.chars().take(200).collect())
    }
}

impl Pattern {
    /// A pattern of `COPY`: no `**`.
    pub fn source(text: &str) -> Result<Self, InvalidPattern> {
        Self::parse(text, false)
    }

    /// A pattern of `.dockerignore`, without its `!`, cleaned as a path.
    pub fn ignore(text: &str) -> Result<Self, InvalidPattern> {
        Self::parse(text, true)
    }

    fn parse(text: &str, double_star: bool) -> Result<Self, InvalidPattern> {
        let invalid = || InvalidPattern::new(text);
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            tokens.push(match char {
                '*' if double_star && chars.peek() == Some(&'*') => {
                    chars.next();
                    if chars.peek() == Some(&'/') {
                        chars.next();
                        Token::Directories
                    } else {
                        Token::Anything
                    }
                }
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => Token::Literal(chars.next().ok_or_else(invalid)?),
                '[' => class(&mut chars).ok_or_else(invalid)?,
                other => Token::Literal(other),
            });
        }
        // `**/` at the end means what `**` means: Docker treats both as "everything below".
        if let Some(last @ Token::Directories) = tokens.last_mut() {
            *last = Token::Anything;
        }
        Ok(Self { tokens })
    }

    /// Whether the whole path matches. Takes time proportional to pattern times path, whatever the pattern.
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        // reached[i]: the tokens so far can have consumed the first i characters.
        let mut reached = vec![false; path.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        for token in &self.tokens {
            reached = advance(token, &path, &reached);
        }
        reached.last().copied().unwrap_or(false)
    }
}

fn advance(token: &Token, path: &[char], reached: &[bool]) -> Vec<bool> {
    let mut next = vec![false; reached.len()];
    let mut flowing = false;
    for (at, slot) in next.iter_mut().enumerate() {
        let here = reached.get(at).copied().unwrap_or(false);
        let previous = at.checked_sub(1).and_then(|at| path.get(at)).copied();
        let before = at.checked_sub(1).and_then(|at| reached.get(at)).copied().unwrap_or(false);
        *slot = match token {
            Token::Literal(wanted) => before && previous == Some(*wanted),
            Token::One => before && previous.is_some_and(|c| c != '/'),
            Token::Class { negated, ranges } => {
                before
                    && previous.is_some_and(|c| {
                        c != '/' && *negated != ranges.iter().any(|(low, high)| (*low..=*high).contains(&c))
                    })
            }
            Token::Many => {
                flowing = here || (flowing && previous.is_some_and(|c| c != '/'));
                flowing
            }
            Token::Anything => {
                flowing |= here;
                flowing
            }
            Token::Directories => {
                // `flowing` is whether the token began further left.
                let ends = flowing && previous == Some('/');
                flowing |= here;
                here || ends
            }
        };
    }
    next
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if chars.peek() == Some(&']') && !ranges.is_empty() {
            chars.next();
            return Some(Token::Class { negated, ranges });
        }
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        ranges.push((low, high));
    }
}

fn member(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        other => Some(other),
    }
}

/// Whether a `COPY` source is a pattern rather than a path.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Cleans a slash-separated path as Go's `path.Clean` does: no empty parts, no `.`, `..` resolved where it can be.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_match_as_go_does() {
        for (pattern, path, expected) in [
            ("*.jar", "a.jar", true),
            ("*.jar", "a/b.jar", false),
            ("build/*/x", "build/a/x", true),
            ("build/*/x", "build/a/b/x", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("arr[[]0].txt", "arr[0].txt", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "/x", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("**", "a/b", false),
            ("*", "", true),
            ("**.jar", "x.jar", true),
        ] {
            assert_eq!(Pattern::source(pattern).unwrap().matches(path), expected, "{pattern} {path}");
        }
        for pattern in ["[", "[]a]", "[a-]", "a\\", "[x"] {
            assert!(Pattern::source(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn double_stars_cross_directories_in_ignore_files() {
        for (pattern, path, expected) in [
            ("**", "a/b", true),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "a/bx", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("**/*.jar", "a/b.jar", true),
            ("a**z", "a/b/z", true),
            ("**/", "a", true),
        ] {
            assert_eq!(Pattern::ignore(pattern).unwrap().matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = Pattern::ignore(&"**/a*".repeat(50)).unwrap();
        assert!(!pattern.matches(&"a/".repeat(200)));
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, expected) in [
            ("", "."),
            ("/", "/"),
            ("./a//b/", "a/b"),
            ("/../a", "/a"),
            ("../a", "../a"),
            ("a/../b", "b"),
            ("a/..", "."),
            ("/app/./x/..", "/app"),
            ("../../a", "../../a"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }
}
