//! Build commands: words, or a script where the configuration asks for a shell.

use bowline_core::artifact::dockerfile::{SERVICE, TAG, VERSION};
use bowline_core::placeholder::{self, PLACEHOLDERS, Placeholders};

use crate::error::{Failure, Outcome};

/// What is run to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments; no shell sees them.
    Words(Vec<String>),
    /// A script for `sh -c`.
    Shell(String),
}

impl Command {
    /// Reads a command as the configuration writes it. Words are split as a shell would, without expanding anything.
    ///
    /// # Errors
    /// When it is empty, a quote stays open, or a script holds a placeholder: scripts get their values by environment
    /// alone, so that no value is ever read as code.
    pub fn parse(text: &str, shell: bool) -> Outcome<Self> {
        let invalid = |why: &str| Failure::invalid(format!("reading the build command `{text}`")).since(why);
        if text.trim().is_empty() {
            return Err(invalid("it is empty"));
        }
        if !shell {
            return shlex::split(text)
                .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
                .map(Self::Words)
                .ok_or_else(|| invalid("a quote is not closed").hint("close it, or set `shell = true`"));
        }
        match placeholder::names(text).into_iter().find(|name| PLACEHOLDERS.contains(name)) {
            Some(name) => Err(invalid(&format!("`{{{name}}}` is not filled in where `shell = true`"))
                .hint(format!("write \"${}\" instead", variable(name)))),
            None => Ok(Self::Shell(text.to_owned())),
        }
    }

    /// The argument vector, with placeholders filled in word by word.
    pub fn words(&self, values: &Placeholders) -> Vec<String> {
        match self {
            Self::Words(words) => words.iter().map(|word| values.fill(word)).collect(),
            Self::Shell(script) => vec!["sh".into(), "-c".into(), script.clone()],
        }
    }
}

/// The environment that every build gets.
pub fn environment(values: &Placeholders) -> Vec<(String, String)> {
    PLACEHOLDERS
        .into_iter()
        .map(|name| (variable(name).to_owned(), format!("{{{name}}}")))
        .map(|(variable, pattern)| (variable, values.fill(&pattern), pattern))
        // `{service}` stays as it is where the build is the whole project's.
        .filter(|(_, value, pattern)| value != pattern)
        .map(|(variable, value, _)| (variable, value))
        .collect()
}

fn variable(placeholder: &str) -> &'static str {
    match placeholder {
        "version" => VERSION,
        "tag" => TAG,
        _ => SERVICE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Placeholders {
        Placeholders::new("5.0.2-b321acf").service("user; rm -rf /")
    }

    #[test]
    fn placeholders_are_filled_after_the_words_are_split() {
        let command =
            Command::parse("./gradlew build --parallel -Pversion={tag} 'a b' {service}", false).unwrap();
        assert_eq!(
            command.words(&values()),
            ["./gradlew", "build", "--parallel", "-Pversion=v5.0.2-b321acf", "a b", "user; rm -rf /"]
        );
    }

    #[test]
    fn a_script_gets_its_values_by_environment_alone() {
        let command = Command::parse("make && echo \"$BOWLINE_TAG\" ${HOME}", true).unwrap();
        assert_eq!(command.words(&values()), ["sh", "-c", "make && echo \"$BOWLINE_TAG\" ${HOME}"]);
        let failure = Command::parse("make VERSION={tag}", true).unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("write \"$BOWLINE_TAG\" instead"));
        assert_eq!(
            environment(&Placeholders::new("1.0.0")),
            [("BOWLINE_VERSION".into(), "1.0.0".into()), ("BOWLINE_TAG".into(), "v1.0.0".into())]
        );
        assert_eq!(environment(&values()).last().unwrap().1, "user; rm -rf /");
    }

    #[test]
    fn open_quotes_and_nothing_are_refused() {
        for text in ["", "  ", "echo 'a", "''"] {
            assert!(Command::parse(text, false).is_err(), "{text:?}");
        }
    }
}
