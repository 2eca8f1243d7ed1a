//! Artifacts, tags and deletions in a real registry.

use std::collections::BTreeMap;

use bowline_oci::artifact::{Artifact, Part, pull_artifact, push_artifact};
use bowline_oci::list::list;
use bowline_oci::push::push;
use bowline_oci::store::Store;
use bowline_testkit::registry::start_docker_registry;

use crate::place::{chain, client, image_of, item, quiet, repository};

const KIND: &str = "application/vnd.bowline.release.v1+json";

fn record(text: &str) -> Artifact {
    let part = |title: &str, bytes: &[u8]| Part {
        title: title.into(),
        media_type: "application/json".into(),
        bytes: bytes.to_vec(),
    };
    Artifact {
        kind: KIND.into(),
        annotations: BTreeMap::from([("org.opencontainers.image.version".to_owned(), "v1".to_owned())]),
        parts: vec![part("release.json", text.as_bytes()), part("spec.tar", &[0, 1, 2])],
    }
}

#[tokio::test]
async fn a_record_is_put_once_and_never_changed() {
    let Some(registry) = start_docker_registry() else { return };
    let target = repository(&registry.repository("chat"));
    let reference = target.tagged("v1");
    assert_eq!(pull_artifact(&client(), &reference, KIND).await.unwrap(), None);
    let first = push_artifact(&client(), &target, "v1", &record("{}")).await.unwrap();
    assert!(first.new);
    let again = push_artifact(&client(), &target, "v1", &record("{}")).await.unwrap();
    assert_eq!((again.digest, again.new), (first.digest, false));
    let error = push_artifact(&client(), &target, "v1", &record("{\"x\":1}")).await.unwrap_err();
    assert!(chain(&error).contains("exists with other content"), "{}", chain(&error));
    let (read, artifact) = pull_artifact(&client(), &reference, KIND).await.unwrap().unwrap();
    assert_eq!((read, artifact), (first.digest, record("{}")));
}

#[tokio::test]
async fn an_image_is_no_record() {
    let Some(registry) = start_docker_registry() else { return };
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("cache")).unwrap();
    let image = image_of(&store, home.path(), b"content");
    let target = repository(&registry.repository("chat"));
    push(&client(), &store, &target, &[item("user", &image, "user_v1")], false, &quiet()).await.unwrap();
    let error = pull_artifact(&client(), &target.tagged("user_v1"), KIND).await.unwrap_err();
    assert!(error.to_string().contains("is no application/vnd.bowline.release"), "{error}");
}

#[tokio::test]
async fn a_repository_is_listed_page_by_page() {
    let Some(registry) = start_docker_registry() else { return };
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("cache")).unwrap();
    let image = image_of(&store, home.path(), b"content");
    let target = repository(&registry.repository("chat"));
    assert_eq!(list(&client(), &target).await.unwrap().bare.len(), 0, "no repository is an empty one");
    let mut all = item("user", &image, "user_v5.0.2");
    // More than one page of a thousand.
    all.tags = (0..1100).map(|n| format!("user_v5.0.{n}")).chain(["super-user_v5.0.2".into()]).collect();
    push(&client(), &store, &target, &[all], false, &quiet()).await.unwrap();
    push_artifact(&client(), &target, "v5.0.2", &record("{}")).await.unwrap();
    let listing = list(&client(), &target).await.unwrap();
    assert_eq!(listing.images.len(), 1100);
    let services: Vec<&str> = listing.images["v5.0.2"].iter().map(String::as_str).collect();
    assert_eq!(services, ["super-user", "user"]);
    assert_eq!(listing.bare, ["v5.0.2".to_owned()].into());
}

#[tokio::test]
async fn an_image_is_deleted_by_its_digest_with_all_its_tags() {
    let Some(registry) = start_docker_registry() else { return };
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("cache")).unwrap();
    let image = image_of(&store, home.path(), b"content");
    let target = repository(&registry.repository("chat"));
    push(&client(), &store, &target, &[item("user", &image, "user_v1")], false, &quiet()).await.unwrap();
    assert!(client().delete_manifest(&target, &image.manifest.digest).await.unwrap());
    assert!(!client().delete_manifest(&target, &image.manifest.digest).await.unwrap());
    assert_eq!(client().head_manifest(&target.tagged("user_v1")).await.unwrap(), None);
}
