//! What real virtual machines wrote about themselves. Each file was taken from one that kept so many MiB alive beside
//! garbage that lived for a while, up to where its counters end; right after, `jcmd GC.class_histogram` said what was alive.

use std::time::Duration;

use bowline_core::capacity::runtime::counters::{Counters, CountersError};
use bowline_core::capacity::runtime::vitals::Vitals;
use proptest::prelude::*;

macro_rules! captured {
    ($name:literal) => {
        include_bytes!(concat!("vitals/", $name, ".hsperfdata")).as_slice()
    };
}

/// A file, and what it says: the collector, how large the heap may get in MiB, what a histogram found alive, what can have been
/// alive by the counters, and how often the young and the old generation were cleared.
struct Captured {
    file: &'static [u8],
    collector: &'static str,
    heap: u64,
    alive: u64,
    expected: Option<u64>,
    collections: (u64, u64),
}

fn captured() -> [Captured; 6] {
    [
        // Two thirds of its old generation are dead, and nothing has cleared it yet.
        Captured {
            file: captured!("serial-17"),
            collector: "Serial young collection pauses",
            heap: 512,
            alive: 65_848_408,
            expected: Some(125_758_440 + 13_172_736),
            collections: (6, 0),
        },
        // A full collection found no room in the old generation for all that is alive.
        Captured {
            file: captured!("serial-full-17"),
            collector: "Serial young collection pauses",
            heap: 100,
            alive: 88_731_600,
            expected: Some(69_914_224 + 19_452_288),
            collections: (3, 2),
        },
        Captured {
            file: captured!("parallel-11"),
            collector: "PSScavenge",
            heap: 512,
            alive: 63_779_928,
            expected: Some(63_661_600 + 1_799_616),
            collections: (6, 1),
        },
        Captured {
            file: captured!("g1-17"),
            collector: "G1 young collection pauses",
            heap: 256,
            alive: 43_121_216,
            expected: Some(43_126_784 + 18_448),
            collections: (19, 0),
        },
        Captured {
            file: captured!("g1-25"),
            collector: "G1 young collection pauses",
            heap: 512,
            alive: 63_807_600,
            expected: Some(63_783_256),
            collections: (5, 1),
        },
        Captured {
            file: captured!("zgc-17"),
            collector: "Z concurrent cycle pauses",
            heap: 512,
            alive: 63_869_792,
            expected: None,
            collections: (0, 18),
        },
    ]
}

fn vitals(file: &[u8]) -> Vitals {
    Vitals::new(&Counters::read(file).unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn what_real_virtual_machines_say_is_understood() {
    for case in captured() {
        let vitals = vitals(case.file);
        assert_eq!(vitals.collector.as_deref(), Some(case.collector));
        assert_eq!(vitals.live, case.expected, "{}", case.collector);
        assert_eq!((vitals.collections, vitals.old_collections), case.collections, "{}", case.collector);
        assert_eq!(vitals.heap_limit.map(|limit| limit >> 20), Some(case.heap), "{}", case.collector);
        // The tool that made the histogram brought some kilobytes of its own.
        assert!(vitals.live.is_none_or(|live| live + (200 << 10) >= case.alive), "{}", case.collector);
        assert!(vitals.heap_used >= vitals.live && vitals.heap_used <= vitals.heap_capacity, "{vitals:?}");
        assert!(vitals.metaspace.unwrap() > 300 << 10 && vitals.threads_peak >= vitals.threads, "{vitals:?}");
        assert!(vitals.seasoning() < Duration::from_secs(2), "{vitals:?}");
    }
    let vitals = vitals(captured!("serial-17"));
    assert_eq!((vitals.threads, vitals.threads_peak), (Some(36), Some(66)));
    assert_eq!((vitals.collected, vitals.metaspace), (Some(827), Some(12_845_056)));
}

#[test]
fn of_several_the_one_that_does_the_work_counts() {
    let files = captured().map(|case| case.file);
    let mut started = files.map(|file| vitals(file).started.unwrap());
    let first = |files: &[&[u8]], since| Vitals::of_container(files.iter().copied(), since);
    started.sort_unstable();
    assert_eq!(first(&files, None).unwrap().started, Some(started[0]));
    assert_eq!(first(&files, Some(started[2] + 500)).unwrap().started, Some(started[2]));
    assert_eq!(first(&files, Some(started[5] + 60_000)), None, "what is left of a container's earlier run");
    assert_eq!(first(&[b"", b"nonsense", files[0]], None).unwrap(), vitals(files[0]));
}

#[test]
fn what_is_no_such_file_says_so() {
    let whole = captured!("g1-17");
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.to_vec();
        bytes[at] = byte;
        Counters::read(&bytes).err()
    };
    assert_eq!(Counters::read(b"").err(), Some(CountersError::Foreign));
    assert_eq!(changed(0, 0), Some(CountersError::Foreign));
    assert_eq!(changed(5, 3), Some(CountersError::Version(3)));
    assert_eq!(changed(7, 0), Some(CountersError::NotReady));
    // The other order of bytes makes everything enormous.
    assert!(matches!(changed(4, 0), Some(CountersError::Damaged(_))));
    assert_eq!(Counters::read(&vec![0; (1 << 20) + 1]).err(), Some(CountersError::TooLarge((1 << 20) + 1)));
    assert!(matches!(Counters::read(&whole[..whole.len() - 1]).err(), Some(CountersError::Damaged(_))));
    // By default the rest of the 32 KiB is empty.
    let mut padded = whole.to_vec();
    padded.resize(32 << 10, 0);
    assert_eq!(vitals(&padded), vitals(whole));
}

#[test]
fn the_order_of_bytes_is_that_of_its_machine() {
    let mut big = vec![0xca, 0xfe, 0xc0, 0xc0, 0, 2, 0, 1];
    let put = |bytes: &mut Vec<u8>, numbers: &[i32]| {
        numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    };
    put(&mut big, &[0, 0, 0, 0, 32, 1, 56, 20, 0]);
    big.extend([b'J', 0, 0, 0]);
    put(&mut big, &[48]);
    big.extend(b"java.threads.livePeak\0______");
    big.truncate(32 + 48);
    big.extend(7_i64.to_be_bytes());
    let counters = Counters::read(&big).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(counters.count(), 1);
    assert_eq!(Vitals::new(&counters).threads_peak, Some(7));
}

proptest! {
    #[test]
    fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let mut headed = vec![0xca, 0xfe, 0xc0, 0xc0, 1, 2, 0, 1];
        headed.extend(&bytes);
        for bytes in [bytes, headed] {
            let _ = Vitals::of_container([bytes.as_slice()], None);
        }
    }

    #[test]
    fn a_file_that_was_changed_is_read_or_refused(
        case in 0_usize..6,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        header in proptest::option::of((8_usize..32, any::<u8>())),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = captured()[case].file.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some((at, byte)) = header {
            bytes[at] = byte;
        }
        let _ = Vitals::of_container([bytes.as_slice()], Some(0));
        bytes.truncate(cut.index(bytes.len()));
        let _ = Vitals::of_container([bytes.as_slice()], Some(0));
    }
}
