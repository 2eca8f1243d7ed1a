//! Values in the files of teams that keep them in git: the bytes of those change, and no others.

use std::collections::BTreeSet;
use std::ops::Range;

use granit_parser::ScalarStyle;
use serde_json::Value;

use super::manifest::document::{Content, Documents, Mark, Node, NodeId, Note};
use super::manifest::place::{Object, parts};
use super::manifest::value::Reader;
use super::manifest::{Remark, brief};

mod image;
mod line;
mod mapping;
mod resources;

pub use image::{Change, edit};
pub use resources::{Amounts, Wanted, edit_resources};

/// Bytes that give way to others.
struct Splice {
    bytes: Range<usize>,
    new: String,
    at: Mark,
}

/// A value that a document is to hold afterwards.
struct Setting {
    document: usize,
    /// Where it is in the document. What leads there may be missing, or null.
    pointer: String,
    value: Value,
}

/// What is to happen to a text, and what it is to mean then.
#[derive(Default)]
struct Draft {
    splices: Vec<Splice>,
    settings: Vec<Setting>,
}

/// A file's text, read.
struct Page<'t> {
    text: &'t str,
    documents: Documents<'t>,
    /// What each of the documents means.
    values: Vec<Value>,
    /// The nodes that aliases stand for.
    shared: BTreeSet<NodeId>,
}

impl<'t> Page<'t> {
    fn read(text: &'t str) -> Result<Self, Vec<Note>> {
        let mut documents = Documents::parse(text);
        if !documents.errors.is_empty() {
            return Err(std::mem::take(&mut documents.errors));
        }
        let mut reader = Reader::new(&documents);
        let values = documents.roots.iter().map(|root| reader.read(*root)).collect();
        if !reader.problems.is_empty() {
            return Err(reader.problems);
        }
        let shared = documents.shared();
        Ok(Self { text, documents, values, shared })
    }

    /// The nodes from an object to what a pointer names, as far as nothing else has a part in them.
    fn walk(&self, object: &Object, pointer: &str) -> Result<Vec<&Node<'t>>, Note> {
        let mut node = self.own(object.node)?;
        let mut trail = vec![node];
        for part in parts(pointer) {
            let here = node.at;
            let next = match &node.content {
                Content::Sequence(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
                Content::Mapping(entries) => self.entry(entries, &part)?.map(|(_, value)| value),
                _ => None,
            };
            let next = next.ok_or_else(|| Note::new(here, format!("there is no `{}` here", brief(&part))))?;
            node = self.own(*next)?;
            trail.push(node);
        }
        Ok(trail)
    }

    /// A key that is written in a mapping, and its value. What `<<` brings is not told from what it does not.
    fn entry<'e>(
        &self,
        entries: &'e [(NodeId, NodeId)],
        name: &str,
    ) -> Result<Option<&'e (NodeId, NodeId)>, Note> {
        let found = entries.iter().find(|(key, _)| self.documents.text(*key) == Some(name));
        let merge = entries.iter().find(|(key, _)| self.documents.is_merge(*key));
        match (found, merge.and_then(|(key, _)| self.documents.node(*key))) {
            (None, Some(merge)) => {
                let name = brief(name);
                Err(Note::new(
                    merge.at,
                    format!("`<<` may bring `{name}` here: change it where it is written, by hand"),
                ))
            }
            _ => Ok(found),
        }
    }

    /// A node that is written where it is, and used nowhere else.
    fn own(&self, id: NodeId) -> Result<&Node<'t>, Note> {
        let node = self.documents.node(id);
        let node = node.ok_or_else(|| Note::new(Mark { line: 1, column: 1 }, "there is no such value"))?;
        match node.content {
            Content::Alias(_) => {
                Err(Note::new(node.at, "this comes from an alias: change it where it is written, by hand"))
            }
            _ if self.shared.contains(&id) => Err(Note::new(
                node.at,
                "aliases use this elsewhere, and would change with it: change it by hand",
            )),
            _ => Ok(node),
        }
    }

    /// How a scalar is quoted whose bytes are all that there is to it.
    fn quoting(&self, node: &Node<'_>) -> Result<ScalarStyle, Note> {
        let refuse = |reason: &str| Err(Note::new(node.at, format!("{reason}: change it by hand")));
        let Content::Scalar(_, style) = &node.content else {
            return refuse("a list or a mapping stands here");
        };
        if node.anchored {
            return refuse("this has an anchor, by which others may use it");
        }
        if node.tag.is_some() {
            return refuse("this has a tag of YAML");
        }
        if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
            return refuse("this is written as a block of lines");
        }
        if self.text.get(node.bytes.clone()).unwrap_or_default().contains(['\n', '\r']) {
            return refuse("this is written over several lines");
        }
        Ok(*style)
    }

    /// The text with what is drafted, if it then means what is drafted and nothing else.
    fn change(&self, mut draft: Draft) -> Result<String, Vec<Note>> {
        // What is put in at one place stays in the order in which it was drafted.
        draft.splices.sort_by_key(|splice| (splice.bytes.start, splice.bytes.end));
        let changed = self.apply(&draft.splices).map_err(|note| vec![note])?;
        self.verify(&changed, draft)?;
        Ok(changed)
    }

    fn apply(&self, splices: &[Splice]) -> Result<String, Note> {
        let added: usize = splices.iter().map(|splice| splice.new.len()).sum();
        let mut changed = String::with_capacity(self.text.len() + added);
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

    fn verify(&self, changed: &str, draft: Draft) -> Result<(), Vec<Note>> {
        let mut expected = self.values.clone();
        let at = draft.splices.first().map_or(Mark { line: 1, column: 1 }, |splice| splice.at);
        let set = draft.settings.into_iter().all(|Setting { document, pointer, value }| {
            expected.get_mut(document).is_some_and(|root| set(root, &pointer, value))
        });
        match Page::read(changed) {
            Ok(page) if set && page.values == expected => Ok(()),
            _ => Err(vec![Note::new(at, "the file would mean something else afterwards: change it by hand")]),
        }
    }
}

/// Puts a value where a pointer says, with the mappings that lead there. False where something else is in the way.
fn set(root: &mut Value, pointer: &str, value: Value) -> bool {
    let mut here = root;
    for part in parts(pointer) {
        if here.is_null() {
            *here = Value::Object(serde_json::Map::new());
        }
        let next = match here {
            Value::Object(map) => Some(map.entry(part).or_insert(Value::Null)),
            Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return false };
        here = next;
    }
    *here = value;
    true
}

/// Notes about a text as remarks about its file.
fn remarks(file: &str, notes: Vec<Note>) -> Vec<Remark> {
    notes.into_iter().map(|note| Remark { at: note.at.origin(file), message: note.message }).collect()
}
