//! Which commands a build runs, and what they are given.

use std::collections::BTreeMap;
use std::path::Path;

use bowline_core::artifact::dockerfile::{SERVICE, TAG, VERSION};
use bowline_core::change::Changed;
use bowline_core::placeholder::Placeholders;
use bowline_core::service::ServiceName;

use super::output::Prefix;
use super::process::Job;
use crate::config::{Command, Config};

/// The name under which the project's own command speaks.
const PROJECT: &str = "build";

/// The commands to run: the project's by itself, then those of services, which do not depend on each other.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    /// The project's command, where a changed service needs it.
    pub project: Option<Job>,
    /// One for every changed service with a command of its own.
    pub services: Vec<Job>,
}

/// Works out what has to run to build the services that changed. The project's command is run whole: build tools know
/// best what is up to date.
pub fn jobs(
    config: &Config,
    values: &Placeholders,
    changed: &BTreeMap<ServiceName, Changed>,
    logs: &Path,
) -> Jobs {
    let is_changed = |name: &ServiceName| changed.get(name).is_some_and(Changed::is_yes);
    let building: Vec<_> = config.services.values().filter(|service| is_changed(&service.name)).collect();
    let width =
        building.iter().map(|service| service.name.as_str().len()).max().unwrap_or(0).max(PROJECT.len());
    let job = |command: &Command, values: &Placeholders, name: &str, subject: String, index: usize| Job {
        subject,
        prefix: Prefix::new(name, index, width),
        words: command.argv(values),
        directory: config.directory.clone(),
        environment: environment(values),
        hidden: config.secret_variables(),
        log: logs.join(format!("{name}.log")),
        timeout: None,
    };
    let project = config
        .command
        .as_ref()
        .filter(|_| building.iter().any(|service| service.command.is_none()))
        .map(|command| job(command, values, PROJECT, format!("project {}", config.project), 0));
    let services = building.iter().enumerate().filter_map(|(index, service)| {
        let name = service.name.as_str();
        let values = values.clone().service(name);
        let mut job = job(service.command.as_ref()?, &values, name, name.to_owned(), index + 1);
        // The project's log has its own name even where a service is called like it.
        job.log = logs.join(format!("{name}.service.log"));
        Some(job)
    });
    Jobs { project, services: services.collect() }
}

/// The environment that every build gets: version and tag, and the service where the build is one service's.
pub fn environment(values: &Placeholders) -> Vec<(String, String)> {
    [(VERSION, "{version}"), (TAG, "{tag}"), (SERVICE, "{service}")]
        .into_iter()
        .map(|(name, pattern)| (name, pattern, values.fill(pattern)))
        // `{service}` stays as it is where the build is the whole project's.
        .filter(|(_, pattern, value)| value != pattern)
        .map(|(name, _, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use bowline_core::change::Reason;

    use super::*;

    const TOML: &str = r#"
        [project]
        name = "shop"
        [build]
        command = "./gradlew build --parallel -Pversion={tag}"
        [services.chat]
        [services.user]
        [services.web]
        build = "npm run 'build {service}'"
    "#;

    fn check(changed: &[&str]) -> Vec<String> {
        let config = Config::parse(TOML, Path::new("/shop")).unwrap();
        let changed = config.services.keys().map(|name| {
            let yes = changed.contains(&name.as_str());
            (name.clone(), if yes { Changed::Yes(Reason::Asked) } else { Changed::No })
        });
        let jobs = jobs(&config, &Placeholders::new("1.0.0"), &changed.collect(), Path::new("/logs"));
        let all = jobs.project.into_iter().chain(jobs.services);
        all.map(|job| format!("{}: {:?} > {}", job.subject, job.words, job.log.display())).collect()
    }

    #[test]
    fn only_what_changed_is_built_and_the_project_whole() {
        let project =
            r#"project shop: ["./gradlew", "build", "--parallel", "-Pversion=v1.0.0"] > /logs/build.log"#;
        let web = r#"web: ["npm", "run", "build web"] > /logs/web.service.log"#;
        assert_eq!(check(&["chat", "user", "web"]), [project, web]);
        assert_eq!(check(&["user"]), [project]);
        assert_eq!(check(&["web"]), [web]);
        assert!(check(&[]).is_empty());
    }

    #[test]
    fn the_service_is_named_where_there_is_one() {
        let names = |values: &Placeholders| {
            environment(values).into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let project = Placeholders::new("1.0.0-abc1234");
        assert_eq!(names(&project), ["BOWLINE_VERSION=1.0.0-abc1234", "BOWLINE_TAG=v1.0.0-abc1234"]);
        assert_eq!(names(&project.service("user")).last().unwrap(), "BOWLINE_SERVICE=user");
    }
}
