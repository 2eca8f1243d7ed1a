//! Random clusters and pods, the same ones each time: for the tests, for the real scheduler, and for measuring.

use std::collections::BTreeMap;

use bowline_core::capacity::placement::{Owner, Pod, Setting, Storage};
use serde_json::{Map, Value, json};

/// How many cases the real scheduler was asked about.
pub const CASES: u64 = 200;

/// A cluster and the pods that come to it, one after the other.
pub struct Case {
    pub nodes: Vec<Value>,
    pub claims: Vec<Value>,
    pub volumes: Vec<Value>,
    /// Whole pods, as they are created. The first ones name their nodes.
    pub pods: Vec<Value>,
}

/// The namespaces of all cases, with their labels.
pub fn namespaces() -> BTreeMap<&'static str, Value> {
    let labels = |name: &str, team: &str| json!({"kubernetes.io/metadata.name": name, "team": team});
    BTreeMap::from([("east", labels("east", "a")), ("west", labels("west", "b"))])
}

impl Case {
    /// The case as a plan takes it.
    pub fn setting<'a>(&'a self, namespaces: &'a BTreeMap<&'static str, Value>) -> Setting<'a> {
        Setting {
            nodes: &self.nodes,
            namespaces: namespaces.iter().map(|(name, labels)| (*name, labels)).collect(),
            storage: Some(Storage { claims: &self.claims, volumes: &self.volumes, classes: &[] }),
        }
    }

    pub fn plan_pods(&self) -> Vec<Pod<'_>> {
        self.pods.iter().map(plan_pod).collect()
    }

    /// All of it, for whoever creates it.
    pub fn to_value(&self) -> Value {
        json!({"nodes": self.nodes, "claims": self.claims, "volumes": self.volumes, "pods": self.pods})
    }
}

fn plan_pod(pod: &Value) -> Pod<'_> {
    Pod {
        name: pod["metadata"]["name"].as_str().unwrap().to_owned(),
        namespace: pod["metadata"]["namespace"].as_str().unwrap(),
        labels: pod["metadata"].get("labels"),
        spec: &pod["spec"],
        owner: Owner { kind: "Pod".into(), name: pod["metadata"]["name"].as_str().unwrap().to_owned() },
        // No kubelet says no here: what names a node counts there, as the scheduler sees it.
        node: pod["spec"].get("nodeName").and_then(Value::as_str),
    }
}

/// A source of numbers that is the same everywhere (splitmix64).
pub struct Source {
    state: u64,
    /// Whether pods find a node easily: burdens are rare.
    mild: bool,
}

impl Source {
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed, mild: !seed.is_multiple_of(8) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether something happens that happens so many times of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// As [`Source::chance`], of what keeps pods from nodes.
    fn burden(&mut self, percent: u64) -> bool {
        let rare = self.mild;
        self.below(1000) < if rare { percent * 3 } else { percent * 10 }
    }

    pub fn pick<'p, T>(&mut self, from: &'p [T]) -> &'p T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// The case with this number.
pub fn make(number: u64) -> Case {
    let mut source = Source::new(number + 1);
    let prefix = format!("c{number:03}");
    let count = 2 + source.below(5);
    let nodes: Vec<Value> = (0..count).map(|place| node(&mut source, &format!("{prefix}-{place}"))).collect();
    let (claims, volumes) = storage(&mut source, &prefix, count);
    let mut templates: Vec<(u64, Value)> = Vec::new();
    for place in 0..2 + source.below(4) {
        templates.push((source.below(3), template(&mut source, &prefix, place, count)));
    }
    let mut pods = Vec::new();
    for present in 0..source.below(4) {
        let (_, template) = source.pick(&templates).clone();
        let mut pod = named(&template, &format!("{prefix}-there-{present}"));
        pod["spec"]["nodeName"] = json!(format!("{prefix}-{}", source.below(count)));
        pod["spec"]["priorityClassName"] = json!("first");
        // What is there fits: a kubelet would not have taken it otherwise.
        modest(&mut pod["spec"]);
        pods.push(pod);
    }
    // Priority first, then age.
    templates.sort_by_key(|(priority, _)| *priority);
    for (priority, template) in &templates {
        for replica in 0..1 + source.below(4) {
            let name = format!("{}-{replica}", template["metadata"]["name"].as_str().unwrap());
            let mut pod = named(template, &name);
            pod["spec"]["priorityClassName"] =
                json!(["first", "second", "third"][usize::try_from(*priority).unwrap()]);
            pods.push(pod);
        }
    }
    Case { nodes, claims, volumes, pods }
}

fn named(template: &Value, name: &str) -> Value {
    let mut pod = template.clone();
    pod["metadata"]["name"] = json!(name);
    pod
}

fn modest(spec: &mut Value) {
    for field in ["nodeSelector", "resources", "volumes", "overhead", "initContainers"] {
        spec.as_object_mut().unwrap().remove(field);
    }
    spec["tolerations"] = json!([{"operator": "Exists"}]);
    if let Some(affinity) = spec.get_mut("affinity").and_then(Value::as_object_mut) {
        affinity.remove("nodeAffinity");
    }
    for container in spec["containers"].as_array_mut().unwrap() {
        container["resources"] = json!({"requests": {"cpu": "50m", "memory": "32Mi"}});
        container.as_object_mut().unwrap().remove("volumeMounts");
    }
}

fn node(source: &mut Source, name: &str) -> Value {
    let mut labels = json!({"kubernetes.io/os": "linux"});
    if source.chance(92) {
        labels["kubernetes.io/hostname"] = json!(name);
    }
    if source.chance(85) {
        labels["topology.kubernetes.io/zone"] = json!(source.pick(&["a", "b", "c"]));
    }
    if source.chance(60) {
        labels["disk"] = json!(source.pick(&["ssd", "hdd"]));
    }
    if source.chance(60) {
        labels["cores"] = json!(source.pick(&["4", "8", "16", "many"]));
    }
    let mut taints = Vec::new();
    for (percent, key, value, effect) in [
        (15, "dedicated", "x", "NoSchedule"),
        (7, "broken", "", "NoExecute"),
        (20, "costly", "yes", "PreferNoSchedule"),
        (15, "slow", "", "PreferNoSchedule"),
    ] {
        if source.burden(percent) {
            taints.push(json!({"key": key, "value": value, "effect": effect}));
        }
    }
    let mut room = json!({
        "cpu": source.pick(&["1", "1930m", "2", "3500m", "4"]),
        "memory": source.pick(&["1Gi", "1984588Ki", "3Gi", "4026531840", "7901Mi"]),
        "pods": source.pick(&["2", "4", "7", "110", "110"]),
    });
    if source.mild {
        room["cpu"] = json!(source.pick(&["3", "3930m", "4", "6"]));
        room["memory"] = json!(source.pick(&["4Gi", "5984588Ki", "7901Mi", "9Gi"]));
        room["pods"] = json!(source.pick(&["5", "9", "110"]));
    }
    if source.chance(75) {
        room["ephemeral-storage"] = json!(source.pick(&["2Gi", "20Gi", "5368709121"]));
    }
    if source.chance(30) {
        room["example.com/gpu"] = json!(source.pick(&["1", "2"]));
    }
    let mut images = Vec::new();
    for (image, size) in [("example.com/app:1", 300 << 20), ("example.com/tool:latest", 900 << 20)] {
        if source.chance(30) {
            images.push(json!({"names": [image], "sizeBytes": size}));
        }
    }
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints, "unschedulable": source.burden(7)},
        "status": {
            "allocatable": room, "capacity": room, "images": images,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    })
}

/// Claims of the namespace `east`: bound to a volume of a zone or of a node, for one pod only, and not bound at all.
fn storage(source: &mut Source, prefix: &str, nodes: u64) -> (Vec<Value>, Vec<Value>) {
    let (mut claims, mut volumes) = (Vec::new(), Vec::new());
    for (kind, mode) in [("zone", "ReadWriteMany"), ("host", "ReadWriteOnce"), ("single", "ReadWriteOncePod")]
    {
        let name = format!("{prefix}-{kind}");
        let mut volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": {}},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": [mode], "storageClassName": "none",
                "csi": {"driver": "example.com", "volumeHandle": name},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "east", "name": name},
            },
        });
        if kind == "zone" && source.chance(50) {
            volume["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(source.pick(&["a", "b__c"]));
        } else if kind != "single" {
            let (key, value) = if kind == "zone" {
                ("topology.kubernetes.io/zone", (*source.pick(&["a", "b"])).to_owned())
            } else {
                ("kubernetes.io/hostname", format!("{prefix}-{}", source.below(nodes)))
            };
            let expression = json!({"key": key, "operator": "In", "values": [value]});
            volume["spec"]["nodeAffinity"] =
                json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}});
        }
        volumes.push(volume);
        claims.push(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "east",
                         "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"accessModes": [mode], "storageClassName": "none", "volumeName": name,
                     "resources": {"requests": {"storage": "1Gi"}}},
        }));
    }
    claims.push(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": format!("{prefix}-open"), "namespace": "east"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                 "resources": {"requests": {"storage": "1Gi"}}},
    }));
    (claims, volumes)
}

fn template(source: &mut Source, prefix: &str, place: u64, nodes: u64) -> Value {
    let app = source.pick(&["a", "b", "c"]);
    let mut labels = json!({"app": app, "rev": source.pick(&["1", "2"])});
    if source.chance(30) {
        labels["tier"] = json!("web");
    }
    let namespace = if source.chance(75) { "east" } else { "west" };
    let mut spec = json!({"terminationGracePeriodSeconds": 0});
    add_containers(source, &mut spec);
    add_wishes(source, &mut spec);
    let affinity = affinity(source, prefix, nodes);
    if !affinity.is_empty() {
        spec["affinity"] = Value::Object(affinity);
    }
    if namespace == "east" && source.burden(14) {
        let claim =
            format!("{prefix}-{}", source.pick(&["zone", "host", "single", "single", "open", "missing"]));
        spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{prefix}-{place}"), "namespace": namespace, "labels": labels}, "spec": spec,
    })
}

fn add_containers(source: &mut Source, spec: &mut Value) {
    spec["containers"] =
        (0..1 + source.below(2)).map(|number| container(source, &format!("main-{number}"))).collect();
    if source.burden(20) {
        let first = |number: u64| {
            let mut container = container(source, &format!("first-{number}"));
            if source.chance(50) {
                container["restartPolicy"] = json!("Always");
            }
            container
        };
        spec["initContainers"] = (0..2).map(first).collect();
    }
    if source.chance(8) {
        spec["overhead"] = json!({"cpu": "120m", "memory": "64Mi"});
    }
    // What a pod asks for as a whole may not be less than what its containers do.
    let whole = source.burden(15);
    if whole && spec.get("initContainers").is_none() {
        let requests = json!({"requests": {"cpu": "2700m", "memory": "2600Mi"}});
        let one = json!({"requests": {"memory": "2600Mi"}});
        let limits = json!({"limits": {"cpu": "3", "memory": "3Gi"}});
        spec["resources"] = source.pick(&[requests, one, limits]).clone();
    }
    if source.burden(12) {
        spec["containers"][0]["ports"] = json!([port(source)]);
    }
}

fn add_wishes(source: &mut Source, spec: &mut Value) {
    let tolerations: Vec<Value> = [
        json!({"key": "dedicated", "value": "x", "effect": "NoSchedule"}),
        json!({"key": "dedicated", "operator": "Exists"}),
        json!({"key": "costly", "operator": "Exists", "effect": "PreferNoSchedule"}),
        json!({"operator": "Exists"}),
        json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}),
    ]
    .into_iter()
    .filter(|_| source.chance(9))
    .collect();
    spec["tolerations"] = json!(tolerations);
    if source.burden(10) {
        spec["nodeSelector"] = json!({"disk": source.pick(&["ssd", "hdd"])});
    }
    if source.chance(30) {
        let all: Vec<Value> = (0..1 + source.below(2)).map(|number| spread(source, number)).collect();
        spec["topologySpreadConstraints"] = json!(all);
    }
}

fn port(source: &mut Source) -> Value {
    let mut port = json!({"containerPort": 80, "hostPort": 8080});
    if source.chance(40) {
        port["hostIP"] = json!(source.pick(&["10.0.0.1", "10.0.0.2", "0.0.0.0"]));
    }
    if source.chance(25) {
        port["protocol"] = json!("UDP");
    }
    port
}

fn container(source: &mut Source, name: &str) -> Value {
    let image = source.pick(&["example.com/app:1", "example.com/tool", "example.com/other"]);
    let (mut requests, mut limits) = (Map::new(), Map::new());
    if source.chance(75) {
        requests.insert("cpu".into(), json!(source.pick(&["100m", "250m", "0.4", "700m", "1", "1300m"])));
    }
    if source.chance(75) {
        requests.insert(
            "memory".into(),
            json!(source.pick(&["64Mi", "200Mi", "300M", "600Mi", "0.75Gi", "1Gi"])),
        );
    } else if source.chance(40) {
        limits.insert("memory".into(), json!("400Mi"));
    }
    if source.burden(10) {
        requests.insert("ephemeral-storage".into(), json!(source.pick(&["500Mi", "1500M", "3Gi"])));
    }
    if source.burden(8) {
        limits.insert("example.com/gpu".into(), json!("1"));
    }
    json!({"name": name, "image": image, "resources": {"requests": requests, "limits": limits}})
}

fn affinity(source: &mut Source, prefix: &str, nodes: u64) -> Map<String, Value> {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let mut all = Map::new();
    let mut node = Map::new();
    if source.burden(16) {
        let terms: Vec<Value> = (0..1 + source.below(2)).map(|_| node_term(source, prefix, nodes)).collect();
        node.insert(required.into(), json!({"nodeSelectorTerms": terms}));
    }
    if source.chance(20) {
        let each = |source: &mut Source| json!({"weight": 1 + source.below(100), "preference": node_term(source, prefix, nodes)});
        let count = 1 + source.below(2);
        node.insert(preferred.into(), (0..count).map(|_| each(source)).collect());
    }
    if !node.is_empty() {
        all.insert("nodeAffinity".into(), Value::Object(node));
    }
    for (side, must) in [("podAffinity", 14), ("podAntiAffinity", 22)] {
        let mut pod = Map::new();
        if source.burden(must) {
            let count = 1 + source.below(10) / 8;
            pod.insert(required.into(), (0..count).map(|_| pod_term(source)).collect());
        }
        if source.chance(16) {
            let each = |source: &mut Source| json!({"weight": 1 + source.below(100), "podAffinityTerm": pod_term(source)});
            pod.insert(preferred.into(), (0..1 + source.below(2)).map(|_| each(source)).collect());
        }
        if !pod.is_empty() {
            all.insert(side.into(), Value::Object(pod));
        }
    }
    all
}

fn node_term(source: &mut Source, prefix: &str, nodes: u64) -> Value {
    let expression = match source.below(8) {
        0 => json!({"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}),
        1 => json!({"key": "disk", "operator": "NotIn", "values": ["ssd"]}),
        2 => json!({"key": "disk", "operator": "Exists"}),
        3 => json!({"key": "cores", "operator": "DoesNotExist"}),
        4 => json!({"key": "cores", "operator": "Gt", "values": ["7"]}),
        5 => json!({"key": "cores", "operator": "Lt", "values": ["9"]}),
        6 => json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a", "b"]}),
        _ => {
            let name = format!("{prefix}-{}", source.below(nodes));
            let operator = source.pick(&["In", "NotIn"]);
            return json!({"matchFields": [{"key": "metadata.name", "operator": operator, "values": [name]}]});
        }
    };
    json!({"matchExpressions": [expression]})
}

fn topology(source: &mut Source) -> &'static str {
    const KEYS: [&str; 4] =
        ["kubernetes.io/hostname", "kubernetes.io/hostname", "topology.kubernetes.io/zone", "disk"];
    source.pick::<&'static str>(&KEYS)
}

fn selector(source: &mut Source) -> Value {
    match source.below(8) {
        0..4 => json!({"matchLabels": {"app": source.pick(&["a", "b", "c"])}}),
        4 => json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
        5 => json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}),
        6 => json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}),
        _ => json!({}),
    }
}

fn pod_term(source: &mut Source) -> Value {
    let mut term = json!({"topologyKey": topology(source), "labelSelector": selector(source)});
    match source.below(12) {
        0 => term["namespaces"] = json!(["east", "west"]),
        1 => term["namespaceSelector"] = json!({}),
        2 => term["namespaceSelector"] = json!({"matchLabels": {"team": source.pick(&["a", "b"])}}),
        3 => {
            let absent = json!({"key": "absent", "operator": "DoesNotExist"});
            let other = json!({"key": "team", "operator": "NotIn", "values": ["a"]});
            term["namespaceSelector"] = json!({"matchExpressions": [source.pick(&[absent, other])]});
        }
        4 => term["matchLabelKeys"] = json!(["rev"]),
        5 => term["mismatchLabelKeys"] = json!(["rev"]),
        _ => {}
    }
    term
}

fn spread(source: &mut Source, number: u64) -> Value {
    let hard = source.burden(60);
    let action = if hard { "DoNotSchedule" } else { "ScheduleAnyway" };
    // Two constraints may not have the same topology and action.
    let key = if number == 0 { topology(source) } else { "cores" };
    let mut constraint = json!({
        "maxSkew": 1 + source.below(2), "topologyKey": key, "whenUnsatisfiable": action,
        "labelSelector": selector(source),
    });
    if hard && source.chance(25) {
        constraint["minDomains"] = json!(1 + source.below(4));
    }
    if source.chance(25) {
        constraint["nodeAffinityPolicy"] = json!(source.pick(&["Ignore", "Honor"]));
    }
    if source.chance(25) {
        constraint["nodeTaintsPolicy"] = json!(source.pick(&["Ignore", "Honor"]));
    }
    if source.chance(20) {
        constraint["matchLabelKeys"] = json!(["rev"]);
    }
    constraint
}
