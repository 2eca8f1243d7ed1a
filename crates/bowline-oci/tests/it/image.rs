//! From a Dockerfile to a registry, and what others read there.

use bowline_oci::push::push;
use bowline_oci::store::Store;
use bowline_testkit::registry::start_docker_registry;
use bowline_testkit::skip::{missing_program, skip};

use crate::place::{build_scratch, chain, client, image_of, item, quiet, repository, run, write};

#[tokio::test]
async fn what_is_assembled_and_pushed_is_an_image_for_everybody() {
    let Some(registry) = start_docker_registry() else { return };
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("cache")).unwrap();
    let context = home.path().join("context");
    write(
        &context,
        "Dockerfile",
        b"FROM scratch\nENV A=1 B=\"$PATH x\"\nCOPY . /app/\nWORKDIR /app\nEXPOSE 80\nCMD [\"./run\"]\n",
    );
    write(&context, ".dockerignore", b"Dockerfile\n*.log\n");
    write(&context, "run", &vec![7; 200_000]);
    write(&context, "noise.log", b"x");
    write(&context, "conf/a.txt", b"hello");
    let image = build_scratch(&store, &context);

    let target = repository(&registry.repository("chat"));
    let items = [item("user", &image, "user_v1"), item("room", &image, "room_v1")];
    let first = push(&client(), &store, &target, &items, false, &quiet()).await.unwrap();
    let size: u64 = image.layers.iter().map(|layer| layer.size).sum::<u64>() + image.config.size;
    assert_eq!(first.sent(), size, "shared blobs are sent once");
    let again = push(&client(), &store, &target, &items, false, &quiet()).await.unwrap();
    assert_eq!(again.sent(), 0);
    assert!(again.images.iter().all(|image| !image.changed));

    if let Some(program) = missing_program(&["skopeo"]) {
        return skip::<()>(&format!("{program} is not installed")).unwrap_or_default();
    }
    let name = format!("docker://{target}:user_v1");
    let seen = run("skopeo", &["inspect", "--tls-verify=false", &name]);
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["Digest"], image.manifest.digest.to_string());
    assert!(seen["Env"].to_string().contains("sbin:/bin x"), "{seen}");
    let copy = format!("dir:{}", home.path().join("copy").display());
    run("skopeo", &["copy", "--src-tls-verify=false", &name, &copy]);
}

#[tokio::test]
async fn the_cache_is_a_layout_that_others_read() {
    if let Some(program) = missing_program(&["skopeo"]) {
        return skip::<()>(&format!("{program} is not installed")).unwrap_or_default();
    }
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("cache")).unwrap();
    let image = image_of(&store, home.path(), b"content");
    store.name("user", &image.manifest).unwrap();
    let seen = run("skopeo", &["inspect", &format!("oci:{}:user", store.layout().display())]);
    assert!(seen.contains(&image.manifest.digest.to_string()), "{seen}");
}

#[tokio::test]
async fn a_tag_that_exists_with_other_content_is_left_alone() {
    let Some(registry) = start_docker_registry() else { return };
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("cache")).unwrap();
    let (one, two) = (image_of(&store, home.path(), b"one"), image_of(&store, home.path(), b"another"));
    assert_ne!(one.id, two.id);
    let target = repository(&registry.repository("chat"));
    push(&client(), &store, &target, &[item("user", &one, "user_v1")], false, &quiet()).await.unwrap();
    let error = push(&client(), &store, &target, &[item("user", &two, "user_v1")], false, &quiet()).await;
    let error = chain(&error.unwrap_err());
    assert!(error.contains("exists with other content"), "{error}");
    let head = client().head_manifest(&target.tagged("user_v1")).await.unwrap().unwrap();
    assert_eq!(head.digest, one.manifest.digest);
    push(&client(), &store, &target, &[item("user", &two, "user_v1")], true, &quiet()).await.unwrap();
    let head = client().head_manifest(&target.tagged("user_v1")).await.unwrap().unwrap();
    assert_eq!(head.digest, two.manifest.digest);
}
