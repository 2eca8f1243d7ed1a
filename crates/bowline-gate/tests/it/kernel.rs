//! This machine, whatever it is.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bowline_gate::difference::between;
use bowline_gate::lookout::{Lookout, Roots};
use bowline_testkit::skip::skip;

/// This machine's `/proc` and control groups, and no engine.
fn lookout(folder: &Path) -> Option<Lookout> {
    let (proc, cgroup, socket) =
        (PathBuf::from("/proc"), PathBuf::from("/sys/fs/cgroup"), folder.join("none"));
    match Lookout::new(&Roots { proc: &proc, cgroup: &cgroup, socket: &socket, data: folder }, None) {
        Ok(lookout) => Some(lookout),
        Err(error) => skip(&error.to_string()),
    }
}

#[tokio::test]
async fn this_machine_is_what_its_tools_say() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lookout) = lookout(folder.path()) else { return };
    let before = lookout.look().await.unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(700) {
        std::hint::black_box(begin);
    }
    let after = lookout.look().await.unwrap();
    let row = between(&before, &after).unwrap();
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    assert!(u64::from(row.machine.cores) >= cores);
    // What was burned is in it, and no more time than passed on all of them.
    let all = row.seen * 1_000 * u64::from(row.machine.cores);
    assert!(row.machine.cpu.busy() >= 400_000, "{row:?}");
    assert!(row.machine.cpu.total() <= all + 200_000, "{row:?}");
    assert!(row.machine.memory_available > 0 && row.machine.memory_available <= row.machine.memory);
    assert!(row.machine.disk_free > 0 && row.machine.disk_free <= row.machine.disk);
    assert!((700..5_000).contains(&row.seen) && row.to - row.from >= 700);
}
