//! What prune takes away, and what it leaves.

use bowline_testkit::registry::start_docker_registry;
use bowline_testkit::repository::Origin;

use crate::stage::{Stage, said, succeed};

const TOML: &str =
    "[project]\nname = \"shop\"\n\n[services.web]\ncontext = \"web\"\nimages = [\"shop-web\"]\n\nTARGETS";
const COMPOSE: &str = "services:\n  web: {image: shop-web, volumes: ['data:/data']}\n  other: {image: 'web:1'}\nvolumes: {data: }\n";

fn images(stage: &Stage) -> Vec<String> {
    let listed = stage.host.docker(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn images_go_that_no_rollback_needs_and_all_others_stay() {
    let toml = TOML.replace("TARGETS", "TARGETS\nkeep = 10\n");
    let Some(stage) = Stage::new("v-prune", &toml, COMPOSE) else { return };
    stage.host.docker(["tag", "web:1", "theirs:1"]);
    let mut tags = Vec::new();
    for version in ["one", "two", "three", "four"] {
        stage.change(version);
        let summary = stage.json(&["ship", "far"]);
        assert_eq!(summary["ok"], true, "{summary}");
        tags.push(summary["tag"].as_str().unwrap().to_owned());
    }
    let before = images(&stage);
    let running = stage.inspected();
    let shown = stage.json(&["prune", "far", "--keep", "2"]);
    assert_eq!((shown["images"].as_array().unwrap().len(), &shown["removed"]), (2, &serde_json::Value::Null));
    assert_eq!(images(&stage), before, "only shown");
    let removed = stage.json(&["prune", "far", "--keep", "2", "--yes"]);
    assert_eq!(removed["removed"]["images"], 2, "{removed}");
    let kept = |tag: &str| format!("bowline.local/shop:web_{tag}");
    let gone = [kept(&tags[0]), kept(&tags[1])];
    let left: Vec<String> = before.into_iter().filter(|name| !gone.contains(name)).collect();
    assert_eq!(images(&stage), left);
    assert!(left.contains(&kept(&tags[2])) && left.contains(&"theirs:1".to_owned()), "{left:?}");
    stage.assert_untouched(&running);
    assert!(stage.host.docker(["volume", "ls", "--quiet"]).contains("shop_data"));
    let summary = stage.json(&["rollback", "far"]);
    assert_eq!(summary["tag"], tags[2].as_str(), "{summary}");
}

#[test]
fn releases_go_from_a_registry_that_allows_it() {
    let Some(registry) = start_docker_registry() else { return };
    let origin = Origin::new();
    let clone = origin.clone_full();
    let state = tempfile::tempdir().unwrap();
    clone.write(
        "bowline.toml",
        format!(
            "[project]\nname = \"shop\"\n[registry]\nrepository = \"{}\"\n[services.web]\ncontext = \"web\"\ninputs = [\"web/**\"]\n[services.api]\ncontext = \"api\"\ninputs = [\"api/**\"]\n",
            registry.repository("shop")
        ),
    );
    for name in ["web", "api"] {
        clone.write(&format!("{name}/Dockerfile"), "FROM scratch\nCOPY version /version\n");
        clone.write(&format!("{name}/version"), name);
    }
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bowline"));
        command.arg("-C").arg(clone.path()).args(arguments).arg("--json").envs(clone.environment());
        command.env("BOWLINE_STATE", state.path().join("s")).env("BOWLINE_CACHE", state.path().join("c"));
        let text = succeed(&mut command);
        serde_json::from_str::<serde_json::Value>(text.lines().last().unwrap()).unwrap()
    };
    let mut tags = Vec::new();
    for version in ["one", "two", "three"] {
        clone.write("web/version", version);
        clone.commit(&format!("[patch] {version}"));
        clone.push();
        tags.push(run(&["release"])["tag"].as_str().unwrap().to_owned());
    }
    let shown = run(&["prune", "--registry", "--keep", "1"]);
    assert_eq!(shown["releases"], serde_json::json!([tags[0], tags[1]]));
    let pruned = run(&["prune", "--registry", "--keep", "1", "--yes"]);
    // The api never changed: all releases share its image.
    assert_eq!(
        (&pruned["removed"]["releases"], &pruned["removed"]["images"]),
        (&2.into(), &2.into()),
        "{pruned}"
    );
    let listed = succeed(std::process::Command::new("curl").args([
        "--silent",
        "--fail",
        &format!("http://{}/v2/shop/tags/list", registry.address()),
    ]));
    assert!(
        listed.contains(&format!("\"{}\"", tags[2])) && listed.contains(&format!("web_{}", tags[2])),
        "{listed}"
    );
    assert!(
        !listed.contains(&format!("\"{}\"", tags[0])) && !listed.contains(&format!("web_{}", tags[0])),
        "{listed}"
    );
    assert_eq!(run(&["prune", "--registry", "--keep", "1"])["releases"], serde_json::json!([]));
}

#[test]
fn what_targets_run_is_asked_before_releases_go() {
    let toml = TOML.replace("TARGETS", "TARGETS\nkeep = 1\n");
    let Some(stage) = Stage::new("v-prunereg", &toml, COMPOSE) else { return };
    let mut tags = Vec::new();
    for version in ["one", "two", "three"] {
        stage.change(version);
        tags.push(stage.json(&["release"])["tag"].as_str().unwrap().to_owned());
    }
    assert_eq!(stage.json(&["deploy", "far", &tags[0]])["ok"], true);
    let shown = stage.json(&["prune", "--registry", "--keep", "1", "--yes"]);
    assert_eq!(
        (&shown["releases"], &shown["removed"]["releases"]),
        (&serde_json::json!([tags[1]]), &1.into())
    );
    stage.host.kill();
    let refused = stage.bowline(&["prune", "--registry", "--keep", "1", "--yes"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(said(&refused).1.contains("cannot be asked"), "{refused:?}");
    stage.host.revive();
}
