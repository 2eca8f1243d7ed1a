use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bowline_kube::{Cluster, KubeError, Opener, Stream};
use bowline_testkit::cluster::Cluster as Room;
use serde_json::{Value, json};

use crate::lab::{changed, versions, write};

async fn discover(file: &std::path::Path) -> Result<(), KubeError> {
    let cluster = Cluster::connect_by(&[file.to_owned()], None).await?;
    cluster.discover(&versions()).await.map(|_| ())
}

fn script(text: &str) -> tempfile::TempPath {
    let file = write(&format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // A program that is open for writing cannot be run.
    file.into_temp_path()
}

fn user(config: &mut Value) -> &mut Value {
    &mut config["users"][0]["user"]
}

#[tokio::test]
async fn credentials_that_are_not_accepted_are_told_from_ways_that_lead_nowhere() {
    let Some(room) = Room::reach("access") else { return };
    let original = room.kubeconfig();
    discover(original).await.unwrap();

    let wrong = changed(original, |config| *user(config) = json!({"token": "wrong"}));
    let error = discover(wrong.path()).await.unwrap_err();
    assert!(matches!(error, KubeError::Unauthorized { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("expired") && !error.is_unreachable());

    let stranger = changed(original, |config| user(config)["as"] = json!("stranger"));
    let cluster = Cluster::connect_by(&[stranger.path().to_owned()], None).await.unwrap();
    let catalog = cluster.discover(&versions()).await.unwrap();
    let pods = catalog.any(&bowline_core::kube::object::Kind::new("", "Pod")).unwrap();
    let error = cluster.list(pods, Some("default")).await.unwrap_err();
    assert!(error.is_forbidden(), "{error:?}");
    let said = error.to_string();
    assert!(
        said.starts_with("cannot list pods in namespace default: ") && said.contains("stranger"),
        "{said}"
    );

    let nowhere =
        changed(original, |config| config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1"));
    let error = discover(nowhere.path()).await.unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains("https://127.0.0.1:1"), "{error}");
    assert!(error.to_string().ends_with("cannot be reached: Connection refused (os error 111)"), "{error}");

    let name =
        changed(original, |config| config["clusters"][0]["cluster"]["tls-server-name"] = json!("other.test"));
    let error = discover(name.path()).await.unwrap_err();
    assert!(matches!(error, KubeError::Certificate { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("tls-server-name"), "{error} {:?}", error.hint());

    let authority = changed(original, |config| {
        config["clusters"][0]["cluster"].as_object_mut().unwrap().remove("certificate-authority-data");
        config["clusters"][0]["cluster"].as_object_mut().unwrap().remove("certificate-authority");
    });
    let error = discover(authority.path()).await.unwrap_err();
    assert!(matches!(error, KubeError::Certificate { .. }), "{error:?}");
}

#[tokio::test]
async fn a_program_may_log_in_by_certificate_and_says_why_it_cannot() {
    let Some(room) = Room::reach("access") else { return };
    let original = room.kubeconfig();
    let config = kube::config::Kubeconfig::read_from(original).unwrap();
    let config = serde_json::to_value(config).unwrap();
    let read = |name: &str| match config["users"][0]["user"][format!("{name}-data")].as_str() {
        Some(data) => {
            use base64::Engine as _;
            String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap()
        }
        None => std::fs::read_to_string(config["users"][0]["user"][name].as_str().unwrap()).unwrap(),
    };
    let credential = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {
        "clientCertificateData": read("client-certificate"), "clientKeyData": read("client-key"),
    }});
    let count = tempfile::NamedTempFile::new().unwrap();
    let good = script(&format!("echo run >>{}\ncat <<'END'\n{credential}\nEND", count.path().display()));
    let exec = |command: PathBuf| {
        changed(original, |config| {
            *user(config) = json!({"exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never",
                "installHint": "install it with apt-get", "env": [{"name": "A", "value": "b"}],
            }});
        })
    };
    discover(exec(good.to_path_buf()).path()).await.unwrap();
    assert_eq!(std::fs::read_to_string(count.path()).unwrap(), "run\n");

    let bad = script("echo secret-output\necho \"session of $A has ended: sso login\" >&2\nexit 3");
    let error = discover(exec(bad.to_path_buf()).path()).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("failed with exit code 3: session of b has ended: sso login"), "{said}");
    assert!(!said.contains("secret-output") && !error.is_unreachable());

    let nonsense = script("echo hunter2");
    let error = discover(exec(nonsense.to_path_buf()).path()).await.unwrap_err();
    assert!(error.to_string().ends_with("answers nothing that is an ExecCredential"), "{error}");

    let error = discover(exec("/nowhere/aws".into()).path()).await.unwrap_err();
    assert!(error.to_string().ends_with("`/nowhere/aws` is not there"), "{error}");
    assert_eq!(error.hint().unwrap(), "install it with apt-get");

    let token = script(r#"echo '{"kind": "ExecCredential", "status": {"token": "wrong"}}'"#);
    let error = discover(exec(token.to_path_buf()).path()).await.unwrap_err();
    assert!(matches!(error, KubeError::Unauthorized { .. }), "{error:?}");
}

#[tokio::test]
async fn a_token_may_stand_in_a_file() {
    let Some(room) = Room::reach("access") else { return };
    let original = room.kubeconfig();
    let token = write("wrong");
    let path = token.path().to_owned();
    let config = changed(original, |config| *user(config) = json!({"tokenFile": path}));
    assert!(matches!(discover(config.path()).await.unwrap_err(), KubeError::Unauthorized { .. }));
    let config = changed(original, |config| *user(config) = json!({"tokenFile": "/nowhere/token"}));
    let error = discover(config.path()).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/token"), "{error}");
}

#[tokio::test]
async fn the_cluster_is_reached_through_streams_that_somebody_opens() {
    let Some(room) = Room::reach("access") else { return };
    let original = room.kubeconfig();
    let opened = Arc::new(AtomicUsize::new(0));
    // The file names an address that only the other machine knows.
    let (mut real, mut name) = (String::new(), String::new());
    let file = changed(original, |config| {
        let cluster = &mut config["clusters"][0]["cluster"];
        let uri: http::Uri = cluster["server"].as_str().unwrap().parse().unwrap();
        real = format!("{}:{}", uri.host().unwrap(), uri.port_u16().unwrap_or(443));
        name = uri.host().unwrap().to_owned();
        cluster["tls-server-name"] = json!(name);
        cluster["server"] = json!("https://control-plane.internal:6443");
        embed(config);
    });
    let text = std::fs::read_to_string(file.path()).unwrap();
    let (count, address) = (Arc::clone(&opened), real.clone());
    let opener: Opener = Arc::new(move |host, port| {
        assert_eq!((host.as_str(), port), ("control-plane.internal", 6443));
        count.fetch_add(1, Ordering::Relaxed);
        let address = address.clone();
        Box::pin(
            async move { Ok(Box::new(tokio::net::TcpStream::connect(address).await?) as Box<dyn Stream>) },
        )
    });
    let cluster =
        Cluster::connect_through(&text, "ssh://box/etc/kubernetes/admin.conf", None, opener).await.unwrap();
    assert_eq!(opened.load(Ordering::Relaxed), 0);
    cluster.discover(&versions()).await.unwrap();
    assert!(opened.load(Ordering::Relaxed) > 0);

    let refused: Opener =
        Arc::new(|_, _| Box::pin(async { Err(std::io::Error::other("the SSH connection is gone")) }));
    let cluster = Cluster::connect_through(&text, "ssh://box/a", None, refused).await.unwrap();
    let error = cluster.version().await.unwrap_err();
    assert!(error.is_unreachable());
    assert_eq!(
        error.to_string(),
        "cannot ask for the cluster's version: the API server https://control-plane.internal:6443 (through ssh://box/a) \
         cannot be reached: the SSH connection is gone"
    );
    assert!(error.hint().unwrap().ends_with("there: curl -k https://control-plane.internal:6443/livez"));
}

/// Puts files that a kubeconfig names into it.
fn embed(config: &mut Value) {
    use base64::Engine as _;
    let read = |path: &Value| {
        base64::engine::general_purpose::STANDARD.encode(std::fs::read(path.as_str().unwrap()).unwrap())
    };
    for (place, name) in [
        ("/clusters/0/cluster", "certificate-authority"),
        ("/users/0/user", "client-certificate"),
        ("/users/0/user", "client-key"),
    ] {
        let map = config.pointer_mut(place).unwrap().as_object_mut().unwrap();
        if let Some(path) = map.shift_remove(name) {
            map.insert(format!("{name}-data"), json!(read(&path)));
        }
    }
}
