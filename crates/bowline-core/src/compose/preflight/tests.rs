use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::compose::desired::{ServiceWish, Wishes, describe};
use crate::compose::model::Model;
use crate::compose::observed::port::tests::port;
use crate::compose::observed::tests::container;
use crate::compose::observed::{HostImage, Stranger};
use crate::compose::planning::plan;
use crate::compose::status::tests::revision;
use crate::release::Spec;

/// These services of a compose file; those with an image of ours by their names.
fn desired(services: Value, images: &[(&str, DeployImage)]) -> Desired {
    let model = Model::parse(json!({ "services": services }), "", "").unwrap();
    let images: BTreeMap<String, DeployImage> =
        images.iter().map(|(name, image)| ((*name).to_owned(), image.clone())).collect();
    let wishes = Wishes {
        project: "app".into(),
        directory: "/srv/app".into(),
        services: images.keys().map(|name| (name.clone(), ServiceWish::default())).collect(),
        start: Duration::from_secs(30),
        restarts: 3,
        settle: Duration::from_secs(5),
    };
    describe(&model, &images, &Spec::default(), None, &wishes)
}

fn found(observed: &Observed, desired: &Desired) -> Findings {
    check(observed, desired, &plan(observed, desired).unwrap())
}

fn lines(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{}: {}", finding.subject, finding.text)).collect()
}

fn refusals(observed: &Observed, desired: &Desired) -> Vec<String> {
    lines(&found(observed, desired).refusals)
}

fn stranger(name: &str, ports: &[&str]) -> Stranger {
    let ports = ports.iter().copied().map(port).collect();
    Stranger { name: name.into(), project: None, ports, image: None }
}

fn id(name: &str) -> ImageId {
    ImageId {
        manifest: Digest::of(format!("m{name}").as_bytes()),
        config: Digest::of(format!("c{name}").as_bytes()),
        platform: Platform::linux("x86_64"),
    }
}

/// An image of layers of so many MiB; without any, one whose record knows no layers, of 110 MiB.
fn image(name: &str, layers: &[(&str, u64)]) -> DeployImage {
    let size = if layers.is_empty() { 110 } else { layers.iter().map(|(_, size)| size).sum() };
    DeployImage::Released {
        id: id(name),
        size: Some(size << 20),
        layers: layers.iter().map(|(layer, size)| (Digest::of(layer.as_bytes()), size << 20)).collect(),
        keep: format!("app:{name}"),
        healthcheck: false,
    }
}

fn host_image(id: Digest, manifests: &[Digest]) -> HostImage {
    let manifests = manifests.iter().copied().collect();
    HostImage { id, names: BTreeSet::new(), manifests, repositories: BTreeSet::new(), size: 0 }
}

#[test]
fn room_is_needed_for_layers_that_are_not_there_and_for_each_once() {
    let os = ("os", 100);
    let (a, b) = (image("a", &[os, ("a", 10)]), image("b", &[os, ("b", 10)]));
    let old = |name| image(name, &[]);
    let there = |name| vec![host_image(id(name).config, &[])];
    let by_manifest = vec![host_image(Digest::of(b"another"), &[id("base").manifest])];
    for (what, images, base, on_host, needed) in [
        ("shared layers", [&a, &b], None, vec![], 2 * 120 + 60 + 256),
        ("what the base revision's image has", [&a, &b], Some(image("base", &[os])), there("base"), 306),
        ("by its manifest", [&a, &b], Some(image("base", &[os])), by_manifest, 306),
        ("a base whose image was removed", [&a, &b], Some(image("base", &[os])), vec![], 556),
        ("a base that recorded no layers", [&a, &b], Some(old("base")), there("base"), 556),
        ("what another wanted image has", [&a, &b], None, there("b"), 281),
        ("two services of one image", [&a, &a], None, vec![], 531),
        ("old records, as a whole", [&old("a"), &old("b")], None, vec![], 806),
        ("an old record of one image", [&old("a"), &old("a")], None, vec![], 531),
        ("an old record beside a new one", [&old("a"), &b], None, vec![], 806),
    ] {
        let services = json!({"a": {"image": "a"}, "b": {"image": "b"}});
        let desired = desired(services, &[("a", images[0].clone()), ("b", images[1].clone())]);
        let mut observed = Observed { images: on_host, ..Default::default() };
        if let Some(base) = base {
            let images = BTreeMap::from([("base".to_owned(), base)]);
            observed.revision = Some(crate::release::Revision { images, ..revision(false) });
        }
        observed.engine.disk_free = Some(needed << 20);
        assert_eq!(refusals(&observed, &desired), [""; 0], "{what}");
        observed.engine.disk_free = Some((needed << 20) - 1);
        assert_eq!(refusals(&observed, &desired).len(), 1, "{what}");
        observed.engine.disk_free = None;
        assert_eq!(refusals(&observed, &desired), [""; 0], "{what}");
    }
}

#[test]
fn a_refusal_for_want_of_room_says_what_is_needed_and_what_is_free() {
    let desired = desired(json!({"a": {"image": "a"}}), &[("a", image("a", &[("os", 100)]))]);
    let mut observed = Observed::default();
    observed.engine.disk_free = Some(300 << 20);
    assert_eq!(
        refusals(&observed, &desired),
        ["disk: 100 MiB of layers are to be pulled, which needs about 506 MiB; 300 MiB are free"]
    );
    // Nothing is pulled, nothing is needed.
    observed.engine.disk_free = Some(0);
    observed.images = vec![host_image(id("a").config, &[])];
    assert_eq!(refusals(&observed, &desired), [""; 0]);
}

#[test]
fn images_are_for_the_machine_or_for_one_that_is_asked_for() {
    let refused = "a: its image is for linux/amd64, the machine is linux/arm64";
    for (machine, service, expected) in [
        (Some("x86_64"), json!({"image": "a"}), None),
        (Some("aarch64"), json!({"image": "a"}), Some(refused)),
        (Some("aarch64"), json!({"image": "a", "platform": "linux/amd64"}), None),
        (Some("aarch64"), json!({"image": "a", "platform": "linux/arm64"}), Some(refused)),
        (None, json!({"image": "a"}), None),
    ] {
        let desired = desired(json!({ "a": service }), &[("a", image("a", &[]))]);
        let mut observed = Observed::default();
        observed.engine.platform = machine.map(Platform::linux);
        assert_eq!(refusals(&observed, &desired), expected.as_slice(), "{machine:?} {service}");
    }
}

#[test]
fn a_container_name_is_for_one_container_that_is_ours() {
    let theirs =
        |project: Option<&str>| vec![Stranger { project: project.map(Into::into), ..stranger("taken", &[]) }];
    let nobodys = "a: container_name `taken` is taken by a container of no compose project";
    let others = "a: container_name `taken` is taken by a container of compose project `other`";
    let too_many = "a: container_name allows one container, 2 are wanted";
    for (name, replicas, strangers, expected) in [
        ("free", 1, theirs(None), vec![]),
        ("taken", 1, theirs(None), vec![nobodys]),
        ("taken", 1, theirs(Some("other")), vec![others]),
        ("taken", 0, theirs(None), vec![]),
        ("free", 2, vec![], vec![too_many]),
        ("taken", 2, theirs(None), vec![nobodys, too_many]),
    ] {
        let desired = desired(json!({"a": {"image": "a", "container_name": name, "scale": replicas}}), &[]);
        let observed = Observed { strangers, ..Default::default() };
        assert_eq!(refusals(&observed, &desired), expected, "{name} {replicas}");
    }
}

/// The service `users`, which wants a port of the host.
fn wanting(wanted: &str) -> Desired {
    let wanted = port(wanted);
    let published = json!({
        "target": 80, "published": wanted.number.to_string(), "protocol": wanted.protocol,
        "host_ip": wanted.address.to_string(),
    });
    desired(json!({"users": {"image": "users", "ports": [published]}}), &[])
}

#[test]
fn ports_that_a_strangers_container_holds_are_refused() {
    for (wanted, held, refused) in [
        ("53/tcp", "53/tcp", true),
        ("53/tcp", "53/udp", false),
        ("53/udp", "53/udp", true),
        ("53/tcp", "54/tcp", false),
        ("10.0.0.5 5432/tcp", "127.0.0.1 5432/tcp", false),
        ("10.0.0.5 5432/tcp", "10.0.0.5 5432/tcp", true),
        ("10.0.0.5 5432/tcp", "0.0.0.0 5432/tcp", true),
        ("5432/tcp", "127.0.0.1 5432/tcp", true),
    ] {
        let strangers = vec![stranger("idle", &[]), stranger("other", &[held])];
        // What it publishes is listened on, which is nothing more to say.
        let observed = Observed { strangers, listening: BTreeSet::from([port(held)]), ..Default::default() };
        let text = format!("users: port {} of the host is taken by container `other`", port(wanted));
        let expected: Vec<String> = refused.then_some(text).into_iter().collect();
        assert_eq!(refusals(&observed, &wanting(wanted)), expected, "{wanted} {held}");
    }
}

#[test]
fn ports_that_a_process_holds_are_refused() {
    for (what, wanted, listening, published, refused) in [
        ("a process", "8080/tcp", &["8080/tcp"][..], &[][..], true),
        ("on one address", "8080/tcp", &["127.0.0.1 8080/tcp"], &[], true),
        ("on another address", "10.0.0.5 8080/tcp", &["127.0.0.1 8080/tcp"], &[], false),
        ("by another protocol", "53/tcp", &["53/udp"], &[], false),
        ("by UDP", "53/udp", &["127.0.0.53 53/udp"], &[], true),
        ("on another port", "8080/tcp", &["22/tcp"], &[], false),
        ("our own container", "8080/tcp", &["0.0.0.0 8080/tcp", ":: 8080/tcp"], &["8080/tcp"], false),
        (
            "beside ours",
            "8080/tcp",
            &["127.0.0.1 8080/tcp", "10.0.0.5 8080/tcp"],
            &["127.0.0.1 8080/tcp"],
            true,
        ),
        ("beside another of ours", "8080/tcp", &["8080/tcp", "9000/tcp"], &["9000/tcp"], true),
        ("on another machine's network", "8080/tcp", &["8080/tcp"], &["9000/tcp"], false),
        ("nothing is known", "8080/tcp", &[], &[], false),
    ] {
        let own = Container {
            ports: published.iter().copied().map(port).collect(),
            addresses: vec!["172.18.0.2".into()],
            ..container("app-users-1")
        };
        let listening = listening.iter().copied().map(port).collect();
        let observed = Observed { containers: vec![own], listening, ..Default::default() };
        let text =
            format!("users: port {} of the host is taken by a process that is no container", port(wanted));
        let expected: Vec<String> = refused.then_some(text).into_iter().collect();
        assert_eq!(refusals(&observed, &wanting(wanted)), expected, "{what}");
    }
    let observed = |protocol| Observed { listening: BTreeSet::from([port(protocol)]), ..Default::default() };
    for (wanted, expected) in [("53/tcp", "`ss -ltnp`"), ("53/udp", "`ss -lnup`")] {
        let remedy = &found(&observed(wanted), &wanting(wanted)).refusals[0].remedy;
        assert!(remedy.contains(expected), "{remedy}");
    }
}

#[test]
fn a_port_may_be_the_services_own_without_being_published() {
    use ProcessState::{Created, Exited, Paused, Restarting, Running};
    for (state, published, address, refused) in [
        (Running, true, true, false),
        (Paused, true, true, false),
        (Restarting, true, false, false),
        // It does not run: whoever listens is somebody else.
        (Exited, true, false, true),
        (Created, true, false, true),
        // It may be on the host's network, and listen itself until it is replaced.
        (Running, false, false, false),
        (Running, false, true, true),
    ] {
        let own = Container {
            state,
            ports: published.then(|| port("8080/tcp")).into_iter().collect(),
            addresses: address.then(|| "172.18.0.2".into()).into_iter().collect(),
            ..container("app-users-1")
        };
        let listening = BTreeSet::from([port("8080/tcp")]);
        let observed = Observed { containers: vec![own], listening, ..Default::default() };
        let found = refusals(&observed, &wanting("8080/tcp"));
        assert_eq!(!found.is_empty(), refused, "{state:?} {published} {address}");
    }
}

#[test]
fn a_service_that_is_left_alone_is_not_asked_for_its_port() {
    let desired = wanting("8080/tcp");
    let mut base = revision(false);
    base.services.get_mut("users").unwrap().fingerprint = desired.services["users"].fingerprint;
    let mut observed = Observed {
        containers: vec![Container { addresses: vec!["172.18.0.2".into()], ..container("app-users-1") }],
        listening: BTreeSet::from([port("8080/tcp")]),
        revision: Some(base),
        ..Default::default()
    };
    assert_eq!(refusals(&observed, &desired), [""; 0]);
    observed.revision = Some(revision(false));
    assert_eq!(refusals(&observed, &desired).len(), 1, "now it is recreated");
}

#[test]
fn a_project_that_somebody_else_started_is_adopted_first() {
    let refused = "app: the project runs already, from /home/me, not from /srv/app";
    let warned =
        "app: the project runs already, and Bowline does not know what it runs: all of it is replaced";
    for (directory, one_off, known, refusal, warning) in [
        ("/home/me", false, false, Some(refused), None),
        ("/home/me", true, false, None, None),
        ("/home/me", false, true, None, None),
        ("/srv/app", false, false, None, Some(warned)),
        ("", false, false, None, Some(warned)),
    ] {
        let own = Container { working_dir: directory.into(), one_off, ..container("app-users-1") };
        let revision = known.then(|| revision(false));
        let observed = Observed { containers: vec![own], revision, ..Default::default() };
        let found = found(&observed, &desired(json!({"users": {"image": "users"}}), &[]));
        assert_eq!(lines(&found.refusals), refusal.as_slice(), "{directory} {one_off} {known}");
        let told = lines(&found.warnings).into_iter().filter(|line| line.starts_with("app: "));
        assert_eq!(told.collect::<Vec<_>>(), warning.as_slice(), "{directory} {one_off} {known}");
    }
}

#[test]
fn a_service_whose_image_nothing_runs_is_refused() {
    let desired = desired(json!({"b": {"image": "b"}}), &[("a", image("a", &[]))]);
    assert_eq!(
        refusals(&Observed::default(), &desired),
        ["a: no service of the compose file runs its image"]
    );
}

#[test]
fn a_memory_limit_above_the_machines_is_warned_of() {
    let warned = "a: it may use 2048 MiB, the machine has 1024 MiB";
    for (limit, replicas, machine, expected) in [
        ("2147483648", 1, 1 << 30, Some(warned)),
        ("1073741824", 1, 1 << 30, None),
        ("2147483648", 0, 1 << 30, None),
        ("2147483648", 1, 0, None),
        ("0", 1, 1 << 30, None),
    ] {
        let desired = desired(json!({"a": {"image": "a", "mem_limit": limit, "scale": replicas}}), &[]);
        let mut observed = Observed::default();
        observed.engine.memory = machine;
        let warnings = lines(&found(&observed, &desired).warnings);
        let told: Vec<&String> = warnings.iter().filter(|line| line.contains("it may use")).collect();
        assert_eq!(told, expected.as_slice(), "{limit} {replicas} {machine}");
    }
}
