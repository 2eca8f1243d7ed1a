//! Whether the machine that a release is for carries it: what is said before anything is touched.

use super::advice::{bytes, cores};
use super::machine::MachineType;
use super::outlook::{Load, Outlook, Overhead};
use crate::finding::Finding;

/// How many of those that need most are named.
const NAMED: usize = 3;

/// What one service needs of the machine that it runs on, all its containers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The service.
    pub service: String,
    /// What it needs.
    pub load: Load,
}

/// What speaks against putting all of this on one machine: too little memory, too few processors, or credits that run out.
/// Nothing where it is carried.
pub fn check(machine: &MachineType, demands: &[Demand]) -> Vec<Finding> {
    let outlook = Outlook::new(machine, Overhead::HOST, demands.iter().map(|demand| &demand.load));
    let mut findings = Vec::new();
    if outlook.memory_free < 0 {
        let asked = outlook.load.memory;
        findings.push(Finding::new(
            "memory",
            format!(
                "what runs there needs {}, {} of it for the system, and the machine has {}{}",
                bytes(asked),
                bytes(Overhead::HOST.memory),
                bytes(machine.memory),
                most(demands, |load| load.memory, bytes)
            ),
            REMEDY,
        ));
    }
    if outlook.cpu_free < 0 {
        findings.push(Finding::new(
            "CPU",
            format!(
                "what runs there needs {}, and the machine has {}{}",
                cores(outlook.load.cpu_kept),
                cores(machine.cores),
                most(demands, |load| load.cpu_kept, cores)
            ),
            REMEDY,
        ));
    }
    // What one hour's work takes is what credits are about, not what is kept for the worst minute.
    let used = outlook.load.cpu_used.filter(|_| !outlook.lasts());
    if let (Some(used), Some((full, _))) = (used, outlook.credits) {
        let lasts = full.lasts.map_or_else(String::new, |time| {
            format!(", {} h {} min after a full balance", time.as_secs() / 3_600, time.as_secs() % 3_600 / 60)
        });
        findings.push(Finding::new(
            "credits",
            format!(
                "what runs there uses {} on average, and a {} keeps up {}: it is held to that{lasts}",
                cores(used),
                machine.name,
                cores(outlook.sustained)
            ),
            REMEDY,
        ));
    }
    findings
}

const REMEDY: &str =
    "`bowline capacity advise` says what can be smaller, `bowline capacity plan` which machine would do";

/// Who needs most, with how much.
fn most(demands: &[Demand], of: fn(&Load) -> u64, show: fn(u64) -> String) -> String {
    let mut named: Vec<(u64, &str)> =
        demands.iter().map(|demand| (of(&demand.load), demand.service.as_str())).collect();
    named.sort_unstable_by(|one, other| other.cmp(one));
    let named: Vec<String> =
        named.iter().take(NAMED).map(|(amount, name)| format!("{name} {}", show(*amount))).collect();
    if named.is_empty() { String::new() } else { format!("; most of it: {}", named.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::credit::Burst;
    use super::*;

    fn machine() -> MachineType {
        MachineType {
            name: "t2.medium".to_owned(),
            cores: 2_000,
            memory: 4 << 30,
            burst: Some(Burst { earned: 24_000, kept: 576_000, launch: 60_000 }),
            price: None,
            unlimited: false,
            surplus: None,
        }
    }

    fn demand(service: &str, cpu: u64, memory: u64) -> Demand {
        let load = Load { cpu_kept: cpu, cpu_used: Some(cpu / 2), memory: memory << 20 };
        Demand { service: service.to_owned(), load }
    }

    #[test]
    fn what_is_carried_is_not_spoken_of() {
        assert_eq!(check(&machine(), &[demand("user", 300, 500), demand("chat", 200, 3_000)]), []);
        assert_eq!(check(&machine(), &[]), []);
    }

    #[test]
    fn what_is_too_much_is_told_with_who_needs_it() {
        let all = [demand("user", 900, 500), demand("kafka1", 700, 1_300), demand("kafka2", 600, 2_500)];
        let found = check(&machine(), &all);
        let texts: Vec<(&str, &str)> =
            found.iter().map(|one| (one.subject.as_str(), one.text.as_str())).collect();
        assert_eq!(
            texts,
            [
                (
                    "memory",
                    "what runs there needs 4650 MiB, 350 MiB of it for the system, and the machine has 4096 MiB; most of it: kafka2 2500 MiB, kafka1 1300 MiB, user 500 MiB"
                ),
                (
                    "CPU",
                    "what runs there needs 2.22 CPU, and the machine has 2.00 CPU; most of it: user 0.90 CPU, kafka1 0.70 CPU, kafka2 0.60 CPU"
                ),
                (
                    "credits",
                    "what runs there uses 1.12 CPU on average, and a t2.medium keeps up 0.40 CPU: it is held to that, 13 h 20 min after a full balance"
                ),
            ]
        );
    }

    #[test]
    fn credits_are_not_reckoned_with_where_nobody_measured() {
        let load = Load { cpu_kept: 900, cpu_used: None, memory: 1 };
        assert_eq!(check(&machine(), &[Demand { service: "user".to_owned(), load }]), []);
    }
}
