//! An API server that fails as told.

use std::sync::{Arc, Mutex};

use bowline_core::kube::object::{ObjectId, identify};
use bowline_kube::{Cluster, Dependents, Expected, GroupVersion, KubeError};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::lab::write;

/// What a server does with a request: answers with a status, headers and a body, or (status 0) hangs up.
type Script = Arc<dyn Fn(&str, usize) -> (u16, &'static str, String) + Send + Sync>;

/// A server; what was asked of it, in order.
async fn serve(script: Script) -> (Cluster, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (script, log) = (Arc::clone(&script), Arc::clone(&log));
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                loop {
                    let head = loop {
                        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                            break String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
                        }
                        if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                            return;
                        }
                    };
                    let length = head.lines().find_map(|line| {
                        line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned)
                    });
                    let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
                    while buffer.len() < length {
                        stream.read_buf(&mut buffer).await.unwrap();
                    }
                    buffer.drain(..length);
                    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
                    let auth =
                        head.lines().find_map(|line| line.strip_prefix("authorization: ").map(str::to_owned));
                    let number = {
                        let mut log = log.lock().unwrap();
                        log.push(format!(
                            "{line}{}",
                            auth.map(|auth| format!(" {auth}")).unwrap_or_default()
                        ));
                        log.len()
                    };
                    let (status, headers, body) = script(&line, number);
                    if status == 0 {
                        return;
                    }
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (connect(port, &json!({})).await, asked)
}

async fn connect(port: u16, user: &serde_json::Value) -> Cluster {
    connect_to(&json!({"server": format!("http://127.0.0.1:{port}")}), user).await
}

async fn connect_to(cluster: &serde_json::Value, user: &serde_json::Value) -> Cluster {
    let config = json!({
        "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    });
    Cluster::connect_by(&[write(&config.to_string()).path().to_owned()], None).await.unwrap()
}

fn version() -> String {
    json!({"major": "1", "minor": "27+", "gitVersion": "v1.27.3-eks"}).to_string()
}

#[tokio::test]
async fn a_question_is_asked_again_while_the_server_is_in_trouble() {
    let (cluster, asked) = serve(Arc::new(|_, number| match number {
        1 => (503, "", "busy".into()),
        2 => (0, "", String::new()),
        3 => (429, "Retry-After: 0\r\n", json!({"message": "slow down"}).to_string()),
        _ => (200, "", version()),
    }))
    .await;
    let version = cluster.version().await.unwrap();
    assert_eq!((version.minor, version.text.as_str()), (27, "v1.27.3-eks"));
    assert_eq!(asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn trouble_that_lasts_is_told_in_the_end() {
    let (cluster, asked) =
        serve(Arc::new(|_, _| (500, "", json!({"message": "etcdserver: no leader"}).to_string()))).await;
    let error = cluster.version().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot ask for the cluster's version: the API server answers 500: etcdserver: no leader"
    );
    assert_eq!(asked.lock().unwrap().len(), 5);
    let (cluster, _) = serve(Arc::new(|_, _| (0, "", String::new()))).await;
    let error = cluster.version().await.unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
}

#[tokio::test]
async fn a_write_that_expects_something_is_not_repeated_where_it_may_have_been_done() {
    let (cluster, asked) = serve(Arc::new(|line, _| match line {
        _ if line.starts_with("GET /version") => (200, "", version()),
        _ if line.starts_with("GET /apis") => (200, "", json!({"groups": []}).to_string()),
        _ if line.starts_with("GET") => {
            let list = json!({"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": true, "verbs": []}]});
            (200, "", list.to_string())
        }
        _ => (0, "", String::new()),
    }))
    .await;
    let catalog = cluster.discover(&[GroupVersion::new("", "v1")].into()).await.unwrap();
    let live = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata":
        {"name": "../x", "namespace": "chat", "uid": "u", "resourceVersion": "1"}});
    let id: ObjectId = identify(&live).unwrap();
    let resource = catalog.any(&id.kind).unwrap();
    let manifest = bowline_core::kube::object::Manifest {
        id: id.clone(),
        version: "v1".into(),
        value: live.clone(),
        origin: bowline_core::kube::object::Origin { file: "a".into(), line: 1, column: 1 },
    };
    let count = |verb: &str| asked.lock().unwrap().iter().filter(|line| line.starts_with(verb)).count();
    let error = cluster.apply(resource, &manifest, &Expected::exactly(&live), true).await.unwrap_err();
    assert!(
        error.is_unreachable() && error.to_string().starts_with("cannot apply ConfigMap chat/../x: "),
        "{error}"
    );
    assert_eq!(count("PATCH"), 1);
    cluster.apply(resource, &manifest, &Expected::object(&live), false).await.unwrap_err();
    assert_eq!(count("PATCH"), 6);
    cluster.delete(resource, &id, &Expected::Anything, Dependents::After).await.unwrap_err();
    assert_eq!(count("DELETE"), 1);
    let line = asked.lock().unwrap().iter().find(|line| line.starts_with("PATCH")).unwrap().clone();
    assert_eq!(
        line,
        "PATCH /api/v1/namespaces/chat/configmaps/..%2Fx?fieldManager=bowline&fieldValidation=Warn&force=true"
    );
}

#[tokio::test]
async fn a_token_that_is_refused_is_fetched_anew_once() {
    let (cluster, asked) = serve(Arc::new(|_, _| (200, "", version()))).await;
    let port: u16 = cluster.server().rsplit(':').next().unwrap().parse().unwrap();
    let user = json!({"exec": {"command": "sh", "interactiveMode": "Never", "args": ["-c",
        "echo '{\"status\": {\"token\": \"'$(date +%N)'\", \"expirationTimestamp\": \"2020-01-01T00:00:00Z\"}}'"]}});
    let cluster = connect(port, &user).await;
    // The first token has expired already, and so has every other: each request has one of its own.
    cluster.version().await.unwrap();
    cluster.version().await.unwrap();
    let asked: Vec<_> = asked.lock().unwrap().clone();
    assert!(
        asked.len() == 2 && asked[0].starts_with("GET /version Bearer ") && asked[0] != asked[1],
        "{asked:?}"
    );
    drop(cluster);

    let (refusing, asked) =
        serve(Arc::new(|_, _| (401, "", json!({"message": "Unauthorized"}).to_string()))).await;
    let port: u16 = refusing.server().rsplit(':').next().unwrap().parse().unwrap();
    let user = json!({"exec": {"command": "echo", "interactiveMode": "Never", "args": ["{\"status\": {\"token\": \"t\"}}"]}});
    let error = connect(port, &user).await.version().await.unwrap_err();
    assert!(matches!(error, KubeError::Unauthorized { .. }), "{error:?}");
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_proxy_of_the_kubeconfig_is_gone_through() {
    let (cluster, _) = serve(Arc::new(|_, _| (200, "", version()))).await;
    let real = cluster.server().trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let wanted = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&wanted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let line = String::from_utf8(head).unwrap().lines().next().unwrap().to_owned();
            let refused = line.contains("forbidden");
            log.lock().unwrap().push(line);
            if refused {
                stream.write_all(b"HTTP/1.1 403 Not that one\r\n\r\n").await.unwrap();
                continue;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut far = tokio::net::TcpStream::connect(&real).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut far).await.ok() });
        }
    });
    let through = |server: &str| json!({"server": server, "proxy-url": proxy});
    let cluster = connect_to(&through("http://api.internal:6443"), &json!({})).await;
    assert_eq!(cluster.version().await.unwrap().minor, 27);
    assert_eq!(*wanted.lock().unwrap(), ["CONNECT api.internal:6443 HTTP/1.1"]);
    let error = connect_to(&through("http://forbidden:6443"), &json!({})).await.version().await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("the proxy refuses a tunnel to forbidden:6443: HTTP/1.1 403 Not that one"),
        "{error}"
    );
}
