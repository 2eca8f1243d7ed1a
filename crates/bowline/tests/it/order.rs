//! Which of several releases counts: the newer over the older, ours beside what other tools pushed, a commit over what
//! lies in a working copy.

use crate::scene::{Place, QUICK, Scene};

/// A project of which two releases were shipped; gives their tags.
fn shipped_twice(hint: &str) -> Option<(Scene, String, String)> {
    let scene = Scene::start(hint, Place::Local)?;
    let ship =
        || scene.run(&["--json", "ship", "box"]).exits(0).summary()["tag"].as_str().unwrap().to_owned();
    scene.merge("[minor] the first");
    let first = ship();
    scene.service("web", "2", &[]);
    scene.service("users", "2", &[]);
    scene.merge("[patch] the second");
    let second = ship();
    Some((scene, first, second))
}

#[test]
fn ship_does_not_put_an_older_release_over_a_newer_one() {
    let Some((scene, first, second)) = shipped_twice("o-older") else { return };
    let before = scene.containers();
    // Somebody runs the first merge's workflow again; or it took longer to build than the second one's.
    scene.work.git(["checkout", "--quiet", "HEAD~1"]);
    let summary = scene.run(&["--json", "ship", "box"]).exits(0).summary();
    assert_eq!((&summary["ok"], &summary["tag"]), (&true.into(), &second.as_str().into()));
    let ran = scene.run(&["ship", "box"]).says(&format!("runs {second}, which is newer than {first}"));
    ran.says(&format!("{second} runs on box")).exits(0);
    assert_eq!(scene.containers(), before);
    scene.is_at_rest();
    // Who says so by name gets the older one.
    scene.run(&["deploy", "box", &first]).exits(0);
    scene.runs("1", "1");
    // Gone back to by hand: what comes next is newer than that.
    scene.work.git(["checkout", "--quiet", "-"]);
    scene.run(&["ship", "box"]).exits(0);
    scene.runs("2", "2");
}

#[test]
fn what_is_not_checked_out_is_not_released() {
    let Some(scene) = Scene::start("o-commit", Place::Local) else { return };
    scene.merge("[minor] the first");
    scene.merge("[minor] the second");
    for verb in [&["release"][..], &["ship", "box"]] {
        let ran = scene.run(&[verb, &["--commit", "HEAD~1"]].concat());
        ran.says("that is what would be built").says("git checkout").exits(2);
    }
    assert!(scene.origin.tags().is_empty());
    scene.run(&["release", "--commit", "main"]).exits(0);
}

#[test]
fn a_second_rollback_goes_further_back() {
    let Some((scene, _, _)) = shipped_twice("o-back") else { return };
    scene.service("web", "3", &[]);
    scene.merge("[patch] the third");
    scene.run(&["ship", "box"]).exits(0);
    for (web, users) in [("2", "2"), ("1", "1")] {
        scene.run(&["rollback", "box"]).exits(0);
        scene.runs(web, users);
    }
    scene.run(&["rollback", "box"]).says("has no earlier release to go back to").exits(2);
    scene.runs("1", "1");
}

#[test]
fn what_other_tools_pushed_is_neither_taken_for_a_release_nor_changed() {
    let Some(scene) = Scene::start("o-foreign", Place::Local) else { return };
    let mut serving = scene.spawn(&["registry", "serve"]);
    serving.wait_for("serving");
    let push = |tag: &str| {
        let name = format!("127.0.0.1:5127/tiny:{tag}");
        scene.host.docker(["tag", "stranger:1", &name]);
        scene.host.docker(["push", "--quiet", &name]);
    };
    let digest = |tag: &str| {
        let url = format!("http://127.0.0.1:5127/v2/tiny/manifests/{tag}");
        let accept = "Accept: application/vnd.docker.distribution.manifest.v2+json";
        let accepts = [accept, "Accept: application/vnd.oci.image.manifest.v1+json"];
        let mut command = scene.host.command("curl");
        command.args(["-sf", &url]).args(accepts.iter().flat_map(|accept| ["-H", accept]));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // An image of the whole, under a version alone.
    push("v0.0.9");
    let commit = scene.merge("[minor] the first");
    // The scripts of before: a tag by hand, images under the same names.
    let tag = format!("v0.0.10-{}", &commit[..7]);
    scene.work.git(["push", "--quiet", "origin", &format!("HEAD:refs/tags/{tag}")]);
    let services: Vec<String> = ["web", "users"].iter().map(|name| format!("{name}_{tag}")).collect();
    services.iter().for_each(|tag| push(tag));
    let before: Vec<String> = services.iter().map(|tag| digest(tag)).collect();
    scene.run(&["release"]).says("exists with other content").says("release the next one").exits(1);
    assert_eq!(services.iter().map(|tag| digest(tag)).collect::<Vec<_>>(), before);
    // They can be deployed, and the next commit be released; the image of the whole is in nobody's way.
    scene.run(&["deploy", "box"]).says("no complete release").exits(2);
    scene.run(&["deploy", "box", "0.0.9"]).says("there is no release `0.0.9`").exits(2);
    scene.run(&["deploy", "box", &tag]).exits(0);
    scene.merge("[patch] the second");
    scene.run(&["ship", "box"]).exits(0);
    scene.runs("1", "1");
    serving.signal("-TERM");
    crate::scene::finish(serving);
}

#[test]
fn what_was_never_committed_is_gone_with_the_next_release() {
    let Some(scene) = Scene::start("o-edited", Place::Local) else { return };
    scene.merge("[minor] the first");
    scene.run(&["ship", "box"]).exits(0);
    scene.work.write("other.txt", "x");
    scene.merge("[patch] nothing of users");
    scene.service("users", "edited", &[]);
    scene
        .run(&["ship", "box"])
        .says("users/Dockerfile differs from the commit; users: built as it is")
        .exits(0);
    scene.runs("1", "edited");
    // Another clone, which has what is committed.
    scene.work.git(["checkout", "--quiet", "--", "users"]);
    scene.work.write("other.txt", "y");
    scene.merge("[patch] nothing of users, again");
    scene.run(&["ship", "box"]).exits(0);
    scene.runs("1", "1");
}

#[test]
fn what_inputs_missed_is_built_when_they_are_corrected() {
    let Some(scene) = Scene::start("o-inputs", Place::Local) else { return };
    let configure = |inputs: &str| {
        let text = scene.configuration(&["web", "users"], QUICK, "");
        let narrow = "inputs = [\"users/**\"]\ncontext = \".\"\ndockerfile = \"users/Dockerfile\"";
        assert!(text.contains(narrow));
        scene.work.write(
            "bowline.toml",
            text.replace(
                narrow,
                &format!("inputs = [{inputs}]\ndockerfile = \"users/Dockerfile\"\ncontext = \".\""),
            ),
        );
    };
    scene.service("users", "1", &["COPY common /common"]);
    scene.work.write("common/text", "1");
    configure("\"users/**\"");
    scene.merge("[minor] the first");
    scene.run(&["ship", "box"]).exits(0);
    let image = || scene.containers_of("users")[0].image.clone();
    let before = image();
    scene.work.write("common/text", "2");
    scene.merge("[patch] missed");
    scene.run(&["ship", "box"]).exits(0);
    assert_eq!(image(), before);
    configure("\"users/**\", \"common/**\"");
    scene.merge("[patch] corrected");
    scene.run(&["ship", "box"]).exits(0);
    assert_ne!(image(), before);
}
