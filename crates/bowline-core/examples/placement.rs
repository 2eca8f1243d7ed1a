//! Prints the random cases that placement is tested with, or how long placing takes.
//!
//! `cargo run --release -p bowline-core --example placement` prints one line of JSON for each number of pods and nodes;
//! with `cases` it prints those of `bench/scheduler.py`, one in a line.
// The wall around the core's IO is for the core: somebody has to look at the clock.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::exit
)]

#[path = "../tests/it/placement/case.rs"]
#[allow(dead_code, unreachable_pub)]
mod case;

use std::time::Instant;

use bowline_core::capacity::placement::{Fate, Owner, Pod, Verdict};
use case::Case;
use serde_json::{Value, json};

fn main() {
    if std::env::args().nth(1).as_deref() == Some("cases") {
        for number in 0..case::CASES {
            println!("{}", case::make(number).to_value());
        }
        return;
    }
    measure("thirteen services", 3, 26, 2);
    for pods in [1_000, 2_000, 5_000, 10_000] {
        measure("pods", 1_000, pods, 50);
    }
    for nodes in [100, 200, 500] {
        measure("nodes", nodes, 1_000, 50);
    }
}

fn measure(what: &str, nodes: usize, pods: usize, crew: usize) {
    let case = crowd(nodes, pods, crew);
    let namespaces = case::namespaces();
    let setting = case.setting(&namespaces);
    let mut all: Vec<Pod<'_>> = case.plan_pods();
    for (place, pod) in all.iter_mut().enumerate() {
        pod.owner = Owner { kind: "Deployment".into(), name: format!("app-{}", place / crew) };
    }
    let milliseconds = |since: Instant| since.elapsed().as_secs_f64() * 1000.0;
    let start = Instant::now();
    let mut plan = bowline_core::capacity::placement::Plan::new(&setting, &all);
    let placement = plan.place();
    let place = milliseconds(start);
    let start = Instant::now();
    let waiting: usize = plan.lose_each().iter().map(|loss| loss.waiting.len()).sum();
    let lose = milliseconds(start);
    let placed = placement.seats.iter().filter(|seat| matches!(seat.fate, Fate::Goes(_))).count();
    println!(
        "{}",
        json!({"what": what, "nodes": nodes, "pods": pods, "placed": placed,
               "fits": placement.verdict == Verdict::AsScheduled, "place_ms": place,
               "lose_each_ms": lose, "waiting_after_losses": waiting})
    );
}

/// A cluster of so many nodes of one size in three zones, and so many pods of workloads of one size.
fn crowd(nodes: usize, pods: usize, crew: usize) -> Case {
    let zone = |place: usize| ["a", "b", "c"][place % 3];
    let disk = |place: usize| ["ssd", "hdd"][place % 2];
    let node = |place: usize| {
        let name = format!("node-{place:04}");
        let room = json!({"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"});
        json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": zone(place), "disk": disk(place)}},
            "spec": {}, "status": {"allocatable": room},
        })
    };
    let pod = |place: usize| -> Value {
        let number = place / crew;
        let app = format!("app-{number}");
        let requests = json!({"cpu": format!("{}m", 100 + number % 7 * 100),
                              "memory": format!("{}Mi", 128 + number % 5 * 256)});
        let image = format!("example.com/{app}:1");
        let mut spec =
            json!({"containers": [{"name": "app", "image": image, "resources": {"requests": requests}}]});
        demand_company(&mut spec, number, &json!({"matchLabels": {"app": app}}));
        json!({"metadata": {"name": format!("{app}-{}", place % crew), "namespace": "east",
                            "labels": {"app": app}}, "spec": spec})
    };
    Case {
        nodes: (0..nodes).map(node).collect(),
        claims: Vec::new(),
        volumes: Vec::new(),
        pods: (0..pods).map(pod).collect(),
    }
}

/// Of four workloads one is spread over zones, one has each pod on a node of its own, and one wants fast disks.
fn demand_company(spec: &mut Value, number: usize, selector: &Value) {
    match number % 4 {
        0 => {
            let constraint = json!({"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector});
            spec["topologySpreadConstraints"] = json!([constraint]);
        }
        1 => {
            let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": selector});
            spec["affinity"] =
                json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        }
        2 => spec["nodeSelector"] = json!({"disk": "ssd"}),
        _ => {}
    }
}
