//! Advice for Java virtual machines: heap, metaspace, code, stacks and buffers as one consistent set.
//!
//! A virtual machine lets its heap grow to what it may before it clears away what is dead, so that the memory it held is
//! what it was given. What its heap needs is known from what it says of itself, a day after its start or later: before,
//! it has not seen what a day brings.

use super::super::profile::{Profile, ServiceProfile};
use super::super::runtime::vitals::Vitals;
use super::super::runtime::{Jvm, Program, Property};
use super::validity::SHORTEST;
use super::{Amount, Facts, Line, MEBI, Setting, bytes, memory_line, whole_mebi, with_margin};

/// What is taken where nothing is said and nothing was measured: classes and code of a service of the usual size, buffers of
/// its network, and the platform's default for the stack of a thread.
const METASPACE: u64 = 96 * MEBI;
const CODE: u64 = 48 * MEBI;
const DIRECT: u64 = 16 * MEBI;
const STACK: u64 = MEBI;
/// Threads of a virtual machine that nobody counted: its own, and those of a small service.
const THREADS: u64 = 50;
/// Threads of a service with Spring that serve no request: some six of the virtual machine's that run Java, five of Tomcat's,
/// those of its pools and timers.
const OWN: u64 = 20;
/// The heap should be so many times what is alive in it, in tenths, or clearing away takes more time than working.
const ROOM: u64 = 20;
/// Parallel needs more: two thirds of its heap are the old generation, and where that has no room for what the young one may
/// send there, each collection is a full one (tried with JDK 17: at twice all of them were, at 2.5 times none).
const PARALLEL: u64 = 25;
/// How many requests Tomcat serves at once where nothing is said (`server.tomcat.threads.max`).
const TOMCAT: u64 = 200;

pub(super) fn lines(
    jvm: &Jvm,
    service: &ServiceProfile,
    facts: &Facts,
    profile: &Profile,
    sure: bool,
) -> Vec<Line> {
    let limit = facts.given.memory_limit.or(service.memory_limit);
    let says = facts.vitals.as_ref();
    let by_options = || jvm.heap_limit(limit.unwrap_or(profile.machine.memory));
    let heap_now = says.and_then(|vitals| vitals.heap_limit).unwrap_or_else(by_options);
    let crowd = Crowd::new(jvm, facts, sure);
    let stack = jvm.stack.unwrap_or(STACK);
    let beside = Beside {
        metaspace: metaspace(jvm, says),
        code: jvm.code.map_or(CODE, |code| code.min(CODE)),
        stacks: crowd.seen.saturating_mul(stack),
        direct: jvm.direct.map_or(DIRECT, |direct| direct.min(DIRECT)),
    };
    let (wanted, reason) = heap(service, says, heap_now, &beside);
    // What cannot be told, or is about what it may be already, stays what it is: memory is reckoned with that.
    let near = wanted.abs_diff(heap_now).saturating_mul(10) <= heap_now;
    let heap = if jvm.variable.is_none() || near { heap_now } else { wanted };
    let beside = Beside { stacks: crowd.allowed.saturating_mul(stack), ..beside };
    let parts = heap.saturating_add(beside.sum());
    // An eighth beside them: the collector, symbols, what the allocator keeps.
    let needed = whole_mebi(parts.saturating_add(parts / 8))
        .max(whole_mebi(service.memory.saturating_add(service.memory / 10)));
    let seen = match crowd.seen {
        seen if seen < crowd.allowed => format!(" (it had {seen})"),
        _ => String::new(),
    };
    let why = format!(
        "heap {} ({reason}), metaspace {}, code {}, {} threads' stacks {}{seen}, buffers {}, and an eighth",
        bytes(heap),
        bytes(beside.metaspace),
        bytes(beside.code),
        crowd.allowed,
        bytes(beside.stacks),
        bytes(beside.direct),
    );
    let memory = memory_line(service, facts, needed, why);
    // A heap that is a share of the limit changes with it, and must not.
    let pinned = jvm.heap.is_none() && memory.is_some();
    let line = (pinned || heap != heap_now).then(|| heap_line(jvm, heap, heap_now)).flatten();
    let mut lines: Vec<Line> = match (memory, line) {
        // Without the one the other would do harm.
        (Some(_), None) if pinned => Vec::new(),
        (memory, line) => memory.into_iter().chain(line).collect(),
    };
    lines.extend(crowd.tomcat_line(jvm.tomcat, stack));
    lines.extend(crowd.pool_line(jvm.pool));
    lines
}

/// What a virtual machine takes beside its heap, in bytes.
#[derive(Clone, Copy)]
struct Beside {
    metaspace: u64,
    code: u64,
    stacks: u64,
    direct: u64,
}

impl Beside {
    fn sum(&self) -> u64 {
        [self.metaspace, self.code, self.stacks, self.direct].into_iter().fold(0, u64::saturating_add)
    }
}

/// Whether what a virtual machine says of itself holds for more than its start: it cleared something away a day after it, or
/// later. That counts rather than how long it runs, since what is alive is known as of then.
fn is_seasoned(vitals: &&Vitals) -> bool {
    vitals.seasoning() >= SHORTEST
}

/// What classes take: what they took, and some more, as long as that is known of a day. Where a limit is given, they take no
/// more than that.
fn metaspace(jvm: &Jvm, says: Option<&Vitals>) -> u64 {
    let measured = says.and_then(|vitals| vitals.metaspace).map(with_margin);
    let usual = match measured {
        Some(size) if says.as_ref().is_some_and(is_seasoned) => size,
        measured => measured.unwrap_or(0).max(METASPACE),
    };
    match (jvm.metaspace, measured) {
        (Some(limit), Some(_)) => limit.min(usual),
        (limit, _) => limit.unwrap_or(usual),
    }
}

/// The threads of a virtual machine.
struct Crowd {
    /// The most that there were, as far as that is known.
    seen: u64,
    /// As many as memory has to be there for.
    allowed: u64,
    /// How many of them can serve requests: now, and as many as are advised where that is less.
    requests: Option<Requests>,
}

struct Requests {
    seen: u64,
    now: u64,
    advised: Option<u64>,
    sure: bool,
}

impl Crowd {
    /// Counts them. What the engine counts holds the virtual machine's own threads, those that collect and compile; what the
    /// virtual machine counts are those that run Java, and the most of them.
    fn new(jvm: &Jvm, facts: &Facts, sure: bool) -> Self {
        let says = facts.vitals.as_ref();
        let peak = says.and_then(|vitals| vitals.threads_peak).map(u64::from);
        let now = says.and_then(|vitals| vitals.threads).map(u64::from);
        let seen = match (facts.threads.map(u64::from), peak) {
            (Some(all), Some(peak)) => all.saturating_add(peak.saturating_sub(now.unwrap_or(peak))),
            (Some(all), None) => all,
            (None, Some(peak)) => peak.saturating_add(OWN),
            (None, None) => THREADS,
        };
        let serves = jvm.program == Program::Spring && !jvm.virtual_threads;
        let sure = sure && says.as_ref().is_some_and(is_seasoned);
        let requests = peak.filter(|_| serves).map(|peak| Requests::new(peak, jvm.tomcat, sure));
        // A burst takes up to as many threads as Tomcat may make, and no more than twice as many as there ever were: where its
        // limit is far away it was never near, and a stack that nobody stands on takes no memory.
        let allowed = requests.as_ref().map_or(seen, |requests| {
            let others = seen.saturating_sub(requests.seen);
            others.saturating_add(requests.limit()).min(seen.saturating_mul(2)).max(seen)
        });
        Self { seen, allowed, requests }
    }

    /// How many requests should be served at once at most.
    fn tomcat_line(&self, told: Property, stack: u64) -> Option<Line> {
        let requests = self.requests.as_ref()?;
        let (advised, variable) = (requests.advised?, told.variable?);
        let unless = if told.value.is_none() { " unless a file of its own says otherwise" } else { "" };
        Some(Line {
            setting: Setting::Variable(variable.to_owned()),
            now: told.value.map(|value| Amount::Text(value.to_string())),
            advised: Amount::Text(advised.to_string()),
            why: format!(
                "Tomcat may make {} threads for requests{unless}, and there were about {} at most: twice that is enough. It makes them when it needs them, so that this bounds a burst and frees nothing now",
                requests.now, requests.seen,
            ),
            frees: Some((requests.now - advised).saturating_mul(stack)),
        })
    }

    /// Connections to a database that no request can use, as there are fewer that are served at once.
    fn pool_line(&self, told: Property) -> Option<Line> {
        let requests = self.requests.as_ref().filter(|requests| requests.sure)?;
        let (pool, variable, limit) = (told.value?, told.variable?, requests.limit());
        (u64::from(pool) > limit).then(|| Line {
            setting: Setting::Variable(variable.to_owned()),
            now: Some(Amount::Text(pool.to_string())),
            advised: Amount::Text(limit.to_string()),
            why: format!(
                "no more than {limit} requests are served at once, so that they never use more connections; leave it where much else runs on a schedule"
            ),
            // It is the database's memory, which is not known here.
            frees: Some(0),
        })
    }
}

impl Requests {
    /// How many threads can have served requests: all but its own. Twice as many, in tens, are no fewer than there can
    /// have been, as long as eleven at least were its own; and Tomcat keeps ten in any case.
    fn new(peak: u64, told: Property, sure: bool) -> Self {
        let now = told.value.map_or(TOMCAT, u64::from);
        let seen = peak.saturating_sub(OWN).max(10);
        let enough = seen.saturating_mul(2).next_multiple_of(10);
        let advised = (sure && told.variable.is_some() && enough.saturating_mul(2) < now).then_some(enough);
        Self { seen, now, advised, sure }
    }

    /// How many there can be, once what is advised is done.
    fn limit(&self) -> u64 {
        self.advised.unwrap_or(self.now)
    }
}

/// How large the heap should be, and from what that is known.
///
/// Two figures are enough each for itself, and the smaller one counts: a quarter more than the heap can have been, and so
/// many times what can have been alive in it. Neither says that it needs more than it may have now: what was alive is a
/// bound, in which there may be what died.
fn heap(service: &ServiceProfile, says: Option<&Vitals>, now: u64, beside: &Beside) -> (u64, String) {
    // What is beside the heap is a guess: half of it is certain to have been there.
    let held = service.memory.saturating_sub(beside.sum() / 2);
    let by_held = (held.saturating_mul(10) < now.saturating_mul(8)).then(|| {
        let advised = whole_mebi(held.saturating_add(held / 4)).max(64 * MEBI).min(now);
        (advised, format!("it can have held {} at most", bytes(held)))
    });
    let live = says.filter(is_seasoned).and_then(|vitals| vitals.live);
    let collector = says.and_then(|vitals| vitals.collector.as_deref()).unwrap_or_default();
    let is_parallel = collector.starts_with("Parallel") || collector.starts_with("PS");
    let room = if is_parallel { PARALLEL } else { ROOM };
    let by_live = live.and_then(|live| {
        let advised = whole_mebi(live.saturating_mul(room) / 10).max(32 * MEBI);
        (advised < now).then(|| {
            let times = format!("{}.{} times", room / 10, room % 10);
            (advised, format!("{times} the {} that can be alive in it", bytes(live)))
        })
    });
    by_live.into_iter().chain(by_held).min_by_key(|(advised, _)| *advised).unwrap_or_else(|| {
        let why = match (live, says) {
            (Some(live), Some(Vitals { old_collections: 0, .. })) => format!(
                "up to {} of it can be alive: its old generation was never cleared, which `jcmd PID GC.run` would do",
                bytes(live)
            ),
            (Some(live), _) => format!("up to {} of it can be alive", bytes(live)),
            (None, Some(vitals)) if vitals.threads.is_some() && !is_seasoned(&vitals) => {
                "it grew to what it may; what is alive in it counts from a day after its start".to_owned()
            }
            _ => "it grew to what it may; ask it what is alive to know what it needs".to_owned(),
        };
        (now, why)
    })
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
