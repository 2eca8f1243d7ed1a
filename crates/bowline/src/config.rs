//! `bowline.toml`: what is built, where it is kept and where it runs.
//!
//! The file is read in three steps: the text into a tree with positions, the tree against the [schema](schema::schema)
//! (unknown keys, wrong types), the rest into the types below (durations, names, globs, …). Every step tells all that
//! is wrong, and what is wrong in one place does not hide what is wrong in another.
//!
//! A file that travels with a release is read by the same steps, perhaps by a later Bowline than the one that released
//! it: there only what is wrong in what a deploy needs is in the way ([`Stored`]).

mod document;
mod path;
pub mod problem;
mod resolve;
pub mod schema;
mod secret;
mod service;
mod shape;
mod target;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_core::placeholder::Placeholders;
use bowline_core::reference::{Reference, Repository};
use bowline_core::service::{ServiceName, TagTemplate};

pub use path::globs;
pub(crate) use path::{glob_fault, path_fault};
pub use secret::Secret;
pub use service::{Health, Probe, Service};
pub use target::{
    ComposeTarget, Environment, KubernetesTarget, Override, Pace, PullSecret, SecretSource, Target,
};

use crate::error::{Attempt, Failure, Outcome};
use crate::ui::{count, place};
pub use bowline_core::bump::DefaultBump;
use problem::{Problem, mask, nearest, render};

/// The file's name.
pub const FILE: &str = "bowline.toml";

/// A file that is larger than this is not a configuration (1 MiB).
const LARGEST: u64 = 1 << 20;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory that the file lies in: relative paths start here.
    pub directory: PathBuf,
    /// The text it was read from: part of a release's spec bundle.
    pub text: String,
    /// The project's name, as compose allows it: `chat`.
    pub project: String,
    /// What merged changes without a token in their titles count as.
    pub default_bump: DefaultBump,
    /// The command that builds everything, where there is one.
    pub command: Option<Command>,
    /// The one repository for all images; `None` is the embedded registry.
    pub repository: Option<Repository>,
    /// Whether its registry is spoken to over plain HTTP.
    pub insecure: bool,
    /// How a service and a version make an image tag.
    pub tag: TagTemplate,
    /// What this repository builds.
    pub services: BTreeMap<ServiceName, Service>,
    /// Where it runs.
    pub targets: BTreeMap<String, Target>,
    /// Who is told in Slack.
    pub slack: Option<Slack>,
    /// How what machines carry is dealt with.
    pub capacity: Capacity,
}

/// How what machines carry is dealt with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capacity {
    /// The file with the team's own types of machines.
    pub machines: Option<String>,
    /// What happens when a Docker host is too small for what is deployed to it.
    pub fit: Fit,
    /// How long after a deploy it is measured what it changed; none: not at all.
    pub compare_after: Option<Duration>,
}

/// What happens when a machine is too small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fit {
    /// It is said.
    #[default]
    Warn,
    /// The deploy is refused.
    Refuse,
    /// Nothing.
    Ignore,
}

/// A command that builds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Program and arguments, with placeholders in them.
    Words(Vec<String>),
    /// A text for `sh -c`, because the configuration asks for a shell. It gets versions from its environment alone.
    Shell(String),
}

impl Command {
    /// Program and arguments, never empty. Placeholders are filled in word by word: what they stand for never becomes
    /// a word of its own, or syntax.
    pub fn argv(&self, placeholders: &Placeholders) -> Vec<String> {
        match self {
            Self::Words(words) => words.iter().map(|word| placeholders.fill(word)).collect(),
            Self::Shell(script) => vec!["sh".into(), "-c".into(), script.clone()],
        }
    }
}

/// How Slack is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slack {
    /// By a webhook: one message per release.
    Webhook {
        /// Its URL.
        url: Secret,
    },
    /// By a bot, which can update its message.
    Bot {
        /// Its token.
        token: Secret,
        /// Where it writes.
        channel: String,
    },
}

impl Config {
    /// Reads and checks the `bowline.toml` of a directory.
    ///
    /// # Errors
    /// Kind `Invalid`: there is none, it cannot be read, or it is wrong; then with every problem in it.
    pub fn load(directory: &Path) -> Outcome<Self> {
        let path = directory.join(FILE);
        let reading = || format!("reading {}", path.display());
        let length = match std::fs::metadata(&path) {
            Ok(file) => file.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::invalid(format!("there is no {FILE} in {}", place(directory))).hint(
                    "`bowline init` writes one from what it finds; `bowline -C DIR …` works elsewhere",
                ));
            }
            Err(error) => return Err(Failure::invalid(reading()).because(&error)),
        };
        if length > LARGEST {
            return Err(
                Failure::invalid(reading()).since(format!("it has {length} bytes; {LARGEST} are allowed"))
            );
        }
        let bytes = std::fs::read(&path).attempt(reading)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            Failure::invalid(reading()).since(format!("it is not UTF-8: {}", error.utf8_error()))
        })?;
        Self::parse(&text, directory)
    }

    /// Checks the text of a `bowline.toml`. Pure.
    ///
    /// # Errors
    /// Kind `Invalid`, with every problem in it: line, column, excerpt with a caret, and what would be right.
    pub fn parse(text: &str, directory: &Path) -> Outcome<Self> {
        let (config, problems, secrets) = resolve::resolve(text, directory);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Failure::invalid(format!("{FILE} has {}", count(problems.len(), "problem")))
                .excerpt(render(&problems, FILE, &mask(text, &secrets), true))
                .hint(
                    "`bowline schema` prints the JSON schema, for editors that complete and check the file",
                )),
        }
    }

    /// Puts another text in place of the file: whole, or not at all. Gives the configuration that it is now.
    ///
    /// Between reading and this a measurement may have been fetched or a question answered, and somebody may have saved the
    /// file in an editor: then it stays as that person left it.
    ///
    /// # Errors
    /// When the text is wrong, the file is no longer what this was read from, or it cannot be written: it is as it was.
    pub fn replace(&self, text: &str) -> Outcome<Self> {
        let changed = Self::parse(text, &self.directory)?;
        let path = self.directory.join(FILE);
        let writing = || format!("writing {}", path.display());
        let fresh = self.directory.join(format!(".{FILE}.{}", std::process::id()));
        let put = || {
            std::fs::write(&fresh, text).attempt(writing)?;
            // Looked at as late as can be: nothing swaps a file only if it is as it was.
            let there = std::fs::read(&path).attempt(writing)?;
            if there != self.text.as_bytes() {
                return Err(Failure::failed(writing())
                    .since("somebody changed it since it was read; what they wrote is still there")
                    .hint("run this again: it begins with the file as it is now"));
            }
            std::fs::rename(&fresh, &path).attempt(writing)
        };
        put().inspect_err(|_| drop(std::fs::remove_file(&fresh)))?;
        Ok(changed)
    }

    /// The environment variables that hold the secrets it names.
    pub fn secret_variables(&self) -> Vec<String> {
        let slack = self.slack.iter().map(|slack| match slack {
            Slack::Webhook { url } => url,
            Slack::Bot { token, .. } => token,
        });
        let clusters = self.targets.values().filter_map(|target| match target {
            Target::Kubernetes(target) => Some(target.secrets.values()),
            Target::Compose(_) => None,
        });
        let secrets = slack.chain(clusters.flatten().flat_map(|source| source.data.values()));
        let variable =
            |secret: &Secret| if let Secret::Env(name) = secret { Some(name.clone()) } else { None };
        secrets.filter_map(variable).collect()
    }

    /// A target by its name.
    ///
    /// # Errors
    /// Kind `Invalid`: there is none of that name; says which there are.
    pub fn target(&self, name: &str) -> Outcome<&Target> {
        self.targets.get(name).ok_or_else(|| unknown("target", name, self.targets.keys().map(String::as_str)))
    }

    /// A service by its name.
    ///
    /// # Errors
    /// Kind `Invalid`: there is none of that name; says which there are.
    pub fn service(&self, name: &str) -> Outcome<&Service> {
        self.services
            .get(name)
            .ok_or_else(|| unknown("service", name, self.services.keys().map(ServiceName::as_str)))
    }

    /// The service whose image compose files or manifests call by this name.
    pub fn service_of(&self, image: &Reference) -> Option<&Service> {
        let named = |service: &&Service| service.images.iter().any(|name| name.is_same_image(image));
        self.services.values().find(named)
    }
}

/// What a deploy needs of a `bowline.toml` that travels with a release.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What the repository built then; what only building needs may be missing.
    pub services: BTreeMap<ServiceName, Service>,
    /// The target, where there was one of this name. Where it is, is today's to say.
    pub target: Option<Target>,
    /// What it says besides that this Bowline does not know.
    pub unknown: Vec<String>,
}

impl Stored {
    /// Reads what a deploy to a target needs. A release is deployed as it is: a key that another Bowline knew, a rule that
    /// became stricter or was not there yet, and whatever building, releasing and other targets are about do not keep
    /// anybody from the way back.
    ///
    /// # Errors
    /// Kind `Invalid`: what the deploy needs cannot be understood.
    pub fn parse(text: &str, target: &str) -> Outcome<Self> {
        let (config, problems, secrets) = resolve::resolve(text, Path::new("."));
        let needed = problems.into_iter().filter(|problem| problem.purpose.is_needed_on(target));
        let needed: Vec<Problem> = needed.collect();
        match config {
            Some(mut config) if needed.iter().all(|problem| problem.unknown) => Ok(Self {
                services: config.services,
                target: config.targets.remove(target),
                unknown: needed.into_iter().map(|problem| problem.message).collect(),
            }),
            _ => {
                let failure =
                    format!("the release's {FILE} has {} for this bowline", count(needed.len(), "problem"));
                Err(Failure::invalid(failure)
                    .excerpt(render(&needed, FILE, &mask(text, &secrets), true))
                    .hint(
                        "deploy it with the version of bowline that released it, or release its commit again",
                    ))
            }
        }
    }
}

fn unknown<'n>(noun: &str, name: &str, known: impl Iterator<Item = &'n str>) -> Failure {
    let known: Vec<&str> = known.collect();
    let failure = Failure::invalid(format!("{FILE} has no {noun} `{name}`"));
    match (nearest(name, known.iter().copied()), known.is_empty()) {
        (Some(near), _) => failure.hint(format!("did you mean `{near}`? It has {}", known.join(", "))),
        (None, false) => failure.hint(format!("it has {}", known.join(", "))),
        (None, true) => failure.hint(format!("it names no {noun} at all: add `[{noun}s.{name}]`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = "[project]\nname = \"shop\"\n\n[services.web]\nimages = [\"web:1\"]\n";

    #[test]
    fn what_somebody_saved_meanwhile_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, TOML).unwrap();
        let config = Config::load(folder.path()).unwrap();
        let saved = format!("# by hand\n{TOML}");
        std::fs::write(&path, &saved).unwrap();
        let refused = config.replace(&format!("{TOML}# advice\n")).unwrap_err();
        assert!(refused.causes[0].contains("somebody changed it"), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), saved);
        // One that reads what is there may write, and again what it wrote.
        let config = Config::load(folder.path()).unwrap();
        let config = config.replace(&format!("{saved}# advice\n")).unwrap();
        config.replace(&format!("{saved}# other advice\n")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{saved}# other advice\n"));
        std::fs::remove_file(&path).unwrap();
        assert!(config.replace(TOML).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no draft is left behind");
    }
}
