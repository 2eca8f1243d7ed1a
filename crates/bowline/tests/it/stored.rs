//! Releases that another version of Bowline made.

use std::path::Path;

use bowline::config::Config;
use bowline::operation::archive::{self, Release};
use bowline::operation::depot::Depot;
use bowline_core::release::SpecFile;

use crate::scene::{Place, Scene, finish};

/// Puts a release beside this one whose configuration says more than today's Bowline lets pass. Gives its tag.
async fn write_as_another(scene: &Scene, tag: &str) -> String {
    let mut serving = scene.spawn(&["--json", "registry", "serve", "--listen", "127.0.0.1:0"]);
    serving.wait_for("address");
    let said = serving.said();
    let (_, address) = said.split_once("http://").unwrap();
    let address = address.split_whitespace().next().unwrap();
    let own = format!("[project]\nname = \"tiny\"\n[registry]\nrepository = \"{address}/tiny\"\n");
    let depot = Depot::open(&Config::parse(&own, Path::new("/")).unwrap()).await.unwrap();
    let Release { mut record, mut spec } = archive::read(&depot, tag).await.unwrap().unwrap();
    let text = scene.configuration(&["web", "users"], "pacing = \"slow\"\nsettle = \"1s\"\n", "")
        + "[build]\ncommand = \"make 'x\"\ncache = true\n[targets.release]\ncompose = 1\n";
    Config::parse(&text, Path::new("/")).unwrap_err();
    let file = SpecFile { executable: false, content: text.into_bytes() };
    spec.files.insert("bowline.toml".into(), file);
    // Older than this one: what is shipped next is to replace it.
    (record.tag, record.version) =
        (tag.replacen("v0.1.0", "v0.0.9", 1), record.version.replacen("0.1.0", "0.0.9", 1));
    record.spec = spec.digest();
    let written = archive::commit(&depot, Release { record, spec }).await.unwrap();
    serving.signal("-TERM");
    finish(serving).exits(0);
    written.record.tag
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_another_bowline_is_deployed_and_gone_back_to() {
    let Some(scene) = Scene::start("s-other", Place::Far) else { return };
    scene.run(&["deploy", "box"]).says("no complete release in the embedded registry").exits(2);
    scene.merge("[minor] the first");
    let shipped = scene.run(&["--json", "ship", "box"]).exits(0).summary();
    let other = write_as_another(&scene, shipped["tag"].as_str().unwrap()).await;
    let unknown = "`pacing` is not a key of [targets.box]: it is left out";
    scene.run(&["deploy", "box", &other]).says(unknown).exits(0);
    scene.service("web", "2", &[]);
    scene.merge("[patch] the second");
    scene.run(&["ship", "box"]).exits(0);
    scene.runs("2", "1");
    scene.run(&["rollback", "box"]).says(unknown).exits(0);
    scene.runs("1", "1");
    scene.is_at_rest();
}
