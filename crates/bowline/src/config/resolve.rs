//! From the file as written to the configuration as meant, telling everything that is wrong on the way.

mod part;
mod service;
mod target;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bowline_core::service::{ServiceName, TagTemplate};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{CapacityTable, DefaultBumpName, Document, FitName, SlackTable};
use super::problem::{Problem, Purpose, nearest};
use super::{Capacity, Config, DefaultBump, Fit, Secret, Slack, schema, shape};
use part::Part;

/// The configuration as far as it can be read, its problems, and where secrets could stand in the text.
pub(super) fn resolve(text: &str, directory: &Path) -> (Option<Config>, Vec<Problem>, Vec<Range<usize>>) {
    let (mut tree, errors) = DeTable::parse_recoverable(text);
    let secrets = secrets(tree.get_ref());
    if !errors.is_empty() {
        return (None, errors.iter().map(|error| syntax(error, text)).collect(), secrets);
    }
    let mut problems = shape::prune(tree.get_mut(), &schema::schema());
    let document = match Document::deserialize(toml::de::Deserializer::from(tree)) {
        Ok(document) => document,
        Err(error) => {
            // The schema comes from the same types: what it lets pass can be read.
            problems.push(syntax(&error, text));
            return (None, problems, secrets);
        }
    };
    let mut part = Part { problems };
    let config = config(&mut part, &document, text, directory);
    (Some(config), part.problems, secrets)
}

fn syntax(error: &toml::de::Error, text: &str) -> Problem {
    let span = error.span().unwrap_or(text.len()..text.len());
    Problem::new(&span, error.message(), "here")
}

/// Where secrets could stand: everything under `notify`, and the values of environment variables.
fn secrets(document: &DeTable<'_>) -> Vec<Range<usize>> {
    fn leaves(value: &Spanned<DeValue<'_>>, within: bool, found: &mut Vec<Range<usize>>) {
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    let secret = within
                        || matches!(key.get_ref().as_ref(), "env" | "token" | "url" | "password" | "data");
                    leaves(value, secret, found);
                }
            }
            DeValue::Array(items) => items.iter().for_each(|item| leaves(item, within, found)),
            DeValue::String(text)
                if ["env:", "file:", "command:"].iter().any(|source| text.starts_with(source)) => {}
            _ if within => found.push(value.span()),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (key, value) in document {
        leaves(value, key.get_ref() == "notify", &mut found);
    }
    found
}

/// What cannot be read is left out, and told.
fn config(part: &mut Part, document: &Document, text: &str, directory: &Path) -> Config {
    let shell = document.build.shell.unwrap_or(false);
    let (project, command, tag, repository) = part.within(&Purpose::Release, |part| {
        let project = project(part, document).unwrap_or_default();
        let command = document.build.command.as_ref();
        let command = command.and_then(|command| part.command(command, shell, false));
        let tag: TagTemplate = part.parse(document.registry.tag.as_ref()).unwrap_or_default();
        let repository = document.registry.repository.as_ref().and_then(|at| part.repository(at));
        (project, command, tag, repository)
    });
    let services = service::services(part, document, &tag);
    let targets = target::targets(part, document);
    let slack = document.notify.slack.as_ref();
    let slack =
        part.within(&Purpose::Release, |part| slack.and_then(|at| self::slack(part, &at.value, &at.span)));
    Config {
        directory: directory.into(),
        text: text.into(),
        project,
        default_bump: match document.version.default_bump {
            Some(DefaultBumpName::None) => DefaultBump::None,
            Some(DefaultBumpName::Error) => DefaultBump::Error,
            Some(DefaultBumpName::Patch) | None => DefaultBump::Patch,
        },
        command,
        repository,
        insecure: document.registry.insecure.unwrap_or(false),
        tag,
        services,
        targets,
        slack,
        capacity: part.within(&Purpose::Release, |part| capacity(part, &document.capacity)),
    }
}

fn capacity(part: &mut Part, table: &CapacityTable) -> Capacity {
    Capacity {
        machines: part.path(table.machines.as_ref()),
        fit: match table.fit {
            None | Some(FitName::Warn) => Fit::Warn,
            Some(FitName::Refuse) => Fit::Refuse,
            Some(FitName::Ignore) => Fit::Ignore,
        },
        compare_after: compare_after(part, table),
    }
}

/// Less than half a minute shows nothing but the start; more than an hour nobody waits for.
fn compare_after(part: &mut Part, table: &CapacityTable) -> Option<Duration> {
    let at = table.compare_after.as_ref();
    let (time, at) = part.duration(at, false).zip(at)?;
    if (30..=3_600).contains(&time.as_secs()) {
        return Some(time);
    }
    part.refuse(&at.span, "a release is compared from 30s to 1h after it", "such as `5m`");
    None
}

fn project(part: &mut Part, document: &Document) -> Option<String> {
    let Some(name) = &document.project.name else {
        // One that was taken out because it is no text has been told already.
        if !part.problems.iter().any(|problem| problem.message.contains("`project")) {
            let problem =
                Problem::new(&(0..0), "the project has no name", "add `[project]` with `name = \"…\"` here");
            part.problems.push(problem);
        }
        return None;
    };
    if let Some(fault) = project_fault(&name.value) {
        part.refuse(&name.span, format!("`{}` cannot be a project's name", name.value), fault);
        return None;
    }
    Some(name.value.clone())
}

/// Why a text cannot name a compose project (compose-spec, 04-version-and-name); `None` when it can.
fn project_fault(name: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if name.is_empty() {
        Some("it is empty")
    } else if !name.chars().all(legal) {
        Some("lower-case letters, digits, `-` and `_` can be in it")
    } else if name.starts_with(['-', '_']) {
        Some("it starts with a letter or a digit")
    } else if name.len() > 63 {
        Some("it has at most 63 characters")
    } else {
        None
    }
}

fn slack(part: &mut Part, table: &SlackTable, span: &Range<usize>) -> Option<Slack> {
    let mut secret = |at: Option<&super::document::At<String>>| {
        let at = at?;
        let secret = Secret::parse(&at.value);
        if secret.is_none() {
            part.problems.push(
                Problem::new(&at.span, "a secret stands in the configuration", "name where it is found instead").help(
                    "this file is kept in git and with every release: write \"env:NAME\" for an environment variable or \
                     \"file:PATH\" for a file, and change the secret if it was ever committed",
                ),
            );
        }
        secret
    };
    let (url, token) = (secret(table.url.as_ref()), secret(table.token.as_ref()));
    match (&table.url, &table.token, &table.channel) {
        (Some(_), None, None) => Some(Slack::Webhook { url: url? }),
        (None, Some(_), Some(channel)) => Some(Slack::Bot { token: token?, channel: channel.value.clone() }),
        (Some(_), Some(token), _) => {
            part.refuse(
                &token.span,
                "Slack is told by a webhook or by a bot, not by both",
                "leave out one of them",
            );
            None
        }
        (Some(_), None, Some(channel)) => {
            part.refuse(&channel.span, "a webhook writes to its own channel", "leave this out");
            None
        }
        (None, Some(token), None) => {
            part.refuse(&token.span, "a bot needs to know where to write", "add `channel = \"#…\"`");
            None
        }
        (None, None, _) => {
            part.refuse(
                span,
                "nothing says how to reach Slack",
                "add `url = \"env:…\"`, or `token` and `channel`",
            );
            None
        }
    }
}

/// Services by name, those with impossible names told and left out.
fn name(part: &mut Part, at: &super::document::At<String>) -> Option<ServiceName> {
    match at.value.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            part.refuse(&at.span, format!("`{}` cannot be a service's name", at.value), format!("{error}"));
            None
        }
    }
}

/// A suggestion among the names of services, for a label.
fn suggest<'n>(word: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}

type Named<T> = BTreeMap<ServiceName, T>;
