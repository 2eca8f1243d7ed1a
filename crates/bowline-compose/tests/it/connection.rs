use std::time::{Duration, Instant};

use bowline_compose::connection::{Command, Connection, ConnectionError, Options, RunError};
use bowline_testkit::host::{self, Host};

use crate::{address, far, near, options};

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_there_with_their_words_their_environment_and_their_input() {
    let Some(host) = Host::start("c-run") else { return };
    for engine in [near(&host).await, far(&host).await] {
        let connection = engine.connection();
        let script = r#"printf '%s|%s|%s|' "$1" "$SECRET" "$PWD"; cat; exit 3"#;
        let command = || {
            Command::new("sh")
                .args(["-c", script, "x", "a  'b' $HOME\n"])
                .env("SECRET", "s'e\"c$\nx")
                .directory("/usr")
        };
        let output = connection.run(command()).await.unwrap();
        assert_eq!(output.text(), "a  'b' $HOME\n|s'e\"c$\nx|/usr|");
        assert_eq!(output.status, 3);
        let mut bytes = vec![b'x'; 300_000];
        bytes.push(0);
        let output = connection.run(command().stdin(bytes.clone())).await.unwrap();
        assert!(output.stdout.ends_with(&bytes));
        let missing = connection.run(Command::new("true").directory("/nowhere")).await;
        assert!(matches!(missing, Err(RunError::NoDirectory { .. })));
        let much =
            connection.run(Command::new("cat").arg("/dev/zero").limit(1000).timeout(Duration::from_secs(2)));
        assert!(much.await.is_err());
        assert_eq!(connection.compose_version().await.unwrap().split('.').next(), Some("2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_waits_for_any_more_dies_there() {
    let Some(host) = Host::start("c-drop") else { return };
    for (engine, mark) in [(near(&host).await, "98701"), (far(&host).await, "98702")] {
        let run = engine.connection().run(Command::new("sleep").arg(mark));
        assert!(tokio::time::timeout(Duration::from_secs(1), run).await.is_err());
        let alive = || {
            let found =
                std::process::Command::new("pgrep").args(["-fx", &format!("sleep {mark}")]).output().unwrap();
            found.status.success()
        };
        let begin = Instant::now();
        while alive() {
            assert!(begin.elapsed() < Duration::from_secs(10), "it lives on");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_there_is_no_connection_is_said() {
    let Some(host) = Host::start("c-why") else { return };
    let open = async |address: &str, options: &Options| {
        let opened = Connection::open(&address.parse().unwrap(), options).await;
        opened.err().expect("this cannot be opened")
    };
    let mut known = options(&host);
    known.connect_timeout = Duration::from_secs(2);

    let error = open("ssh://no.such.host.invalid", &known).await;
    assert!(matches!(error, ConnectionError::UnknownHost { .. }), "{error}");
    let error = open(&format!("ssh://nobody@{}", host.name()), &known).await;
    assert!(matches!(error, ConnectionError::PermissionDenied { .. }), "{error}");
    let error = open(&format!("ssh://{}:9", host.name()), &known).await;
    assert!(matches!(error, ConnectionError::Refused { .. }), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(host.ssh_config()).unwrap();
    let with = |text: String| {
        let path = folder.path().join("config");
        std::fs::write(&path, text).unwrap();
        Options { ssh_config: Some(path), ..known.clone() }
    };
    let unknown = with(config.replace("known_hosts", "no_known_hosts"));
    let error = open(&format!("ssh://{}", host.name()), &unknown).await;
    assert!(matches!(error, ConnectionError::HostKeyUnknown { .. }), "{error}");
    let other = std::fs::read_to_string(host.ssh_config().with_file_name("identity.pub")).unwrap();
    let known_hosts = folder.path().join("other_keys");
    std::fs::write(&known_hosts, format!("{} {other}", host.name())).unwrap();
    let line = format!("UserKnownHostsFile {}", known_hosts.display());
    let changed = config.lines().map(|each| if each.contains("UserKnownHostsFile") { &line } else { each });
    let changed = with(changed.collect::<Vec<_>>().join("\n"));
    let error = open(&format!("ssh://{}", host.name()), &changed).await;
    assert!(matches!(error, ConnectionError::HostKeyChanged { .. }), "{error}");
    assert!(error.hint().unwrap().contains("other_keys:1"), "{:?}", error.hint());

    host.stop_engine();
    let error = open(&format!("ssh://{}", host.name()), &known).await;
    assert!(matches!(error, ConnectionError::EngineDown { .. }), "{error}");
    host.cut();
    let error = open(&format!("ssh://{}", host.name()), &known).await;
    assert!(matches!(error, ConnectionError::Timeout { .. } | ConnectionError::Refused { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_falls_silent_is_noticed() {
    let Some(host) = Host::start("c-cut") else { return };
    let engine = far(&host).await;
    host.cut();
    let begin = Instant::now();
    let error = engine.machine().await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(21), "{:?}", begin.elapsed());
    let error = engine.connection().run(Command::new("true")).await.err().unwrap();
    assert!(matches!(error, RunError::Connection(ConnectionError::Lost { .. })), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_engine_says_so() {
    let Some(host) =
        Host::start_with("c-bare", &host::Options { without_engine: true, ..Default::default() })
    else {
        return;
    };
    let error = Connection::open(&address(&host), &options(&host)).await.err().unwrap();
    // The machine's `docker` command is there on lab hosts too.
    assert!(matches!(error, ConnectionError::EngineDown { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_ours_is_reached_from_there() {
    let Some(host) = Host::start("c-back") else { return };
    let engine = far(&host).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = engine.connection().forward_back(listener.local_addr().unwrap().port()).await.unwrap();
    let greet = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nover the rope").await.unwrap();
    });
    let url = format!("http://127.0.0.1:{port}/");
    let output = engine.connection().run(Command::new("curl").args(["-s", &url])).await.unwrap();
    assert_eq!(output.text(), "over the rope");
    greet.await.unwrap();
}

/// An SSH server of the host with other rules.
struct Strict(std::process::Child);

impl Drop for Strict {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn strict(host: &Host, rules: &[&str]) -> Strict {
    let file = |name: &str| host.ssh_config().with_file_name(name).display().to_string();
    let keys = format!("AuthorizedKeysFile={}", file("authorized_keys"));
    let key = file("host_key");
    let mut words = vec!["-D", "-e", "-f", "/dev/null", "-p", "2222", "-h", &key, "-o", &keys];
    words.extend(["-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PidFile=none"]);
    rules.iter().for_each(|rule| words.extend(["-o", rule]));
    let mut command = host.command("sh");
    command.args(["-c", "mkdir -p /run/sshd; exec /usr/sbin/sshd \"$@\"", "sh"]).args(words);
    let server = Strict(command.stderr(std::process::Stdio::null()).spawn().unwrap());
    while std::net::TcpStream::connect((host.address(), 2222)).is_err() {
        std::thread::sleep(Duration::from_millis(50));
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ssh_server_that_forwards_no_sockets_will_do() {
    let Some(host) = Host::start("c-relay") else { return };
    let _server = strict(&host, &["AllowStreamLocalForwarding=no"]);
    let address = format!("ssh://{}:2222", host.name()).parse().unwrap();
    let connection = Connection::open(&address, &options(&host)).await.unwrap();
    let engine = bowline_compose::engine::Engine::open(&connection).await.unwrap();
    assert!(engine.machine().await.unwrap().engine.cpus > 0);
    let looks = (0..12).map(|_| engine.images());
    assert!(futures_util::future::try_join_all(looks).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_commands_than_sessions_wait_for_their_turn() {
    let Some(host) = Host::start("c-many") else { return };
    let engine = far(&host).await;
    let runs = (0..40).map(|n| engine.connection().run(Command::new("echo").arg(n.to_string())));
    let outputs = futures_util::future::try_join_all(runs).await.unwrap();
    for (n, output) in outputs.iter().enumerate() {
        assert_eq!((output.status, output.text()), (0, format!("{n}\n")), "{}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_is_found_where_the_host_says_it_is() {
    let Some(host) = Host::start("c-context") else { return };
    host.ssh("ln -s /var/run/docker.sock /root/other.sock");
    host.ssh("docker context create other --docker host=unix:///root/other.sock && docker context use other");
    let connection = Connection::open(&address(&host), &options(&host)).await.unwrap();
    let output = connection.run(Command::new("sh").args(["-c", "echo $DOCKER_HOST"])).await.unwrap();
    assert_eq!(output.text(), "unix:///root/other.sock\n");
    let engine = bowline_compose::engine::Engine::open(&connection).await.unwrap();
    assert!(engine.machine().await.unwrap().engine.cpus > 0);
    host.ssh("docker context update other --docker host=tcp://127.0.0.1:2375");
    let error = Connection::open(&address(&host), &options(&host)).await.err().unwrap();
    assert!(matches!(error, ConnectionError::EngineElsewhere { .. }), "{error}");
}
