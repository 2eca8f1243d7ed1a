//! The example on a cluster of three nodes, as its manifests say: three brokers, a gateway on each node. It is upgraded while
//! a crowd uses it, and loses a worker.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bowline_testkit::cluster::Cluster;
use bowline_testkit::skip::skip;
use serde_json::Value;

use crate::cluster::Harbour;

/// The three that are ours, as the example's own bowline.toml has them, and NATS in an image of Debian's.
const SERVICES: [&str; 3] = ["users", "rooms", "gateway"];
const NATS: &str = "/usr/sbin/nats-server";
/// What that needs, as Debian builds it.
const LIBRARIES: [&str; 2] = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];

struct Chat {
    harbour: Harbour,
    volume: String,
}

impl Chat {
    fn open() -> Option<Self> {
        if !Path::new(NATS).exists() {
            return skip("nats-server is not installed (scripts/setup nats)");
        }
        let cluster = Cluster::reach_alone("chat")?;
        cluster.is_lab()?;
        let harbour = Harbour::of(cluster)?;
        let chat = Self { volume: harbour.namespace().to_owned(), harbour };
        chat.write_project();
        chat.harbour.cluster.make_namespace();
        chat.make_volume();
        Some(chat)
    }

    fn path(&self) -> &Path {
        self.harbour.work.path()
    }

    fn write_project(&self) {
        let path = self.path();
        for old in ["k8s", "users", "web"] {
            fs::remove_dir_all(path.join(old)).unwrap();
        }
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/chat");
        let copied = Command::new("sh")
            .args(["-c", r#"tar -C "$1" --exclude=./target -cf - . | tar -C "$2" -xf -"#, "sh"])
            .args([&example, path])
            .status();
        assert!(copied.unwrap().success());
        fs::create_dir(path.join("nats")).unwrap();
        let mut dockerfile = "FROM scratch\n".to_owned();
        for file in [NATS].iter().chain(&LIBRARIES) {
            let name = file.rsplit('/').next().unwrap();
            fs::copy(file, path.join("nats").join(name)).unwrap();
            dockerfile += &format!("COPY {name} {file}\n");
        }
        self.harbour.work.write("nats/Dockerfile", dockerfile + &format!("ENTRYPOINT [\"{NATS}\"]\n"));
        let mut more = "[build]\ncommand = \"cargo build --release --locked --bins\"\n\
            [services.broker]\ninputs = [\"nats/**\"]\ncontext = \"nats\"\nimages = [\"nats:2\"]\n"
            .to_owned();
        for service in SERVICES {
            more += &format!(
                "[services.{service}]\ninputs = [\"services/{service}/**\", \"wire/**\", \"Cargo.*\"]\ncontext = \".\"\n\
                 dockerfile = \"services/{service}/Dockerfile\"\nimages = [\"chat-{service}\"]\n"
            );
        }
        let text = self.harbour.configuration(&[], "start = \"120s\"\n", &more);
        self.harbour.work.write("bowline.toml", text.replace("k8s/", "kubernetes/"));
        let target = path.join("target").to_str().unwrap().to_owned();
        self.harbour.variables.borrow_mut().insert("CARGO_TARGET_DIR".into(), target);
    }

    /// A volume for the rooms that every node reaches.
    fn make_volume(&self) {
        let folder = self.harbour.scratch.path().join("history");
        fs::create_dir(&folder).unwrap();
        for path in [self.harbour.scratch.path(), &folder] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let (name, folder) = (&self.volume, folder.display());
        self.harbour.cluster.feed(
            &["apply", "-f", "-"],
            &format!(
                "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  capacity: {{storage: 1Gi}}\n  \
                 accessModes: [ReadWriteOnce]\n  hostPath: {{path: {folder}}}\n  \
                 claimRef: {{namespace: {name}, name: history}}\n"
            ),
        );
    }

    fn release(&self, title: &str) {
        self.harbour.merge(title);
        self.harbour.run(&["release"]).exits(0);
    }

    /// Replaces a text in a file that has it once.
    fn change(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path().join(path)).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{path}: {from}");
        self.harbour.work.write(path, text.replace(from, to));
    }

    /// The gateway as it is reached from outside: on a node.
    fn address(&self, node: &str) -> String {
        let service = self.harbour.get(&["service", "gateway"]);
        let node = self.harbour.get(&["node", node]);
        let addresses = node["status"]["addresses"].as_array().unwrap();
        let internal = addresses.iter().find(|address| address["type"] == "InternalIP").unwrap();
        format!("{}:{}", internal["address"].as_str().unwrap(), service["spec"]["ports"][0]["nodePort"])
    }

    /// The nodes of a service's pods that are not on their way out.
    fn nodes(&self, app: &str) -> Vec<String> {
        let pods = self.harbour.get(&["pods", &format!("--selector=app={app}")]);
        let there = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let items = pods["items"].as_array().unwrap().iter().filter(there);
        items.map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn ready(&self, app: &str) -> bool {
        let pods = self.harbour.pods_of(app);
        !pods.is_empty() && pods.iter().all(|pod| pod.ready)
    }

    fn crowd(&self, address: &str) -> Crowd {
        Crowd::gather(self.path().join("target/release/crowd"), address)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.harbour.cluster.try_kubectl(["delete", "persistentvolume", &self.volume, "--wait=false"]);
    }
}

/// People in the chat, until they are asked how it was.
struct Crowd(Child);

impl Crowd {
    fn gather(program: PathBuf, address: &str) -> Self {
        let mut command = Command::new(program);
        command.arg(address).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// What became of what they did.
    fn ask(mut self) -> Value {
        drop(self.0.stdin.take());
        let mut stdout = self.0.stdout.take().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut text).unwrap();
        self.0.wait().unwrap();
        eprintln!("{}", text.trim());
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_chat_is_upgraded_under_load_and_survives_the_loss_of_a_worker() {
    let Some(chat) = Chat::open() else { return };
    chat.release("[minor] the chat on three nodes");
    chat.harbour.run(&["deploy", "cluster"]).exits(0);
    for app in ["broker", "gateway"] {
        let nodes = chat.nodes(app);
        assert_eq!((nodes.len(), nodes.into_iter().collect::<BTreeSet<_>>().len()), (3, 3), "{app}");
    }

    // Everything is replaced while people use it.
    let before = chat.harbour.pods();
    chat.change(
        "services/gateway/page/index.html",
        "Choose a name and come in.",
        "Choose a name, and hello.",
    );
    chat.change("services/users/src/lib.rs", "const NAME_LIMIT: usize = ", "const NAME_LIMIT: usize = 1 + ");
    chat.change(
        "services/rooms/src/lib.rs",
        "const TEXT_LIMIT: usize = 4_000",
        "const TEXT_LIMIT: usize = 4_001",
    );
    chat.change("kubernetes/broker.yaml", "--http_port=8222", "--http_port=8222\n            - --debug");
    chat.release("[minor] everything anew");
    let crowd = chat.crowd(&chat.address("node-1"));
    std::thread::sleep(Duration::from_secs(3));
    let deployed = chat.harbour.run(&["deploy", "cluster"]).exits(0);
    // Until the last of the old gateways has said goodbye.
    std::thread::sleep(Duration::from_secs(9));
    let told = crowd.ask();
    eprintln!("all services replaced in {:.1?}", deployed.took);
    let after = chat.harbour.pods();
    let names: BTreeSet<_> = before.iter().filter(|pod| pod.app != "broker").map(|pod| &pod.name).collect();
    assert!(after.iter().all(|pod| !names.contains(&pod.name)), "{before:?} {after:?}");
    for zero in ["failed", "lost", "twice"] {
        assert_eq!(told[zero], 0, "{zero}: {told}");
    }
    assert!(told["connections"].as_u64() > Some(4), "nobody had to come back: {told}");
    assert!(told["requests"].as_u64() > Some(100) && told["messages"].as_u64() > Some(100), "{told}");

    // The worker with the rooms is gone from one moment to the next.
    let lost = chat.nodes("rooms").pop().unwrap();
    let stays = ["node-1", "node-2", "node-3"].into_iter().find(|node| *node != lost).unwrap();
    let crowd = chat.crowd(&chat.address(stays));
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    let node = chat.harbour.cluster.lose(&lost);
    while chat.nodes("rooms") == [lost.as_str()] || !chat.ready("rooms") {
        assert!(began.elapsed() < Duration::from_secs(120), "the rooms stay away");
        std::thread::sleep(Duration::from_millis(200));
    }
    eprintln!("{lost} was lost; the rooms were back after {:.1?}", began.elapsed());
    std::thread::sleep(Duration::from_secs(5));
    let told = crowd.ask();
    assert_eq!((&told["lost"], &told["twice"]), (&0.into(), &0.into()), "{told}");
    drop(node);

    let brokers = Instant::now();
    while chat.harbour.pods_of("broker").len() < 3 || !chat.ready("broker") {
        assert!(brokers.elapsed() < Duration::from_secs(120), "{:?}", chat.harbour.pods_of("broker"));
        std::thread::sleep(Duration::from_millis(500));
    }
    let plan = chat.harbour.run(&["plan", "cluster"]).exits(0);
    assert!(plan.out.contains("nothing to do"), "{plan}");
    chat.harbour.is_at_rest();
}
