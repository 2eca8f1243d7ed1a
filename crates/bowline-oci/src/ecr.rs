//! Logins for Amazon's registry, without the AWS CLI.
//!
//! AWS credentials come from the environment, the profile files, SSO, a web identity (`AWS_ROLE_ARN` and
//! `AWS_WEB_IDENTITY_TOKEN_FILE`, as GitHub's OIDC action leaves them), the container's or the instance's role.
//! With them ECR is asked for a token (API reference, `GetAuthorizationToken`), which is good for twelve hours.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use bytes::Bytes;
use reqsign_aws_v4::{DefaultCredentialProvider, RequestSigner};
use reqsign_core::{
    CommandExecute, CommandOutput, Context, FileRead, HttpSend, OsEnv, ProvideCredential, SignRequest,
    StaticEnv,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::credential::Credential;

/// The largest file and answer that is read, in bytes.
const LIMIT: usize = 1 << 20;
/// How long AWS may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long the metadata service may take: outside EC2 nobody answers there.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a program named by `credential_process` may take.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(60);

/// Why AWS gave no login.
#[derive(Debug, thiserror::Error)]
pub enum EcrError {
    /// AWS credentials were found, and could not be used.
    #[error("could not get AWS credentials")]
    Credentials(#[source] reqsign_core::Error),
    /// The request could not be made.
    #[error("could not make the request for an ECR login token in {region}")]
    Request {
        /// The region.
        region: String,
        /// Why not.
        #[source]
        source: reqsign_core::Error,
    },
    /// ECR refused.
    #[error("ECR in {region} gave no login token: {message}")]
    Refused {
        /// The region.
        region: String,
        /// What ECR said.
        message: String,
    },
}

impl EcrError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { .. } => Some(
                "the role or user needs the permission ecr:GetAuthorizationToken, and a clock that is right"
                    .into(),
            ),
            Self::Credentials(_) => Some("check AWS_PROFILE, AWS_ROLE_ARN and the instance's role".into()),
            Self::Request { .. } => None,
        }
    }
}

/// The source of ECR logins.
#[derive(Clone, Default)]
pub struct Ecr {
    /// In place of the process's environment.
    environment: Option<StaticEnv>,
    /// Registries that are ECR under another name.
    aliases: BTreeMap<String, String>,
}

impl std::fmt::Debug for Ecr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The environment holds keys.
        f.debug_struct("Ecr").field("aliases", &self.aliases).finish_non_exhaustive()
    }
}

/// The region of an ECR registry: `<account>.dkr.ecr.<region>.amazonaws.com[.cn]`, also with `ecr-fips` and in
/// the dual-stack form `<account>.dkr-ecr.<region>.on.aws`. `None` for any other host.
pub fn region(registry: &str) -> Option<&str> {
    let (account, rest) = registry.split_once('.')?;
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let forms = [
        ("dkr.ecr.", ".amazonaws.com"),
        ("dkr.ecr.", ".amazonaws.com.cn"),
        ("dkr.ecr-fips.", ".amazonaws.com"),
        ("dkr-ecr.", ".on.aws"),
        ("dkr-ecr-fips.", ".on.aws"),
    ];
    let middle = |(prefix, suffix): &(&str, &str)| rest.strip_prefix(prefix)?.strip_suffix(suffix);
    forms.iter().find_map(middle).filter(|region| !region.is_empty() && !region.contains('.'))
}

impl Ecr {
    /// Logins with the credentials that this process's environment leads to.
    pub fn new() -> Self {
        Self::default()
    }

    /// These environment variables instead of the process's, and this home directory for the profile files.
    /// AWS's own `AWS_ENDPOINT_URL_ECR`, `AWS_ENDPOINT_URL_STS` and `AWS_EC2_METADATA_SERVICE_ENDPOINT` are
    /// honoured.
    pub fn with_environment(mut self, home: Option<&std::path::Path>, variables: &[(&str, &str)]) -> Self {
        let envs = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.environment = Some(StaticEnv { home_dir: home.map(Into::into), envs });
        self
    }

    /// And this registry host, which is ECR in this region under another name (a private endpoint).
    pub fn with_alias(mut self, registry: &str, region: &str) -> Self {
        self.aliases.insert(registry.into(), region.into());
        self
    }

    /// Whether a registry is ECR, and in which region.
    pub fn region_of<'a>(&'a self, registry: &'a str) -> Option<&'a str> {
        self.aliases.get(registry).map(String::as_str).or_else(|| region(registry))
    }

    fn variable(&self, name: &str) -> Option<String> {
        let value = match &self.environment {
            Some(environment) => environment.envs.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }

    fn context(&self) -> Context {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sts = self.variable("AWS_ENDPOINT_URL_STS");
        let context =
            Context::new().with_file_read(Files).with_http_send(Http { sts }).with_command_execute(Commands);
        match &self.environment {
            Some(environment) => context.with_env(environment.clone()),
            None => context.with_env(OsEnv),
        }
    }

    /// A login for an ECR registry; `None` where no AWS credentials are found, or where it is not ECR.
    pub async fn login(&self, registry: &str) -> Result<Option<Credential>, EcrError> {
        let Some(region) = self.region_of(registry).map(str::to_owned) else { return Ok(None) };
        let context = self.context();
        let found = DefaultCredentialProvider::new().provide_credential(&context).await;
        let Some(credential) = found.map_err(EcrError::Credentials)? else { return Ok(None) };
        let failed = |source| EcrError::Request { region: region.clone(), source };
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let endpoint = self
            .variable("AWS_ENDPOINT_URL_ECR")
            .unwrap_or_else(|| format!("https://api.ecr.{region}.{suffix}"));
        let body = Bytes::from_static(b"{}");
        let request = http::Request::post(format!("{}/", endpoint.trim_end_matches('/')))
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
            .header(
                "x-amz-content-sha256",
                bowline_core::digest::Digest::from_bytes(Sha256::digest(&body).into()).hex(),
            )
            .body(body)
            .map_err(|error| failed(reqsign_core::Error::request_invalid(error.to_string())))?;
        let (mut parts, body) = request.into_parts();
        RequestSigner::new("ecr", &region)
            .sign_request(&context, &mut parts, Some(&credential), None)
            .await
            .map_err(failed)?;
        let response = context.http_send(http::Request::from_parts(parts, body)).await.map_err(failed)?;
        let refused = |message: &str| EcrError::Refused { region: region.clone(), message: message.into() };
        if !response.status().is_success() {
            return Err(refused(&complaint(response.status().as_u16(), response.body())));
        }
        parse_token(response.body()).map(Some).ok_or_else(|| refused("its answer holds none"))
    }
}

/// The user and password that a token is (API reference, `AuthorizationData`).
fn parse_token(body: &[u8]) -> Option<Credential> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Response {
        authorization_data: Vec<Authorization>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Authorization {
        authorization_token: String,
        expires_at: Option<f64>,
    }
    let response: Response = serde_json::from_slice(body).ok()?;
    let data = response.authorization_data.into_iter().next()?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(data.authorization_token).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    let life = data.expires_at.and_then(|at| Duration::try_from_secs_f64(at).ok());
    let until = life.map(|life| SystemTime::UNIX_EPOCH + life);
    Some(Credential::Password { username: username.into(), password: password.into(), until })
}

/// What ECR said: `{"__type": …, "message": …}`, without the service's prefix.
fn complaint(status: u16, body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    struct Complaint {
        #[serde(default, rename = "__type")]
        kind: String,
        #[serde(default, alias = "Message")]
        message: String,
    }
    let said: Complaint = serde_json::from_slice(body).unwrap_or_default();
    let kind = said.kind.rsplit('#').next().unwrap_or_default();
    let text = format!("{status} {kind} {}", said.message);
    text.trim().chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Files for the credential chain.
#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        let failed = |error: std::io::Error| {
            reqsign_core::Error::config_invalid(format!("could not read {path}")).with_source(error)
        };
        let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
        if size > LIMIT as u64 {
            return Err(failed(std::io::Error::other("it is larger than 1 MiB")));
        }
        tokio::fs::read(path).await.map_err(failed)
    }
}

/// HTTP for the credential chain: no redirects, short answers.
#[derive(Debug)]
struct Http {
    sts: Option<String>,
}

impl HttpSend for Http {
    async fn http_send(&self, request: http::Request<Bytes>) -> reqsign_core::Result<http::Response<Bytes>> {
        // Neither the address nor the error's own text, which repeats it: both may hold a token.
        let failed = |error: reqwest::Error| {
            reqsign_core::Error::unexpected("could not reach AWS").with_source(error.without_url())
        };
        let (mut parts, body) = request.into_parts();
        let host = parts.uri.host().unwrap_or_default().to_owned();
        if let Some(endpoint) = self.sts.as_ref().filter(|_| host.starts_with("sts.")) {
            let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            let text = format!("{}{path}", endpoint.trim_end_matches('/'));
            parts.uri = text
                .parse()
                .map_err(|_| reqsign_core::Error::config_invalid("AWS_ENDPOINT_URL_STS is no address"))?;
        }
        let metadata = host.starts_with("169.254.") || host.starts_with("[fd00:ec2");
        let timeout = if metadata { METADATA_TIMEOUT } else { TIMEOUT };
        let mut builder =
            reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
        if parts.uri.scheme_str() == Some("http") {
            // The metadata services and tests: nothing to verify, and never through a proxy.
            builder = builder.no_proxy().tls_certs_only([]);
        }
        let client = builder.build().map_err(failed)?;
        let mut request = client.request(parts.method, parts.uri.to_string()).body(body);
        for (name, value) in &parts.headers {
            if name != http::header::HOST {
                request = request.header(name, value);
            }
        }
        let mut response = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > LIMIT {
                return Err(reqsign_core::Error::unexpected("AWS answered with more than 1 MiB"));
            }
        }
        let mut answer = http::Response::new(Bytes::from(body));
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        Ok(answer)
    }
}

/// Programs for the credential chain (`credential_process` in a profile): arguments, no shell.
#[derive(Debug)]
struct Commands;

impl CommandExecute for Commands {
    async fn command_execute<'a>(
        &'a self,
        program: &'a str,
        args: &'a [&'a str],
    ) -> reqsign_core::Result<CommandOutput> {
        let failed = |error: std::io::Error| {
            reqsign_core::Error::config_invalid(format!("could not run {program}")).with_source(error)
        };
        let run = tokio::process::Command::new(program)
            .args(args)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PROCESS_TIMEOUT, run)
            .await
            .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        let status = output.status.code().unwrap_or(-1);
        Ok(CommandOutput { status, stdout: output.stdout, stderr: output.stderr })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ecr_registries_are_recognised() {
        for (host, expected) in [
            ("123456789012.dkr.ecr.ap-northeast-2.amazonaws.com", Some("ap-northeast-2")),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", Some("eu-west-1")),
            ("12345678901.dkr.ecr.eu-west-1.amazonaws.com", None),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", None),
            ("123456789012.dkr.ecr.evil.example.x.amazonaws.com", None),
            ("public.ecr.aws", None),
            ("ghcr.io", None),
        ] {
            assert_eq!(region(host), expected, "{host}");
        }
    }

    #[test]
    fn a_token_is_a_login_with_an_end() {
        let body = br#"{"authorizationData":[{"authorizationToken":"QVdTOnB3OjE=","expiresAt":1.5E9,"proxyEndpoint":"x"}]}"#;
        let Some(Credential::Password { username, password, until }) = parse_token(body) else {
            panic!("a login")
        };
        assert_eq!((username.as_str(), password.as_str()), ("AWS", "pw:1"));
        assert_eq!(until, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000)));
        assert_eq!(parse_token(br#"{"authorizationData":[]}"#), None);
    }

    #[test]
    fn what_ecr_says_is_shown_in_one_line() {
        let body = br#"{"__type":"com.amazonaws#AccessDeniedException","Message":"no\nway"}"#;
        assert_eq!(complaint(400, body), "400 AccessDeniedException noway");
        assert_eq!(complaint(503, b""), "503");
    }
}
