//! How one sees that a service is ready, as Compose says it and as a cluster asks.

use serde_json::{Value, json};

use super::environment::{literal, read_literal};
use super::yaml::Node;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A GET that answers with 2xx or 3xx.
    Http {
        /// With its leading slash, and a query where there is one.
        path: String,
        /// The port in the container.
        port: u16,
        /// Whether it is asked over TLS.
        tls: bool,
    },
    /// A connection that is accepted.
    Tcp {
        /// The port in the container.
        port: u16,
    },
    /// A program in the container that ends with 0.
    Exec(Vec<String>),
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http { path, port, tls } => {
                write!(f, "GET {}:{port}{path}", if *tls { "https " } else { "" })
            }
            Self::Tcp { port } => write!(f, "a connection to {port}"),
            Self::Exec(words) => f.write_str(&words.join(" ")),
        }
    }
}

/// What the health check of a service of a compose file asks; none where there is none, or it is switched off.
pub fn of_compose(service: &Value) -> Option<Probe> {
    let check = service.get("healthcheck")?;
    if check.get("disable").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let words: Vec<String> = match check.get("test")? {
        Value::String(text) => vec!["CMD-SHELL".into(), text.clone()],
        test => test.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    };
    let (how, rest) = words.split_first()?;
    match how.as_str() {
        "CMD-SHELL" => {
            let text = rest.first()?;
            Some(
                shell_words(text)
                    .and_then(|words| request(&words))
                    .unwrap_or_else(|| Probe::Exec(vec!["/bin/sh".into(), "-c".into(), text.clone()])),
            )
        }
        "CMD" if !rest.is_empty() => Some(request(rest).unwrap_or_else(|| Probe::Exec(rest.to_vec()))),
        _ => None,
    }
}

/// The words of a plain command; none for what only a shell understands. `|| exit 1` says nothing.
fn shell_words(text: &str) -> Option<Vec<String>> {
    let mut text = text.trim();
    for end in ["exit 1", "exit 1;", "false"] {
        if let Some(plain) = text.strip_suffix(end).and_then(|rest| rest.trim_end().strip_suffix("||")) {
            text = plain.trim_end();
        }
    }
    let text = text.trim_end_matches("> /dev/null 2>&1").trim_end_matches(">/dev/null 2>&1").trim_end();
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        let bare = ['\'', '"'].into_iter().find_map(|quote| word.strip_prefix(quote)?.strip_suffix(quote));
        let bare = bare.unwrap_or(word);
        if bare.contains(|c: char| "'\"\\$`|&;<>(){}*[]#!~".contains(c)) {
            return None;
        }
        words.push(bare.to_owned());
    }
    Some(words)
}

/// The plain GET of this machine that a curl or wget is.
fn request(words: &[String]) -> Option<Probe> {
    let (program, rest) = words.split_first()?;
    let program = program.rsplit('/').next().unwrap_or(program);
    let (alone, with_value): (&[&str], &[&str]) = match program {
        "curl" => (
            &[
                "--fail",
                "--silent",
                "--show-error",
                "--location",
                "--insecure",
                "--head",
                "--fail-with-body",
                "-I",
            ],
            &["-o", "--output", "-m", "--max-time", "--connect-timeout", "--retry"],
        ),
        "wget" => (
            &["--spider", "--quiet", "--no-verbose", "--no-check-certificate", "-nv"],
            &["-O", "--output-document", "-T", "--timeout", "-t", "--tries", "-qO"],
        ),
        _ => return None,
    };
    let letters = if program == "curl" { "fsSLk" } else { "q" };
    let (mut url, mut fails) = (None, program == "wget");
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let flag = word.split('=').next().unwrap_or(word);
        let short = word.strip_prefix('-').filter(|short| !short.starts_with('-') && !short.is_empty());
        let plain = alone.contains(&word.as_str())
            || word.starts_with("-qO")
            || word.starts_with("-O")
            || short.is_some_and(|short| short.chars().all(|c| letters.contains(c)));
        if with_value.contains(&flag) {
            if flag == word.as_str() {
                rest.next()?;
            }
        } else if !plain && (word.starts_with('-') || url.replace(word).is_some()) {
            return None;
        }
        fails |= program == "curl"
            && (word.starts_with("--fail") || short.is_some_and(|short| short.contains('f')));
    }
    // A curl that takes every answer for a yes is no question about health, but whether anything answers.
    let probe = local(url?)?;
    Some(match probe {
        Probe::Http { port, .. } if !fails => Probe::Tcp { port },
        probe => probe,
    })
}

fn local(url: &str) -> Option<Probe> {
    let (tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => (false, url),
    };
    let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, port.parse().ok()?),
        _ => (authority, if tls { 443 } else { 80 }),
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"].contains(&host).then_some(Probe::Http { path, port, tls })
}

/// What a container's `readinessProbe` asks; none where it asks nothing that is known.
pub fn of_container(container: &Value) -> Option<Probe> {
    let probe = container.get("readinessProbe")?;
    let port = |value: &Value| match value {
        Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
        Value::String(name) => container.get("ports")?.as_array()?.iter().find_map(|port| {
            (port.get("name")?.as_str()? == name)
                .then(|| port.get("containerPort")?.as_u64()?.try_into().ok())?
        }),
        _ => None,
    };
    if let Some(get) = probe.get("httpGet") {
        let path = get.get("path").and_then(Value::as_str).unwrap_or("/").to_owned();
        let tls = get
            .get("scheme")
            .and_then(Value::as_str)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        return Some(Probe::Http { path, port: port(get.get("port")?)?, tls });
    }
    if let Some(socket) = probe.get("tcpSocket") {
        return Some(Probe::Tcp { port: port(socket.get("port")?)? });
    }
    let words = probe.pointer("/exec/command")?.as_array()?;
    Some(Probe::Exec(words.iter().filter_map(Value::as_str).map(read_literal).collect()))
}

/// A `readinessProbe` that asks this, as often as the compose file's health check does.
pub(super) fn readiness(probe: &Probe, service: &Value) -> Node {
    let mut node = Node::default();
    match probe {
        Probe::Http { path, port, tls } => {
            let mut get = json!({"path": path, "port": port});
            if let (true, Some(get)) = (*tls, get.as_object_mut()) {
                get.insert("scheme".into(), "HTTPS".into());
            }
            node.set("httpGet", get);
        }
        Probe::Tcp { port } => node.set("tcpSocket", json!({"port": port})),
        Probe::Exec(words) => {
            let words: Vec<String> = words.iter().map(|word| literal(word)).collect();
            node.set("exec", json!({"command": words}));
        }
    }
    let check = service.get("healthcheck");
    let time = |key: &str| {
        check.and_then(|check| check.get(key)?.as_str()).and_then(seconds).filter(|time| *time > 0)
    };
    // Without any Compose asks every 30 s, Kubernetes every 10.
    node.set_some("periodSeconds", time("interval"));
    node.set_some(
        "timeoutSeconds",
        time("timeout").or((matches!(probe, Probe::Exec(_)) && check.is_some()).then_some(5)),
    );
    node.set_some(
        "failureThreshold",
        check.and_then(|check| check.get("retries")?.as_u64()).filter(|tries| *tries > 0),
    );
    node
}

/// Seconds, rounded up, of a duration as Go writes it: `1m30s`, `500ms`.
pub fn seconds(text: &str) -> Option<u64> {
    let mut nanoseconds: f64 = 0.0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(end);
        let units =
            [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
        let (unit, size) = units.into_iter().find(|(unit, _)| tail.starts_with(unit))?;
        nanoseconds += number.parse::<f64>().ok()? * size;
        rest = tail.get(unit.len()..)?;
    }
    // A duration of a compose file is far below 2^53 s.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (nanoseconds >= 0.0).then(|| (nanoseconds / 1e9).ceil() as u64)
}

/// Words for a container's `command` and `args`.
pub(super) fn words(value: Option<&Value>) -> Option<Vec<String>> {
    let words: Vec<String> = value?.as_array()?.iter().filter_map(Value::as_str).map(literal).collect();
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(path: &str, port: u16) -> Option<Probe> {
        Some(Probe::Http { path: path.into(), port, tls: false })
    }

    #[test]
    fn plain_requests_of_this_machine_become_requests() {
        for (test, expected) in [
            (json!(["CMD-SHELL", "curl -f http://localhost:80/x || exit 1"]), http("/x", 80)),
            (
                json!("curl --fail -s -o /dev/null http://127.0.0.1:8080/actuator/health"),
                http("/actuator/health", 8080),
            ),
            (json!(["CMD", "wget", "-q", "--spider", "http://localhost/"]), http("/", 80)),
            (json!(["CMD", "wget", "-qO-", "localhost:3000/health?deep=1"]), http("/health?deep=1", 3000)),
            (json!("curl -fsS 'http://localhost:9/a' > /dev/null 2>&1 || exit 1"), http("/a", 9)),
            (
                json!("curl -fk https://localhost:8443/h"),
                Some(Probe::Http { path: "/h".into(), port: 8443, tls: true }),
            ),
            (json!("curl -s localhost:8080/health"), Some(Probe::Tcp { port: 8080 })),
            (json!(["NONE"]), None),
        ] {
            assert_eq!(of_compose(&json!({"healthcheck": {"test": test}})), expected, "{test}");
        }
    }

    #[test]
    fn everything_else_is_run_as_it_is() {
        let shell = |text: &str| Some(Probe::Exec(vec!["/bin/sh".into(), "-c".into(), text.into()]));
        for text in [
            "pg_isready -U $POSTGRES_USER",
            "curl -f http://localhost/ | grep UP",
            "curl -f -X POST http://localhost/",
            "curl -f http://other:80/",
            "wget -q http://localhost/ http://localhost/2",
            "pg_isready -U postgres",
        ] {
            assert_eq!(
                of_compose(&json!({"healthcheck": {"test": ["CMD-SHELL", text]}})),
                shell(text),
                "{text}"
            );
        }
        let check = json!({"healthcheck": {"test": ["CMD", "/users", "health"]}});
        assert_eq!(of_compose(&check), Some(Probe::Exec(vec!["/users".into(), "health".into()])));
        assert_eq!(of_compose(&json!({"healthcheck": {"test": ["CMD", "x"], "disable": true}})), None);
        assert_eq!(of_compose(&json!({"healthcheck": {"interval": "1s"}})), None);
    }

    #[test]
    fn a_probe_is_read_back_as_it_was_written() {
        let service = json!({"healthcheck": {"interval": "1m30s", "timeout": "500ms", "retries": 3}});
        for probe in [
            Probe::Http { path: "/h".into(), port: 80, tls: true },
            Probe::Tcp { port: 1 },
            Probe::Exec(vec!["a".into(), "$(b)".into()]),
        ] {
            let node = readiness(&probe, &service);
            assert_eq!(node.value()["periodSeconds"], 90);
            assert_eq!(node.value()["timeoutSeconds"], 1);
            assert_eq!(of_container(&json!({"readinessProbe": node.value()})), Some(probe));
        }
        let named = json!({"ports": [{"name": "http", "containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": "http"}}});
        assert_eq!(of_container(&named), http("/", 80));
    }
}
