//! One run from its first event to its last: recorded, told to people and to whoever waits in a pipeline.

use bowline_core::event::{EventKind, Summary};
use bowline_core::timeline::{self, Timeline};

use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::forge;
use crate::notify::Notifier;
use crate::record::Recorder;
use crate::ui::width;

/// Runs the work as a recorded run, and tells its end: the summary as the last line of `--json`, the job summary and
/// outputs in GitHub Actions, the message in Slack.
///
/// # Errors
/// What the work returns.
pub async fn record(
    context: &Context,
    config: &Config,
    verb: &str,
    target: Option<&str>,
    work: impl AsyncFnOnce(&Recorder) -> Outcome<Summary>,
) -> Outcome<Summary> {
    let recorder = Recorder::start(&context.ui)?;
    let link = forge::Actions::detect().and_then(|actions| actions.link().map(str::to_owned));
    let notifier = Notifier::start(&context.ui, config, link);
    recorder.emit(EventKind::RunStarted { verb: verb.into(), target: target.map(str::to_owned) });
    let outcome = {
        let telling = async {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                notifier.update(&recorder.timeline());
            }
        };
        tokio::select! {
            outcome = work(&recorder) => outcome,
            never = telling => never,
        }
    };
    match &outcome {
        Ok(summary) => recorder.emit(EventKind::RunFinished { summary: summary.clone() }),
        Err(failure) => recorder.fail(&failure.to_string()),
    }
    let timeline = recorder.timeline();
    show(context, &timeline);
    forge::report(&context.ui, &timeline);
    notifier.finish(&timeline).await;
    if let Ok(summary) = &outcome
        && context.ui.json
    {
        context.ui.data(summary);
    }
    outcome
}

/// The whole run at a glance, for somebody who watched it. Of two phases there is nothing to see.
fn show(context: &Context, timeline: &Timeline) {
    if context.ui.live() && !context.ui.json && timeline.stretches.len() > 2 {
        let mut timeline = timeline.clone();
        // What came of each phase was said when it ended; here the room is for the bars.
        timeline.stretches.iter_mut().for_each(|stretch| stretch.note.clear());
        let columns = width::of_stderr().unwrap_or(80);
        context.ui.say(format_args!("\n{}\n", timeline::text::render(&timeline, columns).trim_end()));
    }
}
