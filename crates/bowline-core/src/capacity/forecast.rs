//! Whether services fit on machines, how long that goes well, what happens when one machine is lost, and what it costs.

mod strain;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::anchor::anchors;
use super::fleet::Fleet;
use super::machine::MachineType;
use super::outlook::{Load, Outlook, Overhead};
use super::placement::{Fate, Loss, Owner, Placement, Plan, Pod, Setting, Surge, Verdict};
use crate::kube::object::Manifest;
use crate::kube::scheduling::request::{Defaults, Side, of_pod};
use crate::kube::scheduling::surge_of;
use crate::kube::workload::{pod_spec, template};
pub use strain::Strain;

/// What a service needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    /// The service or workload.
    pub name: String,
    /// Its namespace; empty on a host.
    pub namespace: String,
    /// Whose its pods are, for the scheduler.
    pub owner: Owner,
    /// Its pods' labels.
    pub labels: Option<Value>,
    /// Its pods' `spec`.
    pub spec: Value,
    /// How many pods, or containers, it has.
    pub replicas: u64,
    /// How many more an update starts before others go.
    pub surge: u64,
    /// What one of them asks for and uses.
    pub load: Load,
    /// By what its pods may be held to the machine that they are on ([`anchors`]), in words.
    pub anchors: Vec<String>,
}

impl Need {
    /// What a container on a Docker host needs: nothing but room.
    pub fn of_container(name: &str, replicas: u64, load: Load) -> Self {
        let requests = json!({ "cpu": format!("{}m", load.cpu_kept), "memory": load.memory.to_string() });
        let spec = json!({ "containers": [{ "name": name, "resources": { "requests": requests } }] });
        let owner = Owner { kind: "Deployment".to_owned(), name: name.to_owned() };
        let (name, namespace) = (name.to_owned(), String::new());
        Self { name, namespace, owner, labels: None, spec, replicas, surge: 0, load, anchors: Vec::new() }
    }

    /// What a workload of a cluster needs by its manifest; none where it runs nothing for long.
    pub fn of_manifest(manifest: &Manifest) -> Option<Self> {
        let kind = &manifest.id.kind;
        if !matches!(kind.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Pod") {
            return None;
        }
        let spec = pod_spec(kind, &manifest.value)?;
        let alone = matches!(kind.kind.as_str(), "DaemonSet" | "Pod");
        let replicas = manifest.value.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
        let replicas = if alone { 1 } else { replicas };
        let asked = of_pod(spec, Side::Requests, &Defaults::default());
        let load = Load {
            cpu_kept: asked.get("cpu").times(1000).units(),
            cpu_used: None,
            memory: asked.get("memory").units(),
        };
        let labels =
            template(kind, &manifest.value).and_then(|template| template.pointer("/metadata/labels"));
        Some(Self {
            name: manifest.id.name.clone(),
            namespace: manifest.id.namespace.clone().unwrap_or_default(),
            owner: Owner { kind: kind.kind.clone(), name: manifest.id.name.clone() },
            labels: labels.cloned(),
            spec: spec.clone(),
            replicas,
            surge: if alone { 0 } else { surge_of(manifest, replicas) },
            load,
            anchors: anchors(kind, &manifest.value),
        })
    }

    /// The same with so many hundredths of the demand. A host's containers do more each; a cluster's workloads get more pods
    /// (but for those that are on each node, or alone), as an autoscaler would have it. Memory of a container stays what it
    /// is.
    #[must_use]
    pub fn grow(mut self, hundredths: u64, ground: Ground) -> Self {
        let grown = |amount: u64| amount.saturating_mul(hundredths).div_ceil(100);
        match (ground, self.owner.kind.as_str()) {
            (Ground::Hosts, _) => {
                let load = Load {
                    cpu_kept: grown(self.load.cpu_kept),
                    cpu_used: self.load.cpu_used.map(grown),
                    memory: self.load.memory,
                };
                Self { surge: self.surge, ..Self::of_container(&self.name, self.replicas, load) }
            }
            (_, "DaemonSet" | "Pod") => self,
            _ => {
                // Whole pods are added, and share what is to be done.
                let before = self.replicas;
                self.replicas = grown(before);
                self.surge = self.surge.saturating_mul(self.replicas).div_ceil(before.max(1));
                let share =
                    |used: u64| grown(used.saturating_mul(before)).checked_div(self.replicas).unwrap_or(used);
                self.load.cpu_used = self.load.cpu_used.map(share);
                self
            }
        }
    }
}

/// What the machines are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Docker hosts.
    Hosts,
    /// Nodes of a cluster; the first has the control plane, and pods too.
    Shared,
    /// The same, and no pods on the first.
    Apart,
    /// Nodes of a cluster whose control plane is somebody else's.
    Managed,
}

/// What becomes of services on machines.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The machines.
    pub fleet: Fleet,
    /// What they are to each other.
    pub ground: Ground,
    /// Where everything goes, and whether it fits.
    pub placement: Placement,
    /// Machine by machine.
    pub nodes: Vec<NodeForecast>,
    /// What the loss of each machine means, by room and rules alone; empty where there is but one.
    pub losses: Vec<Loss>,
    /// The workloads that find room when a machine is lost, and whose data may be lost with it or out of reach.
    pub anchored: Vec<Anchored>,
    /// The losses after which another machine does not last, by credits and processors.
    pub strains: Vec<Strain>,
    /// What an update of each service needs for a while, one service after the other.
    pub surges: Vec<Surge>,
}

/// A workload whose pods have another place when a machine is lost, and may have to wait for it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// Its namespace; empty where it has none.
    pub namespace: String,
    /// The workload.
    pub workload: String,
    /// By what it is held, in words.
    pub by: Vec<String>,
    /// The machines that it has pods on.
    pub nodes: Vec<String>,
}

/// What becomes of one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeForecast {
    /// Its name.
    pub name: String,
    /// Its type.
    pub machine: MachineType,
    /// How many pods, or containers, it has of each service.
    pub services: BTreeMap<String, u64>,
    /// Room, credits and cost.
    pub outlook: Outlook,
}

impl Forecast {
    /// Places the services on the machines and reckons.
    pub fn new(fleet: &Fleet, ground: Ground, needs: &[Need]) -> Self {
        let machines: Vec<(String, &MachineType, Overhead)> = fleet
            .machines()
            .enumerate()
            .map(|(place, (name, machine))| (name, machine, ground.overhead(place)))
            .collect();
        let nodes: Vec<Value> = machines
            .iter()
            .enumerate()
            .map(|(place, (name, machine, overhead))| node(name, machine, *overhead, ground.is_barred(place)))
            .collect();
        let pods: Vec<Pod<'_>> =
            needs.iter().flat_map(|need| (0..need.replicas).map(move |number| pod(need, number))).collect();
        let setting = Setting { nodes: &nodes, ..Setting::default() };
        let mut plan = Plan::new(&setting, &pods);
        let placement = plan.place();
        // Nothing moves from one Docker host to another.
        let moves = fleet.count() > 1 && ground != Ground::Hosts;
        let losses = if moves { plan.lose_each() } else { Vec::new() };
        let extra: Vec<(String, Owner, u64)> = needs
            .iter()
            .filter(|need| need.surge > 0)
            .map(|need| (need.namespace.clone(), need.owner.clone(), need.surge))
            .collect();
        let surges = plan.surge(&extra, false);
        let nodes = reckon(&machines, &placement, needs);
        let anchored = anchored(&losses, needs);
        let strains = strain::strains(&losses, &nodes, needs);
        Self { fleet: fleet.clone(), ground, placement, nodes, losses, anchored, strains, surges }
    }

    /// Whether everything has a place.
    pub fn fits(&self) -> bool {
        self.placement.verdict == Verdict::AsScheduled
    }

    /// Whether that goes on for good: no machine spends more credits than it earns.
    pub fn lasts(&self) -> bool {
        self.nodes.iter().all(|node| node.outlook.lasts())
    }

    /// Whether everything goes on when any one machine is lost; of a cluster with one control plane any other than that,
    /// without which nothing is placed anew.
    ///
    /// That is: each pod finds room on another machine ([`has_room_for_a_loss`](Self::has_room_for_a_loss)), and none is of a
    /// workload whose data may be on the lost one ([`in_doubt`](Self::in_doubt)). Where this is false for the second reason
    /// alone, nobody knows: it depends on where the volumes are, which manifests do not say.
    pub fn survives(&self) -> bool {
        self.has_room_for_a_loss() && self.in_doubt().next().is_none()
    }

    /// Whether each pod finds room and is let in elsewhere when any one machine is lost, with the same exception.
    pub fn has_room_for_a_loss(&self) -> bool {
        let mut others = self.losses.iter().filter(|loss| !self.is_first(&loss.node)).peekable();
        others.peek().is_some() && others.all(|loss| loss.waiting.is_empty())
    }

    /// The workloads that may have to wait for a machine that is lost, as their data may be there; with the same exception.
    pub fn in_doubt(&self) -> impl Iterator<Item = &Anchored> {
        self.anchored.iter().filter(|one| one.nodes.iter().any(|node| !self.is_first(node)))
    }

    /// Whether this is the machine with the only control plane.
    fn is_first(&self, name: &str) -> bool {
        self.has_control_plane() && self.nodes.first().is_some_and(|first| first.name == name)
    }

    /// Whether the first machine has the only control plane.
    pub fn has_control_plane(&self) -> bool {
        matches!(self.ground, Ground::Shared | Ground::Apart)
    }

    /// Whether there is room for the update of any one service.
    pub fn updates(&self) -> bool {
        self.surges.iter().all(|surge| surge.waiting == 0)
    }

    /// What it costs in a month, credits beyond those earned included; none where a price is not known.
    pub fn monthly(&self) -> Option<u64> {
        if self.nodes.iter().any(|node| node.outlook.charged) {
            return None;
        }
        let surplus: u64 = self.nodes.iter().filter_map(|node| node.outlook.surplus).sum();
        self.fleet.monthly().map(|machines| machines.saturating_add(surplus))
    }
}

impl Ground {
    fn overhead(self, place: usize) -> Overhead {
        match self {
            Self::Hosts => Overhead::HOST,
            Self::Shared | Self::Apart if place == 0 => Overhead::CONTROL_PLANE,
            Self::Shared | Self::Apart | Self::Managed => Overhead::NODE,
        }
    }

    fn is_barred(self, place: usize) -> bool {
        self == Self::Apart && place == 0
    }
}

/// A machine as a node of the API.
fn node(name: &str, machine: &MachineType, overhead: Overhead, barred: bool) -> Value {
    let taints = if barred {
        json!([{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }])
    } else {
        json!([])
    };
    json!({
        "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": machine.name,
        } },
        "spec": { "taints": taints },
        "status": { "allocatable": {
            "cpu": format!("{}m", machine.cores.saturating_sub(overhead.cpu)),
            "memory": machine.memory.saturating_sub(overhead.memory).to_string(),
            // The kubelet's default.
            "pods": "110",
            // How large its disk is nobody said.
            "ephemeral-storage": "1Pi",
        } },
    })
}

fn pod(need: &Need, number: u64) -> Pod<'_> {
    // Two namespaces may have workloads of one name.
    let place = if need.namespace.is_empty() { String::new() } else { format!("{}/", need.namespace) };
    let number = if need.replicas == 1 { String::new() } else { format!(" {}", number + 1) };
    Pod {
        name: format!("{place}{}{number}", need.name),
        namespace: &need.namespace,
        labels: need.labels.as_ref(),
        spec: &need.spec,
        owner: need.owner.clone(),
        node: None,
    }
}

/// To whom pods belong, by their names.
fn by_pod(needs: &[Need]) -> BTreeMap<String, &Need> {
    needs
        .iter()
        .flat_map(|need| (0..need.replicas).map(move |number| (pod(need, number).name, need)))
        .collect()
}

/// Which workloads move when a machine is lost, and may be held there. Those that find no place are told anyway.
fn anchored(losses: &[Loss], needs: &[Need]) -> Vec<Anchored> {
    let of_pod = by_pod(needs);
    let mut found: BTreeMap<(&str, &str), Anchored> = BTreeMap::new();
    for loss in losses {
        let moved = loss.moved.iter().filter_map(|(pod, _)| of_pod.get(pod));
        for need in moved.filter(|need| !need.anchors.is_empty()) {
            let one = found.entry((&need.namespace, &need.name)).or_insert_with(|| Anchored {
                namespace: need.namespace.clone(),
                workload: need.name.clone(),
                by: need.anchors.clone(),
                nodes: Vec::new(),
            });
            if one.nodes.last() != Some(&loss.node) {
                one.nodes.push(loss.node.clone());
            }
        }
    }
    found.into_values().collect()
}

fn reckon(
    machines: &[(String, &MachineType, Overhead)],
    placement: &Placement,
    needs: &[Need],
) -> Vec<NodeForecast> {
    let of_pod = by_pod(needs);
    let mut there: BTreeMap<&str, Vec<&Need>> = BTreeMap::new();
    for seat in &placement.seats {
        let (Fate::Goes(node) | Fate::Stays(node)) = &seat.fate else { continue };
        // Of a DaemonSet's template there is one on each node, which says so.
        let template = seat.pod.strip_suffix(node.as_str()).and_then(|pod| pod.strip_suffix(" on "));
        let need = of_pod.get(&seat.pod).or_else(|| of_pod.get(template?));
        there.entry(node).or_default().extend(need.copied());
    }
    let forecast = |(name, machine, overhead): &(String, &MachineType, Overhead)| {
        let needs = there.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        let mut services = BTreeMap::new();
        for need in needs {
            *services.entry(need.name.clone()).or_default() += 1;
        }
        let outlook = Outlook::new(machine, *overhead, needs.iter().map(|need| &need.load));
        NodeForecast { name: name.clone(), machine: (*machine).clone(), services, outlook }
    };
    machines.iter().map(forecast).collect()
}

/// The cheapest of several that fit and last; none where none does, or no price is known. Of two that cost the same the one
/// with more machines, which can lose one.
pub fn cheapest(forecasts: &[Forecast]) -> Option<usize> {
    let good = forecasts.iter().enumerate().filter(|(_, forecast)| forecast.fits() && forecast.lasts());
    let priced =
        good.filter_map(|(place, forecast)| Some((forecast.monthly()?, forecast.fleet.count(), place)));
    priced.min_by_key(|(monthly, count, _)| (*monthly, std::cmp::Reverse(*count))).map(|(.., place)| place)
}

#[cfg(test)]
mod tests {
    use super::super::credit::Burst;
    use super::*;

    fn machine(name: &str, price: u64, burst: bool) -> MachineType {
        let burst = burst.then_some(Burst { earned: 24_000, kept: 576_000, launch: 60_000 });
        MachineType {
            name: name.to_owned(),
            cores: 2_000,
            memory: 4 << 30,
            burst,
            price: Some(price),
            unlimited: false,
            surplus: None,
        }
    }

    fn services(count: u64, cpu_used: u64, memory: u64) -> Vec<Need> {
        let load = Load { cpu_kept: cpu_used, cpu_used: Some(cpu_used), memory };
        (0..count).map(|number| Need::of_container(&format!("service-{number}"), 1, load.clone())).collect()
    }

    #[test]
    fn the_story_s_three_machines_hold_what_they_cannot_keep_up() {
        // One processor's work in ten services, on three machines of which the first has the control plane.
        let needs = services(10, 100, 300 << 20);
        let fleet = Fleet::of(3, machine("t2.medium", 46_400, true));
        let forecast = Forecast::new(&fleet, Ground::Shared, &needs);
        assert!(forecast.fits() && forecast.survives() && !forecast.lasts(), "{forecast:#?}");
        assert_eq!(forecast.monthly(), Some(101_616_000));
        let placed: u64 = forecast.nodes.iter().flat_map(|node| node.services.values()).sum();
        assert_eq!(placed, 10);
        // One machine that may use both its processors carries it for less.
        let single = Forecast::new(&Fleet::of(1, machine("m5.large", 96_000, false)), Ground::Hosts, &needs);
        assert!(single.fits() && single.lasts() && !single.survives());
        assert_eq!(cheapest(&[forecast, single]), Some(1));
    }

    #[test]
    fn what_may_have_its_data_on_the_lost_machine_does_not_survive_silently() {
        let mut needs = services(4, 100, 100 << 20);
        needs[0].anchors = vec!["claims from data".to_owned()];
        needs[0].replicas = 2;
        let forecast = |ground, needs: &[Need]| {
            Forecast::new(&Fleet::of(3, machine("m5.large", 1, false)), ground, needs)
        };
        let told = forecast(Ground::Managed, &needs);
        assert!(told.fits() && told.has_room_for_a_loss() && !told.survives());
        let one = &told.anchored[..];
        assert!(one.len() == 1 && one[0].workload == "service-0" && one[0].nodes.len() == 2, "{one:?}");
        needs[0].anchors.clear();
        assert!(forecast(Ground::Managed, &needs).survives());
    }

    #[test]
    fn what_does_not_fit_is_told_by_machine() {
        let needs = services(10, 100, 1 << 30);
        let forecast = Forecast::new(&Fleet::of(2, machine("t2.medium", 1, false)), Ground::Managed, &needs);
        assert!(!forecast.fits() && !forecast.placement.refusals.is_empty());
        assert_eq!(cheapest(&[forecast]), None);
    }

    #[test]
    fn nothing_goes_where_the_control_plane_is_kept_apart() {
        let fleet = Fleet::of(3, machine("t2.medium", 1, false));
        let forecast = Forecast::new(&fleet, Ground::Apart, &services(6, 100, 100 << 20));
        let counts: Vec<u64> = forecast.nodes.iter().map(|node| node.services.values().sum()).collect();
        assert!(forecast.fits() && counts[0] == 0 && counts.iter().sum::<u64>() == 6, "{counts:?}");
    }

    #[test]
    fn credits_run_out_where_the_pods_of_a_lost_machine_go() {
        // Each keeps up 0.4; 0.9 on three are 0.3 each and 0.05 for the agents, and 0.45 and more on the two that are left.
        let fleet = Fleet::of(3, machine("t2.medium", 46_400, true));
        let forecast = Forecast::new(&fleet, Ground::Managed, &services(9, 100, 100 << 20));
        assert!(forecast.lasts() && forecast.survives(), "{:?}", forecast.nodes);
        assert_eq!(forecast.strains.len(), 3, "{:?}", forecast.strains);
        let first = &forecast.strains[0];
        let (full, _) = first.outlook.credits.unwrap();
        assert!(first.node != first.lost && full.lasts.is_some(), "{first:?}");
        let whole = Fleet::of(3, machine("m5.large", 96_000, false));
        assert_eq!(Forecast::new(&whole, Ground::Managed, &services(9, 100, 100 << 20)).strains, []);
    }

    #[test]
    fn growth_is_shared_by_the_pods_that_come() {
        let load = Load { cpu_kept: 100, cpu_used: Some(100), memory: 1 };
        let need = Need { replicas: 3, surge: 1, ..Need::of_container("user", 3, load) };
        let grown = need.clone().grow(200, Ground::Managed);
        assert_eq!((grown.replicas, grown.load.cpu_used, grown.surge), (6, Some(100), 2));
        let little = Need { replicas: 1, ..need.clone() }.grow(110, Ground::Managed);
        assert_eq!((little.replicas, little.load.cpu_used), (2, Some(55)));
        let host = need.grow(150, Ground::Hosts);
        assert_eq!((host.replicas, host.load.cpu_used), (3, Some(150)));
    }

    #[test]
    fn a_daemon_s_load_is_on_each_node_and_nobody_else_s() {
        let load = |cpu| Load { cpu_kept: cpu, cpu_used: Some(cpu), memory: 1 << 20 };
        let mut daemon = Need::of_container("node-exporter", 1, load(30));
        daemon.owner.kind = "DaemonSet".to_owned();
        let needs = [Need::of_container("node", 1, load(500)), daemon];
        let fleet = Fleet::of(3, machine("m5.large", 1, false));
        let forecast = Forecast::new(&fleet, Ground::Managed, &needs);
        let used: Vec<u64> = forecast.nodes.iter().map(|node| node.outlook.load.cpu_used.unwrap()).collect();
        assert_eq!(used.iter().sum::<u64>(), 3 * 50 + 3 * 30 + 500, "{used:?}");
    }

    #[test]
    fn an_update_needs_room_for_a_while() {
        let mut needs = services(3, 500, 1 << 30);
        needs[0].surge = 1;
        let one = Fleet::of(1, machine("t2.medium", 1, false));
        let forecast = Forecast::new(&one, Ground::Hosts, &needs);
        assert!(forecast.fits() && !forecast.updates(), "{:?}", forecast.surges);
    }
}
