//! Whether a Docker host carries what is to be deployed to it: found before anything is touched.

use std::collections::BTreeSet;

use bowline_core::capacity::fit::{Demand, check};
use bowline_core::capacity::machine::MachineType;
use bowline_core::capacity::outlook::Load;
use bowline_core::capacity::profile::Profile;
use bowline_core::capacity::series::Series;
use bowline_measurement::rollup::Step;

use super::machine::Machines;
use super::measurement::{Asked, of_host, service_of};
use super::need::of_services;
use crate::clock;
use crate::config::{ComposeTarget, Config, Fit};
use crate::error::Outcome;
use crate::operation::depot::Depot;
use crate::operation::goal::Goal;
use crate::operation::host::Host;
use crate::operation::proposal::{self, Proposal};

/// How far back it is looked at what services need: the last day has one peak at least.
const BACK: i64 = 86_400_000;

/// Looks at the host and plans, and adds to what was found what the machine cannot carry.
///
/// # Errors
/// See [`proposal::propose`].
pub async fn propose(
    config: &Config,
    host: &Host,
    target: &ComposeTarget,
    depot: &Depot,
    goal: &Goal,
    only: &BTreeSet<String>,
) -> Outcome<Proposal> {
    let proposing = proposal::propose(host, target, depot, goal, only);
    let (proposal, measured) = tokio::join!(proposing, look(host, config));
    let mut proposal = proposal?;
    judge(&mut proposal, measured.as_ref(), config, target);
    Ok(proposal)
}

/// What was measured of a host in the last day; nothing where nobody measured it, it could not be read, or nobody asks.
async fn look(host: &Host, config: &Config) -> Option<Series> {
    if config.capacity.fit == Fit::Ignore {
        return None;
    }
    let asked = Asked { since: clock::now().as_millisecond() - BACK, until: None, step: Step::Minute };
    // A host that cannot be reached says so where it is looked at for the deploy itself.
    of_host(host, asked).await.ok()
}

/// What the machine cannot carry is a refusal or a warning, as the configuration has it. By what was measured, else by the
/// limits of the compose file; services of which neither is known are not reckoned with.
fn judge(proposal: &mut Proposal, measured: Option<&Series>, config: &Config, target: &ComposeTarget) {
    if config.capacity.fit == Fit::Ignore {
        return;
    }
    let machines = match Machines::read(config) {
        Ok(machines) => Some(machines),
        Err(failure) => {
            proposal.prepared.warnings.push(failure.to_string());
            None
        }
    };
    let instance = measured.and_then(|series| series.facts.as_ref()?.instance.as_deref());
    let kind = target.machines.as_deref().or(instance);
    let known = machines.as_ref().zip(kind).and_then(|(machines, kind)| machines.types.get(kind));
    let engine = &proposal.look.observed.engine;
    // What the machine has it says itself; a table knows what it earns.
    let machine = MachineType {
        name: kind.unwrap_or(&target.name).to_owned(),
        cores: u64::from(engine.cpus) * 1000,
        memory: engine.memory,
        burst: known.and_then(|known| known.burst),
        price: None,
        unlimited: known.is_some_and(|known| known.unlimited),
        surplus: None,
    };
    if machine.cores == 0 || machine.memory == 0 {
        return;
    }
    let profile =
        measured.map(|series| Profile::new(&series.rows, service_of(&proposal.prepared.desired.project)));
    let services = &proposal.prepared.desired.services;
    let services = services.iter().map(|(name, service)| (name.as_str(), &service.model.raw));
    let demands: Vec<Demand> = of_services(services, profile.as_ref())
        .needs
        .into_iter()
        .map(|need| {
            let all = |amount: u64| amount.saturating_mul(need.replicas);
            let load = Load {
                cpu_kept: all(need.load.cpu_kept),
                cpu_used: need.load.cpu_used.map(all),
                memory: all(need.load.memory),
            };
            Demand { service: need.name, load }
        })
        .collect();
    let found = check(&machine, &demands);
    // Who goes back has a reason: what ran before is put back whatever it needs.
    let goes_back = proposal.goal.verb == "rollback";
    match config.capacity.fit {
        Fit::Refuse if !goes_back => proposal.findings.refusals.extend(found),
        Fit::Refuse | Fit::Warn | Fit::Ignore => proposal.findings.warnings.extend(found),
    }
}
