//! `doctor`: whether everything is there that the other verbs need. It only looks.

mod cluster;
mod registry;
mod target;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::lock::Lock;
use super::status::Report;
use crate::config::{Config, FILE, Target};
use crate::error::{Failure, Outcome};
use crate::git::Git;
use crate::ui::count;

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);
/// The oldest git that the module `git` is written for.
const OLDEST_GIT: (u32, u32) = (2, 32);

/// How it is with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and deserves attention.
    Warning,
    /// Something will not work.
    Broken,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What: `git`, `box: engine`, ….
    pub subject: String,
    /// How it is.
    pub state: State,
    /// What was found, in words.
    pub text: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// The findings, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, subject: &str, state: State, text: impl Into<String>, remedy: Option<String>) {
        self.0.push(Finding { subject: subject.to_owned(), state, text: text.into(), remedy });
    }

    fn ok(&mut self, subject: &str, text: impl Into<String>) {
        self.add(subject, State::Ok, text, None);
    }

    fn warn(&mut self, subject: &str, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(subject, State::Warning, text, Some(remedy.into()));
    }

    fn fail(&mut self, subject: &str, text: impl Into<String>, remedy: Option<String>) {
        self.add(subject, State::Broken, text, remedy);
    }

    /// A failure of another verb, as a finding.
    fn broken(&mut self, subject: &str, failure: Failure) {
        self.fail(subject, failure.to_string(), failure.hint);
    }
}

/// Looks at everything, or at one target and what it needs. What is broken hides nothing that can be looked at without it.
///
/// # Errors
/// Kind `Invalid`: there is no such target.
pub async fn observe(directory: &Path, only: Option<&str>) -> Outcome<Vec<Finding>> {
    let mut findings = Findings::default();
    git(&mut findings, directory).await;
    let config = match Config::load(directory) {
        Ok(config) => {
            let (services, targets) = (config.services.len(), config.targets.len());
            findings.ok(FILE, format!("{}, {}", count(services, "service"), count(targets, "target")));
            config
        }
        Err(failure) => {
            let excerpt =
                failure.excerpt.as_deref().map(|text| anstream::adapter::strip_str(text).to_string());
            let text = excerpt.map_or_else(|| failure.to_string(), |excerpt| format!("{failure}\n{excerpt}"));
            findings.fail(FILE, text.trim_end(), failure.hint);
            return Ok(findings.0);
        }
    };
    if let Some(name) = only {
        config.target(name)?;
    }
    let targets: Vec<&Target> =
        config.targets.values().filter(|target| only.is_none_or(|only| target.name() == only)).collect();
    let far = |target: &&Target| match target {
        Target::Compose(target) => target.host.is_some(),
        Target::Kubernetes(target) => target.host.is_some(),
    };
    if targets.iter().any(far) {
        ssh(&mut findings).await;
    }
    registry::look(&mut findings, &config).await;
    for target in targets {
        match target {
            Target::Compose(compose) => target::look(&mut findings, &config, compose).await,
            Target::Kubernetes(target) => cluster::look(&mut findings, &config, target).await,
        }
    }
    Ok(findings.0)
}

/// What Bowline keeps there: who holds the lock, what was left unfinished, what cannot be read, what is not healthy.
fn order(
    findings: &mut Findings,
    subject: &impl Fn(&str) -> String,
    target: &str,
    lock: Outcome<Option<Lock>>,
    report: Outcome<Report>,
) {
    match lock {
        Ok(None) => findings.ok(&subject("lock"), "free"),
        Ok(Some(lock)) if lock.over => findings.ok(&subject("lock"), format!("free: {} left it", lock.by)),
        Ok(Some(lock)) => {
            findings.ok(&subject("lock"), format!("held by {} (bowline {})", lock.by, lock.verb))
        }
        Err(failure) => findings.broken(&subject("lock"), failure),
    }
    let report = match report {
        Ok(report) => report,
        Err(failure) => return findings.broken(&subject("status"), failure),
    };
    for (name, why) in &report.unreadable {
        let remedy = "a newer bowline may have written it: update this one";
        findings.fail(&subject("documents"), format!("{name} cannot be read: {why}"), Some(remedy.into()));
    }
    if let Some(interrupted) = &report.status.interrupted {
        let remedy =
            format!("`bowline deploy {target}` or `bowline rollback {target}` finishes or undoes it");
        findings.warn(&subject("history"), format!("a run did not end: {interrupted}"), remedy);
    }
    let ill = report.status.services.iter().filter(|service| {
        !matches!(
            service.state.split(' ').next(),
            Some("healthy" | "running" | "completed" | "switched" | "starting" | "scheduled" | "suspended")
        )
    });
    for service in ill {
        let remedy = format!("`bowline logs {target} {}` shows why", service.name);
        findings.warn(&subject("status"), format!("{} is {}", service.name, service.state), remedy);
    }
}

async fn git(findings: &mut Findings, directory: &Path) {
    let Some(said) = say_version("git", "--version").await else {
        findings.fail("git", "there is no `git` here", Some("install git".into()));
        return;
    };
    match number(&said) {
        Some(found) if found < OLDEST_GIT => {
            let (major, minor) = OLDEST_GIT;
            findings.warn(
                "git",
                said,
                format!("update it: Bowline is written for git {major}.{minor} and newer"),
            );
        }
        _ => findings.ok("git", said),
    }
    match Git::open(directory).await {
        Err(error) => {
            let failure = Failure::from(error);
            let remedy = failure.hint.clone();
            findings.fail("repository", failure.to_string(), remedy);
        }
        Ok(git) if git.shallow => {
            findings
                .ok("repository", "a shallow clone: what is missing of the history is fetched when needed");
        }
        Ok(git) => findings.ok("repository", git.directory().display().to_string()),
    }
}

async fn ssh(findings: &mut Findings) {
    match say_version("ssh", "-V").await {
        Some(said) => findings.ok("ssh", said),
        None => findings.fail("ssh", "there is no `ssh` here", Some("install the OpenSSH client".into())),
    }
}

/// The first line that a program says of its version, on either channel.
async fn say_version(program: &str, option: &str) -> Option<String> {
    let run = tokio::process::Command::new(program).arg(option).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, run).await.ok()?.ok()?;
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let said = String::from_utf8_lossy(&said);
    said.lines().next().map(|line| line.trim().to_owned())
}

/// Major and minor number in `git version 2.39.5`.
fn number(said: &str) -> Option<(u32, u32)> {
    let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(number("git version 2.39.5"), Some((2, 39)));
        assert_eq!(number("git version 2.50.1 (Apple Git-155)"), Some((2, 50)));
        assert_eq!(number("git"), None);
    }
}
