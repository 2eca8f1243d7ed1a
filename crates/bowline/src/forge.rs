//! Being run by GitHub Actions: the job summary, the outputs of the step, and the commands that the runner would find
//! in what we print.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use bowline_core::tag::Tag;
use bowline_core::timeline::{Timeline, markdown};

use crate::error::{Attempt, Outcome};
use crate::ui::Ui;

/// What the runner told the step, as far as we use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actions {
    /// `$GITHUB_STEP_SUMMARY`: Markdown is appended to it.
    summary: Option<PathBuf>,
    /// `$GITHUB_OUTPUT`: the step's outputs are appended to it.
    output: Option<PathBuf>,
    /// Where people see this run.
    link: Option<String>,
}

impl Actions {
    /// What this process's environment says; `None` outside GitHub Actions.
    pub fn detect() -> Option<Self> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// What an environment says. Gitea and Forgejo set the same variables.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let variable = |name: &str| lookup(name).filter(|value| !value.is_empty());
        variable("GITHUB_ACTIONS").filter(|value| value == "true")?;
        let link = || {
            let (server, repository) = (variable("GITHUB_SERVER_URL")?, variable("GITHUB_REPOSITORY")?);
            let run = variable("GITHUB_RUN_ID")?;
            Some(format!("{}/{repository}/actions/runs/{run}", server.trim_end_matches('/')))
        };
        Some(Self {
            summary: variable("GITHUB_STEP_SUMMARY").map(PathBuf::from),
            output: variable("GITHUB_OUTPUT").map(PathBuf::from),
            link: link(),
        })
    }

    /// Where people see this run.
    pub fn link(&self) -> Option<&str> {
        self.link.as_deref()
    }

    /// Appends the timeline to the job summary, and `tag`, `version`, `changed` (a JSON list of services) and `ok` to
    /// the step's outputs.
    ///
    /// # Errors
    /// When one of the files cannot be written.
    pub fn report(&self, timeline: &Timeline) -> Outcome<()> {
        if let Some(path) = &self.summary {
            append(path, &format!("{}\n", markdown::render(timeline)))
                .attempt(|| format!("writing the job summary to {}", path.display()))?;
        }
        if let Some(path) = &self.output {
            append(path, &outputs(timeline, rand::random()))
                .attempt(|| format!("writing the step's outputs to {}", path.display()))?;
        }
        Ok(())
    }
}

/// Reports the run's end to GitHub Actions, where it runs there; elsewhere does nothing. That it cannot is a warning:
/// it changes nothing about the release.
pub fn report(ui: &Ui, timeline: &Timeline) {
    if let Some(Err(failure)) = Actions::detect().map(|actions| actions.report(timeline)) {
        ui.warn(crate::ui::printable(&failure.to_string()));
    }
}

/// The lines for `$GITHUB_OUTPUT`. Values stand between delimiters that nobody can guess, so that no value can end
/// itself and begin another output.
fn outputs(timeline: &Timeline, noise: u128) -> String {
    let tag = timeline.tag.clone().unwrap_or_default();
    let version = tag.parse::<Tag>().map(|tag| tag.number()).unwrap_or_default();
    let changed = serde_json::to_string(&timeline.changed()).unwrap_or_else(|_| "[]".into());
    let ok = timeline.ending.as_ref().is_some_and(|ending| ending.ok).to_string();
    let output = |(name, value): (&str, &str)| {
        format!("{name}<<bowline-{noise:032x}\n{value}\nbowline-{noise:032x}\n")
    };
    [("tag", tag.as_str()), ("version", &version), ("changed", &changed), ("ok", &ok)].map(output).concat()
}

fn append(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

/// While this lives, the runner takes no commands from what is printed: not `::set-output …` at the beginning of a
/// line, nor `##[…]` anywhere in one. Titles, build output and service logs pass through our output, and a build's
/// dependencies may print what they like.
#[derive(Debug)]
pub struct Silence {
    token: String,
}

/// Begins the silence in GitHub Actions; `None` elsewhere.
pub fn silence() -> Option<Silence> {
    Actions::detect()?;
    let token = format!("bowline-{:032x}", rand::random::<u128>());
    say(&format!("::stop-commands::{token}"));
    Some(Silence { token })
}

impl Drop for Silence {
    fn drop(&mut self) {
        say(&format!("::{}::", self.token));
    }
}

/// The runner reads both streams; stdout is for data.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use bowline_core::event::{ServiceSummary, Summary};

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Option<Actions> {
        let find =
            |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Actions::read(find)
    }

    fn timeline() -> Timeline {
        let service = |changed| ServiceSummary { changed, digest: None, state: "healthy".into() };
        let services = [("chat\nx=y", true), ("rooms", false), ("user", true)];
        Timeline::of(&Summary {
            ok: true,
            tag: Some("v5.0.2-b321acf".into()),
            target: Some("box".into()),
            services: services.into_iter().map(|(name, changed)| (name.into(), service(changed))).collect(),
            phases: Vec::new(),
            seconds: 1.0,
            capacity: None,
        })
    }

    #[test]
    fn only_the_runner_makes_it_actions() {
        assert_eq!(environment(&[]), None);
        assert_eq!(environment(&[("GITHUB_ACTIONS", "false")]), None);
        assert_eq!(environment(&[("CI", "true"), ("GITHUB_OUTPUT", "/x")]), None);
        let bare = environment(&[("GITHUB_ACTIONS", "true"), ("GITHUB_OUTPUT", "")]).unwrap();
        assert_eq!(bare, Actions { summary: None, output: None, link: None });
        let full = environment(&[
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_SERVER_URL", "https://github.com/"),
            ("GITHUB_REPOSITORY", "team/chat"),
            ("GITHUB_RUN_ID", "42"),
        ]);
        assert_eq!(full.unwrap().link(), Some("https://github.com/team/chat/actions/runs/42"));
    }

    #[test]
    fn values_cannot_end_themselves() {
        let text = outputs(&timeline(), 7);
        let end = format!("bowline-{:032x}", 7);
        assert_eq!(
            text,
            format!(
                "tag<<{end}\nv5.0.2-b321acf\n{end}\nversion<<{end}\n5.0.2-b321acf\n{end}\n\
                 changed<<{end}\n[\"chat\\nx=y\",\"user\"]\n{end}\nok<<{end}\ntrue\n{end}\n"
            )
        );
    }

    #[test]
    fn a_run_without_a_release_has_empty_outputs() {
        let text = outputs(&Timeline::default(), 7);
        let end = format!("bowline-{:032x}", 7);
        assert!(text.starts_with(&format!("tag<<{end}\n\n{end}\nversion<<{end}\n\n{end}\n")), "{text}");
        assert!(text.ends_with(&format!("changed<<{end}\n[]\n{end}\nok<<{end}\nfalse\n{end}\n")), "{text}");
    }

    #[test]
    fn summary_and_outputs_are_appended_to_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("summary"), "# before\n").unwrap();
        let actions = Actions { summary: Some(path("summary")), output: Some(path("output")), link: None };
        actions.report(&timeline()).unwrap();
        let summary = std::fs::read_to_string(path("summary")).unwrap();
        assert!(summary.starts_with("# before\n### ✅ v5.0.2-b321acf on box\n"), "{summary}");
        assert!(std::fs::read_to_string(path("output")).unwrap().starts_with("tag<<bowline-"));
        let lost = Actions { summary: Some("/nowhere/x".into()), output: None, link: None };
        let failure = lost.report(&timeline()).unwrap_err();
        assert_eq!(failure.message, "writing the job summary to /nowhere/x");
    }
}
