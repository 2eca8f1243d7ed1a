//! Who has a lease.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A process that has, or had, the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The name of its machine.
    pub host: String,
    /// The user's name there.
    pub user: String,
    /// Its process id.
    pub pid: u32,
    /// Which start of that machine: `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// Which process namespace: process ids mean nothing in another container.
    pub namespace: String,
    /// When it was started, in ticks since that machine's start: a process id may be used again.
    pub started: u64,
    /// Its run.
    pub run: String,
    /// What it does: `deploy`, `rollback`, ….
    pub verb: String,
}

impl Holder {
    /// This process.
    pub fn this_process(run: &str, verb: &str) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let pid = std::process::id();
        let user = ["USER", "LOGNAME", "GITHUB_ACTOR"].iter().find_map(|name| std::env::var(name).ok());
        Self {
            host: read("/proc/sys/kernel/hostname"),
            user: user.unwrap_or_else(|| rustix::process::geteuid().as_raw().to_string()),
            pid,
            boot: read("/proc/sys/kernel/random/boot_id"),
            namespace: namespace(),
            started: started(pid).unwrap_or(0),
            run: run.into(),
            verb: verb.into(),
        }
    }

    /// Whether it surely is no more: a process of this very start of this machine, whose id is free or somebody else's.
    pub fn is_dead(&self) -> bool {
        let here = Self::this_process("", "");
        !here.boot.is_empty()
            && !here.namespace.is_empty()
            && self.boot == here.boot
            && self.namespace == here.namespace
            && started(self.pid) != Some(self.started)
            && std::path::Path::new("/proc/self/stat").exists()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What another machine wrote is not to be trusted on a terminal.
        let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(80).collect::<String>();
        let (user, host, verb, run) =
            (clean(&self.user), clean(&self.host), clean(&self.verb), clean(&self.run));
        write!(f, "{user}@{host} (bowline {verb}, process {}, run {run})", self.pid)
    }
}

fn namespace() -> String {
    std::fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default()
}

/// When a process was started (proc(5), stat, field 22). A zombie has ended: nobody is there.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the program's name, may hold blanks and brackets.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_dead_only_when_that_is_sure() {
        let holder = Holder::this_process("r", "deploy");
        assert!(holder.started > 0);
        assert!(!holder.is_dead());
        assert!(Holder { started: holder.started + 1, ..holder.clone() }.is_dead());
        assert!(!Holder { started: 1, boot: "another".into(), ..holder.clone() }.is_dead());
        assert!(!Holder { started: 1, namespace: "another".into(), ..holder }.is_dead());
    }
}
