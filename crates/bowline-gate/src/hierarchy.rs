//! Looks at the control groups of containers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};

use crate::kernel::cgroup::{
    container_id, parse_bytes, parse_cpu, parse_cpu_v1, parse_inactive_file, parse_io, parse_io_v1,
    parse_oom_kills, parse_throttled_v1,
};
use crate::kernel::disk::Device;
use crate::reading::ContainerReading;
use crate::source::Source;

/// Custom parents and `kubepods` lie three or four deep.
const DEPTH: usize = 6;

/// The control groups below one mount.
#[derive(Debug)]
pub struct Hierarchy {
    version: Version,
    /// Where containers were found the last time that everything was searched.
    parents: BTreeSet<PathBuf>,
}

/// Which interface the kernel offers.
#[derive(Debug)]
enum Version {
    /// One tree.
    Two(PathBuf),
    /// A tree for each controller. Groups are searched in that of memory.
    One { usage: PathBuf, cpu: PathBuf, memory: PathBuf, io: PathBuf },
}

/// A container's control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which one it is: a group that is made anew by the same name is another one.
    pub inode: u64,
    /// Below the mount, or below each controller.
    pub path: PathBuf,
}

/// Why control groups cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot look for containers: {} holds no control groups of version 1 or 2; is the host's /sys/fs/cgroup mounted there?",
    .0.display()
)]
pub struct HierarchyError(PathBuf);

impl Hierarchy {
    /// The hierarchy that is mounted at `root`.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(root: &Path) -> Result<Self, HierarchyError> {
        let version = if root.join("cgroup.controllers").exists() {
            Version::Two(root.to_owned())
        } else {
            let find = |names: &[&str]| names.iter().map(|name| root.join(name)).find(|path| path.is_dir());
            let usage = find(&["cpuacct", "cpu,cpuacct", "cpuacct,cpu"]);
            let memory = find(&["memory"]);
            let (Some(usage), Some(memory)) = (usage, memory) else {
                return Err(HierarchyError(root.to_owned()));
            };
            let cpu = find(&["cpu", "cpu,cpuacct", "cpuacct,cpu"]).unwrap_or_else(|| usage.clone());
            Version::One { usage, cpu, memory, io: root.join("blkio") }
        };
        Ok(Self { version, parents: BTreeSet::new() })
    }

    /// The groups of containers, by container id. `everywhere` searches all groups; else only where some were before.
    pub fn find(&mut self, everywhere: bool) -> BTreeMap<String, Group> {
        let root = match &self.version {
            Version::Two(root) => root.clone(),
            Version::One { memory, .. } => memory.clone(),
        };
        let mut found = BTreeMap::new();
        if everywhere {
            self.parents.clear();
            self.search(&root, Path::new(""), 0, &mut found);
        } else {
            for parent in &self.parents {
                collect(&root, parent, &mut found, None);
            }
        }
        found
    }

    fn search(&mut self, root: &Path, parent: &Path, depth: usize, found: &mut BTreeMap<String, Group>) {
        let mut below = Vec::new();
        let before = found.len();
        collect(root, parent, found, Some(&mut below));
        let empty_parent = parent.file_name().is_some_and(|name| name == "docker");
        if found.len() > before || empty_parent {
            self.parents.insert(parent.to_owned());
        }
        if depth < DEPTH {
            for child in below {
                self.search(root, &child, depth.saturating_add(1), found);
            }
        }
    }

    /// Looks at one group; nothing where it has gone.
    pub fn read(
        &self,
        source: &mut Source,
        group: &Group,
        counts: impl Fn(Device) -> bool,
    ) -> Option<ContainerReading> {
        let mut container = ContainerReading { group: group.inode, ..ContainerReading::default() };
        match &self.version {
            Version::Two(root) => read_two(source, &root.join(&group.path), counts, &mut container)?,
            Version::One { usage, cpu, memory, io } => {
                let [usage, cpu, memory, io] = [usage, cpu, memory, io].map(|root| root.join(&group.path));
                let io = io.join("blkio.throttle.io_service_bytes_recursive");
                container.cpu = parse_cpu_v1(source.text(&usage.join("cpuacct.usage"))?)?;
                container.throttled =
                    source.text(&cpu.join("cpu.stat")).and_then(parse_throttled_v1).unwrap_or(0);
                container.io = source.text(&io).map(|text| parse_io_v1(text, counts)).unwrap_or_default();
                read_memory_one(source, &memory, &mut container)?;
            }
        }
        Some(container)
    }
}

fn read_two(
    source: &mut Source,
    path: &Path,
    counts: impl Fn(Device) -> bool,
    container: &mut ContainerReading,
) -> Option<()> {
    let bytes = |source: &mut Source, name: &str| source.text(&path.join(name)).and_then(parse_bytes);
    let current = bytes(source, "memory.current").unwrap_or(0);
    container.memory_peak = bytes(source, "memory.peak").unwrap_or(0);
    container.memory_limit = bytes(source, "memory.max").unwrap_or(0);
    let inactive = source.text(&path.join("memory.stat")).and_then(parse_inactive_file).unwrap_or(0);
    container.memory = current.saturating_sub(inactive);
    container.oom_kills = source.text(&path.join("memory.events")).and_then(parse_oom_kills).unwrap_or(0);
    container.io = source.text(&path.join("io.stat")).map(|text| parse_io(text, counts)).unwrap_or_default();
    (container.cpu, container.throttled) = parse_cpu(source.text(&path.join("cpu.stat"))?)?;
    Some(())
}

fn read_memory_one(source: &mut Source, path: &Path, container: &mut ContainerReading) -> Option<()> {
    let bytes = |source: &mut Source, name: &str| source.text(&path.join(name)).and_then(parse_bytes);
    let current = bytes(source, "memory.usage_in_bytes")?;
    container.memory_peak = bytes(source, "memory.max_usage_in_bytes").unwrap_or(0);
    container.memory_limit = bytes(source, "memory.limit_in_bytes").unwrap_or(0);
    let inactive = source.text(&path.join("memory.stat")).and_then(parse_inactive_file)?;
    container.memory = current.saturating_sub(inactive);
    container.oom_kills =
        source.text(&path.join("memory.oom_control")).and_then(parse_oom_kills).unwrap_or(0);
    Some(())
}

/// The containers directly below one group, and the other groups there. What runs inside a container is the container's.
fn collect(
    root: &Path,
    parent: &Path,
    found: &mut BTreeMap<String, Group>,
    mut below: Option<&mut Vec<PathBuf>>,
) {
    let Ok(entries) = fs::read_dir(root.join(parent)) else { return };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name();
        let path = parent.join(&name);
        match name.to_str().and_then(container_id) {
            Some(id) => {
                found.insert(id.to_owned(), Group { inode: entry.ino(), path });
            }
            None => {
                if let Some(below) = &mut below {
                    below.push(path);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_measurement::interval::Flow;

    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn ids(found: &BTreeMap<String, Group>) -> Vec<&str> {
        found.keys().map(|id| id.get(..1).unwrap()).collect()
    }

    #[test]
    fn version_two_is_read_whatever_the_parents() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| id.repeat(64));
        let scope = format!("system.slice/docker-{a}.scope");
        let file = |name: &str| format!("{scope}/{name}");
        write(
            folder.path(),
            &[
                ("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n"),
                (&file("cpu.stat"), "usage_usec 8416732\nnr_throttled 318\nthrottled_usec 15882207\n"),
                (&file("memory.current"), "312344576\n"),
                (&file("memory.peak"), "401000000\n"),
                (&file("memory.max"), "536870912\n"),
                (&file("memory.stat"), "anon 214540288\ninactive_file 51818496\nactive_file 39448576\n"),
                (&file("memory.events"), "low 0\nhigh 0\nmax 4242\noom 3\noom_kill 2\n"),
                (
                    &file("io.stat"),
                    "259:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n253:0 rbytes=9 wbytes=9\n",
                ),
                (&format!("docker/{b}/cpu.stat"), "usage_usec 1\n"),
                (&format!("docker/{b}/docker/{c}/cpu.stat"), "usage_usec 1\n"),
                (
                    &format!(
                        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-{d}.scope/cpu.stat"
                    ),
                    "usage_usec 1\n",
                ),
                ("init.scope/cpu.stat", "usage_usec 1\n"),
            ],
        );
        let mut hierarchy = Hierarchy::open(folder.path()).unwrap();
        let found = hierarchy.find(true);
        assert_eq!(ids(&found), ["a", "b", "d"], "what runs inside a container is its own");
        assert_eq!(hierarchy.find(false), found);
        let reading =
            hierarchy.read(&mut Source::default(), &found[&a], |device| device == (259, 0)).unwrap();
        let expected = ContainerReading {
            group: found[&a].inode,
            cpu: 8_416_732,
            throttled: 15_882_207,
            memory: 260_526_080,
            memory_peak: 401_000_000,
            memory_limit: 536_870_912,
            oom_kills: 2,
            io: Flow { inward: 10, outward: 20 },
            ..ContainerReading::default()
        };
        assert_eq!(reading, expected);
        fs::remove_dir_all(folder.path().join(&scope)).unwrap();
        assert_eq!(hierarchy.read(&mut Source::default(), &found[&a], |_| true), None);
        assert_eq!(ids(&hierarchy.find(false)), ["b", "d"]);
    }

    #[test]
    fn version_one_is_read_from_all_its_trees() {
        let folder = tempfile::tempdir().unwrap();
        let id = "e".repeat(64);
        let file = |controller: &str, name: &str| format!("{controller}/docker/{id}/{name}");
        write(
            folder.path(),
            &[
                ("unified/cgroup.controllers", ""),
                (&file("cpu,cpuacct", "cpuacct.usage"), "8416732999\n"),
                (
                    &file("cpu,cpuacct", "cpu.stat"),
                    "nr_periods 10\nnr_throttled 3\nthrottled_time 250000123\n",
                ),
                (&file("memory", "memory.usage_in_bytes"), "1000000\n"),
                (&file("memory", "memory.max_usage_in_bytes"), "2000000\n"),
                (&file("memory", "memory.limit_in_bytes"), "9223372036854771712\n"),
                (&file("memory", "memory.stat"), "inactive_file 1\ntotal_inactive_file 400000\n"),
                (&file("memory", "memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
                (
                    &file("blkio", "blkio.throttle.io_service_bytes_recursive"),
                    "8:0 Read 5\n8:0 Write 6\nTotal 11\n",
                ),
            ],
        );
        let mut hierarchy = Hierarchy::open(folder.path()).unwrap();
        let found = hierarchy.find(true);
        let reading = hierarchy.read(&mut Source::default(), &found[&id], |_| true).unwrap();
        let expected = ContainerReading {
            group: found[&id].inode,
            cpu: 8_416_732,
            throttled: 250_000,
            memory: 600_000,
            memory_peak: 2_000_000,
            memory_limit: 0,
            oom_kills: 1,
            io: Flow { inward: 5, outward: 6 },
            ..ContainerReading::default()
        };
        assert_eq!(reading, expected);
    }

    #[test]
    fn without_control_groups_it_says_where_it_looked() {
        let folder = tempfile::tempdir().unwrap();
        let error = Hierarchy::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()) && error.contains("mounted"), "{error}");
    }
}
