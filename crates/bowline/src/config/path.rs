//! Paths, globs and hosts in the configuration.

use bowline_core::placeholder::Placeholders;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// Globs as everywhere in the configuration: `*` and `?` stop at slashes, `**` does not, `{a,b}` chooses.
///
/// # Errors
/// The first glob that is none. Those of a checked configuration are.
pub fn globs<'g>(patterns: impl IntoIterator<Item = &'g str>) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(glob(pattern)?);
    }
    set.build()
}

pub(super) fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

/// Why a glob with placeholders is none; `None` when it is one.
pub(crate) fn glob_fault(pattern: &str) -> Option<String> {
    if pattern.starts_with('!') {
        return Some("globs only take in, they do not exclude".into());
    }
    let sample = Placeholders::new("5.0.2-b321acf").service("service");
    path_fault(pattern).or_else(|| glob(&sample.fill(pattern)).err().map(|error| error.kind().to_string()))
}

/// Why a path cannot be one inside the repository; `None` when it can.
pub(crate) fn path_fault(path: &str) -> Option<String> {
    let reason = if path.is_empty() {
        "it is empty"
    } else if path.starts_with('/') {
        "paths are relative to the directory of bowline.toml"
    } else if path.split('/').any(|part| part == "..") {
        "it leads out of the repository"
    } else if path.contains(['\0', '\n', '\r']) {
        "it holds a control character"
    } else if path.contains('\\') {
        "parts of a path are separated by `/`"
    } else {
        return None;
    };
    Some(reason.into())
}

/// Why a text is no `ssh://[user@]host[:port]`; `None` when it is one. What ssh could take for an option is refused.
pub(super) fn host_fault(text: &str) -> Option<&'static str> {
    let Some(rest) = text.strip_prefix("ssh://") else {
        return Some("write `ssh://user@host` or `ssh://user@host:port`");
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, address) = rest.rsplit_once('@').map_or((None, rest), |(user, address)| (Some(user), address));
    if user.is_some_and(|user| user.contains(':')) {
        return Some("a password does not belong here: ssh's agent, keys and config are used");
    }
    let word = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '%'))
    };
    if user.is_some_and(|user| !word(user)) {
        return Some("the user's name holds letters, digits and `.` `_` `-`");
    }
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) if host.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '%')) => {
            ("ipv6", rest.strip_prefix(':').or_else(|| (!rest.is_empty()).then_some("none")))
        }
        Some(_) => return Some("what stands in brackets is no IPv6 address"),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Some("the port is a number between 1 and 65535");
    }
    (!word(host)).then_some("the host is a name or an address, without a path behind it")
}
