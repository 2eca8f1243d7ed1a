//! Which services a release changes, from their configuration and what changed in the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bowline_core::change::{Changed, History, Question, decide};
use bowline_core::digest::Digest;
use bowline_core::service::ServiceName;
use serde_json::json;

use crate::config::{self, Command, Config, Service};
use crate::error::{Attempt, Outcome};

/// Raised when Bowline makes other images of the same inputs: then everything is built once more.
const ASSEMBLY: u32 = 1;

/// What the previous release recorded: for each of its services how it was built, where that is known.
pub type Definitions = BTreeMap<ServiceName, Option<Digest>>;

/// Decides for every service.
///
/// # Errors
/// When an `inputs` glob is none, which a checked configuration has not.
pub fn decide_all(
    config: &Config,
    history: &History,
    previous: &Definitions,
) -> Outcome<BTreeMap<ServiceName, Changed>> {
    let decide_one = |service: &Service| {
        let globs = config::globs(service.inputs.iter().map(String::as_str))
            .attempt(|| format!("reading services.{}.inputs", service.name))?;
        let inputs = |path: &str| globs.is_match(path) || is_below(path, service.context.as_deref());
        let question = Question {
            previous: previous.get(&service.name).copied(),
            definition: definition(config, service),
            inputs: if service.inputs.is_empty() { None } else { Some(&inputs) },
            files: &files(service),
            configuration: config::FILE,
        };
        Ok((service.name.clone(), decide(history, &question)))
    };
    config.services.values().map(decide_one).collect()
}

/// The fingerprint of how a service is built: kept in the release record, compared with the next release's.
pub fn definition(config: &Config, service: &Service) -> Digest {
    let command = service.command.as_ref().or(config.command.as_ref()).map(|command| match command {
        Command::Words(words) => json!(words),
        Command::Shell(script) => json!({ "shell": script }),
    });
    let value = json!({
        "assembly": ASSEMBLY,
        "command": command,
        "artifact": service.artifact,
        "context": service.context,
        "dockerfile": service.dockerfile,
        "base": service.base.as_ref().map(ToString::to_string),
        "platform": service.platform.as_ref().map(ToString::to_string),
        "port": service.port,
        // Who corrects them wants what they missed to be built.
        "inputs": service.inputs.iter().collect::<BTreeSet<_>>(),
    });
    Digest::of(value.to_string().as_bytes())
}

/// Whether the path lies in the context. The root as context does not count: everything lies there.
fn is_below(path: &str, context: Option<&str>) -> bool {
    let context = context.unwrap_or_default().trim_start_matches("./").trim_end_matches('/');
    !context.is_empty() && context != "." && Path::new(path).starts_with(context)
}

/// The Dockerfile and ignore files, wherever this service's could lie in the repository.
fn files(service: &Service) -> Vec<String> {
    let mut files: Vec<String> = service.dockerfile.iter().cloned().collect();
    files.extend(service.dockerfile.iter().map(|path| format!("{path}.dockerignore")));
    let artifact = service.artifact.as_deref().unwrap_or_default();
    let literal = artifact.split('/').take_while(|part| !part.contains(['*', '?', '[', '{']));
    let literal: std::path::PathBuf = literal.collect();
    let places = literal.ancestors().chain(service.context.as_deref().map(Path::new));
    for place in places.filter(|place| !place.as_os_str().is_empty()) {
        for name in ["Dockerfile", "Dockerfile.dockerignore", ".dockerignore"] {
            files.push(place.join(name).to_string_lossy().trim_start_matches("./").to_owned());
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
        [project]
        name = "shop"
        [build]
        command = "make {tag}"
        [services.chat]
        inputs = ["common/**", "*.gradle"]
        context = "chat"
        [services.user]
        inputs = ["user/src/**"]
        artifact = "user/build/libs/*.jar"
        [services.web]
    "#;

    fn check(paths: &[&str]) -> String {
        let config = Config::parse(TOML, Path::new("/")).unwrap();
        let previous =
            config.services.values().map(|s| (s.name.clone(), Some(definition(&config, s)))).collect();
        let history = History::Paths(paths.iter().map(|path| (*path).to_owned()).collect());
        let changed = decide_all(&config, &history, &previous).unwrap();
        changed.iter().map(|(name, changed)| format!("{name}: {changed}")).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn inputs_contexts_and_dockerfiles_count() {
        for (paths, expected) in [
            (
                vec!["README.md", "sub/x.gradle"],
                "chat: unchanged; user: unchanged; web: no inputs configured",
            ),
            (vec!["common/a/B.java"], "chat: common/a/B.java; user: unchanged; web: no inputs configured"),
            (vec!["build.gradle"], "chat: build.gradle; user: unchanged; web: no inputs configured"),
            (
                vec!["chat/entry.sh", "chatter"],
                "chat: chat/entry.sh; user: unchanged; web: no inputs configured",
            ),
            (vec!["user/Dockerfile"], "chat: unchanged; user: user/Dockerfile; web: no inputs configured"),
            (
                vec!["user/test/x", "bowline.toml"],
                "chat: unchanged; user: unchanged; web: no inputs configured",
            ),
        ] {
            assert_eq!(check(&paths), expected);
        }
    }

    #[test]
    fn what_decides_about_an_image_is_in_its_definition() {
        let config = |text: &str| Config::parse(text, Path::new("/")).unwrap();
        let of = |config: &Config| definition(config, config.service("user").unwrap());
        let before = of(&config(TOML));
        assert_eq!(of(&config(&TOML.replace("common/**", "other/**"))), before);
        for (from, to) in [
            ("make {tag}", "make"),
            ("user/src/**", "user/**"),
            ("libs/*.jar", "libs/b.jar"),
            ("[services.web]", "base = \"x\"\n[services.web]"),
        ] {
            assert_ne!(of(&config(&TOML.replace(from, to))), before, "{to}");
        }
    }
}
