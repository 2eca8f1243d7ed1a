//! Telling Slack, against a server that answers as docs.slack.dev says Slack does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bowline::config::Config;
use bowline::notify::Notifier;
use bowline::ui::Ui;
use bowline_core::event::{Phase, PhaseSummary, ServiceSummary, Summary};
use bowline_core::timeline::{Stretch, Timeline};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const TOKEN: &str = "xoxb-1-not-a-token";

/// One request that came in.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    authorization: Option<String>,
    pub(crate) body: Value,
    at: Instant,
}

/// Slack, as far as a bot or a webhook sees it. Answers that were put on the list come first.
#[derive(Clone, Default)]
pub(crate) struct Workspace {
    calls: Arc<Mutex<Vec<Call>>>,
    answers: Arc<Mutex<VecDeque<Response>>>,
}

impl Workspace {
    /// Starts it on the loopback; gives its root.
    pub(crate) async fn start(&self) -> String {
        let router = Router::new().fallback(answer).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn then(&self, answer: impl IntoResponse) -> &Self {
        self.answers.lock().unwrap().push_back(answer.into_response());
        self
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    async fn wait_for(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.calls().len() < count && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(self.calls().len() >= count, "{:#?}", self.calls());
    }
}

async fn answer(State(slack): State<Workspace>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(text("content-type").as_deref(), Some("application/json"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    let call = Call {
        path: uri.path().into(),
        authorization: text("authorization"),
        body: body.clone(),
        at: Instant::now(),
    };
    slack.calls.lock().unwrap().push(call);
    if let Some(answer) = slack.answers.lock().unwrap().pop_front() {
        return answer;
    }
    let json = |value: Value| value.to_string().into_response();
    match uri.path() {
        "/services/T1/B1/not-a-secret" => "ok".into_response(),
        _ if text("authorization").as_deref() != Some(&format!("Bearer {TOKEN}")) => {
            json(json!({ "ok": false, "error": "invalid_auth" }))
        }
        // The channel is named by the bot; its id comes back, and updates need it.
        "/api/chat.postMessage" if body["channel"] == "#ship" => json(json!({
            "ok": true, "channel": "C024BE91L", "ts": "1764000000.000100", "message": { "text": body["text"] },
        })),
        "/api/chat.update" if body["channel"] == "C024BE91L" && body["ts"] == "1764000000.000100" => {
            json(json!({
                "ok": true, "channel": "C024BE91L", "ts": "1764000000.000100", "text": body["text"],
            }))
        }
        "/api/chat.update" => json(json!({ "ok": false, "error": "message_not_found" })),
        _ => json(json!({ "ok": false, "error": "channel_not_found" })),
    }
}

/// A configuration whose secret is in a file beside it.
fn config(slack: &str, secret: &str) -> (TempDir, Config) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), format!("{secret}\n")).unwrap();
    let text = format!("[project]\nname = \"chat\"\n\n[notify]\nslack = {{ {slack} }}\n");
    let config = Config::parse(&text, directory.path()).unwrap_or_else(|failure| panic!("{failure:?}"));
    (directory, config)
}

fn bot() -> (TempDir, Config) {
    config("token = \"file:secret\", channel = \"#ship\"", TOKEN)
}

fn done() -> Timeline {
    let user = ServiceSummary { changed: true, digest: None, state: "healthy".into() };
    Timeline::of(&Summary {
        ok: true,
        tag: Some("v5.0.2-b321acf".into()),
        target: Some("box".into()),
        services: [("user".to_owned(), user)].into(),
        phases: vec![PhaseSummary { name: Phase::Build, seconds: 31.0, bytes: 0 }],
        seconds: 72.4,
        capacity: None,
    })
}

fn running(phase: Phase) -> Timeline {
    let mut timeline = done();
    timeline.ending = None;
    timeline.stretches.push(Stretch { phase, start: 31.0, seconds: None, bytes: 0, note: String::new() });
    timeline
}

fn quiet() -> Ui {
    Ui::new(false, true)
}

#[tokio::test]
async fn a_bot_posts_one_message_and_updates_it() {
    let slack = Workspace::default();
    let root = slack.start().await;
    let (_directory, config) = bot();
    let link = Some("https://github.com/t/c/actions/runs/42".to_owned());
    let notifier = Notifier::start_at(&format!("{root}/api"), &quiet(), &config, link);
    notifier.update(&Timeline::default());
    notifier.update(&running(Phase::Push));
    slack.wait_for(1).await;
    // What comes too quickly is left out: only the newest of these is told.
    for phase in [Phase::Commit, Phase::Plan, Phase::Pull, Phase::Rollout] {
        notifier.update(&running(phase));
    }
    slack.wait_for(2).await;
    notifier.finish(&done()).await;

    let calls = slack.calls();
    let paths: Vec<&str> = calls.iter().map(|call| call.path.as_str()).collect();
    assert_eq!(paths, ["/api/chat.postMessage", "/api/chat.update", "/api/chat.update"]);
    let texts: Vec<&str> = calls.iter().map(|call| call.body["text"].as_str().unwrap()).collect();
    assert!(texts[0].contains("push …") && texts[1].contains("rollout …"), "{texts:#?}");
    assert!(texts[2].starts_with(":white_check_mark: *chat* `v5.0.2-b321acf` runs on *box*"), "{texts:#?}");
    assert!(texts[2].ends_with("<https://github.com/t/c/actions/runs/42|Open the run>"), "{texts:#?}");
    assert!(calls.iter().all(|call| call.body["parse"] == "none" && call.body["link_names"] == false));
    // Slack takes one message a second.
    assert!(calls.windows(2).all(|pair| pair[1].at - pair[0].at >= Duration::from_secs(1)));
}

#[tokio::test]
async fn a_webhook_gets_the_last_message_only() {
    let slack = Workspace::default();
    let root = slack.start().await;
    let (_directory, config) =
        config("url = \"file:secret\"", &format!("{root}/services/T1/B1/not-a-secret"));
    let notifier = Notifier::start_at("http://127.0.0.1:1/", &quiet(), &config, None);
    notifier.update(&running(Phase::Push));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(slack.calls().is_empty());
    notifier.finish(&done()).await;
    let calls = slack.calls();
    assert_eq!((calls.len(), calls[0].authorization.clone()), (1, None));
    assert!(calls[0].body["text"].as_str().unwrap().contains("runs on *box*"));
}

#[tokio::test]
async fn a_limit_is_waited_for_as_long_as_slack_says() {
    for limited in [
        (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "2")], "").into_response(),
        ([("retry-after", "2")], json!({ "ok": false, "error": "ratelimited" }).to_string()).into_response(),
    ] {
        let slack = Workspace::default();
        slack.then(limited);
        let root = slack.start().await;
        let (_directory, config) = bot();
        Notifier::start_at(&format!("{root}/api/"), &quiet(), &config, None).finish(&done()).await;
        let calls = slack.calls();
        assert_eq!(calls.len(), 2, "{calls:#?}");
        assert!(calls[1].at - calls[0].at >= Duration::from_secs(2));
        assert_eq!(calls[1].path, "/api/chat.postMessage");
    }
}

#[tokio::test]
async fn a_server_that_stumbles_is_asked_again() {
    let slack = Workspace::default();
    slack.then(StatusCode::SERVICE_UNAVAILABLE).then(StatusCode::INTERNAL_SERVER_ERROR);
    let root = slack.start().await;
    let (_directory, config) = bot();
    Notifier::start_at(&format!("{root}/api/"), &quiet(), &config, None).finish(&done()).await;
    assert_eq!(slack.calls().len(), 3);
}

#[tokio::test]
async fn a_refusal_is_final_and_harms_nothing() {
    let slack = Workspace::default();
    let root = slack.start().await;
    let (_directory, config) = config("token = \"file:secret\", channel = \"#other\"", TOKEN);
    let notifier = Notifier::start_at(&format!("{root}/api/"), &quiet(), &config, None);
    notifier.update(&running(Phase::Push));
    slack.wait_for(1).await;
    let begun = Instant::now();
    notifier.finish(&done()).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(slack.calls().len(), 1);
}

#[tokio::test]
async fn answers_that_are_not_slacks_harm_nothing() {
    for answer in ["", "[]", "{\"ok\": true}", "{\"ok\": \"yes\"}"] {
        let slack = Workspace::default();
        slack.then(answer.to_owned());
        let root = slack.start().await;
        let (_directory, config) = bot();
        Notifier::start_at(&format!("{root}/api/"), &quiet(), &config, None).finish(&done()).await;
        assert_eq!(slack.calls().len(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_run_that_released_nothing_is_not_told() {
    let slack = Workspace::default();
    let root = slack.start().await;
    let (_directory, config) = bot();
    let nothing = Timeline::of(&Summary {
        ok: true,
        tag: None,
        target: None,
        services: [].into(),
        phases: Vec::new(),
        seconds: 0.4,
        capacity: None,
    });
    Notifier::start_at(&format!("{root}/api/"), &quiet(), &config, None).finish(&nothing).await;
    assert!(slack.calls().is_empty());
}

#[tokio::test]
async fn without_a_secret_or_over_plain_http_nothing_is_sent() {
    let slack = Workspace::default();
    let root = slack.start().await;
    for (place, secret) in [
        ("token = \"env:BOWLINE_TEST_NO_SUCH_VARIABLE\", channel = \"#ship\"", TOKEN),
        ("url = \"file:secret\"", "http://203.0.113.10/services/T1/B1/not-a-secret"),
        ("url = \"file:secret\"", "not a url"),
    ] {
        let (_directory, config) = config(place, secret);
        let begun = Instant::now();
        Notifier::start_at(&format!("{root}/api/"), &quiet(), &config, None).finish(&done()).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{place}");
    }
    assert!(slack.calls().is_empty());
}
