//! What becomes of a machine under the load that is put on it: room, credits, cost.

use std::time::Duration;

use super::credit::Course;
use super::machine::{MONTH, MachineType};

/// What a machine's own work takes: thousandths of a core, and bytes. The system and what runs containers; in a cluster the
/// agent of each node, or the server with its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead {
    /// Processor time, on average.
    pub cpu: u64,
    /// Memory.
    pub memory: u64,
}

const MEBI: u64 = 1 << 20;

impl Overhead {
    /// A system with a Docker engine: what small servers hold before anything of the team's runs.
    pub const HOST: Self = Self { cpu: 20, memory: 350 * MEBI };
    /// A node: a system, the agent's 256 MiB and 5 % of a core (K3s, "Resource Profiling"), and the kubelet's reserve for
    /// eviction of 100 MiB.
    pub const NODE: Self = Self { cpu: 50, memory: (150 + 256 + 100) * MEBI };
    /// The same with a control plane: 768 MiB and 10 % of a core (K3s, "Resource Profiling").
    pub const CONTROL_PLANE: Self = Self { cpu: 100, memory: (150 + 768 + 100) * MEBI };
}

/// What is put on a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// Processor time that is kept, in thousandths of a core.
    pub cpu_kept: u64,
    /// Processor time that is used on average; none where nobody measured it.
    pub cpu_used: Option<u64>,
    /// Memory that is kept, in bytes.
    pub memory: u64,
}

/// What becomes of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// All that is kept and used on it, its own work included.
    pub load: Load,
    /// What is left of its processors for others to ask for, in thousandths of a core; negative where it is not enough.
    pub cpu_free: i64,
    /// The same of memory, in bytes.
    pub memory_free: i64,
    /// Processor time that it can keep up, in thousandths of a core.
    pub sustained: u64,
    /// Its credits under the load: from a full balance and from a start. None where it has none to spend.
    pub credits: Option<(Course, Course)>,
    /// The highest share of all its processors that a day's average can reach from a full balance, in tenths of a percent.
    pub day: u64,
    /// What the machine costs in a month, in millionths of the currency's unit; none where its price is not known.
    pub monthly: Option<u64>,
    /// What credits beyond those earned cost in a month, where it goes on without and their price is known.
    pub surplus: Option<u64>,
    /// Whether it goes on without credits, and what these cost is not known.
    pub charged: bool,
    /// Whether it can go on like this for good: by what it earns, or by what is charged for.
    lasts: bool,
}

impl Outlook {
    /// Reckons with all loads of a machine together.
    pub fn new<'l>(
        machine: &MachineType,
        overhead: Overhead,
        loads: impl IntoIterator<Item = &'l Load>,
    ) -> Self {
        let own = Load { cpu_kept: overhead.cpu, cpu_used: Some(overhead.cpu), memory: overhead.memory };
        let load = loads.into_iter().fold(own, |sum, load| Load {
            cpu_kept: sum.cpu_kept.saturating_add(load.cpu_kept),
            cpu_used: sum.cpu_used.zip(load.cpu_used).map(|(sum, used)| sum.saturating_add(used)),
            memory: sum.memory.saturating_add(load.memory),
        });
        let demand_asked = load.cpu_used.unwrap_or(load.cpu_kept);
        let demand = demand_asked.min(machine.cores);
        let credits = machine
            .burst
            .map(|burst| (burst.course(burst.full(), demand), burst.course(burst.started(), demand)));
        let day = Duration::from_secs(86_400);
        let average = machine
            .burst
            .map_or(machine.cores, |burst| burst.highest_average(burst.full(), machine.cores, day));
        let surplus = machine.burst.filter(|_| machine.unlimited).zip(machine.surplus);
        Self {
            cpu_free: less(machine.cores, load.cpu_kept),
            memory_free: less(machine.memory, load.memory),
            sustained: machine.sustained(),
            credits,
            day: average.saturating_mul(1000).checked_div(machine.cores).unwrap_or(0),
            monthly: machine.price.map(|price| price.saturating_mul(MONTH)),
            charged: machine.unlimited && machine.surplus.is_none() && demand > machine.sustained(),
            lasts: demand_asked <= if machine.unlimited { machine.cores } else { machine.sustained() },
            surplus: surplus.map(|(burst, price)| burst.surplus_cost(demand, price).saturating_mul(MONTH)),
            load,
        }
    }

    /// Whether it can go on like this for good.
    pub fn lasts(&self) -> bool {
        self.lasts
    }
}

fn less(there: u64, taken: u64) -> i64 {
    let left = i128::from(there) - i128::from(taken);
    i64::try_from(left).unwrap_or(if left < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::super::credit::Burst;
    use super::*;

    fn t2_medium() -> MachineType {
        MachineType {
            name: "t2.medium".to_owned(),
            cores: 2_000,
            memory: 4 << 30,
            burst: Some(Burst { earned: 24_000, kept: 576_000, launch: 60_000 }),
            price: Some(46_400),
            unlimited: false,
            surplus: None,
        }
    }

    fn load(cpu_used: Option<u64>) -> Load {
        Load { cpu_kept: 500, cpu_used, memory: 1 << 30 }
    }

    fn minutes(course: Course) -> Option<u64> {
        course.lasts.map(|time| (time.as_secs() + 30) / 60)
    }

    #[test]
    fn the_story_s_workers_last_for_days_and_not_for_good() {
        // Two workers that share one processor's work.
        let worker = Outlook::new(&t2_medium(), Overhead::NODE, [&load(Some(500))]);
        let (full, started) = worker.credits.unwrap();
        assert_eq!((minutes(full), minutes(started), full.short), (Some(64 * 60), Some(400), 9_000));
        assert_eq!((worker.lasts(), worker.sustained, worker.load.cpu_used), (false, 400, Some(550)));
        assert_eq!((worker.monthly, worker.surplus), (Some(33_872_000), None));
        // Three machines that share it, and what the cluster itself takes.
        let shared = Overhead { cpu: 100, ..Overhead::NODE };
        let node = Outlook::new(&t2_medium(), shared, [&load(Some(333))]);
        assert!(!node.lasts());
        assert_eq!(node.credits.unwrap().0.short, 1_980);
        assert_eq!(node.day, 400 + 200 - 200);
    }

    #[test]
    fn without_measurements_what_is_kept_counts_as_used() {
        let node = Outlook::new(&t2_medium(), Overhead::HOST, [&load(None), &load(Some(1))]);
        assert_eq!((node.load.cpu_used, node.load.cpu_kept, node.lasts()), (None, 1_020, false));
        assert_eq!((node.cpu_free, node.memory_free >> 20), (980, 4096 - 2048 - 350));
    }

    #[test]
    fn a_machine_that_goes_on_without_credits_is_charged_for() {
        let machine = MachineType { unlimited: true, surplus: Some(50_000), ..t2_medium() };
        let full = Outlook::new(&machine, Overhead { cpu: 0, memory: 0 }, [&load(Some(1_000))]);
        // 36 credits an hour at $0.05 for 60.
        assert_eq!((full.surplus, full.lasts(), full.charged), (Some(30_000 * MONTH), true, false));
        let unknown = MachineType { surplus: None, ..machine.clone() };
        assert!(Outlook::new(&unknown, Overhead::HOST, [&load(Some(1_000))]).charged);
        let overloaded =
            Outlook::new(&machine, Overhead::HOST, [&Load { memory: 9 << 30, ..load(Some(9_000)) }]);
        assert!(
            overloaded.memory_free < 0 && overloaded.surplus == Some(80_000 * MONTH) && !overloaded.lasts()
        );
    }
}
