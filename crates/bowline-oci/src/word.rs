//! The words of Dockerfile instructions: splitting, quotes and `$variables`, as BuildKit's `shell.Lex` and its
//! line parser read them. Forms that nobody writes are not guessed at: they are [`Unsupported`], and the engine
//! builds that Dockerfile.

use std::iter::Peekable;
use std::str::Chars;

/// A form that is left to the engine; the text says which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

/// Where the values of variables come from.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Expands one word: quotes are taken off, variables replaced, escapes resolved.
pub fn expand(word: &str, escape: char, lookup: Lookup<'_>) -> Result<String, Unsupported> {
    let mut lexer = Lexer { chars: word.chars().peekable(), escape, lookup };
    lexer.word(None)
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    escape: char,
    lookup: Lookup<'a>,
}

impl Lexer<'_> {
    fn word(&mut self, stop: Option<char>) -> Result<String, Unsupported> {
        let mut out = String::new();
        while let Some(char) = self.chars.next() {
            match char {
                c if Some(c) == stop => return Ok(out),
                '\'' => self.single(&mut out)?,
                '"' => self.double(&mut out)?,
                '$' => self.dollar(&mut out)?,
                // An escape at the very end is dropped.
                c if c == self.escape => out.extend(self.chars.next()),
                c => out.push(c),
            }
        }
        match stop {
            Some(stop) => Err(Unsupported(format!("a `{stop}` is missing"))),
            None => Ok(out),
        }
    }

    fn single(&mut self, out: &mut String) -> Result<(), Unsupported> {
        for char in self.chars.by_ref() {
            match char {
                '\'' => return Ok(()),
                c => out.push(c),
            }
        }
        Err(Unsupported("a single quote is not closed".into()))
    }

    fn double(&mut self, out: &mut String) -> Result<(), Unsupported> {
        while let Some(char) = self.chars.next() {
            match char {
                '"' => return Ok(()),
                '$' => self.dollar(out)?,
                c if c == self.escape => {
                    let escape = self.escape;
                    match self.chars.next_if(|next| matches!(next, '"' | '$') || *next == escape) {
                        Some(next) => out.push(next),
                        None => out.push(c),
                    }
                }
                c => out.push(c),
            }
        }
        Err(Unsupported("a double quote is not closed".into()))
    }

    fn dollar(&mut self, out: &mut String) -> Result<(), Unsupported> {
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braced(out);
        }
        match self.chars.peek() {
            Some(c) if c.is_ascii_digit() || matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                return Err(Unsupported(format!("the special parameter `${c}`")));
            }
            _ => {}
        }
        let name = self.name();
        if name.is_empty() {
            out.push('$');
        } else {
            out.push_str(&(self.lookup)(&name).unwrap_or_default());
        }
        Ok(())
    }

    fn braced(&mut self, out: &mut String) -> Result<(), Unsupported> {
        let name = self.name();
        let odd = |what: &str| Unsupported(format!("the substitution `${{{name}{what}…}}`"));
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(odd(""));
        }
        let value = (self.lookup)(&name);
        let (colon, operator) = match self.chars.next() {
            Some('}') => {
                out.push_str(&value.unwrap_or_default());
                return Ok(());
            }
            Some(':') => (true, self.chars.next()),
            other => (false, other),
        };
        let present = value.filter(|value| !colon || !value.is_empty());
        match operator {
            Some('-') => {
                let default = self.word(Some('}'))?;
                out.push_str(&present.unwrap_or(default));
                Ok(())
            }
            Some('+') => {
                let alternative = self.word(Some('}'))?;
                out.push_str(if present.is_some() { &alternative } else { "" });
                Ok(())
            }
            Some(other) => Err(odd(&other.to_string())),
            None => Err(Unsupported("a `}` is missing".into())),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        name
    }
}

/// Splits a line at white space outside quotes; quotes and escapes stay in the words.
fn split(line: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match quote {
            None if char.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if matches!(char, '\'' | '"') => quote = Some(char),
            Some(open) if char == open => quote = None,
            _ => {}
        }
        word.push(char);
        // In single quotes an escape is an ordinary character; elsewhere it keeps the next one from ending a word.
        if char == escape && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The `name=value` pairs of `ENV` and `LABEL`, unexpanded. The old form `NAME the rest` is one pair.
pub fn pairs(line: &str, escape: char) -> Result<Vec<(String, String)>, Unsupported> {
    let words = split(line, escape);
    let first = words.first().ok_or_else(|| Unsupported("no name is given".into()))?;
    if !first.contains('=') {
        let (name, value) = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| Unsupported(format!("`{first}` has no value")))?;
        return Ok(vec![(name.into(), value.trim_start().into())]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Unsupported(format!("`{word}` is not of the form name=value"))),
        })
        .collect()
}

/// The `name` and `name=value` words of `ARG`, unexpanded.
pub fn arguments(line: &str, escape: char) -> Vec<(String, Option<String>)> {
    split(line, escape)
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".into()),
            "B_2" => Some("t w o".into()),
            "E" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn words_are_expanded_as_buildkit_does() {
        for (word, expected) in [
            ("plain", "plain"),
            ("$A", "one"),
            ("${A}x", "onex"),
            ("$B_2.", "t w o."),
            ("$nothing-", "-"),
            ("${nothing:-d}", "d"),
            ("${E:-d}", "d"),
            ("${E-d}", ""),
            ("${A:-d}", "one"),
            ("${A:+yes}", "yes"),
            ("${E:+yes}", ""),
            ("${E+yes}", "yes"),
            ("${nothing:-${A}}", "one"),
            ("${nothing:-\"a}b\"}", "a}b"),
            ("\\$A", "$A"),
            ("'$A'", "$A"),
            ("\"$A b\"", "one b"),
            ("\"a\\\"b\"", "a\"b"),
            ("\"a\\nb\"", "a\\nb"),
            ("a\\ b", "a b"),
            ("a\\", "a"),
            ("$", "$"),
            ("a$ b", "a$ b"),
            ("it''s", "its"),
        ] {
            assert_eq!(expand(word, '\\', &lookup).as_deref(), Ok(expected), "{word}");
        }
    }

    #[test]
    fn odd_forms_are_left_to_the_engine() {
        for word in
            ["${A#o}", "${A/o/x}", "${A:?no}", "$1", "$$", "${", "${A", "'a", "\"a", "${A:", "${}", "${1}"]
        {
            assert!(expand(word, '\\', &lookup).is_err(), "{word}");
        }
    }

    #[test]
    fn pairs_are_split_outside_quotes() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (line, expected) in [
            ("A=1 B=2", vec![pair("A", "1"), pair("B", "2")]),
            ("A=\"x y\" B='z  z'", vec![pair("A", "\"x y\""), pair("B", "'z  z'")]),
            ("A=x\\ y", vec![pair("A", "x\\ y")]),
            ("A=", vec![pair("A", "")]),
            ("A=b=c", vec![pair("A", "b=c")]),
            ("A the rest = all", vec![pair("A", "the rest = all")]),
            ("A  x", vec![pair("A", "x")]),
            ("\"a b\"=c", vec![pair("\"a b\"", "c")]),
        ] {
            assert_eq!(pairs(line, '\\'), Ok(expected), "{line}");
        }
        for line in ["A", "A=1 B", "", "=x"] {
            assert!(pairs(line, '\\').is_err(), "{line}");
        }
        assert_eq!(arguments("A B=1", '\\'), [("A".into(), None), ("B".into(), Some("1".into()))]);
    }
}
