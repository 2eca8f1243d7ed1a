//! What doctor finds, and what it says to do.

use serde_json::Value;

use crate::stage::{Stage, TARGETS, said};

const TOML: &str =
    "[project]\nname = \"shop\"\n\n[services.web]\ncontext = \"web\"\nimages = [\"shop-web\"]\n\nTARGETS";
const COMPOSE: &str = "services:\n  web: {image: 'web:1', restart: always}\n";

fn finding<'f>(report: &'f Value, subject: &str) -> &'f Value {
    let all = report["findings"].as_array().unwrap();
    all.iter().find(|one| one["subject"] == subject).unwrap_or_else(|| panic!("no {subject} in {report}"))
}

#[test]
fn a_host_in_order_has_no_remedy() {
    let Some(stage) = Stage::new("v-doctor", TOML, COMPOSE) else { return };
    for target in TARGETS {
        let report = stage.json(&["doctor", target]);
        assert_eq!(report["ok"], true, "{report}");
        for what in ["engine", "compose", "clock", "lock", "directory", "project"] {
            let found = finding(&report, &format!("{target}: {what}"));
            assert_eq!((&found["state"], &found["remedy"]), (&"ok".into(), &Value::Null), "{found}");
        }
    }
    stage.compose(&["up", "--detach", "--wait"]);
    let report = stage.json(&["doctor", "far"]);
    let remedy = finding(&report, "far: project")["remedy"].as_str().unwrap();
    assert!(remedy.contains("bowline adopt far"), "{remedy}");
    assert_eq!(stage.bowline(&["doctor", "nowhere"]).status.code(), Some(2));
}

#[test]
fn what_is_broken_is_named_with_its_remedy_and_hides_nothing() {
    let toml =
        TOML.replace("[services.web]", "[registry]\nrepository = \"127.0.0.1:9/shop\"\n\n[services.web]");
    let Some(stage) = Stage::new("v-ill", &toml, COMPOSE) else { return };
    stage.host.stop_engine();
    let output = stage.bowline(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for subject in ["registry", "near: engine", "far: engine"] {
        let found = finding(&report, subject);
        assert_eq!(found["state"], "broken", "{found}");
        assert!(found["remedy"].is_string(), "{found}");
    }
    assert_eq!(finding(&report, "git")["state"], "ok");

    stage.repository.write("bowline.toml", "[project]\nname = \"shop\"\nnaem = 1\n");
    let output = stage.bowline(&["doctor"]);
    let (shown, _) = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(shown.contains("FAIL  bowline.toml") && shown.contains("naem"), "{shown}");
    assert!(shown.lines().all(|line| !line.contains('\u{1b}')), "no colours without a terminal: {shown}");
    stage.host.start_engine();
}
