//! A real registry to test against: Debian's `docker-registry`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::skip::{missing_program, skip};

/// A user whom a registry with a login knows.
pub const USER: &str = "user";
/// The password of [`USER`].
pub const PASSWORD: &str = "secret";
/// [`USER`] and the bcrypt hash of [`PASSWORD`], as `htpasswd -B` writes them.
const HTPASSWD: &str = "user:$2b$05$S1jP1N1QBAH4iacwn.tjaOlWtmbJS.fU5ELRogm2kDHVwLwEw4cs2\n";

/// A running registry without TLS; dropping it stops it and deletes what it stored.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

/// Starts a registry on a free port of the loopback; blobs and manifests can be deleted.
///
/// `None`, and a loud line, where `docker-registry` is not installed (see [`crate::skip::skip`]).
pub fn start_docker_registry() -> Option<Registry> {
    start_on(Ipv4Addr::LOCALHOST.into(), false)
}

/// As [`start_docker_registry`], with a login: [`USER`] and [`PASSWORD`].
pub fn start_docker_registry_with_login() -> Option<Registry> {
    start_on(Ipv4Addr::LOCALHOST.into(), true)
}

/// As [`start_docker_registry`], on another address of this machine: [`crate::host::Host::gateway`], so that hosts
/// reach it.
pub fn start_docker_registry_on(address: Ipv4Addr) -> Option<Registry> {
    start_on(address.into(), false)
}

fn start_on(ip: IpAddr, login: bool) -> Option<Registry> {
    if let Some(program) = missing_program(&["docker-registry"]) {
        return skip(&format!("{program} is not installed (scripts/setup registry)"));
    }
    // Between finding a free port and taking it somebody else may be faster.
    for _ in 0..5 {
        if let Some(registry) = try_start(ip, login) {
            return Some(registry);
        }
    }
    panic!("docker-registry does not come up on {ip}");
}

fn try_start(ip: IpAddr, login: bool) -> Option<Registry> {
    let directory = TempDir::with_prefix("bowline-registry-").expect("a temporary directory");
    let free = TcpListener::bind((ip, 0)).expect("a free port");
    let address = free.local_addr().expect("a bound socket has an address");
    drop(free);
    let log = fs::File::create(directory.path().join("log")).expect("the log can be made");
    fs::write(directory.path().join("htpasswd"), HTPASSWD).expect("the password file can be written");
    fs::write(directory.path().join("config.yml"), configuration(directory.path(), address, login))
        .expect("the configuration can be written");
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(directory.path().join("config.yml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log can be shared"))
        .stderr(log)
        .spawn()
        .expect("docker-registry can be started");
    let mut registry = Registry { child, address, directory };
    let deadline = Instant::now() + Duration::from_secs(15);
    while Instant::now() < deadline {
        if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
            return Some(registry);
        }
        if registry.child.try_wait().is_ok_and(|status| status.is_some()) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

fn configuration(directory: &Path, address: SocketAddr, login: bool) -> String {
    let directory = directory.display();
    let mut text = format!(
        "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {directory}/data\n  \
         delete:\n    enabled: true\nhttp:\n  addr: {address}\n"
    );
    if login {
        text += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {directory}/htpasswd\n");
    }
    text
}

impl Registry {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `HOST:PORT/path`, as an image reference begins.
    pub fn repository(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    /// What it has logged so far: a line for each request.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The directory under which it stores blobs and links.
    pub fn directory(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
