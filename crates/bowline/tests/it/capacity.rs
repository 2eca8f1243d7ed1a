//! What a host's machine carries: measured by a program that Bowline brings there, shown, advised upon.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::{Stage, TARGETS};

const TOML: &str = "[project]\nname = \"shop\"\n\n[services.web]\nimages = [\"web:1\"]\n\nTARGETS";
const COMPOSE: &str = "services:\n  web: {image: 'web:1', mem_limit: 64M}\n  two: {image: 'web:1'}\n";

/// What was measured, once there is something.
fn measured(stage: &Stage, target: &str) -> Value {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let picture = stage.json(&["capacity", target, "--since", "10m"]);
        let services = picture["services"].as_array().unwrap().len();
        if services == 2 && picture["window"]["samples"].as_u64() >= Some(3) {
            return picture;
        }
        assert!(Instant::now() < end, "nothing was measured: {picture}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn a_host_is_measured_and_what_it_carries_is_shown() {
    let Some(stage) = Stage::new("v-capacity", TOML, COMPOSE) else { return };
    stage.compose(&["up", "--detach", "--wait"]);
    let before = stage.inspected();
    for target in TARGETS {
        let nothing = stage.bowline(&["capacity", target]);
        let text = String::from_utf8_lossy(&nothing.stderr).into_owned();
        assert_eq!(nothing.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("bowline capacity start {target}")), "{text}");

        let start = ["capacity", "start", target, "--every", "1s"];
        assert_eq!(stage.json(&start)["begun"], true);
        assert_eq!(stage.json(&start)["begun"], false, "the same again is nothing to do");
        let picture = measured(&stage, target);
        let web = picture["services"].as_array().unwrap().iter().find(|one| one["name"] == "web").unwrap();
        assert_eq!((&web["limit"], &web["replicas"]), (&Value::from(64 << 20), &Value::from(1)), "{web}");
        assert!(web["most"].as_u64() > Some(0), "{web}");
        let times = picture["times"].as_array().unwrap().len();
        for chart in picture["charts"].as_array().unwrap() {
            for line in chart["lines"].as_array().unwrap() {
                assert_eq!(line["values"].as_array().unwrap().len(), times, "{line}");
            }
        }
        let page = stage.project().join("page.html");
        let wrote = stage.bowline(&["capacity", target, "--html", page.to_str().unwrap()]);
        assert!(wrote.status.success(), "{}", String::from_utf8_lossy(&wrote.stderr));
        assert!(std::fs::read_to_string(&page).unwrap().contains("\"name\":\"web\""));
        // A window of seconds takes nothing away from anybody.
        let advice = stage.json(&["capacity", "advise", target]);
        let web = advice["advice"].as_array().unwrap().iter().find(|one| one["service"] == "web").unwrap();
        assert!(!web["doubts"].as_array().unwrap().is_empty(), "{web}");

        assert_eq!(stage.json(&["capacity", "stop", target])["stopped"], true);
        assert_eq!(stage.json(&["capacity", "stop", target, "--forget"])["stopped"], false);
        let volumes = stage.host.docker(["volume", "ls", "--quiet", "--filter", "name=bowline-gate"]);
        assert_eq!(volumes, "");
        let images = stage.host.docker(["images", "--quiet", "bowline.local/gate"]);
        assert_eq!(images, "");
    }
    // Nothing of the project was touched.
    stage.assert_untouched(&before);
}

#[test]
fn a_plan_needs_no_host_where_everything_is_declared() {
    let Some(stage) = Stage::new("v-plan", TOML, COMPOSE) else { return };
    let plan = stage.json(&[
        "capacity",
        "plan",
        "near",
        "--declared",
        "--nodes",
        "3xt2.medium",
        "--ground",
        "managed",
    ]);
    assert_eq!((&plan["fits"], &plan["monthly"]), (&Value::from(true), &Value::from(101.616)), "{plan}");
    assert_eq!(plan["nodes"].as_array().unwrap().len(), 3);
    let wrong = stage.bowline(&["capacity", "plan", "near", "--declared", "--nodes", "3xt2.mediun"]);
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2), "{text}");
    assert!(text.contains("did you mean `t2.medium`?"), "{text}");
}
