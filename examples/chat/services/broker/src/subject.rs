//! Subjects: parts between dots. `*` stands for one part, `>` for one or more at the end.

/// Whether a subscription wants messages of a subject.
pub fn matches(wanted: &str, subject: &str) -> bool {
    let mut parts = subject.split('.');
    for part in wanted.split('.') {
        match (part, parts.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            (part, Some(found)) if part != "*" && part != found => return false,
            _ => {}
        }
    }
    parts.next().is_none()
}

/// Whether this can be published to, or with `wildcards` subscribed to.
pub fn is_valid(subject: &str, wildcards: bool) -> bool {
    let count = subject.split('.').count();
    subject.split('.').enumerate().all(|(index, part)| match part {
        "" => false,
        "*" => wildcards,
        ">" => wildcards && index + 1 == count,
        part => part.chars().all(|char| !char.is_whitespace() && !char.is_control()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_match_as_in_nats() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.b", "a", false),
            ("a", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
        ];
        for (wanted, subject, expected) in cases {
            assert_eq!(matches(wanted, subject), expected, "{wanted} {subject}");
        }
    }

    #[test]
    fn only_subscriptions_have_wildcards() {
        assert!(is_valid("a.b", false) && is_valid("a.*.>", true));
        for bad in ["", "a..b", ".a", "a.", "a.*", "a.>"] {
            assert!(!is_valid(bad, false), "{bad}");
        }
        assert!(!is_valid("a.>.b", true));
    }
}
