//! A host with a real engine and a real SSH server, by `lab/host`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::skip::{engines_are_unwanted, is_root, missing_program, skip};

/// How a host differs from an ordinary one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Size of the file system under the engine's data, such as `300M`; shared with the machine when absent.
    pub disk: Option<String>,
    /// Start SSH only.
    pub without_engine: bool,
}

/// A running host: a network namespace with its own address, `/run`, `/root`, `/home`, dockerd and sshd.
/// `/tmp` and the rest are the machine's. Dropping it takes it down and leaves nothing.
#[derive(Debug)]
pub struct Host {
    name: String,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    docker_host: String,
    ssh_config: PathBuf,
    state: PathBuf,
}

impl Host {
    /// Starts a host whose name begins with `hint` (small letters, digits, dashes). Takes about a second.
    ///
    /// `None`, and a loud line, where that is impossible: not root, or a program is missing. See
    /// [`crate::skip::skip`] for when this panics instead.
    pub fn start(hint: &str) -> Option<Self> {
        Self::start_with(hint, &Options::default())
    }

    /// As [`Host::start`], with options.
    pub fn start_with(hint: &str, options: &Options) -> Option<Self> {
        if engines_are_unwanted() {
            return skip("this run does without engines");
        }
        if !is_root() {
            return skip("a lab host needs root");
        }
        let needed = ["dockerd", "docker", "sshd", "ssh", "ssh-keygen", "ip", "nsenter", "unshare", "curl"];
        if let Some(program) = missing_program(&needed) {
            return skip(&format!("{program} is not installed (scripts/setup tools lab engine)"));
        }
        // What a killed test run left behind is taken away by the next one.
        static SWEEP: Once = Once::new();
        SWEEP.call_once(|| drop(lab(["sweep"])));

        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let owner = std::process::id().to_string();
        let name = format!("{hint}-{owner}-{count}");
        let mut arguments = vec!["up", &name, "--owner", &owner];
        if let Some(disk) = &options.disk {
            arguments.extend(["--disk", disk]);
        }
        if options.without_engine {
            arguments.push("--no-engine");
        }
        let printed = lab(&arguments);
        Some(Self::from_variables(name, &printed))
    }

    fn from_variables(name: String, printed: &str) -> Self {
        let variables: BTreeMap<_, _> = printed.lines().filter_map(|line| line.split_once('=')).collect();
        let value = |key: &str| *variables.get(key).unwrap_or_else(|| panic!("lab/host gave no {key}"));
        Self {
            address: value("ADDRESS").parse().expect("lab/host gives an IPv4 address"),
            gateway: value("GATEWAY").parse().expect("lab/host gives an IPv4 address"),
            docker_host: value("DOCKER_HOST").to_owned(),
            ssh_config: value("SSH_CONFIG").into(),
            state: value("STATE").into(),
            name,
        }
    }

    /// The host's name: its host name, and its alias in [`Host::ssh_config`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's address, reachable from this machine.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// This machine's address as the host sees it. The engine takes registries there without TLS.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// What `DOCKER_HOST` must be to reach the engine from this machine: `unix:///…/docker.sock`.
    pub fn docker_host(&self) -> &str {
        &self.docker_host
    }

    /// The engine's socket as a path on this machine.
    pub fn docker_socket(&self) -> PathBuf {
        self.state.join("docker.sock")
    }

    /// A file for `ssh -F FILE NAME`: root, key, known host; nothing of the user's own configuration.
    pub fn ssh_config(&self) -> &Path {
        &self.ssh_config
    }

    /// Writes a second file for `ssh -F`, by which the host is reached at `address`, where a proxy listens.
    pub fn ssh_config_through(&self, address: SocketAddr) -> PathBuf {
        let mut text = String::new();
        for line in std::fs::read_to_string(&self.ssh_config).expect("the SSH configuration is there").lines()
        {
            if line.trim_start().starts_with("HostName ") {
                text += &format!("  HostName {}\n  Port {}\n", address.ip(), address.port());
            } else {
                text += &format!("{line}\n");
            }
        }
        let path = self.state.join(format!("ssh/config-{}", address.port()));
        std::fs::write(&path, text).expect("the lab's directory can be written");
        path
    }

    /// A command on the host's network, whose engine is the host's at `/var/run/docker.sock`, on this machine's
    /// files. Killing the child kills the program itself, not a wrapper.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(script());
        command.arg("exec").arg(&self.name).arg(program);
        command
    }

    /// Runs the docker command line on the host's engine and gives what it printed, trimmed.
    ///
    /// # Panics
    /// When docker fails; see [`Host::try_docker`].
    pub fn docker<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let arguments: Vec<_> = arguments.into_iter().map(|each| each.as_ref().to_owned()).collect();
        finish(&format!("docker {arguments:?}"), self.try_docker(&arguments))
    }

    /// Runs the docker command line on the host's engine.
    pub fn try_docker<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        let mut command = Command::new("docker");
        command.args(["-H", &self.docker_host]).args(arguments);
        command.output().expect("docker can be started")
    }

    /// Runs a command line on the host by SSH and gives what it printed, trimmed.
    ///
    /// # Panics
    /// When it fails.
    pub fn ssh(&self, line: &str) -> String {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(&self.ssh_config).args([&self.name, line]);
        finish(line, command.output().expect("ssh can be started"))
    }

    /// Pulls the plug: every process of the host is gone at once. Data and address stay.
    pub fn kill(&self) {
        lab(["kill", &self.name]);
    }

    /// Starts the host again after [`Host::kill`].
    pub fn revive(&self) {
        lab(["start", &self.name]);
    }

    /// Takes the host's network down: packets vanish, connections stay half open.
    pub fn cut(&self) {
        lab(["cut", &self.name]);
    }

    /// Brings the network back after [`Host::cut`].
    pub fn heal(&self) {
        lab(["heal", &self.name]);
    }

    /// Stops the engine in order; its containers stop too.
    pub fn stop_engine(&self) {
        lab(["engine", &self.name, "stop"]);
    }

    /// Kills the engine; its containers run on.
    pub fn kill_engine(&self) {
        lab(["engine", &self.name, "kill"]);
    }

    /// Starts the engine again and waits until it answers.
    pub fn start_engine(&self) {
        lab(["engine", &self.name, "start"]);
    }

    /// What the engine has logged so far, for the message of a failing test.
    pub fn engine_log(&self) -> String {
        std::fs::read_to_string(self.state.join("log/engine")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A second panic while the first unwinds would abort the whole test run.
        if let Err(error) = Command::new(script()).args(["down", &self.name]).status()
            && !std::thread::panicking()
        {
            panic!("the lab host {} could not be taken down: {error}", self.name);
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab/host")
}

fn lab<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> String {
    let mut command = Command::new(script());
    command.args(arguments);
    let output = command.output().expect("lab/host can be started");
    finish(&format!("{command:?}"), output)
}

pub(crate) fn finish(what: &str, output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} failed ({}):\n{text}\n{error}", output.status);
    text
}
