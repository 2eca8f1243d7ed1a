use super::*;
use crate::capacity::comparison::{Change, Comparison};
use crate::event::{FORMAT, PhaseSummary, RunId};

fn at(seconds: f64) -> Timestamp {
    let begin: Timestamp = "2026-11-22T10:15:00Z".parse().unwrap();
    begin + jiff::SignedDuration::from_secs_f64(seconds)
}

/// Events at these seconds after the run's start.
fn run(kinds: Vec<(f64, EventKind)>) -> Timeline {
    let event = |(index, (seconds, kind)): (usize, (f64, EventKind))| Event {
        v: FORMAT,
        run: RunId::new(at(0.0), 1),
        seq: index as u64 + 1,
        at: at(seconds),
        kind,
    };
    let events: Vec<Event> = kinds.into_iter().enumerate().map(event).collect();
    Timeline::fold(&events)
}

fn finished(phase: Phase, seconds: f64, bytes: u64, note: &str) -> EventKind {
    EventKind::PhaseFinished { phase, seconds, bytes, note: note.into() }
}

fn ready(service: &str, changed: bool) -> EventKind {
    let (service, digest, how) = (service.into(), format!("sha256:{}", "ab".repeat(32)), "assembled".into());
    EventKind::ImageReady { service, digest, how, changed }
}

fn shipped() -> Vec<(f64, EventKind)> {
    let tag = || "v5.0.2-b321acf".to_owned();
    let service = |changed, state: &str| ServiceSummary {
        changed,
        digest: Some(format!("sha256:{}", "ab".repeat(32))),
        state: state.into(),
    };
    let summary = Summary {
        ok: true,
        tag: Some(tag()),
        target: Some("box".into()),
        services: BTreeMap::from([
            ("rooms".into(), service(false, "unchanged")),
            ("user".into(), service(true, "healthy")),
        ]),
        phases: vec![PhaseSummary { name: Phase::Build, seconds: 31.0, bytes: 0 }],
        seconds: 72.4,
        capacity: Some(Comparison {
            samples: (240, 12),
            seen: (3_600_000, 180_000),
            changes: vec![
                Change { service: None, cpu: (Some(810), Some(640)), memory: (Some(3 << 30), Some(2 << 30)) },
                Change {
                    service: Some("user".into()),
                    cpu: (Some(120), None),
                    memory: (Some(512 << 20), None),
                },
            ],
        }),
    };
    vec![
        (0.0, EventKind::RunStarted { verb: "ship".into(), target: Some("box".into()) }),
        (0.0, EventKind::PhaseStarted { phase: Phase::Version }),
        (0.3, finished(Phase::Version, 0.3, 0, "v5.0.2-b321acf, a patch")),
        (0.3, EventKind::Tagged { tag: tag(), reused: false }),
        (0.4, EventKind::PhaseStarted { phase: Phase::Build }),
        (31.4, finished(Phase::Build, 31.0, 0, "1 of 2 services")),
        (31.5, ready("user", true)),
        (31.5, ready("rooms", false)),
        (31.5, EventKind::PhaseStarted { phase: Phase::Push }),
        (40.0, finished(Phase::Push, 8.5, 82_400_000, "")),
        (40.0, EventKind::PhaseStarted { phase: Phase::Rollout }),
        (72.4, finished(Phase::Rollout, 32.4, 0, "1 replaced, healthy")),
        (72.4, EventKind::RunFinished { summary }),
    ]
}

fn failing() -> Timeline {
    let mut kinds = shipped();
    kinds.truncate(11);
    kinds.push((
        50.0,
        EventKind::Evidence {
            service: Some("user".into()),
            cause: "exited with 137 <!channel> | [x](http://evil)".into(),
            exit_code: Some(137),
            oom_killed: true,
            log: vec!["```".into(), "</details><script>".into(), "\u{1b}[31mred".into()],
        },
    ));
    kinds.push((50.1, EventKind::Warning { text: "the disk is 91 % full".into() }));
    let mut timeline = run(kinds);
    timeline.fail("deploying v5.0.2-b321acf to box: user never became healthy", 51.0);
    timeline
}

#[test]
fn events_fold_into_stretches_services_and_an_ending() {
    let timeline = run(shipped());
    assert_eq!(timeline.subject(), "v5.0.2-b321acf on box");
    assert_eq!(timeline.changed(), ["user"]);
    assert_eq!(timeline.bytes(), 82_400_000);
    assert_eq!(timeline.stretches.len(), 4);
    assert_eq!(timeline.stretches[1].start, 0.4);
    assert_eq!(timeline.current(), None);
    assert_eq!(timeline.ending, Some(Ending { ok: true, failure: None, seconds: 72.4 }));
}

#[test]
fn a_phase_that_did_not_end_is_where_it_failed() {
    let timeline = failing();
    assert_eq!(timeline.current().unwrap().phase, Phase::Rollout);
    assert!(!timeline.ending.unwrap().ok);
}

#[test]
fn what_was_put_back_is_not_told_as_the_release() {
    let mut kinds = shipped();
    kinds.truncate(11);
    let health = |state: &str| EventKind::Health {
        service: "user".into(),
        state: state.into(),
        reason: String::new(),
    };
    kinds.push((45.0, health("failed")));
    let timeline = run(kinds.clone());
    assert_eq!(timeline.services["user"].state, "failed");
    assert!(timeline.services["user"].digest.is_some());
    kinds.push((46.0, EventKind::PhaseStarted { phase: Phase::Rollback }));
    kinds.push((47.0, health("starting")));
    assert_eq!(run(kinds.clone()).services["user"].state, "being put back");
    kinds.push((48.0, health("ready")));
    let user = &run(kinds).services["user"];
    assert_eq!((user.state.as_str(), user.digest.as_ref()), ("put back", None));
}

#[test]
fn a_phase_whose_beginning_was_not_told_still_has_its_place() {
    let timeline = run(vec![
        (0.0, EventKind::RunStarted { verb: "deploy".into(), target: None }),
        (9.0, finished(Phase::Pull, 4.0, 10, "")),
    ]);
    assert_eq!((timeline.stretches[0].start, timeline.stretches[0].seconds), (5.0, Some(4.0)));
}

#[test]
fn a_summary_alone_makes_a_timeline_too() {
    let Some((_, EventKind::RunFinished { summary })) = shipped().pop() else { panic!("the last event") };
    let timeline = Timeline::of(&summary);
    assert_eq!((timeline.stretches.len(), timeline.changed()), (1, vec!["user"]));
}

#[test]
fn a_release_that_went_well_as_markdown() {
    insta::assert_snapshot!(markdown::render(&run(shipped())));
}

#[test]
fn a_release_that_failed_as_markdown() {
    insta::assert_snapshot!(markdown::render(&failing()));
}

#[test]
fn a_release_as_text_in_80_columns() {
    let text = text::render(&run(shipped()), 80);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_failed_release_as_text_in_40_columns() {
    let text = text::render(&failing(), 40);
    assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn what_strangers_wrote_begins_nothing_in_markdown() {
    for hostile in [
        "<!-- x",
        "<b>",
        "a | b",
        "[x](y)",
        "![x](y)",
        "`x`",
        "*x*",
        "# x",
        "@channel",
        "http://x",
        "a\nb",
        "&lt;",
        "\\|",
        "$x$",
        "\u{202e}x",
        "\u{1b}[31m",
    ] {
        let safe = markdown::escape(hostile);
        let bad = |c: char| "<>|[]()`*#@:\n$\u{202e}\u{1b}\\".contains(c);
        // Entities themselves have `&`, `#` and `;`; and a newline is shown as an entity and a letter.
        let bare: String = safe.split(';').map(|part| part.split("&#").next().unwrap_or("")).collect();
        assert!(!bare.chars().any(bad), "{hostile:?} became {safe:?}");
    }
}

#[test]
fn a_huge_log_makes_no_huge_summary() {
    let mut timeline = failing();
    timeline.evidence[0].log = vec!["é".repeat(1_000_000); 200];
    timeline.warnings = vec!["w".repeat(10_000); 10_000];
    assert!(markdown::render(&timeline).len() < 600 * 1024);
}

#[test]
fn durations_and_sizes_read_well_at_their_edges() {
    for (seconds, text) in [
        (-1.0, "0 ms"),
        (0.34, "340 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.97, "1 m 00 s"),
        (72.4, "1 m 12 s"),
        (119.8, "2 m 00 s"),
        (3_725.0, "1 h 02 m"),
    ] {
        assert_eq!(elapsed(seconds), text);
    }
    for (bytes, text) in
        [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (82_400_000, "82.4 MB"), (999_999, "999.9 kB")]
    {
        assert_eq!(size(bytes), text);
    }
    assert_eq!(size(u64::MAX), "18446744.0 TB");
}
