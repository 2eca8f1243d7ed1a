//! Looks at the machine.

use std::path::{Path, PathBuf};

use bowline_measurement::interval::Pressure;

use crate::kernel::disk::{Device, parse_disks};
use crate::kernel::memory::parse_memory;
use crate::kernel::network::{is_uplink, parse_interfaces, parse_traffic};
use crate::kernel::pressure::parse_stall;
use crate::kernel::process::parse_start;
use crate::kernel::processor::{parse_load, parse_stat};
use crate::reading::{ContainerReading, MachineReading};
use crate::roster::Known;
use crate::source::Source;

/// The machine, as `/proc` shows it.
#[derive(Debug)]
pub struct Machine {
    stat: PathBuf,
    memory: PathBuf,
    load: PathBuf,
    pressure: [PathBuf; 3],
    disks: PathBuf,
    network: PathBuf,
    root: PathBuf,
    /// A directory in the file system that holds the engine's data.
    data: PathBuf,
    /// Of the clock that `/proc` counts in, to the second.
    ticks: u64,
}

impl Machine {
    /// The machine whose `/proc` is at `root`, with a directory in the file system that is to be watched.
    pub fn new(root: &Path, data: &Path) -> Self {
        Self {
            stat: root.join("stat"),
            memory: root.join("meminfo"),
            load: root.join("loadavg"),
            pressure: ["cpu", "memory", "io"].map(|kind| root.join("pressure").join(kind)),
            disks: root.join("diskstats"),
            // `net` itself is that of whoever reads; the first process is on the machine's own network.
            network: root.join("1/net/dev"),
            root: root.to_owned(),
            data: data.to_owned(),
            ticks: rustix::param::clock_ticks_per_second(),
        }
    }

    /// Looks at everything. What the kernel does not tell stays zero; nothing without processor time or memory, without
    /// which there is nothing to say.
    pub fn read(&self, source: &mut Source) -> Option<MachineReading> {
        let processor = parse_stat(source.text(&self.stat)?, self.ticks)?;
        let memory = parse_memory(source.text(&self.memory)?)?;
        let (disk, disk_free) = self.space();
        let disks = source.text(&self.disks).map(parse_disks).unwrap_or_default();
        let interfaces = source.text(&self.network).map(parse_interfaces).into_iter().flatten();
        let uplinks = interfaces.filter(|(name, _)| is_uplink(name));
        Some(MachineReading {
            cores: processor.cores,
            cpu: processor.time,
            memory: memory.total,
            memory_available: memory.available,
            swap: memory.swap,
            network: uplinks.map(|(name, flow)| (name.to_owned(), flow)).collect(),
            pressure: self.pressure(source),
            load: source.text(&self.load).and_then(parse_load).unwrap_or(0),
            disk,
            disk_free,
            io: disks.into_iter().map(|disk| (disk.device, disk.flow)).collect(),
        })
    }

    fn pressure(&self, source: &mut Source) -> Pressure {
        let [cpu, memory, io] =
            self.pressure.each_ref().map(|path| source.text(path).and_then(parse_stall).unwrap_or_default());
        Pressure {
            cpu: cpu.some,
            memory: memory.some,
            memory_full: memory.full,
            io: io.some,
            io_full: io.full,
        }
    }

    /// Size of the file system and what is free of it for programs without privileges.
    fn space(&self) -> (u64, u64) {
        let Ok(there) = rustix::fs::statvfs(&self.data) else { return (0, 0) };
        (there.f_blocks.saturating_mul(there.f_frsize), there.f_bavail.saturating_mul(there.f_frsize))
    }

    /// Looks at a container by its first process: how long it has run, and its network where it has one of its own.
    /// `boot` is the time since the machine was started, in milliseconds.
    ///
    /// An engine may number processes otherwise than this `/proc`, and numbers are given again: who is not in the
    /// container's control group is somebody else.
    pub fn read_process(
        &self,
        source: &mut Source,
        (id, known): (&str, &Known),
        boot: u64,
        container: &mut ContainerReading,
    ) {
        let path = self.root.join(known.process.to_string());
        if !source.text(&path.join("cgroup")).is_some_and(|groups| groups.contains(id)) {
            return;
        }
        let start = source.text(&path.join("stat")).and_then(parse_start);
        let start = start.and_then(|start| start.saturating_mul(1_000).checked_div(self.ticks));
        container.age = start.map(|start| boot.saturating_sub(start));
        if known.own_network {
            container.network = source.text(&path.join("net/dev")).map(parse_traffic);
        }
    }
}

/// Whether a device is one of those that the machine counts.
pub fn counts(machine: &MachineReading) -> impl Fn(Device) -> bool {
    |device| machine.io.contains_key(&device)
}
