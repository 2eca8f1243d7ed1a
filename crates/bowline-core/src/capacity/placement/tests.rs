use serde_json::json;

use super::*;

fn node(name: &str, cpu: &str, memory: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
           "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": "110"}}})
}

fn asking(cpu: &str, memory: &str) -> Value {
    json!({"containers": [{"name": "app", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
}

fn pod<'a>(name: &str, kind: &str, owner: &str, labels: &'a Value, spec: &'a Value) -> Pod<'a> {
    let owner = Owner { kind: kind.into(), name: owner.into() };
    Pod { name: name.into(), namespace: "chat", labels: Some(labels), spec, owner, node: None }
}

/// Pods of Deployments, by name and `spec`, all with the label `app`.
struct Cast {
    labels: Vec<Value>,
    specs: Vec<(String, Value)>,
}

impl Cast {
    fn new(all: &[(&str, Value)]) -> Self {
        let labels = all.iter().map(|(name, _)| json!({"app": name.split('-').next()})).collect();
        Self { labels, specs: all.iter().map(|(name, spec)| ((*name).to_owned(), spec.clone())).collect() }
    }

    fn pods(&self) -> Vec<Pod<'_>> {
        let all = self.labels.iter().zip(&self.specs);
        all.map(|(labels, (name, spec))| {
            pod(name, "Deployment", name.split('-').next().unwrap(), labels, spec)
        })
        .collect()
    }
}

fn setting(nodes: &[Value]) -> Setting<'_> {
    Setting { nodes, ..Setting::default() }
}

fn seats(placement: &Placement) -> Vec<String> {
    let fate = |seat: &Seat| match &seat.fate {
        Fate::Stays(node) => format!("{} stays on {node}", seat.pod),
        Fate::Goes(node) => format!("{} -> {node}", seat.pod),
        Fate::Waits(_) => format!("{} waits", seat.pod),
    };
    placement.seats.iter().map(fate).collect()
}

fn reasons(refusal: &Refusal) -> Vec<String> {
    let each = |obstacle: &Obstacle| format!("{}: {}", obstacle.nodes.join(", "), obstacle.why);
    refusal.obstacles.iter().map(each).collect()
}

#[test]
fn pods_go_where_most_is_free() {
    let nodes = [node("a", "2", "4Gi"), node("b", "4", "8Gi")];
    let cast =
        Cast::new(&[("x-0", asking("1", "1Gi")), ("y-0", asking("1", "1Gi")), ("z-0", asking("1", "1Gi"))]);
    let pods = cast.pods();
    let placement = Plan::new(&setting(&nodes), &pods).place();
    assert_eq!(seats(&placement), ["x-0 -> b", "y-0 -> a", "z-0 -> b"]);
    assert_eq!(placement.verdict, Verdict::AsScheduled);
    let left: Vec<String> =
        placement.headroom.iter().map(|one| format!("{} {}", one.node, one.free)).collect();
    assert_eq!(left, ["a 1 CPU, 3Gi memory", "b 2 CPU, 6Gi memory"]);
}

#[test]
fn what_the_scheduler_scatters_may_fit_otherwise() {
    let nodes = [node("a", "4", "8Gi"), node("b", "4", "8Gi")];
    let small = asking("1", "1Gi");
    let all = [("s-0", small.clone()), ("s-1", small), ("l-0", asking("4", "1Gi"))];
    let cast = Cast::new(&all);
    let pods = cast.pods();
    let mut plan = Plan::new(&setting(&nodes), &pods);
    let placement = plan.place();
    assert_eq!(seats(&placement), ["s-0 -> a", "s-1 -> b", "l-0 waits"]);
    let Verdict::OnlyOtherwise(otherwise) = &placement.verdict else { panic!("{:?}", placement.verdict) };
    assert_eq!(otherwise.len(), 3);
    assert_eq!(otherwise[0].1, otherwise[1].1, "the small ones together");
    assert_eq!(reasons(&placement.refusals[0]), ["a, b: it asks for 4 CPU, 3 CPU of 4 CPU are free"]);
}

#[test]
fn what_fits_in_no_way_is_proved() {
    let nodes = [node("a", "2", "4Gi"), node("b", "2", "4Gi")];
    let verdict = |all: &[(&str, Value)]| {
        let cast = Cast::new(all);
        let pods = cast.pods();
        Plan::new(&setting(&nodes), &pods).place().verdict
    };
    assert_eq!(
        verdict(&[("x-0", asking("100m", "1Gi")), ("y-0", asking("3", "1Gi"))]),
        Verdict::Never(Proof::Pod("y-0".into()))
    );
    let each = asking("1", "2500Mi");
    let all = [("x-0", each.clone()), ("x-1", each.clone()), ("x-2", asking("100m", "3500Mi"))];
    assert_eq!(
        verdict(&all),
        Verdict::Never(Proof::Amount {
            resource: "memory".into(),
            asked: "8.3Gi memory".into(),
            free: "8Gi memory".into()
        })
    );
    let three = [("x-0", each.clone()), ("x-1", each.clone()), ("x-2", each)];
    let Verdict::Never(Proof::Tried { any_order, .. }) = verdict(&three) else { panic!("there is no way") };
    assert!(any_order);
}

#[test]
fn each_node_gets_the_pods_of_daemon_sets_first() {
    let mut master = node("a", "2", "2Gi");
    master["spec"] = json!({"taints": [{"key": "master", "effect": "NoSchedule"}]});
    let mut cordoned = node("c", "2", "2Gi");
    cordoned["spec"] = json!({"unschedulable": true,
        "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]});
    let nodes = [master, node("b", "2", "2Gi"), cordoned];
    let (labels, log, app) = (json!({"app": "log"}), asking("100m", "1Gi"), asking("100m", "1500Mi"));
    let pods =
        [pod("app", "Deployment", "app", &labels, &app), pod("log", "DaemonSet", "log", &labels, &log)];
    let mut plan = Plan::new(&setting(&nodes), &pods);
    let placement = plan.place();
    assert_eq!(seats(&placement), ["app waits", "log on b -> b", "log on c -> c"]);
    assert_eq!(
        reasons(&placement.refusals[0]),
        [
            "a: with the taint master:NoSchedule, which it does not tolerate",
            "b: it asks for 1.4Gi memory, 1Gi memory of 2Gi memory are free",
            "c: cordoned",
        ]
    );
}

#[test]
fn a_node_that_is_lost_leaves_its_pods_to_the_others() {
    let nodes = [node("a", "2", "4Gi"), node("b", "2", "4Gi"), node("c", "2", "4Gi")];
    let cast = Cast::new(&[
        ("x-0", asking("1", "2Gi")),
        ("x-1", asking("1", "2Gi")),
        ("y-0", asking("1500m", "3Gi")),
    ]);
    let mut pods = cast.pods();
    let (labels, log) = (json!({"app": "log"}), asking("100m", "128Mi"));
    pods.push(pod("log", "DaemonSet", "log", &labels, &log));
    let mut plan = Plan::new(&setting(&nodes), &pods);
    let before = seats(&plan.place());
    assert_eq!(before[..3], ["x-0 -> a", "x-1 -> b", "y-0 -> c"]);
    let losses = plan.lose_each();
    let told: Vec<String> = losses
        .iter()
        .map(|loss| format!("{}: {:?} {} {:?}", loss.node, loss.moved, loss.waiting.len(), loss.gone))
        .collect();
    assert_eq!(told, [r#"a: [] 1 ["log on a"]"#, r#"b: [] 1 ["log on b"]"#, r#"c: [] 1 ["log on c"]"#]);
    assert_eq!(reasons(&losses[0].waiting[0].1).len(), 2);
    assert_eq!(seats(&plan.place()), before, "all is as it was");
}

#[test]
fn an_update_needs_room_for_a_while() {
    let nodes = [node("a", "2", "4Gi"), node("b", "2", "4Gi")];
    let cast = Cast::new(&[
        ("x-0", asking("1", "2Gi")),
        ("y-0", asking("1", "2Gi")),
        ("x-1", asking("500m", "1Gi")),
    ]);
    let pods = cast.pods();
    let mut plan = Plan::new(&setting(&nodes), &pods);
    plan.place();
    let owner = |name: &str| Owner { kind: "Deployment".into(), name: name.into() };
    let extra =
        [("chat".into(), owner("x"), 1), ("chat".into(), owner("y"), 1), ("chat".into(), owner("z"), 1)];
    let waiting = |all: &[Surge]| all.iter().map(|surge| surge.waiting).collect::<Vec<_>>();
    assert_eq!(waiting(&plan.surge(&extra, false)), [0, 0], "one after the other");
    assert_eq!(waiting(&plan.surge(&extra, true)), [0, 1], "all at once");
    assert_eq!(waiting(&plan.surge(&extra, false)), [0, 0], "all is as it was");
}

#[test]
fn company_that_comes_later_is_waited_for() {
    let nodes = [node("a", "2", "4Gi"), node("b", "2", "4Gi")];
    let mut follower = asking("100m", "64Mi");
    let term =
        json!([{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}]);
    follower["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}});
    let cast = Cast::new(&[("x-0", follower), ("db-0", asking("1", "1Gi"))]);
    let pods = cast.pods();
    let placement = Plan::new(&setting(&nodes), &pods).place();
    assert_eq!(seats(&placement), ["x-0 -> a", "db-0 -> a"]);
    let alone = Plan::new(&setting(&nodes), &pods[..1]).place();
    assert_eq!(
        reasons(&alone.refusals[0]),
        [
            "a: no pod that it must be near is in its kubernetes.io/hostname=a",
            "b: no pod that it must be near is in its kubernetes.io/hostname=b",
        ]
    );
}

#[test]
fn a_pod_that_names_its_node_is_taken_by_the_kubelet_or_not_at_all() {
    let mut small = node("a", "1", "1Gi");
    small["spec"] = json!({"taints": [{"key": "any", "effect": "NoSchedule"}]});
    let nodes = [small];
    let naming = |name: &str, cpu: &str| {
        let mut spec = asking(cpu, "64Mi");
        spec["nodeName"] = json!(name);
        spec
    };
    let all = [("x-0", naming("a", "500m")), ("y-0", naming("a", "700m")), ("z-0", naming("b", "1m"))];
    let cast = Cast::new(&all);
    let pods = cast.pods();
    let placement = Plan::new(&setting(&nodes), &pods).place();
    assert_eq!(seats(&placement), ["x-0 -> a", "y-0 waits", "z-0 waits"]);
    let told: Vec<String> = placement.refusals.iter().flat_map(reasons).collect();
    assert_eq!(
        told,
        ["a: it asks for 700m CPU, 500m CPU of 1 CPU are free", ": it must run on b, which is not there"]
    );
    assert_eq!(placement.verdict, Verdict::Never(Proof::Pod("y-0".into())));
}

#[test]
fn pods_of_one_owner_are_spread_unless_they_say_otherwise() {
    let nodes = [node("a", "4", "8Gi"), node("b", "4", "8Gi"), node("c", "40", "80Gi")];
    let each = asking("1m", "1Mi");
    let cast = Cast::new(&[("x-0", each.clone()), ("x-1", each.clone()), ("x-2", each)]);
    let pods = cast.pods();
    let placement = Plan::new(&setting(&nodes), &pods).place();
    let nodes_of: std::collections::BTreeSet<String> = placement
        .seats
        .iter()
        .map(|seat| match &seat.fate {
            Fate::Goes(node) => node.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(nodes_of.len(), 3);
}

/// Whether the pods from this one on can be seated in their order, by trying everything.
fn can_seat(plan: &mut Plan<'_>, place: usize) -> bool {
    let Some(shape) = plan.entries.get(place).map(|entry| entry.shape) else { return true };
    let nodes = plan.board.find(&plan.field, shape, None);
    nodes.into_iter().any(|node| {
        plan.put(place, node);
        let found = can_seat(plan, place + 1);
        plan.take(place);
        found
    })
}

#[test]
fn what_is_said_to_fit_or_not_is_what_trying_everything_says() {
    let mut state: u64 = 7;
    let mut below = |end: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    };
    let mut seen = std::collections::BTreeMap::new();
    for round in 0..400 {
        let ordered = round % 4 == 0;
        let nodes: Vec<Value> =
            (0..3).map(|name| node(&format!("n{name}"), &(2 + below(3)).to_string(), "8Gi")).collect();
        let selector = json!({"matchLabels": {"app": "a"}});
        let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": selector});
        let count = 3 + below(4);
        let all: Vec<(String, Value)> = (0..count)
            .map(|number| {
                let mut spec = asking(&format!("{}m", 500 * (1 + below(4))), "1Gi");
                if below(4) == 0 {
                    spec["affinity"] =
                        json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
                }
                if ordered && below(3) == 0 {
                    spec["topologySpreadConstraints"] = json!([{"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
                        "topologyKey": "kubernetes.io/hostname", "labelSelector": selector}]);
                }
                (format!("{}-{number}", if below(3) == 0 { "a" } else { "b" }), spec)
            })
            .collect();
        let named: Vec<(&str, Value)> =
            all.iter().map(|(name, spec)| (name.as_str(), spec.clone())).collect();
        let cast = Cast::new(&named);
        let pods = cast.pods();
        let mut plan = Plan::new(&setting(&nodes), &pods);
        let possible = can_seat(&mut plan, 0);
        let verdict = plan.place().verdict;
        let (fits, otherwise) =
            (verdict == Verdict::AsScheduled, matches!(verdict, Verdict::OnlyOtherwise(_)));
        assert_eq!(possible, fits || otherwise, "round {round}: {verdict:?}");
        *seen.entry((possible, otherwise)).or_insert(0) += 1;
    }
    assert!(seen.values().all(|times| *times > 10), "{seen:?}");
    assert_eq!(seen.len(), 3, "{seen:?}");
}
