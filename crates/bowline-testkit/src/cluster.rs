//! A real cluster: the one that the environment names, or that of `lab/kubernetes`.
//!
//! `BOWLINE_TEST_KUBECONFIG` is the way to a cluster whose administrator the tests may be, `BOWLINE_TEST_CLUSTER_REGISTRY`
//! a registry (`HOST:PORT`, no TLS) that this machine and its nodes reach, `BOWLINE_TEST_KUBECTL` the program to use.
//! Without them the lab is brought up, and taken down when the test run that brought it up has ended.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use tempfile::{NamedTempFile, TempDir, TempPath};

use crate::host::finish;
use crate::image::busybox;
use crate::proxy::FaultProxy;
use crate::skip::{engines_are_unwanted, is_root, missing_program, skip};

/// What the names of all namespaces of tests begin with.
const PREFIX: &str = "bowline-it-";
/// How many tests of one program use the cluster at a time: each waits for pods, and there are two processors.
const AT_ONCE: u32 = 2;

/// How the cluster is reached.
struct Access {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    registry: Option<String>,
    /// Held for as long as this process lives: nobody takes the lab down meanwhile.
    _use: File,
}

/// A cluster, and a namespace of it that no other test has. The namespace need not exist; dropping this deletes it.
/// A test takes one.
#[derive(Debug)]
pub struct Cluster {
    access: &'static Access,
    namespace: String,
    _turn: Turn,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("kubeconfig", &self.kubeconfig).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reaches the cluster, bringing the lab up if need be (half a minute). The namespace's name holds `hint` (small
    /// letters, digits, dashes).
    ///
    /// `None`, and a loud line, where there is no cluster. See [`crate::skip::skip`] for when this panics instead.
    pub fn reach(hint: &str) -> Option<Self> {
        Self::reach_with(hint, 1)
    }

    /// As [`Cluster::reach`], and no other test of this program uses the cluster meanwhile: for what others would feel.
    pub fn reach_alone(hint: &str) -> Option<Self> {
        Self::reach_with(hint, AT_ONCE)
    }

    fn reach_with(hint: &str, turns: u32) -> Option<Self> {
        static ACCESS: OnceLock<Result<Access, String>> = OnceLock::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let access = match ACCESS.get_or_init(open) {
            Ok(access) => access,
            Err(why) => return skip(why),
        };
        let turn = Turn::take(turns);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("{PREFIX}{hint}-{}-{count}", std::process::id());
        Some(Self { access, namespace, _turn: turn })
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.access.kubeconfig
    }

    /// The namespace of this test.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A registry without TLS that this machine and the nodes reach, `HOST:PORT`. `None`, and a loud line, where there is
    /// none.
    pub fn registry(&self) -> Option<&str> {
        let registry = self.access.registry.as_deref();
        registry.or_else(|| skip("BOWLINE_TEST_CLUSTER_REGISTRY does not say which registry the nodes reach"))
    }

    /// A command line of kubectl, as administrator, in the test's namespace.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.access.command();
        command.args(["--namespace", &self.namespace]).args(arguments);
        command
    }

    /// Runs kubectl in the test's namespace.
    pub fn try_kubectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("kubectl can be started")
    }

    /// Runs kubectl in the test's namespace and gives what it printed, trimmed.
    ///
    /// # Panics
    /// When it fails; see [`Cluster::try_kubectl`].
    pub fn kubectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let arguments: Vec<_> = arguments.into_iter().map(|each| each.as_ref().to_owned()).collect();
        finish(&format!("kubectl {arguments:?}"), self.try_kubectl(&arguments))
    }

    /// As [`Cluster::kubectl`], with a text as input: `apply -f -`.
    pub fn feed(&self, arguments: &[&str], text: &str) -> String {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl can be started");
        let mut input = child.stdin.take().expect("its input is a pipe");
        input.write_all(text.as_bytes()).ok();
        drop(input);
        finish(&format!("kubectl {arguments:?}"), child.wait_with_output().expect("kubectl ends"))
    }

    /// Makes the test's namespace, and waits until pods can start in it.
    pub fn make_namespace(&self) {
        self.kubectl(["create", "namespace", &self.namespace]);
        for _ in 0..100 {
            if self.try_kubectl(["get", "serviceaccount", "default"]).status.success() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("the namespace {} gets no account", self.namespace);
    }

    /// Whether it is that of `lab/kubernetes`, whose nodes share this machine's files and can be lost. Loud where it is not.
    pub fn is_lab(&self) -> Option<()> {
        let printed = String::from_utf8_lossy(&lab(["vars"]).stdout).into_owned();
        let own = format!("KUBECONFIG={}", self.access.kubeconfig.display());
        if printed.lines().any(|line| line == own) {
            return Some(());
        }
        skip("the cluster is not that of lab/kubernetes: its nodes cannot be lost")
    }

    /// Pulls the plug of a node.
    pub fn lose(&self, node: &str) -> LostNode<'_> {
        finish(&format!("lab/kubernetes kill {node}"), lab(["kill", node]));
        LostNode { cluster: self, name: node.to_owned() }
    }

    /// Another way to the API server, without TLS, on which everything is seen and can go wrong.
    pub async fn watched(&self) -> Way {
        Way::open(self.access).await
    }

    /// An image with a shell and its tools, as the nodes pull it. `None`, and a loud line, where it cannot be made.
    pub fn shell_image(&self) -> Option<String> {
        static IMAGE: OnceLock<Result<String, String>> = OnceLock::new();
        let registry = self.registry()?;
        match IMAGE.get_or_init(|| push_shell(registry)) {
            Ok(image) => Some(image.clone()),
            Err(why) => skip(why),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let arguments = ["delete", "namespace", &self.namespace, "--ignore-not-found", "--wait=false"];
        let output = self.try_kubectl(arguments);
        // A second panic while the first unwinds would abort the whole test run.
        if !std::thread::panicking() {
            finish("deleting the namespace", output);
        }
    }
}

impl Access {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// Deletes the namespaces of tests of this machine whose process was killed.
    fn sweep(&self) {
        let mut command = self.command();
        command.args(["get", "namespaces", "--output", "name"]);
        let output = command.output().expect("kubectl can be started");
        let is_left = |name: &str| {
            let process = name.rsplit('-').nth(1).and_then(|text| text.parse::<u32>().ok());
            name.starts_with(PREFIX) && process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists())
        };
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        let left: Vec<&str> = names
            .lines()
            .filter_map(|line| line.strip_prefix("namespace/"))
            .filter(|name| is_left(name))
            .collect();
        if !left.is_empty() {
            let mut command = self.command();
            command.args(["delete", "namespace", "--wait=false", "--ignore-not-found"]).args(left);
            command.output().expect("kubectl can be started");
        }
    }
}

/// So many of the few that may use the cluster now.
#[derive(Debug)]
struct Turn(u32);

static TURNS: (Mutex<u32>, Condvar) = (Mutex::new(0), Condvar::new());

impl Turn {
    fn take(turns: u32) -> Self {
        let taken = TURNS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut u32| *taken + turns > AT_ONCE;
        *TURNS.1.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner) += turns;
        Self(turns)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TURNS.0.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        TURNS.1.notify_all();
    }
}

/// A node of the lab whose plug is pulled; dropping this starts it again and waits until it is ready.
#[derive(Debug)]
pub struct LostNode<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl Drop for LostNode<'_> {
    fn drop(&mut self) {
        lab(["start", &self.name]);
        let node = format!("node/{}", self.name);
        self.cluster.try_kubectl(["wait", &node, "--for=condition=Ready", "--timeout=60s"]);
    }
}

fn open() -> Result<Access, String> {
    // Taken before the lab is looked at: it is not taken down from here on.
    let path = std::env::temp_dir().join("bowline-testkit-cluster.lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
    file.lock_shared().map_err(|error| format!("{}: {error}", path.display()))?;
    let named = std::env::var_os("BOWLINE_TEST_KUBECONFIG").map(PathBuf::from);
    let access = match named {
        Some(kubeconfig) if kubeconfig.is_file() => Access {
            kubeconfig,
            kubectl: std::env::var_os("BOWLINE_TEST_KUBECTL").map_or_else(|| "kubectl".into(), PathBuf::from),
            registry: std::env::var("BOWLINE_TEST_CLUSTER_REGISTRY").ok(),
            _use: file,
        },
        Some(path) => return Err(format!("BOWLINE_TEST_KUBECONFIG is no file: {}", path.display())),
        None => open_lab(file, &path)?,
    };
    access.sweep();
    Ok(access)
}

fn open_lab(file: File, lock: &Path) -> Result<Access, String> {
    if engines_are_unwanted() {
        return Err("this run does without engines".into());
    }
    if !is_root() {
        return Err("the lab's cluster needs root".into());
    }
    if let Some(program) =
        missing_program(&["etcd", "containerd", "runc", "docker-registry", "openssl", "jq"])
    {
        return Err(format!("{program} is not installed (scripts/setup tools lab registry kubernetes)"));
    }
    if !lab(["build", "--check"]).status.success() {
        return Err("Kubernetes is not built yet (lab/kubernetes build, some ten minutes)".into());
    }
    let runs = String::from_utf8_lossy(&lab(["status"]).stdout).contains("KUBECONFIG=");
    let output = lab(["up"]);
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        panic!("lab/kubernetes up failed: {error}");
    }
    if !runs {
        leave_down(lock);
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let variables: BTreeMap<_, _> = printed.lines().filter_map(|line| line.split_once('=')).collect();
    let value = |key: &str| (*variables.get(key).expect("lab/kubernetes gives its variables")).to_owned();
    Ok(Access {
        kubeconfig: value("KUBECONFIG").into(),
        kubectl: value("KUBECTL").into(),
        registry: Some(value("REGISTRY")),
        _use: file,
    })
}

/// Leaves a process behind that takes the lab down when this test run has ended, however it ends, and nobody else uses it.
/// The run is Cargo's, which starts one program after the other, or else this program's own.
#[allow(clippy::zombie_processes, reason = "it outlives this process, and is the init process's to wait for")]
fn leave_down(lock: &Path) {
    let parent = parent_id();
    let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
    let run = if name.trim() == "cargo" { parent } else { std::process::id() };
    let script = r#"while kill -0 "$1" 2>/dev/null; do sleep 0.5; done; exec flock "$2" "$3" down"#;
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", script, "sh", &run.to_string()]).arg(lock).arg(self::script());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // It is nobody's child: whoever waits for us does not wait for it.
    command.process_group(0).spawn().expect("a shell can be started");
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab/kubernetes")
}

fn lab<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    Command::new(script()).args(arguments).output().expect("lab/kubernetes can be started")
}

/// Makes an image of Debian's static busybox, and pushes it.
fn push_shell(registry: &str) -> Result<String, String> {
    let busybox = busybox()?;
    if let Some(program) = missing_program(&["skopeo"]) {
        return Err(format!("{program} is not installed (scripts/setup clients)"));
    }
    let folder = TempDir::with_prefix("bowline-shell-").expect("a temporary directory");
    let path = folder.path().join("root.tar");
    let mut archive = tar::Builder::new(File::create(&path).expect("the archive can be made"));
    archive.append_path_with_name(busybox, "bin/busybox").expect("busybox can be read");
    let listed = Command::new(busybox).arg("--list").output().expect("busybox can be started");
    for name in String::from_utf8_lossy(&listed.stdout).lines().filter(|name| *name != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        archive
            .append_link(&mut header, format!("bin/{name}"), "busybox")
            .expect("the archive can be written");
    }
    archive.into_inner().and_then(|mut file| file.flush()).expect("the archive can be written");
    let image = format!("{registry}/bowline-it/shell:1");
    let mut command = Command::new("skopeo");
    command.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]);
    command.arg(format!("tarball:{}", path.display())).arg(format!("docker://{image}"));
    finish("pushing the shell's image", command.output().expect("skopeo can be started"));
    Ok(image)
}

/// A way to the API server by plain HTTP, through a proxy that writes down what passes and fails as told. It ends with
/// this.
pub struct Way {
    /// What passes, and what goes wrong.
    pub proxy: FaultProxy,
    kubeconfig: TempPath,
    child: Child,
}

impl Way {
    async fn open(access: &Access) -> Self {
        let mut command = access.command();
        command.args(["proxy", "--port=0", "--reject-paths=^$"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("kubectl can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is a pipe")).lines();
        // `Starting to serve on 127.0.0.1:37213`
        let line = lines.next().expect("kubectl proxy says where it is").expect("kubectl proxy can be read");
        let upstream: SocketAddr = line.rsplit(' ').next().expect("an address").parse().expect("an address");
        let proxy = FaultProxy::http(upstream).await;
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: way\n\
             contexts: [{{name: way, context: {{cluster: way, user: way}}}}]\n\
             clusters: [{{name: way, cluster: {{server: \"http://{}\"}}}}]\nusers: [{{name: way, user: {{}}}}]\n",
            proxy.address()
        );
        let file = NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("the kubeconfig can be written");
        Self { proxy, kubeconfig: file.into_temp_path(), child }
    }

    /// A kubeconfig that leads this way.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
