//! Lines that fit: how wide the terminal is, and words broken where it ends.

/// Below this a line is not worth breaking.
const NARROWEST: usize = 40;

/// The columns of the terminal behind stderr; none where there is no terminal, and lines stay whole.
pub fn of_stderr() -> Option<usize> {
    columns(terminal_size::terminal_size_of(std::io::stderr()))
}

/// The columns of the terminal behind stdout; none where there is no terminal, and lines stay whole.
pub fn of_stdout() -> Option<usize> {
    columns(terminal_size::terminal_size_of(std::io::stdout()))
}

fn columns(size: Option<(terminal_size::Width, terminal_size::Height)>) -> Option<usize> {
    size.map(|(terminal_size::Width(columns), _)| usize::from(columns))
        .filter(|columns| *columns >= NARROWEST)
}

/// Breaks a line between words so that none is wider than `columns`; all but the first begin with `indent` spaces.
/// A word that is too long for a line stays whole. Without columns, or where it fits, the text is as it was.
pub fn fold(text: &str, columns: Option<usize>, indent: usize) -> String {
    let Some(columns) = columns.filter(|columns| text.chars().count() > *columns) else {
        return text.to_owned();
    };
    let (mut lines, mut line, mut used) = (String::new(), String::new(), 0);
    // Runs of spaces align columns and are kept, except where a line ends.
    for piece in text.split_inclusive(' ') {
        let width = piece.trim_end_matches(' ').chars().count();
        if used + width > columns && !line.trim().is_empty() {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = " ".repeat(indent);
            used = indent;
        }
        line.push_str(piece);
        used += piece.chars().count();
    }
    lines + line.trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_keep_their_columns() {
        let text =
            "  name      user as main-service_user:latest and a-name-that-is-longer-than-a-whole-line:1";
        assert_eq!(
            fold(text, Some(40), 12),
            "  name      user as\n            main-service_user:latest and\n            a-name-that-is-longer-than-a-whole-line:1"
        );
        assert_eq!(fold(text, None, 12), text);
        assert_eq!(fold("short", Some(40), 2), "short");
    }
}
