//! What was measured, as it is looked at: lines over time, and a row for each service.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::machine::MachineType;
use super::profile::{Profile, ServiceProfile, Window};
use bowline_measurement::interval::{Interval, Machine, Usage, fold_minutes};

/// A picture of a window. Amounts of processors are cores, sizes bytes, times milliseconds since 1970 unless they say
/// otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Picture {
    /// Whose picture.
    pub title: String,
    /// What was seen.
    pub window: Window,
    /// What should be known before the figures are believed.
    pub notes: Vec<String>,
    /// The most telling figures: a name and a text each.
    pub tiles: Vec<(String, String)>,
    /// The middle of each point in time, in seconds since 1970.
    pub times: Vec<f64>,
    /// Lines over those times.
    pub charts: Vec<Chart>,
    /// The services by name.
    pub services: Vec<Row>,
    /// Containers of no service that worked most, the busiest first: of other projects, and what `docker compose run` started.
    /// Without them nobody could tell where the rest of the machine's time went.
    pub others: Vec<Row>,
    /// What was deployed meanwhile.
    pub deployments: Vec<Deployment>,
}

/// Lines over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chart {
    /// What they show.
    pub title: String,
    /// `cores`, `bytes` or `percent`.
    pub unit: &'static str,
    /// How far up the axis goes at least.
    pub most: Option<f64>,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line; none where nothing was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Whether it is a limit rather than something measured.
    pub dashed: bool,
    /// Its values.
    pub values: Vec<Option<f64>>,
}

/// A service in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// How many containers it had at once.
    pub replicas: u32,
    /// Processors used by all of them, on average.
    pub average: f64,
    /// What one at work did not exceed in 95 of 100 minutes.
    pub usual: Option<f64>,
    /// The most that one used while it started.
    pub start: Option<f64>,
    /// The most memory that one held.
    pub most: u64,
    /// Its limit.
    pub limit: Option<u64>,
    /// How much of the time it was held back by its processor limit, in percent.
    pub throttled: f64,
    /// How often it was started anew.
    pub restarts: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deployment {
    /// When, in seconds since 1970.
    pub at: f64,
    /// What.
    pub release: String,
}

/// So many containers of no service are told: a timer that runs one every hour leaves hundreds of names in a month.
const OTHERS: usize = 5;

/// Makes a picture of at most so many points in time. `service` says to which service a container belongs.
pub fn paint(
    title: &str,
    intervals: &[Interval],
    machine: Option<&MachineType>,
    deployments: Vec<Deployment>,
    points: usize,
    service: impl Fn(&str) -> Option<String>,
) -> Picture {
    let minutes = fold_minutes(intervals);
    let profile = Profile::new(&minutes, &service);
    let none = |container: &str| service(container).is_none().then(|| container.to_owned());
    let others = Profile::new(&minutes, none);
    let joined = with_gaps(join(intervals, points));
    let names: BTreeSet<&String> = profile.services.keys().collect();
    let of_services = |value: fn(&Usage, &Interval) -> f64, add: bool| -> Vec<Line> {
        let mut lines: BTreeMap<&String, Vec<Option<f64>>> =
            names.iter().map(|name| (*name, vec![None; joined.len()])).collect();
        for (place, interval) in joined.iter().enumerate() {
            for (container, usage) in &interval.containers {
                let Some(name) = service(container) else { continue };
                let Some(there) = lines.get_mut(&name).and_then(|line| line.get_mut(place)) else { continue };
                let (before, more) = (there.unwrap_or(0.0), value(usage, interval));
                *there = Some(if add { before + more } else { before.max(more) });
            }
        }
        lines.into_iter().map(|(name, values)| Line { name: name.clone(), dashed: false, values }).collect()
    };
    let mut charts = vec![
        processors(&joined, machine),
        memory(&joined),
        pressure(&joined),
        Chart {
            title: "Processors by service".to_owned(),
            unit: "cores",
            most: None,
            lines: of_services(|usage, one| thousandths(usage.cpu.checked_div(one.seen).unwrap_or(0)), true),
        },
        Chart {
            title: "Memory by service, the largest container of each".to_owned(),
            unit: "bytes",
            most: None,
            lines: of_services(|usage, _| usage.memory as f64, false),
        },
    ];
    // Where no limit held anything back there is nothing to see.
    if profile.services.values().any(|service| service.throttled > 0) {
        let share = |usage: &Usage, _: &Interval| {
            usage.throttled.checked_div(usage.seen).unwrap_or(0).min(1000) as f64 / 10.0
        };
        let lines = of_services(share, false);
        let title = "Time in which a service was held back by its CPU limit".to_owned();
        charts.push(Chart { title, unit: "percent", most: Some(10.0), lines });
    }
    Picture {
        title: title.to_owned(),
        window: profile.machine.window,
        notes: notes(&profile, machine),
        tiles: tiles(&profile, machine),
        times: joined.iter().map(|one| (one.from + one.to) as f64 / 2_000.0).collect(),
        charts,
        services: profile.services.iter().map(row).collect(),
        others: busiest(&others),
        deployments,
    }
}

/// Neighbours joined until there are no more than so many.
fn join(intervals: &[Interval], points: usize) -> Vec<Interval> {
    let size = intervals.len().div_ceil(points.max(1)).max(1);
    let join = |chunk: &[Interval]| chunk.iter().cloned().reduce(Interval::then);
    intervals.chunks(size).filter_map(join).collect()
}

/// An interval in which nothing was seen stands where nothing was: a line is broken there.
fn with_gaps(intervals: Vec<Interval>) -> Vec<Interval> {
    let mut all: Vec<Interval> = Vec::with_capacity(intervals.len());
    for interval in intervals {
        if let Some(last) = all.last().filter(|last| interval.from - last.to > (last.to - last.from).max(1)) {
            let (from, to, cores) = (last.to, interval.from, last.machine.cores);
            let machine = Machine { cores, memory: last.machine.memory, ..Machine::default() };
            all.push(Interval { from, to, seen: 0, samples: 0, machine, containers: BTreeMap::new() });
        }
        all.push(interval);
    }
    all
}

fn line(name: &str, intervals: &[Interval], value: impl Fn(&Interval) -> Option<f64>) -> Line {
    Line { name: name.to_owned(), dashed: false, values: intervals.iter().map(value).collect() }
}

fn processors(intervals: &[Interval], machine: Option<&MachineType>) -> Chart {
    let rate =
        |part: fn(&Interval) -> u64| move |one: &Interval| part(one).checked_div(one.seen).map(thousandths);
    let mut lines = vec![line("worked", intervals, rate(|one| one.machine.cpu.busy()))];
    if intervals.iter().any(|one| one.machine.cpu.steal > 0) {
        lines.push(line("kept by the hypervisor", intervals, rate(|one| one.machine.cpu.steal)));
    }
    if let Some(machine) = machine.filter(|machine| machine.burst.is_some()) {
        let sustained = thousandths(machine.sustained());
        let mut limit = line("can be kept up", intervals, |_| Some(sustained));
        limit.dashed = true;
        lines.push(limit);
    }
    let most = intervals.last().map(|last| f64::from(last.machine.cores));
    Chart { title: "Processors of the machine".to_owned(), unit: "cores", most, lines }
}

fn memory(intervals: &[Interval]) -> Chart {
    let used = |one: &Interval| {
        let used = one.machine.memory.saturating_sub(one.machine.memory_available) as f64;
        (one.seen > 0).then_some(used)
    };
    let mut lines = vec![line("in use", intervals, used)];
    if intervals.iter().any(|one| one.machine.swap > 0) {
        lines.push(line("swap in use", intervals, |one| (one.seen > 0).then_some(one.machine.swap as f64)));
    }
    let most = intervals.last().map(|last| last.machine.memory as f64);
    Chart { title: "Memory of the machine".to_owned(), unit: "bytes", most, lines }
}

fn pressure(intervals: &[Interval]) -> Chart {
    let share = |part: fn(&Interval) -> u64| {
        move |one: &Interval| part(one).checked_div(one.seen).map(|part| part as f64 / 10.0)
    };
    let lines = vec![
        line("a processor", intervals, share(|one| one.machine.pressure.cpu)),
        line("memory", intervals, share(|one| one.machine.pressure.memory)),
        line("a disk", intervals, share(|one| one.machine.pressure.io)),
    ];
    Chart { title: "Time in which something waited for".to_owned(), unit: "percent", most: Some(10.0), lines }
}

fn row((name, service): (&String, &ServiceProfile)) -> Row {
    Row {
        name: name.clone(),
        replicas: service.replicas,
        average: thousandths(service.average),
        usual: service.steady.percentile(95).map(thousandths),
        start: service.starting.map(thousandths),
        most: service.memory,
        limit: service.memory_limit,
        throttled: service.throttling() as f64 / 10.0,
        restarts: service.restarts,
        oom_kills: service.oom_kills,
    }
}

/// Those that used most processor time in all.
fn busiest(profile: &Profile) -> Vec<Row> {
    let mut all: Vec<(&String, &ServiceProfile)> = profile.services.iter().collect();
    let used = |service: &ServiceProfile| service.average.saturating_mul(service.window.seen);
    all.sort_by_key(|(_, service)| std::cmp::Reverse(used(service)));
    all.into_iter().take(OTHERS).map(row).collect()
}

/// What was kept from services is not in the figures: their demand is higher than what is shown.
fn notes(profile: &Profile, kind: Option<&MachineType>) -> Vec<String> {
    let machine = &profile.machine;
    let mut notes = Vec::new();
    if machine.window.samples > 0 && machine.window.coverage() < 80 {
        notes.push(format!("Only {} % of this window were seen.", machine.window.coverage()));
    }
    if machine.steal > 10 {
        let why = match kind.map(|kind| kind.burst.is_some() && !kind.unlimited) {
            Some(true) => "its CPU credits are spent",
            Some(false) => "others work on the same hardware",
            None => {
                "its CPU credits are spent, if it is of a type that has them, or others work on the same hardware"
            }
        };
        notes.push(format!(
            "The hypervisor kept {:.1} % of the processor time that was wanted: {why}, and the demand is higher than what is shown.",
            machine.steal as f64 / 10.0
        ));
    }
    if machine.memory_pressure > 10 {
        notes.push(format!(
            "Work waited for memory for {:.1} % of the time: part of the processor time is spent on making room.",
            machine.memory_pressure as f64 / 10.0
        ));
    }
    notes
}

fn tiles(profile: &Profile, machine: Option<&MachineType>) -> Vec<(String, String)> {
    let mut tiles = Vec::new();
    let seen = &profile.machine;
    let (Some(average), Some(usual)) = (seen.busy.average(), seen.busy.percentile(95)) else { return tiles };
    let mut tile = |name: &str, text: String| tiles.push((name.to_owned(), text));
    let share = |rate: u64| rate.checked_div(u64::from(seen.cores) * 10).unwrap_or(0);
    tile("of all processors, on average", format!("{} %", share(average)));
    tile("or less, 95 of 100 minutes", format!("{} %", share(usual)));
    let left = seen.memory_available.saturating_mul(100).checked_div(seen.memory).unwrap_or(0);
    tile("of memory was left, at least", format!("{left} %"));
    if let (free, size @ 1..) = seen.disk {
        tile("of the disk was free, at least", format!("{} %", free.saturating_mul(100) / size));
    }
    if let Some(burst) = machine.and_then(|machine| machine.burst) {
        // A machine without credits works no more than it earns: what was wanted counts.
        let lasts = burst.course(burst.full(), seen.wanted.unwrap_or(average)).lasts;
        let text = lasts.map_or_else(|| "for good".to_owned(), |time| hours(time.as_secs()));
        tile("of what was wanted from full CPU credits", text);
    }
    tiles
}

/// A time as people say it.
pub fn hours(seconds: u64) -> String {
    match seconds / 60 {
        minutes @ ..120 => format!("{minutes} min"),
        minutes @ ..2_880 => format!("{:.1} h", minutes as f64 / 60.0),
        minutes => format!("{:.1} days", minutes as f64 / 1_440.0),
    }
}

fn thousandths(number: u64) -> f64 {
    number as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_measurement::interval::CpuTime;

    fn minute(number: i64) -> Interval {
        let usage = |cpu| Usage { seen: 60_000, cpu, memory: 5 << 20, age: 9_000_000, ..Usage::default() };
        let cpu = CpuTime { user: 12_000_000, steal: 6_000_000, ..CpuTime::default() };
        let machine = Machine { cores: 2, cpu, memory: 1_000, memory_available: 250, ..Machine::default() };
        let containers = [("p/user/1", 6_000_000), ("p/user/2", 3_000_000), ("other", 1)];
        Interval {
            from: number * 60_000,
            to: (number + 1) * 60_000,
            seen: 60_000,
            samples: 4,
            machine,
            containers: containers.map(|(name, cpu)| (name.to_owned(), usage(cpu))).into(),
        }
    }

    fn service(name: &str) -> Option<String> {
        name.split('/').nth(1).map(str::to_owned)
    }

    #[test]
    fn lines_have_as_many_points_as_there_are_times() {
        let minutes: Vec<Interval> = (0..10).map(minute).collect();
        for (points, expected) in [(100, 10), (5, 5), (4, 4), (1, 1)] {
            let picture = paint("box", &minutes, None, Vec::new(), points, service);
            assert_eq!(picture.times.len(), expected, "{points}");
            let lines = picture.charts.iter().flat_map(|chart| &chart.lines);
            assert!(lines.clone().count() > 5 && lines.into_iter().all(|line| line.values.len() == expected));
            // Containers of one service add up; memory is that of the largest.
            let cores = picture.charts[3].lines[0].values[0].unwrap();
            assert!((cores - 0.15).abs() < 1e-9, "{cores}");
            assert_eq!(picture.charts[4].lines[0].values[0], Some(f64::from(5 << 20)));
            assert_eq!((picture.services.len(), picture.window.samples), (1, 40));
        }
    }

    #[test]
    fn a_line_is_broken_where_nothing_was_seen() {
        let picture = paint("box", &[minute(0), minute(1), minute(60)], None, Vec::new(), 10, service);
        let line = &picture.charts[1].lines[0].values;
        assert_eq!(line.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true]);
        assert_eq!((picture.times.len(), picture.charts[3].lines[0].values[2]), (4, None));
    }

    #[test]
    fn what_was_kept_from_services_is_said_first() {
        let picture = paint("box", &[minute(0)], None, Vec::new(), 10, service);
        assert!(picture.notes[0].contains("The hypervisor kept 33.3 %"), "{:?}", picture.notes);
        assert!(picture.notes[0].contains("or others work on the same hardware"), "{:?}", picture.notes);
        let metal = MachineType {
            name: "metal".to_owned(),
            cores: 2_000,
            memory: 1_000,
            burst: None,
            price: None,
            unlimited: false,
            surplus: None,
        };
        let picture = paint("box", &[minute(0)], Some(&metal), Vec::new(), 10, service);
        assert!(!picture.notes[0].contains("credits"), "{:?}", picture.notes);
        assert_eq!(picture.tiles[0], ("of all processors, on average".to_owned(), "10 %".to_owned()));
    }

    #[test]
    fn what_belongs_to_no_service_is_seen_by_its_own_name() {
        let mut minutes = vec![minute(0), minute(1)];
        for number in 0..9 {
            let usage = Usage { seen: 60_000, cpu: 6_000_000 * (number + 1), ..Usage::default() };
            minutes[0].containers.insert(format!("p-user-run-{number}"), usage);
        }
        let picture = paint("box", &minutes, None, Vec::new(), 10, service);
        let names: Vec<&str> = picture.others.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, [8, 7, 6, 5, 4].map(|number| format!("p-user-run-{number}")));
        assert!((picture.others[0].average - 0.9).abs() < 1e-9);
        assert_eq!(picture.services.len(), 1, "and is no part of any");
        assert!((picture.services[0].average - 0.15).abs() < 1e-9);
    }

    #[test]
    fn nothing_measured_is_an_empty_picture() {
        let picture = paint("box", &[], None, Vec::new(), 10, service);
        assert_eq!((picture.times.len(), picture.tiles.len(), picture.services.len()), (0, 0, 0));
    }
}
