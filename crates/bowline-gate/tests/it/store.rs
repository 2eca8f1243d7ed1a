use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bowline_gate::store::{Store, StoreError};
use bowline_measurement::interval::{CpuTime, Flow, Interval, Machine, Pressure, Usage};
use bowline_measurement::rollup::{Rollup, Step};
use bowline_testkit::skip::{is_root, skip};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::read;

const BEGIN: i64 = 1_790_000_000_000 / 3_600_000 * 3_600_000;
const EVERY: i64 = 15_000;

/// Numbers that vary as figures do, the same ones each time (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn row(number: i64, containers: usize, dice: &mut Dice) -> Interval {
    let from = BEGIN + number * EVERY;
    let mut usage = |_: usize| {
        let memory = 180_000_000 + dice.below(4_000) * 4096;
        let cpu = dice.below(900_000);
        Usage {
            seen: 15_000,
            cpu,
            cpu_peak: cpu / 15_000,
            throttled: if dice.below(10) == 0 { dice.below(100_000) } else { 0 },
            memory,
            memory_last: memory,
            memory_peak: 310_000_000,
            memory_limit: 536_870_912,
            age: u64::try_from(number).unwrap() * 15_000,
            network: Flow { inward: dice.below(90_000), outward: dice.below(90_000) },
            io: Flow { inward: 0, outward: dice.below(3) * 4096 },
            ..Usage::default()
        }
    };
    let containers =
        (0..containers).map(|n| (format!("main-service/{}-server/1", SERVICES[n]), usage(n))).collect();
    let cpu = CpuTime {
        user: dice.below(9_000_000),
        system: dice.below(2_000_000),
        idle: dice.below(20_000_000),
        wait: dice.below(90_000),
        steal: dice.below(300_000),
    };
    let machine = Machine {
        cores: 2,
        cpu,
        cpu_peak: cpu.busy() / 15_000,
        memory: 4_100_000_000,
        memory_available: 900_000_000 + dice.below(9_000) * 4096,
        pressure: Pressure { cpu: dice.below(900_000), io: dice.below(90_000), ..Pressure::default() },
        load: dice.below(300),
        disk: 32_000_000_000,
        disk_free: 12_000_000_000 + dice.below(9_000) * 4096,
        io: Flow { inward: dice.below(90) * 4096, outward: dice.below(900) * 4096 },
        network: Flow { inward: dice.below(900_000), outward: dice.below(900_000) },
        ..Machine::default()
    };
    Interval { from, seen: 15_000, to: from + EVERY, samples: 1, machine, containers }
}

const SERVICES: [&str; 13] = [
    "gateway",
    "user",
    "chat",
    "order",
    "product",
    "notification",
    "payment",
    "discovery",
    "mysql",
    "redis",
    "kafka",
    "zookeeper",
    "nginx",
];

fn fold(rows: &[Interval], step: Step) -> Vec<Interval> {
    let mut rollup = Rollup::new(step);
    let mut coarse: Vec<_> = rows.iter().filter_map(|row| rollup.push(row.clone())).collect();
    coarse.extend(rollup.into_open());
    coarse
}

/// Not a test: the writer that [`a_writer_that_is_killed_at_any_moment_loses_at_most_the_newest_row`] kills. It says the
/// number of each row that is kept.
#[test]
#[ignore = "this is the process that another test kills"]
fn writer() {
    let Some(directory) = std::env::var_os("BOWLINE_GATE_STORE").map(PathBuf::from) else { return };
    let mut store = Store::open(&directory, 15_000).unwrap();
    let mut number = store.last().map_or(0, |last| (last - BEGIN) / EVERY);
    let mut dice = Dice(u64::try_from(number).unwrap() + 1);
    println!("\nopened");
    loop {
        store.append(&row(number, 2, &mut dice)).unwrap();
        println!("kept {number}");
        number += 1;
    }
}

#[test]
fn a_writer_that_is_killed_at_any_moment_loses_at_most_the_newest_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(0x5eed);
    let mut kept = -1;
    for round in 0..60 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::writer", "--ignored", "--nocapture", "--test-threads=1"])
            .env("BOWLINE_GATE_STORE", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        // Every tenth is killed while it opens the store, the others while they write and compress.
        if round % 10 != 9 {
            while lines.next().unwrap().unwrap() != "opened" {}
        }
        std::thread::sleep(Duration::from_micros(dice.below(60_000)));
        writer.kill().unwrap();
        let said = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("kept ")?.parse().ok());
        kept = said.last().unwrap_or(kept);
        writer.wait().unwrap();

        let samples = read(folder.path(), Step::Sample).rows;
        let next = samples.last().map_or(0, |row| (row.to - BEGIN) / EVERY);
        assert!(next == kept + 1 || next == kept + 2, "row {kept} was kept, and {next} is the next");
        assert!(
            samples.windows(2).all(|pair| pair[0].to == pair[1].from),
            "rows are missing in round {round}"
        );
        kept = next - 1;
    }
    assert!(kept > 1_000, "only {kept} rows were written: nothing was proved");
    coarse_rows_are_those_of_the_fine(folder.path());
    assert!(Store::open(folder.path(), 15_000).is_ok());
    coarse_rows_are_those_of_the_fine(folder.path());
}

/// Over the time that the fine ones reach back, which is a day at least.
fn coarse_rows_are_those_of_the_fine(store: &Path) {
    for (fine, coarse) in [(Step::Sample, Step::Minute), (Step::Minute, Step::Hour)] {
        let (fine, there) = (read(store, fine).rows, read(store, coarse).rows);
        assert!(there.windows(2).all(|pair| pair[0].to == pair[1].from), "{coarse} has holes");
        // The first one may have lost the rows that it was made of.
        let made = fold(&fine, coarse).split_off(1);
        assert!(!made.is_empty());
        assert_eq!(there[there.len() - made.len()..], made, "{coarse}");
    }
}

#[test]
fn the_store_of_a_year_stays_small() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), 15_000).unwrap();
    let mut dice = Dice(7);
    for number in 0..3 * 5_760 {
        store.append(&row(number, 13, &mut dice)).unwrap();
    }
    let sizes = |step: Step, extension: &str| -> Vec<u64> {
        let files = fs::read_dir(folder.path().join(step.name())).unwrap().map(Result::unwrap);
        let files = files.filter(|file| file.file_name().to_str().unwrap().ends_with(extension));
        files.map(|file| file.metadata().unwrap().len()).collect()
    };
    // What is full is compressed; besides it there is one that is almost full, and is not.
    let full = |step| sizes(step, ".gz").iter().max().copied().unwrap();
    assert_eq!(sizes(Step::Sample, ".gz").len(), 24, "a day");
    let row_size = sizes(Step::Minute, ".rows")[0] / 1_439;
    let mut hours = GzEncoder::new(Vec::new(), Compression::default());
    hours.write_all(&fs::read(folder.path().join("1h/00000001.rows")).unwrap()).unwrap();
    let hour = hours.finish().unwrap().len() as u64 / 71;
    let day = 24 * full(Step::Sample) + 240 * row_size;
    let fortnight = 14 * full(Step::Minute) + 1_440 * row_size;
    let year = 13 * 720 * hour + 720 * row_size;
    println!("{row_size} bytes a row; {day} the day, {fortnight} the fortnight, {year} the hours of a year");
    assert!(day + fortnight + year < 20_000_000);
}

#[test]
fn a_torn_tail_is_dropped_and_a_second_writer_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(3);
    let rows: Vec<_> = (0..10).map(|number| row(number, 3, &mut dice)).collect();
    let mut store = Store::open(folder.path(), 15_000).unwrap();
    rows[..5].iter().for_each(|row| store.append(row).unwrap());
    assert!(matches!(Store::open(folder.path(), 15_000), Err(StoreError::Busy(_))));
    drop(store);
    let path = folder.path().join("15s/00000001.rows");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 3);
    fs::write(&path, bytes).unwrap();
    assert_eq!(read(folder.path(), Step::Sample).rows, rows[..4]);
    let mut store = Store::open(folder.path(), 15_000).unwrap();
    rows[4..].iter().for_each(|row| store.append(row).unwrap());
    assert_eq!(read(folder.path(), Step::Sample).rows, rows);
    assert_eq!(read(folder.path(), Step::Minute).rows, fold(&rows, Step::Minute));
    assert_eq!(read(folder.path(), Step::Hour).rows, fold(&rows, Step::Hour));
}

#[test]
fn what_is_not_asked_for_is_not_handed_out() {
    use bowline_gate::export::{Selection, export};
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), 15_000).unwrap();
    let mut dice = Dice(5);
    (0..1_000).for_each(|number| store.append(&row(number, 1, &mut dice)).unwrap());
    for step in Step::ALL {
        let (since, until) = (BEGIN + 3_600_000, BEGIN + 7_200_000);
        let mut bytes = Vec::new();
        export(folder.path(), Selection { since, until, step }, &mut bytes).unwrap();
        let rows = crate::series(&bytes).rows;
        assert_eq!((rows[0].from, rows[rows.len() - 1].to), (since, until), "{step}");
        assert_eq!(rows.len() as i64, 3_600_000 / step.milliseconds());
    }
}

#[test]
fn a_full_disk_is_waited_out() {
    if !is_root() {
        return skip::<()>("a file system of its own needs root").unwrap_or_default();
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| {
        let status = Command::new(arguments[0]).args(&arguments[1..]).arg(folder.path()).status();
        status.is_ok_and(|status| status.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs"]) {
        return skip::<()>("nothing can be mounted here").unwrap_or_default();
    }
    let mut store = Store::open(folder.path(), 15_000).unwrap();
    let mut dice = Dice(11);
    let rows: Vec<_> = (0..400).map(|number| row(number, 13, &mut dice)).collect();
    fs::write(folder.path().join("somebody-else"), vec![0; 200 << 10]).unwrap();
    let outcomes: Vec<_> = rows.iter().map(|row| store.append(row)).collect();
    let full = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).unwrap().to_string();
    assert!(full.contains("No space left") && full.contains("15s"), "{full}");
    let before = read(folder.path(), Step::Sample).rows;
    assert_eq!(before, rows[..before.len()]);
    fs::remove_file(folder.path().join("somebody-else")).unwrap();
    assert!(mount(&["mount", "-o", "remount,size=16m"]));
    store.flush().unwrap();
    let after = (read(folder.path(), Step::Sample).rows, read(folder.path(), Step::Minute).rows);
    drop(store);
    assert!(mount(&["umount"]));
    assert!(after.0 == rows && after.1 == fold(&rows, Step::Minute));
}

#[test]
fn a_clock_that_is_set_back_makes_no_row_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(13);
    // Two hours and a bit by a clock that was two hours ahead in the second half; killed soon after it was set right.
    let ahead = (0..300).map(|number| row(if number < 150 { number } else { number + 480 }, 2, &mut dice));
    let ahead: Vec<_> = ahead.collect();
    let right: Vec<_> = (300..700).map(|number| row(number, 2, &mut dice)).collect();
    for again in [301, 303, 310, 420] {
        let folder = folder.path().join(again.to_string());
        let mut store = Store::open(&folder, 15_000).unwrap();
        for (number, row) in ahead.iter().chain(&right).enumerate() {
            if number == again {
                drop(store);
                store = Store::open(&folder, 15_000).unwrap();
            }
            store.append(row).unwrap();
        }
        let samples = read(&folder, Step::Sample).rows;
        assert_eq!(samples, [&ahead[..150], &right].concat(), "what was labelled ahead of time gives way");
        for step in [Step::Minute, Step::Hour] {
            let rows = read(&folder, step).rows;
            assert!(rows.windows(2).all(|pair| pair[0].to <= pair[1].from), "{step} overlap after {again}");
            assert!(rows.iter().all(|row| row.seen <= u64::try_from(row.to - row.from).unwrap()), "{step}");
            let counted: u32 =
                rows.iter().filter(|row| row.from >= right[0].from).map(|row| row.samples).sum();
            assert_eq!(counted, 400, "{step} after {again}");
        }
    }
}
