//! A compose project that somebody runs on a lab host, and a repository whose targets are that host, near and far.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use bowline_compose::connection::{Address, Connection, Options};
use bowline_compose::document::Documents;
use bowline_compose::engine::Engine;
use bowline_testkit::host::Host;
use bowline_testkit::image;
use bowline_testkit::repository::{Origin, Repository};
use serde_json::Value;
use tempfile::TempDir;

/// The host, the repository and the project's directory on the host.
pub(crate) struct Stage {
    pub(crate) host: Host,
    pub(crate) repository: Repository,
    _origin: Origin,
    directory: TempDir,
}

/// The target that is reached as this machine's engine, and the one that is reached by SSH: the same host.
pub(crate) const TARGETS: [&str; 2] = ["near", "far"];

impl Stage {
    /// Starts a host, with `compose.yaml` in the project's directory there and in the repository. In the configuration,
    /// `TARGETS` stands for the lines that lead to the host's project. The repository holds what the image of a service
    /// `web` is made from. `None` where hosts cannot be had.
    pub(crate) fn new(hint: &str, toml: &str, compose: &str) -> Option<Self> {
        let host = Host::start(hint)?;
        image::scratch("web:1").healthcheck().make(host.docker_host())?;
        let origin = Origin::new();
        let directory = TempDir::with_prefix_in("bowline-verbs-", "/tmp").unwrap();
        let stage = Self { host, repository: origin.clone_full(), _origin: origin, directory };
        std::fs::create_dir(stage.project()).unwrap();
        stage.repository.write("bowline.toml", toml.replace("TARGETS", &stage.targets()));
        stage.repository.write("compose.yaml", compose);
        image::scratch("").write_context(&stage.repository.path().join("web"))?;
        std::fs::write(stage.project().join("compose.yaml"), compose).unwrap();
        Some(stage)
    }

    fn targets(&self) -> String {
        let place = format!("project = \"shop\"\ndirectory = \"{}\"\n", self.project().display());
        format!(
            "[targets.near]\ncompose = \"compose.yaml\"\n{place}\n[targets.far]\ncompose = \"compose.yaml\"\nhost = \"ssh://{}\"\n{place}",
            self.host.name()
        )
    }

    /// The project's directory on the host, which is this machine's too.
    pub(crate) fn project(&self) -> PathBuf {
        self.directory.path().join("shop")
    }

    /// Changes the service `web` and merges that, so that the next release has something new.
    pub(crate) fn change(&self, version: &str) {
        let web = self.repository.path().join("web");
        let dockerfile =
            "FROM scratch\nCOPY program /program\nCOPY version /version\nENTRYPOINT [\"/program\"]\n";
        std::fs::write(web.join("Dockerfile"), dockerfile).unwrap();
        std::fs::write(web.join("version"), version).unwrap();
        self.repository.commit(&format!("[patch] {version}"));
        self.repository.push();
    }

    /// `docker compose` in the project's directory, as whoever runs the host would type it.
    pub(crate) fn compose(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host.docker_host()).current_dir(self.project());
        succeed(command.arg("compose").args(arguments))
    }

    /// The binary, in the repository.
    pub(crate) fn bowline(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The binary, ready to be run in the repository.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
        command.env("DOCKER_HOST", self.host.docker_host()).env("BOWLINE_SSH_CONFIG", self.host.ssh_config());
        command.env("BOWLINE_STATE", self.directory.path().join("state"));
        command.env("BOWLINE_CACHE", self.directory.path().join("cache")).envs(self.repository.environment());
        command.arg("-C").arg(self.repository.path()).args(arguments);
        command
    }

    /// Runs the binary with `--json` and gives what it printed last.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = succeed(self.command(arguments).arg("--json"));
        serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap()
    }

    /// What Bowline keeps on the host, without Bowline's commands.
    pub(crate) async fn documents(&self) -> Documents {
        let options = Options { docker_host: Some(self.host.docker_host().into()), ..Options::default() };
        let connection = Connection::open(&Address::Local, &options).await.unwrap();
        Documents::new(&Engine::open(&connection).await.unwrap(), "shop").unwrap()
    }

    /// Fails where a container is not as it was, and says in what.
    pub(crate) fn assert_untouched(&self, before: &BTreeMap<String, Value>) {
        let after = self.inspected();
        assert!(before.keys().eq(after.keys()), "other containers: {:?} {:?}", before.keys(), after.keys());
        for (id, before) in before {
            let changed =
                before.as_object().unwrap().iter().filter(|(key, value)| after[id][*key] != **value);
            let changed: Vec<_> =
                changed.map(|(key, value)| format!("{key}: {value} {}", after[id][key])).collect();
            assert!(changed.is_empty(), "{} changed: {changed:?}", before["Name"]);
        }
    }

    /// Everything that the engine says of its containers, without what changes while nobody does anything.
    pub(crate) fn inspected(&self) -> BTreeMap<String, Value> {
        let ids = self.host.docker(["ps", "--all", "--quiet", "--no-trunc"]);
        let mut found = BTreeMap::new();
        for id in ids.lines() {
            let mut all: Value = serde_json::from_str(&self.host.docker(["inspect", id])).unwrap();
            let mut one = all[0].take();
            // Each run of the health check is written down, and is a process of its own for a moment.
            one["ExecIDs"] = Value::Null;
            // The engine tells them in any order.
            one["Mounts"].as_array_mut().unwrap().sort_by_key(Value::to_string);
            if let Some(health) = one["State"].get_mut("Health") {
                *health = health["Status"].clone();
            }
            found.insert(id.to_owned(), one);
        }
        found
    }
}

/// Runs a command that has to succeed, and gives what it printed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed ({}):\n{text}\n{error}", output.status);
    text
}

/// Both outputs as text.
pub(crate) fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
