//! Why a cluster did not do what it was asked, and what to do about it.

use std::time::Duration;

/// Why something could not be asked of a cluster, or why it said no.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum KubeError {
    /// No kubeconfig where one is looked for.
    #[error("there is no kubeconfig: looked at {}", .tried.join(", "))]
    NoKubeconfig {
        /// Where was looked.
        tried: Vec<String>,
    },
    /// A kubeconfig that cannot be used.
    #[error("cannot use the kubeconfig {place}: {reason}")]
    Kubeconfig {
        /// Which one.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kubeconfig has no such context, or none that is current.
    #[error("{}", no_context(.context.as_deref(), .place))]
    NoContext {
        /// Which one was asked for; none: the current one.
        context: Option<String>,
        /// The kubeconfig.
        place: String,
        /// Those that there are, in its order.
        known: Vec<String>,
    },
    /// The program that the kubeconfig names for logging in is not there, fails, or answers nonsense.
    #[error("cannot log in to {server}: `{command}` {reason}")]
    Login {
        /// The API server.
        server: String,
        /// The program.
        command: String,
        /// What became of it, with the end of what it wrote.
        reason: String,
        /// What the kubeconfig says about installing it.
        install: Option<String>,
    },
    /// Nothing answers.
    #[error("cannot {what}: the API server {server} cannot be reached: {reason}")]
    Unreachable {
        /// What was attempted.
        what: String,
        /// The API server.
        server: String,
        /// Why, in the words of the system.
        reason: String,
    },
    /// No answer in time.
    #[error("cannot {what}: no answer from the API server {server} within {} s", .after.as_secs())]
    Timeout {
        /// What was attempted.
        what: String,
        /// The API server.
        server: String,
        /// How long was waited.
        after: Duration,
    },
    /// The server cannot prove who it is, or its certificate is for another name.
    #[error("cannot {what}: the certificate of the API server {server} is not accepted: {reason}")]
    Certificate {
        /// What was attempted.
        what: String,
        /// The API server.
        server: String,
        /// Why not.
        reason: String,
    },
    /// The credentials are not accepted (401): wrong, or expired.
    #[error("cannot {what}: the API server {server} does not accept the credentials: {message}")]
    Unauthorized {
        /// What was attempted.
        what: String,
        /// The API server.
        server: String,
        /// In its words.
        message: String,
    },
    /// Not allowed (403).
    #[error("cannot {what}: {message}")]
    Forbidden {
        /// What was attempted.
        what: String,
        /// In the server's words: it names user, verb and resource.
        message: String,
    },
    /// It is not there (404).
    #[error("cannot {what}: {message}")]
    NotFound {
        /// What was attempted.
        what: String,
        /// In the server's words.
        message: String,
    },
    /// It is there already, or not any more what it was when it was looked at (409).
    #[error("cannot {what}: {message}")]
    Conflict {
        /// What was attempted.
        what: String,
        /// `AlreadyExists` or `Conflict`.
        reason: String,
        /// In the server's words.
        message: String,
    },
    /// What was asked for has been forgotten (410): a list's next page, a watch's beginning.
    #[error("cannot {what}: {message}")]
    Gone {
        /// What was attempted.
        what: String,
        /// In the server's words.
        message: String,
    },
    /// The server says no in another way.
    #[error("cannot {what}: the API server answers {status}: {message}")]
    Refused {
        /// What was attempted.
        what: String,
        /// The HTTP status.
        status: u16,
        /// In the server's words.
        message: String,
    },
    /// The server answered something that it should not.
    #[error("cannot {what}: {message}")]
    Unexpected {
        /// What was attempted.
        what: String,
        /// What is wrong with the answer.
        message: String,
    },
}

fn no_context(context: Option<&str>, place: &str) -> String {
    match context {
        Some(context) => format!("the kubeconfig {place} has no context `{context}`"),
        None => format!("the kubeconfig {place} has no current context"),
    }
}

impl KubeError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoKubeconfig { .. } => {
                "set KUBECONFIG, or name the control plane as the target's `host` to reach the cluster through it"
                    .into()
            }
            Self::NoContext { known, .. } if known.is_empty() => "it has no context at all".into(),
            Self::NoContext { known, .. } => {
                format!("name one of them as the target's `context`: {}", known.join(", "))
            }
            Self::Login { install: Some(install), .. } => install.clone(),
            Self::Login { command, .. } => format!("try it by hand: {command}"),
            Self::Unreachable { server, .. } | Self::Timeout { server, .. } => match server.split_once(" (through ") {
                None => format!("see whether the address is right and reachable from here: curl -k {server}/livez"),
                Some((server, _)) => format!("see whether the API server runs there: curl -k {server}/livez"),
            },
            Self::Certificate { reason, .. } if reason.contains("not valid for name") => {
                "use a name of the certificate as the server in the kubeconfig, or set tls-server-name there".into()
            }
            Self::Certificate { .. } => "see certificate-authority-data in the kubeconfig, and the clock here".into(),
            Self::Unauthorized { .. } => {
                "the credentials may have expired: log in again, or fetch a new kubeconfig".into()
            }
            Self::Forbidden { .. } => {
                "ask for a role that allows it; see `kubectl auth can-i --list` with this context".into()
            }
            _ => return None,
        })
    }

    /// Whether the cluster could not be reached, as opposed to having answered no.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. } | Self::Certificate { .. })
    }

    /// Whether the server says that the thing is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the server does not allow it.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }

    /// Whether the thing is no longer what it was when it was looked at, or is there already.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// Whether creating failed because it is there already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Conflict { reason, .. } if reason == "AlreadyExists")
    }

    /// Whether a list or a watch has to begin anew.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// The error for an answer of the API server that is no success; `status` is the HTTP status.
    pub(crate) fn answered(what: &str, server: &str, status: u16, reason: &str, message: &str) -> Self {
        let what = what.to_owned();
        let message = clean(message);
        match status {
            401 => Self::Unauthorized { what, server: server.to_owned(), message },
            403 => Self::Forbidden { what, message },
            404 => Self::NotFound { what, message },
            409 => Self::Conflict { what, reason: reason.to_owned(), message },
            410 => Self::Gone { what, message },
            status => Self::Refused { what, status, message },
        }
    }

    /// The error for a request that got no whole answer.
    pub(crate) fn unanswered(what: &str, server: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            // A login that failed on the way says more than what became of the request.
            if let Some(known) = error.downcast_ref::<Self>() {
                return known.clone();
            }
            next = error.source();
        }
        let (what, server) = (what.to_owned(), server.to_owned());
        let reason = chain(beneath(error));
        if reason.to_lowercase().contains("certificate") {
            Self::Certificate { what, server, reason }
        } else {
            Self::Unreachable { what, server, reason }
        }
    }

    /// Says in our words what kube says.
    pub(crate) fn explain(what: &str, server: &str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                Self::answered(what, server, status.code, &status.reason, &status.message)
            }
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) | kube::Error::BuildRequest(_) => {
                Self::Unexpected { what: what.to_owned(), message: clean(&error.to_string()) }
            }
            error => Self::unanswered(what, server, error),
        }
    }
}

/// The error beneath the layers that only say that there is one beneath.
fn beneath<'e>(error: &'e (dyn std::error::Error + 'static)) -> &'e (dyn std::error::Error + 'static) {
    let mut error = error;
    while error.is::<kube::Error>() || error.is::<hyper_util::client::legacy::Error>() {
        match error.source() {
            Some(source) => error = source,
            None => break,
        }
    }
    error
}

/// A message from elsewhere, fit for one line.
pub(crate) fn clean(message: &str) -> String {
    let line: String = message.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(1000) {
        None => line,
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
    }
}

/// All that an error and its sources say, each once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = Vec::<String>::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // Many errors repeat their source.
        if !said.iter().any(|before| before.contains(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    clean(&said.join(": "))
}
