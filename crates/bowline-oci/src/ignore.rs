//! `.dockerignore`, with the meaning that moby/patternmatcher gives it. That is not `.gitignore`'s: patterns are
//! anchored at the context's root, a later line wins over an earlier one, and `!` brings a file back even from
//! inside an excluded directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::pattern::{InvalidPattern, Pattern, clean};

/// The largest ignore file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// The rules of one ignore file.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    includes: bool,
    pattern: Pattern,
}

/// Why an ignore file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IgnoreError {
    /// It could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// One of its lines is wrong.
    #[error("line {line} of {} is not a valid pattern", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: InvalidPattern,
    },
}

impl Ignore {
    /// Reads the ignore file of a build: `<Dockerfile>.dockerignore` beside the Dockerfile, else `.dockerignore`
    /// in the context. Without either nothing is ignored.
    pub fn read(context: &Path, dockerfile: &Path) -> Result<Self, IgnoreError> {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        for path in [PathBuf::from(own), context.join(".dockerignore")] {
            let text = match fs::metadata(&path) {
                Ok(meta) if meta.len() > LIMIT => Err(io::Error::other("it is larger than 1 MiB")),
                Ok(meta) if meta.is_dir() => continue,
                Ok(_) => fs::read_to_string(&path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(error),
            };
            let text = text.map_err(|source| IgnoreError::Read { path: path.clone(), source })?;
            return Self::parse(&text).map_err(|(line, source)| IgnoreError::Line { path, line, source });
        }
        Ok(Self::default())
    }

    /// Parses an ignore file; an error names its line, from 1.
    pub fn parse(text: &str) -> Result<Self, (usize, InvalidPattern)> {
        let mut rules = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            // A `#` counts only in the first column; white space around the rest does not count.
            let line = if line.starts_with('#') { "" } else { line.trim() };
            let (includes, rest) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if rest.is_empty() {
                if includes {
                    return Err((number + 1, InvalidPattern::new(line)));
                }
                continue;
            }
            let cleaned = clean(rest);
            let anchored = cleaned.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
            let pattern = Pattern::ignore(anchored).map_err(|error| (number + 1, error))?;
            rules.push(Rule { includes, pattern });
        }
        Ok(Self { rules })
    }

    /// Whether this file or directory (relative to the context, with slashes) is left out. A rule also holds for
    /// everything below what it matches.
    pub fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for rule in &self.rules {
            // A rule that would change nothing is not asked.
            if rule.includes == excluded && matches_any(&rule.pattern, path) {
                excluded = !rule.includes;
            }
        }
        excluded
    }

    /// Whether something inside an excluded directory may still be wanted.
    pub fn may_include_below(&self) -> bool {
        self.rules.iter().any(|rule| rule.includes)
    }
}

/// Whether the pattern matches the path or one of the directories it is in.
fn matches_any(pattern: &Pattern, path: &str) -> bool {
    let parents = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
    pattern.matches(path) || parents.into_iter().any(|parent| pattern.matches(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_mean_what_docker_means() {
        for (text, path, expected) in [
            ("node_modules", "node_modules/a/b", true),
            ("node_modules", "sub/node_modules", false),
            ("**/node_modules", "sub/node_modules/x", true),
            ("/build", "build/x", true),
            ("./build/", "build/x", true),
            ("*", "a", true),
            ("*\n!build/libs", "build/libs/a.jar", false),
            ("*\n!build/libs", "build/other", true),
            ("*\n!build/libs", "build", true),
            ("*\n!build/libs/*.jar\nbuild/libs/b.jar", "build/libs/b.jar", true),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md", "docs/x.md", false),
            ("**/*.md", "docs/x.md", true),
            ("!README.md\n*.md", "README.md", true),
            ("# comment\n  # not one", "comment", false),
            ("  spaced  ", "spaced", true),
            ("\u{feff}bom", "bom", true),
            ("a\r\nb\r\n", "b", true),
            ("! spaced", "spaced", false),
            (".", "a", false),
            ("/", "a", false),
            ("..", "a", false),
            ("a/../b", "b", true),
            ("", "a", false),
        ] {
            assert_eq!(Ignore::parse(text).unwrap().excludes(path), expected, "{text:?} {path}");
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        assert_eq!(Ignore::parse("a\n[").unwrap_err().0, 2);
        assert_eq!(Ignore::parse("!").unwrap_err().0, 1);
    }

    #[test]
    fn the_dockerfiles_own_ignore_file_comes_first() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".dockerignore"), "a").unwrap();
        fs::write(home.path().join("x.Dockerfile.dockerignore"), "b").unwrap();
        let own = Ignore::read(home.path(), &home.path().join("x.Dockerfile")).unwrap();
        assert!(own.excludes("b") && !own.excludes("a"));
        let general = Ignore::read(home.path(), &home.path().join("Dockerfile")).unwrap();
        assert!(general.excludes("a") && !general.excludes("b"));
    }
}
