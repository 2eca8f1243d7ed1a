//! An imitation of the AWS services behind an ECR login, and of ECR where it differs from other registries. The
//! shapes are those of the API references of ECR (`GetAuthorizationToken`), STS (`AssumeRoleWithWebIdentity`) and
//! the instance metadata service (version 2), and of what people saw ECR answer: 201 to `PATCH`, no mounts, tags that cannot
//! be put again, pages of at most a thousand.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use base64::Engine as _;
use bowline_core::digest::Digest;
use futures_util::StreamExt as _;

/// The access key that every source of credentials gives, with a suffix that names the source.
pub(crate) const KEY: &str = "AKIDEXAMPLE";
/// The only repository that exists.
pub(crate) const REPOSITORY: &str = "chat";

#[derive(Default)]
pub(crate) struct State {
    /// `METHOD path`, without queries.
    pub(crate) lines: Vec<String>,
    /// The access keys that asked for tokens.
    pub(crate) keys: Vec<String>,
    /// How many tokens were given; only the newest is taken.
    pub(crate) tokens: u64,
    /// How long tokens live.
    pub(crate) life: Option<Duration>,
    /// Cut the next body after so many bytes.
    pub(crate) cut_after: Option<usize>,
    blobs: HashMap<String, Bytes>,
    uploads: HashMap<String, Vec<u8>>,
    manifests: BTreeMap<String, Bytes>,
    pub(crate) revoked: bool,
}

/// The running imitation.
pub(crate) struct Aws {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Aws {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Aws {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let router = axum::Router::new().fallback(move |request: Request| answer(shared.clone(), request));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, state, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }
}

fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut builder = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).unwrap()
}

async fn answer(state: Arc<Mutex<State>>, request: Request) -> Response<Body> {
    let (verb, path) = (request.method().to_string(), request.uri().path().to_owned());
    state.lock().unwrap().lines.push(format!("{verb} {path}"));
    let headers = request.headers().clone();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let query = request.uri().query().unwrap_or_default().to_owned();
    match (verb.as_str(), path.as_str()) {
        ("PUT", "/latest/api/token") => {
            assert!(header("x-aws-ec2-metadata-token-ttl-seconds").is_some());
            reply(200, &[], "metadata-token")
        }
        ("GET", path) if path.starts_with("/latest/meta-data/") => {
            assert_eq!(header("x-aws-ec2-metadata-token").as_deref(), Some("metadata-token"));
            match path.strip_prefix("/latest/meta-data/iam/security-credentials/") {
                Some("") => reply(200, &[], "the-role"),
                Some("the-role") => reply(
                    200,
                    &[],
                    format!(
                        r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"{KEY}INSTANCE","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z","LastUpdated":"2026-01-01T00:00:00Z"}}"#
                    ),
                ),
                _ => reply(404, &[], ""),
            }
        }
        ("GET", "/container") => reply(
            200,
            &[],
            format!(
                r#"{{"RoleArn":"r","AccessKeyId":"{KEY}CONTAINER","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}}"#
            ),
        ),
        (_, "/") if query.contains("AssumeRoleWithWebIdentity") => {
            assert!(query.contains("WebIdentityToken=the-oidc-token"), "{query}");
            web_identity()
        }
        ("POST", "/") => {
            let target = header("x-amz-target");
            let authorization = header("authorization").unwrap_or_default();
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            if String::from_utf8_lossy(&body).contains("AssumeRoleWithWebIdentity") {
                assert!(String::from_utf8_lossy(&body).contains("the-oidc-token"));
                return web_identity();
            }
            assert_eq!(target.as_deref(), Some("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"));
            token(&mut state.lock().unwrap(), &authorization)
        }
        (_, path) if path.starts_with("/v2/") => registry(state, request).await,
        _ => reply(404, &[], ""),
    }
}

fn web_identity() -> Response<Body> {
    let xml = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><SessionToken>t</SessionToken>\
         <SecretAccessKey>s</SecretAccessKey><Expiration>2099-01-01T00:00:00Z</Expiration>\
         <AccessKeyId>{KEY}WEB</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>\
         </AssumeRoleWithWebIdentityResponse>"
    );
    reply(200, &[("content-type", "text/xml")], xml)
}

fn token(state: &mut State, authorization: &str) -> Response<Body> {
    let kind = [("content-type", "application/x-amz-json-1.1")];
    let key = authorization
        .strip_prefix("AWS4-HMAC-SHA256 Credential=")
        .and_then(|rest| rest.split_once('/'))
        .map(|(key, rest)| (key.to_owned(), rest.to_owned()));
    let Some((key, scope)) = key.filter(|(key, _)| key.starts_with(KEY) && !key.ends_with("DENIED")) else {
        let body = r#"{"__type":"AccessDeniedException","message":"User is not authorized to perform: ecr:GetAuthorizationToken"}"#;
        return reply(400, &kind, body);
    };
    assert!(scope.contains("/eu-west-1/ecr/aws4_request"), "{scope}");
    assert!(scope.contains("x-amz-target") && scope.contains("Signature="), "{scope}");
    state.keys.push(key);
    state.tokens += 1;
    let token = base64::engine::general_purpose::STANDARD.encode(format!("AWS:token-{}", state.tokens));
    let until = SystemTime::now() + state.life.unwrap_or(Duration::from_secs(12 * 3600));
    let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let body = format!(
        r#"{{"authorizationData":[{{"authorizationToken":"{token}","expiresAt":{until},"proxyEndpoint":"https://123456789012.dkr.ecr.eu-west-1.amazonaws.com"}}]}}"#
    );
    reply(200, &kind, body)
}

fn problem(status: u16, code: &str, message: &str) -> Response<Body> {
    reply(status, &[], format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
}

async fn registry(state: Arc<Mutex<State>>, request: Request) -> Response<Body> {
    let (verb, path) = (request.method().to_string(), request.uri().path().to_owned());
    let query = request.uri().query().unwrap_or_default().to_owned();
    {
        let state = state.lock().unwrap();
        let wanted = base64::engine::general_purpose::STANDARD.encode(format!("AWS:token-{}", state.tokens));
        let given = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        if state.revoked || given != Some(format!("Basic {wanted}")) {
            let challenge =
                [("www-authenticate", "Basic realm=\"https://ecr.example/\",service=\"ecr.amazonaws.com\"")];
            return reply(401, &challenge, "Not Authorized");
        }
    }
    let rest = path.strip_prefix("/v2/").unwrap();
    if rest.is_empty() {
        return reply(200, &[], "");
    }
    let Some(rest) = rest.strip_prefix(&format!("{REPOSITORY}/")) else {
        return problem(404, "NAME_UNKNOWN", "The repository with name does not exist in the registry");
    };
    let parts: Vec<&str> = rest.split('/').collect();
    match (verb.as_str(), parts.as_slice()) {
        ("HEAD", ["blobs", digest]) => match state.lock().unwrap().blobs.get(*digest) {
            Some(bytes) => reply(200, &[("content-length", &bytes.len().to_string())], ""),
            None => reply(404, &[], ""),
        },
        ("GET", ["blobs", digest]) => match state.lock().unwrap().blobs.get(*digest) {
            Some(bytes) => reply(200, &[], bytes.clone()),
            None => problem(404, "BLOB_UNKNOWN", "blob unknown"),
        },
        ("POST", ["blobs", "uploads", ""]) => {
            let mut state = state.lock().unwrap();
            let id = format!("u{}", state.uploads.len());
            state.uploads.insert(id.clone(), Vec::new());
            // ECR mounts only where an account has asked for it; else it opens an upload.
            reply(202, &[("location", &format!("/v2/{REPOSITORY}/blobs/uploads/{id}"))], "")
        }
        ("GET", ["blobs", "uploads", id]) => match state.lock().unwrap().uploads.get(*id) {
            Some(bytes) => reply(
                204,
                &[
                    ("range", &format!("0-{}", bytes.len().saturating_sub(1))),
                    ("location", &format!("/v2/{REPOSITORY}/blobs/uploads/{id}")),
                ],
                "",
            ),
            None => problem(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown"),
        },
        ("PATCH" | "PUT", ["blobs", "uploads", id]) => upload(state, request, &verb, id, &query).await,
        (_, ["manifests", name]) => manifest(state, request, &verb, name).await,
        ("GET", ["tags", "list"]) => tags(&state.lock().unwrap(), &query),
        _ => problem(405, "UNSUPPORTED", "unsupported"),
    }
}

async fn upload(
    state: Arc<Mutex<State>>,
    request: Request,
    verb: &str,
    id: &str,
    query: &str,
) -> Response<Body> {
    let start = request
        .headers()
        .get("content-range")
        .map_or(0, |value| value.to_str().unwrap().split('-').next().unwrap().parse::<usize>().unwrap());
    let have = match state.lock().unwrap().uploads.get(id) {
        Some(bytes) => bytes.len(),
        None => return problem(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown"),
    };
    if verb == "PATCH" && start != have {
        let message = format!("First byte of the layer part is {start} instead of {have}");
        return problem(416, "BLOB_UPLOAD_INVALID", &message);
    }
    let mut stream = request.into_body().into_data_stream();
    while let Some(Ok(chunk)) = stream.next().await {
        let mut state = state.lock().unwrap();
        let bytes = state.uploads.get_mut(id).unwrap();
        bytes.extend_from_slice(&chunk);
        let length = bytes.len();
        if state.cut_after.is_some_and(|cut| length > cut) {
            state.cut_after = None;
            return problem(503, "UNAVAILABLE", "the line is cut");
        }
    }
    let location = format!("/v2/{REPOSITORY}/blobs/uploads/{id}");
    if verb == "PATCH" {
        return reply(201, &[("location", &location), ("range", "0-0")], "");
    }
    let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest=")).unwrap().replace("%3A", ":");
    let mut state = state.lock().unwrap();
    let bytes = state.uploads.remove(id).unwrap();
    if Digest::of(&bytes).to_string() != digest {
        return problem(400, "DIGEST_INVALID", "the digest does not match");
    }
    state.blobs.insert(digest.clone(), bytes.into());
    reply(201, &[("docker-content-digest", &digest)], "")
}

async fn manifest(state: Arc<Mutex<State>>, request: Request, verb: &str, name: &str) -> Response<Body> {
    let kind = request.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 4 << 20).await.unwrap();
    let mut state = state.lock().unwrap();
    match verb {
        "PUT" if state.manifests.contains_key(name) => problem(
            400,
            "TAG_INVALID",
            &format!(
                "The image tag '{name}' already exists in the '{REPOSITORY}' repository and cannot be overwritten because the repository is immutable."
            ),
        ),
        "PUT" => {
            assert_eq!(kind.as_deref(), Some("application/vnd.oci.image.manifest.v1+json"));
            let digest = Digest::of(&body).to_string();
            state.manifests.insert(name.to_owned(), body.clone());
            state.manifests.insert(digest.clone(), body);
            reply(201, &[("docker-content-digest", &digest)], "")
        }
        _ => match state.manifests.get(name) {
            Some(bytes) => reply(
                200,
                &[
                    ("docker-content-digest", &Digest::of(bytes).to_string()),
                    ("content-type", "application/vnd.oci.image.manifest.v1+json"),
                    ("content-length", &bytes.len().to_string()),
                ],
                if verb == "HEAD" { Bytes::new() } else { bytes.clone() },
            ),
            None => problem(404, "MANIFEST_UNKNOWN", "Requested image not found"),
        },
    }
}

fn tags(state: &State, query: &str) -> Response<Body> {
    let n: usize = query.strip_prefix("n=").and_then(|n| n.parse().ok()).unwrap_or(1000);
    if n > 1000 {
        return problem(400, "PAGINATION_NUMBER_INVALID", "n must be at most 1000");
    }
    let tags: Vec<String> =
        state.manifests.keys().filter(|name| !name.contains(':')).map(|name| format!("{name:?}")).collect();
    reply(200, &[], format!(r#"{{"name":"{REPOSITORY}","tags":[{}]}}"#, tags.join(",")))
}
