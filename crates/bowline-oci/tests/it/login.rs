//! Token servers and credential helpers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use base64::Engine as _;
use bowline_core::digest::Digest;
use bowline_oci::credential::{Credential, Credentials};
use bowline_oci::registry::{Client, Options};

use crate::place::{chain, options, repository, write};

/// A registry with a token server: it knows one tag, and writes down what it was asked.
struct Hub {
    host: String,
    seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hub {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, place) = (seen.clone(), host.clone());
        let router =
            axum::Router::new().fallback(move |request: Request| answer(log.clone(), place.clone(), request));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { host, seen, task }
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn answer(seen: Arc<Mutex<Vec<String>>>, host: String, request: Request) -> Response<Body> {
    let authorization = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or("").to_owned());
    let verb = request.method().to_string();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    let plain =
        |status: u16, text: &str| Response::builder().status(status).body(text.to_owned().into()).unwrap();
    seen.lock().unwrap().push(format!("{verb} {path}?{query} {body}"));
    if path == "/token" {
        let basic = base64::engine::general_purpose::STANDARD.encode("me:word");
        let token = match authorization {
            Some(given) if given == format!("Basic {basic}") => "mine",
            Some(_) => return plain(401, ""),
            None if body.contains("refresh_token=the-identity") => "mine",
            None => "nobodys",
        };
        return plain(200, &format!(r#"{{"token":"{token}-{query}","expires_in":300}}"#));
    }
    let known = authorization.as_ref().is_some_and(|given| given.starts_with("Bearer mine"));
    if !known {
        let challenge =
            format!("Bearer realm=\"http://{host}/token\",service=\"hub\",scope=\"repository:chat:pull\"");
        return Response::builder()
            .status(401)
            .header("www-authenticate", challenge)
            .body(Body::empty())
            .unwrap();
    }
    if path == "/v2/away/manifests/x" {
        // To another host, with the token: it must not go along.
        return Response::builder()
            .status(307)
            .header("location", "http://169.254.169.254/latest")
            .body(Body::empty())
            .unwrap();
    }
    Response::builder()
        .header("docker-content-digest", Digest::of(b"x").to_string())
        .header("content-length", "7")
        .body(Body::empty())
        .unwrap()
}

fn client(credentials: Credentials) -> Client {
    Client::new(Options { credentials, ..options() }).unwrap()
}

fn password(word: &str) -> Credential {
    Credential::Password { username: "me".into(), password: word.into(), until: None }
}

#[tokio::test]
async fn tokens_are_fetched_once_per_purpose() {
    let hub = Hub::start().await;
    let client = client(Credentials::none().with(&hub.host, password("word")));
    let target = repository(&format!("{}/chat", hub.host));
    for _ in 0..3 {
        assert!(client.head_manifest(&target.tagged("x")).await.unwrap().is_some());
    }
    let lines = hub.lines();
    let tokens: Vec<&String> = lines.iter().filter(|line| line.starts_with("GET /token")).collect();
    assert_eq!(tokens.len(), 1, "{lines:#?}");
    assert!(tokens[0].contains("service=hub&scope=repository%3Achat%3Apull"), "{tokens:?}");
    let other = repository(&format!("{}/other", hub.host));
    client.head_manifest(&other.tagged("x")).await.unwrap();
    assert!(hub.lines().iter().any(|line| line.contains("scope=repository%3Aother%3Apull")));
}

#[tokio::test]
async fn identity_tokens_are_exchanged_and_wrong_logins_told() {
    let hub = Hub::start().await;
    let target = repository(&format!("{}/chat", hub.host));
    let identity = Credentials::none().with(&hub.host, Credential::Identity("the-identity".into()));
    assert!(client(identity).head_manifest(&target.tagged("x")).await.unwrap().is_some());
    assert!(
        hub.lines()
            .iter()
            .any(|line| line.starts_with("POST /token?") && line.contains("grant_type=refresh_token"))
    );
    let wrong = Credentials::none().with(&hub.host, password("wrong"));
    let error = client(wrong).head_manifest(&target.tagged("x")).await.unwrap_err();
    assert!(error.to_string().contains("does not accept the login"), "{error}");
    let error = client(Credentials::none()).head_manifest(&target.tagged("x")).await.unwrap_err();
    assert!(error.hint().unwrap().contains("docker login"), "{error}");
}

#[tokio::test]
async fn a_registry_cannot_send_us_to_the_metadata_service() {
    let hub = Hub::start().await;
    let quick = Options {
        credentials: Credentials::none().with(&hub.host, password("word")),
        patience: std::time::Duration::from_millis(10),
        ..options()
    };
    let target = repository(&format!("{}/away", hub.host));
    let error = Client::new(quick).unwrap().head_manifest(&target.tagged("x")).await.unwrap_err();
    assert!(chain(&error).contains("forbidden address"), "{}", chain(&error));
}

fn program(directory: &Path, name: &str, script: &str) {
    write(directory, name, script.as_bytes());
    let path = directory.join(name);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn helpers_are_asked_over_standard_input() {
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join("bin");
    program(
        &bin,
        "docker-credential-bowlinetest",
        "#!/bin/sh\n[ \"$1\" = get ] || exit 3\nread server || [ -n \"$server\" ]\ncase $server in\n\
         store.example) echo '{\"ServerURL\":\"x\",\"Username\":\"from-store\",\"Secret\":\"s\"}';;\n\
         token.example) echo '{\"Username\":\"<token>\",\"Secret\":\"refresh\"}';;\n\
         broken.example) echo 'hunter2 is no JSON';;\n\
         *) echo 'credentials not found in native keychain'; exit 1;;\nesac\n",
    );
    let file = |text: &str| {
        write(home.path(), "config.json", text.as_bytes());
        Credentials::none().with_file(&home.path().join("config.json"))
    };
    // Helpers are found on the path, as Docker finds them.
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    if std::env::var("BOWLINE_TEST_HELPER").is_err() {
        let this = std::env::current_exe().unwrap();
        let output = std::process::Command::new(this)
            .args(["--exact", "login::helpers_are_asked_over_standard_input", "--nocapture"])
            .env("PATH", path)
            .env("BOWLINE_TEST_HELPER", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let store = file(r#"{"credsStore":"bowlinetest"}"#);
    let found = store.find("store.example", "chat").await.unwrap().unwrap();
    assert!(matches!(found, Credential::Password { username, .. } if username == "from-store"));
    assert_eq!(store.find("other.example", "chat").await.unwrap(), None);
    let error = chain(&store.find("broken.example", "chat").await.unwrap_err());
    assert!(error.contains("docker-credential-bowlinetest") && !error.contains("hunter2"), "{error}");
    let some = file(r#"{"credHelpers":{"token.example":"bowlinetest"}}"#);
    assert_eq!(some.find("token.example", "x").await.unwrap(), Some(Credential::Identity("refresh".into())));
    let gone = file(r#"{"credsStore":"bowlinemissing"}"#);
    let error = gone.find("store.example", "chat").await.unwrap_err();
    assert!(error.hint().unwrap().contains("docker-credential-bowlinemissing"), "{error}");
    let odd = file(r#"{"credsStore":"../../bin/sh"}"#);
    assert!(odd.find("store.example", "chat").await.is_err());
}

#[tokio::test]
async fn the_closest_entry_of_a_file_counts() {
    let home = tempfile::tempdir().unwrap();
    let auth = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let text = format!(
        r#"{{"auths":{{"r.example":{{"auth":"{}"}},"r.example/team":{{"auth":"{}"}},"https://old.example/v1/":{{"auth":"{}"}},
        "https://index.docker.io/v1/":{{"auth":"{}"}},"i.example":{{"identitytoken":"it","auth":"{}"}},"n.example":{{}}}}}}"#,
        auth("host:1"),
        auth("team:2"),
        auth("old:3"),
        auth("hub:4"),
        auth("x:y"),
    );
    write(home.path(), "auth.json", text.as_bytes());
    let credentials = Credentials::none().with_file(&home.path().join("auth.json"));
    for (registry, name, expected) in [
        ("r.example", "team/app", Some("team")),
        ("r.example", "teams/app", Some("host")),
        ("old.example", "app", Some("old")),
        ("docker.io", "library/nginx", Some("hub")),
        ("n.example", "app", None),
        ("example", "app", None),
    ] {
        let found = credentials.find(registry, name).await.unwrap();
        let user = found.map(|found| match found {
            Credential::Password { username, .. } => username,
            Credential::Identity(_) => panic!("a password"),
        });
        assert_eq!(user.as_deref(), expected, "{registry}/{name}");
    }
    let found = credentials.find("i.example", "app").await.unwrap();
    assert_eq!(found, Some(Credential::Identity("it".into())));
    write(home.path(), "auth.json", b"{\"auths\": {\"a\": {\"auth\": \"hunter2\" oops");
    let error = chain(&credentials.find("a", "b").await.unwrap_err());
    assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
}
