//! Where a target's engine is.

use std::fmt;
use std::str::FromStr;

/// Where a Docker host is: on this machine, or behind `ssh`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// The engine that `docker` on this machine talks to.
    Local,
    /// A machine that the system's `ssh` reaches.
    Ssh {
        /// The user to log in as; without one, whom the SSH configuration says.
        user: Option<String>,
        /// The host's name, address, or alias in the SSH configuration.
        host: String,
        /// The port, where it is not the configuration's.
        port: Option<u16>,
    },
}

/// Why a text is no address of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address of the form ssh://[user@]host[:port]: {reason}")]
pub struct InvalidAddress {
    text: String,
    reason: &'static str,
}

impl Address {
    /// What `ssh` is given as its destination: `user@host` or `host`. Empty for the local engine.
    pub(crate) fn destination(&self) -> String {
        match self {
            Self::Local => String::new(),
            Self::Ssh { user: Some(user), host, .. } => format!("{user}@{host}"),
            Self::Ssh { user: None, host, .. } => host.clone(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Ssh { user, host, port } = self else { return f.write_str("this machine") };
        f.write_str("ssh://")?;
        user.iter().try_for_each(|user| write!(f, "{user}@"))?;
        if host.contains(':') {
            write!(f, "[{host}]")?
        } else {
            f.write_str(host)?
        }
        port.iter().try_for_each(|port| write!(f, ":{port}"))
    }
}

/// Words that reach `ssh` as arguments: nothing that it could take for an option, and nothing that a
/// `ProxyCommand` of the user's configuration, which a shell reads, could take for a command.
fn is_plain(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 255
        && !word.starts_with('-')
        && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@' | '%' | ':'))
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| InvalidAddress { text: text.chars().take(200).collect(), reason };
        if text == "local" {
            return Ok(Self::Local);
        }
        let rest = text.strip_prefix("ssh://").ok_or_else(|| invalid("it does not begin with ssh://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(invalid("a path has no meaning here"));
        }
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(inside) => {
                let (host, after) =
                    inside.split_once(']').ok_or_else(|| invalid("the bracket is not closed"))?;
                (host, after.strip_prefix(':'))
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = match port {
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err(invalid("the port is not a number from 1 to 65535")),
            },
            None => None,
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(invalid("a password does not belong into an address; use a key"));
        }
        if !is_plain(host) || user.is_some_and(|user| !is_plain(user)) {
            return Err(invalid("user and host are letters, digits and . _ - + and do not begin with -"));
        }
        Ok(Self::Ssh { user: user.map(str::to_owned), host: host.into(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["ssh://box", "ssh://ec2-user@203.0.113.10", "ssh://a@b:2222", "ssh://u@[2001:db8::1]:22"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("local".parse::<Address>().unwrap().to_string(), "this machine");
        assert_eq!("ssh://box/".parse::<Address>().unwrap().to_string(), "ssh://box");
    }

    #[test]
    fn what_ssh_could_misread_is_refused() {
        for text in [
            "",
            "box",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://-l@box",
            "ssh://a b",
            "ssh://box:0",
            "ssh://box:x",
            "ssh://u:pw@box",
            "ssh://box/path",
            "ssh://$(id)",
            "ssh://box;id",
            "ssh://[::1",
            "tcp://box:2375",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
