//! The pods that a rolling update starts before others go.

use super::report::Refusal;
use super::{Owner, Plan};

/// What a rolling update needs for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Surge {
    /// Whose update it is.
    pub owner: Owner,
    /// Where the pods more go.
    pub nodes: Vec<String>,
    /// How many find no node.
    pub waiting: u64,
    /// Why not.
    pub refusal: Refusal,
}

impl Plan<'_> {
    /// Places so many pods more of each owner (`kube::scheduling::surge_of` says how many) beside all that are placed, and
    /// takes them away again; `together` is whether all owners are updated at once, or one after the other. The new pods
    /// are taken to be like the owner's first one. An owner without pods in the plan is left out.
    pub fn surge(&mut self, extra: &[(String, Owner, u64)], together: bool) -> Vec<Surge> {
        let mut put = Vec::new();
        let mut found = Vec::new();
        for (namespace, owner, pods) in extra {
            let like = self
                .entries
                .iter()
                .position(|entry| entry.pod.owner == *owner && entry.pod.namespace == namespace);
            if let Some(like) = like {
                found.push(self.grow(like, owner, *pods, &mut put));
            }
            if !together {
                self.shrink(&mut put);
            }
        }
        self.shrink(&mut put);
        found
    }

    fn grow(&mut self, like: usize, owner: &Owner, pods: u64, put: &mut Vec<(usize, usize)>) -> Surge {
        let mut surge =
            Surge { owner: owner.clone(), nodes: Vec::new(), waiting: 0, refusal: Refusal::default() };
        let Some(shape) = self.entries.get(like).map(|entry| entry.shape) else { return surge };
        for done in 0..pods {
            let Some(node) = self.best(shape, None) else {
                surge.waiting = pods - done;
                surge.refusal = self.refuse(like);
                break;
            };
            self.board.bind(&self.field, shape, node);
            put.push((shape, node));
            surge.nodes.push(self.field.terrain.name(node).to_owned());
        }
        surge
    }

    fn shrink(&mut self, put: &mut Vec<(usize, usize)>) {
        for (shape, node) in put.drain(..) {
            self.board.unbind(&self.field, shape, node);
        }
    }
}
