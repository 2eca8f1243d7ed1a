//! What a Java virtual machine says of itself: how much can be alive in its heap, what its classes take, how many threads
//! it had.

use std::time::Duration;

use serde::Serialize;

use super::counters::Counters;

/// An engine notes that a container was started when it runs already: by so many milliseconds it may be late.
const LATE: i64 = 2_000;

/// What a virtual machine says of itself, at one look. Sizes are bytes; none where it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Vitals {
    /// Who clears away what is dead, in its own words.
    pub collector: Option<String>,
    /// When it was started, in milliseconds since 1970 (UTC).
    pub started: Option<i64>,
    /// How much can have been alive in its heap when something was last cleared away: never less than what was, and more
    /// where what died in the old generation is still there.
    pub live: Option<u64>,
    /// How long after its start that was, in milliseconds.
    pub collected: Option<u64>,
    /// How often the young generation was cleared.
    pub collections: u64,
    /// How often the old generation was, or pauses were made for it.
    pub old_collections: u64,
    /// What its heap held, dead or alive.
    pub heap_used: Option<u64>,
    /// How large its heap is.
    pub heap_capacity: Option<u64>,
    /// How large its heap may get.
    pub heap_limit: Option<u64>,
    /// What its classes take outside of the heap, as of the last collection.
    pub metaspace: Option<u64>,
    /// Threads that run Java, now.
    pub threads: Option<u32>,
    /// The most of them that there were at once.
    pub threads_peak: Option<u32>,
}

impl Vitals {
    /// What counters mean.
    ///
    /// **What is alive.** A young collection empties eden: what is alive then lies in the survivors' space and in the old
    /// generation, together with what died in the latter. So these two, after any collection, are no less than what was
    /// alive then; and before the first one nothing is known. That holds for the collectors whose heap has these parts,
    /// which are Serial, Parallel, G1 and CMS, all of which write both figures when any collection ends (tried with JDK 11, 17,
    /// 21 and 25). Two moments are otherwise, and then eden counts as well: a full collection may leave there what is alive
    /// and finds no room in the old generation, and while a collection runs nothing has its place.
    ///
    /// Others (ZGC, Shenandoah, Epsilon) have one space, whose figure holds all that was asked for while they cleared away.
    pub fn new(counters: &Counters) -> Self {
        let number = |name: &str| counters.number(name);
        let used =
            |generation: u8, space: u8| number(&format!("sun.gc.generation.{generation}.space.{space}.used"));
        let both = |what: &str| [0, 1].map(|index| number(&format!("sun.gc.generation.{index}.{what}")));
        let invocations = |index: u8| number(&format!("sun.gc.collector.{index}.invocations")).unwrap_or(0);
        let name =
            counters.text("sun.gc.collector.0.name").or_else(|| counters.text("sun.gc.collector.2.name"));
        // G1 and ZGC say of each generation that it may take the whole heap.
        let shared = name.is_some_and(|name| name.starts_with("G1") || name.starts_with('Z'));
        let [young, old] = both("maxCapacity");
        let few = |name: &str| number(name).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let started = number("sun.rt.createVmBeginTime").and_then(|time| i64::try_from(time).ok());
        Self {
            collector: name.map(|name| name.chars().take(60).collect()),
            started,
            live: live(counters),
            collected: last_collection(counters),
            collections: invocations(0),
            old_collections: invocations(1).saturating_add(invocations(2)),
            heap_used: sum([used(0, 0), used(0, 1), used(0, 2), used(1, 0)]),
            heap_capacity: sum(both("capacity")),
            // Up to JDK 17, G1 adds a word or three.
            heap_limit: if shared { young.max(old) } else { sum([young, old]) }.map(|size| size & !0xfff),
            metaspace: number("sun.gc.metaspace.capacity").max(number("sun.gc.metaspace.used")),
            threads: few("java.threads.live"),
            threads_peak: few("java.threads.livePeak"),
        }
    }

    /// Of several files of one container, what the virtual machine that does the work says: the first that was started
    /// since the container was. What was started before left its file when it was killed; what was started later is a tool,
    /// such as one that asks whether the first is healthy. Files that cannot be read are left out.
    pub fn of_container<'a>(files: impl IntoIterator<Item = &'a [u8]>, started: Option<i64>) -> Option<Self> {
        let earliest = started.map_or(i64::MIN, |started| started.saturating_sub(LATE));
        let all = files.into_iter().filter_map(|bytes| Counters::read(bytes).ok());
        all.map(|counters| Self::new(&counters))
            .filter(|vitals| vitals.started.is_some_and(|started| started >= earliest))
            .min_by_key(|vitals| vitals.started)
    }

    /// How long it had run when something was last cleared away: from a short run nothing is known of a day.
    pub fn seasoning(&self) -> Duration {
        Duration::from_millis(self.collected.unwrap_or(0))
    }
}

/// The sum of what is known; none where nothing is.
fn sum<const N: usize>(amounts: [Option<u64>; N]) -> Option<u64> {
    amounts.into_iter().flatten().reduce(u64::saturating_add)
}

/// Whether the heap is made of eden, two survivors' spaces and an old generation.
fn is_generational(counters: &Counters) -> bool {
    let named = |space: u8, name: &str| {
        counters.text(&format!("sun.gc.generation.0.space.{space}.name")) == Some(name)
    };
    named(0, "eden") && named(1, "s0") && named(2, "s1")
}

/// When the last collection of each kind began and ended, in ticks since the start; nothing of those that never were.
fn times(counters: &Counters, index: u8) -> (u64, u64) {
    let time = |what: &str| counters.number(&format!("sun.gc.collector.{index}.{what}")).unwrap_or(0);
    (time("lastEntryTime"), time("lastExitTime"))
}

fn live(counters: &Counters) -> Option<u64> {
    let used = |space: &str| counters.number(&format!("sun.gc.generation.{space}.used"));
    let (young, full) = (times(counters, 0), times(counters, 1));
    if !is_generational(counters) || young.1.max(full.1) == 0 {
        return None;
    }
    let parts = [used("1.space.0")?, used("0.space.1")?, used("0.space.2")?];
    let is_running = young.0 > young.1 || full.0 > full.1;
    let eden = if full.1 > young.1 || is_running { used("0.space.0")? } else { 0 };
    Some(parts.into_iter().fold(eden, u64::saturating_add))
}

/// When the last collection that moved what is alive ended, in milliseconds after the start.
fn last_collection(counters: &Counters) -> Option<u64> {
    let ticks = times(counters, 0).1.max(times(counters, 1).1);
    let frequency = counters.number("sun.os.hrt.frequency")?;
    let time = (u128::from(ticks) * 1000).checked_div(u128::from(frequency)).filter(|_| ticks > 0)?;
    u64::try_from(time).ok()
}
