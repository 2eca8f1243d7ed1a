//! `bowline init --kubernetes` and `bowline diff ONE OTHER`: manifests from compose files, as Compose reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use bowline::config::{Config, Target};
use bowline_core::kube::manifest::read;
use bowline_testkit::cluster::Cluster;
use bowline_testkit::fixture;
use bowline_testkit::skip::skip;
use serde_json::Value;
use tempfile::TempDir;

use crate::scene::Ran;

/// A checkout, and Bowline in it.
struct Checkout(TempDir);

impl Checkout {
    /// A git repository of these files; none, and a loud line, where there is no Compose.
    fn new(files: &[(&str, &str)]) -> Option<Self> {
        let compose = Command::new("docker").args(["compose", "version"]).output();
        if !compose.is_ok_and(|output| output.status.success()) {
            return skip("there is no Docker Compose on this machine");
        }
        let checkout = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| checkout.write(path, text));
        Some(checkout)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap()
    }

    /// Everything that is there becomes tracked.
    fn track(&self) {
        for arguments in [&["init", "-q"][..], &["add", "-A"]] {
            assert!(Command::new("git").args(arguments).current_dir(self.path()).status().unwrap().success());
        }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let began = std::time::Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_bowline"))
            .args(arguments)
            .current_dir(self.path())
            .env("DOCKER_HOST", "unix:///nowhere")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
            took: began.elapsed(),
        }
    }

    fn manifests(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.path().join("k8s")];
        while let Some(path) = open.pop() {
            for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
                if entry.path().is_dir() {
                    open.push(entry.path());
                } else {
                    let path = entry.path();
                    let name = path.strip_prefix(self.path()).unwrap().to_string_lossy().into_owned();
                    found.insert(name, fs::read_to_string(&path).unwrap());
                }
            }
        }
        found
    }
}

/// The example, without what it is built from.
fn chat() -> Option<Checkout> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/chat");
    let text = |path: &str| fs::read_to_string(example.join(path)).unwrap();
    let paths = ["bowline.toml", "docker-compose.yaml"].map(str::to_owned);
    let dockerfiles =
        ["broker", "users", "rooms", "gateway"].map(|name| format!("services/{name}/Dockerfile"));
    let files: Vec<(String, String)> =
        paths.into_iter().chain(dockerfiles).map(|path| (path.clone(), text(&path))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    Checkout::new(&files)
}

fn voting(file: &str) -> Option<Checkout> {
    let text = fs::read_to_string(fixture::foreign("voting-app")?.join(file)).unwrap();
    let toml = format!("[project]\nname = \"vote\"\n[targets.box]\ncompose = {file:?}\n");
    Checkout::new(&[("bowline.toml", &toml), (file, &text)])
}

#[test]
fn the_example_gets_manifests_and_a_target() {
    let Some(checkout) = chat() else { return };
    let before = checkout.text("bowline.toml");
    checkout
        .run(&["init", "--kubernetes", "cluster"])
        .exits(0)
        .says("k8s/: 10 files from the compose file of box");
    let after = checkout.text("bowline.toml");
    assert!(after.starts_with(&before), "{after}");
    let config = Config::load(checkout.path()).unwrap();
    let Some(Target::Kubernetes(target)) = config.targets.get("cluster") else { panic!("{after}") };
    assert_eq!(target.manifests.iter().map(|path| path.trim_end_matches('/')).collect::<Vec<_>>(), ["k8s"]);
    assert_eq!(target.namespace.as_deref(), Some("chat"));
    let manifests = checkout.manifests();
    let paths: Vec<&str> = manifests.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "k8s/deployment/broker.yaml",
            "k8s/deployment/gateway.yaml",
            "k8s/deployment/rooms.yaml",
            "k8s/deployment/users.yaml",
            "k8s/namespace/chat.yaml",
            "k8s/service/broker.yaml",
            "k8s/service/gateway.yaml",
            "k8s/service/rooms.yaml",
            "k8s/service/users.yaml",
            "k8s/volume/history.yaml",
        ]
    );
    // What follows the volume, for clusters that make none, is right once its remarks are taken away.
    let volume = &manifests["k8s/volume/history.yaml"];
    let (own, tail) = volume.split_at(volume.find("# ---\n").unwrap());
    let tail = tail.lines().map(|line| line.strip_prefix("# ").unwrap()).collect::<Vec<_>>().join("\n");
    let reading = read(&BTreeMap::from([("v.yaml".to_owned(), format!("{own}{tail}\n"))]), None, |_| None);
    let kinds: Vec<&str> = reading.manifests.iter().map(|manifest| manifest.id.kind.kind.as_str()).collect();
    assert_eq!((kinds, reading.problems), (vec!["PersistentVolumeClaim", "PersistentVolume"], vec![]));
    checkout
        .run(&["diff", "box", "cluster", "--check"])
        .exits(1)
        .says("1 difference in 1 service; nothing was asked of either target");
    let report = checkout.run(&["--json", "diff", "box", "cluster"]).exits(0).summary();
    let expected =
        serde_json::json!([{"service": "gateway", "what": "from outside", "one": "8080", "other": null}]);
    assert_eq!(report["differences"], expected);
}

#[test]
fn what_is_there_is_left_as_it_is() {
    let Some(checkout) = chat() else { return };
    let own = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: users }\nspec: {}\n";
    checkout.write("k8s/mine.yaml", own);
    checkout.write("k8s/service/users.yaml", "# mine\n");
    let ran = checkout.run(&["--json", "init", "--kubernetes", "cluster"]).exits(0);
    assert_eq!(
        ran.summary()["written"]["kept"],
        serde_json::json!(["k8s/service/users.yaml", "k8s/deployment/users.yaml"])
    );
    assert_eq!(
        (checkout.text("k8s/mine.yaml"), checkout.text("k8s/service/users.yaml")),
        (own.into(), "# mine\n".into())
    );
    let (toml, manifests) = (checkout.text("bowline.toml"), checkout.manifests());
    // A second time only what is missing is written, and the target stays.
    fs::remove_file(checkout.path().join("k8s/deployment/rooms.yaml")).unwrap();
    let ran = checkout.run(&["--json", "init", "--kubernetes", "cluster"]).exits(0);
    assert_eq!(ran.summary()["written"]["files"], serde_json::json!(["k8s/deployment/rooms.yaml"]));
    assert_eq!((checkout.text("bowline.toml"), checkout.manifests()), (toml, manifests));
    checkout.run(&["init", "--kubernetes", "box"]).exits(2).says("box is a Docker host");
}

const COMPOSE: &str = "name: shop
services:
  web:
    build: .
    env_file: [open.env, private.env]
    environment:
      API_TOKEN: ${SHOP_TOKEN:-hunter1}
      GREETING: hello $$you
    volumes: ['./conf:/conf:ro', './data:/data']
    secrets: [cert]
  old: { image: old }
secrets: { cert: { file: ./cert.pem } }
";

#[test]
fn what_git_does_not_track_is_not_written_down() {
    let toml = "# ours\n[project]\nname = \"shop\"\n\n[services.web]   # the page\nport = 8080\n\n[targets.box]\ncompose = \"deploy/compose.yaml\"\ndirectory = \"/home/shop\"\n[targets.box.services.old]\nenabled = false\n";
    let files = [
        ("bowline.toml", toml),
        ("deploy/compose.yaml", COMPOSE),
        ("deploy/open.env", "OPEN=yes\n"),
        ("deploy/conf/a.conf", "listen 80;\n"),
    ];
    let Some(checkout) = Checkout::new(&files) else { return };
    checkout.track();
    checkout.write("deploy/private.env", "INNOCENT=hunter2\n");
    checkout.write("deploy/cert.pem", "hunter3\n");
    checkout.write("deploy/data/rows", "hunter4\n");
    let ran = checkout.run(&["init", "--kubernetes", "cluster"]).exits(0);
    let ran = ran.says("its secrets are taken from the environment: INNOCENT, SHOP_TOKEN");
    ran.says("/data is /home/shop/data of whichever node a pod runs on (git does not track it)");
    let manifests = checkout.manifests();
    let all = manifests.values().cloned().collect::<String>() + &checkout.text("bowline.toml");
    assert!(!all.contains("hunter"), "{all}");
    assert!(manifests["k8s/config/conf.yaml"].contains("listen 80;"));
    let web = &manifests["k8s/deployment/web.yaml"];
    assert!(
        web.contains("value: hello $you") && web.contains("value: \"yes\"") && web.contains("port: 8080"),
        "{web}"
    );
    let config = Config::load(checkout.path()).unwrap();
    assert_eq!(config.services.values().next().unwrap().images[0].familiar(), "shop-web");
    let text = checkout.text("bowline.toml");
    assert!(
        text.contains("[services.web]   # the page") && text.contains("cert = \"file:deploy/cert.pem\""),
        "{text}"
    );
    // `old` is switched off on the one, and runs on the other; a secret differs from nothing that is seen.
    let report = checkout.run(&["--json", "diff", "box", "cluster"]).exits(0).summary();
    let rows: Vec<String> = report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {}", row["service"], row["what"]))
        .collect();
    assert_eq!(rows, ["\"old\" \"replicas\""], "{report}");
}

#[test]
fn a_real_server_takes_what_is_written() {
    let checkouts = [chat(), voting("docker-compose.images.yml"), voting("docker-stack.yml")];
    let Some(cluster) = Cluster::reach("translation") else { return };
    cluster.make_namespace();
    for checkout in checkouts.iter().flatten() {
        checkout.run(&["init", "--kubernetes", "cluster"]).exits(0);
        let mut kinds = BTreeSet::new();
        for (path, text) in checkout.manifests() {
            let value: Value = serde_saphyr::from_str(&text).unwrap();
            kinds.insert(value["kind"].as_str().unwrap().to_owned());
            let said = cluster.feed(&["apply", "--dry-run=server", "--validate=strict", "-f", "-"], &text);
            assert!(said.contains("server dry run"), "{path}: {said}");
        }
        assert!(kinds.contains("Deployment") && kinds.contains("PersistentVolumeClaim"), "{kinds:?}");
    }
}
