//! What things are called in a cluster: names are DNS labels there (RFC 1035), which Compose's need not be.

use std::collections::BTreeSet;

/// The longest DNS label.
const LENGTH: usize = 63;

/// The nearest DNS label: small letters, digits and `-`, a letter first.
pub fn label(text: &str) -> String {
    let mut label = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => label.push(c),
            _ if label.is_empty() || label.ends_with('-') => {}
            _ => label.push('-'),
        }
    }
    if !label.starts_with(|c: char| c.is_ascii_lowercase()) {
        label.insert_str(0, if label.is_empty() { "x" } else { "x-" });
    }
    label.truncate(LENGTH);
    label.trim_end_matches('-').to_owned()
}

/// Names that are given out once each.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// The nearest label to this that is still free.
    pub(super) fn take(&mut self, text: &str) -> String {
        let wanted = label(text);
        let mut found = wanted.clone();
        let mut number = 2;
        while !self.0.insert(found.clone()) {
            let end = format!("-{number}");
            let room = LENGTH.saturating_sub(end.len());
            let start: String = wanted.chars().take(room).collect();
            found = format!("{}{end}", start.trim_end_matches('-'));
            number += 1;
        }
        found
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// Whether a text names a host: the word as a whole, `db` in `jdbc:mysql://db:3306/x`, but not in `db-2` or `mydb`.
pub(super) fn mentions(text: &str, host: &str) -> bool {
    places(text, host).next().is_some()
}

/// The ports that a text names behind a host: 3306 in `jdbc:mysql://db:3306/x`.
pub(super) fn ports_behind(text: &str, host: &str) -> Vec<u16> {
    let port = |rest: &str| {
        let rest = rest.strip_prefix(':')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end)?.parse().ok().filter(|port| *port > 0)
    };
    places(text, host).filter_map(port).collect()
}

/// What stands behind each place where the host is named.
fn places<'t>(text: &'t str, host: &'t str) -> impl Iterator<Item = &'t str> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.match_indices(host).filter_map(move |(at, _)| {
        let rest = text.get(at + host.len()..)?;
        let before = text.get(..at)?.chars().next_back();
        let whole = !before.is_some_and(inner) && !rest.starts_with(inner);
        // A path is none: `/var/lib/redis`.
        let path = before == Some('/') && !text.get(..at)?.ends_with("//");
        (whole && !path && !host.is_empty()).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_labels() {
        let long = "a".repeat(70);
        for (text, expected) in [
            ("users", "users"),
            ("User_Service", "user-service"),
            ("a..b__c", "a-b-c"),
            ("2fa", "x-2fa"),
            ("_db_", "db"),
            ("", "x"),
            (long.as_str(), &long[..63]),
        ] {
            assert_eq!(label(text), expected, "{text}");
        }
        let mut names = Names::default();
        assert_eq!([names.take("a_b"), names.take("a-b"), names.take("a.b")], ["a-b", "a-b-2", "a-b-3"]);
    }

    #[test]
    fn hosts_are_found_as_words() {
        for (text, host, found, ports) in [
            ("jdbc:mysql://db:3306/x", "db", true, vec![3306]),
            ("postgres://u:p@db:5432/db", "db", true, vec![5432]),
            ("redis-2:6379", "redis", false, vec![]),
            ("my.redis:1", "redis", false, vec![]),
            ("/var/lib/redis", "redis", false, vec![]),
            ("http://api", "api", true, vec![]),
            ("kafka1:9092,kafka2:9092", "kafka2", true, vec![9092]),
        ] {
            assert_eq!(mentions(text, host), found, "{text}");
            assert_eq!(ports_behind(text, host), ports, "{text}");
        }
    }
}
