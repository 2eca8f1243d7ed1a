//! Whether measurements can show what is needed. What was kept from a service by a limit, by other services or by the
//! hypervisor is not in them: its demand is unknown, and higher.

use std::time::Duration;

use super::super::profile::{MachineProfile, ServiceProfile};
use super::{bytes, cores};

/// The shortest window on whose word something may be taken away: a day has one peak at least.
pub(super) const SHORTEST: Duration = Duration::from_secs(86_400);
/// Above so many thousandths of the time, what was kept back hides what is needed.
const MUCH: u64 = 10;

/// Why nothing may be taken away from a service, and what to do first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// What was seen.
    pub seen: String,
    /// What to do before anything is taken away.
    pub first: String,
}

/// All that speaks against taking something away from a service.
pub fn doubts(machine: &MachineProfile, service: &ServiceProfile) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    let mut doubt = |holds: bool, seen: String, first: &str| {
        if holds {
            doubts.push(Doubt { seen, first: first.to_owned() });
        }
    };
    let share = |thousandths: u64| format!("{}.{} %", thousandths / 10, thousandths % 10);
    let (length, coverage) = (service.window.length(), service.window.coverage());
    doubt(
        length < SHORTEST,
        format!("the window is {} long", hours(length)),
        "measure for a day at least, better for a week",
    );
    doubt(
        length >= SHORTEST && coverage < 80,
        format!("only {coverage} % of the window were seen"),
        "let the sampler run on without gaps",
    );
    doubt(
        machine.steal > MUCH,
        format!("the hypervisor kept {} of the processor time that was wanted", share(machine.steal)),
        "take a machine that does not run out of CPU credits, and measure again",
    );
    doubt(
        service.throttling() > MUCH,
        format!("its CPU limit held it back for {} of the time", share(service.throttling())),
        "raise or remove its CPU limit, and measure again",
    );
    doubt(
        machine.memory_pressure > MUCH,
        format!("work waited for memory for {} of the time", share(machine.memory_pressure)),
        "make room: stop what is not needed, or take a machine with more memory",
    );
    doubt(
        machine.swap > machine.memory / 100,
        format!("the machine had {} in swap, which nobody's memory shows", bytes(machine.swap)),
        "make room: stop what is not needed, or take a machine with more memory",
    );
    doubt(
        service.oom_kills > 0,
        format!("{} of its processes were killed for want of memory", service.oom_kills),
        "raise its memory limit, and measure again",
    );
    doubts
}

/// Whether a CPU limit holds a service back: by what the kernel counts, or, where nobody asked it, because 95 of 100 minutes at work
/// use up to a twentieth less than all that it may.
pub(super) fn is_held_back(service: &ServiceProfile, limit: u64) -> bool {
    let used = service.steady.percentile(95).unwrap_or(0);
    service.throttling() > MUCH || used.saturating_mul(100) >= limit.saturating_mul(95)
}

/// What speaks against taking something away where a limit is used up, though nothing counted how long it held anything back.
pub(super) fn doubt_of_limit(service: &ServiceProfile, limit: Option<u64>) -> Option<Doubt> {
    let limit = limit.filter(|limit| service.throttling() <= MUCH && is_held_back(service, *limit))?;
    Some(Doubt {
        seen: format!("it uses all of the {} that it may", cores(limit)),
        first: "raise or remove its CPU limit, and measure again".to_owned(),
    })
}

fn hours(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 3_600 => format!("{} minutes", seconds / 60),
        seconds => format!("{} hours", seconds / 3_600),
    }
}
