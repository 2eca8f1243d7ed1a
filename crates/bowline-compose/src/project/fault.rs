//! Why Compose failed, read from what it says.

use crate::connection::last_line;

/// Why a call of Compose failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A host port is taken.
    #[error("port {port} of the host is taken already")]
    PortTaken {
        /// Which; 0 where it could not be read.
        port: u16,
    },
    /// A container of another owner has the name.
    #[error("the container name {name} is taken by container {}", .by.chars().take(12).collect::<String>())]
    NameTaken {
        /// The name.
        name: String,
        /// The other container's id.
        by: String,
    },
    /// The program of the image cannot be started.
    #[error("`{command}` cannot be started: {reason}")]
    CannotStart {
        /// The program.
        command: String,
        /// In the runtime's words: no such file, permission denied, exec format error.
        reason: String,
    },
    /// An image is not there.
    #[error("the image {image} is not on the host")]
    ImageMissing {
        /// Which.
        image: String,
    },
    /// A network that the file calls external does not exist.
    #[error("the external network {name} does not exist")]
    NetworkMissing {
        /// Which.
        name: String,
    },
    /// A volume that the file calls external does not exist.
    #[error("the external volume {name} does not exist")]
    VolumeMissing {
        /// Which.
        name: String,
    },
    /// A variable that the file demands is not set.
    #[error("the variable {name} is not set: {message}")]
    VariableMissing {
        /// Which.
        name: String,
        /// What the file says about it.
        message: String,
    },
    /// A file is not there.
    #[error("there is no file {path}")]
    FileMissing {
        /// Which.
        path: String,
    },
    /// The compose file is wrong.
    #[error("the compose file is not valid: {message}")]
    Invalid {
        /// In Compose's words.
        message: String,
    },
    /// The disk is full.
    #[error("no space left on the host")]
    NoSpace,
    /// The engine cannot be reached from there.
    #[error("the engine does not answer: {message}")]
    EngineDown {
        /// In Compose's words.
        message: String,
    },
    /// Something else.
    #[error("{message}")]
    Other {
        /// The last line that Compose wrote.
        message: String,
    },
}

impl Fault {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::PortTaken { port } => format!("see who has it there: sudo ss -ltnp 'sport = :{port}'"),
            Self::NameTaken { name, .. } => {
                format!("remove or rename the other container: docker rename {name} {name}-old")
            }
            Self::CannotStart { reason, .. } if reason.contains("format") => {
                "the image is for another kind of processor, or the script lacks its #! line".into()
            }
            Self::CannotStart { .. } => {
                "check `command` and `entrypoint`, and the file's mode in the image".into()
            }
            Self::NetworkMissing { name } => format!("create it there: docker network create {name}"),
            Self::VolumeMissing { name } => format!("create it there: docker volume create {name}"),
            Self::VariableMissing { name, .. } => {
                format!("set {name} in the .env file of the project's directory")
            }
            Self::NoSpace => "make room there, e.g. with `bowline prune`".into(),
            _ => return None,
        })
    }

    /// Whether trying again, or waiting, cannot help: the image or the file is at fault.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::EngineDown { .. } | Self::Other { .. })
    }

    /// Reads what Compose wrote to stderr. The reason is at its end.
    pub(super) fn parse(stderr: &str) -> Self {
        let lines = || stderr.lines().rev().filter(|line| !line.contains("level=warning"));
        lines().find_map(parse_line).unwrap_or_else(|| {
            let rest: Vec<&str> = stderr.lines().filter(|line| !line.contains("level=warning")).collect();
            let message = last_line(&rest.join("\n"), "it failed without a word");
            Self::Other { message: message.trim_start_matches("Error response from daemon: ").to_owned() }
        })
    }
}

fn parse_line(line: &str) -> Option<Fault> {
    let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest);
    let text = |rest: &str| last_line(rest, "");
    if line.contains("no space left on device") {
        return Some(Fault::NoSpace);
    }
    if line.contains("port is already allocated") || line.contains("address already in use") {
        return Some(Fault::PortTaken { port: port(line).unwrap_or(0) });
    }
    if let Some(rest) = after("The container name \"") {
        let (name, rest) = rest.split_once('"')?;
        let by = rest.split_once('"').and_then(|(_, rest)| rest.split_once('"')).map_or("", |(id, _)| id);
        return Some(Fault::NameTaken { name: text(name.trim_start_matches('/')), by: text(by) });
    }
    if let Some(rest) = after("exec: \"") {
        let (command, rest) = rest.split_once('"')?;
        let reason = rest.trim_start_matches(": ").trim_end_matches(": unknown");
        return Some(Fault::CannotStart { command: text(command), reason: text(reason) });
    }
    if let Some((_, rest)) = line.split_once("exec ").filter(|_| line.contains("exec format error")) {
        let command = rest.split(':').next().unwrap_or_default();
        return Some(Fault::CannotStart { command: text(command), reason: "exec format error".into() });
    }
    if let Some(image) = after("No such image: ") {
        return Some(Fault::ImageMissing { image: text(image) });
    }
    if let Some((name, _)) = line.split_once(" declared as external, but could not be found") {
        return Some(Fault::NetworkMissing { name: text(name.trim_start_matches("network ")) });
    }
    if let Some(rest) = after("external volume \"") {
        return Some(Fault::VolumeMissing { name: text(rest.split('"').next()?) });
    }
    if let Some(rest) = after("required variable ") {
        let (name, message) = rest.split_once(" is missing a value").unwrap_or((rest, ""));
        return Some(Fault::VariableMissing {
            name: text(name),
            message: text(message.trim_start_matches(": ")),
        });
    }
    parse_file_line(line)
}

fn parse_file_line(line: &str) -> Option<Fault> {
    let text = |rest: &str| last_line(rest, "");
    // The value follows on lines of its own, and it may be a secret: only where it stands is said.
    if let Some((_, rest)) = line.split_once("invalid interpolation format for ") {
        let place = rest.split([' ', ':']).next().unwrap_or_default().trim_end_matches('.');
        return Some(Fault::Invalid { message: format!("`$` is used wrongly in {}", text(place)) });
    }
    if let Some((path, _)) = line.split_once(": no such file or directory") {
        let path = path.rsplit(' ').next().unwrap_or(path);
        return Some(Fault::FileMissing { path: text(path) });
    }
    if let Some(path) = line.strip_suffix(" not found").and_then(|line| line.strip_prefix("env file ")) {
        return Some(Fault::FileMissing { path: text(path) });
    }
    let invalid = [
        "validating ",
        "failed to parse ",
        "yaml: ",
        "no such service: ",
        "has neither an image nor",
        "depends on undefined",
    ];
    if invalid.iter().any(|mark| line.contains(mark)) {
        return Some(Fault::Invalid { message: text(line) });
    }
    let down = ["Cannot connect to the Docker daemon", "connect: connection refused", "error during connect"];
    if down.iter().any(|mark| line.contains(mark)) {
        return Some(Fault::EngineDown { message: text(line) });
    }
    None
}

/// The host's port in front of what is said about it: `0.0.0.0:22: bind: …`, `[::]:22 failed: …`, and in newer engines
/// `failed to bind host port for 0.0.0.0:22:172.17.0.2:80/tcp: …`.
fn port(line: &str) -> Option<u16> {
    let address = match line.split_once("failed to bind host port ") {
        Some((_, rest)) => rest.trim_start_matches("for ").split(' ').next()?,
        None => {
            let end = [" failed: port is", ": bind: address already", ": address already"];
            line.get(..end.iter().find_map(|mark| line.find(mark))?)?.rsplit(' ').next()?
        }
    };
    let after_host = match address.split_once("]:") {
        Some((_, rest)) => rest,
        None => address.split_once(':')?.1,
    };
    let digits = after_host.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read() {
        let daemon = "Error response from daemon: ";
        let table = [
            (
                "driver failed programming external connectivity on endpoint q-a-1 (e8d4): Error starting userland proxy: listen tcp4 0.0.0.0:22: bind: address already in use",
                Fault::PortTaken { port: 22 },
            ),
            (
                "driver failed programming external connectivity on endpoint x (1): Bind for 0.0.0.0:8080 failed: port is already allocated",
                Fault::PortTaken { port: 8080 },
            ),
            (
                "failed to set up container networking: driver failed programming external connectivity on endpoint a: failed to bind host port for 0.0.0.0:8081:172.17.0.2:80/tcp: address already in use",
                Fault::PortTaken { port: 8081 },
            ),
            (
                "failed to bind host port 0.0.0.0:8082/tcp: address already in use",
                Fault::PortTaken { port: 8082 },
            ),
            (
                "Conflict. The container name \"/taken\" is already in use by container \"a4ae\". You have to remove",
                Fault::NameTaken { name: "taken".into(), by: "a4ae".into() },
            ),
            (
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory: unknown",
                Fault::CannotStart {
                    command: "/nope".into(),
                    reason: "stat /nope: no such file or directory".into(),
                },
            ),
            ("No such image: a:1", Fault::ImageMissing { image: "a:1".into() }),
        ];
        for (said, fault) in table {
            let stderr = format!(" Container q-a-1  Creating\n{daemon}{said}\n");
            assert_eq!(Fault::parse(&stderr), fault);
        }
        let table = [
            (
                "network z declared as external, but could not be found",
                Fault::NetworkMissing { name: "z".into() },
            ),
            ("external volume \"data\" not found", Fault::VolumeMissing { name: "data".into() }),
            (
                "error while interpolating services.a.environment.Y: required variable REQ is missing a value: need req",
                Fault::VariableMissing { name: "REQ".into(), message: "need req".into() },
            ),
            (
                "open /a/none.yaml: no such file or directory",
                Fault::FileMissing { path: "/a/none.yaml".into() },
            ),
            (
                "env file /a/prod.env not found: stat /a/prod.env: no such file or directory",
                Fault::FileMissing { path: "/a/prod.env".into() },
            ),
            (
                "validating /a/bad.yaml: services.a additional properties 'imag' not allowed",
                Fault::Invalid {
                    message: "validating /a/bad.yaml: services.a additional properties 'imag' not allowed"
                        .into(),
                },
            ),
            (
                "time=\"x\" level=warning msg=\"no such image\"\nsomething new",
                Fault::Other { message: "something new".into() },
            ),
            ("", Fault::Other { message: "it failed without a word".into() }),
        ];
        for (stderr, fault) in table {
            assert_eq!(Fault::parse(stderr), fault);
        }
    }

    #[test]
    fn a_value_that_compose_quotes_is_not_repeated() {
        let stderr = "invalid interpolation format for services.a.environment.PASSWORD.\nYou may need to escape any $ with another $.\nhunter2${";
        let fault = Fault::parse(stderr);
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
        assert!(fault.to_string().contains("services.a.environment.PASSWORD"), "{fault}");
    }
}
