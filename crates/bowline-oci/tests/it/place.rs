//! Real things to test against, each on its own port and in its own directory.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bowline_oci::credential::Credentials;
use bowline_oci::registry::{Client, Options};

/// Says loudly that a test did not run.
pub(crate) fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Debian's `docker-registry`, which is CNCF distribution 2.8.
pub(crate) struct Registry {
    child: Child,
    pub(crate) host: String,
    _home: tempfile::TempDir,
}

impl Registry {
    /// Starts one; `None`, loudly, where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("config.yml");
        let root = home.path().join("data");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
                root.display()
            ),
        )
        .unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            skip("docker-registry is not installed");
            return None;
        };
        let registry = Self { child, host: format!("127.0.0.1:{port}"), _home: home };
        let start = Instant::now();
        while std::net::TcpStream::connect(&registry.host).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "docker-registry did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client without logins that loses its patience soon.
pub(crate) fn client() -> Client {
    Client::new(options()).unwrap()
}

pub(crate) fn options() -> Options {
    Options {
        credentials: Credentials::none(),
        idle: Duration::from_secs(5),
        patience: Duration::from_secs(10),
        ..Options::default()
    }
}

/// What a command printed; panics with all of it where it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {out}{err}");
    out.into_owned()
}

/// Whether a program is there.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        skip(&format!("{program} is not installed"));
    }
    found.is_ok()
}

/// Writes a file and the directories above it.
pub(crate) fn write(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
