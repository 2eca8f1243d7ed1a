//! What each service should be given, and why.
//!
//! Bowline's own rules, beside those of the Vertical Pod Autoscaler and of KRR: what was measured while a process started
//! does not count as work; a virtual machine's memory is reckoned from its parts; and nothing is taken away on the word of
//! measurements that cannot show what is needed.

mod jvm;
mod validity;

use std::collections::BTreeMap;

use super::profile::{MachineProfile, Profile, ServiceProfile, Window};
use super::runtime::vitals::Vitals;
use super::runtime::{Jvm, Program, Runtime};
pub use validity::{Doubt, doubts};
use validity::{doubt_of_limit, is_held_back};

/// A mebibyte.
const MEBI: u64 = 1 << 20;
/// What is added to what was measured, in hundredths (KRR's and the Vertical Pod Autoscaler's margin).
const MARGIN: u64 = 15;
/// The least that is advised: thousandths of a core, and bytes (Docker refuses less than 6 MiB).
const LEAST: (u64, u64) = (10, 16 * MEBI);

/// What is known of a service besides what was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What it runs on.
    pub runtime: Runtime,
    /// What it is given now.
    pub given: Given,
    /// How many threads it has, all of them; none where nobody looked.
    pub threads: Option<u32>,
    /// What its virtual machine says of itself; none where it has none, or that keeps no counters.
    pub vitals: Option<Vitals>,
}

/// What a container is given: thousandths of a core and bytes; none where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    /// Processor time that is kept for it.
    pub cpu_request: Option<u64>,
    /// The most that it may use.
    pub cpu_limit: Option<u64>,
    /// Memory that is kept for it.
    pub memory_request: Option<u64>,
    /// The most that it may use.
    pub memory_limit: Option<u64>,
}

/// What can be set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// Processor time that is kept.
    CpuRequest,
    /// The most processor time that it may use.
    CpuLimit,
    /// Memory that is kept and may be used: the same, so that a node cannot promise what it does not have.
    Memory,
    /// An environment variable.
    Variable(String),
    /// Whether it runs at all. That is for people to do: data has to be moved first.
    Enabled,
}

/// One piece of advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What is to be set.
    pub setting: Setting,
    /// What it is now; none where nothing is said.
    pub now: Option<Amount>,
    /// What it should be.
    pub advised: Amount,
    /// Why, in plain words, with the figures.
    pub why: String,
    /// How much memory it frees, in bytes, of what may be used now.
    pub frees: Option<u64>,
}

/// A value that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amount {
    /// Thousandths of a core.
    Cores(u64),
    /// Bytes.
    Bytes(u64),
    /// A text.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

/// What one service should be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The service.
    pub service: String,
    /// What was seen of it.
    pub window: Window,
    /// What to set.
    pub lines: Vec<Line>,
    /// Why nothing may be taken away, and what to do first; empty where it may.
    pub doubts: Vec<Doubt>,
}

/// Advises for all services that were measured and of which something is known, in the order of their names.
pub fn advise(profile: &Profile, facts: &BTreeMap<String, Facts>) -> Vec<Advice> {
    let mut all = Vec::new();
    for (name, service) in &profile.services {
        let Some(known) = facts.get(name).filter(|_| service.window.samples > 0) else { continue };
        let mut doubts = doubts(&profile.machine, service);
        doubts.extend(doubt_of_limit(service, known.given.cpu_limit));
        let mut lines: Vec<Line> = cpu(service, known).into_iter().collect();
        lines.extend(cpu_limit(service, known, &profile.machine));
        match &known.runtime {
            Runtime::Jvm(jvm) => lines.extend(jvm::lines(jvm, service, known, profile, doubts.is_empty())),
            Runtime::Plain => lines.extend(memory(service, known)),
        }
        all.push(Advice { service: name.clone(), window: service.window, lines, doubts });
    }
    spare_twins(&mut all, profile, facts);
    for advice in &mut all {
        let sure = advice.doubts.is_empty();
        advice.lines.retain(|line| sure || !line.shrinks());
    }
    all
}

impl Line {
    /// Whether it takes something away that the service has, or may take, now.
    pub fn shrinks(&self) -> bool {
        match (&self.now, &self.advised) {
            (Some(Amount::Cores(now)), Amount::Cores(advised)) => advised < now,
            (Some(Amount::Bytes(now)), Amount::Bytes(advised)) => advised < now,
            // A limit where there was none, a service less.
            (None, Amount::Bytes(_)) | (_, Amount::Flag(false)) => true,
            (_, Amount::Text(_)) => self.frees.is_some(),
            _ => false,
        }
    }
}

/// What is kept for its work; a limit is not advised, as it only holds back what others leave over.
fn cpu(service: &ServiceProfile, facts: &Facts) -> Option<Line> {
    let usual = service.steady.percentile(95)?;
    let advised = with_margin(usual).max(LEAST.0);
    let now = facts.given.cpu_request;
    let near = now.is_some_and(|now| is_near(now, advised));
    let start = match service.starting {
        Some(start) if start > usual => {
            format!("; while it starts it takes {}, which is not kept for it", cores(start))
        }
        _ => String::new(),
    };
    (!near).then(|| Line {
        setting: Setting::CpuRequest,
        now: now.map(Amount::Cores),
        advised: Amount::Cores(advised),
        why: format!("95 of 100 minutes at work took {} or less, and {MARGIN} % more{start}", cores(usual)),
        frees: None,
    })
}

/// Twice the limit that held it back: how much more it needs nobody can see before it has it.
fn cpu_limit(service: &ServiceProfile, facts: &Facts, machine: &MachineProfile) -> Option<Line> {
    let now = facts.given.cpu_limit.filter(|limit| is_held_back(service, *limit))?;
    let advised = now.saturating_mul(2).min(u64::from(machine.cores) * 1000);
    let held = service.throttling();
    let seen = match held {
        0 => format!("it uses all of the {} that it may", cores(now)),
        _ => format!("it was held back for {}.{} % of the time", held / 10, held % 10),
    };
    (advised > now).then(|| Line {
        setting: Setting::CpuLimit,
        now: Some(Amount::Cores(now)),
        advised: Amount::Cores(advised),
        why: format!("{seen}: what it needs is more, and twice as much shows how much"),
        frees: None,
    })
}

/// The most that it held, and some more; after a kill as much more than its limit as the Vertical Pod Autoscaler adds (v1.8.1,
/// `oom-bump-up-ratio` and `oom-min-bump-up-bytes`).
fn memory(service: &ServiceProfile, facts: &Facts) -> Option<Line> {
    let limit = facts.given.memory_limit.or(service.memory_limit);
    if let Some(limit) = limit.filter(|_| service.oom_kills > 0) {
        let advised = whole_mebi(limit.saturating_add((limit / 5).max(100 * MEBI)));
        let why = format!("{} of its processes were killed at {}", service.oom_kills, bytes(limit));
        return memory_line(service, facts, advised, why);
    }
    let advised = whole_mebi(with_margin(service.memory)).max(LEAST.1);
    let why = format!("it held {} at most, and {MARGIN} % more", bytes(service.memory));
    memory_line(service, facts, advised, why)
}

/// Advice about memory, unless what is given is about that already.
fn memory_line(service: &ServiceProfile, facts: &Facts, advised: u64, why: String) -> Option<Line> {
    let now = facts.given.memory_limit.or(service.memory_limit);
    let near = now.is_some_and(|now| is_near(now, advised));
    (!near).then(|| Line {
        setting: Setting::Memory,
        now: now.map(Amount::Bytes),
        advised: Amount::Bytes(advised),
        why,
        frees: now.map(|now| now.saturating_sub(advised)).filter(|freed| *freed > 0),
    })
}

/// Several brokers on one machine keep nothing safe that one would not: they fail together.
fn spare_twins(all: &mut [Advice], profile: &Profile, facts: &BTreeMap<String, Facts>) {
    let brokers: Vec<&String> = facts
        .iter()
        .filter(|(_, known)| matches!(&known.runtime, Runtime::Jvm(Jvm { program: Program::Kafka, .. })))
        .map(|(name, _)| name)
        .collect();
    let Some((first, rest)) = brokers.split_first().filter(|(_, rest)| !rest.is_empty()) else { return };
    for advice in all.iter_mut().filter(|advice| rest.contains(&&advice.service)) {
        let held = profile.services.get(&advice.service).map_or(0, |service| service.memory);
        advice.lines.push(Line {
            setting: Setting::Enabled,
            now: Some(Amount::Flag(true)),
            advised: Amount::Flag(false),
            why: format!(
                "{} brokers on one machine fail together with it: {first} alone is as safe, if they are one cluster; first move all partitions, and the quorum, to it",
                brokers.len()
            ),
            frees: Some(held),
        });
    }
}

/// Whether what is given is about right: a tenth too much is, and a twentieth too little, as that costs more.
fn is_near(now: u64, advised: u64) -> bool {
    let tolerated = if advised < now { now / 10 } else { now / 20 };
    now.abs_diff(advised) <= tolerated
}

/// What was measured, and the margin that is kept above it.
pub fn with_margin(amount: u64) -> u64 {
    amount.saturating_mul(100 + MARGIN).div_ceil(100)
}

fn whole_mebi(bytes: u64) -> u64 {
    bytes.div_ceil(MEBI).saturating_mul(MEBI)
}

/// Thousandths of a core for people.
pub(super) fn cores(thousandths: u64) -> String {
    format!("{}.{:02} CPU", thousandths / 1000, thousandths % 1000 / 10)
}

/// Bytes for people.
pub(super) fn bytes(bytes: u64) -> String {
    if bytes >= 10 << 30 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes / MEBI) }
}

#[cfg(test)]
mod tests;
