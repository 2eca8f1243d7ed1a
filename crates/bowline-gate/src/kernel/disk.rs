//! `/proc/diskstats`.

use bowline_measurement::interval::Flow;

/// A block device, by the numbers that the kernel knows it by.
pub type Device = (u32, u32);

/// A whole disk, and what was read and written since the machine was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its numbers.
    pub device: Device,
    /// Bytes.
    pub flow: Flow,
}

/// The unit of `/proc/diskstats`, whatever the disk's own.
const SECTOR: u64 = 512;

/// What is no disk of its own: what goes through it is counted again by what it lies on, or is no disk at all.
const LAYERS: [&str; 9] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "drbd", "bcache"];

/// Reads the whole disks from `/proc/diskstats`. Partitions are known by their disk, which is in the list too: some
/// clouds give a partition without one, which then is a disk.
pub fn parse_disks(text: &str) -> Vec<Disk> {
    let lines: Vec<_> = text.lines().filter_map(parse_line).collect();
    let whole = |name: &str| {
        let layered = LAYERS.iter().any(|layer| name.starts_with(layer));
        !layered && !lines.iter().any(|(other, _)| is_partition(name, other))
    };
    lines.iter().filter(|(name, _)| whole(name)).map(|(_, disk)| disk.clone()).collect()
}

fn parse_line(line: &str) -> Option<(&str, Disk)> {
    let mut words = line.split_ascii_whitespace();
    let device = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let name = words.next()?;
    let read: u64 = words.nth(2)?.parse().ok()?;
    let written: u64 = words.nth(3)?.parse().ok()?;
    let flow = Flow { inward: read.saturating_mul(SECTOR), outward: written.saturating_mul(SECTOR) };
    Some((name, Disk { device, flow }))
}

/// `sda1` of `sda`, `nvme0n1p1` of `nvme0n1`.
fn is_partition(name: &str, disk: &str) -> bool {
    let Some(rest) = name.strip_prefix(disk) else { return false };
    let number =
        if disk.ends_with(|c: char| c.is_ascii_digit()) { rest.strip_prefix('p') } else { Some(rest) };
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(text: &str) -> Vec<Device> {
        parse_disks(text).iter().map(|disk| disk.device).collect()
    }

    #[test]
    fn whole_disks_count_and_nothing_twice() {
        let nvme = "   7       0 loop0 972 27 23794 127 13583 3476 5079394 103311 0 10012 107058 0 0 0 0 2697 3619
 259       0 nvme0n1 3774451 170083 105589586 23854609 7055719 2705677 519152120 7587450 1 1729840 32219748 2078009 317 398301504 484958 1331358 292729
 259       1 nvme0n1p1 3774000 170083 105580000 23854609 7055719 2705677 519152120 7587450 1 1729840 32219748
 259       2 nvme0n1p128 9 0 8 1 0 0 0 0 0 1 1
 253       0 dm-0 100 0 800 10 100 0 1600 10 0 10 20
   9     127 md127 100 0 800 10 100 0 1600 10 0 10 20
 252       0 zram0 5 0 40 0 0 0 0 0 0 0 0
";
        let flow = Flow { inward: 54_061_868_032, outward: 265_805_885_440 };
        assert_eq!(parse_disks(nvme), [Disk { device: (259, 0), flow }]);
        let two =
            "8 0 sda 1 0 2 0 1 0 4 0 0 0 0\n8 1 sda1 1 0 2 0 1 0 4 0 0 0 0\n8 16 sdb 1 0 6 0 1 0 8 0 0 0 0\n";
        assert_eq!(devices(two), [(8, 0), (8, 16)]);
    }

    #[test]
    fn a_partition_without_a_disk_is_one() {
        assert_eq!(
            devices(" 202 1 xvda1 1 0 2 0 1 0 4 0 0 0 0\n 202 80 xvdf 1 0 2 0 1 0 4 0 0 0 0\n"),
            [(202, 1), (202, 80)]
        );
        assert_eq!(devices("202 1\n\nnonsense here\n"), []);
    }
}
