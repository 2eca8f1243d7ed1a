//! Why a host cannot be used, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

/// Why there is no connection to a host, or no longer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// No `ssh` program on this machine.
    #[error("cannot connect to {host}: there is no `ssh` on this machine")]
    NoSsh {
        /// The address.
        host: String,
    },
    /// The name does not resolve.
    #[error("cannot connect to {host}: the name is not known")]
    UnknownHost {
        /// The address.
        host: String,
    },
    /// `ssh` never saw this host before, and nobody can be asked.
    #[error("cannot connect to {host}: its host key is not in known_hosts")]
    HostKeyUnknown {
        /// The address.
        host: String,
    },
    /// The host shows another key than the one on record.
    #[error("cannot connect to {host}: its host key is not the one in known_hosts")]
    HostKeyChanged {
        /// The address.
        host: String,
        /// Which file and line holds the other key, as `ssh` says it.
        place: Option<String>,
    },
    /// No key is accepted.
    #[error("cannot log in to {host}: permission denied ({methods})")]
    PermissionDenied {
        /// The address.
        host: String,
        /// What the host would accept.
        methods: String,
    },
    /// Nothing answers.
    #[error("cannot connect to {host}: no answer within {} s", .after.as_secs())]
    Timeout {
        /// The address.
        host: String,
        /// How long was waited.
        after: Duration,
    },
    /// The host is there and refuses, or there is no way to it.
    #[error("cannot connect to {host}: {reason}")]
    Refused {
        /// The address.
        host: String,
        /// In the words of `ssh`.
        reason: String,
    },
    /// No engine on the host.
    #[error("there is no Docker engine on {host}: no `docker` command and no socket at {}", .socket.display())]
    EngineMissing {
        /// The address.
        host: String,
        /// Where its socket would be.
        socket: PathBuf,
    },
    /// The engine's socket is closed to this user.
    #[error("{user} may not use the Docker engine on {host}: permission denied on {}", .socket.display())]
    EngineForbidden {
        /// The address.
        host: String,
        /// Who was logged in.
        user: String,
        /// The socket.
        socket: PathBuf,
    },
    /// There is a `docker` command, and no engine answers it.
    #[error("the Docker engine on {host} does not answer at {}", .socket.display())]
    EngineDown {
        /// The address.
        host: String,
        /// Its socket.
        socket: PathBuf,
    },
    /// An engine address that Bowline does not speak to.
    #[error("the Docker engine at `{endpoint}` is neither a unix socket nor ssh://")]
    EngineElsewhere {
        /// `DOCKER_HOST` or the context's endpoint.
        endpoint: String,
    },
    /// The connection was there and has gone.
    #[error("lost the connection to {host}: {reason}")]
    Lost {
        /// The address.
        host: String,
        /// In the words of `ssh`.
        reason: String,
    },
    /// A local preparation failed: a temporary directory, a process that cannot start.
    #[error("cannot prepare the connection to {host}: {reason}")]
    Local {
        /// The address.
        host: String,
        /// Why.
        reason: String,
    },
}

impl ConnectionError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoSsh { .. } => "install the OpenSSH client".into(),
            Self::UnknownHost { .. } => "check the target's `host`, or add the name to ~/.ssh/config".into(),
            Self::HostKeyUnknown { host } => {
                format!("connect once by hand and compare the fingerprint: ssh {}", word(host))
            }
            Self::HostKeyChanged { host, place } => {
                let place = place.as_deref().unwrap_or("known_hosts");
                format!(
                    "if the host was really replaced, remove the old key ({place}) and connect once: ssh {}",
                    word(host)
                )
            }
            Self::PermissionDenied { host, .. } => format!(
                "the key must be in the agent or named in ~/.ssh/config; this must work: ssh -o BatchMode=yes {} true",
                word(host)
            ),
            Self::Timeout { .. } => {
                "check that the host is up and that its firewall lets SSH in from here".into()
            }
            Self::EngineMissing { .. } => "install Docker Engine and its Compose plugin there".into(),
            Self::EngineForbidden { user, .. } => {
                format!("add the user to the group docker (sudo usermod -aG docker {user}) and log in again")
            }
            Self::EngineDown { .. } => "start it there: sudo systemctl start docker".into(),
            Self::EngineElsewhere { .. } => "set the target's `host` to ssh://user@host".into(),
            Self::Lost { .. } => "run the same command again: it goes on from what is there".into(),
            Self::Refused { .. } | Self::Local { .. } => return None,
        })
    }
}

/// The address as `ssh` wants it on a command line.
fn word(host: &str) -> &str {
    host.strip_prefix("ssh://").unwrap_or(host)
}

/// Reads what `ssh` said on its way out.
pub(super) fn classify(host: &str, stderr: &str, timeout: Duration) -> ConnectionError {
    let host = host.to_owned();
    let has = |part: &str| stderr.contains(part);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        let offending = |line: &str| {
            let (_, place) = line.trim().strip_prefix("Offending ")?.split_once(" key in ")?;
            Some(place.to_owned())
        };
        return ConnectionError::HostKeyChanged { host, place: stderr.lines().find_map(offending) };
    }
    if has("Host key verification failed") {
        return ConnectionError::HostKeyUnknown { host };
    }
    if has("Could not resolve hostname") {
        return ConnectionError::UnknownHost { host };
    }
    if let Some((_, rest)) = stderr.split_once("Permission denied (") {
        let methods = rest.split(')').next().unwrap_or_default().chars().take(100).collect();
        return ConnectionError::PermissionDenied { host, methods };
    }
    if has("timed out") {
        return ConnectionError::Timeout { host, after: timeout };
    }
    ConnectionError::Refused { host, reason: last_line(stderr, "ssh ended without a word") }
}

/// The last line that says something, at most 300 characters, without control characters.
pub(crate) fn last_line(text: &str, otherwise: &str) -> String {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or(otherwise);
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_is_told_apart() {
        let table = [
            (
                "ssh: Could not resolve hostname nowhere: Name or service not known\r\n",
                "the name is not known",
            ),
            (
                "No ED25519 host key is known for box and you have requested strict checking.\r\nHost key verification failed.\r\n",
                "not in known_hosts",
            ),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nOffending ED25519 key in /home/a/.ssh/known_hosts:3\nHost key verification failed.",
                "not the one in known_hosts",
            ),
            (
                "root@box: Permission denied (publickey,password).\r\n",
                "permission denied (publickey,password)",
            ),
            ("ssh: connect to host 10.0.0.9 port 22: Connection timed out\r\n", "no answer within 10 s"),
            ("ssh: connect to host 10.0.0.9 port 22: Connection refused\r\n", "Connection refused"),
            ("", "without a word"),
        ];
        for (stderr, expected) in table {
            let error = classify("ssh://box", stderr, Duration::from_secs(10));
            assert!(error.to_string().contains(expected), "{error} should say {expected}");
        }
    }

    #[test]
    fn a_changed_key_names_the_line_to_look_at() {
        let stderr =
            "REMOTE HOST IDENTIFICATION HAS CHANGED!\nOffending ED25519 key in /root/.ssh/known_hosts:3\n";
        let hint = classify("ssh://a@box", stderr, Duration::ZERO).hint().unwrap();
        assert!(hint.contains("/root/.ssh/known_hosts:3") && hint.ends_with("ssh a@box"), "{hint}");
    }
}
