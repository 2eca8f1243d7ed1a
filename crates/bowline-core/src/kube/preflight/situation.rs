//! A release against the cluster that it is for: what is there, and what the release's pods want.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::kube::object::{Kind, Manifest, ObjectId};
use crate::kube::order::mention::{list, text};
use crate::kube::order::runs_pods;
use crate::kube::workload::{labels, pod_spec, template};

use super::Cluster;
use super::node::{Bar, Node};
use super::pod::{HostPort, RunningPod};
use super::reference::Reference;
use super::request::{Defaults, Requests, Side, of_pod};
use super::rollout::Strategy;
use super::selector::selects;

/// Whether something is there once the release is applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sight<'a> {
    There(&'a Value),
    Absent,
    /// Nobody could look.
    Unknown,
}

pub(super) struct Situation<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) ours: BTreeMap<&'a ObjectId, &'a Manifest>,
    pub(super) nodes: Vec<Node<'a>>,
    /// Everything of the release that runs pods.
    pub(super) workloads: Vec<Workload<'a>>,
}

/// An object of the release that runs pods.
pub(super) struct Workload<'a> {
    pub(super) manifest: &'a Manifest,
    /// The pods' `spec`.
    pub(super) spec: &'a Value,
    pub(super) labels: BTreeMap<&'a str, &'a str>,
    /// How many pods it is to run; none of a CronJob's count, as they come and go.
    pub(super) replicas: u64,
    /// Its pods that run now, by their place in the cluster's list.
    pub(super) present: BTreeSet<usize>,
    pub(super) requests: Requests,
    pub(super) limits: Requests,
    pub(super) ports: BTreeSet<HostPort>,
    /// How its pods are replaced.
    pub(super) strategy: Strategy,
    /// Whether this release may bring new pods of it.
    pub(super) changes: bool,
    /// The nodes that take its pods, by their place; room does not count here.
    pub(super) eligible: Vec<usize>,
    /// Why the other nodes do not, and how many say so.
    pub(super) bars: BTreeMap<Bar, u64>,
}

impl Workload<'_> {
    pub(super) fn is(&self, group: &str, kind: &str) -> bool {
        self.manifest.id.kind.is(group, kind)
    }

    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).copied()
    }

    /// Whether a new pod of it must run before an old one may go. Where it has more pods than it is to have, some go
    /// anyway.
    pub(super) fn is_tight(&self) -> bool {
        let replicas = usize::try_from(self.replicas).unwrap_or(usize::MAX);
        self.strategy.is_tight() && replicas > 0 && self.present.len() <= replicas
    }

    /// Whether its pods may push others off a node: then a full node is no proof.
    pub(super) fn preempts(&self) -> bool {
        text(self.spec, "/priorityClassName").is_some()
            && text(self.spec, "/preemptionPolicy") != Some("Never")
    }
}

impl<'a> Situation<'a> {
    pub(super) fn new(objects: &'a [Manifest], cluster: &'a Cluster) -> Self {
        let mut ours = BTreeMap::new();
        for manifest in objects {
            ours.entry(&manifest.id).or_insert(manifest);
        }
        let nodes = cluster.nodes.iter().filter_map(Node::read).collect();
        let mut situation = Self { cluster, ours, nodes, workloads: Vec::new() };
        situation.workloads = situation.read_workloads();
        situation
    }

    /// Whether an object is there, in the release or in the cluster.
    pub(super) fn find(&self, id: &ObjectId) -> Sight<'a> {
        if let Some(manifest) = self.ours.get(id) {
            return Sight::There(&manifest.value);
        }
        if let Some(value) = self.cluster.existing.get(id) {
            return Sight::There(value);
        }
        let all = |namespace: Option<&String>| Reference::All {
            kind: id.kind.clone(),
            namespace: namespace.cloned(),
        };
        let unread = [Reference::Object(id.clone()), all(id.namespace.as_ref()), all(None)];
        let unknown = unread.iter().any(|reference| self.cluster.unreadable.contains(reference));
        if unknown { Sight::Unknown } else { Sight::Absent }
    }

    /// The object of the release as the cluster has it now.
    pub(super) fn live(&self, id: &ObjectId) -> Option<&'a Value> {
        self.cluster.existing.get(id)
    }

    /// All objects of a kind, in one namespace or (none) of the whole cluster: the release's, then what else there is.
    pub(super) fn of_kind(
        &self,
        group: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = (&'a ObjectId, &'a Value)> {
        let from = ObjectId {
            kind: Kind::new(group, kind),
            namespace: namespace.map(str::to_owned),
            name: String::new(),
        };
        let alike = {
            let from = from.clone();
            move |id: &&ObjectId| id.kind == from.kind && id.namespace == from.namespace
        };
        let ours: Vec<(&'a ObjectId, &'a Value)> = self
            .ours
            .range::<ObjectId, _>(from.clone()..)
            .map(|(id, manifest)| (*id, &manifest.value))
            .take_while(|(id, _)| alike(id))
            .collect();
        let known: BTreeSet<&ObjectId> = ours.iter().map(|(id, _)| *id).collect();
        let existing = self.cluster.existing.range(from..);
        let existing: Vec<(&'a ObjectId, &'a Value)> =
            existing.take_while(|(id, _)| alike(id)).filter(|(id, _)| !known.contains(id)).collect();
        ours.into_iter().chain(existing)
    }

    /// The workloads of the release in a namespace.
    pub(super) fn in_namespace(&self, namespace: Option<&str>) -> impl Iterator<Item = &Workload<'a>> {
        self.workloads.iter().filter(move |workload| workload.manifest.id.namespace.as_deref() == namespace)
    }

    /// The pods of the cluster in these places.
    pub(super) fn pods(&self, places: &BTreeSet<usize>) -> impl Iterator<Item = &'a RunningPod> {
        let pods = &self.cluster.pods;
        places.iter().filter_map(move |place| pods.get(*place))
    }

    /// The autoscaler of an object, if it has one.
    pub(super) fn autoscaler(&self, id: &ObjectId) -> Option<(&'a ObjectId, &'a Value)> {
        self.of_kind("autoscaling", "HorizontalPodAutoscaler", id.namespace.as_deref()).find(|(_, value)| {
            text(value, "/spec/scaleTargetRef/kind") == Some(&id.kind.kind)
                && text(value, "/spec/scaleTargetRef/name") == Some(&id.name)
        })
    }

    fn read_workloads(&self) -> Vec<Workload<'a>> {
        let pods = Pods::new(&self.cluster.pods);
        let mut defaults: BTreeMap<Option<&str>, Defaults> = BTreeMap::new();
        let mut workloads = Vec::new();
        for manifest in self.ours.values().filter(|manifest| runs_pods(&manifest.id.kind)) {
            let namespace = manifest.id.namespace.as_deref();
            let defaults = defaults.entry(namespace).or_insert_with(|| {
                Defaults::read(self.of_kind("", "LimitRange", namespace).map(|(_, value)| value))
            });
            workloads.extend(self.read_workload(manifest, defaults, &pods));
        }
        workloads
    }

    fn read_workload(
        &self,
        manifest: &'a Manifest,
        defaults: &Defaults,
        pods: &Pods<'_>,
    ) -> Option<Workload<'a>> {
        let kind = &manifest.id.kind;
        let spec = pod_spec(kind, &manifest.value)?;
        let metadata = template(kind, &manifest.value).and_then(|template| template.get("metadata"));
        let reach = self.reach(manifest.id.namespace.as_deref(), spec);
        let daemon = kind.kind == "DaemonSet";
        let (mut eligible, mut bars) = (Vec::new(), BTreeMap::new());
        for (place, node) in self.nodes.iter().enumerate() {
            match node.bar(spec, daemon, &reach) {
                None => eligible.push(place),
                Some(bar) => *bars.entry(bar).or_default() += 1,
            }
        }
        let replicas = self.replicas(manifest, eligible.len());
        let candidates = pods.like(manifest).iter().copied();
        let present =
            candidates.filter(|place| self.cluster.pods.get(*place).is_some_and(|pod| owns(manifest, pod)));
        Some(Workload {
            manifest,
            spec,
            labels: metadata.map(|metadata| labels(metadata.get("labels")).collect()).unwrap_or_default(),
            replicas,
            present: present.collect(),
            requests: of_pod(spec, Side::Requests, defaults),
            limits: of_pod(spec, Side::Limits, defaults),
            ports: HostPort::of(spec),
            strategy: Strategy::read(manifest, replicas),
            changes: !self.cluster.unchanged.contains(&manifest.id),
            eligible,
            bars,
        })
    }

    fn replicas(&self, manifest: &Manifest, eligible: usize) -> u64 {
        let number = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_u64);
        match manifest.id.kind.kind.as_str() {
            "CronJob" => 0,
            "DaemonSet" => u64::try_from(eligible).unwrap_or(u64::MAX),
            "Job" => {
                let at_once = number(&manifest.value, "/spec/parallelism").unwrap_or(1);
                number(&manifest.value, "/spec/completions").map_or(at_once, |all| all.min(at_once))
            }
            "Pod" => 1,
            // A manifest that says nothing leaves the number as it is.
            _ => number(&manifest.value, "/spec/replicas")
                .or_else(|| number(self.live(&manifest.id)?, "/spec/replicas"))
                .or_else(|| number(self.autoscaler(&manifest.id)?.1, "/spec/minReplicas"))
                .unwrap_or(1),
        }
    }

    /// The volumes that are bound to some nodes, among those that pods mount: their names and node affinity.
    fn reach(&self, namespace: Option<&str>, spec: &'a Value) -> Vec<(&'a str, &'a Value)> {
        let volumes = claims(spec).filter_map(|name| self.volume_of(namespace, name));
        volumes
            .filter_map(|(name, value)| Some((name, value.pointer("/spec/nodeAffinity/required")?)))
            .collect()
    }

    /// The volume to which a claim is or will be bound, as far as that is known.
    pub(super) fn volume_of(&self, namespace: Option<&str>, claim: &str) -> Option<(&'a str, &'a Value)> {
        let Sight::There(claim) = self.find(&claim_id(namespace, claim)) else { return None };
        let live = identify_live(self, namespace, claim);
        let name = text(claim, "/spec/volumeName").or_else(|| text(live?, "/spec/volumeName"))?;
        match self.find(&ObjectId::of_cluster("", "PersistentVolume", name)) {
            Sight::There(volume) => Some((name, volume)),
            Sight::Absent | Sight::Unknown => None,
        }
    }
}

/// The claim as the cluster has it: a manifest seldom says to which volume it was bound.
fn identify_live<'a>(situation: &Situation<'a>, namespace: Option<&str>, claim: &Value) -> Option<&'a Value> {
    situation.live(&claim_id(namespace, text(claim, "/metadata/name")?))
}

pub(super) fn claim_id(namespace: Option<&str>, name: &str) -> ObjectId {
    ObjectId {
        kind: Kind::new("", "PersistentVolumeClaim"),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    }
}

/// The claims that pods with this `spec` mount by name.
pub(super) fn claims(spec: &Value) -> impl Iterator<Item = &str> {
    list(spec, "/volumes").filter_map(|volume| text(volume, "/persistentVolumeClaim/claimName"))
}

/// The places of pods, by namespace and by each label: nobody should look at all pods for each workload.
struct Pods<'a> {
    nearby: BTreeMap<&'a str, Vec<usize>>,
    labelled: BTreeMap<(&'a str, &'a str, &'a str), Vec<usize>>,
}

impl<'a> Pods<'a> {
    fn new(pods: &'a [RunningPod]) -> Self {
        let mut found = Self { nearby: BTreeMap::new(), labelled: BTreeMap::new() };
        for (place, pod) in pods.iter().enumerate() {
            found.nearby.entry(&pod.namespace).or_default().push(place);
            for (name, value) in &pod.labels {
                found.labelled.entry((&pod.namespace, name, value)).or_default().push(place);
            }
        }
        found
    }

    /// Those that may belong to an object.
    fn like<'s>(&'s self, manifest: &'s Manifest) -> &'s [usize] {
        let Some(namespace) = manifest.id.namespace.as_deref() else { return &[] };
        let with =
            |(name, value)| self.labelled.get(&(namespace, name, value)).map_or(&[][..], Vec::as_slice);
        let fewest = labels(manifest.value.pointer("/spec/selector/matchLabels"))
            .map(with)
            .min_by_key(|all| all.len());
        fewest.unwrap_or_else(move || self.nearby.get(namespace).map_or(&[], Vec::as_slice))
    }
}

fn owns(manifest: &Manifest, pod: &RunningPod) -> bool {
    match manifest.id.kind.kind.as_str() {
        "Pod" => pod.name == manifest.id.name,
        "ReplicationController" => {
            let selector = manifest.value.pointer("/spec/selector");
            let mut labels = labels(selector).peekable();
            labels.peek().is_some() && labels.all(|(name, value)| pod.label(name) == Some(value))
        }
        // The pods of Jobs end by themselves, and a new Job does not replace them.
        "Job" | "CronJob" => false,
        _ => selects(manifest.value.pointer("/spec/selector"), |name| pod.label(name)),
    }
}
