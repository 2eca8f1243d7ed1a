//! What Slack is told, as its own markup (docs.slack.dev, "Formatting message text"). Pure.

use std::fmt::Write as _;

use bowline_core::event::Phase;
use bowline_core::timeline::{Ending, Stretch, Timeline, elapsed, size};
use bowline_core::title::excerpt;

/// How many services, causes and phases are named; a message is for a glance.
const NAMED: usize = 12;

/// The message for this state of a run; `None` while there is nothing worth telling: no release is known yet, or there
/// was none to make.
pub fn render(project: &str, timeline: &Timeline, link: Option<&str>) -> Option<String> {
    let failed = timeline.ending.as_ref().is_some_and(|ending| !ending.ok);
    if timeline.tag.is_none() && !failed {
        return None;
    }
    let mut text = headline(project, timeline);
    text.push_str(&phases(timeline));
    text.push_str(&changed(timeline));
    if failed {
        text.push_str(&causes(timeline));
    }
    if let Some(link) = link.filter(|link| link.starts_with("https://") || link.starts_with("http://")) {
        let _ = write!(text, "\n<{}|Open the run>", escape(link).replace('|', "%7C"));
    }
    Some(text)
}

fn headline(project: &str, timeline: &Timeline) -> String {
    let project = escape(project);
    let tag = timeline.tag.as_deref().map(|tag| format!(" `{}`", plain(tag))).unwrap_or_default();
    let target = timeline.target.as_deref().map(|target| format!("*{}*", plain(target)));
    let seconds = |ending: &Ending| elapsed(ending.seconds);
    match (&timeline.ending, target) {
        (Some(ending), Some(target)) if ending.ok => {
            format!(":white_check_mark: *{project}*{tag} runs on {target} ({})", seconds(ending))
        }
        (Some(ending), None) if ending.ok => {
            format!(":white_check_mark: *{project}*{tag} is released ({})", seconds(ending))
        }
        (Some(ending), target) => {
            let target = target.map(|target| format!(" on {target}")).unwrap_or_default();
            let phase =
                timeline.current().map(|stretch| format!(" in {}", stretch.phase)).unwrap_or_default();
            format!(":x: *{project}*{tag}{target} failed{phase} after {}", seconds(ending))
        }
        (None, target) => {
            let target = target.map(|target| format!(" to {target}")).unwrap_or_default();
            let phase =
                timeline.current().map(|stretch| format!(": {} …", stretch.phase)).unwrap_or_default();
            format!(":hourglass_flowing_sand: *{project}*{tag}{target}{phase}")
        }
    }
}

fn phases(timeline: &Timeline) -> String {
    let done = |stretch: &Stretch| {
        let network = if stretch.bytes == 0 { String::new() } else { format!(" ({})", size(stretch.bytes)) };
        stretch.seconds.map(|seconds| format!("{} {}{network}", stretch.phase, elapsed(seconds)))
    };
    let done: Vec<String> = timeline.stretches.iter().filter_map(done).take(NAMED).collect();
    if done.is_empty() { String::new() } else { format!("\n{}", done.join(" · ")) }
}

fn changed(timeline: &Timeline) -> String {
    let changed = timeline.changed();
    if timeline.services.is_empty() {
        return String::new();
    }
    if changed.is_empty() {
        return "\nno service changed".into();
    }
    let mut names: Vec<String> =
        changed.iter().take(NAMED).map(|name| format!("`{}`", plain(name))).collect();
    if changed.len() > NAMED {
        names.push(format!("and {} more", changed.len() - NAMED));
    }
    format!("\nchanged: {} (of {})", names.join(", "), timeline.services.len())
}

/// Why it failed. Logs stay out of chat: they may hold anything.
fn causes(timeline: &Timeline) -> String {
    let mut text = String::new();
    if let Some(failure) = timeline.ending.as_ref().and_then(|ending| ending.failure.as_ref()) {
        let _ = write!(text, "\n> {}", escape(failure));
    }
    for evidence in timeline.evidence.iter().take(NAMED) {
        let whose =
            evidence.service.as_deref().map(|name| format!("`{}`: ", plain(name))).unwrap_or_default();
        let _ = write!(text, "\n> {whose}{}", escape(&evidence.cause));
        if let Some(code) = evidence.exit_code {
            let _ = write!(text, " (exit code {code})");
        }
        if evidence.oom_killed {
            text.push_str(" (killed for want of memory)");
        }
    }
    let back = |stretch: &Stretch| stretch.phase == Phase::Rollback && stretch.seconds.is_some();
    if timeline.stretches.iter().any(back) {
        text.push_str("\nWhat ran before was put back.");
    }
    text
}

/// Text that means nothing to Slack: no mention, no link, no channel; short and on one line.
pub fn escape(text: &str) -> String {
    excerpt(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A name between marks, which it must not end.
fn plain(text: &str) -> String {
    escape(text).replace(['`', '*'], "'")
}

#[cfg(test)]
mod tests {
    use bowline_core::event::{PhaseSummary, ServiceSummary, Summary};
    use bowline_core::timeline::Evidence;

    use super::*;

    fn summary() -> Summary {
        let service = |changed| ServiceSummary { changed, digest: None, state: "healthy".into() };
        let phase = |name, seconds, bytes| PhaseSummary { name, seconds, bytes };
        Summary {
            ok: true,
            tag: Some("v5.0.2-b321acf".into()),
            target: Some("box".into()),
            services: [("rooms", false), ("user", true)]
                .map(|(name, changed)| (name.into(), service(changed)))
                .into(),
            phases: vec![phase(Phase::Build, 31.0, 0), phase(Phase::Push, 8.5, 82_400_000)],
            seconds: 72.4,
            capacity: None,
        }
    }

    fn running(phase: Phase) -> Timeline {
        let mut timeline = Timeline::of(&summary());
        let stretch = Stretch { phase, start: 40.0, seconds: None, bytes: 0, note: String::new() };
        timeline.stretches.push(stretch);
        timeline.ending = None;
        timeline
    }

    #[test]
    fn a_release_that_runs_and_one_that_is_done() {
        assert_eq!(
            render("chat", &running(Phase::Rollout), None).unwrap(),
            ":hourglass_flowing_sand: *chat* `v5.0.2-b321acf` to *box*: rollout …\n\
             build 31.0 s · push 8.5 s (82.4 MB)\nchanged: `user` (of 2)"
        );
        assert_eq!(
            render("chat", &Timeline::of(&summary()), Some("https://github.com/t/c/actions/runs/42"))
                .unwrap(),
            ":white_check_mark: *chat* `v5.0.2-b321acf` runs on *box* (1 m 12 s)\n\
             build 31.0 s · push 8.5 s (82.4 MB)\nchanged: `user` (of 2)\n\
             <https://github.com/t/c/actions/runs/42|Open the run>"
        );
        let released = Timeline::of(&Summary { target: None, ..summary() });
        assert!(render("chat", &released, None).unwrap().contains("` is released (1 m 12 s)"));
    }

    #[test]
    fn a_failure_says_where_and_why_and_what_stands_now() {
        let mut timeline = running(Phase::Rollout);
        timeline.evidence.push(Evidence {
            service: Some("user".into()),
            cause: "exited <!channel> & more".into(),
            exit_code: Some(137),
            oom_killed: true,
            log: vec!["password=hunter2".into()],
        });
        let back = Stretch {
            phase: Phase::Rollback,
            start: 60.0,
            seconds: Some(3.0),
            bytes: 0,
            note: String::new(),
        };
        timeline.stretches.push(back);
        timeline.fail("user never became healthy", 63.0);
        assert_eq!(
            render("chat", &timeline, None).unwrap(),
            ":x: *chat* `v5.0.2-b321acf` on *box* failed in rollout after 1 m 03 s\n\
             build 31.0 s · push 8.5 s (82.4 MB) · rollback 3.0 s\nchanged: `user` (of 2)\n\
             > user never became healthy\n\
             > `user`: exited &lt;!channel&gt; &amp; more (exit code 137) (killed for want of memory)\n\
             What ran before was put back."
        );
    }

    #[test]
    fn nothing_is_told_before_there_is_something_to_tell() {
        assert_eq!(render("chat", &Timeline::default(), None), None);
        let mut failed = Timeline::default();
        failed.fail("the remote cannot be reached", 2.0);
        assert!(render("chat", &failed, None).unwrap().starts_with(":x: *chat* failed after 2.0 s"));
    }

    #[test]
    fn nobody_is_called_and_nothing_is_linked() {
        let mut timeline = running(Phase::Build);
        timeline.tag = Some("`<!here>` *x*".into());
        timeline.target = Some("<@U123> <https://evil|x>\n> quote".into());
        timeline.fail("<!channel> <!subteam^S1> \u{1b}[31m\u{202e}".repeat(1000), 1.0);
        let text = render("<!everyone>", &timeline, Some("javascript:x")).unwrap();
        assert!(!text.contains('<') && !text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        assert!(text.len() < 1000, "{text}");
    }
}
