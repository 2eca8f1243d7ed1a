//! What Compose warns about.

use std::collections::BTreeSet;

/// Warnings of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings {
    /// Variables that the files use and nobody set: Compose takes an empty text for them.
    pub unset: BTreeSet<String>,
    /// Everything else, in Compose's words.
    pub others: Vec<String>,
}

impl Warnings {
    /// Reads the warnings among the lines of stderr (logrus's text format).
    pub(super) fn parse(stderr: &str) -> Self {
        let mut warnings = Self::default();
        for line in stderr.lines() {
            let Some((_, rest)) = line.split_once("level=warning msg=") else { continue };
            let message = unquote(rest);
            let unset = message
                .strip_prefix("The \"")
                .and_then(|rest| rest.split_once("\" variable is not set"))
                .map(|(name, _)| name.to_owned());
            match unset {
                Some(name) => {
                    warnings.unset.insert(name);
                }
                None if !warnings.others.contains(&message) => warnings.others.push(message),
                None => {}
            }
        }
        warnings
    }
}

/// A quoted message without its quotes and escapes; a message of one word has none.
fn unquote(text: &str) -> String {
    let text = text.trim();
    let Some(inside) = text.strip_prefix('"') else { return text.chars().take(500).collect() };
    let inside = inside.strip_suffix('"').unwrap_or(inside);
    let mut plain = String::new();
    let mut escaped = false;
    for c in inside.chars().filter(|c| !c.is_control()).take(500) {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (true, 'n' | 't' | 'r') => {
                plain.push(' ');
                escaped = false;
            }
            (_, c) => {
                plain.push(c);
                escaped = false;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_variables_are_told_apart() {
        let stderr = r#"time="2026-11-22T10:58:57Z" level=warning msg="The \"DB_PASSWORD\" variable is not set. Defaulting to a blank string."
time="2026-11-22T10:58:57Z" level=warning msg="/a/c.yaml: the attribute `version` is obsolete"
time="2026-11-22T10:58:57Z" level=warning msg="The \"DB_PASSWORD\" variable is not set. Defaulting to a blank string."
 Container a-1  Created
"#;
        let warnings = Warnings::parse(stderr);
        assert_eq!(warnings.unset, BTreeSet::from(["DB_PASSWORD".to_owned()]));
        assert_eq!(warnings.others, ["/a/c.yaml: the attribute `version` is obsolete"]);
    }
}
