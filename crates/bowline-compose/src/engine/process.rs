//! What a container runs, and what it was given.

use std::collections::BTreeMap;

use bollard::query_parameters::{InspectContainerOptions, TopOptionsBuilder};

use super::{Engine, EngineError, ORDINARY, short};

/// What a container runs and was given. Its environment and its command may hold secrets.
#[derive(Clone, Default)]
pub struct Program {
    /// Its main process's command line.
    pub command: Vec<String>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// How many threads all its processes have; none where the host's `ps` does not tell.
    pub threads: Option<u32>,
    /// Its memory limit in bytes; none where it has none.
    pub memory: Option<u64>,
    /// Its processor limit in thousandths of a core; none where it has none.
    pub cpu: Option<u64>,
}

impl Engine {
    /// What a container runs and was given.
    ///
    /// # Errors
    /// When it is gone, or the engine does not answer.
    pub async fn program(&self, id: &str) -> Result<Program, EngineError> {
        let what = format!("look into container {}", short(id));
        let inspection = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        // Columns are asked for by name: those of `ps` differ between systems.
        let options = TopOptionsBuilder::new().ps_args("-eo pid,nlwp,args").build();
        let (found, processes) = tokio::join!(
            self.ask(&what, ORDINARY, inspection),
            self.ask(&what, ORDINARY, self.docker.top_processes(id, Some(options))),
        );
        let found = found?;
        let rows = processes.ok().and_then(|processes| processes.processes).unwrap_or_default();
        let config = found.config.unwrap_or_default();
        let limits = found.host_config.unwrap_or_default();
        let positive =
            |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).filter(|n| *n > 0);
        let variable =
            |pair: &String| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let configured = || found.path.into_iter().chain(found.args.into_iter().flatten()).collect();
        Ok(Program {
            command: main_command(&rows).unwrap_or_else(configured),
            environment: config.env.unwrap_or_default().iter().filter_map(variable).collect(),
            threads: threads(&rows),
            memory: positive(limits.memory),
            cpu: positive(limits.nano_cpus).map(|billionths| billionths / 1_000_000),
        })
    }
}

/// The command that does the work: where a script started it, the virtual machine rather than the script.
fn main_command(rows: &[Vec<String>]) -> Option<Vec<String>> {
    let commands = || rows.iter().filter_map(|row| row.get(2));
    let is_java = |command: &&String| {
        command.split_whitespace().next().is_some_and(|first| first.rsplit('/').next() == Some("java"))
    };
    let main = commands().find(is_java).or_else(|| commands().next())?;
    Some(main.split_whitespace().map(str::to_owned).collect())
}

fn threads(rows: &[Vec<String>]) -> Option<u32> {
    let counts: Vec<u32> = rows.iter().filter_map(|row| row.get(1)?.trim().parse().ok()).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_machine_behind_a_script_is_found() {
        let row = |count: &str, command: &str| ["7", count, command].map(str::to_owned).to_vec();
        let rows = [row("1", "sh /run.sh"), row("41", "/opt/java/bin/java -Xmx64m  -jar a.jar")];
        assert_eq!(main_command(&rows).unwrap(), ["/opt/java/bin/java", "-Xmx64m", "-jar", "a.jar"]);
        assert_eq!(threads(&rows), Some(42));
        assert_eq!(
            (main_command(&rows[..1]).unwrap().len(), main_command(&[]), threads(&[])),
            (2, None, None)
        );
    }
}
