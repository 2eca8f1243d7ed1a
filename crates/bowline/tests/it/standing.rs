//! What is told of a target without touching it: status, history, lock, diff.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use bowline_compose::lease::Lease;
use bowline_core::digest::Digest;
use bowline_core::event::RunId;
use bowline_core::journal::Intent;
use bowline_core::release::{Placed, Revision, Spec};
use serde_json::Value;

use crate::stage::{Stage, TARGETS, said};

const TOML: &str = "[project]\nname = \"shop\"\n\n[services.web]\nimages = [\"web:1\"]\n\nTARGETS";
const COMPOSE: &str = "services:\n  web: {image: 'web:1', environment: {LOG: 'hello from web'}}\n  two: {image: 'web:1', restart: always}\n  three: {image: 'web:1', restart: 'no'}\n";

fn revision(number: u64, placed: &[(&str, &str)]) -> Revision {
    let place = |(service, container): &(&str, &str)| {
        let placed = Placed {
            image: Digest::of(b"image"),
            image_name: "docker.io/library/web:1".into(),
            released: None,
            fingerprint: Digest::of(b"fingerprint"),
            containers: vec![(*container).to_owned()],
            task: false,
        };
        ((*service).to_owned(), placed)
    };
    Revision {
        number,
        release: Some(format!("v{number}.0.0-abcdef1")),
        verb: "deploy".into(),
        at: "2026-11-22T10:00:00Z".parse().unwrap(),
        run: RunId::from(format!("r{number}")),
        by: "ada@desk".into(),
        spec: Spec::default().digest(),
        files: BTreeMap::new(),
        images: BTreeMap::new(),
        services: placed.iter().map(place).collect(),
        milliseconds: 2100,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_history_tell_what_runs_and_what_was_left() {
    let Some(stage) = Stage::new("v-status", TOML, COMPOSE) else { return };
    for target in TARGETS {
        let empty = stage.json(&["status", target]);
        assert_eq!((&empty["healthy"], &empty["services"]), (&false.into(), &serde_json::json!([])));
        assert_eq!(stage.json(&["history", target])["entries"], serde_json::json!([]));
    }
    stage.compose(&["up", "--detach", "--wait"]);
    let before = stage.inspected();
    let id = stage.host.docker(["compose", "--project-name", "shop", "ps", "--quiet", "--no-trunc", "web"]);
    let documents = stage.documents().await;
    let lease = Lease::take(&documents, "20261122T101500-aaaaaaaaaa", "deploy").await.unwrap();
    let revision = revision(1, &[("web", &id), ("gone", "0123")]);
    documents.keep_spec(lease.authority(), &Spec::default()).await.unwrap();
    documents.commit(lease.authority(), &revision).await.unwrap();
    let intent = Intent {
        run: RunId::from("20261122T101500-aaaaaaaaaa".to_owned()),
        verb: "deploy".into(),
        by: "ada@desk".into(),
        at: "2026-11-22T10:15:00Z".parse().unwrap(),
        base: Some(1),
        to: Some("v2.0.0-abcdef2".into()),
        traces: Default::default(),
    };
    documents.begin(lease.authority(), &intent).await.unwrap();
    for target in TARGETS {
        let status = stage.json(&["status", target]);
        assert_eq!(status["release"], "v1.0.0-abcdef1");
        let states: Vec<_> = status["services"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
        assert_eq!(states, ["absent", "healthy", "healthy", "healthy"], "{status}");
        assert!(status["running"].as_str().unwrap().starts_with("deploy to v2.0.0"), "{status}");
        assert!(status["interrupted"].is_null());
        assert_eq!(status["lock"]["verb"], "deploy");
        assert_eq!(stage.bowline(&["status", target, "--check"]).status.code(), Some(1));
        let held = stage.json(&["lock", target]);
        assert_eq!((&held["held"], &held["lock"]["since"]), (&true.into(), &"2026-11-22T10:15:00Z".into()));
    }
    let broken = stage.bowline(&["lock", "release", "far"]);
    assert!(broken.status.success() && said(&broken).1.contains("taken away from"), "{broken:?}");
    for target in TARGETS {
        let status = stage.json(&["status", target]);
        assert!(status["running"].is_null() && status["lock"].is_null(), "{status}");
        assert!(status["interrupted"].as_str().unwrap().contains("ada@desk"), "{status}");
        assert_eq!(stage.json(&["lock", target])["held"], false);
        let (shown, _) = said(&stage.bowline(&["history", target]));
        assert!(shown.contains("v1.0.0-abcdef1") && shown.contains("first: gone, web"), "{shown}");
    }
    stage.assert_untouched(&before);
}

#[test]
fn a_command_runs_in_a_container_near_and_far() {
    let Some(stage) = Stage::new("v-exec", TOML, COMPOSE) else { return };
    stage.compose(&["up", "--detach", "--wait"]);
    stage.compose(&["stop", "two"]);
    for target in TARGETS {
        let mut child = stage
            .command(&["exec", target, "web", "--", "/program", "echo"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Longer than any buffer on the way; the program ends when it is told that its input has.
        let text = "to be read\n".repeat(100_000);
        let mut input = child.stdin.take().unwrap();
        let written = text.clone();
        let writer = std::thread::spawn(move || input.write_all(written.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success() && output.stdout == text.as_bytes(), "{}", output.stdout.len());
        let told = stage.bowline(&["--json", "exec", target, "web", "--", "/program", "exit", "7"]);
        assert_eq!(told.status.code(), Some(7));
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!((&told["exit"], &told["container"]), (&7.into(), &"shop-web-1".into()), "{told}");
        for (arguments, code, text) in [
            (&["exec", target, "wen", "--", "/program"][..], 2, "it has three, two, web"),
            (&["exec", target, "two", "--", "/program"], 1, "none of its containers runs"),
            (&["exec", target, "web", "--container", "x", "--", "/program"], 2, "it has shop-web-1"),
            (&["exec", target, "web", "--pod", "x", "--", "/program"], 2, "--container"),
        ] {
            let output = stage.bowline(arguments);
            let (shown, complained) = said(&output);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {complained}");
            assert!(complained.contains(text), "{arguments:?}: {shown}{complained}");
        }
        // Engines differ in which of the shells' two codes it is.
        let missing = stage.bowline(&["exec", target, "web", "--", "/nothing"]);
        assert!(matches!(missing.status.code(), Some(126 | 127)), "{missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_hand_is_seen() {
    let Some(stage) = Stage::new("v-diff", TOML, COMPOSE) else { return };
    assert_eq!(stage.bowline(&["diff", "near"]).status.code(), Some(2), "nothing was deployed yet");
    stage.compose(&["up", "--detach", "--wait"]);
    let documents = stage.documents().await;
    let lease = Lease::take(&documents, "r1", "deploy").await.unwrap();
    let ids = |service| stage.compose(&["ps", "--quiet", "--no-trunc", service]).trim().to_owned();
    let (web, two, three) = (ids("web"), ids("two"), ids("three"));
    let mut left = revision(1, &[("web", &web), ("two", &two), ("three", &three)]);
    left.files = [("compose.yaml".to_owned(), Digest::of(COMPOSE.as_bytes()))].into();
    documents.commit(lease.authority(), &left).await.unwrap();
    for target in TARGETS {
        assert_eq!(stage.json(&["diff", target, "--check"])["drift"], serde_json::json!([]));
    }
    std::fs::write(stage.project().join("compose.yaml"), format!("{COMPOSE}# by hand\n")).unwrap();
    stage.compose(&["up", "--detach", "--force-recreate", "web"]);
    stage.compose(&["stop", "two"]);
    for target in TARGETS {
        // It ended with 0, as it should when it is told to end: that does not make it a task.
        stage.compose(&["start", "three"]);
        stage.compose(&["stop", "three"]);
        let output = stage.bowline(&["diff", target, "--check"]);
        let (shown, _) = said(&output);
        assert_eq!(output.status.code(), Some(1));
        for text in ["was made by somebody else", "is gone", "ended with exit code", "the file was edited"] {
            assert!(shown.contains(text), "{text}: {shown}");
        }
        assert!(shown.contains("shop-three-1 ended with exit code 0"), "{shown}");
        let status = stage.json(&["status", target]);
        assert_eq!(status["services"][1]["state"], "exited (0)", "{status}");
    }
}

#[test]
fn logs_are_put_together_and_go_on_over_a_restart() {
    let compose = "services:\n  web: {image: 'web:1', environment: {LOG: \"hello\\e[31m from web\", LOG_EVERY: '0.2'}}\n  two: {image: 'web:1'}\n";
    let Some(stage) = Stage::new("v-logs", TOML, compose) else { return };
    stage.compose(&["up", "--detach", "--wait"]);
    for target in TARGETS {
        let (all, _) = said(&stage.bowline(&["logs", target]));
        assert!(all.contains("web | hello from web") && all.contains("two | started"), "{all}");
        let (one, _) = said(&stage.bowline(&["logs", target, "two", "--tail", "1"]));
        assert_eq!(one.lines().count(), 1, "{one}");
        assert_eq!(stage.bowline(&["logs", target, "nobody"]).status.code(), Some(2));
        let line = stage.json(&["logs", target, "web", "--since", "1h"]);
        assert_eq!((&line["service"], &line["container"]), (&"web".into(), &"shop-web-1".into()));
        let (none, _) = said(&stage.bowline(&["logs", target, "--since", "2100-01-01T00:00:00Z"]));
        assert_eq!(none, "");

        let mut follower = stage.command(&["logs", target, "--follow", "web", "--json"]);
        let mut follower = follower.stdout(Stdio::piped()).spawn().unwrap();
        let output = std::io::BufReader::new(follower.stdout.take().unwrap());
        let mut texts = std::io::BufRead::lines(output).map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            line["text"].as_str().unwrap().to_owned()
        });
        assert!(texts.by_ref().take(20).any(|text| text.contains("hello")));
        stage.compose(&["restart", "--timeout", "0", "web"]);
        assert!(texts.by_ref().take(100).any(|text| text.contains("hello")), "over a restart");
        stage.compose(&["up", "--detach", "--force-recreate", "--timeout", "0", "web"]);
        assert!(texts.by_ref().take(100).any(|text| text.contains("hello")), "in a new container");
        follower.kill().unwrap();
        follower.wait().unwrap();
    }
}
