//! Credentials from a program that the kubeconfig names (`aws eks get-token`, `kubelogin`).
//!
//! The program is run here rather than by kube, which runs it three times for one client and keeps what it says on
//! stderr to itself.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use jiff::{SignedDuration, Timestamp};
use kube::config::{ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::Mutex;
use tower::BoxError;

use crate::error::{KubeError, clean};

/// Such a program may ask a person to log in with a browser.
const PATIENCE: Duration = Duration::from_secs(180);
/// A token is renewed this long before it ends.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);
/// A token that is refused although it is this new will not get better by asking again.
const FRESH: SignedDuration = SignedDuration::from_secs(10);
/// How much of what the program said is kept, in bytes, from the end.
const KEPT: usize = 2000;

/// What such a program gives.
pub(crate) enum Credential {
    /// Goes with every request.
    Token(Token),
    /// Is shown when a connection begins; both PEM.
    Certificate {
        /// The certificate, with those that signed it.
        chain: String,
        /// Its key.
        key: String,
    },
}

/// A token with its end. No `Debug`: it is a secret.
pub(crate) struct Token {
    header: HeaderValue,
    since: Timestamp,
    until: Option<Timestamp>,
}

/// Who logs in, again when it is time. Clones share the token.
#[derive(Clone)]
pub(crate) struct Login {
    server: Arc<str>,
    exec: Arc<ExecConfig>,
    token: Arc<Mutex<Option<Token>>>,
}

#[derive(Deserialize)]
struct Answer {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    expiration_timestamp: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Login {
    pub(crate) fn new(server: &str, exec: ExecConfig) -> Self {
        Self { server: server.into(), exec: Arc::new(exec), token: Arc::default() }
    }

    /// Uses this token until its end.
    pub(crate) async fn remember(&self, token: Token) {
        *self.token.lock().await = Some(token);
    }

    /// Forgets a token that was refused, unless somebody has just fetched it: a new one would be no better.
    pub(crate) async fn forget(&self) {
        let mut token = self.token.lock().await;
        let fresh = |known: &Token| Timestamp::now().duration_since(known.since) < FRESH;
        *token = token.take().filter(fresh);
    }

    async fn header(&self) -> Result<HeaderValue, KubeError> {
        let mut token = self.token.lock().await;
        if let Some(known) = &*token
            && known.until.is_none_or(|until| until.duration_since(Timestamp::now()) > MARGIN)
        {
            return Ok(known.header.clone());
        }
        match self.run().await? {
            Credential::Token(new) => Ok(token.insert(new).header.clone()),
            Credential::Certificate { .. } => {
                Err(self.failed("gives a certificate where it gave a token before"))
            }
        }
    }

    /// Runs the program.
    pub(crate) async fn run(&self) -> Result<Credential, KubeError> {
        let mut child = self.command()?.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => self.failed("is not there"),
            _ => self.failed(&format!("cannot be started: {error}")),
        })?;
        let (mut output, errors) = (Vec::new(), child.stderr.take());
        let stdout = child.stdout.take();
        let everything = async {
            let read = async {
                match stdout {
                    Some(mut stdout) => stdout.read_to_end(&mut output).await.map(|_| ()),
                    None => Ok(()),
                }
            };
            let (read, said) = tokio::join!(read, listen(errors));
            read.and(child.wait().await).map(|status| (status, said))
        };
        let answer = tokio::time::timeout(PATIENCE, everything).await;
        let (status, said) = answer
            .map_err(|_| self.failed(&format!("does not end within {} s", PATIENCE.as_secs())))?
            .map_err(|error| self.failed(&format!("cannot be listened to: {error}")))?;
        if !status.success() {
            let said = clean(&String::from_utf8_lossy(&said));
            let how =
                status.code().map_or("was killed".to_owned(), |code| format!("failed with exit code {code}"));
            return Err(self.failed(&if said.is_empty() { how } else { format!("{how}: {said}") }));
        }
        self.parse(&output)
    }

    fn command(&self) -> Result<Command, KubeError> {
        let name = self.exec.command.as_deref().filter(|name| !name.is_empty());
        let mut command = Command::new(name.ok_or_else(|| self.failed("is no command: its name is empty"))?);
        command.args(self.exec.args.iter().flatten());
        for variable in self.exec.env.iter().flatten() {
            if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
                command.env(name, value);
            }
        }
        let interactive = self.exec.interactive_mode != Some(ExecInteractiveMode::Never)
            && std::io::IsTerminal::is_terminal(&std::io::stdin());
        let cluster = self.exec.cluster.as_ref().filter(|_| self.exec.provide_cluster_info);
        let mut spec = json!({"interactive": interactive});
        if let (Some(cluster), Some(spec)) = (cluster, spec.as_object_mut()) {
            spec.insert("cluster".into(), json!(cluster));
        }
        let version = self.exec.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1beta1");
        let info = json!({"apiVersion": version, "kind": "ExecCredential", "spec": spec});
        command
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(if interactive { Stdio::inherit() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    fn parse(&self, output: &[u8]) -> Result<Credential, KubeError> {
        // What it wrote is a secret: it is never part of an error.
        let answer: Answer = std::str::from_utf8(output)
            .ok()
            .and_then(|text| serde_saphyr::from_str(text).ok())
            .ok_or_else(|| self.failed("answers nothing that is an ExecCredential"))?;
        let status =
            answer.status.ok_or_else(|| self.failed("answers an ExecCredential without a status"))?;
        if let (Some(chain), Some(key)) = (status.client_certificate_data, status.client_key_data) {
            return Ok(Credential::Certificate { chain, key });
        }
        let token = status.token.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| self.failed("gives neither a token nor a certificate"))?;
        let mut header = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| self.failed("gives a token that no header can carry"))?;
        header.set_sensitive(true);
        let until = status.expiration_timestamp.map(|text| text.parse()).transpose();
        let until = until.map_err(|_| self.failed("gives an expirationTimestamp that is no time"))?;
        Ok(Credential::Token(Token { header, since: Timestamp::now(), until }))
    }

    fn failed(&self, reason: &str) -> KubeError {
        KubeError::Login {
            server: self.server.to_string(),
            command: self.exec.command.clone().unwrap_or_default(),
            reason: reason.to_owned(),
            install: self.exec.install_hint.as_deref().map(clean),
        }
    }
}

/// The end of what a program says on stderr. A person who is asked to log in with a browser has to see it at once.
async fn listen(errors: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut said, mut buffer) = (Vec::new(), [0_u8; 1024]);
    let Some(mut errors) = errors else { return said };
    let show = std::io::IsTerminal::is_terminal(&std::io::stderr());
    while let Ok(length @ 1..) = errors.read(&mut buffer).await {
        let new = buffer.get(..length).unwrap_or_default();
        if show {
            // A terminal that does not take it is no reason to fail.
            let _ = std::io::stderr().write_all(new);
        }
        said.extend_from_slice(new);
        said.drain(..said.len().saturating_sub(KEPT));
    }
    said
}

impl<B: Send + 'static> tower::filter::AsyncPredicate<Request<B>> for Login {
    type Future = BoxFuture<'static, Result<Request<B>, BoxError>>;
    type Request = Request<B>;

    fn check(&mut self, mut request: Request<B>) -> Self::Future {
        let login = self.clone();
        Box::pin(async move {
            let header = login.header().await?;
            request.headers_mut().insert(AUTHORIZATION, header);
            Ok(request)
        })
    }
}
