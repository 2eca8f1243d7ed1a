//! Logins for registries, found where Docker and Podman keep them.
//!
//! In this order: what was given to the program; for ECR, AWS credentials (unless a helper is named for that
//! registry); `config.json` of Docker (`credHelpers`, `credsStore`, `auths`); Podman's `auth.json`. Helpers are
//! programs `docker-credential-NAME` that are asked over their standard input
//! (docker/docker-credential-helpers, "Development").

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::ecr::{Ecr, EcrError};

/// The largest credential file, and the longest answer of a helper, in bytes.
const LIMIT: u64 = 1 << 20;
/// How long a helper may think: it may ask the network, and never a person.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);
/// Under which name Docker files the login of Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A login. Never shown: its `Debug` hides what is secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user and a password or token.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: String,
        /// When it ends, where that is known.
        until: Option<SystemTime>,
    },
    /// An OAuth2 refresh token, to be exchanged with the registry's token server.
    Identity(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username}, …)"),
            Self::Identity(_) => f.write_str("Identity(…)"),
        }
    }
}

/// Why a login could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not what Docker and Podman write. What it holds is not repeated here.
    #[error("{} is no valid credential file{}", path.display(), if *.line > 0 { format!(" (line {line})") } else { String::new() })]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1, where it is known.
        line: usize,
    },
    /// The helper could not be asked.
    #[error("could not run the credential helper {helper}")]
    Helper {
        /// The program.
        helper: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The helper failed or made no sense.
    #[error("the credential helper {helper} {problem}")]
    Answer {
        /// The program.
        helper: String,
        /// What happened.
        problem: String,
    },
    /// AWS gave no token for ECR.
    #[error("could not get a login from AWS")]
    Ecr(#[source] EcrError),
}

impl CredentialError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Helper { helper, source } if source.kind() == io::ErrorKind::NotFound => {
                Some(format!("install {helper}, or take it out of Docker's config.json"))
            }
            Self::Ecr(error) => error.hint(),
            _ => None,
        }
    }
}

/// Where logins are looked for.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    given: BTreeMap<String, Credential>,
    files: Vec<PathBuf>,
    ecr: Option<Ecr>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConfigFile {
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Credentials {
    /// No logins at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Where Docker, Podman and AWS look, as this process's environment says: `DOCKER_CONFIG` or `~/.docker`,
    /// `REGISTRY_AUTH_FILE`, `XDG_RUNTIME_DIR/containers`, `~/.config/containers`.
    pub fn from_environment() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME");
        let below_home = |rest: &str| home.as_ref().map(|home| home.join(rest));
        let docker =
            path("DOCKER_CONFIG").or_else(|| below_home(".docker")).map(|dir| dir.join("config.json"));
        let podman = path("REGISTRY_AUTH_FILE");
        let podman = podman.or_else(|| path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")));
        let config = path("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
        let files = [docker, podman, config.map(|dir| dir.join("containers/auth.json"))];
        Self { given: BTreeMap::new(), files: files.into_iter().flatten().collect(), ecr: Some(Ecr::new()) }
    }

    /// And this login for this registry, before all others.
    pub fn with(mut self, registry: &str, credential: Credential) -> Self {
        self.given.insert(registry.into(), credential);
        self
    }

    /// And these credential files, before the others.
    pub fn with_file(mut self, file: &Path) -> Self {
        self.files.insert(0, file.to_owned());
        self
    }

    /// And this source of logins for ECR.
    pub fn with_ecr(mut self, ecr: Ecr) -> Self {
        self.ecr = Some(ecr);
        self
    }

    /// The login for a registry (its host as in references); `None` where there is none. `repository` picks the
    /// closest entry of a file that has several for one host.
    pub async fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        if let Some(credential) = self.given.get(registry) {
            return Ok(Some(credential.clone()));
        }
        let mut files = Vec::new();
        for path in &self.files {
            files.extend(read(path)?.map(|file| (path, file)));
        }
        let key = if registry == "docker.io" { DOCKER_HUB } else { registry };
        for (_, file) in &files {
            if let Some(helper) = file.cred_helpers.get(registry).or_else(|| file.cred_helpers.get(key)) {
                return ask(helper, key).await;
            }
        }
        let mut from_aws = Ok(None);
        if let Some(ecr) = self.ecr.as_ref().filter(|ecr| ecr.region_of(registry).is_some()) {
            from_aws = ecr.login(registry).await;
            if let Ok(Some(login)) = from_aws {
                return Ok(Some(login));
            }
        }
        for (path, file) in &files {
            if let Some(auth) = entry(&file.auths, key, repository)
                && let Some(credential) = auth.credential(path)?
            {
                return Ok(Some(credential));
            }
            if let Some(helper) = &file.creds_store
                && let Some(credential) = ask(helper, key).await?
            {
                return Ok(Some(credential));
            }
        }
        from_aws.map_err(CredentialError::Ecr)
    }
}

fn read(path: &Path) -> Result<Option<ConfigFile>, CredentialError> {
    let failed = |source| CredentialError::Read { path: path.to_owned(), source };
    let bytes = match std::fs::metadata(path) {
        Ok(meta) if meta.len() > LIMIT => return Err(failed(io::Error::other("it is larger than 1 MiB"))),
        Ok(_) => std::fs::read(path).map_err(failed)?,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    // serde's messages may repeat the text, which is secret.
    let invalid =
        |error: serde_json::Error| CredentialError::Invalid { path: path.to_owned(), line: error.line() };
    serde_json::from_slice(&bytes).map(Some).map_err(invalid)
}

/// The closest entry: `host/a/b` before `host/a` before `host`; old files have `https://host/v1/`.
fn entry<'a>(auths: &'a BTreeMap<String, Auth>, key: &str, repository: &str) -> Option<&'a Auth> {
    let mut path = format!("{key}/{repository}");
    loop {
        if let Some(auth) = auths.get(&path) {
            return Some(auth);
        }
        if path.len() <= key.len() {
            break;
        }
        path.truncate(path.rfind('/')?);
    }
    let host = |entry: &str| {
        let rest = entry.strip_prefix("https://").or_else(|| entry.strip_prefix("http://")).unwrap_or(entry);
        rest.split('/').next().unwrap_or_default().to_owned()
    };
    auths.iter().find(|(entry, _)| entry.contains("://") && host(entry) == host(key)).map(|(_, auth)| auth)
}

impl Auth {
    fn credential(&self, path: &Path) -> Result<Option<Credential>, CredentialError> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Credential::Identity(token.clone())));
        }
        if let Some(text) = self.auth.as_ref().filter(|text| !text.is_empty()) {
            let invalid = || CredentialError::Invalid { path: path.to_owned(), line: 0 };
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| invalid())?;
            let text = String::from_utf8(bytes).map_err(|_| invalid())?;
            let (username, password) = text.split_once(':').ok_or_else(invalid)?;
            return Ok(Some(password_of(username, password.trim_end_matches('\0'))));
        }
        Ok(self.username.as_ref().zip(self.password.as_ref()).map(|(name, word)| password_of(name, word)))
    }
}

fn password_of(username: &str, password: &str) -> Credential {
    if username == "<token>" {
        return Credential::Identity(password.into());
    }
    Credential::Password { username: username.into(), password: password.into(), until: None }
}

/// Asks a helper for the login of a server.
async fn ask(name: &str, server: &str) -> Result<Option<Credential>, CredentialError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let helper = format!("docker-credential-{name}");
    let answer = |problem: &str| CredentialError::Answer { helper: helper.clone(), problem: problem.into() };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        return Err(answer("has a name that no program of this kind has"));
    }
    let talk = async {
        let mut child = tokio::process::Command::new(&helper)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that answers without reading is no error.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let mut out = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LIMIT).read_to_end(&mut out).await?;
        }
        Ok((child.wait().await?, out))
    };
    let (status, out) = tokio::time::timeout(HELPER_TIMEOUT, talk)
        .await
        .map_err(|_| answer("did not answer within 30 s"))?
        .map_err(|source| CredentialError::Helper { helper: helper.clone(), source })?;
    if !status.success() {
        // The protocol's way to say that there is none, on standard output; it holds no secret.
        let said = String::from_utf8_lossy(&out);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(answer(&format!("failed ({status})")));
    }
    let parsed: Answer =
        serde_json::from_slice(&out).map_err(|_| answer("answered with something else than a login"))?;
    Ok(Some(password_of(&parsed.username, &parsed.secret)).filter(|_| !parsed.secret.is_empty()))
}
