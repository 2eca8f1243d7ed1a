//! A release that is cut off at any request to the registry is finished by the next run: one record, matching tags.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bowline_testkit::proxy::{Fault, FaultProxy, Rule};
use bowline_testkit::registry::{Registry, start_docker_registry};
use bowline_testkit::repository::{Origin, Repository};
use serde_json::Value;

const SERVICES: [&str; 2] = ["api", "web"];

/// A project whose build leaves other bytes each time.
fn project(origin: &Origin, registry: &str, name: &str) -> Repository {
    let repository = origin.clone_full();
    let services: String = SERVICES
        .iter()
        .map(|name| format!("[services.{name}]\ncontext = \"{name}\"\nbuild = \"head -c 4000 /dev/urandom > {name}/blob\"\n"))
        .collect();
    let toml = format!(
        "[project]\nname = \"shop\"\n[registry]\nrepository = \"{registry}/{name}\"\n[build]\nshell = true\n{services}"
    );
    for name in SERVICES {
        repository.write(&format!("{name}/Dockerfile"), "FROM scratch\nCOPY blob /blob\n");
    }
    repository.write("bowline.toml", toml).write(".gitignore", "blob\n");
    repository.commit("begin");
    repository.push();
    repository
}

fn release(repository: &Repository, state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command
        .args(["--json", "release"])
        .current_dir(repository.path())
        .envs(repository.environment())
        .env("BOWLINE_STATE", state.join("state"))
        .env("BOWLINE_CACHE", state.join("cache"))
        .env("CI", "true")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn summary(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{text}");
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn get(registry: &Registry, name: &str, path: &str) -> Value {
    let url = format!("http://{}/v2/{name}/{path}", registry.address());
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let output = Command::new("curl").args(["-sfL", "-H", accept, &url]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

fn digest(registry: &Registry, name: &str, tag: &str) -> String {
    let url = format!("http://{}/v2/{name}/manifests/{tag}", registry.address());
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let output = Command::new("curl").args(["-sfI", "-H", accept, &url]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
    let line = text.lines().find_map(|line| line.strip_prefix("docker-content-digest: "));
    line.unwrap_or_default().trim().to_owned()
}

/// The one record's images by service, as the registry has it under the release's tag.
fn recorded(registry: &Registry, name: &str, tag: &str) -> BTreeMap<String, (String, String)> {
    let manifest = get(registry, name, &format!("manifests/{tag}"));
    let record = manifest["layers"][0]["digest"].as_str().unwrap_or_else(|| panic!("{tag}: {manifest}"));
    let record = get(registry, name, &format!("blobs/{record}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let images = record["images"].as_object().unwrap().iter();
    images.map(|(name, image)| (name.clone(), (text(&image["tag"]), text(&image["manifest"])))).collect()
}

fn assert_one_release(registry: &Registry, name: &str, origin: &Origin, tag: &str, commit: &str) {
    let tags: Vec<_> = origin.tags().into_iter().filter(|(_, target)| target == commit).collect();
    assert_eq!(tags, [(tag.to_owned(), commit.to_owned())], "one git tag");
    let images = recorded(registry, name, tag);
    assert_eq!(images.len(), SERVICES.len());
    for (service, (image_tag, manifest)) in images {
        assert_eq!(
            digest(registry, name, &image_tag),
            manifest,
            "the tag of {service} is the record's image"
        );
    }
}

/// Waits for the `n`th request, whose answer never comes, or for the end of a run that makes fewer.
fn reaches(proxy: &FaultProxy, n: usize, child: &mut Child) -> bool {
    let start = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if proxy.requests().len() >= n {
            return true;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "request {n} is not made, and the run does not end"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_release_killed_at_any_request_is_finished_by_the_next_run() {
    let Some(registry) = start_docker_registry() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut killed = 0;
    for n in 1.. {
        let proxy = runtime.block_on(FaultProxy::http(registry.address()));
        let (origin, state) = (Origin::new(), tempfile::tempdir().unwrap());
        // A repository of its own: commit ids are the same in each round, and so are tags.
        let name = format!("shop{n}");
        let repository = project(&origin, &proxy.address().to_string(), &name);
        proxy.add(Rule::new(Fault::Hang, |_| true).nth(n));
        let mut child = release(&repository, state.path()).spawn().unwrap();
        let cut = reaches(&proxy, usize::try_from(n).unwrap(), &mut child);
        child.kill().unwrap();
        let first = child.wait_with_output().unwrap();
        proxy.heal();
        if !cut {
            let tag = summary(&first)["tag"].as_str().unwrap().to_owned();
            assert_one_release(&registry, &name, &origin, &tag, &repository.head());
            break;
        }
        killed += 1;
        let tag = summary(&release(&repository, state.path()).output().unwrap())["tag"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_one_release(&registry, &name, &origin, &tag, &repository.head());
    }
    eprintln!("killed at each of {killed} requests");
    assert!(killed > 10, "a release makes more requests than {killed}");
}

#[test]
fn ten_runs_on_one_commit_make_one_release() {
    let Some(registry) = start_docker_registry() else { return };
    let origin = Origin::new();
    let first = project(&origin, &registry.address().to_string(), "shop");
    let state = tempfile::tempdir().unwrap();
    let clones: Vec<Repository> = (0..10).map(|_| origin.clone_full()).collect();
    let children: Vec<Child> = clones
        .iter()
        .enumerate()
        .map(|(index, clone)| release(clone, &state.path().join(index.to_string())).spawn().unwrap())
        .collect();
    let tags: Vec<String> = children
        .into_iter()
        .map(|child| summary(&child.wait_with_output().unwrap())["tag"].as_str().unwrap().to_owned())
        .collect();
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
    assert_one_release(&registry, "shop", &origin, &tags[0], &first.head());
}
