//! What is asked of machines: the services' needs, grown, on the ground that is meant; and which machines would do.

use bowline_core::capacity::fleet::Fleet;
use bowline_core::capacity::forecast::{Forecast, Ground, Need};

use super::machine::Machines;
use crate::error::{Failure, Outcome};

/// How many machines of one type are tried where nobody says which.
const MOST: u32 = 6;
/// And how many of those that would do are told.
const TOLD: usize = 8;

/// What machines are to carry.
#[derive(Debug)]
pub struct Demand {
    /// What services need as it is.
    pub needs: Vec<Need>,
    /// So many hundredths of that are asked for.
    pub growth: u64,
    /// What the machines are to each other by the target's kind.
    pub ground: Ground,
    /// And by who asks, which goes before it.
    pub asked: Option<Ground>,
}

impl Demand {
    /// What becomes of it on these machines.
    pub fn forecast(&self, fleet: &Fleet) -> Forecast {
        let ground = self.ground_of(Some(fleet));
        Forecast::new(fleet, ground, &self.grown(ground))
    }

    /// The cheapest machines of the table that would do, of one type each.
    pub fn alternatives(&self, machines: &Machines) -> Vec<Forecast> {
        let ground = self.ground_of(None);
        let needs = self.grown(ground);
        let counts = if ground == Ground::Hosts { 1..=1 } else { 1..=MOST };
        let mut fleets: Vec<Fleet> = machines
            .types
            .values()
            .flat_map(|machine| counts.clone().map(|count| Fleet::of(count, machine.clone())))
            .filter(|fleet| fleet.monthly().is_some())
            .collect();
        fleets.sort_by_key(|fleet| (fleet.monthly(), std::cmp::Reverse(fleet.count())));
        let forecasts = fleets.iter().map(|fleet| Forecast::new(fleet, ground, &needs));
        let mut good: Vec<Forecast> =
            forecasts.filter(|forecast| forecast.fits() && forecast.lasts()).take(TOLD).collect();
        good.sort_by_key(|forecast| (forecast.monthly(), std::cmp::Reverse(forecast.fleet.count())));
        good
    }

    fn ground_of(&self, fleet: Option<&Fleet>) -> Ground {
        match (self.asked, self.ground) {
            (Some(ground), _) => ground,
            // A compose project runs on one host: on several machines it has to be a cluster.
            (None, Ground::Hosts) if fleet.is_some_and(|fleet| fleet.count() > 1) => Ground::Shared,
            (None, ground) => ground,
        }
    }

    fn grown(&self, ground: Ground) -> Vec<Need> {
        self.needs.iter().cloned().map(|need| need.grow(self.growth, ground)).collect()
    }
}

/// Machines as people name them.
///
/// # Errors
/// When no table has them.
pub fn parse_fleet(text: &str, machines: &Machines) -> Outcome<Fleet> {
    Fleet::parse(text, &machines.types).map_err(|error| {
        Failure::invalid(format!("reading the machines `{text}`"))
            .because(&error)
            .hint("a table of your own: `machines = \"FILE\"` under [capacity] in bowline.toml")
    })
}

/// The machines that a target has: as configured, else what its host says that it is, where a table knows that type.
///
/// # Errors
/// When no table has those that are configured.
pub fn own_fleet(
    configured: Option<&str>,
    instance: Option<&str>,
    machines: &Machines,
) -> Outcome<Option<Fleet>> {
    match configured {
        Some(text) => parse_fleet(text, machines).map(Some),
        None => {
            let machine = instance.and_then(|name| machines.types.get(name));
            Ok(machine.map(|machine| Fleet::of(1, machine.clone())))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_target_has_the_machines_that_are_configured_else_what_its_host_says() {
        let toml = "[project]\nname = \"shop\"\n\n[services.web]\nimages = [\"web:1\"]\n";
        let machines = Machines::read(&Config::parse(toml, Path::new(".")).unwrap()).unwrap();
        for (configured, instance, expected) in [
            (Some("3xt2.medium"), Some("t3.large"), Some("3 × t2.medium")),
            (None, Some("t3.large"), Some("1 × t3.large")),
            (None, Some("x99.enormous"), None),
            (None, None, None),
        ] {
            let fleet = own_fleet(configured, instance, &machines).unwrap();
            assert_eq!(
                fleet.map(|fleet| fleet.to_string()).as_deref(),
                expected,
                "{configured:?} {instance:?}"
            );
        }
        assert!(own_fleet(Some("x99.enormous"), None, &machines).is_err());
    }
}
