//! A small project on a real cluster: an origin, a clone, two services that are built in no time with their manifests,
//! and Bowline run on it as people run it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bowline_kube::document::Documents;
use bowline_testkit::cluster::Cluster;
use bowline_testkit::image;
use bowline_testkit::repository::{Origin, Repository};
use serde_json::Value;
use tempfile::TempDir;

use crate::scene::{Ran, Running, finish, spawn};

/// The project, its namespace in the cluster and its repository.
pub(crate) struct Harbour {
    pub(crate) cluster: Cluster,
    _origin: Origin,
    pub(crate) work: Repository,
    /// The way to the cluster, where it is not its administrator's.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Further variables for Bowline.
    pub(crate) variables: RefCell<BTreeMap<String, String>>,
    pub(crate) scratch: TempDir,
}

/// One pod that is not on its way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pod {
    pub(crate) app: String,
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) ready: bool,
    pub(crate) restarts: u64,
}

pub(crate) const SERVICES: [&str; 2] = ["users", "web"];

/// What the project's file says of the target besides what [`Harbour::configure`] writes always.
pub(crate) const QUICK: &str = "start = \"60s\"\nsettle = \"1s\"\nrestarts = 1\n";

/// The kinds of objects that the tests' releases have.
const KINDS: &str = "configmaps,services,deployments,statefulsets,jobs,horizontalpodautoscalers,persistentvolumeclaims,secrets";

impl Harbour {
    /// Reaches the cluster and writes version 1 of the project; nothing is pushed or deployed yet.
    pub(crate) fn open(hint: &str) -> Option<Self> {
        Self::of(Cluster::reach(hint)?)
    }

    /// The same in a cluster that the test has for itself.
    pub(crate) fn of(cluster: Cluster) -> Option<Self> {
        cluster.registry()?;
        let origin = Origin::new();
        let work = origin.clone_full();
        let scratch = tempfile::Builder::new().prefix("bowline-harbour-").tempdir_in("/tmp").unwrap();
        let harbour =
            Self { cluster, _origin: origin, work, kubeconfig: None, variables: RefCell::default(), scratch };
        fs::copy(image::program()?, harbour.work.path().join("program")).unwrap();
        harbour.configure(QUICK, "");
        let namespace = harbour.namespace();
        let text = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n");
        harbour.work.write("k8s/namespace.yaml", text);
        for service in SERVICES {
            harbour.deployment(service, "");
        }
        harbour.version("1");
        Some(harbour)
    }

    pub(crate) fn namespace(&self) -> &str {
        self.cluster.namespace()
    }

    /// Writes bowline.toml: `target` goes into the target's table, `more` to the end.
    pub(crate) fn configure(&self, target: &str, more: &str) {
        self.work.write("bowline.toml", self.configuration(&SERVICES, target, more));
    }

    /// A bowline.toml for these services.
    pub(crate) fn configuration(&self, services: &[&str], target: &str, more: &str) -> String {
        let (namespace, registry) = (self.namespace(), self.cluster.registry().unwrap());
        let mut text = format!(
            "[project]\nname = \"tiny\"\n[registry]\nrepository = \"{registry}/{namespace}\"\ninsecure = true\n"
        );
        for service in services {
            text += &format!(
                "[services.{service}]\ninputs = [\"{service}/**\"]\ncontext = \".\"\n\
                 dockerfile = \"{service}/Dockerfile\"\nimages = [\"tiny-{service}\"]\n"
            );
        }
        text += &format!("[targets.cluster]\nkubernetes = [\"k8s/\"]\nnamespace = \"{namespace}\"\n");
        text + target + more
    }

    /// Writes a service's Dockerfile: the test program, what it was made as, and further lines.
    pub(crate) fn service(&self, name: &str, made: &str, lines: &[&str]) {
        let mut text = format!(
            "FROM scratch\nCOPY program /program\nENV NAME={name} VERSION={made}\nENTRYPOINT [\"/program\"]\n"
        );
        for line in lines {
            text += &format!("{line}\n");
        }
        self.work.write(&format!("{name}/Dockerfile"), text);
    }

    /// Writes a service's manifests: a Service, and a Deployment of two pods; `more` are further lines of the container.
    pub(crate) fn deployment(&self, name: &str, more: &str) {
        self.work.write(&format!("k8s/{name}.yaml"), deployment(name, more));
    }

    /// Writes a ConfigMap of its own file.
    pub(crate) fn config_map(&self, name: &str, key: &str, value: &str) {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  {key}: \"{value}\"\n"
        );
        self.work.write(&format!("k8s/{name}.yaml"), text);
    }

    /// Writes a version of everything: both services and their settings.
    pub(crate) fn version(&self, made: &str) {
        for service in SERVICES {
            self.service(service, made, &[]);
        }
        self.config_map("settings", "version", made);
    }

    /// Merges what lies there as a pull request of this title. Gives the commit.
    pub(crate) fn merge(&self, title: &str) -> String {
        let commit = self.work.squash_pull(1, title, |_| ());
        self.work.push();
        commit
    }

    /// Bowline with these arguments, in the clone.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_in(self.work.path(), arguments)
    }

    /// Bowline with these arguments, in another directory.
    pub(crate) fn command_in(&self, directory: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
        command.args(arguments).current_dir(directory);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("GIT") || name.starts_with("KUBE") || name.starts_with("BOWLINE") {
                command.env_remove(&*name);
            }
        }
        command.envs(self.work.environment());
        command.env("BOWLINE_STATE", self.scratch.path().join("state"));
        command.env("BOWLINE_CACHE", self.scratch.path().join("cache"));
        let kubeconfig = self.kubeconfig.as_deref().unwrap_or(self.cluster.kubeconfig());
        command.env("KUBECONFIG", kubeconfig).env("NO_COLOR", "1");
        command.envs(self.variables.borrow().iter());
        command.stdin(Stdio::null());
        command
    }

    /// Runs Bowline to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.spawn(arguments))
    }

    /// Starts Bowline; what it prints is kept for [`finish`].
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        spawn(self.command(arguments))
    }

    /// What `kubectl get` gives.
    pub(crate) fn get(&self, what: &[&str]) -> Value {
        let text = self.cluster.kubectl(["get", "--output", "json"].iter().chain(what));
        serde_json::from_str(&text).unwrap()
    }

    /// All objects of the namespace that are not Bowline's own and not the cluster's, as `Kind/name`.
    pub(crate) fn objects(&self) -> BTreeMap<String, Value> {
        let listed = self.get(&[KINDS]);
        let items = listed["items"].as_array().unwrap().iter();
        // Up to 1.23 each namespace gets a Secret for its default account.
        let of_account = |item: &Value| item["type"] == "kubernetes.io/service-account-token";
        let own = |item: &Value| item["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "bowline";
        items
            .filter(|item| !own(item) && !of_account(item))
            .map(|item| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let key = format!("{}/{}", text(&item["kind"]), text(&item["metadata"]["name"]));
                (key, item.clone())
            })
            .filter(|(key, _)| key != "ConfigMap/kube-root-ca.crt")
            .collect()
    }

    /// The names of all objects.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.objects().into_keys().collect()
    }

    /// The version of each object, which every write changes; Bowline's own documents and the namespace included.
    pub(crate) fn resource_versions(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let listed = self.get(&[KINDS]);
        let items = listed["items"].as_array().unwrap().iter().cloned();
        items
            .chain([self.get(&["namespace", self.namespace()])])
            .map(|item| {
                let key = format!("{}/{}", text(&item["kind"]), text(&item["metadata"]["name"]));
                (key, text(&item["metadata"]["resourceVersion"]))
            })
            .collect()
    }

    /// All pods that are not on their way out.
    pub(crate) fn pods(&self) -> Vec<Pod> {
        let listed = self.get(&["pods"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut pods: Vec<Pod> = listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(|pod| {
                let status = &pod["status"]["containerStatuses"][0];
                Pod {
                    app: text(&pod["metadata"]["labels"]["app"]),
                    name: text(&pod["metadata"]["name"]),
                    image: text(&pod["spec"]["containers"][0]["image"]),
                    ready: status["ready"] == true,
                    restarts: status["restartCount"].as_u64().unwrap_or_default(),
                }
            })
            .collect();
        pods.sort();
        pods
    }

    /// The pods of one service.
    pub(crate) fn pods_of(&self, service: &str) -> Vec<Pod> {
        self.pods().into_iter().filter(|pod| pod.app == service).collect()
    }

    /// What a pod answers to a path.
    pub(crate) fn ask(&self, pod: &Pod, path: &str) -> String {
        let url = format!("/api/v1/namespaces/{}/pods/{}:8080/proxy{path}", self.namespace(), pod.name);
        self.cluster.kubectl(["get", "--raw", &url])
    }

    /// What a service answers as its version; all its pods are up and say the same.
    #[track_caller]
    pub(crate) fn answers(&self, service: &str) -> String {
        let pods = self.pods_of(service);
        assert!(!pods.is_empty() && pods.iter().all(|pod| pod.ready), "{pods:?}");
        let said: BTreeSet<String> = pods.iter().map(|pod| self.ask(pod, "/version")).collect();
        assert_eq!(said.len(), 1, "{service}: {said:?}");
        said.into_iter().next().unwrap()
    }

    /// Asserts what `web` and `users` answer.
    #[track_caller]
    pub(crate) fn runs(&self, web: &str, users: &str) {
        assert_eq!((self.answers("web").as_str(), self.answers("users").as_str()), (web, users));
    }

    /// The image that each Deployment names.
    pub(crate) fn images(&self) -> BTreeMap<String, String> {
        let deployments = self.get(&["deployments"]);
        let items = deployments["items"].as_array().unwrap().iter();
        items
            .map(|item| {
                let image = &item["spec"]["template"]["spec"]["containers"][0]["image"];
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                (text(&item["metadata"]["name"]), text(image))
            })
            .collect()
    }

    /// What Bowline keeps in the cluster: the kind of each document, its key and its content.
    pub(crate) fn documents(&self) -> Vec<(String, String, Value)> {
        let (kubeconfig, namespace) = (self.cluster.kubeconfig().to_owned(), self.namespace().to_owned());
        let look = async move {
            let cluster = bowline_kube::Cluster::connect_by(&[kubeconfig], None).await.unwrap();
            Documents::new(&cluster, &namespace, "tiny", "cluster").list(&[]).await.unwrap()
        };
        // On a thread of its own: some tests have a runtime already.
        let looking = std::thread::spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(look));
        let found = looking.join().unwrap();
        assert!(found.unreadable.is_empty(), "{:?}", found.unreadable);
        let told = found.documents.into_iter();
        told.map(|each| (format!("{:?}", each.kind).to_lowercase(), each.key, each.content)).collect()
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> Value {
        let documents = self.documents();
        let revisions = documents.into_iter().filter(|(kind, _, _)| kind == "revision");
        revisions.max_by_key(|(_, _, content)| content["number"].as_u64()).unwrap().2
    }

    /// Asserts that nobody holds the lock and that no run left a page in the journal.
    #[track_caller]
    pub(crate) fn is_at_rest(&self) {
        let intents: Vec<_> = self.documents().into_iter().filter(|(kind, _, _)| kind == "intent").collect();
        assert!(intents.is_empty(), "{intents:?}");
        assert_eq!(self.holder(), "");
    }

    /// Who holds the lock.
    pub(crate) fn holder(&self) -> String {
        let arguments = ["get", "lease", "bowline.tiny.cluster", "--output=jsonpath={.spec.holderIdentity}"];
        self.cluster.kubectl(arguments)
    }
}

/// The manifests of a service: a Service and a Deployment of two pods, whose image is to be replaced.
pub(crate) fn deployment(name: &str, more: &str) -> String {
    format!(
        "# the {name} service
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80, targetPort: 8080}}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: {name}
          image: tiny-{name}:latest   # replaced
          envFrom: [{{configMapRef: {{name: settings}}}}]
          ports: [{{containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /health, port: 8080}}, periodSeconds: 1}}
{more}"
    )
}

/// The tag that an image's name has.
pub(crate) fn tag_of(image: &str) -> &str {
    image.split('@').next().unwrap().rsplit(':').next().unwrap()
}

/// The digest that an image's name has.
pub(crate) fn digest_of(image: &str) -> &str {
    image.split_once('@').unwrap().1
}
