use serde_json::{Value, json};

use super::samples::*;
use super::*;

const UID: &str = "4b0c1b9e-3333-4a83-9d0a-2f4a3c1f0d11";

fn job(status: Value) -> Value {
    json!({
        "metadata": {"name": "migrate", "namespace": "chat", "uid": UID, "generation": 1, "creationTimestamp": CHANGED},
        "spec": {"backoffLimit": 6, "completions": 1, "parallelism": 1, "completionMode": "NonIndexed", "suspend": false,
                 "template": {"spec": {"restartPolicy": "Never"}}},
        "status": status
    })
}

/// One try of the Job.
fn run(name: &str, phase: &str, status: Value) -> Value {
    with(
        pod_with(name, phase, status),
        json!({
            "metadata": {"ownerReferences": [{"kind": "Job", "name": "migrate", "uid": UID, "controller": true}]},
            "spec": {"restartPolicy": "Never", "containers": [with(container(), json!({"readinessProbe": null}))]}
        }),
    )
}

fn over(code: i64) -> Value {
    with(waiting("", ""), json!({"state": {"waiting": null, "terminated": ended(code, "Error", "")}}))
}

fn judge(status: Value, pods: Vec<Value>) -> String {
    Scene { pods, ..Scene::default() }.judge("batch", "Job", &job(status))
}

#[test]
fn a_job_is_up_when_it_has_ended_well_and_not_before() {
    let complete = json!({"type": "Complete", "status": "True", "lastProbeTime": CHANGED, "lastTransitionTime": CHANGED});
    let done = json!({"type": "SuccessCriteriaMet", "status": "True", "reason": "CompletionsReached", "lastTransitionTime": CHANGED});
    let up = running("user", "2026-11-22T10:00:03Z", true);
    for (status, pods, expected) in [
        // 1.20, and 1.33 with its further fields.
        (
            json!({"completionTime": CHANGED, "startTime": CHANGED, "succeeded": 1, "conditions": [complete]}),
            vec![],
            "ready: completed",
        ),
        (
            json!({"completionTime": CHANGED, "startTime": CHANGED, "succeeded": 1, "ready": 0, "terminating": 0,
                   "uncountedTerminatedPods": {}, "conditions": [done, complete]}),
            vec![],
            "ready: completed",
        ),
        (
            json!({"terminating": 1, "ready": 0, "conditions": [done]}),
            vec![],
            "starting: it has done enough, its last pods are ending",
        ),
        (
            json!({"active": 1, "ready": 1, "startTime": CHANGED}),
            vec![run("migrate-a", "Running", up)],
            "starting: it has not completed yet",
        ),
        (json!({}), vec![], "starting: it has not completed yet"),
        (
            json!({"active": 1, "failed": 1, "startTime": CHANGED}),
            vec![run("migrate-a", "Failed", over(3))],
            "starting: 1 of 7 tries have failed; pod migrate-a on node-2, container user: exited with code 3",
        ),
    ] {
        assert_eq!(judge(status, pods), expected);
    }
    let suspended = with(job(json!({})), json!({"spec": {"suspend": true}}));
    assert_eq!(
        Scene::default().judge("batch", "Job", &suspended),
        "ready: it is suspended and runs when somebody resumes it"
    );
}

#[test]
fn a_job_that_has_failed_says_how_its_pods_ended() {
    let failed = |kind: &str| {
        json!({"failed": 7, "startTime": CHANGED, "conditions": [
        {"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}]})
    };
    let scene = Scene {
        pods: vec![run("migrate-a", "Failed", over(3))],
        logs: [(("migrate-a".to_owned(), "user".to_owned()), vec!["no such table".to_owned()])].into(),
        ..Scene::default()
    };
    for kind in ["Failed", "FailureTarget"] {
        let health = scene.see(&job(failed(kind)), |sight| {
            super::judge(&Kind::new("batch", "Job"), sight, &budget(), at("2026-11-22T10:01:00Z"))
        });
        let Health::Failed(cause) = health else { panic!("{health:?}") };
        assert_eq!(
            cause.reason,
            "BackoffLimitExceeded: Job has reached the specified backoff limit; pod migrate-a on node-2, container user: exited with code 3"
        );
        assert_eq!((cause.exit_code, cause.log), (Some(3), vec!["no such table".to_owned()]));
    }
}

#[test]
fn what_no_try_can_mend_fails_a_job_at_once() {
    let active = || json!({"active": 1, "startTime": CHANGED});
    let missing = waiting("ErrImagePull", "reg:5000/chat:user_v5.0.2-b321acf: not found");
    assert!(
        judge(active(), vec![run("migrate-a", "Pending", missing)]).ends_with("not found: was it pushed?")
    );
    assert!(judge(active(), vec![run("migrate-a", "Failed", over(127))]).starts_with("failed"));
    let refusal = event(
        UID,
        "FailedCreate",
        "Error creating: pods \"migrate-x\" is forbidden: exceeded quota: pods",
        "2026-11-22T10:00:20Z",
    );
    let health = Scene { events: vec![refusal], ..Scene::default() }.judge(
        "batch",
        "Job",
        &job(json!({"startTime": CHANGED})),
    );
    assert!(health.starts_with("failed: its pods cannot be created"), "{health}");
}

#[test]
fn a_cron_job_is_up_at_once() {
    let cron = json!({"metadata": {"name": "report"}, "spec": {"schedule": "0 3 * * *", "suspend": false}, "status": {}});
    assert_eq!(Scene::default().judge("batch", "CronJob", &cron), "ready: it waits for its time");
}
