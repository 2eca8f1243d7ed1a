//! What goes wrong outside of Bowline while it releases and deploys: a clear message, the right exit code, and the old
//! release still running wherever that is possible.

use std::process::Command;
use std::time::Duration;

use bowline_testkit::host::Options;
use bowline_testkit::proxy::{Fault, FaultProxy, Rule};
use bowline_testkit::{image, registry};

use crate::scene::{COMPOSE, Container, Place, QUICK, Scene, finish, spawn};

/// A project whose first version runs.
fn shipped(hint: &str, place: Place) -> Option<Scene> {
    let scene = Scene::start(hint, place)?;
    scene.merge("[minor] the first");
    scene.run(&["ship", "box"]).exits(0);
    Some(scene)
}

/// Merges a second version of both services.
fn merge_second(scene: &Scene) {
    scene.service("web", "2", &[]);
    scene.service("users", "2", &[]);
    scene.merge("[patch] the second");
}

/// Asserts that everything is as it was, and that nothing is in the way of the next run.
#[track_caller]
fn is_untouched(scene: &Scene, before: &[Container]) {
    assert_eq!(scene.containers(), before);
    scene.is_at_rest();
}

#[test]
fn an_image_that_is_gone_from_the_registry_touches_nothing() {
    let Some(scene) = shipped("f-gone", Place::Local) else { return };
    let before = scene.containers();
    merge_second(&scene);
    let released = scene.run(&["--json", "release"]).exits(0).summary();
    let digest = released["services"]["users"]["digest"].as_str().unwrap();
    let mut serving = scene.spawn(&["registry", "serve"]);
    serving.wait_for("serving");
    let url = format!("http://127.0.0.1:5127/v2/tiny/manifests/{digest}");
    let deleted = scene.host.command("curl").args(["-sf", "-X", "DELETE", &url]).status().unwrap();
    assert!(deleted.success());
    serving.signal("-TERM");
    finish(serving);
    scene.run(&["deploy", "box"]).says("users: its image").says("nothing was touched").exits(2);
    is_untouched(&scene, &before);
}

#[test]
fn a_disk_that_fills_during_the_pull_leaves_the_old_release() {
    let options = Options { disk: Some("330M".into()), ..Options::default() };
    let Some(scene) = Scene::start_with("f-disk", Place::Local, &options) else { return };
    scene.merge("[minor] the first");
    scene.run(&["ship", "box"]).exits(0);
    let before = scene.containers();
    // Sent small, unpacked large: what no check beforehand can see.
    scene.configure(QUICK, "[build]\ncommand = [\"truncate\", \"-s\", \"400M\", \"large\"]\n");
    scene.work.write(".gitignore", "/large\n");
    scene.service("web", "2", &["COPY large /large"]);
    scene.merge("[patch] a large one");
    let ran = scene.run(&["ship", "box"]).says("no space left");
    ran.exits(1);
    is_untouched(&scene, &before);
}

#[test]
fn an_engine_that_dies_halfway_is_told_and_the_next_ship_finishes() {
    let Some(scene) = shipped("f-engine", Place::Local) else { return };
    scene.service("web", "2", &["ENV LISTEN_AFTER=3", CHECK]);
    scene.service("users", "2", &[]);
    scene.merge("[patch] the second");
    let mut running = scene.spawn(&["ship", "box"]);
    running.wait_for("web starting");
    scene.host.kill_engine();
    let ran = finish(running);
    scene.host.start_engine();
    assert_eq!(ran.code, Some(4), "{ran}");
    scene.run(&["ship", "box"]).exits(0);
    scene.runs("2", "2");
    scene.is_at_rest();
}

const CHECK: &str = "HEALTHCHECK --interval=1s --timeout=2s --retries=2 CMD [\"/program\", \"health\"]";

#[test]
fn a_line_that_is_cut_halfway_is_told_and_the_next_ship_finishes() {
    let Some(scene) = shipped("f-line", Place::Far) else { return };
    scene.service("web", "2", &["ENV LISTEN_AFTER=3", CHECK]);
    scene.service("users", "2", &[]);
    scene.merge("[patch] the second");
    let mut running = scene.spawn(&["ship", "box"]);
    running.wait_for("web starting");
    scene.host.cut();
    let ran = finish(running);
    scene.host.heal();
    assert_eq!(ran.code, Some(4), "{ran}");
    assert!(ran.took < Duration::from_secs(60), "{ran}");
    scene.run(&["ship", "box"]).exits(0);
    scene.runs("2", "2");
    scene.is_at_rest();
}

#[test]
fn a_host_that_loses_its_power_halfway_is_brought_on_by_the_next_ship() {
    let Some(scene) = shipped("f-power", Place::Far) else { return };
    scene.service("web", "2", &["ENV LISTEN_AFTER=3", CHECK]);
    scene.service("users", "2", &[]);
    scene.merge("[patch] the second");
    let mut running = scene.spawn(&["ship", "box"]);
    running.wait_for("web starting");
    scene.host.kill();
    let ran = finish(running);
    assert_eq!(ran.code, Some(4), "{ran}");
    scene.host.revive();
    scene.run(&["ship", "box"]).exits(0);
    scene.runs("2", "2");
    scene.is_at_rest();
    scene.plain_compose_agrees();
}

#[test]
fn a_host_that_is_gone_costs_no_build_and_changes_nothing() {
    let Some(scene) = shipped("f-off", Place::Far) else { return };
    merge_second(&scene);
    scene.host.cut();
    let ran = scene.run(&["ship", "box"]);
    ran.exits(4);
    scene.host.heal();
    scene.runs("1", "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_in_trouble_is_waited_for_or_told() {
    let Some(scene) = Scene::start("f-registry", Place::Far) else { return };
    let Some(registry) = registry::start_docker_registry() else { return };
    let proxy = FaultProxy::http(registry.address()).await;
    let table = format!("[registry]\nrepository = \"{}/tiny\"\n", proxy.address());
    scene.configure(QUICK, &table);
    let mut number = 0;
    let mut release = |title: &str| {
        number += 1;
        scene.service("web", &number.to_string(), &[]);
        scene.merge(title);
        scene.run(&["release"])
    };
    for rule in [
        Rule::on("", "/v2/", Fault::retry_after(429, 1)).times(3),
        Rule::on("", "/v2/", Fault::status(500)).times(3),
        Rule::on("", "/v2/", Fault::status(503)).every(4),
        Rule::on("", "/v2/", Fault::Cut).every(3),
        Rule::on("", "/v2/", Fault::CutAnswer).every(3),
        Rule::on("PUT", "/blobs/", Fault::CutRequestAfter(1000)).times(2),
    ] {
        proxy.add(rule);
        let ran = release("[patch] through trouble");
        proxy.heal();
        eprintln!("{:.1?}", ran.took);
        ran.exits(0);
    }
    proxy.add(Rule::on("", "/v2/", Fault::status(401)));
    let ran = release("[patch] without rights");
    ran.says("wants a login").exits(1);
    proxy.heal();
    // The tag was reserved: the same one is completed.
    scene.run(&["release"]).exits(0);
    assert_eq!(scene.origin.tags().len(), 7);
}

#[test]
fn a_way_back_that_fails_too_says_what_stands_where() {
    let Some(scene) = Scene::start("f-stuck", Place::Local) else { return };
    // What the old release needs is there now and gone later.
    let port = "10099";
    let needed = image::program().unwrap();
    let start = || {
        let mut command = scene.host.command(needed);
        command.args(["--port=10099"]);
        spawn(command)
    };
    let mut helper = start();
    let address = format!("ENV NEEDS={}:{port}", scene.host.address());
    scene.service("web", "1", &[&address]);
    scene.merge("[minor] the first");
    std::thread::sleep(Duration::from_millis(300));
    scene.run(&["ship", "box"]).exits(0);
    helper.child.kill().unwrap();
    helper.child.wait().unwrap();
    scene.service("web", "2", &["ENV EXIT_AFTER=0"]);
    scene.merge("[patch] the second");
    let ran = scene.run(&["ship", "box"]).says("a person is needed").says("exiting as told");
    let ran = ran.exits(5);
    assert!(ran.err.contains("tiny-web-1") && ran.err.contains("cannot reach"), "{ran}");
    // The cause is corrected, and the next command brings it back.
    let mut helper = start();
    std::thread::sleep(Duration::from_millis(300));
    let back = scene.run(&["rollback", "box"]);
    back.exits(0);
    scene.runs("1", "1");
    scene.is_at_rest();
    helper.child.kill().unwrap();
    helper.child.wait().unwrap();
}

#[test]
fn what_cannot_be_deployed_is_refused_before_anything_is_touched() {
    let Some(scene) = shipped("f-refuse", Place::Local) else { return };
    let before = scene.containers();

    scene.work.write("compose.yaml", COMPOSE.replace("image: tiny-users", "image: stranger:1"));
    scene.merge("[patch] nobody runs users");
    scene.run(&["ship", "box"]).says("no service of the compose file runs its image").exits(2);
    is_untouched(&scene, &before);

    scene.host.docker(["run", "--detach", "--name", "mine", "-p", "10098:8080", "stranger:1"]);
    scene.work.write(
        "compose.yaml",
        COMPOSE.replace("image: tiny-users", "image: tiny-users\n    container_name: mine"),
    );
    scene.merge("[patch] a name that is taken");
    scene.run(&["ship", "box"]).says("container_name `mine` is taken").exits(2);
    is_untouched(&scene, &before);

    let publish = |port: u16| {
        COMPOSE.replace("image: tiny-web", &format!("image: tiny-web\n    ports: ['{port}:8080']"))
    };
    scene.work.write("compose.yaml", publish(10098));
    scene.merge("[patch] a port that a container has");
    scene.run(&["ship", "box"]).says("10098").exits(2);
    is_untouched(&scene, &before);

    let mut command = scene.host.command(image::program().unwrap());
    command.arg("--port=10097");
    let mut stranger = spawn(command);
    scene.work.write("compose.yaml", publish(10097));
    scene.merge("[patch] a port that a process has");
    scene.run(&["ship", "box"]).says("10097").exits(2);
    is_untouched(&scene, &before);
    stranger.child.kill().unwrap();
    stranger.child.wait().unwrap();
}

#[test]
fn a_service_that_a_release_does_not_change_cannot_fail_it() {
    let Some(scene) = Scene::start("f-other", Place::Local) else { return };
    let text = COMPOSE.replace("image: stranger:1", "image: stranger:1\n    ports: ['10095:8080']");
    scene.work.write("compose.yaml", text);
    scene.merge("[minor] the first");
    scene.run(&["ship", "box"]).exits(0);
    // Somebody stopped it, and its port has gone to somebody else since.
    scene.host.docker(["stop", "--time", "1", "tiny-store-1"]);
    let mut command = scene.host.command(image::program().unwrap());
    command.arg("--port=10095");
    let mut stranger = spawn(command);
    scene.service("web", "2", &[]);
    scene.merge("[patch] another web");
    let ran = scene.run(&["--json", "ship", "box"]).exits(0);
    assert!(ran.out.contains("store, which this release does not change, could not be started"), "{ran}");
    assert_eq!(ran.summary()["services"]["store"]["state"], "stopped");
    scene.runs("2", "1");
    assert!(scene.versions()["store"].ends_with("(not running)"));
    scene.is_at_rest();
    // A release that fails goes back all the same.
    scene.service("web", "3", &["ENV EXIT_AFTER=0"]);
    scene.merge("[patch] a broken web");
    scene.run(&["ship", "box"]).says("exiting as told").exits(1);
    scene.runs("2", "1");
    stranger.child.kill().unwrap();
    stranger.child.wait().unwrap();
    let ran = scene.run(&["--json", "rollback", "box"]).exits(0);
    assert_eq!(ran.summary()["services"]["store"]["state"], "started");
    scene.runs("1", "1");
    assert!(!scene.versions()["store"].ends_with("(not running)"));
}

#[test]
fn a_first_release_that_fails_over_what_was_never_adopted_does_not_pretend_that_it_went_back() {
    let Some(scene) = Scene::start("f-first", Place::Local) else { return };
    scene.service("web", "1", &["ENV EXIT_AFTER=0"]);
    scene.merge("[minor] broken from the start");
    // Nothing runs there yet: nothing is lost.
    scene.run(&["ship", "box"]).says("there was no earlier release to go back to").exits(1);
    let compose = |arguments: &[&str]| {
        let mut command = scene.host.command("docker");
        command.current_dir(&scene.directory).args(["compose", "-p", "tiny"]).args(arguments);
        assert!(command.status().unwrap().success());
    };
    compose(&["down", "--timeout", "1"]);
    ["tiny-web", "tiny-users"].iter().for_each(|name| drop(scene.host.docker(["tag", "stranger:1", name])));
    compose(&["up", "--detach"]);
    let ran = scene.run(&["ship", "box"]).says("the project runs already, and Bowline does not know what");
    ran.says("what ran there before was never adopted and cannot be put back").exits(5);
}

#[test]
fn titles_are_words_and_nothing_else() {
    let Some(scene) = Scene::start("f-title", Place::Local) else { return };
    let trap = scene.scratch.path().join("trap");
    let title = format!(
        "[minor] $(touch {0}) `touch {0}` \u{1b}[31mred\u{1b}[0m ::set-output name=tag::v9 ${{IFS}} ' \" {{version}}",
        trap.display()
    );
    scene.merge(&title);
    let ran = scene.run(&["ship", "box"]).exits(0);
    let json = scene.run(&["--json", "ship", "box"]).exits(0);
    for ran in [&ran, &json] {
        assert!(!ran.err.contains('\u{1b}') && !ran.out.contains('\u{1b}'), "{ran}");
        let commands = ran.out.lines().chain(ran.err.lines());
        assert_eq!(commands.filter(|line| line.starts_with("::")).count(), 0, "{ran}");
    }
    // Ten megabytes, and bytes that are no text.
    let mut long = b"[major] \xff\xfe ".to_vec();
    long.resize(10 << 20, b'x');
    let file = scene.scratch.path().join("message");
    std::fs::write(&file, long).unwrap();
    scene.service("web", "2", &[]);
    scene.work.git(["add", "--all"]);
    scene.work.git(["commit", "--quiet", "--file", file.to_str().unwrap()]);
    scene.work.push();
    std::fs::remove_file(&file).unwrap();
    let ran = scene.run(&["--json", "ship", "box"]).exits(0);
    assert!(ran.summary()["tag"].as_str().unwrap().starts_with("v1.0.0-"), "{}", ran.summary());
    assert!(!trap.exists());
}

#[test]
fn an_interrupt_halfway_goes_back() {
    for (place, hint) in [(Place::Local, "f-int-near"), (Place::Far, "f-int-far")] {
        let Some(scene) = shipped(hint, place) else { return };
        scene.service("web", "2", &["ENV LISTEN_AFTER=5", CHECK]);
        scene.service("users", "2", &[]);
        scene.merge("[patch] the second");
        for (signal, moment) in [("-INT", "replace users"), ("-TERM", "web starting")] {
            let mut running = scene.spawn(&["ship", "box"]);
            running.wait_for(moment);
            running.signal(signal);
            let ran = finish(running).says("somebody asked to stop");
            assert_eq!(ran.code, Some(1), "{ran}");
            scene.runs("1", "1");
            scene.is_at_rest();
        }
        scene.plain_compose_agrees();
    }
}

#[test]
fn a_terminal_that_interrupts_the_whole_group_goes_back_too() {
    let Some(scene) = shipped("f-group", Place::Local) else { return };
    merge_second(&scene);
    // Ctrl-C reaches every process of the terminal's group, the tools that Bowline runs included.
    let mut command = scene.command(&["ship", "box"]);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut running = spawn(command);
    running.wait_for("replace users");
    let group = format!("-{}", running.child.id());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    let ran = finish(running);
    assert_eq!(ran.code, Some(1), "{ran}");
    scene.runs("1", "1");
    scene.is_at_rest();
}
