use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bowline_compose::connection::{Connection, Options};
use bowline_compose::directory::{Directory, DirectoryError};
use bowline_compose::document::Documents;
use bowline_compose::engine::{Change, Engine, Watch, Writer};
use bowline_compose::lease::Lease;
use bowline_compose::observation::observe;
use bowline_compose::project::{Fault, Project, Recreate, Up};
use bowline_core::compose::observed::HostPort;
use bowline_core::health::{CheckStatus, ProcessState};
use bowline_core::release::SpecFile;
use bowline_testkit::host::Host;
use bowline_testkit::image;
use bowline_testkit::proxy::FaultProxy;

use crate::{far, near};

/// A target with a lease, in a directory of its own.
struct Target {
    engine: Engine,
    documents: Documents,
    lease: Lease,
    directory: Directory,
    _folder: tempfile::TempDir,
}

async fn target(engine: Engine, name: &str) -> Target {
    let folder = tempfile::Builder::new().prefix("bowline-it").tempdir_in("/tmp").unwrap();
    let documents = Documents::new(&engine, name).unwrap();
    let lease = Lease::take(&documents, "run", "deploy").await.unwrap();
    let path = folder.path().join("chat");
    let directory = Directory::new(engine.connection(), path.to_str().unwrap());
    Target { engine, documents, lease, directory, _folder: folder }
}

fn file(text: &str) -> SpecFile {
    SpecFile { executable: false, content: text.into() }
}

fn files(pairs: &[(&str, &str)]) -> BTreeMap<String, SpecFile> {
    pairs.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
}

fn up(services: &[(&str, u32)], recreate: Recreate) -> Up {
    let services = services.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    Up { services, recreate, start: true, timeout: Duration::from_secs(60) }
}

async fn next(watch: &mut Watch, mut wanted: impl FnMut(&Change) -> bool) -> Change {
    loop {
        let occurrence = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap();
        let change = occurrence.unwrap().unwrap().change;
        if wanted(&change) {
            return change;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_whole_and_stay_inside() {
    let Some(host) = Host::start("p-files") else { return };
    for engine in [near(&host).await, far(&host).await] {
        let target = target(engine, "chat").await;
        let (directory, authority) = (&target.directory, target.lease.authority());
        let mut first = files(&[("compose.yaml", "a: 1\n"), ("conf/deep/x.conf", "x"), ("with blank", "")]);
        first.insert("run.sh".into(), SpecFile { executable: true, content: vec![0, 255, 10] });
        directory.write(authority, &first, &BTreeSet::new(), "kept").await.unwrap();
        assert_eq!(directory.read(first.keys()).await.unwrap(), first);
        let digests = directory.digests(first.keys().chain([&"none".to_owned()])).await.unwrap();
        assert_eq!(digests, first.iter().map(|(path, file)| (path.clone(), file.digest())).collect());

        let second = files(&[("compose.yaml", "a: 2\n")]);
        directory.write(authority, &second, &BTreeSet::from(["compose.yaml".into()]), "kept").await.unwrap();
        let there = directory.read(&["compose.yaml".into(), "compose.yaml.kept".into()]).await.unwrap();
        assert_eq!(there, files(&[("compose.yaml", "a: 2\n"), ("compose.yaml.kept", "a: 1\n")]));

        std::os::unix::fs::symlink("/tmp", format!("{}/out", directory.path())).unwrap();
        let error =
            directory.write(authority, &files(&[("out/x", "")]), &BTreeSet::new(), "kept").await.unwrap_err();
        assert!(matches!(&error, DirectoryError::Link { link, .. } if link == "out"), "{error}");
        let error =
            directory.write(authority, &files(&[("../x", "")]), &BTreeSet::new(), "kept").await.unwrap_err();
        assert!(matches!(error, DirectoryError::Path { .. }), "{error}");

        directory.remove(authority, &BTreeSet::from(["conf/deep/x.conf".into()])).await.unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["compose.yaml", "compose.yaml.kept", "out", "run.sh", "with blank"]);
        target.lease.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compose_understands_files_that_are_not_there_yet() {
    let Some(host) = Host::start("p-stage") else { return };
    for engine in [near(&host).await, far(&host).await] {
        let target = target(engine, "chat").await;
        let (directory, authority) = (&target.directory, target.lease.authority());
        assert_eq!(
            Project::check_compose(target.engine.connection()).await.unwrap().split('.').next(),
            Some("2")
        );
        let old = files(&[(".env", "TAG=7\n"), ("conf/only-there", "SECRET=1\n"), ("conf/both", "OLD=1\n")]);
        directory.write(authority, &old, &BTreeSet::new(), "kept").await.unwrap();
        let compose = "services:\n  a:\n    image: \"a:${TAG}\"\n    environment: {X: \"${FROM_US}\", Y: \"${UNSET_ONE}\"}\n    env_file: [conf/only-there, conf/both]\n    volumes: [\"./data:/data\", \"../beside:/beside\"]\n";
        let new = files(&[("compose.yaml", compose), ("conf/both", "NEW=1\n")]);
        let env = BTreeMap::from([("FROM_US".to_owned(), "hush".to_owned())]);
        let project =
            Project::new(target.engine.connection(), directory, "chat", &["compose.yaml".into()]).env(env);
        let rendered = project.config_with(&new).await.unwrap();
        let service = &rendered.config["services"]["a"];
        assert_eq!(service["image"], "a:7");
        let environment = serde_json::json!({"X": "hush", "Y": "", "SECRET": "1", "NEW": "1"});
        assert_eq!(service["environment"], environment);
        assert_eq!(service["volumes"][0]["source"], format!("{}/data", rendered.staged));
        let parent = directory.path().rsplit_once('/').unwrap().0;
        assert_eq!(service["volumes"][1]["source"], format!("{parent}/beside"));
        assert_eq!(rendered.warnings.unset, BTreeSet::from(["UNSET_ONE".to_owned()]));
        assert_eq!(std::fs::read_dir(parent).unwrap().count(), 1, "the stage is gone");

        let broken = files(&[("compose.yaml", "services: {a: {imag: x}}")]);
        let error = project.config_with(&broken).await.err().unwrap();
        assert!(matches!(error.fault(), Some(Fault::Invalid { .. })), "{error}");
        target.lease.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_come_up_are_seen_and_found_again() {
    let Some(host) = Host::start("p-up") else { return };
    if image::scratch("web:1").healthcheck().make(host.docker_host()).is_none() {
        return;
    }
    for engine in [near(&host).await, far(&host).await] {
        let target = target(engine, "chat").await;
        let authority = target.lease.authority();
        let compose = "services:\n  web: {image: \"web:1\", ports: [\"8080:8080\"], restart: always}\n  two: {image: \"web:1\", depends_on: [web]}\n  taken: {image: \"web:1\", ports: [\"22:8080\"]}\n  none: {image: \"web:1\", entrypoint: [\"/nope\"]}\n  gone: {image: \"web:99\"}\n";
        let spec = files(&[("compose.yaml", compose)]);
        target.directory.write(authority, &spec, &BTreeSet::new(), "kept").await.unwrap();
        let project =
            Project::new(target.engine.connection(), &target.directory, "chat", &["compose.yaml".into()]);
        let since = target.engine.machine().await.unwrap().time;
        let mut watch = target.engine.watch("chat", since);
        project.up(authority, &up(&[("web", 1), ("two", 2)], Recreate::Always)).await.unwrap();
        next(&mut watch, |change| *change == Change::Health(CheckStatus::Healthy)).await;

        let seen =
            observe(&target.documents, &target.directory, &spec.keys().cloned().collect()).await.unwrap();
        let hashes = project.hashes().await.unwrap();
        let names: Vec<_> = seen.observed.containers.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, ["chat-two-1", "chat-two-2", "chat-web-1"]);
        let web = &seen.observed.containers[2];
        assert_eq!((web.state, web.restart.as_str(), web.one_off), (ProcessState::Running, "always", false));
        assert!(!web.ports.is_empty() && web.ports.iter().all(|port| port.to_string() == "8080/tcp"));
        // What a container publishes, and sshd's. Near, this process is not on the host's network.
        for number in [8080, 22].into_iter().filter(|_| target.engine.connection().is_far()) {
            let wanted = HostPort::new("tcp", "", number).unwrap();
            let listening = &seen.observed.listening;
            assert!(listening.iter().any(|port| port.overlaps(&wanted)), "{number} {listening:?}");
        }
        assert_eq!(web.config_hash, hashes["web"]);
        assert_eq!(web.working_dir, target.directory.path());
        assert_eq!(web.config_files, [format!("{}/compose.yaml", target.directory.path())]);
        assert_eq!(web.addresses.len(), 1);
        assert_eq!(seen.observed.files["compose.yaml"], spec["compose.yaml"].digest());
        assert_eq!(seen.observed.image_named("docker.io/library/web:1").unwrap().id, web.image);

        // Left alone, and what was found is what is there.
        project.up(authority, &up(&[("web", 1)], Recreate::Never)).await.unwrap();
        assert_eq!(target.engine.containers("chat").await.unwrap().0[2].id, web.id);
        let found = target.engine.projects().await.unwrap();
        assert_eq!((found[0].name.as_str(), found[0].services["two"].running), ("chat", 2));
        assert_eq!(target.engine.networks_of("chat").await.unwrap(), BTreeSet::from(["chat_default".into()]));

        for (service, wanted) in [
            ("taken", Fault::PortTaken { port: 22 }),
            ("gone", Fault::ImageMissing { image: "web:99".into() }),
        ] {
            let error = project.up(authority, &up(&[(service, 1)], Recreate::Always)).await.unwrap_err();
            assert_eq!(error.fault(), Some(&wanted), "{error}");
        }
        let error = project.up(authority, &up(&[("none", 1)], Recreate::Always)).await.unwrap_err();
        assert!(
            matches!(error.fault(), Some(Fault::CannotStart { command, .. }) if command == "/nope"),
            "{error}"
        );

        let writer = Writer::new(&target.engine, authority);
        writer.stop(&web.id, Some(Duration::from_secs(5))).await.unwrap();
        writer.stop(&web.id, None).await.unwrap();
        writer.remove(&web.id).await.unwrap();
        writer.remove(&web.id).await.unwrap();
        project.down(authority, Duration::from_secs(60)).await.unwrap();
        assert!(target.engine.containers("chat").await.unwrap().0.is_empty());
        target.lease.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_is_seen_within_a_second_with_its_reason() {
    let Some(host) = Host::start("p-die") else { return };
    if image::scratch("web:1").make(host.docker_host()).is_none() {
        return;
    }
    for engine in [near(&host).await, far(&host).await] {
        let target = target(engine, "chat").await;
        let authority = target.lease.authority();
        let compose = "services:\n  code: {image: \"web:1\", environment: {EXIT_AFTER: \"1\", EXIT_CODE: \"7\", LOG: \"last words\"}}\n  oom: {image: \"web:1\", environment: {OOM_AFTER: \"1\"}, mem_limit: 16m, memswap_limit: 16m}\n";
        target
            .directory
            .write(authority, &files(&[("compose.yaml", compose)]), &BTreeSet::new(), "kept")
            .await
            .unwrap();
        let project =
            Project::new(target.engine.connection(), &target.directory, "chat", &["compose.yaml".into()]);
        let mut watch = target.engine.watch("chat", target.engine.machine().await.unwrap().time);
        let died = |change: &Change| matches!(change, Change::Died { .. });

        project.up(authority, &up(&[("code", 1)], Recreate::Always)).await.unwrap();
        let change = next(&mut watch, died).await;
        assert_eq!(change, Change::Died { exit_code: 7, oom_killed: false });
        let id = target.engine.containers("chat").await.unwrap().0[0].clone();
        let now = jiff::Timestamp::now();
        assert!(now.duration_since(host_time(&host, &id.id)) < jiff::SignedDuration::from_millis(1500));
        let lines = target.engine.log_tail(&id.id, 5).await.unwrap();
        assert!(lines.iter().any(|line| line.text == "last words"), "{lines:?}");
        let mut follower = target.engine.log_follow(&id.id, 5);
        assert!(follower.recv().await.unwrap().is_ok());

        project.up(authority, &up(&[("oom", 1)], Recreate::Always)).await.unwrap();
        let change = next(&mut watch, died).await;
        assert_eq!(change, Change::Died { exit_code: 137, oom_killed: true });
        project.down(authority, Duration::from_secs(60)).await.unwrap();

        target.lease.release().await.unwrap();
        let begin = Instant::now();
        host.stop_engine();
        while !matches!(watch.next().await, Some(Err(_)) | None) {}
        assert!(begin.elapsed() < Duration::from_secs(20));
        host.start_engine();
    }
}

fn host_time(host: &Host, container: &str) -> jiff::Timestamp {
    host.docker(["inspect", "--format", "{{.State.FinishedAt}}", container]).parse().unwrap()
}

/// What a deploy asks of this crate, for eight services, with 20 ms between us and the host; what they take to boot is
/// not in it, for they are made and not started.
#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_of_eight_services_over_20_ms_is_short() {
    let Some(host) = Host::start("p-rtt") else { return };
    if image::scratch("web:1").make(host.docker_host()).is_none() {
        return;
    }
    let proxy = FaultProxy::tcp(std::net::SocketAddr::new(host.address().into(), 22)).await;
    proxy.set_latency(Duration::from_millis(10));
    let options =
        Options { ssh_config: Some(host.ssh_config_through(proxy.address())), ..Options::default() };
    let begin = Instant::now();
    let mut times = Vec::new();
    let mut lap = |what: &'static str| times.push((what, begin.elapsed().as_millis()));
    let connection = Connection::open(&crate::address(&host), &options).await.unwrap();
    lap("connected");
    let engine = Engine::open(&connection).await.unwrap();
    lap("greeted");
    let target = target(engine, "chat").await;
    let authority = target.lease.authority();
    lap("leased");
    let services: String = (0..8).map(|n| format!("  s{n}: {{image: \"web:1\"}}\n")).collect();
    let spec = files(&[("compose.yaml", &format!("services:\n{services}"))]);
    let project = Project::new(&connection, &target.directory, "chat", &["compose.yaml".into()]);
    let paths = spec.keys().cloned().collect();
    let (seen, _) =
        tokio::join!(observe(&target.documents, &target.directory, &paths), project.config_with(&spec));
    let watch = target.engine.watch("chat", seen.unwrap().machine.time);
    lap("observed and understood");
    target.directory.write(authority, &spec, &BTreeSet::new(), "kept").await.unwrap();
    lap("written");
    let names: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
    let all: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    project.up(authority, &Up { start: false, ..up(&all, Recreate::Always) }).await.unwrap();
    lap("up");
    let writer = Writer::new(&target.engine, authority);
    let tags = (0..8).map(|n| {
        let (writer, name) = (writer.clone(), format!("s{n}:latest"));
        async move { writer.tag("web:1", &name.parse().unwrap()).await }
    });
    futures_util::future::try_join_all(tags).await.unwrap();
    lap("named");
    observe(&target.documents, &target.directory, &paths).await.unwrap();
    lap("observed");
    target.lease.release().await.unwrap();
    lap("released");
    drop(watch);
    eprintln!("{times:?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{times:?}");
}
