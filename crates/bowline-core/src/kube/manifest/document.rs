//! YAML and JSON text as a tree that knows where everything stands.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span, StructureStyle, Tag};

use crate::kube::object::Origin;

/// How deep values may lie within each other. `serde_json`, which reads them back from where they are stored, ends at 128.
pub(in crate::kube) const DEPTH: usize = 100;
/// How many values a file may hold: twice what the largest bundles of custom resource definitions do.
const VALUES: usize = 500_000;
/// How many syntax errors of one file are told: behind the first few they are the consequences of each other.
const ERRORS: usize = 10;

/// A place in a text: line and column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kube) struct Mark {
    pub(in crate::kube) line: u32,
    pub(in crate::kube) column: u32,
}

impl Mark {
    fn of(marker: &Marker) -> Self {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Self { line: number(marker.line()), column: number(marker.col().saturating_add(1)) }
    }

    pub(in crate::kube) fn of_origin(origin: &Origin) -> Self {
        Self { line: origin.line, column: origin.column }
    }

    pub(in crate::kube) fn origin(self, file: &str) -> Origin {
        Origin { file: file.to_owned(), line: self.line, column: self.column }
    }
}

/// Something to say about a place in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kube) struct Note {
    pub(in crate::kube) at: Mark,
    pub(in crate::kube) message: String,
}

impl Note {
    pub(in crate::kube) fn new(at: Mark, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

/// A node's place in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kube) struct NodeId(usize);

/// What a node is.
#[derive(Debug)]
pub(in crate::kube) enum Content<'t> {
    /// A text as its quotes and escapes mean it.
    Scalar(Cow<'t, str>, ScalarStyle),
    Sequence(Vec<NodeId>),
    Mapping(Vec<(NodeId, NodeId)>),
    Alias(NodeId),
}

/// One value, or what stands for it.
#[derive(Debug)]
pub(in crate::kube) struct Node<'t> {
    pub(in crate::kube) content: Content<'t>,
    pub(in crate::kube) at: Mark,
    /// Its bytes; those of a collection without brackets are where it begins.
    pub(in crate::kube) bytes: Range<usize>,
    /// Whether it is a collection in brackets.
    pub(in crate::kube) flow: bool,
    pub(in crate::kube) anchored: bool,
    /// The whole tag, e.g. `tag:yaml.org,2002:str`.
    pub(in crate::kube) tag: Option<String>,
}

/// All documents of a text.
#[derive(Debug, Default)]
pub(in crate::kube) struct Documents<'t> {
    nodes: Vec<Node<'t>>,
    /// The documents that could be read, in their order.
    pub(in crate::kube) roots: Vec<NodeId>,
    /// Why the others could not.
    pub(in crate::kube) errors: Vec<Note>,
}

impl<'t> Documents<'t> {
    /// Reads a text. After an error it goes on with the next document.
    pub(in crate::kube) fn parse(text: &'t str) -> Self {
        let mut options = granit_parser::options! {};
        options.set_emit_comments(false);
        let mut parser = Parser::new_from_str_with_options(text, options);
        let mut builder = Builder::default();
        while let Some(next) = parser.next_event() {
            match next {
                Ok((event, span)) => {
                    if let Err(limit) = builder.take(event, &span) {
                        builder.documents.errors.push(limit);
                        break;
                    }
                }
                Err(error) => {
                    let note =
                        Note::new(Mark::of(error.marker()), format!("not valid YAML: {}", error.info()));
                    builder.documents.errors.push(note);
                    builder.abandon();
                    let more = parser.proceed_next_document().unwrap_or(false);
                    if !more || builder.documents.errors.len() >= ERRORS {
                        break;
                    }
                }
            }
        }
        builder.documents
    }

    /// A node; none for the id of another tree.
    pub(in crate::kube) fn node(&self, id: NodeId) -> Option<&Node<'t>> {
        self.nodes.get(id.0)
    }

    /// What a node is, aliases followed.
    pub(in crate::kube) fn resolved(&self, id: NodeId) -> Option<(NodeId, &Node<'t>)> {
        let node = self.node(id)?;
        match node.content {
            // An alias stands for what was anchored before it, and that is no alias.
            Content::Alias(target) => Some((target, self.node(target)?)),
            _ => Some((id, node)),
        }
    }

    /// The text of a scalar.
    pub(in crate::kube) fn text(&self, id: NodeId) -> Option<&str> {
        match &self.resolved(id)?.1.content {
            Content::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// The value of a key that is written in a mapping.
    pub(in crate::kube) fn entry(&self, id: NodeId, key: &str) -> Option<NodeId> {
        match &self.resolved(id)?.1.content {
            Content::Mapping(entries) => {
                entries.iter().rev().find(|(name, _)| self.text(*name) == Some(key)).map(|(_, value)| *value)
            }
            _ => None,
        }
    }

    /// Whether a key is `<<`, which takes over another mapping's entries.
    pub(in crate::kube) fn is_merge(&self, key: NodeId) -> bool {
        self.node(key).is_some_and(
            |node| matches!(&node.content, Content::Scalar(text, ScalarStyle::Plain) if text == "<<"),
        )
    }

    /// The nodes that aliases stand for.
    pub(in crate::kube) fn shared(&self) -> BTreeSet<NodeId> {
        let target = |node: &Node<'t>| match node.content {
            Content::Alias(target) => Some(target),
            _ => None,
        };
        self.nodes.iter().filter_map(target).collect()
    }
}

#[derive(Debug, Default)]
struct Builder<'t> {
    documents: Documents<'t>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, NodeId>,
    root: Option<NodeId>,
}

/// A collection whose end has not come yet.
#[derive(Debug)]
struct Open {
    node: NodeId,
    /// The key whose value comes next.
    key: Option<NodeId>,
}

impl<'t> Builder<'t> {
    /// Forgets the document that an error cut off.
    fn abandon(&mut self) {
        self.open.clear();
        self.anchors.clear();
        self.root = None;
    }

    fn take(&mut self, event: Event<'t>, span: &Span) -> Result<(), Note> {
        match event {
            Event::DocumentStart(..) => self.abandon(),
            Event::DocumentEnd => {
                let root = self.root.take();
                self.documents.roots.extend(root);
                self.abandon();
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.add(Content::Scalar(text, style), anchor, tag.as_deref(), span)?;
            }
            Event::SequenceStart(style, anchor, tag) => {
                let node = self.add(Content::Sequence(Vec::new()), anchor, tag.as_deref(), span)?;
                self.enter(node, style, span)?;
            }
            Event::MappingStart(style, anchor, tag) => {
                let node = self.add(Content::Mapping(Vec::new()), anchor, tag.as_deref(), span)?;
                self.enter(node, style, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(span),
            Event::Alias(anchor) => {
                let Some(target) = self.anchors.get(&anchor).copied() else { return Ok(()) };
                if self.open.iter().any(|open| open.node == target) {
                    return Err(Note::new(
                        Mark::of(&span.start),
                        "this alias stands for what it is a part of",
                    ));
                }
                self.add(Content::Alias(target), 0, None, span)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, node: NodeId, style: StructureStyle, span: &Span) -> Result<(), Note> {
        if self.open.len() >= DEPTH {
            let message = format!("values lie within each other more than {DEPTH} deep here");
            return Err(Note::new(Mark::of(&span.start), message));
        }
        self.open.push(Open { node, key: None });
        if let Some(node) = self.documents.nodes.get_mut(node.0) {
            node.flow = style == StructureStyle::Flow;
        }
        Ok(())
    }

    fn leave(&mut self, span: &Span) {
        let closed = self.open.pop().and_then(|open| self.documents.nodes.get_mut(open.node.0));
        if let (Some(node), Some(bracket)) = (closed.filter(|node| node.flow), span.byte_range()) {
            node.bytes.end = bracket.end;
        }
    }

    fn add(
        &mut self,
        content: Content<'t>,
        anchor: usize,
        tag: Option<&Tag>,
        span: &Span,
    ) -> Result<NodeId, Note> {
        let at = Mark::of(&span.start);
        let id = NodeId(self.documents.nodes.len());
        if id.0 >= VALUES {
            return Err(Note::new(at, format!("the file holds more than {VALUES} values")));
        }
        let tag = tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix()));
        let bytes = span.byte_range().unwrap_or_default();
        self.documents.nodes.push(Node { content, at, bytes, flow: false, anchored: anchor != 0, tag });
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(id);
            return Ok(id);
        };
        match self.documents.nodes.get_mut(open.node.0).map(|parent| &mut parent.content) {
            Some(Content::Sequence(items)) => items.push(id),
            Some(Content::Mapping(entries)) => match open.key.take() {
                None => open.key = Some(id),
                Some(key) => entries.push((key, id)),
            },
            _ => {}
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the scalars of a text stand, with their bytes.
    fn scalars(text: &str) -> Vec<(String, u32, u32, &str)> {
        let documents = Documents::parse(text);
        assert_eq!(documents.errors, []);
        let scalar = |node: &Node<'_>| match &node.content {
            Content::Scalar(value, _) => {
                Some((value.to_string(), node.at.line, node.at.column, &text[node.bytes.clone()]))
            }
            _ => None,
        };
        documents.nodes.iter().filter_map(scalar).collect()
    }

    #[test]
    fn every_scalar_knows_its_place_in_characters_and_in_bytes() {
        let text = "\u{feff}ä: \"q\\n\"\r\n'ü': !!str plain # c\r\n---\r\nlist: [a, &x b]\r\n";
        let found = scalars(text);
        let found: Vec<_> = found.iter().map(|(v, l, c, raw)| (v.as_str(), *l, *c, *raw)).collect();
        assert_eq!(
            found,
            [
                ("ä", 1, 1, "ä"),
                ("q\n", 1, 4, "\"q\\n\""),
                ("ü", 2, 1, "'ü'"),
                ("plain", 2, 12, "plain"),
                ("list", 4, 1, "list"),
                ("a", 4, 8, "a"),
                ("b", 4, 14, "b"),
            ]
        );
    }

    #[test]
    fn what_is_in_brackets_knows_where_they_end() {
        let text = "a: [x, {b: 1, c: {}} ]  # c\nd:\n- e: {\n  f: [g: 1] }\n";
        let documents = Documents::parse(text);
        let flows = documents.nodes.iter().filter(|node| node.flow).map(|node| &text[node.bytes.clone()]);
        let flows: Vec<_> = flows.filter(|raw| raw.starts_with(['[', '{'])).collect();
        let expected = ["[x, {b: 1, c: {}} ]", "{b: 1, c: {}}", "{}", "{\n  f: [g: 1] }", "[g: 1]"];
        assert_eq!(flows, expected);
    }

    #[test]
    fn an_error_costs_one_document() {
        let documents = Documents::parse("a: [1\n---\nb: 1\n---\nc: 'x\n---\nd: 2\n");
        let roots: Vec<_> =
            documents.roots.iter().map(|root| documents.node(*root).unwrap().at.line).collect();
        assert_eq!(roots, [3, 7]);
        assert_eq!(documents.errors.len(), 2, "{:?}", documents.errors);
    }

    #[test]
    fn json_is_yaml() {
        let found = scalars("{\n\t\"a\\u0041\": \"x\\/\\ud83d\\ude00\", \"b\":1}");
        let found: Vec<_> = found.iter().map(|(value, ..)| value.as_str()).collect();
        assert_eq!(found, ["aA", "x/😀", "b", "1"]);
    }
}
