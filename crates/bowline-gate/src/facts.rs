//! What this machine is, kept beside the rows.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use bowline_measurement::facts::Facts;

use crate::reading::MachineReading;

const NAME: &str = "facts.json";

/// The facts that are kept in a store; nothing where there are none, or they cannot be understood.
pub fn read_facts(store: &Path) -> Option<Facts> {
    serde_json::from_slice(&fs::read(store.join(NAME)).ok()?).ok()
}

/// Keeps the facts in a store. Whoever reads meanwhile finds the old ones or the new ones.
///
/// # Errors
/// When they cannot be written.
pub fn write_facts(store: &Path, facts: &Facts) -> io::Result<()> {
    let draft = store.join("facts.tmp");
    let mut file = fs::File::create(&draft)?;
    file.write_all(&serde_json::to_vec(facts)?)?;
    file.sync_all()?;
    fs::rename(draft, store.join(NAME))
}

/// What can be known without asking anybody.
pub fn describe(machine: &MachineReading, every: u64, host: Option<String>) -> Facts {
    let system = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Facts {
        host: host.unwrap_or_else(|| text(system.nodename())),
        cores: machine.cores,
        memory: machine.memory,
        instance: None,
        kernel: text(system.release()),
        architecture: text(system.machine()),
        every,
    }
}
