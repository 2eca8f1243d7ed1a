//! Other images where manifests name some.

use granit_parser::ScalarStyle;
use serde_json::Value;

use super::{Draft, Page, Setting, Splice, remarks};
use crate::kube::manifest::document::{Content, Mark, Note};
use crate::kube::manifest::place::{Object, objects};
use crate::kube::manifest::scalar::{Scalar, resolve};
use crate::kube::manifest::{Remark, brief};
use crate::kube::object::Origin;
use crate::reference::Reference;

/// One image that is to be another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Where the object begins that it is in: [`crate::kube::object::Manifest::origin`].
    pub object: Origin,
    /// Where it is in that object, as a JSON pointer.
    pub pointer: String,
    /// What stands there.
    pub from: String,
    /// What is to stand there.
    pub to: String,
}

/// The text of a file with those of the changes that are about it. Everything else stays, byte for byte.
///
/// # Errors
/// What cannot be changed, with its place and the reason; then nothing is: a value that is shared by an anchor, an alias
/// or `<<`, one that is written over several lines, or one that is not what it was.
pub fn edit(file: &str, text: &str, changes: &[Change]) -> Result<String, Vec<Remark>> {
    let page = Page::read(text).map_err(|notes| remarks(file, notes))?;
    let objects = objects(&page.documents);
    let (mut draft, mut refused) = (Draft::default(), Vec::new());
    for change in changes.iter().filter(|change| change.object.file == file) {
        let at = Mark::of_origin(&change.object);
        let object = objects.get(&at).ok_or_else(|| Note::new(at, "no object begins here any more"));
        match object.and_then(|object| page.replace(object, change)) {
            Ok(Some((splice, setting))) => {
                draft.splices.push(splice);
                draft.settings.push(setting);
            }
            Ok(None) => {}
            Err(note) => refused.push(note),
        }
    }
    draft.splices.sort_by_key(|splice| (splice.bytes.start, splice.bytes.end));
    draft.splices.dedup_by(|one, other| one.bytes == other.bytes && one.new == other.new);
    let overlap = |pair: &[Splice]| match pair {
        [one, other] if one.bytes.end > other.bytes.start => {
            Some(Note::new(other.at, "this image is to be two different ones"))
        }
        _ => None,
    };
    refused.extend(draft.splices.windows(2).filter_map(overlap));
    if !refused.is_empty() {
        return Err(remarks(file, refused));
    }
    page.change(draft).map_err(|notes| remarks(file, notes))
}

impl Page<'_> {
    /// None where it stands there already.
    fn replace(&self, object: &Object, change: &Change) -> Result<Option<(Splice, Setting)>, Note> {
        let trail = self.walk(object, &change.pointer)?;
        let Some(node) = trail.last() else { return Ok(None) };
        let refuse = |reason: String| Note::new(node.at, reason);
        let Content::Scalar(value, _) = &node.content else {
            return Err(refuse("there is no text here".into()));
        };
        if *value == change.to {
            return Ok(None);
        }
        if *value != change.from {
            let (value, from) = (brief(value), brief(&change.from));
            return Err(refuse(format!("`{value}` stands here, and not `{from}`")));
        }
        let style = self.quoting(node)?;
        let to = &change.to;
        if to.parse::<Reference>().is_err() {
            return Err(refuse(format!("`{}` is no image reference", brief(to))));
        }
        // No reference holds a quote or a backslash.
        let new = match style {
            ScalarStyle::Plain if is_plain(to) => to.clone(),
            ScalarStyle::SingleQuoted => format!("'{to}'"),
            _ => format!("\"{to}\""),
        };
        let pointer = format!("{}{}", object.pointer, change.pointer);
        let setting = Setting { document: object.document, pointer, value: Value::from(to.as_str()) };
        Ok(Some((Splice { bytes: node.bytes.clone(), new, at: node.at }, setting)))
    }
}

/// Whether a reference needs no quotes, for kubectl and for readers of YAML 1.2 alike.
fn is_plain(reference: &str) -> bool {
    reference.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !reference.contains(['[', ']'])
        && resolve(reference) == Scalar::Text
}

#[cfg(test)]
mod tests;
