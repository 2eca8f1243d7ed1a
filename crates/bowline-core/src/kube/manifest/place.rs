//! From an object of a file, and a JSON pointer in it, to where that stands.

use std::collections::BTreeMap;

use super::document::{Content, Documents, Mark, NodeId};

/// An object of a file: a document, or an item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kube) struct Object {
    /// The number of its document, among those that could be read.
    pub(in crate::kube) document: usize,
    /// Where in the document it is, as a JSON pointer.
    pub(in crate::kube) pointer: String,
    pub(in crate::kube) node: NodeId,
}

/// Whatever could be an object, by where it begins.
pub(in crate::kube) fn objects(documents: &Documents<'_>) -> BTreeMap<Mark, Object> {
    let mut found = BTreeMap::new();
    let root = |(document, node): (usize, &NodeId)| Object { document, pointer: String::new(), node: *node };
    let mut open: Vec<Object> = documents.roots.iter().enumerate().map(root).collect();
    while let Some(object) = open.pop() {
        // An aliased list would be walked once for every alias: objects have a place of their own.
        let Some(node) = documents.node(object.node) else { continue };
        open.extend(items(documents, object.node).into_iter().enumerate().map(|(index, node)| Object {
            document: object.document,
            pointer: format!("{}/items/{index}", object.pointer),
            node,
        }));
        found.insert(node.at, object);
    }
    found
}

/// The items of a list, where they stand in its own mapping.
pub(super) fn items(documents: &Documents<'_>, list: NodeId) -> Vec<NodeId> {
    let own = documents.node(list).filter(|node| matches!(node.content, Content::Mapping(_)));
    let items = own.and_then(|_| documents.entry(list, "items")).and_then(|items| documents.node(items));
    match items.map(|items| &items.content) {
        Some(Content::Sequence(items)) => items.clone(),
        _ => Vec::new(),
    }
}

/// The parts of a JSON pointer.
pub(in crate::kube) fn parts(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"))
}

/// Where what a pointer names stands, through aliases and `<<`: as near as it is written.
pub(in crate::kube) fn locate(documents: &Documents<'_>, object: &Object, pointer: &str) -> Option<Mark> {
    let mut id = object.node;
    for part in parts(pointer) {
        match step(documents, id, &part) {
            Some(next) => id = next,
            None => break,
        }
    }
    documents.node(id).map(|node| node.at)
}

fn step(documents: &Documents<'_>, id: NodeId, part: &str) -> Option<NodeId> {
    match &documents.resolved(id)?.1.content {
        Content::Sequence(items) => items.get(part.parse::<usize>().ok()?).copied(),
        Content::Mapping(entries) => documents.entry(id, part).or_else(|| {
            let mut merges = entries.iter().filter(|(key, _)| documents.is_merge(*key));
            merges.find_map(|(_, source)| documents.entry(*source, part))
        }),
        _ => None,
    }
}
