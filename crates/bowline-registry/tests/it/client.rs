//! skopeo and buildah, as they come from the distribution.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use bowline_testkit::skip::{is_root, missing_program, skip};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::served::Served;

fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = block_in_place(|| command.output()).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn is_missing(programs: &[&str]) -> bool {
    match missing_program(programs) {
        Some(program) => skip::<()>(&format!("{program} is not installed (scripts/setup clients)")).is_none(),
        None if !is_root() => skip::<()>("buildah needs root here").is_none(),
        None => false,
    }
}

/// Makes an OCI layout with one image by hand: nothing but files.
fn write_layout(folder: &Path, layers: &[&[u8]]) -> String {
    use crate::served::{MANIFEST, image};
    use bowline_core::digest::Digest;
    use serde_json::json;
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let keep = |content: &[u8], kind: &str| {
        let digest = Digest::of(content);
        std::fs::write(blobs.join(digest.hex()), content).unwrap();
        json!({"mediaType": kind, "digest": digest, "size": content.len()})
    };
    let layer_kind = "application/vnd.oci.image.layer.v1.tar";
    let layers: Vec<_> = layers.iter().map(|layer| keep(layer, layer_kind)).collect();
    let ids: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}});
    let config = keep(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = keep(image(config, layers).to_string().as_bytes(), MANIFEST);
    let digest = manifest["digest"].as_str().unwrap().to_owned();
    let index = json!({"schemaVersion": 2, "manifests": [manifest]}).to_string();
    std::fs::write(folder.join("index.json"), index).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    digest
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_copies_lists_inspects_and_deletes() {
    if is_missing(&["skopeo"]) {
        return;
    }
    let served = Served::start().await;
    let place = tempfile::tempdir().unwrap();
    let empty_tar = [0; 1024];
    let big: Vec<u8> = (0..20 << 20).map(|number: u32| (number % 251) as u8).collect();
    let digest = write_layout(&place.path().join("layout"), &[&empty_tar, &big]);
    let from = format!("oci:{}", place.path().join("layout").display());
    let keep = "--dest-oci-accept-uncompressed-layers";
    let at = |image: &str| format!("docker://{}/{image}", served.address);

    run(
        "skopeo",
        ["copy", "--dest-tls-verify=false", "--preserve-digests", keep, &from, &at("main/chat:user_v1")],
    );
    let both = ["copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests"];
    // To another tag, and into another repository by way of a mount.
    for to in ["main/chat:user_v2", "other/deep/chat:user_v1"] {
        run("skopeo", both.into_iter().chain([at("main/chat:user_v1").as_str(), &at(to)]));
    }
    let tags: Value =
        serde_json::from_str(&run("skopeo", ["list-tags", "--tls-verify=false", &at("main/chat")])).unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["user_v1", "user_v2"]));
    let seen = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &at("other/deep/chat:user_v1")];
    assert_eq!(run("skopeo", seen), digest);

    let back = place.path().join("back");
    let to = format!("dir:{}", back.display());
    run("skopeo", ["copy", "--src-tls-verify=false", &at(&format!("main/chat@{digest}")), &to]);
    let hex = bowline_core::digest::Digest::of(&big).hex();
    assert_eq!(std::fs::read(back.join(hex)).unwrap(), big);

    run("skopeo", ["delete", "--tls-verify=false", &at("main/chat:user_v1")]);
    assert_eq!(
        served.send("GET", "/v2/main/chat/manifests/user_v2").await.status(),
        404,
        "skopeo deletes digests"
    );
    assert_eq!(served.send("GET", "/v2/other/deep/chat/manifests/user_v1").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn buildah_pushes_and_pulls_in_both_formats_and_an_index() {
    if is_missing(&["buildah", "skopeo"]) {
        return;
    }
    let served = Served::start().await;
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(place.path().join("hello"), "hello").unwrap();
    let buildah = |store: &str, arguments: &[&str]| {
        let (root, run_root) = (path(&format!("{store}/root")), path(&format!("{store}/run")));
        let global = ["--root", &root, "--runroot", &run_root, "--storage-driver", "vfs"];
        run("buildah", global.iter().chain(arguments))
    };
    let at = |image: &str| format!("docker://{}/{image}", served.address);

    let container = buildah("one", &["from", "scratch"]);
    buildah("one", &["copy", &container, &path("hello"), "/hello"]);
    let mut digests = Vec::new();
    for format in ["oci", "docker"] {
        let name = format!("local/{format}");
        buildah("one", &["commit", "--format", format, &container, &name]);
        let file = path(format);
        let to = at(&format!("chat/{format}:v1"));
        buildah("one", &["push", "--tls-verify=false", "--digestfile", &file, &name, &to]);
        digests.push(std::fs::read_to_string(file).unwrap());
        let kind = served.send("HEAD", &format!("/v2/chat/{format}/manifests/v1")).await;
        let kind = kind.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(kind.contains("oci"), format == "oci", "{kind}");
        let image = format!("{}/chat/{format}@{}", served.address, digests[digests.len() - 1]);
        buildah("two", &["pull", "--tls-verify=false", &image]);
    }
    // An index of the image, pushed with its child.
    buildah("one", &["manifest", "create", "both"]);
    buildah("one", &["manifest", "add", "both", "local/oci"]);
    buildah("one", &["manifest", "push", "--all", "--tls-verify=false", "both", &at("chat/index:v1")]);
    let raw = run("skopeo", ["inspect", "--raw", "--tls-verify=false", &at("chat/index:v1")]);
    let raw: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(raw["manifests"].as_array().unwrap().len(), 1, "{raw}");
    let copy = ["copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"];
    run("skopeo", copy.into_iter().chain([at("chat/index:v1").as_str(), &at("elsewhere:v1")]));

    let from = buildah("two", &["from", "--tls-verify=false", &format!("{}/elsewhere:v1", served.address)]);
    let mounted = buildah("two", &["mount", &from]);
    assert_eq!(std::fs::read_to_string(Path::new(&mounted).join("hello")).unwrap(), "hello");
    buildah("two", &["umount", &from]);
}
