//! One look at the counters.

use std::collections::BTreeMap;

use bowline_measurement::interval::{CpuTime, Flow, Pressure};

use crate::kernel::disk::Device;

/// What the counters were at a moment. Amounts count from when the thing that is counted came to be; between two
/// readings lies an interval ([`crate::difference::between`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub moment: Moment,
    /// The machine.
    pub machine: MachineReading,
    /// The containers that ran, by id.
    pub containers: BTreeMap<String, ContainerReading>,
    /// What the engine told of processes that were killed for want of memory since the reading before, by container id.
    pub kills: BTreeMap<String, u32>,
    /// Of those containers, the ones that did not run, as they were last seen.
    pub gone: BTreeMap<String, ContainerReading>,
}

/// A moment by three clocks, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since 1970 (UTC): the label, which people set and which [`crate::label::label`] keeps in order.
    pub label: i64,
    /// Since the machine was started, sleep included.
    pub boot: u64,
    /// Since the machine was started, sleep left out.
    pub awake: u64,
}

/// The machine's counters and levels. Times are microseconds, sizes are bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineReading {
    /// Processors.
    pub cores: u32,
    /// Their time since the start.
    pub cpu: CpuTime,
    /// Memory there is.
    pub memory: u64,
    /// What is left of it for new work.
    pub memory_available: u64,
    /// Swap in use.
    pub swap: u64,
    /// Waiting since the start.
    pub pressure: Pressure,
    /// Load over one minute, in hundredths.
    pub load: u64,
    /// Size of the engine's file system.
    pub disk: u64,
    /// What is free of it.
    pub disk_free: u64,
    /// What whole disks read and wrote.
    pub io: BTreeMap<Device, Flow>,
    /// What interfaces that lead out received and sent.
    pub network: BTreeMap<String, Flow>,
}

/// A container's counters and levels. Times are microseconds, sizes are bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerReading {
    /// What it is called, as [`Interval::containers`] says; nothing as long as the engine did not tell.
    ///
    /// [`Interval::containers`]: bowline_measurement::interval::Interval::containers
    pub name: Option<String>,
    /// Which control group it is: another one after each start. Its counters count from then.
    pub group: u64,
    /// How long its first process has run, in milliseconds; nothing where that cannot be seen.
    pub age: Option<u64>,
    /// Processor time.
    pub cpu: u64,
    /// Time held back by its limit.
    pub throttled: u64,
    /// Memory without inactive files.
    pub memory: u64,
    /// The most that the kernel remembers.
    pub memory_peak: u64,
    /// Its limit; nothing where there is none.
    pub memory_limit: u64,
    /// Processes killed in this group.
    pub oom_kills: u64,
    /// How often it was started anew since the reading before.
    pub restarts: u32,
    /// Over the network; nothing where it has none of its own, or it cannot be seen.
    pub network: Option<Flow>,
    /// From disks and to them.
    pub io: Flow,
}
