//! From a Dockerfile to a registry, and what others read there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bowline_core::image::Platform;
use bowline_core::reference::Repository;
use bowline_oci::assemble::{Image, assemble};
use bowline_oci::context::Context;
use bowline_oci::dockerfile;
use bowline_oci::push::{Item, push};
use bowline_oci::store::Store;

use crate::place::{Registry, client, has, run, write};

fn build(store: &Store, context: &Path) -> Image {
    let file = context.join("Dockerfile");
    let text = std::fs::read_to_string(&file).unwrap();
    let recipe = dockerfile::parse(&text, None, &BTreeMap::new(), &Platform::linux("x86_64")).unwrap();
    assemble(store, &recipe, &Context::open(context, &file).unwrap(), None).unwrap()
}

fn item(name: &str, image: &Image, tag: &str) -> Item {
    Item { name: name.into(), image: image.clone(), base: None, tags: vec![tag.into()] }
}

#[tokio::test]
async fn what_is_assembled_and_pushed_is_an_image_for_everybody() {
    let Some(registry) = Registry::start() else { return };
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
    let image = build(&store, &context);

    let repository: Repository = format!("{}/chat", registry.host).parse().unwrap();
    let items = [item("user", &image, "user_v1"), item("room", &image, "room_v1")];
    let quiet: bowline_oci::push::Observer = Arc::new(|_| {});
    let first = push(&client(), &store, &repository, &items, false, &quiet).await.unwrap();
    let size: u64 = image.layers.iter().map(|layer| layer.size).sum::<u64>() + image.config.size;
    assert_eq!(first.sent(), size, "shared blobs are sent once");
    let again = push(&client(), &store, &repository, &items, false, &quiet).await.unwrap();
    assert_eq!(again.sent(), 0);
    assert!(again.images.iter().all(|image| !image.changed));

    if has("skopeo") {
        let name = format!("docker://{repository}:user_v1");
        let seen = run("skopeo", &["inspect", "--tls-verify=false", &name]);
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(seen["Digest"], image.manifest.digest.to_string());
        assert!(seen["Env"].to_string().contains("sbin:/bin x"), "{seen}");
        let copy = format!("dir:{}", home.path().join("copy").display());
        run("skopeo", &["copy", "--src-tls-verify=false", &name, &copy]);
    }
}

#[tokio::test]
async fn a_tag_that_exists_with_other_content_is_left_alone() {
    let Some(registry) = Registry::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("cache")).unwrap();
    let context = home.path().join("context");
    write(&context, "Dockerfile", b"FROM scratch\nCOPY a /a\n");
    write(&context, "a", b"one");
    let one = build(&store, &context);
    write(&context, "a", b"another");
    let two = build(&store, &context);
    assert_ne!(one.id, two.id);
    let repository: Repository = format!("{}/chat", registry.host).parse().unwrap();
    let quiet: bowline_oci::push::Observer = Arc::new(|_| {});
    push(&client(), &store, &repository, &[item("user", &one, "user_v1")], false, &quiet).await.unwrap();
    let error = push(&client(), &store, &repository, &[item("user", &two, "user_v1")], false, &quiet)
        .await
        .unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("exists with other content"), "{source}");
    let head = client().head_manifest(&repository.tagged("user_v1")).await.unwrap().unwrap();
    assert_eq!(head.digest, one.manifest.digest);
    push(&client(), &store, &repository, &[item("user", &two, "user_v1")], true, &quiet).await.unwrap();
    let head = client().head_manifest(&repository.tagged("user_v1")).await.unwrap().unwrap();
    assert_eq!(head.digest, two.manifest.digest);
}
