//! Build commands as they are run: output, failures, and what is left of them when they are stopped.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bowline::build::output::Prefix;
use bowline::build::process::{Job, execute};
use bowline::error::Outcome;
use bowline::ui::Ui;

fn job(directory: &Path, script: &str) -> Job {
    Job {
        subject: "user".into(),
        prefix: Prefix::new("user", 0, 4),
        words: vec!["sh".into(), "-c".into(), script.into()],
        directory: directory.to_owned(),
        environment: vec![("BOWLINE_TAG".into(), "v1.0.0-abc1234".into())],
        log: directory.join("logs/run/user.log"),
        timeout: None,
    }
}

fn run(job: &Job) -> Outcome<()> {
    tokio::runtime::Runtime::new().unwrap().block_on(execute(&Ui::new(false, true), job))
}

fn log(job: &Job) -> String {
    std::fs::read_to_string(&job.log).unwrap()
}

/// Whether the process whose id a build wrote into this file is there.
fn lives(pid: &Path) -> bool {
    let pid = std::fs::read_to_string(pid).unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn both_channels_are_kept_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let job = job(
        directory.path(),
        "for i in 1 2 3; do echo out $i; echo err $i >&2; done; echo $BOWLINE_TAG; pwd",
    );
    run(&job).unwrap();
    let place = directory.path().canonicalize().unwrap();
    assert_eq!(
        log(&job),
        format!("out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\nv1.0.0-abc1234\n{}\n", place.display())
    );
}

#[test]
fn a_failure_shows_code_last_lines_and_log() {
    let directory = tempfile::tempdir().unwrap();
    let job = job(directory.path(), "seq 1 30; echo no such symbol >&2; exit 3");
    let failure = run(&job).unwrap_err();
    assert_eq!(failure.kind.code(), 1);
    assert!(failure.causes[0].contains("exited with code 3"), "{failure}");
    assert_eq!(failure.detail.len(), 20);
    assert_eq!(failure.detail[19], "│ no such symbol");
    assert!(failure.hint.unwrap().contains(&job.log.display().to_string()));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for (word, cause) in
        [("./gradlew", "there is no ./gradlew in"), ("no-such-tool", "no program `no-such-tool` in PATH")]
    {
        let job = Job { words: vec![word.into(), "build".into()], ..job(directory.path(), "") };
        let failure = run(&job).unwrap_err();
        assert!(failure.to_string().contains(cause), "{failure}");
    }
    std::fs::write(directory.path().join("gradlew"), "#!/bin/sh\n").unwrap();
    let job = Job { words: vec!["./gradlew".into()], ..job(directory.path(), "") };
    assert_eq!(run(&job).unwrap_err().hint.as_deref(), Some("git update-index --chmod=+x ./gradlew"));
}

#[test]
fn a_build_that_takes_too_long_is_stopped_with_all_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let stubborn = "trap '' TERM; (trap '' TERM; sleep 1000) & echo $! > child; wait; wait; sleep 1000";
    let job = Job { timeout: Some(Duration::from_millis(300)), ..job(directory.path(), stubborn) };
    let failure = run(&job).unwrap_err();
    assert!(failure.to_string().contains("took longer than 300 ms"), "{failure}");
    eventually("the child is gone", || !lives(&directory.path().join("child")));
}

#[test]
fn a_build_that_is_cancelled_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let job = job(directory.path(), "sleep 1000 & echo $! > child; wait");
    let child: PathBuf = directory.path().join("child");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let ui = Ui::new(false, true);
        let work = execute(&ui, &job);
        let started = async {
            while !lives(&child) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! { _ = work => panic!("it ended"), () = started => {} }
    });
    eventually("the child is gone", || !lives(&child));
}

#[test]
fn a_daemon_that_a_build_leaves_behind_stays_and_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let job = job(directory.path(), "sleep 20 & echo $! > child; echo done");
    let start = Instant::now();
    run(&job).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    let child = directory.path().join("child");
    assert!(lives(&child));
    let pid = std::fs::read_to_string(child).unwrap();
    std::process::Command::new("kill").arg(pid.trim()).status().unwrap();
}
