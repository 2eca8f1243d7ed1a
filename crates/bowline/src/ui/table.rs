//! Tables and times as people read them.

use super::printable;
use super::width::fold;

/// A last column that is narrower is left to the terminal.
const NARROWEST: usize = 12;

/// A table: a header and rows, columns as wide as their widest cell, the last one as it is. Cells are made safe to show.
pub fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |text: &str| printable(text).replace('\n', " ");
    let rows: Vec<Vec<String>> = std::iter::once(header.iter().map(|name| cell(name)).collect())
        .chain(rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()))
        .collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A table whose last column is broken between words where the terminal ends. Without columns: as it is.
pub fn render_within(header: &[&str], rows: &[Vec<String>], columns: Option<usize>) -> String {
    let text = render(header, rows);
    // The last column begins where its header does.
    let start = header.last().and_then(|name| text.lines().next()?.rfind(name)).unwrap_or(0);
    let narrow = columns.is_some_and(|columns| columns < start + NARROWEST);
    let (columns, start) = if narrow { (None, 0) } else { (columns, start) };
    text.lines().map(|line| fold(line, columns, start)).collect::<Vec<_>>().join("\n")
}

/// How long something took or has lasted, in the one unit that matters: `12 s`, `5 min`, `3 h`, `9 d`.
pub fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Bytes in powers of 1024: `17 B`, `3.2 MiB`.
pub fn bytes(count: u64) -> String {
    // Two digits are shown: what a float loses above 2^53 is not seen.
    #[allow(clippy::cast_precision_loss)]
    let mut value = count as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" || value >= 100.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_escapes_stay_visible() {
        let rows = [vec!["a".into(), "x\u{1b}[0m".into()], vec!["longer".into(), String::new()]];
        assert_eq!(render(&["NAME", "B"], &rows), "NAME    B\na       x\\u{1b}[0m\nlonger");
    }

    #[test]
    fn a_last_column_is_broken_where_the_terminal_ends() {
        let rows = [vec!["1".into(), "broker (first), users (first)".into()]];
        let broken = "#  CHANGED\n1  broker (first),\n   users (first)";
        assert_eq!(render_within(&["#", "CHANGED"], &rows, Some(20)), broken);
    }

    #[test]
    fn spans_and_sizes_have_one_unit() {
        let spans: Vec<_> = [-3, 5, 119, 120, 7_300, 200_000].map(span).into();
        assert_eq!(spans, ["0 s", "5 s", "119 s", "2 min", "2 h", "2 d"]);
        let sizes: Vec<_> = [17, 2048, 3_355_443, 900 << 20].map(bytes).into();
        assert_eq!(sizes, ["17 B", "2.0 KiB", "3.2 MiB", "900 MiB"]);
    }
}
