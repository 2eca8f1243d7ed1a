//! What a host's machine carries: measured by a program that Bowline brings there, shown, advised upon.

use std::process::Command;
use std::time::{Duration, Instant};

use bowline_measurement::frame::{Record, encode};
use bowline_measurement::interval::{CpuTime, Interval, Machine, Usage};
use bowline_testkit::java;
use bowline_testkit::repository::{Origin, Repository};
use serde_json::Value;

use crate::scene::{Place, QUICK, Scene};
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
fn what_a_machine_cannot_carry_is_refused_and_what_a_release_changed_is_told() {
    let Some(scene) = Scene::start("s-carry", Place::Far) else { return };
    // More than any machine has, on which tests run.
    let much = format!("{QUICK}[targets.box.services.web]\nmemory = \"900G\"\n");
    scene.configure(&much, "[capacity]\nfit = \"refuse\"\n");
    scene.merge("[minor] too much");
    let refused = scene.run(&["--json", "ship", "box"]).says("what runs there needs").exits(2);
    assert!(refused.err.contains("bowline capacity plan"), "{refused}");
    assert_eq!(scene.containers(), [], "nothing was touched");
    scene.configure(&much, "");
    scene.merge("[patch] said, and done");
    let shipped = scene.run(&["--json", "ship", "box"]).exits(0);
    assert!(shipped.out.contains("what runs there needs"), "{shipped}");
    let much = shipped.summary()["tag"].as_str().unwrap().to_owned();

    scene.configure(QUICK, "[capacity]\ncompare-after = \"30s\"\n");
    scene.service("web", "2", &[]);
    scene.merge("[patch] nobody measures");
    let quick = scene.run(&["ship", "box"]).says("what the release changed is not known").exits(0);
    assert!(quick.took < Duration::from_secs(28), "{quick}");
    scene.run(&["capacity", "start", "box", "--every", "1s"]).exits(0);
    std::thread::sleep(Duration::from_secs(5));
    scene.service("web", "3", &[]);
    scene.merge("[patch] measured");
    let shipped = scene.run(&["--json", "ship", "box"]).exits(0);
    let capacity = &shipped.summary()["capacity"];
    assert!(
        capacity["samples"][0].as_u64() > Some(2) && capacity["samples"][1].as_u64() > Some(8),
        "{capacity}"
    );
    let web = capacity["changes"].as_array().unwrap().iter().find(|one| one["service"] == "web").unwrap();
    assert!(web["memory"][0].as_u64() > Some(0) && web["memory"][1].as_u64() > Some(0), "{web}");
    let phases = shipped.summary()["phases"].as_array().unwrap().clone();
    assert_eq!(phases.last().unwrap()["name"], "measure");
    // What changes nothing is not waited for.
    let again = scene.run(&["--json", "deploy", "box"]).exits(0);
    assert!(again.summary().get("capacity").is_none() && again.took < Duration::from_secs(25), "{again}");
    scene.run(&["capacity", "stop", "box", "--forget"]).exits(0);
    // Going back is never refused for want of room, though the same release would not be deployed.
    scene.configure(QUICK, "[capacity]\nfit = \"refuse\"\n");
    scene.run(&["deploy", "box", &much]).exits(2);
    scene.run(&["rollback", "box", &much]).says("what runs there needs").exits(0);
}

#[test]
fn a_virtual_machine_s_own_figures_come_with_the_advice() {
    let compose = "services:\n  web: {image: 'web:1', mem_limit: 64M}\n  user: {image: 'java:1', mem_limit: 400M, command: [-Xmx128m, -XX:+UseSerialGC, -cp, /app, Hold, '40', '500', '20']}\n";
    let Some(stage) = Stage::new("v-vitals", TOML, compose) else { return };
    if java::make(&stage.host, "java:1").is_none() {
        return;
    }
    stage.compose(&["up", "--detach", "--wait"]);
    assert_eq!(stage.json(&["capacity", "start", "near", "--every", "1s"])["begun"], true);
    measured(&stage, "near");
    for target in TARGETS {
        let advice = stage.json(&["capacity", "advise", target]);
        let of = |name: &str| {
            advice["advice"].as_array().unwrap().iter().find(|one| one["service"] == name).unwrap().clone()
        };
        let (user, web) = (of("user"), of("web"));
        assert_eq!(web["vitals"], Value::Null);
        let figure = |name: &str| user["vitals"][name].as_u64().unwrap();
        assert!((40..48).contains(&(figure("live") >> 20)), "{user}");
        assert!((45..55).contains(&figure("threads_peak")), "{user}");
        assert_eq!(figure("heap_limit"), 128 << 20);
        // Of a run of seconds nothing is made: its heap stays.
        let lines = user["lines"].as_array().unwrap();
        assert!(lines.iter().all(|line| !line["advised"].to_string().contains("-Xmx")), "{user}");
    }
    stage.json(&["capacity", "stop", "near", "--forget"]);
}

/// Three days of two workloads of the namespace `chat`, as they are recorded: `user` works, `chat` is held back by its limit.
fn recording() -> Vec<u8> {
    const MINUTE: i64 = 60_000;
    let end = jiff::Timestamp::now().as_millisecond();
    let usage = |millicores: u64, memory: u64| Usage {
        seen: 60_000,
        cpu: millicores * 60_000,
        cpu_peak: millicores,
        memory: memory << 20,
        memory_last: memory << 20,
        age: 10 * 86_400_000,
        ..Usage::default()
    };
    let minute = |number: i64| {
        let containers = [("chat/user/user-1/app", usage(80, 60)), ("chat/chat/chat-1/app", usage(198, 30))];
        let cpu = CpuTime { user: 300 * 60_000, ..CpuTime::default() };
        let machine =
            Machine { cores: 4, cpu, memory: 8 << 30, memory_available: 6 << 30, ..Machine::default() };
        let from = end - (4_320 - number) * MINUTE;
        Interval {
            from,
            to: from + MINUTE,
            seen: 60_000,
            samples: 6,
            machine,
            containers: containers.map(|(name, usage)| (name.to_owned(), usage)).into(),
        }
    };
    (0..4_320).flat_map(|number| encode(&Record::Row(minute(number))).unwrap()).collect()
}

fn bowline(work: &Repository, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.args(arguments).current_dir(work.path()).envs(work.environment());
    let output = command.env("NO_COLOR", "1").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn what_was_recorded_of_a_cluster_is_written_into_its_manifests() {
    let origin = Origin::new();
    let work = origin.clone_full();
    let toml =
        "[project]\nname = \"chat\"\n\n[targets.cluster]\nkubernetes = [\"k8s/\"]\nnamespace = \"chat\"\n";
    let manifest = |name: &str, resources: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment # {name}\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: \
             {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      containers:\n      \
             - name: app\n        image: example.com/{name}:1\n{resources}        ports: []   # none\n"
        )
    };
    work.write("bowline.toml", toml);
    let user = "        resources:\n          requests: {cpu: 500m}   # a guess\n          limits:\n            memory: \"512Mi\"\n";
    work.write("k8s/user.yaml", manifest("user", user));
    work.write("k8s/chat.yaml", manifest("chat", "        resources: {limits: {cpu: 200m}}\n"));
    work.write("cluster.bowline", recording());
    work.squash_pull(1, "[minor] a chat", |_| ());
    let advise = ["capacity", "advise", "cluster", "--from", "cluster.bowline"];
    let (code, said) = bowline(&work, &advise);
    assert!(code == Some(0) && said.contains("it uses all of the 0.20 CPU that it may"), "{said}");
    assert_eq!(work.git(["status", "--short"]), "");
    let (code, said) = bowline(&work, &[&advise[..], &["--write"]].concat());
    assert!(code == Some(0) && said.contains("k8s/user.yaml"), "{said}");
    let read = |name: &str| std::fs::read_to_string(work.path().join(format!("k8s/{name}.yaml"))).unwrap();
    let user = "        resources:\n          requests: {cpu: 92m, memory: 69Mi}   # a guess\n          limits:\n            memory: \"69Mi\"\n";
    assert_eq!(read("user"), manifest("user", user));
    // Nothing is taken from a service that is held back; it gets more.
    let chat = "        resources: {limits: {cpu: 400m}, requests: {cpu: 228m}}\n";
    assert_eq!(read("chat"), manifest("chat", chat));
    let (code, said) = bowline(&work, &[&advise[..], &["--write"]].concat());
    assert!(code == Some(0), "{said}");
    assert_eq!((read("user"), read("chat")).0, manifest("user", user));

    work.write("cluster.bowline", "no recording");
    let (code, said) = bowline(&work, &advise);
    assert!(code == Some(2) && said.contains("it is no recording of Bowline"), "{said}");
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
