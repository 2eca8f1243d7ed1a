//! Images in the files of teams that keep them in git: the bytes of those values change, and no others.

use std::collections::BTreeSet;
use std::ops::Range;

use granit_parser::ScalarStyle;
use serde_json::Value;

use super::manifest::document::{Content, Documents, Mark, Node, NodeId, Note};
use super::manifest::place::{Object, objects, parts};
use super::manifest::scalar::{Scalar, resolve};
use super::manifest::value::Reader;
use super::manifest::{Remark, brief};
use super::object::Origin;
use crate::reference::Reference;

/// One image that is to be another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Where the object begins that it is in: [`super::object::Manifest::origin`].
    pub object: Origin,
    /// Where it is in that object, as a JSON pointer.
    pub pointer: String,
    /// What stands there.
    pub from: String,
    /// What is to stand there.
    pub to: String,
}

/// A change on its way into the text.
struct Splice {
    bytes: Range<usize>,
    new: String,
    /// The value, without quotes.
    to: String,
    document: usize,
    /// Where it is in the document.
    pointer: String,
    at: Mark,
}

/// The text of a file with those of the changes that are about it. Everything else stays, byte for byte.
///
/// # Errors
/// What cannot be changed, with its place and the reason; then nothing is: a value that is shared by an anchor, an alias
/// or `<<`, one that is written over several lines, or one that is not what it was.
pub fn edit(file: &str, text: &str, changes: &[Change]) -> Result<String, Vec<Remark>> {
    let told = |notes: Vec<Note>| -> Vec<Remark> {
        notes.into_iter().map(|note| Remark { at: note.at.origin(file), message: note.message }).collect()
    };
    let documents = Documents::parse(text);
    if !documents.errors.is_empty() {
        return Err(told(documents.errors));
    }
    let page = Page { text, documents: &documents, shared: documents.shared() };
    let objects = objects(&documents);
    let (mut splices, mut refused) = (Vec::new(), Vec::new());
    for change in changes.iter().filter(|change| change.object.file == file) {
        let at = Mark::of_origin(&change.object);
        let object = objects.get(&at).ok_or_else(|| Note::new(at, "no object begins here any more"));
        match object.and_then(|object| page.splice(object, change)) {
            Ok(splice) => splices.extend(splice),
            Err(note) => refused.push(note),
        }
    }
    splices.sort_by_key(|splice| (splice.bytes.start, splice.bytes.end));
    splices.dedup_by(|one, other| one.bytes == other.bytes && one.to == other.to);
    let overlap = |pair: &[Splice]| match pair {
        [one, other] if one.bytes.end > other.bytes.start => {
            Some(Note::new(other.at, "this image is to be two different ones"))
        }
        _ => None,
    };
    refused.extend(splices.windows(2).filter_map(overlap));
    if !refused.is_empty() {
        return Err(told(refused));
    }
    let changed = page.apply(&splices).map_err(|note| told(vec![note]))?;
    page.verify(&changed, &splices).map_err(told)?;
    Ok(changed)
}

/// A file's text, read.
struct Page<'d, 't> {
    text: &'t str,
    documents: &'d Documents<'t>,
    /// The nodes that aliases stand for.
    shared: BTreeSet<NodeId>,
}

impl Page<'_, '_> {
    /// None where it stands there already.
    fn splice(&self, object: &Object, change: &Change) -> Result<Option<Splice>, Note> {
        let node = self.find(object.node, &change.pointer)?;
        let refuse = |reason: String| Note::new(node.at, reason);
        let Content::Scalar(value, style) = &node.content else {
            return Err(refuse("there is no text here".into()));
        };
        if *value == change.to {
            return Ok(None);
        }
        if *value != change.from {
            let (value, from) = (brief(value), brief(&change.from));
            return Err(refuse(format!("`{value}` stands here, and not `{from}`")));
        }
        if node.anchored {
            return Err(refuse(
                "the image has an anchor, by which others may use it: change it by hand".into(),
            ));
        }
        if node.tag.is_some() {
            return Err(refuse("the image has a tag of YAML: change it by hand".into()));
        }
        let raw = self.text.get(node.bytes.clone()).unwrap_or_default();
        if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
            return Err(refuse("the image is written as a block of lines: change it by hand".into()));
        }
        if raw.contains(['\n', '\r']) {
            return Err(refuse("the image is written over several lines: change it by hand".into()));
        }
        if change.to.parse::<Reference>().is_err() {
            return Err(refuse(format!("`{}` is no image reference", brief(&change.to))));
        }
        let to = change.to.clone();
        // No reference holds a quote or a backslash.
        let new = match style {
            ScalarStyle::Plain if is_plain(&to) => to.clone(),
            ScalarStyle::SingleQuoted => format!("'{to}'"),
            _ => format!("\"{to}\""),
        };
        let pointer = format!("{}{}", object.pointer, change.pointer);
        let document = object.document;
        Ok(Some(Splice { bytes: node.bytes.clone(), new, to, document, pointer, at: node.at }))
    }

    /// The node that a pointer names, as far as nothing else has a part in it.
    fn find(&self, object: NodeId, pointer: &str) -> Result<&Node<'_>, Note> {
        let mut node = self.own(object)?;
        for part in parts(pointer) {
            let here = node.at;
            let next = match &node.content {
                Content::Sequence(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
                Content::Mapping(entries) => {
                    let named = |(key, _): &&(NodeId, NodeId)| self.documents.text(*key) == Some(&part);
                    let merge = entries.iter().find(|(key, _)| self.documents.is_merge(*key));
                    let found = entries.iter().find(named);
                    if let (Some((key, _)), None) = (merge, found) {
                        let at = self.documents.node(*key).map_or(here, |key| key.at);
                        return Err(Note::new(
                            at,
                            "`<<` brings the image here: change it where it is written, by hand",
                        ));
                    }
                    found.map(|(_, value)| value)
                }
                _ => None,
            };
            let next = next.ok_or_else(|| Note::new(here, format!("there is no `{}` here", brief(&part))))?;
            node = self.own(*next)?;
        }
        Ok(node)
    }

    /// A node that is written where it is, and used nowhere else.
    fn own(&self, id: NodeId) -> Result<&Node<'_>, Note> {
        let node = self.documents.node(id);
        let node = node.ok_or_else(|| Note::new(Mark { line: 1, column: 1 }, "there is no such value"))?;
        match node.content {
            Content::Alias(_) => Err(Note::new(
                node.at,
                "the image comes from an alias: change it where it is written, by hand",
            )),
            _ if self.shared.contains(&id) => Err(Note::new(
                node.at,
                "aliases use this elsewhere, and would change with it: change it by hand",
            )),
            _ => Ok(node),
        }
    }

    fn apply(&self, splices: &[Splice]) -> Result<String, Note> {
        let mut changed = String::with_capacity(self.text.len() + 64 * splices.len());
        let mut end = 0;
        for splice in splices {
            let cut = || Note::new(splice.at, "the value's bytes are not where they should be");
            changed.push_str(self.text.get(end..splice.bytes.start).ok_or_else(cut)?);
            changed.push_str(&splice.new);
            end = splice.bytes.end;
        }
        changed.push_str(self.text.get(end..).unwrap_or_default());
        Ok(changed)
    }

    /// Whether the changed text means what it meant, but for the changes.
    fn verify(&self, changed: &str, splices: &[Splice]) -> Result<(), Vec<Note>> {
        let start = Mark { line: 1, column: 1 };
        let mut expected = values(self.documents)?;
        for splice in splices {
            let value = expected.get_mut(splice.document).and_then(|root| root.pointer_mut(&splice.pointer));
            let missing =
                || vec![Note::new(splice.at, "this value has no place of its own: change it by hand")];
            *value.ok_or_else(missing)? = Value::from(splice.to.as_str());
        }
        let documents = Documents::parse(changed);
        if !documents.errors.is_empty() || values(&documents)? != expected {
            let at = splices.first().map_or(start, |splice| splice.at);
            return Err(vec![Note::new(
                at,
                "the file would mean something else afterwards: change it by hand",
            )]);
        }
        Ok(())
    }
}

/// What all documents of a text mean.
fn values(documents: &Documents<'_>) -> Result<Vec<Value>, Vec<Note>> {
    let mut reader = Reader::new(documents);
    let values = documents.roots.iter().map(|root| reader.read(*root)).collect();
    if reader.problems.is_empty() { Ok(values) } else { Err(reader.problems) }
}

/// Whether a reference needs no quotes, for kubectl and for readers of YAML 1.2 alike.
fn is_plain(reference: &str) -> bool {
    reference.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !reference.contains(['[', ']'])
        && resolve(reference) == Scalar::Text
}

#[cfg(test)]
mod tests;
