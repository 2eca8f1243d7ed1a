//! The machine under the engine.

use std::time::Duration;

use bowline_core::compose::observed;
use bowline_core::compose::observed::port::{SOCKET_TABLES, TAKEN};
use bowline_core::image::Platform;
use jiff::Timestamp;

use crate::connection::Command;

use super::{Engine, EngineError, ORDINARY};

/// What the engine says about itself and its machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What planning needs.
    pub engine: observed::Engine,
    /// The host's name.
    pub name: String,
    /// Where the engine keeps its data.
    pub root: String,
    /// The storage driver, e.g. `overlay2`.
    pub driver: String,
    /// Whether images live in containerd: then an image's id is its manifest's digest, else its config's.
    pub containerd_store: bool,
    /// The engine's clock.
    pub time: Timestamp,
}

impl Engine {
    /// Looks at the machine: a question to the engine, then one to `df`.
    pub async fn machine(&self) -> Result<Machine, EngineError> {
        let mut machine = self.machine_without_disk().await?;
        machine.engine.disk_free = self.disk_free(&machine.root).await;
        Ok(machine)
    }

    /// The same without its disk: one question.
    pub async fn machine_without_disk(&self) -> Result<Machine, EngineError> {
        let what = "ask the engine what it is";
        let info = self.ask(what, ORDINARY, self.docker.info()).await?;
        let unexpected = |message: String| EngineError::Unexpected { what: what.into(), message };
        let time = info.system_time.ok_or_else(|| unexpected("it does not tell the time".into()))?;
        let time = time.parse().map_err(|_| unexpected(format!("its time is `{time}`")))?;
        let status = info.driver_status.unwrap_or_default();
        let containerd_store = status.iter().any(|pair| {
            matches!(pair.as_slice(), [key, value] if key == "driver-type" && value.starts_with("io.containerd."))
        });
        Ok(Machine {
            engine: observed::Engine {
                platform: info.architecture.as_deref().map(Platform::linux),
                memory: info.mem_total.and_then(|bytes| bytes.try_into().ok()).unwrap_or(0),
                cpus: info.ncpu.and_then(|count| count.try_into().ok()).unwrap_or(0),
                disk_free: None,
                version: info.server_version.unwrap_or_default(),
            },
            name: info.name.unwrap_or_default(),
            root: info.docker_root_dir.unwrap_or_else(|| "/var/lib/docker".into()),
            driver: info.driver.unwrap_or_default(),
            containerd_store,
            time,
        })
    }

    /// Free bytes, for this user, of the file system that holds a path; none where `df` cannot tell.
    pub async fn disk_free(&self, path: &str) -> Option<u64> {
        let command = Command::new("df").args(["-P", "-k", "--", path]).timeout(Duration::from_secs(20));
        let output = self.connection().run(command).await.ok()?;
        available(&output.text())
    }

    /// The lines of the kernel's tables of sockets that tell which ports of the host are taken, for
    /// [`read_sockets`](observed::port::read_sockets); nothing where they cannot be read. One question to `grep`, which fails
    /// when one of the tables is missing, and gives what is in the others all the same.
    pub async fn sockets(&self) -> String {
        let command = Command::new("grep").args(["-s", "-E", "--", TAKEN]).args(SOCKET_TABLES);
        let output = self.connection().run(command.timeout(Duration::from_secs(20))).await;
        output.map(|output| output.text()).unwrap_or_default()
    }
}

/// The fourth column of the last line of `df -P -k` (POSIX), in bytes.
fn available(text: &str) -> Option<u64> {
    // From the right, for names of devices may hold blanks: mount point, capacity, available.
    let mut columns = text.lines().last()?.split_whitespace().rev();
    let kibibytes: u64 = columns.nth(2)?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_is_read() {
        let text =
            "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root  1000 600 400  60% /\n";
        assert_eq!(available(text), Some(400 * 1024));
        assert_eq!(available("df: /x: No such file or directory"), None);
        assert_eq!(available(""), None);
    }
}
