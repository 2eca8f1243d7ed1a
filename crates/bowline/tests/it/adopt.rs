//! Taking over what runs already, and giving it back: nothing is touched by either.

use std::path::Path;
use std::process::Command;

use bowline_compose::lease::Lease;
use bowline_core::event::RunId;
use bowline_core::journal::Intent;
use bowline_testkit::host::Host;
use bowline_testkit::{fixture, image};

use crate::stage::{Stage, said, succeed};

const TOML: &str = "[project]\nname = \"shop\"\n\n[services.web]\ncontext = \"web\"\nimages = [\"shop-web\"]\n\n# the machine\nTARGETS";
const COMPOSE: &str = "services:\n  web:\n    image: shop-web\n    volumes: ['./conf:/conf', 'data:/data']\n    depends_on: [other]\n  other: {image: 'web:1', restart: always}\n  manual: {image: 'web:1'}\nvolumes: {data: }\n";

/// A project that runs, of which `manual` was started from another definition than the file has now.
fn running(hint: &str, toml: &str) -> Option<Stage> {
    let stage = Stage::new(hint, toml, COMPOSE)?;
    image::scratch("shop-web:latest").version("of old").make(stage.host.docker_host())?;
    for place in [stage.project(), stage.repository.path().to_owned()] {
        std::fs::create_dir_all(place.join("conf")).unwrap();
        std::fs::write(place.join("conf/web.conf"), "a = 1\n").unwrap();
    }
    let file = stage.project().join("compose.yaml");
    std::fs::write(&file, COMPOSE.replace("manual: {", "manual: {environment: {BY: hand}, ")).unwrap();
    stage.compose(&["up", "--detach", "--wait"]);
    std::fs::write(&file, COMPOSE).unwrap();
    Some(stage)
}

fn version(stage: &Stage) -> String {
    stage
        .compose(&["exec", "-T", "web", "/program", "get", "http://127.0.0.1:8080/version"])
        .trim()
        .to_owned()
}

#[test]
fn what_runs_is_adopted_deployed_over_rolled_back_to_and_given_back() {
    let Some(stage) = running("v-adopt", TOML) else { return };
    let before = stage.inspected();
    stage.change("of today");
    let adopted = stage.json(&["adopt", "far"]);
    stage.assert_untouched(&before);
    let services = adopted["adoption"]["services"].as_array().unwrap();
    let fates: Vec<_> = services
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["first_deploy"].as_str().unwrap()))
        .collect();
    assert_eq!(
        fates,
        [
            ("manual", "replaced: it was not made from the files as they are there now"),
            ("other", "left alone"),
            ("web", "replaced when the release has another image"),
        ]
    );
    let status = stage.json(&["status", "near"]);
    assert_eq!((&status["revision"], &status["healthy"]), (&0.into(), &true.into()), "{status}");
    assert_eq!(stage.json(&["diff", "near", "--check"])["drift"], serde_json::json!([]));
    assert_eq!(stage.bowline(&["adopt", "near"]).status.code(), Some(2), "it is known already");

    let other = stage.compose(&["ps", "--quiet", "other"]);
    assert_eq!(stage.json(&["ship", "far"])["ok"], true);
    assert_eq!(version(&stage), "of today");
    assert_eq!(stage.compose(&["ps", "--quiet", "other"]), other, "what was equal was left alone");
    let back = stage.json(&["rollback", "far"]);
    assert_eq!((&back["ok"], &back["tag"]), (&true.into(), &serde_json::Value::Null), "{back}");
    assert_eq!(version(&stage), "of old");
    assert_eq!(stage.compose(&["ps", "--quiet", "other"]), other);

    let before = stage.inspected();
    let detached = stage.json(&["detach", "near"]);
    assert_eq!(detached["detached"]["would_change"], serde_json::json!([]), "{detached}");
    let command = detached["detached"]["command"].as_str().unwrap();
    assert!(command.ends_with("/shop && docker compose up -d"), "{command}");
    let mut shell = Command::new("sh");
    succeed(shell.env("DOCKER_HOST", stage.host.docker_host()).args(["-c", command]));
    stage.assert_untouched(&before);
    let volumes = stage.host.docker(["volume", "ls", "--quiet"]);
    assert!(
        volumes.lines().all(|name| !name.starts_with("bowline.") || name.contains(".lease.")),
        "{volumes}"
    );
    assert!(!stage.host.docker(["images"]).contains("web_adopted"));
    assert_eq!(stage.bowline(&["detach", "near"]).status.code(), Some(2), "nothing is kept any more");
}

#[test]
fn what_a_deploy_left_is_plain_composes_after_detaching() {
    let toml = TOML.replace("TARGETS", "TARGETS\n[targets.far.services.other]\nenv = { A = \"b\" }\n");
    let Some(stage) = Stage::new("v-detach", &toml, COMPOSE) else { return };
    std::fs::create_dir_all(stage.repository.path().join("conf")).unwrap();
    std::fs::write(stage.repository.path().join("conf/web.conf"), "a = 1\n").unwrap();
    for version in ["one", "two"] {
        stage.change(version);
        assert_eq!(stage.json(&["ship", "far"])["ok"], true);
    }
    let before = stage.inspected();
    let detached = stage.json(&["detach", "far"])["detached"].clone();
    assert_eq!(detached["would_change"], serde_json::json!([]), "{detached}");
    let command = detached["command"].as_str().unwrap();
    assert!(command.ends_with("-f compose.yaml -f bowline.override.yaml up -d"), "{command}");
    assert_eq!(detached["names_removed"], 1, "{detached}");
    assert_eq!(
        detached["images_left"].as_array().unwrap().len(),
        1,
        "the image of the release before: {detached}"
    );
    let mut shell = Command::new("sh");
    succeed(shell.env("DOCKER_HOST", stage.host.docker_host()).args(["-c", command]));
    stage.assert_untouched(&before);
}

#[test]
fn the_lines_that_lead_to_the_project_are_said_and_written() {
    let Some(stage) = running("v-lines", TOML) else { return };
    let before = stage.inspected();
    let bare = format!(
        "[project]\nname = \"chat\"\n\n[services.web]\ncontext = \"web\"\nimages = [\"shop-web\"]\n\n# the machine\n[targets.far] # by SSH\ncompose = \"compose.yaml\"\nhost = \"ssh://{}\"\n",
        stage.host.name()
    );
    stage.repository.write("bowline.toml", &bare);
    let refused = stage.bowline(&["adopt", "far"]);
    let lines = format!("directory = \"{}\"\nproject = \"shop\"\n", stage.project().display());
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    for line in lines.lines() {
        assert!(said(&refused).1.contains(line), "{refused:?}");
    }
    let file = stage.repository.path().join("bowline.toml");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), bare);
    let written = stage.json(&["adopt", "far", "--write"]);
    assert_eq!(written["adoption"]["project"], "shop");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{bare}{lines}"));
    assert_eq!(stage.json(&["status", "far"])["revision"], 0);
    stage.assert_untouched(&before);
}

/// An image of the test program in which every shell script ends well, for health checks that need a shell.
fn make_with_shell(host: &Host, name: &str, folder: &Path) -> Option<()> {
    let root = folder.join("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy(image::program()?, root.join("program")).unwrap();
    if !root.join("bin/sh").exists() {
        std::fs::write(folder.join("true.rs"), "fn main() {}").unwrap();
        let mut compiler = Command::new("rustc");
        compiler.args(["-O", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-o"]);
        succeed(compiler.arg(root.join("bin/sh")).arg(folder.join("true.rs")));
        succeed(Command::new("tar").arg("-cf").arg(folder.join("root.tar")).arg("-C").arg(&root).arg("."));
    }
    let archive = folder.join("root.tar");
    host.docker(["import", "--change", "ENTRYPOINT [\"/program\"]", archive.to_str().unwrap(), name]);
    Some(())
}

#[test]
fn a_foreign_project_is_read_adopted_shipped_to_and_given_back() {
    let Some(voting) = fixture::foreign("voting-app") else { return };
    let Some(stage) = Stage::new("v-foreign", TOML, "services: {}\n") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let yaml = std::fs::read_to_string(voting.join("docker-compose.images.yml")).unwrap();
    for part in ["vote", "result", "worker"] {
        make_with_shell(&stage.host, &format!("dockersamples/examplevotingapp_{part}"), scratch.path());
    }
    for name in ["redis:alpine", "postgres:15-alpine"] {
        if make_with_shell(&stage.host, name, scratch.path()).is_none() {
            return;
        }
    }
    std::fs::remove_file(stage.project().join("compose.yaml")).unwrap();
    std::fs::write(stage.project().join("docker-compose.images.yml"), &yaml).unwrap();
    let foreign = ["--project-name", "voting", "--file", "docker-compose.images.yml", "up", "--detach"];
    stage.compose(&[&foreign[..], &["--wait"]].concat());
    let before = stage.inspected();
    assert_eq!(before.len(), 5);

    // `init` reads the file; what it does not know is who builds the images, and where the machine is.
    let repository = stage.repository.path();
    std::fs::write(repository.join("docker-compose.images.yml"), &yaml).unwrap();
    for file in ["compose.yaml", "bowline.toml"] {
        std::fs::remove_file(repository.join(file)).unwrap();
    }
    stage.json(&["init"]);
    let toml = std::fs::read_to_string(repository.join("bowline.toml")).unwrap();
    assert!(toml.contains("compose = \"docker-compose.images.yml\""), "{toml}");
    let toml = format!(
        "[project]\nname = \"shop\"\n\n[services.vote]\ncontext = \"web\"\nimages = [\"dockersamples/examplevotingapp_vote\"]\n\n[targets.far]\ncompose = \"docker-compose.images.yml\"\nhost = \"ssh://{}\"\n",
        stage.host.name()
    );
    stage.repository.write("bowline.toml", &toml);

    let adopted = stage.json(&["adopt", "far", "--write"]);
    assert_eq!(adopted["adoption"]["project"], "voting");
    stage.assert_untouched(&before);
    for service in adopted["adoption"]["services"].as_array().unwrap() {
        assert_eq!(service["interrupted"], false, "{service}");
    }
    let detached = stage.json(&["detach", "far"]);
    assert_eq!(detached["detached"]["would_change"], serde_json::json!([]), "{detached}");
    stage.assert_untouched(&before);
    stage.compose(&foreign);
    stage.assert_untouched(&before);

    // And once more, with a release of one of its services: that one alone is replaced.
    stage.json(&["adopt", "far"]);
    stage.change("ours");
    let shipped = stage.json(&["ship", "far"]);
    assert_eq!(shipped["ok"], true, "{shipped}");
    let after = stage.inspected();
    let kept = before.keys().filter(|id| after.contains_key(*id)).count();
    assert_eq!((kept, after.len()), (4, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_run_has_not_ended_nothing_is_adopted_detached_or_pruned() {
    let Some(stage) = running("v-halfway", TOML) else { return };
    assert_eq!(stage.bowline(&["detach", "near"]).status.code(), Some(2), "nothing is kept there");
    stage.json(&["adopt", "near"]);
    let documents = stage.documents().await;
    let lease = Lease::take(&documents, "r1", "deploy").await.unwrap();
    for verb in ["adopt", "detach"] {
        assert_eq!(stage.bowline(&[verb, "far"]).status.code(), Some(3), "somebody else has the lock");
    }
    let intent = Intent {
        run: RunId::from("r1".to_owned()),
        verb: "deploy".into(),
        by: "ada@desk".into(),
        at: "2026-11-22T10:15:00Z".parse().unwrap(),
        base: Some(0),
        to: Some("v2.0.0-abcdef2".into()),
        traces: Default::default(),
    };
    documents.begin(lease.authority(), &intent).await.unwrap();
    lease.release().await.unwrap();
    for verb in ["adopt", "detach", "prune"] {
        let output = stage.bowline(&[verb, "far"]);
        assert!(!output.status.success() && said(&output).1.contains("ada@desk"), "{output:?}");
    }
    assert_eq!(stage.json(&["lock", "near"])["held"], false, "the lock was given back");
}
