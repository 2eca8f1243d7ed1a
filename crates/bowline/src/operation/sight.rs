//! Looking at containers while they come up: what the engine tells, what a probe finds, what they wrote last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bowline_core::compose::observed::Container;
use bowline_core::health::{ProcessState, Sighting, Test};
use futures_util::future::join_all;

use super::apply::Applier;

/// How many of the last lines of a log are kept as evidence.
const LOG_LINES: usize = 20;

/// What was seen before: how long each process has been up, and how it ended.
#[derive(Default)]
pub(super) struct Sights {
    /// By container: when its present process was started (the engine's words) and when we saw that first.
    up: BTreeMap<String, (String, Instant)>,
    /// By container: how its last process ended, from the engine's events. A restarted container forgets this.
    deaths: BTreeMap<String, (i64, bool)>,
}

impl Sights {
    /// Keeps how a process ended.
    pub(super) fn note_death(&mut self, container: &str, exit_code: i64, oom_killed: bool) {
        self.deaths.insert(container.to_owned(), (exit_code, oom_killed));
    }

    /// Whether a container is known to have died.
    pub(super) fn heard_death(&self, container: &str) -> bool {
        self.deaths.contains_key(container)
    }

    /// One look at all containers of these services, at all of them at the same time: far away, each question takes its
    /// while.
    pub(super) async fn look(
        &mut self,
        applier: &Applier,
        services: BTreeSet<String>,
        containers: &[Container],
    ) -> Vec<(String, Vec<Sighting>)> {
        let mut looks = Vec::with_capacity(services.len());
        for service in services {
            let own = containers.iter().filter(|there| there.service == service && !there.one_off);
            let glances: Vec<Glance> = own.map(|container| self.glance(applier, container)).collect();
            looks.push(async {
                let sightings = join_all(glances.into_iter().map(|glance| glance.look_closer(applier))).await;
                (service, sightings)
            });
        }
        join_all(looks).await
    }

    /// What is known of a container without asking anybody.
    fn glance<'c>(&mut self, applier: &Applier, container: &'c Container) -> Glance<'c> {
        let running = container.state == ProcessState::Running;
        let up = if running { self.time_up(container) } else { Duration::ZERO };
        let death = self.deaths.get(&container.id).copied();
        let exit_code = match (running, death) {
            (true, Some((code, _))) if container.exit_code == 0 => code,
            _ => container.exit_code,
        };
        let oom_killed = container.oom_killed || death.is_some_and(|(_, oom)| oom);
        let desired = applier.desired.services.get(&container.service);
        let restarted_by_engine =
            desired.is_some_and(|desired| desired.model.restarts_after(exit_code, container.restarts));
        Glance { container, up, exit_code, oom_killed, restarted_by_engine }
    }

    fn time_up(&mut self, container: &Container) -> Duration {
        let now = Instant::now();
        let (started, since) =
            self.up.entry(container.id.clone()).or_insert_with(|| (container.started_at.clone(), now));
        if *started != container.started_at {
            *started = container.started_at.clone();
            *since = now;
        }
        since.elapsed()
    }
}

/// A container, and what was seen before.
struct Glance<'c> {
    container: &'c Container,
    up: Duration,
    exit_code: i64,
    oom_killed: bool,
    restarted_by_engine: bool,
}

impl Glance<'_> {
    async fn look_closer(self, applier: &Applier) -> Sighting {
        let Self { container, up, exit_code, oom_killed, restarted_by_engine } = self;
        let running = container.state == ProcessState::Running;
        let desired = applier.desired.services.get(&container.service);
        let probe = match desired.map(|desired| &desired.gate.test) {
            Some(test @ (Test::Http { .. } | Test::Tcp { .. })) if running => {
                Some(applier.probe(container, test).await)
            }
            _ => None,
        };
        let troubled = !running || container.restarts > 0;
        let log = if troubled { applier.log_tail(&container.id, LOG_LINES).await } else { Vec::new() };
        Sighting {
            container: container.id.clone(),
            state: container.state,
            exit_code,
            oom_killed,
            error: container.error.clone(),
            restarts: container.restarts,
            check: container.check,
            probe,
            up,
            restarted_by_engine,
            log,
        }
    }
}
