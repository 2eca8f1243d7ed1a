//! Which process this is, and whether another one of this machine still lives.

use bowline_core::lease::Holder;

/// This process, as the holder of a lease.
pub fn this_process(run: &str, verb: &str) -> Holder {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let pid = std::process::id();
    let user = ["USER", "LOGNAME", "GITHUB_ACTOR"].iter().find_map(|name| std::env::var(name).ok());
    Holder {
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

/// Whether a holder surely is no more: a process of this very start of this machine, whose id is free or somebody
/// else's.
pub fn is_dead(holder: &Holder) -> bool {
    std::path::Path::new("/proc/self/stat").exists()
        && holder.is_gone(&this_process("", ""), started(holder.pid))
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
    fn this_process_lives_and_one_started_at_another_time_does_not() {
        let holder = this_process("r", "deploy");
        assert!(holder.started > 0);
        assert!(!is_dead(&holder));
        assert!(is_dead(&Holder { started: holder.started + 1, ..holder.clone() }));
        assert!(!is_dead(&Holder { boot: "another".into(), ..holder }));
    }
}
