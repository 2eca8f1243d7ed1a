//! What happens on merge, from the workflow that `bowline init --github` writes to containers on a far host: real git,
//! a real shallow checkout, a real engine behind real SSH; GitHub's API and Slack are small servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bowline_testkit::host::Host;
use bowline_testkit::image::program;
use bowline_testkit::repository::{Origin, Repository};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::runner::{Job, Runner};
use crate::slack::{TOKEN, Workspace};
use crate::stage::succeed;
use crate::workflow::{runner, yaml};

/// A title by somebody who would rather write our outputs, our commands and our chat.
const HOSTILE: &str = "[minor] Rooms $(touch OWNED) `touch OWNED` ::set-output name=tag::v9 ##[set-output name=tag;]v9 <!channel> \u{1b}[31m";

const COMPOSE: &str = "services:\n  user:\n    image: chat-user\n    ports: ['8081:8080']\n  rooms:\n    image: chat-rooms\n    ports: ['8082:8080']\n";

/// Number and title of merged pull requests, by merge commit.
type Pulls = Arc<Mutex<BTreeMap<String, (u32, String)>>>;

/// A team's repository, its far host, and all that its merges reach.
struct Team {
    scratch: TempDir,
    origin: Origin,
    clone: Repository,
    host: Host,
    slack: Workspace,
    pulls: Pulls,
    addresses: (String, String),
    _servers: tokio::runtime::Runtime,
}

/// As docs.github.com/rest/commits says: the pull requests that brought a commit.
async fn pulls(State(known): State<Pulls>, uri: Uri) -> Response {
    let parts: Vec<&str> = uri.path().split('/').collect();
    let ["", "repos", "team", "chat", "commits", commit, "pulls"] = parts.as_slice() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let pull = |(number, title): &(u32, String)| json!({ "number": number, "title": title, "merged_at": "2026-11-22T10:00:00Z", "user": { "login": "ada", "type": "User" } });
    let found: Vec<Value> = known.lock().unwrap().get(*commit).map(pull).into_iter().collect();
    Value::from(found).to_string().into_response()
}

impl Team {
    fn new() -> Option<Self> {
        let program = program()?;
        let host = Host::start("merge")?;
        let scratch = TempDir::with_prefix_in("bowline-merge-", "/tmp").unwrap();
        std::fs::create_dir(scratch.path().join("chat")).unwrap();
        let origin = Origin::new();
        let clone = origin.clone_full();
        for name in ["user", "rooms"] {
            std::fs::create_dir(clone.path().join(name)).unwrap();
            std::fs::copy(program, clone.path().join(name).join("program")).unwrap();
            service(&clone, name, "one", "");
        }
        clone.write("compose.yaml", COMPOSE).write("bowline.toml", configuration(&host, scratch.path()));

        let runtime = tokio::runtime::Runtime::new().unwrap();
        let slack = Workspace::default();
        let known = Pulls::default();
        let addresses = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let github = format!("http://{}", listener.local_addr().unwrap());
            let router = Router::new().fallback(pulls).with_state(Arc::clone(&known));
            tokio::spawn(async move { axum::serve(listener, router).await });
            (github, slack.start().await)
        });
        Some(Self { scratch, origin, clone, host, slack, pulls: known, addresses, _servers: runtime })
    }

    /// Merges a pull request as GitHub's button does, and runs the workflow that the push starts.
    fn merge(&self, number: u32, title: &str, change: impl FnOnce(&Repository)) -> Job {
        let commit = self.clone.merge_pull(number, title, change);
        self.clone.push();
        self.pulls.lock().unwrap().insert(commit, (number, title.to_owned()));
        self.run()
    }

    /// Runs the workflow of the newest commit, on a runner whose home stays.
    fn run(&self) -> Job {
        let file = self.clone.git(["show", "HEAD:.github/workflows/ship.yml"]);
        self.runner().run(&yaml(&file))
    }

    fn runner(&self) -> Runner {
        let binary = Path::new(env!("CARGO_BIN_EXE_bowline"));
        let mut runner = runner(self.scratch.path(), &self.origin, &self.clone.head(), binary);
        let (key, hosts) = keys(&self.host);
        runner.contexts["secrets"] = json!({ "BOWLINE_SSH_KEY": key, "SLACK_BOT_TOKEN": TOKEN });
        runner.contexts["vars"] = json!({ "BOWLINE_KNOWN_HOSTS": hosts });
        runner.contexts["github"]["api_url"] = json!(self.addresses.0);
        runner.environment.push(("SLACK_API_URL".into(), format!("{}/api/", self.addresses.1)));
        runner
    }

    /// What a service answers, and the container that answers.
    fn service(&self, name: &str, port: u16) -> (String, String) {
        let address = format!("http://{}:{port}/version", self.host.address());
        let answer = succeed(Command::new("curl").args(["-sS", "--max-time", "10", &address]));
        let filter = format!("label=com.docker.compose.service={name}");
        let container = self.host.docker(["ps", "--quiet", "--no-trunc", "--filter", &filter]);
        assert_eq!(container.lines().count(), 1, "{name}: {container}");
        (answer.trim().to_owned(), container)
    }

    /// The messages that were posted and not updated, and the last text of the newest one.
    fn told(&self) -> (usize, String) {
        let calls = self.slack.calls();
        let posted = calls.iter().filter(|call| call.path == "/api/chat.postMessage").count();
        (posted, calls.last().unwrap().body["text"].as_str().unwrap().to_owned())
    }
}

/// One service: the test program, a version that it answers, and what else its Dockerfile says.
fn service(clone: &Repository, name: &str, version: &str, more: &str) {
    clone.write(&format!("{name}/version"), version).write(
        &format!("{name}/Dockerfile"),
        format!(
            "FROM scratch\nCOPY program /program\nCOPY version /version\n{more}\
             HEALTHCHECK --interval=1s --timeout=2s --retries=2 CMD [\"/program\", \"health\"]\nENTRYPOINT [\"/program\"]\n"
        ),
    );
}

fn configuration(host: &Host, scratch: &Path) -> String {
    let mut text = String::from("[project]\nname = \"chat\"\n");
    for name in ["user", "rooms"] {
        text += &format!(
            "\n[services.{name}]\ninputs = [\"{name}/**\"]\ncontext = \"{name}\"\ndockerfile = \"{name}/Dockerfile\"\nimages = [\"chat-{name}\"]\n"
        );
    }
    text + &format!(
        "\n[targets.box]\ncompose = \"compose.yaml\"\nhost = \"ssh://root@{}\"\ndirectory = \"{}/chat\"\nproject = \"chat\"\n\n\
         [notify]\nslack = {{ token = \"env:SLACK_BOT_TOKEN\", channel = \"#ship\" }}\n",
        host.address(),
        scratch.display()
    )
}

/// The private key that opens the host, and the host's own keys, as they are stored in a repository's settings.
fn keys(host: &Host) -> (String, String) {
    let config = std::fs::read_to_string(host.ssh_config()).unwrap();
    let file = |key: &str| {
        let line = config.lines().find_map(|line| line.trim().strip_prefix(key)).expect(key);
        std::fs::read_to_string(line.trim().trim_matches('"')).unwrap()
    };
    (file("IdentityFile "), file("UserKnownHostsFile "))
}

fn changed(job: &Job) -> Value {
    serde_json::from_str(job.outputs["ship"]["changed"].as_str().unwrap()).unwrap()
}

#[test]
fn a_merge_ships_to_a_far_host_and_says_so_everywhere() {
    let Some(team) = Team::new() else { return };
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.arg("-C").arg(team.clone.path()).args(["init", "--github"]).envs(team.clone.environment());
    succeed(&mut command);
    team.clone.commit("[minor] the first version");
    team.clone.push();

    // The first release: everything is new.
    let first = team.run();
    assert!(first.succeeded, "{}", first.log);
    let tag = first.outputs["ship"]["tag"].as_str().unwrap().to_owned();
    assert_eq!(first.outputs["ship"]["version"], tag.trim_start_matches('v'));
    assert_eq!((changed(&first), &first.outputs["ship"]["ok"]), (json!(["rooms", "user"]), &json!("true")));
    assert_eq!((team.service("user", 8081).0, team.service("rooms", 8082).0), ("one".into(), "one".into()));
    assert!(first.summary.starts_with(&format!("### ✅ {tag} on box\n")), "{}", first.summary);
    assert!(first.summary.contains("| rollout |"), "{}", first.summary);
    assert!(team.told().1.contains(&format!("`{tag}` runs on *box*")), "{:?}", team.told());

    // A merge with a hostile title: one service is replaced, the title is read and does nothing.
    let rooms = team.service("rooms", 8082);
    let second = team.merge(7, HOSTILE, |clone| service(clone, "user", "two", ""));
    assert!(second.succeeded, "{}", second.log);
    let second_tag = second.outputs["ship"]["tag"].as_str().unwrap().to_owned();
    assert!(tag.starts_with("v0.1.0-") && second_tag.starts_with("v0.2.0-"), "{tag}, {second_tag}");
    assert_eq!(changed(&second), json!(["user"]));
    assert_eq!(team.service("user", 8081).0, "two");
    assert_eq!(team.service("rooms", 8082), rooms);
    assert!(second.commands.is_empty(), "{:?}", second.commands);
    for text in [&second.log, &second.summary, &team.told().1] {
        assert!(!text.contains('\u{1b}') && !text.contains("<!channel>"), "{text}");
    }
    assert!(!team.scratch.path().join("workspace/OWNED").exists());

    // The same run again: the same tag, nothing built, nothing replaced.
    let user = team.service("user", 8081);
    let again = team.run();
    assert!(again.succeeded, "{}", again.log);
    assert_eq!(again.outputs["ship"]["tag"], Value::from(second_tag.as_str()));
    assert_eq!((team.service("user", 8081), team.service("rooms", 8082)), (user.clone(), rooms.clone()));

    // A merge that breaks a service: the run fails, says why everywhere, and what ran before runs.
    let broken = team.merge(8, "Rooms die", |clone| service(clone, "rooms", "three", "ENV EXIT_AFTER=0.2\n"));
    assert_eq!((broken.succeeded, broken.code), (false, Some(1)), "{}", broken.log);
    assert_eq!(broken.outputs["ship"]["ok"], "false");
    assert!(broken.outputs["ship"]["tag"].as_str().unwrap().starts_with('v'), "{:?}", broken.outputs);
    assert!(broken.summary.contains("### ❌") && broken.summary.contains("exit code"), "{}", broken.summary);
    assert!(broken.summary.contains("| rooms | yes | put back |"), "{}", broken.summary);
    assert!(team.told().1.starts_with(":x: *chat*"), "{:?}", team.told());
    assert_eq!((team.service("user", 8081), team.service("rooms", 8082).0), (user, rooms.0));

    // One message for each run, and nothing of the keys is left.
    assert_eq!(team.told().0, 4);
    assert!(!first.log.contains("PRIVATE KEY") && !first.log.contains(TOKEN));
    let tags = team.origin.tags();
    assert_eq!(tags.iter().filter(|(name, _)| name.starts_with('v')).count(), 3, "{tags:?}");
}
