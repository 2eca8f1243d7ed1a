//! What all pods with the same labels and the same `spec` have in common. It is found out once.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kube::order::mention::list;
use crate::kube::scheduling::HostPort;
use crate::kube::scheduling::node::Node;
use crate::kube::workload::labels;

use super::claim::{Claims, bar_by_volume};
use super::demand::Demand;
use super::matcher::Namespaces;
use super::obstacle::Bar;
use super::rule::{Reading, Rules, complete};
use super::tally::Book;
use super::terrain::Terrain;
use super::{Owner, Pod, Setting};

/// Who a pod is, to the rules of others.
pub(super) struct Kin<'a> {
    pub(super) namespace: &'a str,
    pub(super) labels: BTreeMap<&'a str, &'a str>,
    /// The owner whose pods the scheduler spreads by itself.
    pub(super) crew: Option<usize>,
    pub(super) daemon: bool,
    network: bool,
}

impl Kin<'_> {
    /// Taints that such a pod tolerates without saying so: the API server and the controller of DaemonSets add that.
    pub(super) fn spares(&self, key: &str, effect: &str) -> bool {
        let Some(condition) = key.strip_prefix("node.kubernetes.io/") else { return false };
        match condition {
            "not-ready" | "unreachable" => effect == "NoExecute",
            "disk-pressure" | "memory-pressure" | "pid-pressure" | "unschedulable" => {
                self.daemon && effect == "NoSchedule"
            }
            "network-unavailable" => self.daemon && self.network && effect == "NoSchedule",
            _ => false,
        }
    }
}

pub(super) struct Shape<'a> {
    pub(super) spec: &'a Value,
    pub(super) kin: Kin<'a>,
    pub(super) gated: bool,
    pub(super) demand: usize,
    pub(super) reach: usize,
    pub(super) images: usize,
    pub(super) ports: Vec<HostPort>,
    pub(super) claims: Claims<'a>,
    pub(super) rules: Rules,
}

impl Shape<'_> {
    /// What keeps its pods from a node whatever else is there: the scheduler's order, with the volumes after the room.
    pub(super) fn bar_by_node(&self, node: &Node<'_>) -> Option<Bar> {
        let spared = |key: &str, effect: &str| self.kin.spares(key, effect);
        let cordon = if spared("node.kubernetes.io/unschedulable", "NoSchedule") {
            None
        } else {
            node.bar_by_cordon(self.spec)
        };
        let bar = cordon.or_else(|| node.bar_by_taint(self.spec, spared));
        bar.or_else(|| node.bar_by_affinity(self.spec)).map(Bar::Node)
    }

    pub(super) fn bar_by_volumes(&self, node: &Node<'_>) -> Option<Bar> {
        self.claims.volumes.iter().find_map(|(name, volume)| bar_by_volume(node, name, volume))
    }
}

/// Which nodes take pods, room and company apart, and what they would rather.
pub(super) struct Reach {
    /// The nodes that take them, in the order of their names.
    pub(super) open: Vec<usize>,
    /// By node: taints that would rather not, and weights of wishes that it meets.
    pub(super) reserves: Vec<i64>,
    pub(super) wishes: Vec<i64>,
    pub(super) wishing: bool,
}

/// All shapes, and what they share.
pub(super) struct Shapes<'a> {
    pub(super) list: Vec<Shape<'a>>,
    known: BTreeMap<String, usize>,
    pub(super) demands: Vec<Demand>,
    known_demands: BTreeMap<String, usize>,
    pub(super) reaches: Vec<Reach>,
    known_reaches: BTreeMap<String, usize>,
    /// For each list of images, a shape that has it.
    pub(super) images: Vec<usize>,
    known_images: BTreeMap<String, usize>,
    crews: BTreeMap<(&'a str, &'a Owner), usize>,
    pub(super) book: Book<'a>,
    namespaces: Namespaces<'a>,
}

impl<'a> Shapes<'a> {
    pub(super) fn new(setting: &Setting<'a>, pods: &'a [Pod<'a>]) -> Self {
        let unlisted = pods.iter().map(|pod| (pod.namespace, None));
        let listed = setting.namespaces.iter().map(|(name, labels)| (*name, Some(*labels)));
        Self {
            list: Vec::new(),
            known: BTreeMap::new(),
            demands: Vec::new(),
            known_demands: BTreeMap::new(),
            reaches: Vec::new(),
            known_reaches: BTreeMap::new(),
            images: Vec::new(),
            known_images: BTreeMap::new(),
            crews: BTreeMap::new(),
            book: Book::default(),
            namespaces: unlisted.chain(listed).collect(),
        }
    }

    /// The shape of a pod.
    pub(super) fn place(
        &mut self,
        pod: &'a Pod<'a>,
        setting: &Setting<'a>,
        terrain: &mut Terrain<'a>,
    ) -> usize {
        let owner = &pod.owner;
        let labelled = pod.labels.map(Value::to_string);
        let key = format!("{} {owner:?} {labelled:?} {}", pod.namespace, pod.spec);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let kin = self.read_kin(pod);
        let spec = pod.spec;
        let rules =
            Reading { spec, kin: &kin, namespaces: &self.namespaces, terrain, book: &mut self.book }.read();
        let demand = self.place_demand(Demand::read(spec, terrain));
        let mut shape = Shape {
            spec,
            gated: list(spec, "/schedulingGates").next().is_some(),
            demand,
            reach: 0,
            images: self.place_images(spec),
            ports: HostPort::of(spec).into_iter().collect(),
            claims: Claims::read(spec, pod.namespace, setting.storage.as_ref()),
            kin,
            rules,
        };
        shape.reach = self.place_reach(&shape, terrain);
        self.list.push(shape);
        self.known.insert(key, self.list.len() - 1);
        self.list.len() - 1
    }

    /// Brings every shape's rules together with those of all others.
    pub(super) fn complete(&mut self) {
        for shape in &mut self.list {
            complete(&mut shape.rules, &shape.kin, &self.book);
        }
    }

    fn read_kin(&mut self, pod: &'a Pod<'a>) -> Kin<'a> {
        let spread = matches!(
            pod.owner.kind.as_str(),
            "Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController"
        );
        let next = self.crews.len();
        Kin {
            namespace: pod.namespace,
            labels: labels(pod.labels).collect(),
            crew: spread.then(|| *self.crews.entry((pod.namespace, &pod.owner)).or_insert(next)),
            daemon: pod.owner.kind == "DaemonSet",
            network: pod.spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false),
        }
    }

    fn place_demand(&mut self, demand: Demand) -> usize {
        let key = format!("{:?} {:?} {:?}", demand.row, demand.weight, demand.least);
        let next = self.demands.len();
        let place = *self.known_demands.entry(key).or_insert(next);
        if place == next {
            self.demands.push(demand);
        }
        place
    }

    fn place_images(&mut self, spec: &Value) -> usize {
        let all = list(spec, "/initContainers").chain(list(spec, "/containers"));
        let key = format!("{:?}", all.map(|each| each.get("image")).collect::<Vec<_>>());
        let next = self.images.len();
        let place = *self.known_images.entry(key).or_insert(next);
        if place == next {
            self.images.push(self.list.len());
        }
        place
    }

    fn place_reach(&mut self, shape: &Shape<'a>, terrain: &Terrain<'a>) -> usize {
        let part = |pointer: &str| shape.spec.pointer(pointer).map(Value::to_string);
        let volumes: Vec<&str> = shape.claims.volumes.iter().map(|(name, _)| *name).collect();
        let (selector, affinity) = (part("/nodeSelector"), part("/affinity/nodeAffinity"));
        let (tolerations, kin) = (part("/tolerations"), (shape.kin.daemon, shape.kin.network));
        let key = format!("{selector:?} {affinity:?} {tolerations:?} {kin:?} {volumes:?}");
        let next = self.reaches.len();
        let place = *self.known_reaches.entry(key).or_insert(next);
        if place == next {
            let takes =
                |node: &Node<'_>| shape.bar_by_node(node).is_none() && shape.bar_by_volumes(node).is_none();
            let nodes = || terrain.nodes.iter();
            let preferred = "/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution";
            self.reaches.push(Reach {
                open: nodes().enumerate().filter(|(_, node)| takes(node)).map(|(place, _)| place).collect(),
                reserves: nodes().map(|node| node.count_reserves(shape.spec)).collect(),
                wishes: nodes().map(|node| node.weigh_preferences(shape.spec)).collect(),
                wishing: list(shape.spec, preferred).next().is_some(),
            });
        }
        place
    }
}
