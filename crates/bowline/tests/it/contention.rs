//! Several runs at once: on different commits, on the same one, and on the same target.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bowline_testkit::proxy::{Endpoint, FaultProxy};
use bowline_testkit::registry;
use bowline_testkit::repository::{Origin, Repository};
use serde_json::Value;
use tempfile::TempDir;

use crate::scene::{Place, Ran, Running, Scene, finish, spawn};

/// Bowline in a clone, with a state of its own as on a machine of its own.
fn start(clone: &Repository, state: &Path, arguments: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.args(arguments).current_dir(clone.path()).stdin(Stdio::null()).env("NO_COLOR", "1");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("GIT") || name.starts_with("BOWLINE") {
            command.env_remove(&*name);
        }
    }
    command.envs(clone.environment());
    command.env("BOWLINE_STATE", state.join("state")).env("BOWLINE_CACHE", state.join("cache"));
    spawn(command)
}

fn write_project(clone: &Repository, repository: &str, build: &str) {
    let mut text = format!("[project]\nname = \"tiny\"\n[registry]\nrepository = \"{repository}\"\n{build}");
    for service in ["web", "users"] {
        text += &format!(
            "[services.{service}]\ncontext = \".\"\ndockerfile = \"{service}/Dockerfile\"\nimages = [\"tiny-{service}\"]\n"
        );
        clone.write(
            &format!("{service}/Dockerfile"),
            format!("FROM scratch\nCOPY {service}/content /content\n"),
        );
        clone.write(&format!("{service}/content"), "1");
    }
    clone.write("bowline.toml", text);
}

/// What a registry answers to a GET.
fn get(url: &str, accept: &str) -> Value {
    let output =
        Command::new("curl").args(["-sf", "-H", &format!("Accept: {accept}"), url]).output().unwrap();
    assert!(output.status.success(), "{url}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// All tags of the repository, each with its manifest's digest.
fn digests(repository: &str) -> BTreeMap<String, String> {
    let (registry, name) = repository.split_once('/').unwrap();
    let listed = get(&format!("http://{registry}/v2/{name}/tags/list?n=1000"), "application/json");
    let tags = listed["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned());
    tags.map(|tag| {
        let url = format!("http://{registry}/v2/{name}/manifests/{tag}");
        let accept = format!("Accept: {MANIFEST}");
        let output = Command::new("curl").args(["-sfI", "-H", &accept, &url]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap().to_lowercase();
        let digest = text.lines().find_map(|line| line.strip_prefix("docker-content-digest:")).unwrap();
        (tag, digest.trim().to_owned())
    })
    .collect()
}

/// The record of a release, as it is in the registry.
fn record(repository: &str, tag: &str) -> Value {
    let (registry, name) = repository.split_once('/').unwrap();
    let manifest = get(&format!("http://{registry}/v2/{name}/manifests/{tag}"), MANIFEST);
    let layers = manifest["layers"].as_array().unwrap();
    let layer = layers
        .iter()
        .find(|layer| layer["annotations"]["org.opencontainers.image.title"] == "record.json")
        .unwrap_or(&layers[0]);
    get(&format!("http://{registry}/v2/{name}/blobs/{}", layer["digest"].as_str().unwrap()), "*/*")
}

/// Every bare tag is a record whose images are what the service tags name.
fn records_fit_images(repository: &str) -> BTreeSet<String> {
    let digests = digests(repository);
    let bare: BTreeSet<String> = digests.keys().filter(|tag| !tag.contains('_')).cloned().collect();
    for tag in &bare {
        let record = record(repository, tag);
        for (service, image) in record["images"].as_object().unwrap() {
            let named = &digests[image["tag"].as_str().unwrap()];
            assert!(image.to_string().contains(named.as_str()), "{tag} {service}: {named} {image}");
        }
    }
    bare
}

#[test]
fn fifty_releases_at_once_are_unique_rise_and_lose_no_token() {
    let Some(registry) = registry::start_docker_registry() else { return };
    let repository = registry.repository("tiny");
    let origin = Origin::new();
    let first = origin.clone_full();
    write_project(&first, &repository, "");
    first.commit("[major] the beginning");
    first.push();
    let states = TempDir::with_prefix("bowline-fifty-").unwrap();
    assert_eq!(finish(start(&first, &states.path().join("first"), &["release"])).code, Some(0));
    let mut clones = Vec::new();
    for number in 0..50 {
        let title = match number {
            17 => "[major] changes everything".to_owned(),
            n if n % 7 == 3 => format!("[minor] feature {n}"),
            n => format!("[patch] fix {n}"),
        };
        first.squash_pull(number, &title, |clone| {
            clone.write("web/content", number.to_string());
        });
        first.push();
        clones.push((origin.clone_full(), first.head()));
    }
    let begin = Instant::now();
    let runs: Vec<Running> = clones
        .iter()
        .enumerate()
        .map(|(number, (clone, _))| {
            start(clone, &states.path().join(number.to_string()), &["--json", "release"])
        })
        .collect();
    let ended: Vec<Ran> = runs.into_iter().map(finish).collect();
    let took = begin.elapsed();
    for ran in &ended {
        assert_eq!(ran.code, Some(0), "{ran}");
    }
    let made: BTreeMap<String, String> =
        origin.tags().into_iter().map(|(tag, commit)| (commit, tag)).collect();
    assert_eq!(made.len(), origin.tags().len(), "two tags of one commit");
    let mut last = (1, 0, 0);
    for (number, (_, commit)) in clones.iter().enumerate() {
        let said_superseded = ended[number].err.contains("contains this commit already");
        assert_eq!(said_superseded, !made.contains_key(commit), "{}", ended[number]);
        let Some(tag) = made.get(commit) else { continue };
        let core = tag.trim_start_matches('v').split('-').next().unwrap();
        let parts: Vec<u32> = core.split('.').map(|part| part.parse().unwrap()).collect();
        let version = (parts[0], parts[1], parts[2]);
        assert!(version > last, "{tag} after {last:?}");
        last = version;
        assert_eq!(version.0, if number < 17 { 1 } else { 2 }, "[major] was lost or counted twice: {tag}");
    }
    let newest = &clones.last().unwrap().1;
    assert!(made.contains_key(newest), "the newest commit is released");
    let records = records_fit_images(&repository);
    assert_eq!(records, made.values().cloned().collect());
    eprintln!("{} tags, {} superseded, {took:.1?}", made.len() - 1, 51 - made.len());
}

#[test]
fn ten_releases_of_one_commit_make_one_record_that_fits_its_images() {
    let Some(registry) = registry::start_docker_registry() else { return };
    let repository = registry.repository("tiny");
    let origin = Origin::new();
    let first = origin.clone_full();
    // Different bytes each time.
    let build = "[build]\ncommand = \"date +%N > web/content; echo $$ > users/content\"\nshell = true\n";
    write_project(&first, &repository, build);
    first.commit("[minor] the only one");
    first.push();
    let states = TempDir::with_prefix("bowline-ten-").unwrap();
    let clones: Vec<Repository> = (0..10).map(|_| origin.clone_full()).collect();
    let runs: Vec<Running> = clones
        .iter()
        .enumerate()
        .map(|(number, clone)| start(clone, &states.path().join(number.to_string()), &["--json", "release"]))
        .collect();
    let ended: Vec<Ran> = runs.into_iter().map(finish).collect();
    let mut told = BTreeSet::new();
    for ran in &ended {
        assert_eq!(ran.code, Some(0), "{ran}");
        let summary = ran.summary();
        told.insert(format!("{} {}", summary["tag"], summary["services"]));
    }
    assert_eq!(origin.tags().len(), 1);
    let records = records_fit_images(&repository);
    assert_eq!(records.len(), 1);
    let digests: BTreeSet<String> = told
        .iter()
        .map(|text| text.split("\"digest\":").skip(1).map(|rest| rest[..75].to_owned()).collect())
        .collect();
    assert_eq!(digests.len(), 1, "runs told different images: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_ends_after_the_release_is_complete_writes_nothing() {
    let Some(registry) = registry::start_docker_registry() else { return };
    let proxy = FaultProxy::http(registry.address()).await;
    let origin = Origin::new();
    let slow = origin.clone_full();
    let build = "[build]\ncommand = \"date +%N > web/content; touch begun; while [ -e wait ]; do sleep 0.1; done\"\n\
                 shell = true\n";
    write_project(&slow, &format!("{}/tiny", proxy.address()), build);
    slow.write(".gitignore", "/begun\n/wait\n");
    slow.commit("[minor] the only one");
    slow.push();
    let fast = origin.clone_full();
    let states = TempDir::with_prefix("bowline-late-").unwrap();
    slow.write("wait", "");
    let late = start(&slow, &states.path().join("late"), &["--json", "release"]);
    while !slow.path().join("begun").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let first = finish(start(&fast, &states.path().join("first"), &["--json", "release"])).exits(0);
    let seen = proxy.requests().len();
    std::fs::remove_file(slow.path().join("wait")).unwrap();
    let late = finish(late).exits(0);
    let changing =
        |request: &bowline_testkit::proxy::Request| !matches!(request.method.as_str(), "GET" | "HEAD");
    let written: Vec<_> = proxy.requests().into_iter().skip(seen).filter(changing).collect();
    assert!(written.is_empty(), "{written:?}");
    assert_eq!(late.summary()["services"], first.summary()["services"], "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_paused_beyond_its_lease_writes_nothing_more() {
    let Some(scene) = Scene::start("c-pause", Place::Local) else { return };
    scene.merge("[minor] the first");
    scene.run(&["ship", "box"]).exits(0);
    scene.service("web", "2", &["ENV LISTEN_AFTER=4", CHECK]);
    scene.service("users", "2", &[]);
    scene.merge("[patch] the second");
    scene.run(&["release"]).exits(0);

    // The first run reaches the engine through a proxy that writes down what it asks for.
    let socket = scene.scratch.path().join("engine.sock");
    let proxy =
        FaultProxy::http_on(Endpoint::Unix(socket.clone()), Endpoint::Unix(scene.host.docker_socket())).await;
    let mut command = scene.command(&["deploy", "box"]);
    command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    // `host.command` takes DOCKER_HOST away: given back behind it.
    let mut paused = spawn(behind(command, &socket));
    paused.wait_for("web starting");
    paused.signal("-STOP");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let next = scene.run(&["--json", "rollback", "box", "--wait", "90"]);
    assert_eq!(next.code, Some(0), "{next}");
    scene.runs("1", "1");
    let before = scene.containers();
    let seen = proxy.requests().len();
    paused.signal("-CONT");
    let woken = finish(paused);
    assert_eq!(woken.code, Some(3), "{woken}");
    let writes: Vec<String> = proxy.requests()[seen..]
        .iter()
        .filter(|request| request.method != "GET" && request.method != "HEAD")
        .map(|request| format!("{} {}", request.method, request.path))
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
    assert_eq!(scene.containers(), before);
    scene.is_at_rest();
}

const CHECK: &str = "HEALTHCHECK --interval=1s --timeout=2s --retries=2 CMD [\"/program\", \"health\"]";

/// A lab command whose program finds the engine behind another socket.
fn behind(command: Command, socket: &Path) -> Command {
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut outer = Command::new(command.get_program());
    // exec NAME PROGRAM …
    outer.args(&arguments[..2]).arg("env").arg(format!("DOCKER_HOST=unix://{}", socket.display()));
    outer.args(&arguments[2..]).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer.current_dir(command.get_current_dir().unwrap());
    outer
}

#[test]
fn runs_of_one_machine_share_its_registry() {
    for (place, hint) in [(Place::Local, "c-two-near"), (Place::Far, "c-two-far")] {
        let Some(scene) = Scene::start(hint, place) else { return };
        scene.merge("[minor] the first");
        let same: Vec<Running> = (0..3).map(|_| scene.spawn(&["ship", "box"])).collect();
        for ran in same.into_iter().map(finish) {
            assert_eq!(ran.code, Some(0), "{ran}");
        }
        scene.runs("1", "1");
        // The second one's registry is served by the first one, which ends before the second one pulls.
        let slow = scene.origin.clone_full();
        scene.service("web", "2", &["ENV LISTEN_AFTER=3", CHECK]);
        scene.merge("[patch] the second, slow");
        slow.pull();
        scene.service("web", "3", &[]);
        scene.merge("[patch] the third");
        let mut first = spawn(scene.command_in(slow.path(), &["ship", "box"]));
        first.wait_for("web starting");
        let second = scene.run(&["ship", "box", "--wait", "60"]);
        let first = finish(first);
        assert_eq!(first.code, Some(0), "{first}");
        assert_eq!(second.code, Some(0), "{second}\n{first}");
        scene.runs("3", "1");
        scene.is_at_rest();
        scene.plain_compose_agrees();
    }
}

/// What the registry that a run leads a host to answers there, to a look at it and to whatever would change it.
fn asked_on_the_host(scene: &Scene) -> Vec<String> {
    let listening = scene.host.command("ss").args(["-Hltn", "src", "127.0.0.1"]).output().unwrap();
    let listening = String::from_utf8(listening.stdout).unwrap();
    let addresses = listening.lines().map(|line| line.split_whitespace().nth(3).unwrap().to_owned());
    let ask = |address: &str, (method, path): (&str, &str)| {
        let url = format!("http://{address}/v2/tiny/{path}");
        let mut command = scene.host.command("curl");
        command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, &url]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let asked = [
        ("GET", "tags/list"),
        ("POST", "blobs/uploads/"),
        ("PUT", "manifests/latest"),
        ("DELETE", "manifests/latest"),
    ];
    addresses.map(|address| asked.map(|one| ask(&address, one)).join(" ")).collect()
}

/// Whoever is on the host reaches the registry as its engine does, also one that another process serves.
#[test]
fn a_far_host_reads_the_registry_of_this_machine_and_never_writes_to_it() {
    let Some(scene) = Scene::start("c-read", Place::Far) else { return };
    let ship = |version| {
        scene.service("web", version, &["ENV LISTEN_AFTER=3", CHECK]);
        scene.merge("[minor] another one");
        let mut running = scene.spawn(&["ship", "box"]);
        running.wait_for("web starting");
        let answers = asked_on_the_host(&scene);
        finish(running).exits(0);
        answers
    };
    let alone = ship("1");
    let mut other = scene.spawn(&["registry", "serve", "--listen", "127.0.0.1:0"]);
    other.wait_for("serving");
    let beside = ship("2");
    other.signal("-TERM");
    finish(other).exits(0);
    assert_eq!((alone, beside), (vec!["200 405 405 405".into()], vec!["200 405 405 405".into()]));
    scene.runs("2", "1");
}
