//! What a release brings besides images, and what is left of it when it goes.

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
