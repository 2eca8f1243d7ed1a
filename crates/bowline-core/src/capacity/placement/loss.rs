//! What becomes of the pods of a node that is lost.

use super::report::Refusal;
use super::{Plan, Start};

/// What the loss of one node means.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// The node.
    pub node: String,
    /// The pods that find another node, and which.
    pub moved: Vec<(String, String)>,
    /// Those that find none, and why.
    pub waiting: Vec<(String, Refusal)>,
    /// Those that are gone with it: of DaemonSets, its own, and those that name it.
    pub gone: Vec<String>,
}

impl Plan<'_> {
    /// What the loss of each node in turn would mean, by the nodes' names. All other pods stay where they are, and what
    /// waits now goes on waiting.
    pub fn lose_each(&mut self) -> Vec<Loss> {
        let mut by_node: Vec<Vec<usize>> = vec![Vec::new(); self.field.terrain.nodes.len()];
        for (place, entry) in self.entries.iter().enumerate() {
            if let Some(there) = entry.at.and_then(|node| by_node.get_mut(node)) {
                there.push(place);
            }
        }
        by_node.into_iter().enumerate().map(|(node, pods)| self.lose(node, pods)).collect()
    }

    fn lose(&mut self, node: usize, pods: Vec<usize>) -> Loss {
        for place in &pods {
            self.take(*place);
        }
        self.board.switch(&self.field, node, false);
        let bound = |place: &usize| {
            self.entries.get(*place).is_some_and(|entry| {
                matches!(entry.start, Start::Named(_) | Start::Meant(_))
                    || matches!(entry.pod.owner.kind.as_str(), "DaemonSet" | "Node")
            })
        };
        let (gone, moving): (Vec<usize>, Vec<usize>) = pods.into_iter().partition(bound);
        let mut waiting = moving.clone();
        loop {
            let before = waiting.len();
            waiting.retain(|place| !self.seat(*place));
            if waiting.len() == before {
                break;
            }
        }
        let name = |place: &usize| {
            let node = self.entries.get(*place)?.at?;
            Some((self.title(*place), self.field.terrain.name(node).to_owned()))
        };
        let loss = Loss {
            node: self.field.terrain.name(node).to_owned(),
            moved: moving.iter().filter_map(name).collect(),
            waiting: waiting.iter().map(|place| (self.title(*place), self.refuse(*place))).collect(),
            gone: gone.iter().map(|place| self.title(*place)).collect(),
        };
        for place in &moving {
            self.take(*place);
        }
        self.board.switch(&self.field, node, true);
        for place in moving.into_iter().chain(gone) {
            self.put(place, node);
        }
        loss
    }
}
