//! What machines carry, as a terminal shows it, and as a page.

use std::collections::BTreeMap;

use bowline_core::capacity::advice::{Advice, Amount, Setting};
use bowline_core::capacity::comparison::{Change, Comparison};
use bowline_core::capacity::picture::{Chart, Picture, Row};
use bowline_core::capacity::recommendation::Opinion;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::printable;
use super::table::{bytes, render, render_within, span};
use crate::error::{Failure, Outcome};

/// Characters of a line's little picture.
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// How many of them a line has.
const WIDTH: usize = 16;

const PAGE: &str = include_str!("../../page/capacity.html");
const STYLE: &str = include_str!("../../page/capacity.css");
const SCRIPT: &str = include_str!("../../page/capacity.js");
const CHART_STYLE: &str = include_str!("../../page/uplot/uplot.css");
const CHARTS: &str = include_str!("../../page/uplot/uplot.js");

/// A page that needs nothing else: style, program and figures are in it.
///
/// # Errors
/// When the figures cannot be written down.
pub fn page(picture: &Picture) -> Outcome<String> {
    let data = serde_json::to_string(picture)
        .map_err(|error| Failure::failed("writing the page").because(&error))?;
    // Names are a stranger's words: nothing in them may end the element that holds them.
    let data = data.replace('<', "\\u003c");
    let title: String = picture.title.chars().filter(|c| !matches!(c, '<' | '>' | '&' | '@')).collect();
    let parts = [
        ("@title@", title),
        ("@style@", format!("{CHART_STYLE}\n{STYLE}")),
        ("@script@", format!("{CHARTS}\n{SCRIPT}")),
        ("@data@", data),
    ];
    let mut page = String::with_capacity(PAGE.len() + CHARTS.len() + parts[3].1.len() + 8_192);
    let mut rest = PAGE;
    // One pass: what is filled in is not looked at again.
    while let Some((place, name, part)) = parts
        .iter()
        .filter_map(|(name, part)| Some((rest.find(name)?, name, part)))
        .min_by_key(|found| found.0)
    {
        let (before, after) = rest.split_at(place);
        page.push_str(before);
        page.push_str(part);
        rest = after.get(name.len()..).unwrap_or_default();
    }
    page.push_str(rest);
    Ok(page)
}

/// The picture for a terminal of so many columns.
pub fn show(picture: &Picture, columns: Option<usize>) -> String {
    let window = picture.window;
    let title = printable(&picture.title);
    let mut text = match window.samples {
        0 => format!("{title}: nothing was measured yet"),
        samples => format!("{title}: {} to {}, {} samples", moment(window.from), moment(window.to), samples),
    };
    for (name, value) in &picture.tiles {
        text.push_str(&format!("\n  {value:>7} {name}"));
    }
    if picture.services.is_empty() && picture.others.is_empty() {
        return text;
    }
    text.push_str("\n\n");
    let line = |chart: Option<&Chart>, name: &str| -> String {
        let line = chart.and_then(|chart| chart.lines.iter().find(|line| line.name == name));
        line.map(|line| spark(&line.values, WIDTH)).unwrap_or_default()
    };
    let chart = |number: usize| picture.charts.get(number);
    let row = |row: &Row| {
        vec![
            row.name.clone(),
            line(chart(3), &row.name),
            cores(row.average),
            row.usual.map_or_else(|| "-".into(), cores),
            row.start.map_or_else(|| "-".into(), cores),
            line(chart(4), &row.name),
            bytes(row.most),
            row.limit.map_or_else(|| "-".into(), bytes),
            trouble(row),
        ]
    };
    let rows: Vec<Vec<String>> = picture.services.iter().map(row).collect();
    let header = ["SERVICE", "CPU", "MEAN", "95 %", "START", "MEMORY", "MOST", "LIMIT", "TROUBLE"];
    text.push_str(&render_within(&header, &rows, columns));
    let other = |row: &Row| vec![row.name.clone(), cores(row.average), bytes(row.most), trouble(row)];
    let others: Vec<Vec<String>> = picture.others.iter().map(other).collect();
    if !others.is_empty() {
        text.push_str("\n\nbeside them, of no service here, the busiest:\n");
        text.push_str(&render_within(&["CONTAINER", "MEAN", "MOST", "TROUBLE"], &others, columns));
    }
    text
}

fn trouble(row: &Row) -> String {
    let mut all = Vec::new();
    if row.throttled >= 1.0 {
        all.push(format!("held back {:.0} %", row.throttled));
    }
    if row.oom_kills > 0 {
        all.push(format!("killed for memory {} times", row.oom_kills));
    }
    if row.restarts > 0 {
        all.push(format!("restarted {} times", row.restarts));
    }
    all.join(", ")
}

/// Values as a line of little bars, the largest in full height; a gap where nothing was seen.
fn spark(values: &[Option<f64>], width: usize) -> String {
    let size = values.len().div_ceil(width).max(1);
    let most = values.iter().flatten().copied().fold(0.0_f64, f64::max);
    let bar = |chunk: &[Option<f64>]| {
        let highest = chunk.iter().flatten().copied().reduce(f64::max)?;
        let level = if most > 0.0 { highest / most * 7.0 } else { 0.0 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        SPARKS.get(level.round() as usize).copied()
    };
    values.chunks(size).map(|chunk| bar(chunk).unwrap_or(' ')).collect()
}

fn cores(value: f64) -> String {
    if value < 0.1 { format!("{value:.3}") } else { format!("{value:.2}") }
}

fn moment(milliseconds: i64) -> String {
    let moment = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// Advice as a table, with what it frees in all, and what speaks against taking anything away.
pub fn show_advice(all: &[Advice], columns: Option<usize>) -> String {
    let mut rows = Vec::new();
    for advice in all {
        for line in &advice.lines {
            rows.push(vec![
                advice.service.clone(),
                setting(&line.setting),
                line.now.as_ref().map_or_else(|| "-".into(), amount),
                amount(&line.advised),
                line.frees.map_or_else(|| "-".into(), bytes),
                line.why.clone(),
            ]);
        }
    }
    let mut text = if rows.is_empty() {
        "nothing to change on the word of what was measured".to_owned()
    } else {
        render_within(&["SERVICE", "SETTING", "NOW", "ADVISED", "FREES", "WHY"], &rows, columns)
    };
    let freed: u64 = all.iter().flat_map(|advice| &advice.lines).filter_map(|line| line.frees).sum();
    if freed > 0 {
        text.push_str(&format!("\n\nfrees up to {} of what may be used now", bytes(freed)));
    }
    let doubts: Vec<Vec<String>> = all
        .iter()
        .flat_map(|advice| {
            let row = |doubt: &bowline_core::capacity::advice::Doubt| {
                vec![advice.service.clone(), doubt.seen.clone(), doubt.first.clone()]
            };
            advice.doubts.iter().map(row)
        })
        .collect();
    if !doubts.is_empty() {
        text.push_str("\n\nnothing is taken away from these, as it is not known what they need:\n");
        text.push_str(&render_within(&["SERVICE", "SEEN", "FIRST"], &doubts, columns));
    }
    let windows = all.iter().map(|advice| {
        let window = advice.window;
        let length = i64::try_from(window.length().as_secs()).unwrap_or(i64::MAX);
        vec![
            advice.service.clone(),
            span(length),
            format!("{} %", window.coverage()),
            window.samples.to_string(),
        ]
    });
    let windows: Vec<Vec<String>> = windows.collect();
    text.push_str("\n\nmeasured:\n");
    text.push_str(&render(&["SERVICE", "WINDOW", "SEEN", "SAMPLES"], &windows));
    text
}

/// What others would recommend: the Vertical Pod Autoscaler, and KRR.
pub fn show_opinions(all: &BTreeMap<String, Opinion>) -> String {
    let cpu = |cpu: Option<u64>| cpu.map_or_else(|| "-".into(), |cpu| format!("{cpu}m"));
    let memory = |memory: Option<u64>| memory.map_or_else(|| "-".into(), bytes);
    let row = |(name, opinion): (&String, &Opinion)| {
        vec![
            name.clone(),
            cpu(Some(opinion.vpa.cpu)),
            memory(Some(opinion.vpa.memory)),
            cpu(opinion.krr_cpu),
            memory(opinion.krr_memory),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    render(&["SERVICE", "VPA CPU", "VPA MEMORY", "KRR CPU", "KRR MEMORY"], &rows)
}

/// A setting as people know it.
pub fn setting(setting: &Setting) -> String {
    match setting {
        Setting::CpuRequest => "CPU request".into(),
        Setting::CpuLimit => "CPU limit".into(),
        Setting::Memory => "memory".into(),
        Setting::Variable(name) => name.clone(),
        Setting::Enabled => "enabled".into(),
    }
}

/// A value as people write it.
pub fn amount(amount: &Amount) -> String {
    match amount {
        Amount::Cores(thousandths) => format!("{thousandths}m"),
        Amount::Bytes(size) => bytes(*size),
        Amount::Text(text) => text.clone(),
        Amount::Flag(flag) => flag.to_string(),
    }
}

/// Two windows beside each other, and on what the figures stand.
pub fn show_comparison(comparison: &Comparison) -> String {
    let row = |change: &Change| {
        let name = change.service.clone().unwrap_or_else(|| "(the machine)".into());
        std::iter::once(name).chain(change.cells("-", bytes)).collect()
    };
    let rows: Vec<Vec<String>> = comparison.changes.iter().map(row).collect();
    let header = ["SERVICE", "CPU", "THEN", "", "MEMORY", "THEN", ""];
    format!("{}\n{}", render(&header, &rows), comparison.basis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_bars_is_as_wide_as_it_may_be() {
        let values: Vec<Option<f64>> = (0..8).map(|value| Some(f64::from(value))).collect();
        assert_eq!(spark(&values, 8), "▁▂▃▄▅▆▇█");
        assert_eq!(spark(&values, 4), "▂▄▆█");
        assert_eq!(spark(&[Some(0.0), None, Some(0.0)], 8), "▁ ▁");
        assert_eq!(spark(&[], 8), "");
    }

    #[test]
    fn nothing_in_a_name_is_markup() {
        let mut picture =
            bowline_core::capacity::picture::paint("<b>@data@", &[], None, Vec::new(), 9, |_| None);
        picture.notes.push("</script><script>alert(1)</script> @script@".to_owned());
        let page = page(&picture).unwrap();
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("\\u003c/script>") && page.contains("<title>bdata</title>"), "{page:.300}");
        assert!(!page.contains("@style@") && page.contains("new uPlot("));
    }
}
