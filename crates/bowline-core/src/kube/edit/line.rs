//! The lines of a text, as far as YAML is concerned.

/// Where the line ends that a byte is in: before its break.
pub(super) fn end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.find(['\n', '\r']).unwrap_or(rest.len())
}

/// What stands before a byte in its line.
pub(super) fn before(text: &str, at: usize) -> &str {
    let above = text.get(..at).unwrap_or_default();
    above.rsplit(['\n', '\r']).next().unwrap_or_default()
}

/// The spaces and tabs that a text begins with.
pub(super) fn indentation(text: &str) -> &str {
    let rest = text.trim_start_matches([' ', '\t']);
    text.get(..text.len() - rest.len()).unwrap_or_default()
}

/// The break that a text begins with; empty where it begins with none.
pub(super) fn leading_break(text: &str) -> &'static str {
    ["\r\n", "\n", "\r"].into_iter().find(|kind| text.starts_with(kind)).unwrap_or_default()
}

/// How lines are broken around a byte: as its own line is, or else the one above it.
pub(super) fn kind_of_break(text: &str, at: usize) -> &'static str {
    let own = leading_break(text.get(end(text, at)..).unwrap_or_default());
    let above = text.get(..at).unwrap_or_default().trim_end_matches(|c| !matches!(c, '\n' | '\r'));
    let above = ["\r\n", "\n", "\r"].into_iter().find(|kind| above.ends_with(kind));
    if own.is_empty() { above.unwrap_or("\n") } else { own }
}

/// Whether nothing follows in a line but a comment.
pub(super) fn is_over(rest: &str) -> bool {
    let trimmed = rest.trim_start_matches([' ', '\t']);
    trimmed.is_empty() || (trimmed.starts_with('#') && trimmed.len() < rest.len())
}

/// The end of the last of the lines below a line's end that are comments deeper than so many spaces: they belong to
/// what stands above them.
pub(super) fn past_comments(text: &str, mut end_of_line: usize, depth: usize) -> usize {
    loop {
        let rest = text.get(end_of_line..).unwrap_or_default();
        let next = end_of_line + leading_break(rest).len();
        let indented = text.get(next..).unwrap_or_default().trim_start_matches(' ');
        let spaces = text.len() - indented.len() - next;
        if next == end_of_line || spaces <= depth || !indented.starts_with('#') {
            return end_of_line;
        }
        end_of_line = end(text, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_whatever_their_file_ends_them() {
        for (text, at, line_end, kind, above) in [
            ("a: 1\nb", 1, 4, "\n", "a"),
            ("a: 1\r\nb", 4, 4, "\r\n", "a: 1"),
            ("a: 1\r\nb: ü", 8, 11, "\r\n", "b:"),
            ("a: 1\rb: 2\r", 6, 9, "\r", "b"),
            ("a: 1", 0, 4, "\n", ""),
        ] {
            assert_eq!(
                (end(text, at), kind_of_break(text, at), before(text, at)),
                (line_end, kind, above),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_comment_has_a_space_before_it() {
        for (rest, over) in
            [("", true), ("  ", true), (" # c", true), ("\t# c", true), ("#c", false), (" }", false)]
        {
            assert_eq!(is_over(rest), over, "{rest:?}");
        }
    }

    #[test]
    fn deeper_comments_belong_to_what_is_above() {
        let text = "a: 1\r\n    # one\r\n   # two\r\n  # other\r\nb: 1";
        assert_eq!(text.get(..past_comments(text, 4, 2)), Some("a: 1\r\n    # one\r\n   # two"));
        assert_eq!(past_comments("a: 1\n\n    # c\n", 4, 2), 4);
        assert_eq!(past_comments("a: 1\n    # c", 4, 2), 12);
    }
}
