//! `{version}`, `{tag}` and `{service}` in commands, paths and globs.

/// What the placeholders stand for in one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholders {
    version: String,
    service: Option<String>,
}

/// The placeholders that exist.
pub const PLACEHOLDERS: [&str; 3] = ["version", "tag", "service"];

impl Placeholders {
    /// Values for a version, given without the `v`: `5.0.2-b321acf`.
    pub fn new(version: impl Into<String>) -> Self {
        Self { version: version.into(), service: None }
    }

    /// The same for one service.
    #[must_use]
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// The text with its placeholders filled in, in one pass: what was filled in is not looked at again.
    /// Other braces stay as they are, and so does `{service}` where there is none.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len() + self.version.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let value = after.split_once('}').and_then(|(name, behind)| Some((self.value(name)?, behind)));
            rest = match value {
                Some((value, behind)) => {
                    filled.push_str(&value);
                    behind
                }
                None => {
                    filled.push('{');
                    after
                }
            };
        }
        filled.push_str(rest);
        filled
    }

    fn value(&self, name: &str) -> Option<String> {
        match name {
            "version" => Some(self.version.clone()),
            "tag" => Some(format!("v{}", self.version)),
            "service" => self.service.clone(),
            _ => None,
        }
    }
}

/// The names in braces that a text holds, placeholders or not: lower-case letters only.
pub fn names(text: &str) -> Vec<&str> {
    text.split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}'))
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once_and_other_braces_stay() {
        let values = Placeholders::new("5.0.2-b321acf").service("{tag}");
        for (text, filled) in [
            ("-Pversion={tag}", "-Pversion=v5.0.2-b321acf"),
            ("a-{version}.jar", "a-5.0.2-b321acf.jar"),
            ("{service}", "{tag}"),
            ("${HOME} {} {x} {", "${HOME} {} {x} {"),
            ("{{tag}}", "{v5.0.2-b321acf}"),
            ("*.{jar,war}", "*.{jar,war}"),
        ] {
            assert_eq!(values.fill(text), filled);
        }
        assert_eq!(Placeholders::new("1.0.0").fill("{service}"), "{service}");
    }

    #[test]
    fn names_in_braces_are_found() {
        assert_eq!(names("a {tag} {vesion} {} {A} {jar,war} {x"), ["tag", "vesion"]);
    }
}
