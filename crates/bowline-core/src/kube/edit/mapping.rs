//! Keys of mappings: those that are there get other values, those that are missing are put in, in the file's own style.

use granit_parser::ScalarStyle;
use serde_json::Value;

use super::{Draft, Page, Setting, Splice, line};
use crate::kube::manifest::document::{Content, Mark, Node, NodeId, Note};
use crate::kube::manifest::scalar::{Scalar, resolve};

/// How far lines are indented where a file does not show it.
const STEP: &str = "  ";

/// What a key is to hold.
pub(super) enum Goal {
    /// A scalar that needs no quotes.
    Scalar(String),
    /// A mapping in which these keys hold that. Others stay as they are.
    Mapping(Vec<(&'static str, Goal)>),
}

/// The nodes and the place of a mapping.
pub(super) struct Place<'n, 't> {
    pub(super) node: &'n Node<'t>,
    pub(super) document: usize,
    /// Where it is in its document.
    pub(super) pointer: String,
}

impl<'n, 't> Place<'n, 't> {
    fn below(&self, key: &str, node: &'n Node<'t>) -> Self {
        Self { node, document: self.document, pointer: format!("{}/{key}", self.pointer) }
    }
}

/// How a mapping is written.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// A line for each key.
    Block(Lines),
    /// In braces.
    Flow(Flow),
}

#[derive(Debug, Clone)]
pub(super) struct Lines {
    /// What stands before a key.
    indent: String,
    /// What is added to that for what lies within.
    step: String,
}

impl Lines {
    fn deeper(&self) -> Self {
        Self { indent: format!("{}{}", self.indent, self.step), step: self.step.clone() }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Flow {
    /// Whether keys have double quotes, as in JSON: then texts get them, too.
    quoted: bool,
    /// Whether no spaces follow on `:` and `,`.
    tight: bool,
    /// Whether spaces stand inside of the braces.
    padded: bool,
    /// How its lines are indented; none where it is written in one.
    lines: Option<Lines>,
}

impl Flow {
    fn deeper(&self) -> Self {
        Self { lines: self.lines.as_ref().map(Lines::deeper), ..self.clone() }
    }
}

impl Page<'_> {
    /// Drafts what brings a mapping to its goals. `form` is that of the mapping it lies in.
    pub(super) fn settle(
        &self,
        place: &Place<'_, '_>,
        goals: &[(&'static str, Goal)],
        form: &Form,
        draft: &mut Draft,
    ) -> Result<(), Note> {
        let refuse = |reason: &str| Err(Note::new(place.node.at, reason));
        let Content::Mapping(entries) = &place.node.content else {
            return refuse("no mapping stands here: change it by hand");
        };
        if place.node.tag.is_some() {
            return refuse("this has a tag of YAML: change it by hand");
        }
        let form = self.form(place.node, form);
        let mut missing = Vec::new();
        for (key, goal) in goals {
            match self.entry(entries, key)? {
                Some((name, value)) => {
                    let value = place.below(key, self.own(*value)?);
                    self.bring(*name, &value, goal, &form, draft)?;
                }
                None => missing.push((*key, goal)),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let quoted = matches!(&form, Form::Flow(flow) if flow.quoted);
        for (key, goal) in &missing {
            intend(place, &format!("{}/{key}", place.pointer), goal, quoted, draft);
        }
        self.add(place.node, entries, &form, &missing, draft)
    }

    /// Drafts what brings the value of a key to its goal. `form` is that of the mapping it lies in.
    fn bring(
        &self,
        key: NodeId,
        value: &Place<'_, '_>,
        goal: &Goal,
        form: &Form,
        draft: &mut Draft,
    ) -> Result<(), Note> {
        let node = value.node;
        match goal {
            Goal::Mapping(goals) if matches!(node.content, Content::Mapping(_)) => {
                self.settle(value, goals, form, draft)
            }
            Goal::Mapping(goals) => {
                let style = self.quoting(node)?;
                let null = matches!(&node.content, Content::Scalar(text, _) if resolve(text) == Scalar::Null);
                if style != ScalarStyle::Plain || !null {
                    return Err(Note::new(node.at, "no mapping stands here: change it by hand"));
                }
                let quoted = matches!(form, Form::Flow(flow) if flow.quoted);
                intend(value, &value.pointer, goal, quoted, draft);
                self.fill(key, node, goals, form, draft)
            }
            Goal::Scalar(text) => {
                let style = self.quoting(node)?;
                let quoted = self.is_double_quoted(key) && matches!(form, Form::Flow(_));
                let (new, meant) = match style {
                    ScalarStyle::SingleQuoted => (format!("'{text}'"), Value::from(text.as_str())),
                    ScalarStyle::DoubleQuoted => (format!("\"{text}\""), Value::from(text.as_str())),
                    // What is no number has quotes in JSON.
                    _ if quoted && !is_number(text) => (format!("\"{text}\""), Value::from(text.as_str())),
                    _ => (text.clone(), meaning(text)),
                };
                draft.settings.push(Setting {
                    document: value.document,
                    pointer: value.pointer.clone(),
                    value: meant,
                });
                let splice = if node.bytes.is_empty() {
                    self.after_key(key, node.at, &new)
                } else {
                    Splice { bytes: node.bytes.clone(), new, at: node.at }
                };
                draft.splices.push(splice);
                Ok(())
            }
        }
    }

    /// Puts a mapping where a key has nothing, or `null`.
    fn fill(
        &self,
        key: NodeId,
        node: &Node<'_>,
        goals: &[(&'static str, Goal)],
        form: &Form,
        draft: &mut Draft,
    ) -> Result<(), Note> {
        let goals: Vec<_> = goals.iter().map(|(key, goal)| (*key, goal)).collect();
        let colon = self.colon(key);
        let written = if node.bytes.is_empty() { colon..colon } else { node.bytes.clone() };
        let between = self.text.get(colon..written.start).unwrap_or_default();
        match form {
            Form::Block(lines) if between.trim_matches([' ', '\t']).is_empty() => {
                let end = self.end_of_line(written.end, node.at)?;
                if !node.bytes.is_empty() {
                    draft.splices.push(Splice { bytes: colon..written.end, new: String::new(), at: node.at });
                }
                let new = block(&goals, &lines.deeper(), line::kind_of_break(self.text, end));
                draft.splices.push(Splice { bytes: end..end, new, at: node.at });
            }
            _ => {
                let flow = match form {
                    Form::Flow(flow) => flow.deeper(),
                    Form::Block(_) => Flow::default(),
                };
                let new = braced(&goals, &flow, line::kind_of_break(self.text, written.end));
                draft.splices.push(if node.bytes.is_empty() {
                    self.after_key(key, node.at, &new)
                } else {
                    Splice { bytes: written, new, at: node.at }
                });
            }
        }
        Ok(())
    }

    /// Puts keys at the end of a mapping.
    fn add(
        &self,
        node: &Node<'_>,
        entries: &[(NodeId, NodeId)],
        form: &Form,
        goals: &[(&str, &Goal)],
        draft: &mut Draft,
    ) -> Result<(), Note> {
        match form {
            Form::Block(lines) => {
                // Behind a block of lines nobody sees where it ends: then what is added stands before that.
                let last = entries.iter().rev().find_map(|(key, value)| self.end(Some(*key), *value));
                let last = last.ok_or_else(|| {
                    Note::new(node.at, "there is no good place for another key here: change it by hand")
                })?;
                let end = self.end_of_line(last, node.at)?;
                let end = line::past_comments(self.text, end, lines.indent.len());
                let new = block(goals, lines, line::kind_of_break(self.text, end));
                draft.splices.push(Splice { bytes: end..end, new, at: node.at });
                Ok(())
            }
            Form::Flow(flow) => self.add_in_braces(node, entries.last(), flow, goals, draft),
        }
    }

    fn add_in_braces(
        &self,
        node: &Node<'_>,
        last: Option<&(NodeId, NodeId)>,
        flow: &Flow,
        goals: &[(&str, &Goal)],
        draft: &mut Draft,
    ) -> Result<(), Note> {
        let mut put = |bytes, new| draft.splices.push(Splice { bytes, new, at: node.at });
        let Some((key, value)) = last else {
            let inside = node.bytes.start + 1..node.bytes.end.saturating_sub(1).max(node.bytes.start + 1);
            if self.text.get(inside.clone()).is_some_and(|inside| inside.trim().is_empty()) {
                put(node.bytes.clone(), braced(goals, flow, line::kind_of_break(self.text, node.bytes.end)));
            } else {
                // A comment, which stays.
                let flow = Flow { lines: None, ..flow.clone() };
                put(inside.start..inside.start, entries_in_line(goals, &flow));
            }
            return Ok(());
        };
        let end = self.end(Some(*key), *value);
        let end = end.ok_or_else(|| {
            Note::new(node.at, "there is no good place for another key here: change it by hand")
        })?;
        let over = line::end(self.text, end);
        let rest = self.text.get(end..over).unwrap_or_default();
        let behind_comma = rest.trim_start_matches([' ', '\t']).strip_prefix(',');
        match &flow.lines {
            Some(lines) if line::is_over(behind_comma.unwrap_or(rest)) => {
                if behind_comma.is_none() {
                    put(end..end, ",".into());
                }
                let mut new = entries_in_lines(goals, flow, lines, line::kind_of_break(self.text, over));
                if behind_comma.is_some() {
                    new.push(',');
                }
                put(over..over, new);
            }
            _ => {
                let comma = if flow.tight { "," } else { ", " };
                let flow = Flow { lines: None, ..flow.clone() };
                put(end..end, format!("{comma}{}", entries_in_line(goals, &flow)));
            }
        }
        Ok(())
    }

    /// How a mapping is written that lies in one of another form, or else of this.
    pub(super) fn form(&self, node: &Node<'_>, outer: &Form) -> Form {
        let entries: &[(NodeId, NodeId)] = match &node.content {
            Content::Mapping(entries) => entries,
            _ => &[],
        };
        let outer_step = match outer {
            Form::Block(lines) | Form::Flow(Flow { lines: Some(lines), .. }) => lines.step.as_str(),
            Form::Flow(_) => STEP,
        };
        if node.flow {
            let deeper = match outer {
                Form::Flow(flow) => flow.deeper(),
                Form::Block(_) => Flow::default(),
            };
            let Some((last, value)) = entries.last() else { return Form::Flow(deeper) };
            let start = |id: NodeId| self.documents.node(id).map_or(0, |node| node.bytes.start);
            let indent = line::before(self.text, start(*last));
            let lines = indent.trim().is_empty().then(|| {
                let above = line::indentation(line::before(self.text, node.bytes.start));
                let step = indent.strip_prefix(above).filter(|step| !step.is_empty());
                Lines { indent: indent.to_owned(), step: step.unwrap_or(outer_step).to_owned() }
            });
            let quoted = self.is_double_quoted(*last);
            let tight = quoted && self.text.get(self.colon(*last)..start(*value)) == Some("");
            let inside = self.text.get(node.bytes.start + 1..).unwrap_or_default();
            let padded = lines.is_none() && inside.starts_with(' ');
            return Form::Flow(Flow { quoted, tight, padded, lines });
        }
        let mut nested = entries.iter().filter_map(|(_, value)| self.documents.node(*value));
        let step = nested.find_map(|child| self.step(node, child));
        let indent = " ".repeat(self.column(node).unwrap_or_default());
        Form::Block(Lines { indent, step: step.unwrap_or_else(|| outer_step.to_owned()) })
    }

    /// The form of the last mapping of a trail, whose steps may show how far lines are indented.
    pub(super) fn form_along(&self, trail: &[&Node<'_>]) -> Form {
        let step = |pair: &[&Node<'_>]| match pair {
            [parent, child] => self.step(parent, child),
            _ => None,
        };
        let step = trail.windows(2).rev().find_map(step).unwrap_or_else(|| STEP.to_owned());
        Form::Block(Lines { indent: String::new(), step })
    }

    /// How much further in the keys of a mapping stand than those of the one it lies in.
    fn step(&self, parent: &Node<'_>, child: &Node<'_>) -> Option<String> {
        let further = self.column(child)?.checked_sub(self.column(parent)?)?;
        (further > 0).then(|| " ".repeat(further))
    }

    /// How many columns stand before the keys of a mapping that has a line for each.
    fn column(&self, node: &Node<'_>) -> Option<usize> {
        let Content::Mapping(entries) = &node.content else { return None };
        let (first, _) = entries.first().filter(|_| !node.flow)?;
        let at = self.documents.node(*first)?.at;
        usize::try_from(at.column).ok()?.checked_sub(1)
    }

    fn is_double_quoted(&self, key: NodeId) -> bool {
        let content = self.documents.node(key).map(|node| &node.content);
        matches!(content, Some(Content::Scalar(_, ScalarStyle::DoubleQuoted)))
    }

    /// Behind a key and its colon.
    fn colon(&self, key: NodeId) -> usize {
        let end = self.documents.node(key).map_or(0, |key| key.bytes.end);
        let rest = self.text.get(end..).unwrap_or_default();
        let colon = rest.trim_start_matches([' ', '\t']);
        if colon.starts_with(':') { end + rest.len() - colon.len() + 1 } else { end }
    }

    /// A value for a key that has none.
    fn after_key(&self, key: NodeId, at: Mark, value: &str) -> Splice {
        let colon = self.colon(key);
        let before = self.text.get(..colon).unwrap_or_default();
        // In braces, a key alone has no colon.
        let new = if before.ends_with(':') { format!(" {value}") } else { format!(": {value}") };
        Splice { bytes: colon..colon, new, at }
    }

    /// Where a value ends, if its bytes show it. `key` is where it belongs to, if to a key.
    fn end(&self, key: Option<NodeId>, value: NodeId) -> Option<usize> {
        let node = self.documents.node(value)?;
        match &node.content {
            Content::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded) => None,
            Content::Scalar(..) if node.bytes.is_empty() => key.map(|key| self.colon(key)),
            Content::Sequence(items) if !node.flow => self.end(None, *items.last()?),
            Content::Mapping(entries) if !node.flow => {
                let (key, value) = entries.last()?;
                self.end(Some(*key), *value)
            }
            _ => {
                let written = self.text.get(node.bytes.clone())?;
                Some(node.bytes.start + written.trim_end().len())
            }
        }
    }

    /// The end of a line in which nothing but a comment follows.
    fn end_of_line(&self, from: usize, at: Mark) -> Result<usize, Note> {
        let end = line::end(self.text, from);
        let rest = self.text.get(from..end).unwrap_or_default();
        if line::is_over(rest) {
            return Ok(end);
        }
        Err(Note::new(at, "there is no good place for another key here: change it by hand"))
    }
}

/// Notes what is to be meant by what is put in.
fn intend(place: &Place<'_, '_>, pointer: &str, goal: &Goal, quoted: bool, draft: &mut Draft) {
    match goal {
        Goal::Scalar(text) => {
            let value = if quoted { Value::from(text.as_str()) } else { meaning(text) };
            draft.settings.push(Setting { document: place.document, pointer: pointer.to_owned(), value });
        }
        Goal::Mapping(goals) => {
            for (key, goal) in goals {
                intend(place, &format!("{pointer}/{key}"), goal, quoted, draft);
            }
        }
    }
}

/// What a scalar means without quotes.
fn meaning(text: &str) -> Value {
    match resolve(text) {
        Scalar::Int(number) => Value::from(number),
        Scalar::Unsigned(number) => Value::from(number),
        _ => Value::from(text),
    }
}

fn is_number(text: &str) -> bool {
    meaning(text).is_number()
}

/// Lines that follow on another.
fn block(goals: &[(&str, &Goal)], lines: &Lines, newline: &str) -> String {
    let mut written = String::new();
    for (key, goal) in goals {
        written.push_str(&format!("{newline}{}{key}:", lines.indent));
        match goal {
            Goal::Scalar(text) => written.push_str(&format!(" {text}")),
            Goal::Mapping(goals) => {
                let goals: Vec<_> = goals.iter().map(|(key, goal)| (*key, goal)).collect();
                written.push_str(&block(&goals, &lines.deeper(), newline));
            }
        }
    }
    written
}

/// A mapping in braces. The form is that of what stands in it.
fn braced(goals: &[(&str, &Goal)], flow: &Flow, newline: &str) -> String {
    match &flow.lines {
        Some(lines) => {
            let outside = lines.indent.strip_suffix(&lines.step).unwrap_or_default();
            format!("{{{}{newline}{outside}}}", entries_in_lines(goals, flow, lines, newline))
        }
        None if flow.padded => format!("{{ {} }}", entries_in_line(goals, flow)),
        None => format!("{{{}}}", entries_in_line(goals, flow)),
    }
}

fn entries_in_line(goals: &[(&str, &Goal)], flow: &Flow) -> String {
    let entries: Vec<String> = goals.iter().map(|(key, goal)| in_braces(key, goal, flow, "\n")).collect();
    entries.join(if flow.tight { "," } else { ", " })
}

/// Lines that follow on another.
fn entries_in_lines(goals: &[(&str, &Goal)], flow: &Flow, lines: &Lines, newline: &str) -> String {
    let entry = |(key, goal): &(&str, &Goal)| {
        format!("{newline}{}{}", lines.indent, in_braces(key, goal, flow, newline))
    };
    goals.iter().map(entry).collect::<Vec<_>>().join(",")
}

fn in_braces(key: &str, goal: &Goal, flow: &Flow, newline: &str) -> String {
    let quote = if flow.quoted { "\"" } else { "" };
    let colon = if flow.tight { ":" } else { ": " };
    let value = match goal {
        Goal::Scalar(text) => format!("{quote}{text}{quote}"),
        Goal::Mapping(goals) => {
            let goals: Vec<_> = goals.iter().map(|(key, goal)| (*key, goal)).collect();
            braced(&goals, &flow.deeper(), newline)
        }
    };
    format!("{quote}{key}{quote}{colon}{value}")
}
