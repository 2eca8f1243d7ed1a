//! Telling people: one message in Slack for each release, updated while it goes on. That nobody could be told never
//! fails a release; it is a warning at the end.

pub mod message;
mod slack;

use std::path::Path;
use std::time::Duration;

use bowline_core::timeline::Timeline;
use rand::RngExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::config::{self, Config};
use crate::error::Outcome;
use crate::http;
use crate::ui::{Ui, printable};
use slack::{Place, Slack, SlackError};

/// Slack takes about one message a second for a channel, and fifty updates a minute.
const PAUSE: Duration = Duration::from_millis(1250);
/// How long the end of a run waits for its last message.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest wait between two tries when Slack does not say how long to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// Tells Slack about one run. Without a configuration, or when the secret is missing, it does nothing.
pub struct Notifier {
    ui: Ui,
    project: String,
    link: Option<String>,
    line: Option<Line>,
}

/// The way to the task that talks to Slack. It always sends the newest draft; what came between two is skipped.
struct Line {
    drafts: watch::Sender<Draft>,
    task: JoinHandle<Result<(), SlackError>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Draft {
    text: Option<String>,
    /// Whether it is the last one.
    last: bool,
}

impl Notifier {
    /// Reads the secret and starts the task. `link` leads to the run, where it has a page. Slack is reached at
    /// `$SLACK_API_URL` where that is set (GovSlack has its own), else at <https://slack.com/api/>.
    ///
    /// Needs a tokio runtime. That it cannot tell anybody is a warning.
    pub fn start(ui: &Ui, config: &Config, link: Option<String>) -> Self {
        let api = std::env::var("SLACK_API_URL").ok().filter(|url| !url.is_empty());
        Self::start_at(api.as_deref().unwrap_or("https://slack.com/api/"), ui, config, link)
    }

    /// As [`Notifier::start`], with Slack's Web API at this URL.
    pub fn start_at(api: &str, ui: &Ui, config: &Config, link: Option<String>) -> Self {
        let connect = |slack: &config::Slack| connect(api, slack, &config.directory);
        let line = match config.slack.as_ref().map(connect) {
            Some(Ok(slack)) => {
                let (drafts, receiver) = watch::channel(Draft::default());
                Some(Line { drafts, task: tokio::spawn(tell(slack, receiver)) })
            }
            Some(Err(failure)) => {
                ui.warn(format_args!("nobody is told in Slack: {}", printable(&failure.to_string())));
                None
            }
            None => None,
        };
        Self { ui: ui.clone(), project: config.project.clone(), link, line }
    }

    /// Gives the newest state of the run. Returns at once.
    pub fn update(&self, timeline: &Timeline) {
        if let Some(line) = &self.line {
            line.drafts.send_if_modified(|draft| {
                let text = message::render(&self.project, timeline, self.link.as_deref());
                let new = draft.text != text;
                draft.text = text;
                new
            });
        }
    }

    /// Gives the final state and waits until Slack has it, at most half a minute.
    pub async fn finish(mut self, timeline: &Timeline) {
        let Some(mut line) = self.line.take() else { return };
        let text = message::render(&self.project, timeline, self.link.as_deref());
        line.drafts.send_replace(Draft { text, last: true });
        let trouble = match timeout(PATIENCE, &mut line.task).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => {
                let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                let failure = crate::error::Failure::failed("telling Slack").because(&error);
                format!("{failure}{hint}")
            }
            Ok(Err(_)) => "telling Slack: it was interrupted".to_owned(),
            Err(_) => {
                line.task.abort();
                format!("telling Slack: it did not take the message within {} s", PATIENCE.as_secs())
            }
        };
        self.ui.warn(printable(&trouble));
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.task.abort();
        }
    }
}

fn connect(api: &str, slack: &config::Slack, directory: &Path) -> Outcome<Slack> {
    let place = match slack {
        config::Slack::Webhook { url } => Place::webhook(&url.read(directory)?),
        config::Slack::Bot { token, channel } => Place::bot(api, token.read(directory)?, channel.clone()),
    };
    let place =
        place.map_err(|error| crate::error::Failure::invalid("reading where Slack is").because(&error))?;
    Ok(Slack::new(http::client()?, place))
}

/// Sends the newest draft whenever it differs from what Slack has, until the last one is there.
async fn tell(mut slack: Slack, mut drafts: watch::Receiver<Draft>) -> Result<(), SlackError> {
    let mut sent = None;
    let mut tries = 0;
    let mut next = Instant::now();
    loop {
        // The pause comes before the draft is taken, so that what is sent is the newest.
        sleep(next.saturating_duration_since(Instant::now())).await;
        let draft = drafts.borrow_and_update().clone();
        let fresh = draft.text.is_some() && draft.text != sent && (draft.last || slack.can_update());
        if let (true, Some(text)) = (fresh, &draft.text) {
            match slack.deliver(text).await {
                Ok(()) => {
                    sent.clone_from(&draft.text);
                    tries = 0;
                    next = Instant::now() + PAUSE;
                }
                Err(error) if error.is_passing() => {
                    next = Instant::now() + error.wait().unwrap_or_else(|| backoff(tries));
                    tries += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        if draft.last {
            return Ok(());
        }
        if drafts.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Full jitter: any time up to a limit that doubles.
fn backoff(tries: u32) -> Duration {
    let limit = Duration::from_millis(500).saturating_mul(1 << tries.min(10)).min(LONGEST_WAIT);
    limit.mul_f64(rand::rng().random_range(0.1..=1.0))
}
