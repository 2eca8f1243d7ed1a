//! The types of machines that are known: those that Bowline brings, and the team's own before them.

use std::collections::BTreeMap;

use bowline_core::capacity::machine::{MachineType, Table};

use crate::config::Config;
use crate::error::{Attempt, Failure, Outcome};

/// The table that comes with Bowline.
const EC2: &str = include_str!("../../../data/ec2.toml");

/// All types that are known, and where their figures are from.
#[derive(Debug)]
pub struct Machines {
    /// The types by name.
    pub types: BTreeMap<String, MachineType>,
    /// What amounts of money are in.
    pub currency: String,
    /// Where the prices are from, in a line.
    pub source: String,
}

impl Machines {
    /// Reads the tables.
    ///
    /// # Errors
    /// When the team's own cannot be read or has figures that make no sense; says all of them.
    pub fn read(config: &Config) -> Outcome<Self> {
        let brought = parse(EC2, "the table that Bowline brings")?;
        let Some(file) = &config.capacity.machines else { return Ok(brought) };
        let path = config.directory.join(file);
        let text = std::fs::read_to_string(&path).attempt(|| format!("reading {}", path.display()))?;
        let own = parse(&text, &path.display().to_string())?;
        Ok(own.before(brought))
    }

    /// This table, and the types of another one that it has not. Amounts in two currencies cannot be added or compared: the
    /// other's prices are left out then. Where both are priced, both sources are named: their dates may lie years apart.
    fn before(self, mut other: Self) -> Self {
        other.types.retain(|name, _| !self.types.contains_key(name));
        let priced = self.currency == other.currency;
        if !priced {
            other.types.values_mut().for_each(|machine| (machine.price, machine.surplus) = (None, None));
        }
        let source = match priced && !other.types.is_empty() {
            true => format!("{}; of types that it has not: {}", self.source, other.source),
            false => self.source,
        };
        other.types.extend(self.types);
        Self { types: other.types, currency: self.currency, source }
    }

    /// An amount for people: `$101.62`.
    pub fn money(&self, millionths: u64) -> String {
        let cents = millionths.saturating_add(5_000) / 10_000;
        format!("{}{}.{:02}", self.currency, cents / 100, cents % 100)
    }
}

fn parse(text: &str, place: &str) -> Outcome<Machines> {
    let reading = || Failure::invalid(format!("reading {place}"));
    let table: Table = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        reading().since(format!("{place}{}", error.message().trim()))
    })?;
    let types = table.read().map_err(|problems| {
        let mut failure = reading();
        failure.detail = problems.iter().map(ToString::to_string).collect();
        failure.since("some of its figures make no sense")
    })?;
    let region = if table.region.is_empty() { String::new() } else { format!(", {}", table.region) };
    let source = format!("{} ({}{region})", table.source, table.date);
    Ok(Machines { types, currency: table.currency, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_that_bowline_brings_is_what_the_facts_say() {
        let machines = parse(EC2, "it").unwrap();
        let machine = |name: &str| &machines.types[name];
        for (name, sustained, monthly) in [
            ("t2.medium", 400, "$33.87"),
            ("t2.micro", 100, "$8.47"),
            ("t2.2xlarge", 1_360, "$270.98"),
            ("t3.xlarge", 1_600, "$121.47"),
            ("m5.large", 2_000, "$70.08"),
        ] {
            let money = machines.money(machine(name).price.unwrap() * bowline_core::capacity::machine::MONTH);
            assert_eq!((machine(name).sustained(), money.as_str()), (sustained, monthly), "{name}");
        }
        // Every burstable type keeps what it earns in a day.
        for burst in machines.types.values().filter_map(|machine| machine.burst) {
            assert_eq!(burst.kept, burst.earned * 24);
        }
        assert!(machines.types.values().all(|machine| machine.price.is_some()));
    }

    #[test]
    fn where_prices_of_two_tables_stand_side_by_side_both_are_named() {
        let own = |currency: &str| {
            let text = format!(
                "source = \"our contract\"\ndate = \"2026-11-01\"\ncurrency = \"{currency}\"\n[types]\n\
                 big = {{ cpus = 2, memory = \"4G\", price = 0.1 }}\n\
                 \"t2.micro\" = {{ cpus = 1, memory = \"1G\", price = 0.5 }}\n"
            );
            parse(&text, "machines.toml").unwrap()
        };
        let brought = || parse(EC2, "it").unwrap();
        let same = own("$").before(brought());
        let both = format!("our contract (2026-11-01); of types that it has not: {}", brought().source);
        assert_eq!(same.source, both);
        assert_eq!((same.types["t2.micro"].price, same.types["big"].price), (Some(500_000), Some(100_000)));
        let other = own("€").before(brought());
        assert_eq!(other.source, "our contract (2026-11-01)", "the other's prices are not shown");
        assert_eq!((other.types["t2.medium"].price, other.types["t2.micro"].price), (None, Some(500_000)));
    }

    #[test]
    fn what_is_wrong_with_a_table_is_told_with_its_place() {
        let head = "source = \"us\"\ndate = \"2026-11-25\"\n[types]\n";
        for (types, told) in [
            ("big = { cpus = 2 }", "line 4: missing field `memory`"),
            ("big = { cpus = \"two\", memory = \"4G\" }", "line 4: invalid type"),
            ("big = { cpus = 2, memory = \"4G\", prize = 3 }", "line 4: unknown field `prize`"),
            ("big = { cpus = -2, memory = \"4X\" }", "`types.big.cpus` is -2"),
            ("big = {", "line 4"),
        ] {
            let failure = parse(&format!("{head}{types}\n"), "machines.toml").unwrap_err();
            let text = format!("{:?} {:?}", failure.causes, failure.detail);
            assert!(text.contains(told), "{types}: {text}");
        }
    }
}
