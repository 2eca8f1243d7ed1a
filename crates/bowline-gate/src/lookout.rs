//! Looks at the machine and all its containers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::clock::{read_moment, wall};
use crate::complaint::Complaint;
use crate::engine::{Engine, EngineError};
use crate::hierarchy::{Group, Hierarchy, HierarchyError};
use crate::machine::{Machine, counts};
use crate::reading::{ContainerReading, MachineReading, Moment, Reading};
use crate::roster::Roster;
use crate::source::Source;

/// How often all groups are searched and the engine is asked for its list, in milliseconds: custom parents and new names
/// are noticed that late.
const SEARCH: u64 = 60_000;

/// All that the engine is asked for one look takes no longer than this: the next sample is due.
const TIME: Duration = Duration::from_secs(8);

/// Where the things are that are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Roots<'a> {
    /// The host's `/proc`.
    pub proc: &'a Path,
    /// The host's `/sys/fs/cgroup`.
    pub cgroup: &'a Path,
    /// The engine's socket.
    pub socket: &'a Path,
    /// A directory in the file system that holds the engine's data.
    pub data: &'a Path,
}

/// Looks again and again, and remembers what need not be asked twice.
#[derive(Debug)]
pub struct Lookout {
    machine: Machine,
    hierarchy: Hierarchy,
    engine: Engine,
    roster: Roster,
    source: Source,
    /// The look before.
    before: Option<Moment>,
    wall: i64,
    /// Up to when the engine has told of kills, by the host's clock.
    told: i64,
    /// What was last seen of each container that the engine knows, whether or not it runs now.
    last: BTreeMap<String, ContainerReading>,
    /// Kills that the last look found in a control group's own count, and of which the engine had not told yet.
    counted: BTreeMap<String, u32>,
    /// When all was searched, in milliseconds awake.
    searched: Option<u64>,
    complaint: Complaint,
}

impl Lookout {
    /// Looks at what is below these roots. `last` is the label up to which something was measured before, if anything
    /// was: labels go on from there.
    ///
    /// # Errors
    /// When there are no control groups.
    pub fn new(roots: &Roots<'_>, last: Option<i64>) -> Result<Self, HierarchyError> {
        let now = read_moment(None);
        Ok(Self {
            machine: Machine::new(roots.proc, roots.data),
            hierarchy: Hierarchy::open(roots.cgroup)?,
            engine: Engine::new(roots.socket),
            roster: Roster::default(),
            source: Source::default(),
            before: last.map(|label| Moment { label, ..now }),
            wall: now.label,
            told: now.label,
            last: BTreeMap::new(),
            counted: BTreeMap::new(),
            searched: None,
            complaint: Complaint::default(),
        })
    }

    /// Looks once. Nothing where `/proc` cannot be read.
    pub async fn look(&mut self) -> Option<Reading> {
        let now = read_moment(self.before);
        let due = self.searched.is_none_or(|at| now.awake.saturating_sub(at) >= SEARCH);
        if due {
            self.searched = Some(now.awake);
        }
        let groups = self.hierarchy.find(due);
        let mut kills = self.ask(&groups, due).await;
        for (id, counted) in std::mem::take(&mut self.counted) {
            kills.entry(id).and_modify(|kills| *kills = kills.saturating_sub(counted));
        }
        kills.retain(|_, kills| *kills > 0);
        // Counters are read after questions were asked: answers may take their time.
        let moment = read_moment(self.before);
        let machine = self.machine.read(&mut self.source)?;
        let containers = self.read_all(&groups, &machine, moment);
        self.before = Some(moment);
        let gone = self.find_gone(&containers, &kills);
        self.remember(&containers, &kills, due);
        Some(Reading { moment, machine, containers, kills, gone })
    }

    /// What was last seen of containers that were killed and do not run.
    fn find_gone(
        &self,
        containers: &BTreeMap<String, ContainerReading>,
        kills: &BTreeMap<String, u32>,
    ) -> BTreeMap<String, ContainerReading> {
        let last = |id: &String| {
            // Where nobody looked while it ran, its name is all that is known.
            let last = self.last.get(id).cloned().unwrap_or_default();
            let name = self.roster.get(id).map(|known| known.name.clone()).or(last.name);
            Some((id.clone(), ContainerReading { name: Some(name?), ..last }))
        };
        kills.keys().filter(|id| !containers.contains_key(*id)).filter_map(last).collect()
    }

    fn remember(
        &mut self,
        containers: &BTreeMap<String, ContainerReading>,
        kills: &BTreeMap<String, u32>,
        due: bool,
    ) {
        if due {
            self.last.retain(|id, _| self.roster.get(id).is_some());
        }
        for (id, now) in containers {
            let then = self.last.insert(id.clone(), now.clone()).filter(|then| then.group == now.group);
            let counted = then.map_or(0, |then| now.oom_kills.saturating_sub(then.oom_kills));
            let told = kills.get(id).copied().unwrap_or(0);
            match u32::try_from(counted).unwrap_or(u32::MAX).saturating_sub(told) {
                0 => {}
                rest => drop(self.counted.insert(id.clone(), rest)),
            }
        }
    }

    /// Asks the engine what must be known; gives the kills since it last told of them. They are asked for at every look: a
    /// container that is started and killed again and again is seldom seen running, and an engine under load tells of a
    /// kill when the control group has been gone for a while. An engine that does not answer is asked again when all is
    /// searched.
    async fn ask(&mut self, groups: &BTreeMap<String, Group>, due: bool) -> BTreeMap<String, u32> {
        self.wall = wall();
        let (since, until) = (self.told, self.wall);
        if self.complaint.is_open() && !due {
            return BTreeMap::new();
        }
        let questions = async {
            if due || self.roster.is_behind(groups) {
                Self::introduce(&self.engine, &mut self.roster, groups).await?;
            }
            // The clock was set back: it starts anew.
            let kills =
                if since < until { self.engine.list_kills(since, until).await? } else { BTreeMap::new() };
            if kills.keys().any(|id| self.roster.get(id).is_none()) {
                self.roster.list(&self.engine.list().await?);
            }
            self.told = until;
            Ok::<_, EngineError>(kills)
        };
        let answer = tokio::time::timeout(TIME, questions).await;
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the Docker engine takes more than {} s to answer", TIME.as_secs())),
        };
        self.complaint.hear("containers that are not known yet are left out", answer).unwrap_or_default()
    }

    async fn introduce(
        engine: &Engine,
        roster: &mut Roster,
        groups: &BTreeMap<String, Group>,
    ) -> Result<(), EngineError> {
        roster.list(&engine.list().await?);
        for (id, group) in roster.uninspected(groups) {
            // It may be gone by now, which is no trouble; an engine that is gone is met at the next list.
            if let Ok(inspected) = engine.inspect(&id).await {
                roster.inspect(&id, group, &inspected);
            }
        }
        Ok(())
    }

    fn read_all(
        &mut self,
        groups: &BTreeMap<String, Group>,
        machine: &MachineReading,
        moment: Moment,
    ) -> BTreeMap<String, ContainerReading> {
        let mut containers = BTreeMap::new();
        for (id, group) in groups {
            let Some(mut container) = self.hierarchy.read(&mut self.source, group, counts(machine)) else {
                continue;
            };
            container.restarts = self.roster.take_restarts(id);
            container.name = self.roster.get(id).map(|known| known.name.clone());
            if let Some(known) = self.roster.get_current(id, group.inode) {
                self.machine.read_process(&mut self.source, (id, known), moment.boot, &mut container);
                let by_clock = || u64::try_from(self.wall.saturating_sub(known.started?)).ok();
                container.age = container.age.or_else(by_clock);
            }
            containers.insert(id.clone(), container);
        }
        containers
    }
}
