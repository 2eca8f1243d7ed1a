//! Machines by type and number, as people name them: `3xt2.medium`, `t3.large,2xm5.large`, `2x4cpu:16G`.

use std::collections::BTreeMap;
use std::fmt;

use super::machine::{MONTH, MachineType};
use crate::quantity::parse_size;

/// The most machines that are planned with.
const MOST: u32 = 10_000;

/// Machines by type and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet(Vec<(u32, MachineType)>);

/// Why a text names no machines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFleet {
    /// It is not written as machines are.
    #[error(
        "`{0}` is no number of machines of a type: write `3xt2.medium`, or `2x4cpu:16G` for machines of your own"
    )]
    Form(String),
    /// There are too many.
    #[error("`{0}` are more than {MOST} machines")]
    Number(String),
    /// The table does not have the type.
    #[error("no machine type `{name}` is known{}", .near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Type {
        /// As it was written.
        name: String,
        /// One of the same family or size.
        near: Option<String>,
    },
}

impl Fleet {
    /// Reads machines, with the types of a table.
    ///
    /// # Errors
    /// When it is not written as machines are, or names a type that the table does not have.
    pub fn parse(text: &str, types: &BTreeMap<String, MachineType>) -> Result<Self, InvalidFleet> {
        let mut machines = Vec::new();
        for part in text.split([',', '+']).map(str::trim) {
            let form = || InvalidFleet::Form(part.chars().take(60).collect());
            let digits = part.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
            let (number, rest) = part.split_at(digits);
            let (count, name) = match rest.strip_prefix(['x', '×']).filter(|_| digits > 0) {
                Some(name) => {
                    (number.parse::<u32>().map_err(|_| InvalidFleet::Number(part.to_owned()))?, name)
                }
                None => (1, part),
            };
            if count == 0 || name.is_empty() {
                return Err(form());
            }
            let machine = match types.get(name) {
                Some(machine) => machine.clone(),
                None => own(name).ok_or_else(|| InvalidFleet::Type {
                    name: name.to_owned(),
                    near: nearest(name, types),
                })?,
            };
            machines.push((count, machine));
        }
        let all = machines.iter().fold(0_u32, |sum, (count, _)| sum.saturating_add(*count));
        if all > MOST { Err(InvalidFleet::Number(text.to_owned())) } else { Ok(Self(machines)) }
    }

    /// So many machines of one type.
    pub fn of(count: u32, machine: MachineType) -> Self {
        Self(vec![(count, machine)])
    }

    /// One machine after the other, with its name: its type and a number.
    pub fn machines(&self) -> impl Iterator<Item = (String, &MachineType)> {
        let each = self.0.iter().flat_map(|(count, machine)| (0..*count).map(move |_| machine));
        each.enumerate().map(|(number, machine)| (format!("{}-{}", machine.name, number + 1), machine))
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|(count, _)| *count).sum()
    }

    /// What all of them cost in a month, in millionths of the currency's unit; none where a price is not known.
    pub fn monthly(&self) -> Option<u64> {
        let of = |(count, machine): &(u32, MachineType)| Some(machine.price? * u64::from(*count) * MONTH);
        self.0.iter().map(of).sum()
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.iter().map(|(count, machine)| format!("{count} × {}", machine.name));
        f.write_str(&parts.collect::<Vec<_>>().join(" + "))
    }
}

/// A machine that no table has: `4cpu:16G`.
fn own(name: &str) -> Option<MachineType> {
    let (cpus, memory) = name.split_once("cpu:")?;
    let cpus = cpus.parse::<f64>().ok().filter(|cpus| (0.1..=4_096.0).contains(cpus))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let cores = (cpus * 1_000.0).round() as u64;
    let memory = parse_size(memory).ok().filter(|memory| *memory > 0)?;
    let name = name.to_owned();
    Some(MachineType { name, cores, memory, burst: None, price: None, unlimited: false, surplus: None })
}

/// A type of the same family, else one of the same size.
fn nearest(name: &str, types: &BTreeMap<String, MachineType>) -> Option<String> {
    let name = name.to_ascii_lowercase();
    if types.contains_key(&name) {
        return Some(name);
    }
    let (family, size) = name.split_once('.')?;
    let of_family = |known: &&String| known.split_once('.').is_some_and(|(known, _)| known == family);
    let of_size = |known: &&String| known.split_once('.').is_some_and(|(_, known)| known == size);
    let alike = |known: &&String| name.bytes().zip(known.bytes()).take_while(|(a, b)| a == b).count();
    // Of those that begin alike for as long, the first.
    let nearest = |known: &mut dyn Iterator<Item = &String>| {
        known.max_by_key(|known| (alike(known), std::cmp::Reverse((*known).clone()))).cloned()
    };
    nearest(&mut types.keys().filter(of_family)).or_else(|| nearest(&mut types.keys().filter(of_size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types() -> BTreeMap<String, MachineType> {
        let machine = |name: &str, price| MachineType {
            name: name.to_owned(),
            cores: 2_000,
            memory: 4 << 30,
            burst: None,
            price,
            unlimited: false,
            surplus: None,
        };
        let known = [("t2.medium", Some(46_400)), ("m5.large", Some(96_000)), ("box", None)];
        let all = known.into_iter().chain([("t2.large", None), ("t2.2xlarge", None)]);
        all.map(|(name, price)| (name.to_owned(), machine(name, price))).collect()
    }

    #[test]
    fn machines_are_named_by_number_and_type() {
        for (text, shown, count, monthly) in [
            ("3xt2.medium", "3 × t2.medium", 3, Some(101_616_000)),
            ("t2.medium", "1 × t2.medium", 1, Some(33_872_000)),
            ("2×m5.large, t2.medium", "2 × m5.large + 1 × t2.medium", 3, Some(174_032_000)),
            ("box+m5.large", "1 × box + 1 × m5.large", 2, None),
            ("2x4cpu:16G", "2 × 4cpu:16G", 2, None),
            ("0.5cpu:512M", "1 × 0.5cpu:512M", 1, None),
        ] {
            let fleet = Fleet::parse(text, &types()).unwrap();
            assert_eq!((fleet.to_string().as_str(), fleet.count(), fleet.monthly()), (shown, count, monthly));
        }
        let names: Vec<String> =
            Fleet::parse("box,2xm5.large", &types()).unwrap().machines().map(|(name, _)| name).collect();
        assert_eq!(names, ["box-1", "m5.large-2", "m5.large-3"]);
    }

    #[test]
    fn what_is_no_machine_is_told() {
        for (text, told) in [
            ("", "write `3xt2.medium`"),
            ("0xt2.medium", "is no number of machines"),
            ("3x", "is no number of machines"),
            ("3", "is no number of machines"),
            ("3xT2.Medium", "did you mean `t2.medium`?"),
            ("t2.mediun", "did you mean `t2.medium`?"),
            ("t2.larg", "did you mean `t2.large`?"),
            ("m9.large", "did you mean `m5.large`?"),
            ("banana", "no machine type `banana` is known"),
            ("99999xbox", "more than 10000"),
            ("99999999999xbox", "more than 10000"),
            ("2x0cpu:16G", "no machine type"),
        ] {
            let error = Fleet::parse(text, &types()).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
