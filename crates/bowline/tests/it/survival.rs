//! `kill -9` at random moments of `ship`, and what the next command makes of it: all old or all new, and nothing left.

use std::collections::BTreeSet;
use std::time::Instant;

use bowline_compose::connection::{Address, Connection, Options};
use bowline_compose::document::Documents;
use bowline_compose::engine::Engine;
use bowline_compose::lease::{self, Status};

use crate::scene::{Place, QUICK, Scene, finish};

/// How many moments of one `ship` are tried.
const MOMENTS: u32 = 20;

/// xorshift64: the same moments for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn from_environment() -> Self {
        let given = std::env::var("BOWLINE_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let now = || crate::scene::now().to_bits();
        let seed: u64 = given.unwrap_or_else(now) | 1;
        eprintln!("BOWLINE_TEST_SEED={seed}");
        Self(seed)
    }

    /// From 0 to 1.
    pub(crate) fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn payload(&mut self, bytes: usize) -> Vec<u8> {
        (0..bytes / 8).flat_map(|_| (self.roll().to_bits() ^ self.0).to_le_bytes()).collect()
    }
}

/// Whether anybody may believe that the target is being changed.
fn lease_is_held(scene: &Scene) -> bool {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options =
            Options { docker_host: Some(scene.host.docker_host().to_owned()), ..Options::default() };
        let connection = Connection::open(&Address::Local, &options).await.unwrap();
        let engine = Engine::open(&connection).await.unwrap();
        let documents = Documents::new(&engine, "tiny").unwrap();
        matches!(lease::status(&documents).await.unwrap(), Status::Held { .. })
    })
}

/// Asserts that nothing is left of a run that ended in the middle.
#[track_caller]
fn is_whole(scene: &Scene, context: &str) {
    let containers = scene.containers();
    let names: Vec<&str> = containers.iter().map(|each| each.name.as_str()).collect();
    let expected = ["tiny-store-1", "tiny-users-1", "tiny-web-1"];
    assert_eq!(names, expected, "{context}: {containers:?}");
    let all = scene.host.docker(["ps", "--all", "--quiet"]);
    assert_eq!(all.lines().count(), 3, "{context}: {all}");
    let versions = scene.versions();
    assert_eq!(versions["web"], versions["users"], "{context}: {versions:?}");
    for container in containers.iter().filter(|container| container.service != "store") {
        let name = format!("tiny-{}:latest", container.service);
        let named = scene.host.docker(["image", "inspect", &name, "--format", "{{.Id}}"]);
        assert_eq!(named, container.image, "{context}: {name} is not what runs");
    }
    assert!(!lease_is_held(scene), "{context}: the lock is held");
    scene.is_at_rest();
    scene.plain_compose_agrees();
    let left: Vec<_> = std::fs::read_dir(scene.scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !["deployed", "state", "cache"].contains(&name.as_str()))
        .collect();
    assert!(left.is_empty(), "{context}: {left:?}");
}

fn write_version(scene: &Scene, dice: &mut Dice, number: u32) -> String {
    // Something to send takes its time too.
    scene.work.write("payload", dice.payload(1 << 20));
    let made = number.to_string();
    for service in ["web", "users"] {
        scene.service(service, &made, &["COPY payload /payload"]);
    }
    scene.merge(&format!("[patch] version {number}"))
}

fn kill_and_go_on(place: Place, hint: &str) {
    let Some(scene) = Scene::start(hint, place) else { return };
    let mut dice = Dice::from_environment();
    let build = "[build]\ncommand = [\"sleep\", \"0.3\"]\n";
    scene.configure(QUICK, build);
    write_version(&scene, &mut dice, 1);
    scene.run(&["ship", "box"]).exits(0);
    write_version(&scene, &mut dice, 2);
    let whole = scene.run(&["ship", "box"]).exits(0).took;
    let begin = Instant::now();
    for moment in 0..MOMENTS {
        let number = moment + 3;
        let commit = write_version(&scene, &mut dice, number);
        // Spread over the whole run, a little beyond its usual end too.
        let share = (f64::from(moment) + dice.roll()) / f64::from(MOMENTS);
        let pause = whole.mul_f64(share * 1.05);
        let mut running = scene.spawn(&["ship", "box"]);
        std::thread::sleep(pause);
        running.child.kill().unwrap();
        let killed = finish(running);
        let context = format!("killed after {pause:.2?} of {whole:.2?}: {killed}");
        let before = number - 1;
        if moment % 3 == 2 {
            // Back instead of on: to the version before, or the one before that where nothing had begun.
            let back = scene.run(&["rollback", "box"]);
            assert_eq!(back.code, Some(0), "{context}\n{back}");
            is_whole(&scene, &context);
            let runs: u32 = scene.versions()["web"].parse().unwrap();
            assert!(runs == before || runs == before - 1, "{runs} {context}\n{back}");
        }
        let next = scene.run(&["ship", "box"]);
        assert_eq!(next.code, Some(0), "{context}\n{next}");
        is_whole(&scene, &format!("{context}\n{next}"));
        let made = number.to_string();
        scene.runs(&made, &made);
        let tags: Vec<_> = scene.origin.tags().into_iter().filter(|(_, at)| *at == commit).collect();
        assert_eq!(tags.len(), 1, "{context}: {tags:?}");
    }
    eprintln!("{place:?}: {MOMENTS} moments of {whole:.1?} in {:.0?}", begin.elapsed());
    records_fit_tags(&scene);
}

/// Each git tag has one complete release, each service of it an image of its own under its tag.
fn records_fit_tags(scene: &Scene) {
    let mut serving = scene.spawn(&["--json", "registry", "serve", "--listen", "127.0.0.1:5127"]);
    serving.wait_for("address");
    let url = "http://127.0.0.1:5127/v2/tiny/tags/list?n=10000";
    let mut asking = match scene.place {
        Place::Local => scene.host.command("curl"),
        Place::Far => std::process::Command::new("curl"),
    };
    let output = asking.args(["-sf", url]).output().unwrap();
    serving.signal("-TERM");
    finish(serving);
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let listed: BTreeSet<&str> =
        listed["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
    let tags: Vec<String> = scene.origin.tags().into_iter().map(|(tag, _)| tag).collect();
    let expected: BTreeSet<String> =
        tags.iter().flat_map(|tag| [tag.clone(), format!("web_{tag}"), format!("users_{tag}")]).collect();
    assert_eq!(listed, expected.iter().map(String::as_str).collect());
}

/// A release that fails is on its way back when the run is killed: the next command ends what was begun.
#[test]
fn a_way_back_that_is_killed_is_finished_by_the_next_command() {
    let Some(scene) = Scene::start("v-back", Place::Local) else { return };
    let mut dice = Dice::from_environment();
    scene.merge("[minor] the first");
    scene.run(&["ship", "box"]).exits(0);
    scene.service("web", "2", &["ENV EXIT_AFTER=0"]);
    scene.service("users", "2", &[]);
    scene.merge("[patch] a broken one");
    for round in 0..6 {
        let mut running = scene.spawn(&["ship", "box"]);
        running.wait_for("web failed");
        std::thread::sleep(std::time::Duration::from_secs_f64(dice.roll() * 2.5));
        running.child.kill().unwrap();
        let killed = finish(running);
        // By hand, or by trying the same once more, which fails again.
        let (verb, code) = if round % 2 == 0 { ("rollback", 0) } else { ("ship", 1) };
        let next = scene.run(&[verb, "box"]);
        // Where the kill came after the end, there is no earlier release to go back to.
        let nothing = next.code == Some(2) && next.err.contains("no earlier release");
        assert!(nothing || next.code == Some(code), "{killed}\n{next}");
        scene.runs("1", "1");
        is_whole(&scene, &format!("{killed}\n{next}"));
    }
}

#[test]
fn a_ship_killed_at_any_moment_is_finished_or_undone_by_the_next_one() {
    kill_and_go_on(Place::Local, "v-near");
}

#[test]
fn a_ship_to_a_far_host_killed_at_any_moment_is_finished_or_undone_by_the_next_one() {
    kill_and_go_on(Place::Far, "v-far");
}
