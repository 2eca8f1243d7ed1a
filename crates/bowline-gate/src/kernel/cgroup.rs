//! The files of a control group, of both versions of the interface.

use bowline_measurement::interval::Flow;

use super::disk::Device;
use super::value;

/// Version 2's `cpu.stat`: time used and time held back, in microseconds.
pub fn parse_cpu(text: &str) -> Option<(u64, u64)> {
    Some((value(text, "usage_usec")?, value(text, "throttled_usec").unwrap_or(0)))
}

/// Version 1's `cpuacct.usage`, in microseconds.
pub fn parse_cpu_v1(text: &str) -> Option<u64> {
    Some(text.trim().parse::<u64>().ok()? / 1000)
}

/// Version 1's `cpu.stat`: time held back, in microseconds.
pub fn parse_throttled_v1(text: &str) -> Option<u64> {
    Some(value(text, "throttled_time")? / 1000)
}

/// A file with one number of bytes. `max` in version 2, and what is next to 2^63 in version 1, mean that there is no
/// limit, and give nothing.
pub fn parse_bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 62)
}

/// `memory.stat`: files that were not used lately, which the kernel gives back first.
pub fn parse_inactive_file(text: &str) -> Option<u64> {
    // Version 1 tells of the group alone first and of all below it later; in version 2 there is only the latter.
    value(text, "total_inactive_file").or_else(|| value(text, "inactive_file"))
}

/// Version 2's `memory.events` and version 1's `memory.oom_control`: processes that were killed for want of memory.
/// Kernels before 4.13 do not count them.
pub fn parse_oom_kills(text: &str) -> Option<u64> {
    value(text, "oom_kill")
}

/// Version 2's `io.stat`, of the devices that count.
pub fn parse_io(text: &str, counts: impl Fn(Device) -> bool) -> Flow {
    let mut sum = Flow::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if !words.next().and_then(parse_device).is_some_and(&counts) {
            continue;
        }
        for word in words {
            match word.split_once('=').map(|(key, value)| (key, value.parse::<u64>().unwrap_or(0))) {
                Some(("rbytes", bytes)) => sum.inward = sum.inward.saturating_add(bytes),
                Some(("wbytes", bytes)) => sum.outward = sum.outward.saturating_add(bytes),
                _ => {}
            }
        }
    }
    sum
}

/// Version 1's `blkio.throttle.io_service_bytes_recursive`, of the devices that count. Version 1 knows whose a write is
/// only where it goes to the disk at once: what is written by way of the page cache is nobody's.
pub fn parse_io_v1(text: &str, counts: impl Fn(Device) -> bool) -> Flow {
    let mut sum = Flow::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (device, kind, bytes) = (words.next().and_then(parse_device), words.next(), words.next());
        let bytes = bytes.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0);
        match kind {
            Some("Read") if device.is_some_and(&counts) => sum.inward = sum.inward.saturating_add(bytes),
            Some("Write") if device.is_some_and(&counts) => sum.outward = sum.outward.saturating_add(bytes),
            _ => {}
        }
    }
    sum
}

fn parse_device(text: &str) -> Option<Device> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The container that a group belongs to, by its directory's name: `ID` by the engine's own cgroup driver,
/// `docker-ID.scope` by systemd's, `cri-containerd-ID.scope` and the like below `kubepods`.
pub fn container_id(name: &str) -> Option<&str> {
    let id = match name.strip_suffix(".scope") {
        Some(unit) => unit.rsplit_once('-')?.1,
        None => name,
    };
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')))
        .then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_of_both_versions_is_microseconds() {
        let limited = "usage_usec 8416732\nuser_usec 7032511\nsystem_usec 1384221\nnice_usec 0\ncore_sched.force_idle_usec 0
nr_periods 1201\nnr_throttled 318\nthrottled_usec 15882207\nnr_bursts 0\nburst_usec 0\n";
        assert_eq!(parse_cpu(limited), Some((8_416_732, 15_882_207)));
        let without_controller = "usage_usec 77\nuser_usec 70\nsystem_usec 7\n";
        assert_eq!(parse_cpu(without_controller), Some((77, 0)));
        assert_eq!(parse_cpu(""), None);
        assert_eq!(parse_cpu_v1("8416732999\n"), Some(8_416_732));
        let v1 = "nr_periods 10\nnr_throttled 3\nthrottled_time 250000123\nnr_bursts 0\nburst_time 0\n";
        assert_eq!(parse_throttled_v1(v1), Some(250_000));
    }

    #[test]
    fn no_limit_is_nothing() {
        for (text, bytes) in [
            ("536870912\n", Some(536_870_912)),
            ("max\n", None),
            ("9223372036854771712\n", None),
            ("9223372036854775807\n", None),
            ("", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn inactive_files_are_those_of_all_groups_below() {
        let v1 =
            "cache 0\nrss 0\ninactive_file 0\nactive_file 0\nhierarchical_memory_limit 9223372036854771712
total_cache 15167848448\ntotal_rss 295383040\ntotal_inactive_file 8906588160\ntotal_active_file 6261260288\n";
        assert_eq!(parse_inactive_file(v1), Some(8_906_588_160));
        let v2 = "anon 214540288\nfile 91267072\nkernel 5124096\nkernel_stack 1294336\npagetables 1437696\nsock 4096
shmem 0\nfile_mapped 35790848\nfile_dirty 12288\ninactive_anon 214437888\nactive_anon 57344\ninactive_file 51818496
active_file 39448576\nunevictable 0\nslab 2091528\n";
        assert_eq!(parse_inactive_file(v2), Some(51_818_496));
    }

    #[test]
    fn kills_are_told_from_mere_shortage() {
        assert_eq!(
            parse_oom_kills("low 0\nhigh 0\nmax 4242\noom 3\noom_kill 2\noom_group_kill 0\n"),
            Some(2)
        );
        assert_eq!(parse_oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"), Some(5));
        assert_eq!(parse_oom_kills("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn io_of_layers_is_not_counted_twice() {
        let v2 = "253:0 rbytes=900 wbytes=800 rios=9 wios=8 dbytes=0 dios=0
259:0 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0
7:3 \n";
        let disk = |device: Device| device == (259, 0);
        assert_eq!(parse_io(v2, disk), Flow { inward: 1_459_200, outward: 314_773_504 });
        let v1 = "259:0 Read 4096\n259:0 Write 8192\n259:0 Sync 12288\n259:0 Async 0\n259:0 Discard 0\n259:0 Total 12288
253:0 Read 1\n253:0 Write 1\nTotal 12290\n";
        assert_eq!(parse_io_v1(v1, disk), Flow { inward: 4096, outward: 8192 });
        assert_eq!(parse_io_v1("Total 0\n", disk), Flow::default());
    }

    #[test]
    fn a_container_is_known_by_its_group() {
        let id = "3f1e".repeat(16);
        assert_eq!(container_id(&id), Some(id.as_str()));
        assert_eq!(container_id(&format!("docker-{id}.scope")), Some(id.as_str()));
        assert_eq!(container_id(&format!("cri-containerd-{id}.scope")), Some(id.as_str()));
        for name in ["docker", "docker.service", "user-0.slice", "init.scope", "session-1.scope", &id[1..]] {
            assert_eq!(container_id(name), None, "{name}");
        }
    }
}
