//! Forecasts for people and machines.

use bowline_core::capacity::credit::Course;
use bowline_core::capacity::forecast::{Anchored, Forecast, NodeForecast, Strain};
use bowline_core::capacity::picture::hours;
use bowline_core::capacity::placement::{Fate, Proof, Refusal, Verdict};
use serde_json::{Value, json};

use super::printable;
use super::table::{bytes, render_within};
use crate::operation::capacity::machine::Machines;

/// So many names are told of a list.
const NAMES: usize = 5;
/// So many reasons are told of a pod that finds no machine.
const REASONS: usize = 4;

/// A forecast in full: machine by machine, what does not fit and why, what happens when one is lost.
pub fn render(forecast: &Forecast, machines: &Machines, columns: Option<usize>) -> String {
    let mut text = format!("{}, {}: {}\n", forecast.fleet, cost(forecast, machines), verdict(forecast));
    let row = |node: &NodeForecast| {
        let outlook = &node.outlook;
        let used = outlook.load.cpu_used.map_or_else(|| "-".into(), cores);
        vec![
            node.name.clone(),
            cores(outlook.load.cpu_kept),
            used,
            cores(outlook.sustained),
            cores(node.machine.cores),
            bytes(outlook.load.memory),
            bytes(node.machine.memory),
            credits(node),
            services(node),
        ]
    };
    let rows: Vec<Vec<String>> = forecast.nodes.iter().map(row).collect();
    let header = ["MACHINE", "KEPT", "USED", "FOR GOOD", "CPUS", "MEMORY", "OF", "CREDITS", "SERVICES"];
    text.push_str(&render_within(&header, &rows, columns));
    let lines =
        waiting(forecast).into_iter().chain(lost(forecast)).chain(held(forecast)).chain(strained(forecast));
    for line in lines.chain(updates(forecast)) {
        text.push_str(&format!("\n  {}", printable(&line)));
    }
    text
}

/// Several forecasts, one line each.
pub fn render_alternatives(forecasts: &[Forecast], machines: &Machines, columns: Option<usize>) -> String {
    let best = bowline_core::capacity::forecast::cheapest(forecasts);
    let row = |(place, forecast): (usize, &Forecast)| {
        vec![
            if best == Some(place) { "*".into() } else { String::new() },
            forecast.fleet.to_string(),
            cost(forecast, machines),
            verdict(forecast),
        ]
    };
    let rows: Vec<Vec<String>> = forecasts.iter().enumerate().map(row).collect();
    render_within(&["", "MACHINES", "COST", "OUTLOOK"], &rows, columns)
}

fn cost(forecast: &Forecast, machines: &Machines) -> String {
    let monthly = forecast.monthly();
    let charged = forecast.nodes.iter().any(|node| node.outlook.charged);
    match (monthly, forecast.fleet.monthly()) {
        (Some(monthly), _) => format!("{} a month", machines.money(monthly)),
        (None, Some(monthly)) if charged => format!("{} a month, and credits", machines.money(monthly)),
        _ => "price unknown".into(),
    }
}

/// In a line: whether it fits, lasts, and survives.
fn verdict(forecast: &Forecast) -> String {
    let fits = match &forecast.placement.verdict {
        Verdict::AsScheduled => "fits",
        Verdict::OnlyOtherwise(_) => "fits only if placed by hand",
        Verdict::Never(_) => return format!("does not fit: {}", proof(forecast)),
        Verdict::Unknown(_) => return "does not fit as it would be placed".into(),
    };
    let mut parts = vec![fits.to_owned()];
    if !forecast.lasts() {
        let first = forecast.nodes.iter().filter_map(|node| node.outlook.credits?.0.lasts).min();
        parts.push(match first {
            Some(time) => format!("does not last: out of credits after {} from full", hours(time.as_secs())),
            None => "more is used than the machines have".into(),
        });
    }
    if forecast.fleet.count() > 1 {
        let first = forecast.nodes.first().map(|node| node.name.as_str()).unwrap_or_default();
        let room = forecast.has_room_for_a_loss();
        parts.push(match (forecast.losses.is_empty(), room, forecast.has_control_plane()) {
            (true, ..) => "each machine for itself".to_owned(),
            (_, false, _) => "none may be lost".to_owned(),
            (_, true, false) => "one may be lost".to_owned(),
            (_, true, true) => format!("one may be lost, but not {first}, which has the control plane"),
        });
        let held: Vec<&str> = forecast.in_doubt().map(|one| one.workload.as_str()).collect();
        if room && !held.is_empty() {
            parts.push(format!("though the data of {} may be on it", few(&held)));
        }
    }
    parts.join("; ")
}

fn proof(forecast: &Forecast) -> String {
    match &forecast.placement.verdict {
        Verdict::Never(Proof::Pod(pod)) => format!("no machine takes {pod}"),
        Verdict::Never(Proof::Amount { resource, asked, free }) => {
            format!("{asked} of {resource} are asked for, {free} are free")
        }
        _ => "every placement was tried".into(),
    }
}

fn credits(node: &NodeForecast) -> String {
    let Some((full, started)) = node.outlook.credits else { return "-".into() };
    let lasts = |course: Course| course.lasts.map_or_else(|| "for good".into(), |time| hours(time.as_secs()));
    match full.lasts {
        None => "for good".into(),
        Some(_) => {
            let short = full.short as f64 / 1000.0;
            format!("{}, {} from a start; {short:.1}/h short", lasts(full), lasts(started))
        }
    }
}

fn services(node: &NodeForecast) -> String {
    let name =
        |(name, count): (&String, &u64)| if *count == 1 { name.clone() } else { format!("{name} ×{count}") };
    let all: Vec<String> = node.services.iter().map(name).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

/// What finds no machine, and why.
fn waiting(forecast: &Forecast) -> Vec<String> {
    let placement = &forecast.placement;
    let mut lines = Vec::new();
    for (place, refusal) in placement.refusals.iter().enumerate() {
        let pods: Vec<&str> = placement
            .seats
            .iter()
            .filter(|seat| seat.fate == Fate::Waits(place))
            .map(|seat| seat.pod.as_str())
            .collect();
        lines.push(format!("no place for {}:", pods.join(", ")));
        lines.extend(reasons(refusal));
    }
    lines
}

fn reasons(refusal: &Refusal) -> Vec<String> {
    let reason = |obstacle: &bowline_core::capacity::placement::Obstacle| {
        format!("  {}: {}", obstacle.nodes.join(", "), obstacle.why)
    };
    refusal.obstacles.iter().take(REASONS).map(reason).collect()
}

fn lost(forecast: &Forecast) -> Vec<String> {
    let mut lines = Vec::new();
    for loss in forecast.losses.iter().filter(|loss| !loss.waiting.is_empty()) {
        let pods: Vec<&str> = loss.waiting.iter().map(|(pod, _)| pod.as_str()).collect();
        lines.push(format!("without {}, no place for {}:", loss.node, pods.join(", ")));
        lines.extend(loss.waiting.first().map(|(_, refusal)| reasons(refusal)).unwrap_or_default());
    }
    lines
}

/// The losses after which a machine that is left does not last.
fn strained(forecast: &Forecast) -> Vec<String> {
    let line = |strain: &Strain| {
        let (lost, node) = (&strain.lost, &strain.node);
        match strain.outlook.credits.and_then(|(full, _)| full.lasts) {
            Some(time) => {
                format!("without {lost}, {node} is out of credits after {} from full", hours(time.as_secs()))
            }
            None => format!("without {lost}, more is used of {node} than it has"),
        }
    };
    let mut lines: Vec<String> = forecast.strains.iter().take(NAMES).map(line).collect();
    if let Some(more @ 1..) = forecast.strains.len().checked_sub(NAMES) {
        lines.push(format!("and so it is without each of {more} others"));
    }
    lines
}

/// The workloads that would find room, and whose data may be where they were.
fn held(forecast: &Forecast) -> Vec<String> {
    let line = |one: &Anchored| {
        let nodes: Vec<&str> = one.nodes.iter().map(String::as_str).collect();
        format!(
            "{}: its data may be on the lost machine ({}): it may have to wait for it, without {}",
            one.workload,
            one.by.join(", "),
            few(&nodes)
        )
    };
    forecast.anchored.iter().map(line).collect()
}

/// The first of many names, and how many more there are.
fn few(names: &[&str]) -> String {
    let (first, more) = names.split_at(names.len().min(NAMES));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    format!("{}{more}", first.join(", "))
}

fn updates(forecast: &Forecast) -> Vec<String> {
    let mut lines = Vec::new();
    for surge in forecast.surges.iter().filter(|surge| surge.waiting > 0) {
        lines.push(format!(
            "an update of {} stands still: no place for {} more:",
            surge.owner.name, surge.waiting
        ));
        lines.extend(reasons(&surge.refusal));
    }
    lines
}

fn cores(thousandths: u64) -> String {
    format!("{}.{:02}", thousandths / 1000, thousandths % 1000 / 10)
}

/// For machines.
pub fn encode(forecast: &Forecast, machines: &Machines, cheapest: bool) -> Value {
    let course =
        |course: Course| json!({ "seconds": course.lasts.map(|time| time.as_secs()), "short": course.short });
    let node = |node: &NodeForecast| {
        let outlook = &node.outlook;
        json!({
            "name": node.name, "type": node.machine.name, "services": node.services,
            "cpu_kept": outlook.load.cpu_kept, "cpu_used": outlook.load.cpu_used, "cpu_free": outlook.cpu_free,
            "cpu": node.machine.cores, "sustained": outlook.sustained,
            "memory_kept": outlook.load.memory, "memory_free": outlook.memory_free, "memory": node.machine.memory,
            "credits": outlook.credits.map(|(full, started)| json!({ "full": course(full), "started": course(started) })),
        })
    };
    let anchored = |one: &Anchored| json!({ "namespace": one.namespace, "workload": one.workload, "by": one.by, "nodes": one.nodes });
    json!({
        "machines": forecast.fleet.to_string(), "fits": forecast.fits(), "lasts": forecast.lasts(),
        "survives": forecast.survives(), "room_for_a_loss": forecast.has_room_for_a_loss(), "updates": forecast.updates(), "verdict": verdict(forecast),
        "monthly": forecast.monthly().map(|millionths| millionths as f64 / 1e6), "currency": machines.currency,
        "cheapest": cheapest, "nodes": forecast.nodes.iter().map(node).collect::<Vec<_>>(),
        "waiting": waiting(forecast), "lost": lost(forecast), "strained": strained(forecast),
        "data_may_be_lost": forecast.anchored.iter().map(anchored).collect::<Vec<_>>(), "surges": updates(forecast),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bowline_core::capacity::fleet::Fleet;
    use bowline_core::capacity::forecast::{Ground, Need};
    use bowline_core::capacity::machine::MachineType;
    use bowline_core::capacity::outlook::Load;

    use super::*;

    #[test]
    fn a_workload_whose_data_may_be_lost_is_told_by_name() {
        let machine = MachineType {
            name: "big".into(),
            cores: 4_000,
            memory: 16 << 30,
            burst: None,
            price: None,
            unlimited: false,
            surplus: None,
        };
        let machines = Machines { types: BTreeMap::new(), currency: "$".into(), source: String::new() };
        let load = Load { cpu_kept: 100, cpu_used: None, memory: 1 << 20 };
        let plain = Need::of_container("web", 1, load.clone());
        let broker =
            Need { anchors: vec!["claims from data".into()], ..Need::of_container("kafka", 1, load) };
        let forecast = Forecast::new(&Fleet::of(2, machine), Ground::Managed, &[plain, broker]);
        let text = render(&forecast, &machines, None);
        assert!(text.contains("one may be lost; though the data of kafka may be on it"), "{text}");
        let line =
            "kafka: its data may be on the lost machine (claims from data): it may have to wait for it";
        assert!(text.contains(line) && !text.contains("web: its data"), "{text}");
        let data = encode(&forecast, &machines, false);
        assert_eq!((&data["survives"], &data["room_for_a_loss"]), (&json!(false), &json!(true)));
        assert_eq!(data["data_may_be_lost"][0]["workload"], "kafka", "{data}");
    }
}
