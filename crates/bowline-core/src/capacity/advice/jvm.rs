//! Advice for Java virtual machines: heap, metaspace, code, stacks and buffers as one consistent set.
//!
//! A virtual machine lets its heap grow to what it may before it clears away what is dead, so that the memory it held is
//! what it was given. What its heap needs is known only where somebody asked it what is alive.

use super::super::profile::{Profile, ServiceProfile};
use super::super::runtime::{Jvm, Program};
use super::{Amount, Facts, Line, MEBI, Setting, bytes, memory_line, whole_mebi};

/// What is taken where nothing is said and nothing was measured: classes and code of a service of the usual size, buffers of
/// its network, and the platform's default for the stack of a thread.
const METASPACE: u64 = 96 * MEBI;
const CODE: u64 = 48 * MEBI;
const DIRECT: u64 = 16 * MEBI;
const STACK: u64 = MEBI;
/// Threads of a virtual machine that nobody counted: its own, and those of a small service.
const THREADS: u64 = 50;
/// The heap should be so many times what is alive in it, or clearing away takes more time than working.
const ROOM: u64 = 2;

pub(super) fn lines(jvm: &Jvm, service: &ServiceProfile, facts: &Facts, profile: &Profile) -> Vec<Line> {
    let limit = facts.given.memory_limit.or(service.memory_limit);
    let heap_now = jvm.heap_limit(limit.unwrap_or(profile.machine.memory));
    let threads = facts.threads.map_or(THREADS, u64::from);
    let beside = Beside {
        metaspace: jvm.metaspace.unwrap_or(METASPACE),
        code: jvm.code.map_or(CODE, |code| code.min(CODE)),
        stacks: threads.saturating_mul(jvm.stack.unwrap_or(STACK)),
        direct: jvm.direct.map_or(DIRECT, |direct| direct.min(DIRECT)),
    };
    let (wanted, reason) = heap(service, facts, heap_now, &beside);
    // What cannot be told, or is about what it may be already, stays what it is: memory is reckoned with that.
    let near = wanted.abs_diff(heap_now).saturating_mul(10) <= heap_now;
    let heap = if jvm.variable.is_none() || near { heap_now } else { wanted };
    let parts = heap.saturating_add(beside.sum());
    // An eighth beside them: the collector, symbols, what the allocator keeps.
    let needed = whole_mebi(parts.saturating_add(parts / 8))
        .max(whole_mebi(service.memory.saturating_add(service.memory / 10)));
    let why = format!(
        "heap {} ({reason}), metaspace {}, code {}, {threads} threads' stacks {}, buffers {}, and an eighth",
        bytes(heap),
        bytes(beside.metaspace),
        bytes(beside.code),
        bytes(beside.stacks),
        bytes(beside.direct),
    );
    let memory = memory_line(service, facts, needed, why);
    // A heap that is a share of the limit changes with it, and must not.
    let pinned = jvm.heap.is_none() && memory.is_some();
    let line = (pinned || heap != heap_now).then(|| heap_line(jvm, heap, heap_now)).flatten();
    match (memory, line) {
        // Without the one the other would do harm.
        (Some(_), None) if pinned => Vec::new(),
        (memory, line) => memory.into_iter().chain(line).collect(),
    }
}

/// What a virtual machine takes beside its heap, in bytes.
struct Beside {
    metaspace: u64,
    code: u64,
    stacks: u64,
    direct: u64,
}

impl Beside {
    fn sum(&self) -> u64 {
        self.metaspace + self.code + self.stacks + self.direct
    }
}

/// How large the heap should be, and from what that is known.
fn heap(service: &ServiceProfile, facts: &Facts, now: u64, beside: &Beside) -> (u64, String) {
    if let Some(live) = facts.live {
        let advised = whole_mebi(live.saturating_mul(ROOM)).max(32 * MEBI);
        return (advised, format!("{ROOM} times the {} alive in it", bytes(live)));
    }
    // What is beside the heap is a guess: half of it is certain to have been there.
    let held = service.memory.saturating_sub(beside.sum() / 2);
    if held.saturating_mul(10) >= now.saturating_mul(8) {
        return (now, "it grew to what it may; ask it what is alive to know what it needs".to_owned());
    }
    let advised = (whole_mebi(held.saturating_add(held / 4)).max(64 * MEBI)).min(now);
    (advised, format!("it can have held {} at most", bytes(held)))
}

/// How large the heap may get, said in the variable in which nothing else is touched; none where there is no such.
fn heap_line(jvm: &Jvm, heap: u64, now: u64) -> Option<Line> {
    let variable = jvm.variable?;
    let mut value = format!("-Xmx{}m", heap / MEBI);
    // Without this a heap that is to begin larger would not start at all.
    if jvm.program == Program::Kafka || jvm.initial.is_some_and(|initial| initial > heap) {
        value += &format!(" -Xms{}m", heap / MEBI);
    }
    let why = match (heap == now, jvm.heap) {
        (true, _) => {
            "as large as it may get now: it is a share of what it sees, which would change".to_owned()
        }
        (false, Some(_)) => format!("its heap may get {} now", bytes(now)),
        (false, None) => format!("its heap may get {} now, by what it sees of memory", bytes(now)),
    };
    Some(Line {
        setting: Setting::Variable(variable.to_owned()),
        now: None,
        advised: Amount::Text(value),
        why,
        frees: now.checked_sub(heap).filter(|freed| *freed > 0),
    })
}
