//! Where a running project is, and what bowline.toml must say to mean it.

use std::collections::{BTreeMap, BTreeSet};

use bowline_compose::engine::FoundProject;
use bowline_core::compose::desired::OVERRIDE_FILE;
use bowline_core::compose::observed::Container;
use bowline_core::reference::Reference;
use serde::Serialize;
use toml_edit::{Array, DocumentMut, Value};

use crate::config::{ComposeTarget, Config, FILE};
use crate::error::{Failure, Outcome};
use crate::operation::spec::project_directory;

/// Where a running project is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The compose project's name.
    pub project: String,
    /// Its directory on the host.
    pub directory: String,
    /// The compose files it was made from, relative to that, in Compose's order.
    pub files: Vec<String>,
}

/// A line that bowline.toml needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The key in the target's table.
    pub key: &'static str,
    /// Its value: one text, or a list.
    pub value: Vec<String>,
    /// Whether the project is not found without it.
    pub required: bool,
}

impl Line {
    /// As it is written in the file.
    pub fn text(&self) -> String {
        format!("{} = {}", self.key, self.toml().to_string().trim())
    }

    fn toml(&self) -> Value {
        match self.value.as_slice() {
            [one] => Value::from(one.as_str()),
            several => Value::from(several.iter().map(String::as_str).collect::<Array>()),
        }
    }
}

/// Which of the projects on a host is meant: the one of the configured name; else in the configured directory; else the
/// one that runs most of our services. Pure.
///
/// # Errors
/// When none is, or several may be.
pub fn choose<'p>(
    projects: &'p [FoundProject],
    config: &Config,
    target: &ComposeTarget,
) -> Outcome<&'p FoundProject> {
    let name = target.project.as_deref().unwrap_or(&config.project);
    let by_name = projects.iter().find(|project| project.name == name);
    let by_directory = || {
        let directory = target.directory.as_ref()?;
        projects.iter().find(|project| project.directories.contains(directory))
    };
    if let Some(project) = by_name.or_else(by_directory) {
        return Ok(project);
    }
    let mut ranked: Vec<(usize, &FoundProject)> =
        projects.iter().map(|project| (count_ours(project, config), project)).collect();
    ranked.sort_by_key(|(ours, _)| std::cmp::Reverse(*ours));
    match ranked.as_slice() {
        [(ours, project), rest @ ..] if *ours > 0 && rest.first().is_none_or(|(next, _)| next < ours) => {
            Ok(project)
        }
        _ => Err(unclear(projects, name, target)),
    }
}

fn count_ours(project: &FoundProject, config: &Config) -> usize {
    let is_ours = |(name, found): &(&String, &bowline_compose::engine::FoundService)| {
        let named = |image: &String| {
            image.parse::<Reference>().is_ok_and(|image| config.service_of(&image).is_some())
        };
        let same_name = config.services.get(name.as_str()).is_some_and(|service| service.images.is_empty());
        same_name || found.images.iter().any(named)
    };
    project.services.iter().filter(is_ours).count()
}

fn unclear(projects: &[FoundProject], name: &str, target: &ComposeTarget) -> Failure {
    let failure = Failure::invalid(format!("looking for the project to adopt on {}", target.name));
    if projects.is_empty() {
        return failure.since("no compose project runs there").hint(format!(
            "there is nothing to adopt: `bowline deploy {}` starts from nothing",
            target.name
        ));
    }
    let list = projects.iter().map(|project| {
        let directories: Vec<&str> = project.directories.iter().map(String::as_str).collect();
        let services: Vec<&str> = project.services.keys().map(String::as_str).collect();
        format!("{} in {}: {}", project.name, directories.join(" and "), services.join(", "))
    });
    failure
        .since(format!("none is called {name}, and none alone runs services of {FILE}"))
        .detail(list)
        .hint(format!("write `project = \"…\"` with one of these names under [targets.{}]", target.name))
}

/// Where the project is, by what its containers say. Pure.
///
/// # Errors
/// When they say different things, or the project's files are not all in its directory.
pub fn locate(project: &FoundProject, containers: &[Container], target: &ComposeTarget) -> Outcome<Place> {
    let failure = || Failure::invalid(format!("finding out where {} is on {}", project.name, target.name));
    let configured = target.directory.as_ref().filter(|there| project.directories.contains(*there));
    let directory = match (configured, project.directories.len()) {
        (Some(directory), _) => Some(directory),
        (None, 1) => project.directories.first(),
        _ => None,
    };
    let Some(directory) = directory.filter(|directory| directory.starts_with('/')) else {
        let said: Vec<&str> = project.directories.iter().map(String::as_str).collect();
        return Err(failure()
            .since(format!("its containers say: {}", said.join(" and ")))
            .hint(format!("write the right one as `directory` under [targets.{}]", target.name)));
    };
    let mut lists: BTreeMap<&[String], usize> = BTreeMap::new();
    for container in containers.iter().filter(|there| !there.one_off && !there.config_files.is_empty()) {
        *lists.entry(&container.config_files).or_default() += 1;
    }
    let most = lists.into_iter().max_by_key(|(_, count)| *count);
    let Some((files, _)) = most else {
        return Err(failure().since("its containers do not say which compose files they were made from"));
    };
    let relative = |file: &String| {
        let inside = match file.strip_prefix('/') {
            None => Some(file.as_str()),
            Some(_) => file.strip_prefix(directory.as_str()).and_then(|rest| rest.strip_prefix('/')),
        };
        inside.map(str::to_owned).ok_or_else(|| {
            failure()
                .since(format!("its compose file {file} lies outside of {directory}"))
                .hint("start it once from files in its directory (`docker compose up -d` there), then adopt")
        })
    };
    let files = files.iter().map(relative).collect::<Outcome<Vec<String>>>()?;
    Ok(Place { project: project.name.clone(), directory: directory.clone(), files })
}

/// The place's compose files as bowline.toml names them, without the one that Bowline makes.
pub fn own_files(place: &Place, target: &ComposeTarget) -> Vec<String> {
    place.files.iter().filter(|file| *file != OVERRIDE_FILE).map(|file| in_repository(file, target)).collect()
}

/// A path in the project's directory as a path in the repository.
pub fn in_repository(file: &str, target: &ComposeTarget) -> String {
    match project_directory(&target.files).as_str() {
        "" => file.to_owned(),
        below => format!("{below}/{file}"),
    }
}

/// What bowline.toml must say that it does not. `present` are files that the repository has. Pure.
pub fn lines(
    place: &Place,
    config: &Config,
    target: &ComposeTarget,
    present: impl Fn(&str) -> bool,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let files = own_files(place, target);
    if files != target.files && files.iter().all(|file| present(file)) {
        lines.push(Line { key: "compose", value: files, required: false });
    }
    if target.directory.as_ref() != Some(&place.directory) {
        lines.push(Line { key: "directory", value: vec![place.directory.clone()], required: true });
    }
    if target.project.as_deref().unwrap_or(&config.project) != place.project {
        lines.push(Line { key: "project", value: vec![place.project.clone()], required: true });
    }
    lines
}

/// The text of bowline.toml with these lines in a target's table; comments and order stay. Pure.
///
/// # Errors
/// When the text has no such table.
pub fn edit(text: &str, target: &str, lines: &[Line]) -> Outcome<String> {
    let failure = || Failure::invalid(format!("writing [targets.{target}] into {FILE}"));
    let mut document: DocumentMut = text.parse().map_err(|error| failure().because(&error))?;
    let table = document.get_mut("targets").and_then(|targets| targets.get_mut(target));
    let table = table
        .and_then(|table| table.as_table_like_mut())
        .ok_or_else(|| failure().since("there is no such table in it"))?;
    for line in lines {
        let mut value = line.toml();
        // A comment behind the old value stays behind the new one.
        if let Some(old) = table.get(line.key).and_then(|item| item.as_value()) {
            *value.decor_mut() = old.decor().clone();
        }
        table.insert(line.key, toml_edit::Item::Value(value));
    }
    Ok(document.to_string())
}

/// The configuration that is recorded with what was found: today's, with the files that the project was made from and
/// without what Bowline would change about its services. A rollback deploys by it.
///
/// # Errors
/// When the text has no such table.
pub fn as_found(text: &str, target: &str, files: Vec<String>) -> Outcome<String> {
    let text = edit(text, target, &[Line { key: "compose", value: files, required: true }])?;
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error: toml_edit::TomlError| Failure::invalid(format!("reading {FILE}")).because(&error))?;
    let table = document.get_mut("targets").and_then(|targets| targets.get_mut(target));
    if let Some(table) = table.and_then(|table| table.as_table_like_mut()) {
        table.remove("services");
    }
    Ok(document.to_string())
}

/// The services of a place that the compose model does not have.
pub fn unknown<'c>(containers: &'c [Container], known: &BTreeSet<&str>) -> BTreeSet<&'c str> {
    let services = containers.iter().filter(|there| !there.one_off).map(|there| there.service.as_str());
    services.filter(|service| !known.contains(service)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use std::path::Path;

    use bowline_compose::engine::FoundService;

    use super::*;

    const TOML: &str = "[project]\nname = \"chat\"\n\n[services.user]\nimages = [\"main-service_user\"]\n\n# our box\n[targets.box]\ncompose = \"compose.yaml\" # ours\nhost = \"ssh://box\"\n\n[targets.box.services.user]\nmemory = \"64M\"\n";

    fn found(name: &str, directory: &str, images: &[&str]) -> FoundProject {
        let services = images.iter().map(|image| {
            let service = FoundService { images: [(*image).to_owned()].into(), ..FoundService::default() };
            (format!("service of {image}"), service)
        });
        FoundProject {
            name: name.into(),
            directories: [directory.to_owned()].into(),
            services: services.collect(),
            ..FoundProject::default()
        }
    }

    fn config() -> Config {
        Config::parse(TOML, Path::new(".")).unwrap()
    }

    fn target(config: &Config) -> &ComposeTarget {
        match &config.targets["box"] {
            crate::config::Target::Compose(target) => target,
            crate::config::Target::Kubernetes(_) => unreachable!(),
        }
    }

    #[test]
    fn the_project_is_found_by_name_by_directory_or_by_our_images() {
        let config = config();
        let mut wanted = target(&config).clone();
        let ours = found("main-service", "/srv/a", &["main-service_user", "redis"]);
        let other = found("blog", "/srv/b", &["wordpress"]);
        let named = found("chat", "/srv/c", &[]);
        let all = [ours.clone(), other.clone()];
        assert_eq!(choose(&all, &config, &wanted).unwrap().name, "main-service");
        assert_eq!(choose(&[ours.clone(), named], &config, &wanted).unwrap().name, "chat");
        wanted.directory = Some("/srv/b".into());
        assert_eq!(choose(&all, &config, &wanted).unwrap().name, "blog");
        wanted.directory = None;
        let twins = [ours.clone(), FoundProject { name: "twin".into(), ..ours }];
        let failure = choose(&twins, &config, &wanted);
        assert!(failure.unwrap_err().detail[0].starts_with("main-service in /srv/a"));
        assert!(choose(&[other], &config, &wanted).is_err());
        assert!(choose(&[], &config, &wanted).unwrap_err().causes[0].contains("no compose project"));
    }

    #[test]
    fn lines_say_what_is_missing_and_edits_keep_the_rest() {
        let config = config();
        let place = Place {
            project: "main-service".into(),
            directory: "/srv/a".into(),
            files: vec!["docker-compose-prod.yaml".into(), OVERRIDE_FILE.into()],
        };
        let lines = lines(&place, &config, target(&config), |_| true);
        let texts: Vec<_> = lines.iter().map(Line::text).collect();
        assert_eq!(
            texts,
            [
                "compose = \"docker-compose-prod.yaml\"",
                "directory = \"/srv/a\"",
                "project = \"main-service\""
            ]
        );
        let edited = edit(TOML, "box", &lines).unwrap();
        let wanted = TOML.replace("\"compose.yaml\" # ours", "\"docker-compose-prod.yaml\" # ours").replace(
            "host = \"ssh://box\"\n",
            "host = \"ssh://box\"\ndirectory = \"/srv/a\"\nproject = \"main-service\"\n",
        );
        assert_eq!(edited, wanted);
        let again = Config::parse(&edited, Path::new(".")).unwrap();
        assert_eq!(super::lines(&place, &again, target(&again), |_| true), []);
        let recorded = as_found(&edited, "box", vec!["a.yaml".into(), "b.yaml".into()]).unwrap();
        let recorded = Config::parse(&recorded, Path::new(".")).unwrap();
        assert_eq!(target(&recorded).files, ["a.yaml", "b.yaml"]);
        assert!(target(&recorded).services.is_empty());
    }
}
