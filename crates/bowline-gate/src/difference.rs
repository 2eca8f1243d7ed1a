//! From two readings, what was used between them.

use std::collections::BTreeMap;

use bowline_measurement::interval::{Flow, Interval, Machine, Usage};

use crate::label::span;
use crate::reading::{ContainerReading, MachineReading, Reading};

/// The longest that may lie between two readings, in milliseconds awake. A sampler that was not let run for a while
/// gives one long interval, since counters go on without it; but what came and went in the meantime is not known.
const LONGEST: u64 = 300_000;

/// A container whose age is that much more than the time in which it must have begun has begun in it: its control group
/// is made before its first process. Milliseconds.
const HASTE: u64 = 1_000;

/// What was used between two readings of one machine; nothing where they do not belong together: the machine was
/// started in between, or too much time has passed.
pub fn between(before: &Reading, after: &Reading) -> Option<Interval> {
    let seen = after.moment.awake.checked_sub(before.moment.awake)?;
    if seen == 0 || seen > LONGEST || after.moment.boot < before.moment.boot {
        return None;
    }
    let (from, to) = span(before.moment, after.moment);
    let machine = machine(&before.machine, &after.machine, seen);
    Some(Interval { from, seen, to, samples: 1, machine, containers: containers(before, after, seen) })
}

fn machine(before: &MachineReading, after: &MachineReading, seen: u64) -> Machine {
    let cpu = after.cpu.since(before.cpu);
    Machine {
        cores: after.cores,
        cpu,
        cpu_peak: cpu.busy().checked_div(seen).unwrap_or(0),
        memory: after.memory,
        memory_available: after.memory_available,
        swap: after.swap,
        pressure: after.pressure.since(before.pressure),
        load: after.load,
        disk: after.disk,
        disk_free: after.disk_free,
        io: flows(&before.io, &after.io),
        network: flows(&before.network, &after.network),
    }
}

/// A disk or an interface that was not there before, or is another one by the same name, counts from the next reading.
fn flows<K: Ord>(before: &BTreeMap<K, Flow>, after: &BTreeMap<K, Flow>) -> Flow {
    let used = after.iter().filter_map(|(key, after)| after.since(*before.get(key)?));
    used.fold(Flow::default(), Flow::plus)
}

fn containers(before: &Reading, after: &Reading, seen: u64) -> BTreeMap<String, Usage> {
    let mut found: BTreeMap<String, Usage> = BTreeMap::new();
    let mut put = |name: &str, usage: Usage| match found.remove(name) {
        Some(other) => drop(found.insert(name.to_owned(), beside(other, &usage))),
        None => drop(found.insert(name.to_owned(), usage)),
    };
    for (id, now) in &after.containers {
        let Some(name) = &now.name else { continue };
        let then = before.containers.get(id).filter(|then| then.group == now.group);
        // Those of a group that is still there are in its own count.
        let kills = after.kills.get(id).copied().filter(|_| then.is_none()).unwrap_or(0);
        match container(then, now, seen) {
            Some(usage) => put(name, Usage { oom_kills: usage.oom_kills.saturating_add(kills), ..usage }),
            None if kills > 0 || now.restarts > 0 => {
                let memory_last = now.memory;
                put(name, Usage { memory_last, restarts: now.restarts, ..unseen(now, kills) });
            }
            None => {}
        }
    }
    for (id, last) in &after.gone {
        if let (Some(name), Some(kills)) = (&last.name, after.kills.get(id)) {
            put(name, unseen(last, *kills));
        }
    }
    found
}

/// What a container used; nothing where that is not known: it ran before, and was not looked at.
fn container(before: Option<&ContainerReading>, after: &ContainerReading, seen: u64) -> Option<Usage> {
    let nothing = ContainerReading { network: Some(Flow::default()), ..ContainerReading::default() };
    let seen = match (before, after.age) {
        (Some(_), _) => seen,
        (None, Some(age)) if age <= seen.saturating_add(HASTE) => age.min(seen),
        (None, _) => return None,
    };
    let before = before.unwrap_or(&nothing);
    let cpu = after.cpu.saturating_sub(before.cpu);
    let network = before.network.zip(after.network).and_then(|(before, after)| after.since(before));
    Some(Usage {
        seen,
        cpu,
        // In the first moments, what was used to start it would be a rate that no machine has.
        cpu_peak: cpu.checked_div(seen.max(1_000)).unwrap_or(0),
        throttled: after.throttled.saturating_sub(before.throttled),
        memory: after.memory,
        memory_last: after.memory,
        memory_peak: after.memory_peak,
        memory_limit: after.memory_limit,
        oom_kills: u32::try_from(after.oom_kills.saturating_sub(before.oom_kills)).unwrap_or(u32::MAX),
        restarts: after.restarts,
        age: after.age.unwrap_or(0),
        network: network.unwrap_or_default(),
        io: after.io.since(before.io).unwrap_or_default(),
    })
}

/// What is known of a container of which nothing was seen: it was killed for want of memory, and is no more or not yet.
fn unseen(last: &ContainerReading, kills: u32) -> Usage {
    Usage {
        memory: last.memory,
        memory_peak: last.memory_peak,
        memory_limit: last.memory_limit,
        oom_kills: kills,
        age: last.age.unwrap_or(0),
        ..Usage::default()
    }
}

/// Two containers of one name in the same time: the one that was replaced, and the one in its place.
fn beside(one: Usage, other: &Usage) -> Usage {
    let newer = if other.seen > 0 && other.age <= one.age { other } else { &one };
    let limit = newer.memory_limit;
    let age = newer.age;
    Usage {
        seen: one.seen.max(other.seen),
        cpu: one.cpu.saturating_add(other.cpu),
        cpu_peak: one.cpu_peak.saturating_add(other.cpu_peak),
        throttled: one.throttled.saturating_add(other.throttled),
        memory: one.memory.saturating_add(other.memory),
        memory_last: one.memory_last.saturating_add(other.memory_last),
        memory_peak: one.memory_peak.max(other.memory_peak),
        memory_limit: limit,
        oom_kills: one.oom_kills.saturating_add(other.oom_kills),
        restarts: one.restarts.saturating_add(other.restarts),
        age,
        network: one.network.plus(other.network),
        io: one.io.plus(other.io),
    }
}

#[cfg(test)]
mod tests {
    use bowline_measurement::interval::CpuTime;

    use super::*;
    use crate::reading::Moment;

    fn at(seconds: u64) -> Moment {
        let passed = seconds * 1_000;
        Moment { label: 1_700_000_000_000 + i64::try_from(passed).unwrap(), boot: passed, awake: passed }
    }

    fn container(name: &str, group: u64, cpu: u64) -> ContainerReading {
        let name = Some(name.to_owned());
        ContainerReading { name, group, cpu, age: Some(900_000), memory: 100, ..ContainerReading::default() }
    }

    fn reading(seconds: u64, containers: &[(&str, ContainerReading)]) -> Reading {
        let containers = containers.iter().map(|(id, reading)| ((*id).to_owned(), reading.clone())).collect();
        Reading { moment: at(seconds), containers, ..Reading::default() }
    }

    fn young(age: u64, reading: ContainerReading) -> ContainerReading {
        ContainerReading { age: Some(age), ..reading }
    }

    #[test]
    fn what_was_used_is_the_difference() {
        let mut before = reading(0, &[("a", container("chat/user/1", 1, 1_000_000))]);
        before.machine.cpu = CpuTime { user: 5, system: 5, idle: 100, wait: 9, steal: 1 };
        before.machine.io = [((8, 0), Flow { inward: 10, outward: 20 })].into();
        let mut after = reading(15, &[("a", container("chat/user/1", 1, 4_000_000))]);
        after.machine.cpu = CpuTime { user: 15_000_005, system: 6, idle: 90, wait: 8, steal: 4 };
        after.machine.io =
            [((8, 0), Flow { inward: 15, outward: 21 }), ((8, 16), Flow { inward: 7, outward: 7 })].into();
        let interval = between(&before, &after).unwrap();
        assert_eq!(
            (interval.from, interval.to, interval.seen),
            (1_700_000_000_000, 1_700_000_015_000, 15_000)
        );
        assert_eq!(interval.machine.cpu, CpuTime { user: 15_000_000, system: 1, idle: 0, wait: 0, steal: 3 });
        assert_eq!(interval.machine.cpu_peak, 1_000);
        assert_eq!(interval.machine.io, Flow { inward: 5, outward: 1 });
        let usage = &interval.containers["chat/user/1"];
        assert_eq!(
            (usage.cpu, usage.cpu_peak, usage.cpu_rate(), usage.seen),
            (3_000_000, 200, Some(200), 15_000)
        );
    }

    #[test]
    fn a_restart_within_a_sample_counts_from_the_restart() {
        let before = reading(0, &[("a", container("x", 1, 9_000_000))]);
        // It has used more than before already: only its control group tells.
        let again = ContainerReading { restarts: 1, ..young(5_000, container("x", 2, 10_000_000)) };
        let usage = between(&before, &reading(15, &[("a", again)])).unwrap().containers["x"].clone();
        assert_eq!((usage.cpu, usage.seen, usage.restarts, usage.age), (10_000_000, 5_000, 1, 5_000));
        assert_eq!(usage.cpu_rate(), Some(2_000));
    }

    #[test]
    fn what_was_not_looked_at_before_begins_with_the_next_sample() {
        let (nothing, old) = (reading(0, &[]), container("x", 1, 77));
        assert!(between(&nothing, &reading(15, &[("a", old.clone())])).unwrap().containers.is_empty());
        let unknown = ContainerReading { age: None, ..old.clone() };
        assert!(between(&nothing, &reading(15, &[("a", unknown)])).unwrap().containers.is_empty());
        let nameless = ContainerReading { name: None, ..old.clone() };
        let both = between(&reading(0, &[("a", nameless.clone())]), &reading(15, &[("a", nameless.clone())]));
        assert!(both.unwrap().containers.is_empty());
        let named = between(&reading(0, &[("a", nameless)]), &reading(15, &[("a", old)])).unwrap();
        assert_eq!(named.containers["x"].cpu, 0);
    }

    #[test]
    fn a_container_that_was_replaced_keeps_its_name_and_a_renamed_one_takes_the_new_one() {
        let before = reading(0, &[("a", container("x", 1, 500)), ("b", container("old", 3, 5))]);
        let new = young(3_000, container("x", 2, 40));
        let after = reading(15, &[("c", new), ("b", container("new", 3, 7))]);
        let found = between(&before, &after).unwrap().containers;
        assert_eq!(found.keys().collect::<Vec<_>>(), ["new", "x"]);
        assert_eq!((found["x"].cpu, found["x"].seen, found["x"].restarts), (40, 3_000, 0));
        assert_eq!(found["new"].cpu, 2);
        // Both at once, as in the moment of the change.
        let after = reading(15, &[("a", container("x", 1, 600)), ("c", young(3_000, container("x", 2, 40)))]);
        let usage = between(&before, &after).unwrap().containers["x"].clone();
        assert_eq!((usage.cpu, usage.memory, usage.age, usage.seen), (140, 200, 3_000, 15_000));
    }

    #[test]
    fn a_kill_is_told_once_whatever_became_of_the_container() {
        let before = reading(0, &[("a", container("x", 1, 500))]);
        let kills: BTreeMap<_, _> = [("a".to_owned(), 1)].into();
        // It lives on: its own count tells.
        let counted = ContainerReading { oom_kills: 1, ..container("x", 1, 600) };
        let after = Reading { kills: kills.clone(), ..reading(15, &[("a", counted)]) };
        assert_eq!(between(&before, &after).unwrap().containers["x"].oom_kills, 1);
        // It was started again: the count went with the old group.
        let after =
            Reading { kills: kills.clone(), ..reading(15, &[("a", young(2_000, container("x", 2, 3)))]) };
        assert_eq!(between(&before, &after).unwrap().containers["x"].oom_kills, 1);
        // It was, and how long ago cannot be seen.
        let early = ContainerReading { age: None, restarts: 1, ..container("x", 2, 3) };
        let after = Reading { kills: kills.clone(), ..reading(15, &[("a", early)]) };
        let usage = between(&before, &after).unwrap().containers["x"].clone();
        assert_eq!((usage.oom_kills, usage.restarts, usage.seen, usage.memory_last), (1, 1, 0, 100));
        // It is no more; the engine may tell so a look later.
        let gone = before.containers.clone();
        let after = Reading { kills, gone, ..reading(15, &[]) };
        assert_eq!(between(&reading(0, &[]), &after).unwrap().containers["x"].oom_kills, 1);
        let usage = between(&before, &after).unwrap().containers["x"].clone();
        assert_eq!((usage.oom_kills, usage.seen, usage.memory, usage.memory_last), (1, 0, 100, 0));
    }

    #[test]
    fn sleep_is_not_seen_and_gaps_give_nothing() {
        let before = reading(0, &[]);
        let slept = |boot: u64, awake: u64| Reading {
            moment: Moment { boot: boot * 1_000, awake: awake * 1_000, ..at(boot) },
            ..Reading::default()
        };
        let night = between(&before, &slept(30_000, 15)).unwrap();
        assert_eq!((night.seen, night.to - night.from), (15_000, 30_000_000));
        assert_eq!(between(&before, &slept(60, 60)).unwrap().seen, 60_000, "not let run for a while");
        assert_eq!(between(&before, &slept(301, 301)), None);
        assert_eq!(between(&slept(15, 15), &before), None, "started in between");
        assert_eq!(between(&before, &before), None);
    }

    #[test]
    fn the_network_counts_where_it_is_seen_both_times() {
        let flow = |inward| Some(Flow { inward, outward: 1 });
        let with = |network| reading(0, &[("a", ContainerReading { network, ..container("x", 1, 1) })]);
        for (before, after, used) in
            [(flow(5), flow(9), 4), (None, flow(9), 0), (flow(5), None, 0), (flow(9), flow(5), 0)]
        {
            let after = Reading { moment: at(15), ..with(after) };
            assert_eq!(between(&with(before), &after).unwrap().containers["x"].network.inward, used);
        }
    }
}
