//! What is told of a target without touching it: status, history, lock, diff.

use std::collections::BTreeMap;

use bowline_compose::lease::Lease;
use bowline_core::digest::Digest;
use bowline_core::event::RunId;
use bowline_core::journal::Intent;
use bowline_core::release::{Placed, Revision, Spec};

use crate::stage::{Stage, TARGETS, said};

const TOML: &str = "[project]\nname = \"shop\"\n\n[services.web]\nimages = [\"web:1\"]\n\nTARGETS";
const COMPOSE: &str = "services:\n  web: {image: 'web:1', environment: {LOG: 'hello from web'}}\n  two: {image: 'web:1', restart: always}\n";

fn revision(number: u64, placed: &[(&str, &str)]) -> Revision {
    let place = |(service, container): &(&str, &str)| {
        let placed = Placed {
            image: Digest::of(b"image"),
            image_name: "docker.io/library/web:1".into(),
            released: None,
            fingerprint: Digest::of(b"fingerprint"),
            containers: vec![(*container).to_owned()],
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
    documents.commit(lease.authority(), &revision, &Spec::default()).await.unwrap();
    let intent = Intent {
        run: RunId::from("20261122T101500-aaaaaaaaaa".to_owned()),
        verb: "deploy".into(),
        by: "ada@desk".into(),
        at: "2026-11-22T10:15:00Z".parse().unwrap(),
        base: Some(1),
        to: Some("v2.0.0-abcdef2".into()),
    };
    documents.begin(lease.authority(), &intent).await.unwrap();
    for target in TARGETS {
        let status = stage.json(&["status", target]);
        assert_eq!(status["release"], "v1.0.0-abcdef1");
        let states: Vec<_> = status["services"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
        assert_eq!(states, ["absent", "healthy", "healthy"], "{status}");
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
        assert!(shown.contains("v1.0.0-abcdef1") && shown.contains("gone (first), web (first)"), "{shown}");
    }
    assert_eq!(stage.inspected(), before, "looking changes nothing");
}
