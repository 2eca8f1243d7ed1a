//! Base images on their way: mounted, piped through, or not touched at all.

use std::collections::BTreeMap;
use std::path::Path;

use bowline_core::reference::Repository;
use bowline_oci::build::{Built, build, unwatched};
use bowline_oci::engine::Order;
use bowline_oci::push::{Item, push};
use bowline_oci::store::Store;
use bowline_testkit::host::Host;
use bowline_testkit::image::program;
use bowline_testkit::proxy::FaultProxy;
use bowline_testkit::registry::{Registry, start_docker_registry, start_docker_registry_on};

use crate::place::{chain, client, image_of, item, noise, options, platform, quiet, repository, write};

const SIZE: usize = 3 << 20;

/// A registry with a base image of some size, behind a proxy that counts.
async fn with_base(home: &Path) -> Option<(Registry, FaultProxy, Repository)> {
    let registry = start_docker_registry()?;
    let store = Store::open(&home.join("base-cache")).unwrap();
    let image = image_of(&store, home, &noise(SIZE, 5));
    let proxy = FaultProxy::http(registry.address()).await;
    let base = repository(&format!("{}/base", proxy.address()));
    push(&client(), &store, &base, &[item("base", &image, "1")], false, &quiet()).await.unwrap();
    proxy.clear();
    Some((registry, proxy, base))
}

async fn build_on(store: &Store, home: &Path, text: &str) -> Built {
    let context = home.join("context");
    write(&context, "Dockerfile", text.as_bytes());
    write(&context, "app", b"the app");
    let (dockerfile, arguments) = (context.join("Dockerfile"), BTreeMap::new());
    let platform = platform();
    let order = Order {
        context: &context,
        dockerfile: &dockerfile,
        target: None,
        arguments: &arguments,
        platform: &platform,
    };
    build(store, &client(), None, &order, &|_| {}, &unwatched())
        .await
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn on(built: &Built, tag: &str) -> Item {
    Item { name: "app".into(), image: built.image.clone(), base: built.base.clone(), tags: vec![tag.into()] }
}

#[tokio::test]
async fn a_base_of_which_only_the_config_changes_is_never_downloaded_and_mounted() {
    let home = tempfile::tempdir().unwrap();
    let Some((_registry, proxy, base)) = with_base(home.path()).await else { return };
    let store = Store::open(&home.path().join("cache")).unwrap();
    let built = build_on(&store, home.path(), &format!("FROM {base}:1\nENV A=b\nCMD [\"/data\"]\n")).await;
    let target = repository(&format!("{}/chat", base.registry));
    let report = push(&client(), &store, &target, &[on(&built, "app_v1")], false, &quiet()).await.unwrap();
    assert_eq!(report.sent(), built.image.config.size, "only the config");
    let layer = built.image.layers[0].digest;
    let fetched = proxy.requests().iter().any(|r| r.method == "GET" && r.path.contains(&layer.to_string()));
    assert!(!fetched && store.size(&layer).is_none());

    // The second time, with the store as it is: one request for the base's tag.
    proxy.clear();
    let again = build_on(&store, home.path(), &format!("FROM {base}:1\nENV A=b\nCMD [\"/data\"]\n")).await;
    assert_eq!(again.image, built.image);
    assert_eq!(proxy.lines().len(), 1, "{:#?}", proxy.lines());
}

#[tokio::test]
async fn a_base_of_another_registry_is_piped_through() {
    let home = tempfile::tempdir().unwrap();
    let Some((_registry, proxy, base)) = with_base(home.path()).await else { return };
    let Some(other) = start_docker_registry() else { return };
    let store = Store::open(&home.path().join("cache")).unwrap();
    let built = build_on(&store, home.path(), &format!("FROM {base}:1\nENV A=b\n")).await;
    let target = repository(&other.repository("chat"));
    let cut = bowline_testkit::proxy::Fault::CutAnswerAfter(1 << 20);
    proxy.add(bowline_testkit::proxy::Rule::on("GET", "/blobs/", cut).times(1));
    let report = push(&client(), &store, &target, &[on(&built, "app_v1")], false, &quiet()).await.unwrap();
    assert!(report.sent() > SIZE as u64);
    let layer = built.image.layers[0].digest;
    assert!(store.size(&layer).is_none(), "piped, not kept");
    assert!(client().has_blob(&target, &layer).await.unwrap());
}

#[tokio::test]
async fn a_base_is_read_once_for_what_is_in_it() {
    let home = tempfile::tempdir().unwrap();
    let Some((_registry, proxy, base)) = with_base(home.path()).await else { return };
    let store = Store::open(&home.path().join("cache")).unwrap();
    let text = format!("FROM {base}:1\nCOPY app /app\n");
    let built = build_on(&store, home.path(), &text).await;
    let layer = built.image.layers[0].digest;
    std::fs::remove_file(store.path(&layer)).unwrap();
    proxy.clear();
    assert_eq!(build_on(&store, home.path(), &text).await.image, built.image);
    assert!(proxy.requests().iter().all(|request| request.method == "HEAD"), "{:#?}", proxy.lines());
}

#[tokio::test]
async fn a_base_that_is_not_there_or_for_others_is_told() {
    let home = tempfile::tempdir().unwrap();
    let Some((_registry, _proxy, base)) = with_base(home.path()).await else { return };
    let store = Store::open(&home.path().join("cache")).unwrap();
    let missing =
        bowline_oci::pull::pull(&client(), &store, &base.tagged("2"), &platform()).await.unwrap_err();
    assert!(missing.to_string().contains("there is no image"), "{missing}");
    let other = "linux/s390x".parse().unwrap();
    let wrong = bowline_oci::pull::pull(&client(), &store, &base.tagged("1"), &other).await.unwrap_err();
    assert!(wrong.to_string().contains("has no image for linux/s390x"), "{wrong}");
}

#[tokio::test]
async fn an_engine_pulls_and_runs_what_was_assembled_and_knows_it_by_its_id() {
    let Some(host) = Host::start("oci-run") else { return };
    let Some(program) = program() else { return };
    let Some(registry) = start_docker_registry_on(host.gateway()) else { return };
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("cache")).unwrap();
    let context = home.path().join("run");
    write(
        &context,
        "Dockerfile",
        b"FROM scratch\nCOPY program /bin/program\nENTRYPOINT [\"/bin/program\"]\n",
    );
    std::fs::copy(program, context.join("program")).unwrap();
    let image = crate::place::build_scratch(&store, &context);
    let plain = [registry.address().to_string()].into();
    let options = bowline_oci::registry::Options { plain, ..options() };
    let client = bowline_oci::registry::Client::new(options).unwrap();
    let target = repository(&registry.repository("chat"));
    push(&client, &store, &target, &[item("user", &image, "user_v1")], false, &quiet()).await.unwrap();
    let name = format!("{target}@{}", image.manifest.digest);
    host.docker(["pull", &name]);
    let id = host.docker(["image", "inspect", "--format", "{{.Id}}", &name]);
    assert!(image.id.is(&id.trim().parse().unwrap()), "{id}");
    let container = host.docker(["run", "-d", &name]);
    let state = host.docker(["inspect", "--format", "{{.State.Running}}", container.trim()]);
    assert_eq!(state.trim(), "true", "{}", host.docker(["logs", container.trim()]));
}
