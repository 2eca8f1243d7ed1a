//! Which containers are known, and what of them.

use std::collections::BTreeMap;

use crate::engine::{Inspected, Listed};
use crate::hierarchy::Group;

/// What the engine told of containers. It is asked seldom: what it said stays true for a control group.
#[derive(Debug, Default)]
pub struct Roster {
    known: BTreeMap<String, Known>,
    /// Groups that the engine knows nothing of: another one's, such as the kubelet's. By container id.
    foreign: BTreeMap<String, u64>,
}

/// What is known of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// What it is called.
    pub name: String,
    /// Its first process, as the host numbers it.
    pub process: u32,
    /// When that was started, in milliseconds since 1970; nothing where the engine did not say.
    pub started: Option<i64>,
    /// Whether it has a network of its own.
    pub own_network: bool,
    /// How often it was started anew since that was last asked.
    pub restarts: u32,
    /// The group that was inspected, if one was.
    group: Option<u64>,
    /// The engine's count of restarts then.
    count: u32,
}

impl Roster {
    /// Whether there are groups of which nothing is known yet, and not in vain.
    pub fn is_behind(&self, groups: &BTreeMap<String, Group>) -> bool {
        groups.iter().any(|(id, group)| {
            self.foreign.get(id) != Some(&group.inode)
                && self.get(id).is_none_or(|known| known.group != Some(group.inode))
        })
    }

    /// Takes in the engine's list: names, those that are new, those that are gone.
    pub fn list(&mut self, listed: &[Listed]) {
        let mut known = BTreeMap::new();
        for one in listed {
            let before = self.known.remove(&one.id).unwrap_or_default();
            let name = name(one);
            known.insert(one.id.clone(), Known { name, ..before });
        }
        self.known = known;
        self.foreign.clear();
    }

    /// Which of them must be inspected. Groups that the engine did not list are another one's from now on.
    pub fn uninspected(&mut self, groups: &BTreeMap<String, Group>) -> Vec<(String, u64)> {
        let mut due = Vec::new();
        for (id, group) in groups {
            match self.known.get(id) {
                Some(known) if known.group == Some(group.inode) => {}
                Some(_) => due.push((id.clone(), group.inode)),
                None => drop(self.foreign.insert(id.clone(), group.inode)),
            }
        }
        due
    }

    /// Takes in what the engine tells of the container whose group this is.
    pub fn inspect(&mut self, id: &str, group: u64, inspected: &Inspected) {
        // A group is there a moment before its first process is: what the engine says of the start before is not true of
        // this one, and it is asked again.
        let Some(known) = self.known.get_mut(id).filter(|_| inspected.state.pid != 0) else { return };
        if known.group.is_some() {
            // The engine counts what its policy did; `docker restart` makes another group and counts nothing.
            let counted = inspected.restart_count.saturating_sub(known.count).max(1);
            known.restarts = known.restarts.saturating_add(counted);
        }
        let network = &inspected.host_config.network_mode;
        known.group = Some(group);
        known.count = inspected.restart_count;
        known.process = inspected.state.pid;
        let started = inspected.state.started_at.parse::<jiff::Timestamp>();
        known.started = started.ok().map(jiff::Timestamp::as_millisecond).filter(|at| *at > 0);
        known.own_network = network != "host" && network != "none" && !network.starts_with("container:");
    }

    /// What is known of a container.
    pub fn get(&self, id: &str) -> Option<&Known> {
        self.known.get(id)
    }

    /// What is known of a container whose group this is. A group that is another one than was inspected has another
    /// first process.
    pub fn get_current(&self, id: &str, group: u64) -> Option<&Known> {
        self.get(id).filter(|known| known.group == Some(group))
    }

    /// How often a container was started anew since this was asked before.
    pub fn take_restarts(&mut self, id: &str) -> u32 {
        self.known.get_mut(id).map_or(0, |known| std::mem::take(&mut known.restarts))
    }
}

/// What a container is called: as part of its Compose project, of its pod, or by the name that it was given.
///
/// What `docker compose run` started bears the labels of a service, number included, and is none of its containers: a
/// migration of an hour would count as the service's own work. It goes by its own name, which has no slash, so that nobody
/// takes it for part of a project. Compose writes `True` there (its `pkg/api/labels.go`), as Python's version did.
fn name(listed: &Listed) -> String {
    let label = |key: &str| listed.labels.as_ref()?.get(key).filter(|value| !value.is_empty());
    let join = |keys: [&str; 3]| {
        let [a, b, c] = keys.map(label);
        Some(format!("{}/{}/{}", a?, b?, c?))
    };
    let compose =
        ["com.docker.compose.project", "com.docker.compose.service", "com.docker.compose.container-number"];
    let pod = ["io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name"];
    // A link is a name below another container's.
    let own = || {
        let names = listed.names.iter().flatten().filter_map(|name| name.strip_prefix('/'));
        names.filter(|name| !name.contains('/')).map(str::to_owned).next()
    };
    let passing = label("com.docker.compose.oneoff").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let compose = (!passing).then(|| join(compose)).flatten();
    compose.or_else(|| join(pod)).or_else(own).unwrap_or_else(|| listed.id.clone())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::engine::{HostConfig, State};

    fn listed(id: &str, names: &[&str], labels: &[(&str, &str)]) -> Listed {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Listed { id: id.into(), names: Some(names), labels: Some(labels) }
    }

    fn groups(groups: &[(&str, u64)]) -> BTreeMap<String, Group> {
        let group = |inode| Group { inode, path: PathBuf::new() };
        groups.iter().map(|(id, inode)| ((*id).to_owned(), group(*inode))).collect()
    }

    fn inspected(restart_count: u32, pid: u32) -> Inspected {
        let started_at = "2026-11-25T13:09:01.5Z".into();
        let host_config = HostConfig { network_mode: "bridge".into() };
        Inspected { restart_count, state: State { pid, started_at }, host_config }
    }

    #[test]
    fn names_are_those_that_people_know() {
        let compose = [
            ("com.docker.compose.project", "chat"),
            ("com.docker.compose.service", "user"),
            ("com.docker.compose.container-number", "1"),
        ];
        let pod = [
            ("io.kubernetes.pod.namespace", "shop"),
            ("io.kubernetes.pod.name", "user-0"),
            ("io.kubernetes.container.name", "main"),
        ];
        let run = |oneoff| [&compose[..], &[("com.docker.compose.oneoff", oneoff)]].concat();
        for (one, expected) in [
            (listed("a", &["/chat-user-1"], &compose), "chat/user/1"),
            (listed("a", &["/chat-user-1"], &run("False")), "chat/user/1"),
            (listed("a", &["/chat-user-run-1f2e3d"], &run("True")), "chat-user-run-1f2e3d"),
            (listed("a", &["/chat"], &run("true")), "chat"),
            (listed("a", &["/k8s_main"], &pod), "shop/user-0/main"),
            (listed("a", &["/other/link", "/registry"], &compose[..2]), "registry"),
            (Listed { id: "a".into(), ..Listed::default() }, "a"),
        ] {
            assert_eq!(name(&one), expected);
        }
    }

    #[test]
    fn the_engine_is_asked_about_a_group_once() {
        let mut roster = Roster::default();
        let there = groups(&[("a", 1), ("pod", 2)]);
        assert!(roster.is_behind(&there));
        roster.list(&[listed("a", &["/x"], &[])]);
        assert_eq!(roster.uninspected(&there), [("a".to_owned(), 1)]);
        roster.inspect("a", 1, &inspected(0, 42));
        assert!(!roster.is_behind(&there), "what another runtime started is not asked about again");
        assert_eq!(
            roster.get_current("a", 1).map(|known| (known.process, known.own_network)),
            Some((42, true))
        );
        assert_eq!(roster.get_current("a", 1).and_then(|known| known.started), Some(1_795_612_141_500));
        assert_eq!(roster.get_current("a", 9), None);
        roster.list(&[listed("a", &["/y"], &[])]);
        assert_eq!(roster.get_current("a", 1).map(|known| known.name.as_str()), Some("y"), "renamed");
        roster.list(&[]);
        assert_eq!(roster.get("a"), None);
    }

    #[test]
    fn restarts_are_counted_while_nobody_looked_and_once() {
        let mut roster = Roster::default();
        roster.list(&[listed("a", &["/x"], &[])]);
        roster.inspect("a", 1, &inspected(7, 42));
        assert_eq!(roster.take_restarts("a"), 0, "what was before sampling began is not counted");
        roster.inspect("a", 2, &inspected(10, 0));
        assert!(roster.is_behind(&groups(&[("a", 2)])), "it is not quite there");
        roster.inspect("a", 2, &inspected(10, 43));
        assert_eq!(roster.take_restarts("a"), 3);
        roster.inspect("a", 3, &inspected(10, 44));
        assert_eq!((roster.take_restarts("a"), roster.take_restarts("a")), (1, 0));
        // By hand: the engine's count begins again.
        roster.inspect("a", 4, &inspected(0, 45));
        assert_eq!(roster.take_restarts("a"), 1);
    }
}
