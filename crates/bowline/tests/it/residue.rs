//! What a release brings besides images, and what is left of it when it goes.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::stage::{Stage, said};

const TOML: &str = "[project]\nname = \"shop\"\n\n[services.web]\ncontext = \"web\"\nimages = [\"shop-web\"]\n\nTARGETS\nsettle = \"1s\"\nstart = \"20s\"\nrestarts = 0\n";
const WEB: &str = "services:\n  web: {image: shop-web, volumes: ['./conf:/conf']}\n";

fn services(stage: &Stage) -> Vec<String> {
    let label = "{{.Label \"com.docker.compose.service\"}}";
    let mut names: Vec<String> =
        stage.host.docker(["ps", "--all", "--format", label]).lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// Merges a version of the program `web`, with these lines in its Dockerfile, beside a compose file.
fn merge(stage: &Stage, version: &str, lines: &str, compose: &str) {
    let start = "FROM scratch\nCOPY program /program\nCOPY version /version\n";
    stage.repository.write("compose.yaml", compose);
    stage.repository.write("web/version", version);
    stage.repository.write("web/Dockerfile", format!("{start}{lines}ENTRYPOINT [\"/program\"]\n"));
    stage.repository.commit(&format!("[patch] {version}"));
    stage.repository.push();
}

/// Runs the binary, which has to end with this code; gives the release it was about.
fn run(stage: &Stage, arguments: &[&str], code: i32) -> String {
    let output = stage.command(arguments).arg("--json").output().unwrap();
    let (out, error) = said(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}\n{error}");
    let last: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    last["tag"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn what_a_failed_release_brought_goes_with_it_and_a_renamed_service_keeps_its_port() {
    let Some(stage) = Stage::new("r-residue", TOML, WEB) else { return };
    let added = stage.project().join("conf/added.conf");
    let more = |name: &str| format!("{WEB}  {name}: {{image: 'web:1', ports: ['18080:8080']}}\n");
    stage.repository.write("conf/first.conf", "first");
    merge(&stage, "one", "", WEB);
    run(&stage, &["ship", "far"], 0);
    assert_eq!(services(&stage), ["web"]);

    stage.repository.write("conf/added.conf", "added");
    merge(&stage, "broken", "ENV EXIT_AFTER=0.5 EXIT_CODE=3\n", &more("extra"));
    run(&stage, &["ship", "far"], 1);
    assert_eq!(services(&stage), ["web"], "the service that the failed release brought is gone again");
    assert!(!added.exists(), "and so is its file in the mounted directory");
    assert!(stage.project().join("conf/first.conf").exists());

    merge(&stage, "two", "", &more("extra"));
    let two = run(&stage, &["ship", "far"], 0);
    assert_eq!(services(&stage), ["extra", "web"]);
    assert!(added.exists());

    std::fs::remove_file(stage.repository.path().join("conf/added.conf")).unwrap();
    merge(&stage, "three", "", &more("renamed"));
    run(&stage, &["ship", "far"], 0);
    assert_eq!(services(&stage), ["renamed", "web"]);
    assert!(!added.exists(), "a file that the release no longer has");

    merge(&stage, "four", "", WEB);
    run(&stage, &["release"], 0);
    run(&stage, &["deploy", "far", "--service", "web"], 2);
    assert_eq!(services(&stage), ["renamed", "web"], "a part of a release that drops another service");

    run(&stage, &["rollback", "far", &two], 0);
    assert_eq!(services(&stage), ["extra", "web"]);
    assert!(added.exists());
}

/// What lies in the project's directory and below, by path.
fn files(stage: &Stage) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in ["", "conf/"] {
        for entry in std::fs::read_dir(stage.project().join(folder)).unwrap().map(Result::unwrap) {
            let name = format!("{folder}{}", entry.file_name().to_string_lossy());
            if entry.path().is_file() {
                found.insert(name, std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    found
}

#[test]
fn files_that_somebody_keeps_on_the_host_are_back_after_a_release_that_failed() {
    let Some(stage) = Stage::new("r-kept", TOML, WEB) else { return };
    stage.repository.write("conf/first.conf", "first");
    merge(&stage, "one", "", WEB);
    run(&stage, &["ship", "far"], 0);
    // One that no release had, and one that a release brought and somebody has edited since.
    std::fs::write(stage.project().join("conf/own.conf"), "the host's own").unwrap();
    std::fs::write(stage.project().join("conf/first.conf"), "edited").unwrap();
    let link = stage.project().join("conf/link.conf");
    std::fs::write(stage.project().join("elsewhere"), "linked").unwrap();
    std::os::unix::fs::symlink("../elsewhere", &link).unwrap();
    let before = files(&stage);
    stage.repository.write("conf/own.conf", "the release's").write("conf/first.conf", "second");
    stage.repository.write("conf/link.conf", "the release's");
    merge(&stage, "broken", "ENV EXIT_AFTER=0.5 EXIT_CODE=3\n", WEB);
    run(&stage, &["ship", "far"], 1);
    assert_eq!(files(&stage), before);
    assert!(link.is_symlink());

    // Killed in the middle: whoever comes next puts them back; twice, for the second one finds what the first one wrote.
    for round in 0..2 {
        let mut ship = stage.command(&["ship", "far", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(ship.stdout.take().unwrap());
        let begun = |line: &String| line.contains("step-started") && line.contains("recreate:web");
        assert!(said.lines().map(Result::unwrap).any(|line| begun(&line)), "{round}");
        ship.kill().unwrap();
        ship.wait().unwrap();
        assert_eq!(files(&stage)["conf/own.conf"], "the release's");
        assert_eq!(files(&stage)["conf/own.conf.before-bowline"], "the host's own");
    }
    run(&stage, &["rollback", "far"], 0);
    assert_eq!(files(&stage), before);

    // A release that comes up has its own; the user's is kept.
    merge(&stage, "two", "", WEB);
    run(&stage, &["ship", "far"], 0);
    let after = files(&stage);
    assert_eq!(after["conf/own.conf"], "the release's");
    assert_eq!(after["conf/own.conf.before-bowline"], "the host's own");
}

#[test]
fn a_name_that_somebody_moves_meanwhile_does_not_start_the_wrong_image() {
    let Some(stage) = Stage::new("r-moved", TOML, WEB) else { return };
    stage.repository.write("conf/first.conf", "first");
    merge(&stage, "one", "", WEB);
    run(&stage, &["release"], 0);
    let moving = AtomicBool::new(true);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            while moving.load(Ordering::Relaxed) {
                stage.host.docker(["tag", "web:1", "shop-web"]);
            }
        });
        let output = stage.bowline(&["deploy", "far"]);
        moving.store(false, Ordering::Relaxed);
        output
    });
    let (out, error) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{out}\n{error}");
    assert!(error.contains("somebody else moved the name"), "{error}");
}
