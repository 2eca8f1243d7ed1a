//! A small project on a real host: an origin, a clone, three services that are built in no time, and Bowline run on it
//! as people run it, beside the engine or from afar.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bowline_testkit::host::{Host, Options};
use bowline_testkit::image;
use bowline_testkit::repository::{Origin, Repository};
use serde_json::Value;
use tempfile::TempDir;

/// Where Bowline runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Beside the engine.
    Local,
    /// On another machine, over SSH.
    Far,
}

/// The project, its host and its repository.
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) origin: Origin,
    pub(crate) work: Repository,
    pub(crate) place: Place,
    /// `directory` of the target, on the host and on this machine alike.
    pub(crate) directory: PathBuf,
    /// Reaches the host instead of its own SSH configuration: the way through a proxy.
    pub(crate) ssh_config: Option<PathBuf>,
    /// Further variables for Bowline.
    pub(crate) variables: RefCell<BTreeMap<String, String>>,
    pub(crate) scratch: TempDir,
}

/// The words of a text, wherever lines were broken and columns begin.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl Ran {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Asserts that it says this, in so many words, wherever lines were broken.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(flat(&self.err).contains(&flat(words)), "does not say `{words}`: {self}");
        self
    }

    /// The last line of its output, as JSON.
    pub(crate) fn summary(&self) -> Value {
        serde_json::from_str(self.out.lines().last().unwrap()).unwrap()
    }

    /// The events it printed.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?} after {:.1?}\n{}\n{}", self.code, self.took, self.out, self.err)
    }
}

/// One container of the project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) name: String,
    /// The label `made` of its image.
    pub(crate) made: String,
    pub(crate) image: String,
    pub(crate) state: String,
    pub(crate) started: String,
    pub(crate) restarts: u64,
}

const SERVICES: [&str; 2] = ["web", "users"];

/// What the project's file says of the target besides what [`Scene::configure`] writes always.
pub(crate) const QUICK: &str = "start = \"12s\"\nsettle = \"1s\"\nrestarts = 3\n";

pub(crate) const COMPOSE: &str = "services:
  web:
    image: tiny-web
    restart: always
    depends_on: [users]
    stop_grace_period: 1s
  users:
    image: tiny-users
    restart: always
    stop_grace_period: 1s
  store:
    image: stranger:1
    restart: always
    stop_grace_period: 1s
";

impl Scene {
    /// Starts a host and writes version 1 of the project; nothing is pushed or deployed yet.
    pub(crate) fn start(hint: &str, place: Place) -> Option<Self> {
        Self::start_with(hint, place, &Options::default())
    }

    pub(crate) fn start_with(hint: &str, place: Place, options: &Options) -> Option<Self> {
        let host = Host::start_with(hint, options)?;
        image::scratch("stranger:1").make(host.docker_host())?;
        let origin = Origin::new();
        let work = origin.clone_full();
        let scratch = tempfile::Builder::new().prefix("bowline-scene-").tempdir_in("/tmp").unwrap();
        let directory = scratch.path().join("deployed");
        let scene = Self {
            host,
            origin,
            work,
            place,
            directory,
            ssh_config: None,
            variables: RefCell::default(),
            scratch,
        };
        fs::copy(image::program()?, scene.work.path().join("program")).unwrap();
        scene.configure(QUICK, "");
        scene.work.write("compose.yaml", COMPOSE);
        for service in SERVICES {
            scene.service(service, "1", &[]);
        }
        Some(scene)
    }

    /// Writes bowline.toml: `target` goes into the target's table, `more` to the end.
    pub(crate) fn configure(&self, target: &str, more: &str) {
        self.work.write("bowline.toml", self.configuration(&SERVICES, target, more));
    }

    /// A bowline.toml for these services.
    pub(crate) fn configuration(&self, services: &[&str], target: &str, more: &str) -> String {
        let mut text = "[project]\nname = \"tiny\"\n".to_owned();
        for service in services {
            text += &format!(
                "[services.{service}]\ninputs = [\"{service}/**\"]\ncontext = \".\"\n\
                 dockerfile = \"{service}/Dockerfile\"\nimages = [\"tiny-{service}\"]\n"
            );
        }
        let directory = self.directory.display();
        text += &format!(
            "[targets.box]\ncompose = \"compose.yaml\"\nproject = \"tiny\"\ndirectory = \"{directory}\"\n"
        );
        if self.place == Place::Far {
            text += &format!("host = \"ssh://{}\"\n", self.host.name());
        }
        text + target + more
    }

    /// Writes a service's Dockerfile: the test program, what it was made as, and further lines.
    pub(crate) fn service(&self, name: &str, made: &str, lines: &[&str]) {
        let mut text = format!(
            "FROM scratch\nCOPY program /program\nLABEL made=\"{made}\"\nENV NAME={name} VERSION={made}\n\
             ENTRYPOINT [\"/program\"]\n"
        );
        for line in lines {
            text += &format!("{line}\n");
        }
        self.work.write(&format!("{name}/Dockerfile"), text);
    }

    /// Merges what lies there as a pull request of this title. Gives the commit.
    pub(crate) fn merge(&self, title: &str) -> String {
        let commit = self.work.squash_pull(1, title, |_| ());
        self.work.push();
        commit
    }

    /// Bowline with these arguments, in the clone.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_in(self.work.path(), arguments)
    }

    /// Bowline with these arguments, in another directory.
    pub(crate) fn command_in(&self, directory: &Path, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_bowline");
        let mut command = match self.place {
            Place::Local => self.host.command(program),
            Place::Far => Command::new(program),
        };
        command.args(arguments).current_dir(directory);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("GIT") || name.starts_with("DOCKER_") || name.starts_with("BOWLINE") {
                command.env_remove(&*name);
            }
        }
        command.envs(self.work.environment());
        command.env("BOWLINE_STATE", self.scratch.path().join("state"));
        command.env("BOWLINE_CACHE", self.scratch.path().join("cache"));
        command.env("NO_COLOR", "1");
        if self.place == Place::Far {
            let config = self.ssh_config.as_deref().unwrap_or(self.host.ssh_config());
            command.env("BOWLINE_SSH_CONFIG", config);
        }
        command.envs(self.variables.borrow().iter());
        command.stdin(Stdio::null());
        command
    }

    /// Runs Bowline to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.spawn(arguments))
    }

    /// Starts Bowline; what it prints is kept for [`finish`].
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        spawn(self.command(arguments))
    }

    /// All containers of the compose project, by service and id.
    pub(crate) fn containers(&self) -> Vec<Container> {
        containers(&self.host, "tiny")
    }

    /// The containers of one service.
    pub(crate) fn containers_of(&self, service: &str) -> Vec<Container> {
        self.containers().into_iter().filter(|container| container.service == service).collect()
    }

    /// What each service runs: the label `made`, and whether it is up.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        self.containers()
            .into_iter()
            .map(|container| {
                let up = if container.state == "running" { "" } else { " (not running)" };
                (container.service, container.made + up)
            })
            .collect()
    }

    /// When containers of a service died, in seconds since 1970, as the engine remembers it.
    pub(crate) fn deaths(&self, service: &str) -> Vec<f64> {
        let label = format!("label=com.docker.compose.service={service}");
        let filters = ["--filter", "event=die", "--filter", &label, "--format", "{{.TimeNano}}"];
        let until = now().to_string();
        let arguments = ["events", "--since", "1h", "--until", &until];
        let lines = self.host.docker(arguments.iter().chain(&filters));
        lines.lines().map(|line| line.parse::<f64>().unwrap() / 1e9).collect()
    }

    /// Asserts what `web` and `users` run.
    #[track_caller]
    pub(crate) fn runs(&self, web: &str, users: &str) {
        let versions = self.versions();
        assert_eq!((versions["web"].as_str(), versions["users"].as_str()), (web, users), "{versions:?}");
    }

    /// What Bowline keeps on the host, as `kind` of each document.
    pub(crate) fn documents(&self) -> Vec<String> {
        let format = "{{.Name}} {{.Labels}}";
        let all = self.host.docker(["volume", "ls", "--format", format]);
        all.lines().map(str::to_owned).collect()
    }

    /// Asserts that no run left a page in the journal; why one turned back stays as history.
    #[track_caller]
    pub(crate) fn is_at_rest(&self) {
        let is_intent = |line: &String| {
            let name = line.split(' ').next().unwrap_or_default();
            name.contains(".journal.") && !name.ends_with(".back")
        };
        let journal: Vec<_> = self.documents().into_iter().filter(is_intent).collect();
        assert!(journal.is_empty(), "{journal:?}");
    }

    /// `docker compose up -d --no-build` in the project's directory finds nothing to do.
    #[track_caller]
    pub(crate) fn plain_compose_agrees(&self) {
        let before = self.containers();
        let mut command = self.host.command("docker");
        command.current_dir(&self.directory).args(["compose", "-p", "tiny", "-f", "compose.yaml"]);
        if self.directory.join("bowline.override.yaml").exists() {
            command.args(["-f", "bowline.override.yaml"]);
        }
        let output = command.args(["up", "-d", "--no-build"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(self.containers(), before, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// All containers of a compose project, by service and id.
pub(crate) fn containers(host: &Host, project: &str) -> Vec<Container> {
    let filter = format!("label=com.docker.compose.project={project}");
    let ids = host.docker(["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
    if ids.is_empty() {
        return Vec::new();
    }
    let output = host.try_docker(std::iter::once("inspect").chain(ids.lines()));
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut containers: Vec<_> = found
        .iter()
        .map(|each| {
            let labels = &each["Config"]["Labels"];
            Container {
                id: text(&each["Id"]),
                service: text(&labels["com.docker.compose.service"]),
                name: text(&each["Name"]).trim_start_matches('/').to_owned(),
                made: text(&labels["made"]),
                image: text(&each["Image"]),
                state: text(&each["State"]["Status"]),
                started: text(&each["State"]["StartedAt"]),
                restarts: each["RestartCount"].as_u64().unwrap_or_default(),
            }
        })
        .collect();
    containers.sort_by(|a, b| (&a.service, &a.id).cmp(&(&b.service, &b.id)));
    containers
}

/// A run under way.
pub(crate) struct Running {
    pub(crate) child: Child,
    out: PathBuf,
    err: PathBuf,
    _folder: TempDir,
    begin: Instant,
}

/// Starts a command whose output is kept.
pub(crate) fn spawn(mut command: Command) -> Running {
    let folder = TempDir::with_prefix("bowline-run-").unwrap();
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    Running { child: command.spawn().unwrap(), out, err, _folder: folder, begin: Instant::now() }
}

impl Running {
    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default() + &fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// Waits until it has said this.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !flat(&self.said()).contains(words) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "no `{words}`: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends it a signal such as `-INT`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

/// Waits for a run's end.
pub(crate) fn finish(mut running: Running) -> Ran {
    let status = running.child.wait().unwrap();
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    Ran {
        code: status.code(),
        out: read(&running.out),
        err: read(&running.err),
        took: running.begin.elapsed(),
    }
}
