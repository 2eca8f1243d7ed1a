use serde_json::{Value, json};

use super::samples::*;
use super::*;

const NAME: &str = "user-6c9d4b7f8-a";
const UID: &str = "pod-user-6c9d4b7f8-a";
const PLACE: &str = "pod user-6c9d4b7f8-a on node-2, container user: ";

/// A bare pod is judged by the same rules as those of a workload.
fn judge(status: Value, events: Vec<Value>) -> String {
    let scene = Scene { events, ..Scene::default() };
    let phase = if status["state"]["waiting"].is_object() && status["restartCount"] == 0 {
        "Pending"
    } else {
        "Running"
    };
    scene.judge("", "Pod", &pod_with(NAME, phase, status)).replace(PLACE, "")
}

#[test]
fn images_that_do_not_exist_fail_at_once_and_the_network_is_waited_for() {
    let image = "reg:5000/chat:user_v5.0.2-b321acf";
    let gone = format!(
        "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found"
    );
    let refused = "failed to resolve reference: unexpected status from HEAD request: 403 Forbidden";
    let cut = format!(
        "failed to pull and unpack image \"{image}\": failed to do request: Head \"https://reg:5000/v2/\": dial tcp 10.0.0.9:5000: i/o timeout"
    );
    let missing = format!("failed: ErrImagePull: {image} not found: was it pushed?");
    for (reason, message, expected) in [
        ("ErrImagePull", gone.clone(), missing.clone()),
        // From 1.32 on the pause names the error.
        ("ImagePullBackOff", format!("Back-off pulling image \"{image}\": ErrImagePull: {gone}"), missing.clone()),
        (
            "ErrImagePull",
            refused.into(),
            format!("failed: ErrImagePull: the registry refuses {image}: is there a valid imagePullSecret for it? ({refused})"),
        ),
        ("ErrImagePull", cut.clone(), format!("starting: ErrImagePull: {cut}")),
        ("ImagePullBackOff", format!("Back-off pulling image \"{image}\": ErrImagePull: {cut}"), format!("starting: ErrImagePull: {cut}")),
        ("ImagePullBackOff", format!("Back-off pulling image \"{image}\""), format!("starting: ErrImagePull: {image} cannot be pulled yet")),
        (
            "ErrImageNeverPull",
            format!("Container image \"{image}\" is not present with pull policy of Never"),
            format!("failed: ErrImageNeverPull: {image} is not on the node, and its imagePullPolicy is Never"),
        ),
        (
            "InvalidImageName",
            "Failed to apply default image tag \"reg//x\": couldn't parse image reference: invalid reference format".into(),
            format!("failed: InvalidImageName: {image} is not the name of an image"),
        ),
        ("RegistryUnavailable", "image pull failed because the registry is unavailable.".into(),
            "starting: RegistryUnavailable: image pull failed because the registry is unavailable.".into()),
    ] {
        assert_eq!(judge(waiting(reason, &message), vec![]), expected);
    }
    // Until 1.31 only an event names it.
    let told =
        event(UID, "Failed", &format!("Failed to pull image \"{image}\": {gone}"), "2026-11-22T10:00:40Z");
    let pause = waiting("ImagePullBackOff", &format!("Back-off pulling image \"{image}\""));
    assert_eq!(judge(pause.clone(), vec![told.clone()]), missing);
    let other = with(told, json!({"involvedObject": {"uid": "another"}}));
    assert!(judge(pause, vec![other]).starts_with("starting"));
}

#[test]
fn processes_that_cannot_start_fail_at_once() {
    let runc = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ";
    let missing = format!("{runc}exec: \"/nope\": stat /nope: no such file or directory: unknown");
    let format_error = format!("{runc}exec /app: exec format error: unknown");
    let docker = "OCI runtime create failed: container_linux.go:370: starting container process caused: exec: \"nope\": executable file not found in $PATH: unknown";
    let mount = format!(
        "{runc}error during container init: error mounting \"/var/lib/kubelet/pods/x/volumes/c\" to rootfs at \"/app/c.yml\": not a directory: Are you trying to mount a directory onto a file"
    );
    for (status, expected) in [
        (waiting("RunContainerError", &missing), "failed: cannot start: its command is not in the image ("),
        (crashing(1, 128, "StartError", &missing), "failed: cannot start: its command is not in the image ("),
        (
            crashing(1, 127, "ContainerCannotRun", docker),
            "failed: cannot start: its command is not in the image (",
        ),
        (
            crashing(1, 128, "StartError", &format_error),
            "failed: cannot start: it is built for another processor (",
        ),
        (
            crashing(1, 1, "Error", "exec /app: exec format error"),
            "failed: cannot start: it is built for another processor",
        ),
        (
            crashing(1, 128, "StartError", &mount),
            "failed: cannot start: a file is mounted where a directory is",
        ),
        (crashing(1, 127, "Error", ""), "failed: command not found or not executable (exit code 127)"),
        (
            waiting("CreateContainerError", "failed to generate container \"8a\" spec: no command specified"),
            "failed: cannot start: neither image nor manifest name a command",
        ),
        // The node's trouble, not the image's.
        (
            crashing(
                1,
                128,
                "StartError",
                "failed to create containerd task: context deadline exceeded: unknown",
            ),
            "starting: cannot start: failed to create containerd task: context deadline exceeded: unknown, restart 1 of 8 allowed",
        ),
        (
            waiting("CreateContainerError", "context deadline exceeded"),
            "starting: CreateContainerError: context deadline exceeded, restart 0 of 8 allowed",
        ),
    ] {
        let health = judge(status, vec![]);
        assert!(health.starts_with(expected), "{health}");
    }
}

#[test]
fn configuration_that_is_missing_fails() {
    let key = "couldn't find key APP_SECRET_TOKEN in Secret chat/user";
    let root =
        "container has runAsNonRoot and image will run as root (pod: \"user_chat(x)\", container: user)";
    let absent = "secret \"user-db\" not found";
    let cache = "failed to sync secret cache: timed out waiting for the condition";
    let judge = |message: &str, now: &str| {
        let pod = pod_with(NAME, "Pending", waiting("CreateContainerConfigError", message));
        Scene::default().judge_at("", "Pod", &pod, now).replace(PLACE, "")
    };
    let (soon, later) = ("2026-11-22T10:00:05Z", "2026-11-22T10:00:30Z");
    assert_eq!(judge(key, soon), format!("failed: CreateContainerConfigError: {key}"));
    assert_eq!(judge(root, soon), format!("failed: CreateContainerConfigError: {root}"));
    // An operator may be about to make it.
    assert_eq!(judge(absent, soon), format!("starting: CreateContainerConfigError: {absent}"));
    assert_eq!(judge(absent, later), format!("failed: CreateContainerConfigError: {absent}"));
    assert_eq!(judge(cache, later), format!("starting: CreateContainerConfigError: {cache}"));
}

#[test]
fn dying_a_few_times_at_the_start_is_allowed() {
    let dead =
        with(waiting("", ""), json!({"state": {"waiting": null, "terminated": ended(1, "Error", "")}}));
    let again = with(
        running("user", "2026-11-22T10:00:30Z", false),
        json!({"restartCount": 1, "lastState": {"terminated": ended(1, "Error", "")}}),
    );
    let up = with(
        running("user", "2026-11-22T10:00:30Z", true),
        json!({"restartCount": 8, "lastState": {"terminated": ended(1, "Error", "")}}),
    );
    for (status, expected) in [
        (dead, "starting: exited with code 1, restart 0 of 8 allowed"),
        (again, "starting: exited with code 1, restart 1 of 8 allowed; it runs again"),
        (crashing(7, 1, "Error", ""), "starting: exited with code 1, restart 7 of 8 allowed"),
        (crashing(8, 1, "Error", ""), "failed: exited with code 1, restarted 8 times, all that is allowed"),
        (
            crashing(9, 1, "Error", ""),
            "failed: exited with code 1, restarted 9 times, more than the 8 allowed",
        ),
        (crashing(2, 0, "Completed", ""), "starting: ended by itself (exit code 0), restart 2 of 8 allowed"),
        (
            crashing(1, 137, "OOMKilled", ""),
            "failed: killed by the kernel for want of memory (OOM), its limit is 512Mi",
        ),
        (
            with(up.clone(), json!({"restartCount": 9})),
            "failed: exited with code 1, restarted 9 times, more than the 8 allowed",
        ),
    ] {
        assert_eq!(judge(status, vec![]), expected);
    }
    let up = with(pod(NAME), json!({"status": {"containerStatuses": [up]}}));
    assert_eq!(Scene::default().judge("", "Pod", &up), "ready: it is ready");
    // Restarts of a pod that was there before are not this change's.
    let old = json!({"metadata": {"creationTimestamp": "2026-11-10T09:00:00Z"}});
    let old = with(pod_with(NAME, "Running", crashing(900, 1, "Error", "")), old);
    let health = Scene::default().judge("", "Pod", &old);
    assert_eq!(
        health,
        format!("starting: {PLACE}exited with code 1, in a pod that is older than this change")
    );
}

#[test]
fn a_cause_carries_exit_code_last_words_and_what_the_kubelet_did() {
    let status = crashing(9, 137, "Error", "");
    let killed = event(
        UID,
        "Unhealthy",
        "Liveness probe failed: HTTP probe failed with statuscode: 500",
        "2026-11-22T10:00:40Z",
    );
    let logs = [((NAME.to_owned(), "user".to_owned()), vec!["Started".to_owned(), "boom".to_owned()])];
    let scene = Scene { events: vec![killed], logs: logs.into(), ..Scene::default() };
    let health = scene.see(&pod_with(NAME, "Running", status), |sight| {
        super::judge(&Kind::new("", "Pod"), sight, &budget(), at("2026-11-22T10:01:00Z"))
    });
    let Health::Failed(cause) = health else { panic!("{health:?}") };
    assert_eq!(
        cause.reason,
        format!(
            "{PLACE}exited with code 137 after: Liveness probe failed: HTTP probe failed with statuscode: 500, restarted 9 times, more than the 8 allowed"
        )
    );
    assert_eq!((cause.exit_code, cause.oom_killed, cause.log.len()), (Some(137), false, 2));
}

#[test]
fn init_containers_may_run_and_may_fail() {
    let init = |status: Value| {
        let patch = json!({
            "spec": {"initContainers": [with(container(), json!({"name": "migrate", "readinessProbe": null}))]},
            "status": {"initContainerStatuses": [with(status, json!({"name": "migrate"}))]}
        });
        let pod = with(pod_with(NAME, "Pending", waiting("PodInitializing", "")), patch);
        Scene::default().judge("", "Pod", &pod).replace("pod user-6c9d4b7f8-a on node-2, ", "")
    };
    assert_eq!(
        init(running("migrate", "2026-11-22T10:00:02Z", false)),
        "starting: init container migrate: it has not completed yet"
    );
    assert_eq!(
        init(crashing(1, 3, "Error", "")),
        "starting: init container migrate: exited with code 3, restart 1 of 8 allowed"
    );
    assert_eq!(
        init(crashing(9, 3, "Error", "")),
        "failed: init container migrate: exited with code 3, restarted 9 times, more than the 8 allowed"
    );
}

#[test]
fn without_a_probe_a_container_must_stay_up() {
    let unproven = json!({"spec": {"containers": [with(container(), json!({"readinessProbe": null}))]}});
    let pod = with(pod(NAME), unproven);
    let judge = |now: &str| Scene::default().judge_at("", "Pod", &pod, now).replace(PLACE, "");
    assert_eq!(judge("2026-11-22T10:00:05Z"), "starting: must stay up for 10 s");
    assert_eq!(judge("2026-11-22T10:00:13Z"), "ready: settled");
}

#[test]
fn a_probe_that_fails_is_quoted() {
    let unready = running("user", "2026-11-22T10:00:03Z", false);
    let failed = event(
        UID,
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
        "2026-11-22T10:00:40Z",
    );
    let newer = with(
        failed.clone(),
        json!({
            "message": "Readiness probe failed: Get \"http://10.244.1.9:8010/actuator/health\": dial tcp 10.244.1.9:8010: connect: connection refused",
            "lastTimestamp": null, "firstTimestamp": null, "eventTime": "2026-11-22T10:00:50.123456Z"
        }),
    );
    assert_eq!(judge(unready.clone(), vec![]), "starting: its readiness probe has not passed yet");
    assert_eq!(
        judge(unready.clone(), vec![failed.clone()]),
        "starting: Readiness probe failed: HTTP probe failed with statuscode: 503"
    );
    let health = judge(unready, vec![newer, failed]);
    assert!(health.ends_with("connect: connection refused"), "{health}");
}

#[test]
fn a_pod_that_no_node_takes_fails_when_that_lasts() {
    let full = "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 Insufficient memory. preemption: 0/3 nodes are available";
    let binding = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found";
    let away = "0/3 nodes are available: 3 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.";
    let judge = |scene: &Scene, pod: &Value, now: &str| scene.judge_at("", "Pod", pod, now);
    let (soon, later) = ("2026-11-22T10:00:10Z", "2026-11-22T10:00:16Z");
    let scene = Scene::default();
    let pod = unplaced(NAME, "Unschedulable", full);
    let told = format!("pod {NAME}: no node takes it: {full}");
    assert_eq!(judge(&scene, &pod, soon), format!("starting: {told}"));
    assert_eq!(judge(&scene, &pod, later), format!("failed: {told}"));
    for message in [binding, away] {
        assert!(
            judge(&scene, &unplaced(NAME, "Unschedulable", message), later).starts_with("starting"),
            "{message}"
        );
    }
    assert_eq!(
        judge(
            &scene,
            &unplaced(NAME, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"),
            later
        ),
        format!(
            "starting: pod {NAME}: SchedulingGated: Scheduling is blocked due to non-empty scheduling gates"
        )
    );
    // Room that is about to be there.
    let leaving = with(samples::pod("old"), json!({"metadata": {"deletionTimestamp": CHANGED}}));
    assert!(judge(&Scene { pods: vec![leaving], ..Scene::default() }, &pod, later).starts_with("starting"));
    let growing = event(UID, "TriggeredScaleUp", "pod triggered scale-up: [{ng 1->2 (max: 4)}]", later);
    assert!(judge(&Scene { events: vec![growing], ..Scene::default() }, &pod, later).starts_with("starting"));
}

#[test]
fn what_a_pod_waits_for_on_its_node_is_told() {
    let creating = waiting("ContainerCreating", "");
    let attach = "Multi-Attach error for volume \"pvc-8f21\" Volume is already exclusively attached to one node and can't be attached to another";
    let mount = "MountVolume.SetUp failed for volume \"tls\" : secret \"user-tls\" not found";
    let (early, late) = ("2026-11-22T10:00:10Z", "2026-11-22T10:00:20Z");
    let place = "starting: pod user-6c9d4b7f8-a on node-2: ";
    for (events, expected) in [
        (vec![], "it is not ready yet".to_owned()),
        (vec![event(UID, "FailedMount", mount, early)], format!("FailedMount: {mount}")),
        (
            vec![
                event(UID, "FailedMount", mount, early),
                event(UID, "Pulling", "Pulling image \"reg:5000/chat:user_v5\"", late),
            ],
            "Pulling image \"reg:5000/chat:user_v5\"".to_owned(),
        ),
        (
            vec![event(UID, "FailedAttachVolume", attach, late)],
            format!("{attach} (a volume that one node at a time may use is still in use on another)"),
        ),
    ] {
        assert_eq!(judge(creating.clone(), events), format!("{place}{expected}"));
    }
}

#[test]
fn what_the_cluster_does_to_pods_is_not_the_releases_fault() {
    let lost = Scene { nodes: vec![node("node-2", "Unknown")], ..Scene::default() };
    let broken = pod_with(NAME, "Running", crashing(99, 1, "Error", ""));
    assert_eq!(
        lost.judge("", "Pod", &broken),
        format!("starting: pod {NAME} on node-2: node node-2 does not answer")
    );
    let set = with(
        replica_set(),
        json!({"spec": {"replicas": 1}, "status": {"replicas": 1, "availableReplicas": 0}}),
    );
    let judge = |pod: Value| Scene { pods: vec![pod], ..Scene::default() }.judge("apps", "ReplicaSet", &set);
    let failed = |patch: Value| {
        let status = json!({"status": with(json!({"phase": "Failed", "containerStatuses": []}), patch)});
        judge(with(pod_with(NAME, "Failed", json!({})), status))
    };
    for patch in [
        json!({"reason": "Evicted", "message": "The node was low on resource: memory."}),
        // 1.22 and later; `Shutdown` before.
        json!({"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."}),
        json!({"reason": "OutOfcpu", "message": "Pod was rejected: Node didn't have enough resource: cpu"}),
        json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}),
    ] {
        let health = failed(patch);
        assert!(health.starts_with("starting: 0 of 1 pod available; pod"), "{health}");
    }
    let health = failed(
        json!({"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"}),
    );
    assert!(
        health.starts_with("failed") && health.contains("it has failed (DeadlineExceeded: Pod was active"),
        "{health}"
    );
}

#[test]
fn a_bare_pod_that_is_to_end_is_up_when_it_has_ended_well() {
    let task = |phase: &str, status: Value| {
        let spec = json!({"spec": {"restartPolicy": "Never", "containers": [with(container(), json!({"readinessProbe": null}))]}});
        Scene::default().judge("", "Pod", &with(pod_with(NAME, phase, status), spec)).replace(PLACE, "")
    };
    let over = |code: i64, reason: &str| {
        with(waiting("", ""), json!({"state": {"waiting": null, "terminated": ended(code, reason, "")}}))
    };
    assert_eq!(
        task("Running", running("user", "2026-11-22T10:00:03Z", true)),
        "starting: pod user-6c9d4b7f8-a on node-2: it has not completed yet"
    );
    assert_eq!(task("Succeeded", over(0, "Completed")), "ready: completed");
    assert_eq!(task("Failed", over(4, "Error")), "failed: exited with code 4");
}

#[test]
fn troubles_say_whose_log_is_wanted() {
    let again = with(
        running("user", "2026-11-22T10:00:30Z", false),
        json!({"restartCount": 1, "lastState": {"terminated": ended(1, "Error", "")}}),
    );
    let scene = Scene {
        pods: vec![
            pod(NAME),
            pod_with("user-6c9d4b7f8-b", "Running", again),
            pod_with("user-6c9d4b7f8-c", "Running", crashing(2, 3, "Error", "")),
        ],
        ..Scene::default()
    };
    let kind = Kind::new("apps", "ReplicaSet");
    let found =
        scene.see(&replica_set(), |sight| troubles(&kind, sight, &budget(), at("2026-11-22T10:01:00Z")));
    let asked: Vec<_> = found
        .iter()
        .map(|trouble| (trouble.pod.as_str(), trouble.container.as_deref(), trouble.is_previous))
        .collect();
    assert_eq!(asked, [("user-6c9d4b7f8-b", Some("user"), true), ("user-6c9d4b7f8-c", Some("user"), false)]);
}
