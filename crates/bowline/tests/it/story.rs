//! A release after the other on a real host: what changes is replaced, what fails goes back, the rest is left alone.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::scene::{COMPOSE, Container, Place, QUICK, Ran, Scene};

fn everywhere(hint: &str, test: impl Fn(&Scene)) {
    for (place, name) in [(Place::Local, "near"), (Place::Far, "far")] {
        let Some(scene) = Scene::start(&format!("{hint}-{name}"), place) else { return };
        test(&scene);
    }
}

#[test]
fn only_what_changed_is_replaced_and_nothing_when_nothing_did() {
    everywhere("s-story", |scene| {
        scene.merge("[minor] the first");
        let first = scene.run(&["--json", "ship", "box"]).exits(0);
        assert_eq!(first.summary()["ok"], true);
        scene.runs("1", "1");
        let before = scene.containers();

        scene.service("web", "2", &[]);
        scene.merge("[patch] another web");
        scene.run(&["ship", "box"]).exits(0);
        scene.runs("2", "1");
        let after = scene.containers();
        let unchanged = |list: &[Container]| -> Vec<_> {
            list.iter().filter(|each| each.service != "web").cloned().collect()
        };
        assert_eq!(unchanged(&before), unchanged(&after));
        scene.plain_compose_agrees();

        let again = scene.run(&["--json", "ship", "box"]).exits(0);
        assert_eq!(scene.containers(), after);
        assert!(!again.out.contains("step_started") && !again.out.contains("step-started"), "{again}");
        eprintln!("{:?}: nothing to do in {:.1?}, the first in {:.1?}", scene.place, again.took, first.took);

        scene.run(&["rollback", "box"]).exits(0);
        scene.runs("1", "1");
        assert_eq!(unchanged(&scene.containers()), unchanged(&before));
        scene.is_at_rest();
        scene.plain_compose_agrees();
    });
}

#[test]
fn a_port_is_asked_where_it_is_and_where_it_can_be_asked() {
    everywhere("s-network", |scene| {
        // On the host's own network, and on that of another container.
        let text = COMPOSE
            .replace("image: tiny-web", "image: tiny-web\n    network_mode: host")
            .replace("image: tiny-users", "image: tiny-users\n    network_mode: 'service:store'");
        scene.work.write("compose.yaml", text);
        let configuration = scene
            .configuration(&["web", "users"], QUICK, "")
            .replace("[services.web]\n", "[services.web]\nport = 10094\n")
            .replace("[services.users]\n", "[services.users]\nport = 10093\n");
        scene.work.write("bowline.toml", configuration);
        scene.service("web", "1", &["ENV PORT=10094 LISTEN_AFTER=2"]);
        scene.service("users", "1", &["ENV PORT=10093"]);
        scene.merge("[minor] the first");
        let ran = scene.run(&["--json", "ship", "box"]).exits(0);
        let ready = |service: &str| {
            let ready = |event: &Value| event["service"] == service && event["state"] == "ready";
            ran.events().into_iter().find(ready).map(|event| event["reason"].as_str().unwrap().to_owned())
        };
        assert_eq!(ready("web").as_deref(), Some("accepts connections"), "{ran}");
        assert_eq!(ready("users").as_deref(), Some("settled"), "{ran}");
    });
}

/// Everything but `web`: what a release that changes `web` alone must leave as it was.
fn others(scene: &Scene) -> Vec<Container> {
    scene.containers().into_iter().filter(|container| container.service != "web").collect()
}

/// When the evidence of a failed run was told, in seconds since 1970, and the evidence.
fn evidence(ran: &Ran) -> (f64, Value) {
    let events = ran.events();
    let event = events.iter().find(|event| event["event"] == "evidence");
    let event = event.unwrap_or_else(|| panic!("no evidence: {ran}")).clone();
    let at: jiff::Timestamp = event["at"].as_str().unwrap().parse().unwrap();
    (at.as_microsecond() as f64 / 1e6, event)
}

#[test]
fn a_release_that_cannot_run_goes_back_by_itself_and_says_why() {
    everywhere("s-broken", |scene| {
        let limited = format!("{QUICK}[targets.box.services.web]\nmemory = \"24M\"\n");
        scene.configure(&limited, "");
        scene.work.write("foreign", foreign_program());
        let path = scene.work.path().join("foreign");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        scene.merge("[minor] the first");
        scene.run(&["ship", "box"]).exits(0);
        let before = others(scene);
        let check = "HEALTHCHECK --interval=1s --timeout=2s --retries=2 CMD [\"/program\", \"health\"]";
        type Case<'c> = (&'c str, &'c [&'c str], Option<i64>, &'c str, &'c str);
        let cases: [Case<'_>; 6] = [
            ("at-once", &["ENV EXIT_AFTER=0 EXIT_CODE=3"], Some(3), "restarted 4 times", "exiting as told"),
            ("loop", &["ENV EXIT_AFTER=0.4 EXIT_CODE=7"], Some(7), "restarted 4 times", "exiting as told"),
            ("sick", &["ENV HEALTHY_AFTER=never", check], None, "not up within 12 s", ""),
            ("memory", &["ENV OOM_AFTER=0.3"], Some(137), "want of memory", "started web memory"),
            ("missing", &["ENTRYPOINT [\"/nope\"]"], Some(127), "/nope", ""),
            (
                "foreign",
                &["COPY foreign /foreign", "ENTRYPOINT [\"/foreign\"]"],
                None,
                "exec format error",
                "",
            ),
        ];
        for (made, lines, code, reason, log) in cases {
            scene.service("web", made, lines);
            scene.merge(&format!("[patch] broken: {made}"));
            let ran = scene.run(&["--json", "ship", "box"]).exits(1);
            let (told, event) = evidence(&ran);
            let text = event.to_string();
            assert!(text.contains(reason) && text.contains(log), "{made}: {text}");
            if let Some(code) = code {
                assert_eq!(event["exit_code"], code, "{text}");
                let died = scene.deaths("web").into_iter().rfind(|died| *died <= told).unwrap_or(told - 9.0);
                // What never began to run never died.
                let late = told - died >= 2.0 && made != "missing";
                assert!(!late, "{made}: told {:.1} s after the death", told - died);
            }
            scene.runs("1", "1");
            assert_eq!(others(scene), before, "{made}");
            scene.is_at_rest();
            eprintln!("{:?}: {made}: {:.1?}", scene.place, ran.took);
        }
        scene.plain_compose_agrees();
    });
}

/// The beginning of a program for another processor than this one.
fn foreign_program() -> Vec<u8> {
    let machine = if cfg!(target_arch = "x86_64") { 0xb7 } else { 0x3e };
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([2, 0, machine, 0, 1, 0, 0, 0]);
    bytes.resize(4096, 0);
    bytes
}

#[test]
fn services_that_die_until_their_database_answers_converge() {
    everywhere("s-converge", |scene| {
        let compose = "services:
  web:
    image: tiny-web
    restart: always
    environment: {NEEDS: 'users:8080', FAIL_STARTS: '1'}
    stop_grace_period: 1s
  users:
    image: tiny-users
    restart: always
    environment: {LISTEN_AFTER: '0.7', FAIL_STARTS: '2'}
    stop_grace_period: 1s
";
        scene.work.write("compose.yaml", compose);
        // The budget of the other stories is small, so that what is broken is known soon; this one needs an ordinary one.
        let toml = std::fs::read_to_string(scene.work.path().join("bowline.toml")).unwrap();
        scene.work.write("bowline.toml", toml.replace("restarts = 3", "restarts = 8"));
        scene.merge("[minor] in any order");
        let ran = scene.run(&["--json", "ship", "box"]).exits(0);
        scene.runs("1", "1");
        let restarts: u64 = scene.containers().iter().map(|container| container.restarts).sum();
        assert!(restarts >= 2, "{ran}");
        scene.is_at_rest();
    });
}

#[test]
fn a_task_that_others_wait_for_must_end_well() {
    everywhere("s-task", |scene| {
        let compose = "services:
  web:
    image: tiny-web
    restart: always
    depends_on: {users: {condition: service_completed_successfully}}
    stop_grace_period: 1s
  users:
    image: tiny-users
    command: [print, migrated]
";
        scene.work.write("compose.yaml", compose);
        scene.merge("[minor] a task");
        scene.run(&["ship", "box"]).exits(0);
        assert_eq!(scene.containers_of("users")[0].state, "exited");
        let status = scene.run(&["status", "box", "--check"]).exits(0);
        assert!(status.out.contains("completed"), "{status}");
        let task = scene.containers_of("users");
        // The task ran and stays: the next release of web does not run it again.
        scene.service("web", "2", &[]);
        scene.merge("[patch] web");
        scene.run(&["ship", "box"]).exits(0);
        assert_eq!(scene.containers_of("users"), task);
        let web = scene.containers_of("web");

        scene.work.write("compose.yaml", compose.replace("print, migrated", "exit, '4'"));
        scene.merge("[patch] a task that fails");
        let ran = scene.run(&["ship", "box"]).exits(1).says("code 4");
        assert_eq!(scene.containers_of("web"), web, "{ran}");
        assert_eq!(scene.containers_of("users")[0].state, "exited");
        scene.is_at_rest();
        scene.run(&["rollback", "box"]).exits(0);
        scene.runs("1", "1 (not running)");
    });
}

#[test]
fn a_target_has_its_own_settings_for_any_service() {
    everywhere("s-own", |scene| {
        let compose = COMPOSE
            .replace("    image: tiny-users\n", "    image: tiny-users\n    container_name: the-users\n")
            + "    environment: {A: 'file', B: 'file'}\n  extra:\n    image: stranger:1\n    stop_grace_period: 1s\n";
        scene.work.write("compose.yaml", &compose);
        let own = |replicas: u32, extra: bool| {
            format!(
                "{QUICK}[targets.box.services.web]\nreplicas = {replicas}\n\
                 [targets.box.services.store]\nenv = {{ A = \"box\" }}\nmemory = \"64M\"\ncpus = 0.5\n\
                 [targets.box.services.extra]\nenabled = {extra}\n"
            )
        };
        scene.configure(&own(2, false), "");
        scene.merge("[minor] the first");
        scene.run(&["ship", "box"]).exits(0);
        assert_eq!(scene.containers_of("web").len(), 2);
        assert_eq!(scene.containers_of("users")[0].name, "the-users");
        assert!(scene.containers_of("extra").is_empty());
        let store = scene.containers_of("store")[0].id.clone();
        let seen = scene.host.docker([
            "inspect",
            &store,
            "--format",
            "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.Config.Env}}",
        ]);
        assert!(
            seen.starts_with("67108864 500000000 ") && seen.contains("A=box") && seen.contains("B=file"),
            "{seen}"
        );
        scene.plain_compose_agrees();

        let users = scene.containers_of("users");
        scene.configure(&own(1, true), "");
        scene.merge("[patch] one web is enough");
        scene.run(&["ship", "box"]).exits(0);
        assert_eq!(scene.containers_of("web").len(), 1);
        assert_eq!(scene.containers_of("extra").len(), 1);
        assert_eq!(
            (scene.containers_of("users"), scene.containers_of("store")[0].id.clone()),
            (users, store)
        );
        scene.plain_compose_agrees();

        scene.run(&["rollback", "box"]).exits(0);
        assert_eq!(scene.containers_of("web").len(), 2);
        assert!(scene.containers_of("extra").is_empty());
        scene.plain_compose_agrees();

        // The last that is done is taking something away: what is written down then is what is there.
        for extra in [true, false] {
            scene.configure(&own(2, extra), "");
            scene.merge("[patch] extra");
            scene.run(&["ship", "box"]).exits(0);
            assert_eq!(scene.containers_of("extra").len(), usize::from(extra));
            scene.run(&["status", "box", "--check"]).exits(0);
            scene.run(&["diff", "box", "--check"]).exits(0);
        }
    });
}

#[test]
fn a_file_that_a_service_mounts_restarts_that_service_alone() {
    everywhere("s-mount", |scene| {
        let compose = COMPOSE.replace(
            "    image: tiny-users\n",
            "    image: tiny-users\n    volumes: ['./users.conf:/users.conf:ro']\n",
        );
        scene.work.write("compose.yaml", &compose).write("users.conf", "one");
        scene.merge("[minor] the first");
        scene.run(&["ship", "box"]).exits(0);
        let conf = || {
            let id = scene.containers_of("users")[0].id.clone();
            scene.host.docker(["exec", &id, "/program", "get", "http://127.0.0.1:8080/file?/users.conf"])
        };
        assert_eq!(conf(), "one");
        let before = scene.containers();
        scene.work.write("users.conf", "two");
        scene.merge("[patch] another setting");
        scene.run(&["ship", "box"]).exits(0);
        assert_eq!(conf(), "two");
        let changed: Vec<_> = scene.containers().into_iter().filter(|each| !before.contains(each)).collect();
        assert_eq!(changed.iter().map(|each| each.service.as_str()).collect::<Vec<_>>(), ["users"]);
        scene.run(&["rollback", "box"]).exits(0);
        assert_eq!(conf(), "one");
        scene.plain_compose_agrees();
    });
}

#[test]
fn a_release_comes_with_its_own_compose_file_and_one_service_can_be_deployed() {
    everywhere("s-named", |scene| {
        scene.work.write(
            "compose.yaml",
            COMPOSE.replace("tiny-web\n", "tiny-web\n    environment: {WHICH: first}\n"),
        );
        scene.merge("[minor] the first");
        let first =
            scene.run(&["--json", "ship", "box"]).exits(0).summary()["tag"].as_str().unwrap().to_owned();
        scene.work.write(
            "compose.yaml",
            COMPOSE.replace("tiny-web\n", "tiny-web\n    environment: {WHICH: second}\n"),
        );
        scene.service("web", "2", &[]);
        scene.service("users", "2", &[]);
        scene.merge("[minor] the second");
        scene.run(&["release"]).exits(0);
        let part = ["deploy", "box", "--service", "users"];
        scene.run(&part).exits(2).says("web: this release changes it too").says("--service web");
        scene.run(&["plan", "box", "--service", "users"]).exits(2).says("web: this release changes it too");
        scene.runs("1", "1");
        scene.plain_compose_agrees();
        let which = || {
            let id = scene.containers_of("web")[0].id.clone();
            scene.host.docker(["exec", &id, "/program", "get", "http://127.0.0.1:8080/env?WHICH"])
        };
        assert_eq!(which(), "first");
        scene.run(&["deploy", "box"]).exits(0);
        scene.runs("2", "2");
        assert_eq!(which(), "second");
        scene.plain_compose_agrees();
        scene.run(&["deploy", "box", &first]).exits(0);
        scene.runs("1", "1");
        assert_eq!(which(), "first");
        scene.run(&["deploy", "box", "v9.9.9"]).exits(2).says("v9.9.9");
        scene.run(&["deploy", "nowhere"]).exits(2).says("nowhere");
        scene.run(&["rollback", "box", "v9.9.9"]).exits(2);
        scene.run(&["deploy", "box", "--service", "nobody"]).exits(2).says("nobody");
        scene.runs("1", "1");
        scene.is_at_rest();
    });
}

#[test]
fn a_part_of_a_release_is_deployed_and_the_way_back_leads_to_just_that() {
    everywhere("s-part", |scene| {
        scene.merge("[minor] the first");
        scene.run(&["release"]).exits(0);
        scene.run(&["deploy", "box", "--service", "users"]).exits(2).says("nothing was deployed");
        scene.run(&["deploy", "box"]).exits(0);
        let users = COMPOSE.replace("tiny-users\n", "tiny-users\n    environment: {WHICH: second}\n");
        scene.work.write("compose.yaml", &users);
        scene.service("web", "2", &[]);
        scene.service("users", "2", &[]);
        scene.merge("[minor] the second");
        scene.run(&["release"]).exits(0);
        let before = scene.containers();
        scene.run(&["deploy", "box", "--service", "users"]).exits(0);
        scene.runs("1", "2");
        let part = scene.containers();
        let same = |service: &str, one: &[Container], two: &[Container]| {
            let of = |list: &[Container]| list.iter().find(|each| each.service == service).cloned();
            assert_eq!(of(one), of(two), "{service}");
        };
        same("web", &before, &part);
        same("store", &before, &part);
        scene.plain_compose_agrees();

        scene.work.write("compose.yaml", users.replace("second", "third").replace("store:", "shop:"));
        scene.service("web", "3", &["ENV EXIT_AFTER=0"]);
        scene.merge("[minor] a broken one");
        scene.run(&["ship", "box"]).exits(1);
        scene.runs("1", "2");
        same("store", &part, &scene.containers());
        scene.plain_compose_agrees();
        scene.is_at_rest();
        scene.run(&["rollback", "box"]).exits(0);
        scene.runs("1", "1");
        scene.plain_compose_agrees();
    });
}

#[test]
fn what_is_weak_in_many_services_is_one_line_and_none_for_who_wants_quiet() {
    let Some(scene) = Scene::start("s-weak", Place::Local) else { return };
    scene.merge("[minor] the first");
    scene.run(&["release"]).exits(0);
    let weak = "it has no health check";
    let shown = scene.run(&["plan", "box"]).exits(0);
    let lines: Vec<&str> = shown.err.lines().filter(|line| line.contains(weak)).collect();
    assert!(
        lines.len() == 1 && ["web", "users", "store"].iter().all(|name| lines[0].contains(name)),
        "{shown}"
    );
    let quiet = scene.run(&["--quiet", "plan", "box"]).exits(0);
    assert!(!quiet.err.contains(weak), "{quiet}");
    let data = scene.run(&["--json", "plan", "box"]).exits(0).summary();
    let told = data["warnings"].as_array().unwrap().iter().filter(|one| one["weak"] == true).count();
    assert_eq!(told, 3, "{data}");
}
