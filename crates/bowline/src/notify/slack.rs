//! Slack's Web API and its incoming webhooks (docs.slack.dev: chat.postMessage, chat.update, "Incoming webhooks",
//! "Rate limits").

use std::time::Duration;

use bowline_core::title::excerpt;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header};
use serde::Deserialize;
use serde_json::json;

use crate::http::{self, BodyError};

/// An answer that is longer is not Slack's.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Where messages go.
pub(super) enum Place {
    /// Whoever has its URL can write to its channel: the URL is a secret.
    Webhook(Url),
    /// A bot, which can update what it wrote.
    Bot {
        /// The Web API, with a slash at its end.
        api: Url,
        /// The bot's token: a secret.
        token: String,
        /// A channel's name or id.
        channel: String,
    },
}

/// Why Slack did not take a message. None of them holds the webhook's URL or the token.
#[derive(Debug, thiserror::Error)]
pub(super) enum SlackError {
    #[error("the {0} is not an https:// URL")]
    Address(&'static str),
    #[error("sending the message")]
    Lost(#[source] reqwest::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("it asked to wait before the next message")]
    Busy(Option<Duration>),
    #[error("it refused the message: {0}")]
    Refused(String),
    #[error("its answer is not one of Slack's")]
    Strange,
}

impl SlackError {
    /// Whether a later try may help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Busy(_) => true,
            Self::Status(status) => status.is_server_error(),
            Self::Address(_) | Self::Refused(_) | Self::Strange => false,
        }
    }

    /// How long Slack asks to wait.
    pub(super) fn wait(&self) -> Option<Duration> {
        if let Self::Busy(wait) = self { *wait } else { None }
    }

    /// What to do next.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused(code) => match code.as_str() {
                "not_in_channel" => Some("invite the bot: /invite @bot in the channel"),
                "channel_not_found" => {
                    Some("is it the right channel, and is the bot in it if it is private?")
                }
                "is_archived" | "channel_is_archived" => Some("the channel is archived"),
                "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked" | "token_expired" => {
                    Some(
                        "the token is not valid, or no longer: install the app again and store its new token",
                    )
                }
                "missing_scope" => Some("the bot needs the scope chat:write"),
                "no_service" | "no_team" => Some("the webhook was removed"),
                _ => None,
            },
            Self::Status(StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE) => {
                Some("the webhook was removed, or its URL is incomplete")
            }
            _ => None,
        }
    }
}

/// What the Web API answers; everything else in it is not for us.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    error: Option<String>,
    channel: Option<String>,
    ts: Option<String>,
}

/// The message, once it was posted: chat.update wants the channel's id, not its name.
struct Posted {
    channel: String,
    ts: String,
}

/// One message in Slack.
pub(super) struct Slack {
    client: Client,
    place: Place,
    posted: Option<Posted>,
}

impl Place {
    pub(super) fn webhook(url: &str) -> Result<Self, SlackError> {
        address(url, "webhook").map(Self::Webhook)
    }

    pub(super) fn bot(api: &str, token: String, channel: String) -> Result<Self, SlackError> {
        let api = address(&format!("{}/", api.trim_end_matches('/')), "API's address")?;
        Ok(Self::Bot { api, token, channel })
    }
}

/// HTTPS only, except on the loopback: the secret travels with the request.
fn address(text: &str, what: &'static str) -> Result<Url, SlackError> {
    let url = Url::parse(text.trim()).map_err(|_| SlackError::Address(what))?;
    let local = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    let safe = url.scheme() == "https" || (url.scheme() == "http" && local);
    if safe { Ok(url) } else { Err(SlackError::Address(what)) }
}

impl Slack {
    pub(super) fn new(client: Client, place: Place) -> Self {
        Self { client, place, posted: None }
    }

    /// Whether a message can be changed after it was sent. Webhooks cannot: they get the last one only.
    pub(super) fn can_update(&self) -> bool {
        matches!(self.place, Place::Bot { .. })
    }

    /// Posts the message, or changes the one that was posted. One try.
    pub(super) async fn deliver(&mut self, text: &str) -> Result<(), SlackError> {
        let Some(request) = self.request(text) else { return Err(SlackError::Address("API's address")) };
        let response = request.send().await.map_err(|error| SlackError::Lost(error.without_url()))?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(SlackError::Busy(retry_after(&response)));
        }
        let wait = retry_after(&response);
        let body = http::body(response, LONGEST_ANSWER).await.map_err(|error| match error {
            BodyError::Broken(error) => SlackError::Lost(error),
            BodyError::TooLong { .. } => SlackError::Strange,
        })?;
        match &self.place {
            Place::Webhook(_) => webhook_answer(status, &body),
            Place::Bot { .. } if !status.is_success() => Err(SlackError::Status(status)),
            Place::Bot { .. } => {
                let answer: Answer = serde_json::from_slice(&body).map_err(|_| SlackError::Strange)?;
                self.posted = Some(self.accept(answer, wait)?);
                Ok(())
            }
        }
    }

    fn request(&self, text: &str) -> Option<RequestBuilder> {
        match (&self.place, &self.posted) {
            (Place::Webhook(url), _) => {
                let body = json!({ "text": text, "unfurl_links": false, "unfurl_media": false });
                Some(self.client.post(url.clone()).json(&body))
            }
            (Place::Bot { api, token, channel }, None) => {
                // Names and links in the text stay text: `parse` and `link_names` say so twice.
                let body = json!({
                    "channel": channel, "text": text, "parse": "none", "link_names": false,
                    "unfurl_links": false, "unfurl_media": false,
                });
                Some(self.client.post(api.join("chat.postMessage").ok()?).bearer_auth(token).json(&body))
            }
            (Place::Bot { api, token, .. }, Some(Posted { channel, ts })) => {
                let body = json!({ "channel": channel, "ts": ts, "text": text, "parse": "none", "link_names": false });
                Some(self.client.post(api.join("chat.update").ok()?).bearer_auth(token).json(&body))
            }
        }
    }

    fn accept(&self, answer: Answer, wait: Option<Duration>) -> Result<Posted, SlackError> {
        match (answer.ok, answer.error, answer.channel, answer.ts) {
            (true, _, Some(channel), Some(ts)) => Ok(Posted { channel, ts }),
            (true, ..) => Err(SlackError::Strange),
            (false, Some(code), ..) if matches!(code.as_str(), "ratelimited" | "rate_limited") => {
                Err(SlackError::Busy(wait))
            }
            (false, code, ..) => Err(SlackError::Refused(excerpt(&code.unwrap_or_default()))),
        }
    }
}

/// How long Slack asks to wait: `Retry-After`, which it always gives in seconds ("Rate limits").
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// Webhooks answer `ok`, or a status and a code as plain text.
fn webhook_answer(status: StatusCode, body: &[u8]) -> Result<(), SlackError> {
    if status.is_success() {
        return Ok(());
    }
    let code = excerpt(&String::from_utf8_lossy(body));
    let is_code = !code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    Err(if is_code && !status.is_server_error() {
        SlackError::Refused(code)
    } else {
        SlackError::Status(status)
    })
}
