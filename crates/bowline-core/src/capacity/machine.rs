//! Types of machines: what they have, what they keep up, what they cost.
//!
//! A table comes with Bowline; a team's own goes before it, for any provider or a room full of its own machines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::credit::Burst;
use crate::quantity::parse_size;

/// Hours of a month, as providers reckon it.
pub const MONTH: u64 = 730;

/// A table of types, as written by people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Table {
    /// Where the figures are from.
    pub source: String,
    /// When they were looked up.
    pub date: String,
    /// For which region the prices are; empty where there is but one.
    #[serde(default)]
    pub region: String,
    /// The currency of the prices, as people write it before an amount.
    #[serde(default = "dollar")]
    pub currency: String,
    /// The types by name.
    pub types: BTreeMap<String, Entry>,
}

fn dollar() -> String {
    "$".to_owned()
}

/// One type, as written by people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Entry {
    /// Processors.
    pub cpus: f64,
    /// Memory: `4G`.
    pub memory: String,
    /// Price of an hour; none where it is not known or nothing is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<f64>,
    /// Credits earned in an hour, where the machine cannot use its processors for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<f64>,
    /// The most credits that are kept; a day's where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits_kept: Option<f64>,
    /// Credits given at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits_at_start: Option<f64>,
    /// Whether a machine without credits goes on and is charged for, instead of being held back.
    #[serde(default)]
    pub unlimited: bool,
    /// Price of a processor's hour beyond the credits, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surplus: Option<f64>,
}

/// One type, ready to be reckoned with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineType {
    /// Its name.
    pub name: String,
    /// Processors, in thousandths.
    pub cores: u64,
    /// Memory, in bytes.
    pub memory: u64,
    /// Its credits; none where it may use its processors for good.
    pub burst: Option<Burst>,
    /// Price of an hour, in millionths of the currency's unit.
    pub price: Option<u64>,
    /// Whether it goes on without credits and is charged for, instead of being held back.
    pub unlimited: bool,
    /// Price of a processor's hour beyond the credits, in millionths; none where it is not known.
    pub surplus: Option<u64>,
}

impl MachineType {
    /// What can be used for good, in thousandths of a core.
    pub fn sustained(&self) -> u64 {
        self.burst.map_or(self.cores, |burst| burst.sustained().min(self.cores))
    }
}

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`types.{name}.{field}` {problem}")]
pub struct InvalidTable {
    /// The type.
    pub name: String,
    /// Its field.
    pub field: &'static str,
    /// What is wrong, as the rest of a sentence.
    pub problem: String,
}

impl Table {
    /// All types of it, by name.
    ///
    /// # Errors
    /// All fields that make no sense: negative, beyond what any machine has, or at odds with each other.
    pub fn read(&self) -> Result<BTreeMap<String, MachineType>, Vec<InvalidTable>> {
        let (mut types, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, entry) in &self.types {
            match entry.read(name) {
                Ok(machine) => drop(types.insert(name.clone(), machine)),
                Err(wrong) => problems.extend(wrong),
            }
        }
        if problems.is_empty() { Ok(types) } else { Err(problems) }
    }
}

impl Entry {
    fn read(&self, name: &str) -> Result<MachineType, Vec<InvalidTable>> {
        let mut problems = Vec::new();
        let mut wrong = |field, problem: String| {
            problems.push(InvalidTable { name: name.to_owned(), field, problem });
        };
        let mut amount = |field, number: Option<f64>, unit: f64, most: f64| {
            let number = number?;
            if !(0.0..=most).contains(&number) {
                wrong(field, format!("is {number}: a number from 0 to {most} makes sense"));
                return None;
            }
            // What is checked fits; nothing is lost beyond the unit.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Some((number * unit).round() as u64)
        };
        let cores = amount("cpus", Some(self.cpus), 1e3, 4_096.0);
        let earned = amount("credits", self.credits, 1e3, 1e6);
        let kept = amount("credits-kept", self.credits_kept, 1e3, 1e8);
        let launch = amount("credits-at-start", self.credits_at_start, 1e3, 1e8);
        let price = amount("price", self.price, 1e6, 1e6);
        let surplus = amount("surplus", self.surplus, 1e6, 1e6);
        if cores == Some(0) {
            wrong("cpus", "is 0: a machine has a part of a processor at least".to_owned());
        }
        if self.credits.is_none() && (self.credits_kept.is_some() || self.credits_at_start.is_some()) {
            wrong("credits", "is missing: how many are earned in an hour?".to_owned());
        }
        if self.credits.is_none() && (self.unlimited || self.surplus.is_some()) {
            wrong("unlimited", "means something only where there are `credits`".to_owned());
        }
        if let (Some(earned), Some(cores)) = (earned, cores)
            && earned > cores.saturating_mul(60)
        {
            let most = cores as f64 * 60.0 / 1e3;
            wrong("credits", format!("is more than {most}, which all its processors can spend in an hour"));
        }
        let memory = parse_size(&self.memory).map_err(|error| wrong("memory", error.to_string())).ok();
        if memory == Some(0) {
            wrong("memory", "is 0".to_owned());
        }
        let (Some(cores), Some(memory), true) = (cores, memory, problems.is_empty()) else {
            return Err(problems);
        };
        let burst = earned.map(|earned| Burst {
            earned,
            kept: kept.unwrap_or(earned.saturating_mul(24)),
            launch: launch.unwrap_or(0),
        });
        Ok(MachineType {
            name: name.to_owned(),
            cores,
            memory,
            burst,
            price,
            unlimited: self.unlimited,
            surplus,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &str) -> Result<MachineType, Vec<InvalidTable>> {
        serde_json::from_str::<Entry>(json).unwrap().read("t")
    }

    #[test]
    fn a_type_is_read_in_exact_units() {
        let machine = entry(r#"{"cpus": 2, "memory": "4G", "price": 0.0464, "credits": 24}"#).unwrap();
        let burst = Burst { earned: 24_000, kept: 576_000, launch: 0 };
        assert_eq!((machine.cores, machine.memory, machine.price), (2_000, 4 << 30, Some(46_400)));
        assert_eq!((machine.burst, machine.sustained()), (Some(burst), 400));
        assert_eq!(entry(r#"{"cpus": 0.5, "memory": "1G"}"#).unwrap().sustained(), 500);
    }

    #[test]
    fn nonsense_is_told_field_by_field() {
        for (json, fields) in [
            (r#"{"cpus": -1, "memory": "4G"}"#, &["cpus"][..]),
            (r#"{"cpus": 0, "memory": "4 bananas"}"#, &["cpus", "memory"]),
            (r#"{"cpus": 2, "memory": "0", "price": -0.1}"#, &["price", "memory"]),
            (r#"{"cpus": 2, "memory": "4G", "credits": 121}"#, &["credits"]),
            (r#"{"cpus": 2, "memory": "4G", "credits-kept": 10}"#, &["credits"]),
        ] {
            let problems = entry(json).unwrap_err();
            assert_eq!(problems.iter().map(|problem| problem.field).collect::<Vec<_>>(), fields, "{json}");
        }
    }
}
