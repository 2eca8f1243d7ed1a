//! What is wrong with a `bowline.toml`: where, why, and what would be right.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::ui::printable;

/// What a part of the file is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Building, releasing, telling people, reaching hosts: a release that exists is deployed without it.
    Release,
    /// Deploying anywhere.
    Deploy,
    /// Deploying to this target.
    Target(String),
}

impl Purpose {
    /// What the key at this path is for: `services.user.port`. Keys that nobody knows could be for anything.
    pub(super) fn of(path: &str) -> Self {
        let mut parts = path.split('.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("project" | "version" | "build" | "registry" | "notify"), ..)
            | (
                Some("services"),
                _,
                Some("inputs" | "build" | "artifact" | "context" | "dockerfile" | "base" | "platform"),
            )
            | (Some("targets"), _, Some("host" | "directory" | "project")) => Self::Release,
            (Some("targets"), Some(name), _) => Self::Target(name.to_owned()),
            _ => Self::Deploy,
        }
    }

    /// Whether a deploy to the target needs it.
    pub fn is_needed_on(&self, target: &str) -> bool {
        match self {
            Self::Release => false,
            Self::Deploy => true,
            Self::Target(name) => name == target,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What, in one line.
    pub message: String,
    /// Where, in bytes of the file.
    pub span: Range<usize>,
    /// What is said at the caret.
    pub label: String,
    /// Another place that it has to do with, and what is said there.
    pub related: Option<(Range<usize>, String)>,
    /// What would be right.
    pub help: Option<String>,
    /// What the part of the file is for.
    pub purpose: Purpose,
    /// Whether it is a key that nobody knows: all else means what it says without it.
    pub unknown: bool,
}

impl Problem {
    /// A problem at a place, in what every deploy needs.
    pub fn new(span: &Range<usize>, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: span.clone(),
            label: label.into(),
            related: None,
            help: None,
            purpose: Purpose::Deploy,
            unknown: false,
        }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place that it has to do with.
    #[must_use]
    pub fn related(mut self, span: &Range<usize>, label: impl Into<String>) -> Self {
        self.related = Some((span.clone(), label.into()));
        self
    }

    /// The same without anything that could move a terminal's cursor: keys and values of the file are quoted in it.
    fn printable(&self) -> Self {
        Self {
            message: printable(&self.message),
            span: self.span.clone(),
            label: printable(&self.label),
            related: self.related.as_ref().map(|(span, label)| (span.clone(), printable(label))),
            help: self.help.as_deref().map(printable),
            purpose: self.purpose.clone(),
            unknown: self.unknown,
        }
    }
}

/// The problems as text with excerpts and carets, in the order of the file.
///
/// `source` must have been [masked](mask). Control characters in it are shown as symbols, those in messages as escapes.
pub fn render(problems: &[Problem], path: &str, source: &str, styled: bool) -> String {
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(100);
    let mut ordered: Vec<Problem> = problems.iter().map(Problem::printable).collect();
    ordered.sort_by_key(|problem| (problem.span.start, problem.span.end));
    let render = |problem: &Problem| {
        let primary =
            AnnotationKind::Primary.span(within(&problem.span, source)).label(problem.label.as_str());
        let mut snippet = Snippet::source(source).path(path).annotation(primary);
        if let Some((span, label)) = &problem.related {
            snippet =
                snippet.annotation(AnnotationKind::Context.span(within(span, source)).label(label.as_str()));
        }
        let mut group = Level::ERROR.primary_title(problem.message.as_str()).element(snippet);
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    };
    ordered.iter().map(render).collect::<Vec<_>>().join("\n\n")
}

/// A span that lies in the source, on character boundaries.
fn within(span: &Range<usize>, source: &str) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(source.len());
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

/// The source with what could be a secret blotted out, byte for byte, so that spans stay what they are.
pub fn mask(source: &str, secrets: &[Range<usize>]) -> String {
    let mut bytes = source.as_bytes().to_vec();
    let tokens = ["hooks.slack.com/", "xoxb-", "xoxp-", "xapp-"].into_iter().flat_map(|start| {
        source.match_indices(start).map(move |(at, found)| {
            let rest = source.get(at + found.len()..).unwrap_or_default();
            let end = rest.find(['"', '\'', ' ', '\n', '\r']).unwrap_or(rest.len());
            at + found.len()..at + found.len() + end
        })
    });
    // `scheme://user:password@host`
    let passwords = source.match_indices("://").filter_map(|(at, _)| {
        let start = at + 3;
        let rest = source.get(start..)?;
        let authority = rest.get(..rest.find(['"', '\'', ' ', '/', '\n', '\r']).unwrap_or(rest.len()))?;
        let (login, _) = authority.rsplit_once('@')?;
        Some(start + login.find(':')? + 1..start + login.len())
    });
    for span in secrets.iter().cloned().chain(tokens).chain(passwords) {
        for byte in bytes.get_mut(span).into_iter().flatten() {
            if !matches!(byte, b'"' | b'\'' | b'\n' | b'\r') {
                *byte = b'*';
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// The word among those that exist which was most likely meant.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let word = word.to_lowercase();
    let distance = |candidate: &str| match candidate.to_lowercase() {
        // An abbreviation: `mem` for `memory`.
        candidate if word.len() >= 3 && candidate.starts_with(&word) => 1,
        candidate => strsim::damerau_levenshtein(&word, &candidate),
    };
    known
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
