//! What is waited for by custom: nothing names it, and yet pods do better after it.

use std::collections::BTreeMap;

use crate::kube::object::Manifest;

use super::mention::{Mention, subjects, text};
use super::ordering::{Edge, Entry};
use super::rank::{is_binding, is_last, is_policy, runs_pods, until};
use super::reason::Reason;
use super::{Barrier, Node, Until};

/// What a custom is about.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Policies(Option<String>),
    Services(Option<String>),
    Rights(Option<String>, String),
    Volumes(String),
    Pods,
}

impl Topic {
    fn barrier(&self, part: usize) -> Barrier {
        match self {
            Self::Policies(namespace) => Barrier::Policies { namespace: namespace.clone(), part },
            Self::Services(namespace) => Barrier::Services { namespace: namespace.clone(), part },
            Self::Rights(namespace, account) => {
                Barrier::Rights { namespace: namespace.clone(), account: account.clone(), part }
            }
            Self::Volumes(class) => Barrier::Volumes { class: class.clone(), part },
            Self::Pods => Barrier::Pods { part },
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Policies(_) => Reason::Limit,
            Self::Services(_) => Reason::Discovery,
            Self::Rights(..) => Reason::Right,
            Self::Volumes(_) => Reason::Volume,
            Self::Pods => Reason::Last,
        }
    }
}

/// Those of a topic that have passed, barrier by barrier.
#[derive(Default)]
struct Chain {
    parts: usize,
    barrier: Option<Node>,
    passed: Vec<Edge>,
}

/// Looks at all objects in the row in which they are applied. Who waits does so for those that stand before it in that
/// row, and for no others: so there are no circles, and a row that people asked for wins over customs.
#[derive(Default)]
pub(super) struct Chains(BTreeMap<Topic, Chain>);

impl Chains {
    /// Lets the next object of the row pass: gives the edges that custom adds to it, and puts barriers that it waits at
    /// before it.
    pub(super) fn pass(
        &mut self,
        manifest: &Manifest,
        mentions: &[Mention],
        entries: &mut Vec<Entry>,
    ) -> Vec<Edge> {
        let mut edges = Vec::new();
        for topic in waited_for(manifest, mentions) {
            let Some(chain) = self.0.get_mut(&topic) else { continue };
            if !chain.passed.is_empty() {
                let node = Node::Barrier(topic.barrier(chain.parts));
                let mut after = std::mem::take(&mut chain.passed);
                let before = chain.barrier.replace(node.clone());
                after.extend(before.map(|to| Edge { to, until: Until::Ready, why: Reason::Member }));
                entries.push(Entry { node, after });
                chain.parts += 1;
            }
            let barrier = chain.barrier.iter().cloned();
            edges.extend(barrier.map(|to| Edge { to, until: Until::Ready, why: topic.reason() }));
        }
        for topic in stands_for(manifest) {
            let to = Node::Object(manifest.id.clone());
            let edge = Edge { to, until: until(&manifest.id.kind), why: Reason::Member };
            self.0.entry(topic).or_default().passed.push(edge);
        }
        edges
    }
}

fn waited_for(manifest: &Manifest, mentions: &[Mention]) -> Vec<Topic> {
    let (kind, namespace) = (&manifest.id.kind, manifest.id.namespace.clone());
    if runs_pods(kind) {
        let account = mentions.iter().find(|mention| mention.why == Reason::Account);
        let rights = account.map(|account| Topic::Rights(namespace.clone(), account.target.name.clone()));
        let mut topics = vec![Topic::Policies(namespace.clone()), Topic::Services(namespace)];
        topics.extend(rights);
        topics
    } else if kind.is("", "PersistentVolumeClaim") {
        let bound = text(&manifest.value, "/spec/volumeName").is_some();
        text(&manifest.value, "/spec/storageClassName")
            .filter(|_| !bound)
            .map(|class| Topic::Volumes(class.to_owned()))
            .into_iter()
            .collect()
    } else if is_last(kind) {
        vec![Topic::Pods]
    } else {
        Vec::new()
    }
}

fn stands_for(manifest: &Manifest) -> Vec<Topic> {
    let (kind, namespace) = (&manifest.id.kind, manifest.id.namespace.clone());
    if is_policy(kind) {
        vec![Topic::Policies(namespace)]
    } else if kind.is("", "Service") {
        vec![Topic::Services(namespace)]
    } else if is_binding(kind) {
        let rights = subjects(&manifest.value).map(|(elsewhere, account)| {
            Topic::Rights(elsewhere.map(str::to_owned).or_else(|| namespace.clone()), account.to_owned())
        });
        rights.collect()
    } else if kind.is("", "PersistentVolume") {
        let class = text(&manifest.value, "/spec/storageClassName");
        class.map(|class| Topic::Volumes(class.to_owned())).into_iter().collect()
    } else if runs_pods(kind) {
        vec![Topic::Pods]
    } else {
        Vec::new()
    }
}
