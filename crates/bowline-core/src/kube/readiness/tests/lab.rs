//! What a real cluster told (`lab.jsonl`: Kubernetes 1.35.4, containerd 1.6, kubelets with cgroup v1) of five Deployments
//! that cannot run, 50 s after they were made: all of it, an object a line, but for who manages which field.

use super::*;

const TOLD: &str = include_str!("lab.jsonl");
/// When it was asked.
const ASKED: &str = "2026-11-25T15:34:03Z";

fn told(kind: &str) -> Vec<Value> {
    let all = TOLD.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|object| object["kind"] == kind).collect()
}

#[test]
fn what_a_real_cluster_tells_of_pods_that_cannot_run_is_understood() {
    let logs = |name: &str, pods: &[Value]| {
        let own = pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap());
        let keys = own.filter(|pod| pod.starts_with(name)).map(|pod| (pod.to_owned(), "app".to_owned()));
        keys.map(|key| (key, vec!["exiting as told".to_owned()])).collect::<Logs>()
    };
    for (name, restarts, expected, code, oom) in [
        ("crash", 1, "exited with code 3, restarted 3 times", Some(3), false),
        ("crash", 8, "restart 3 of 8 allowed", None, false),
        ("missing", 8, "not found: was it pushed?", None, false),
        ("big", 8, "3 Insufficient cpu", None, false),
        ("oom", 1, "for want of memory (OOM), its limit is 24Mi", Some(137), true),
        ("nofile", 8, "its command is not in the image", None, false),
    ] {
        let pods = told("Pod");
        let scene = Scene {
            sets: told("ReplicaSet"),
            logs: logs(name, &pods),
            pods,
            events: told("Event"),
            ..Scene::default()
        };
        let objects = told("Deployment");
        let object = objects.iter().find(|object| object["metadata"]["name"] == name).unwrap();
        let since = object["metadata"]["creationTimestamp"].as_str().unwrap();
        let budget = Budget { settle: Duration::from_secs(5), restarts, since: Some(at(since)) };
        let kind = Kind::new("apps", "Deployment");
        let health = scene.see(object, |sight| judge(&kind, sight, &budget, at(ASKED)));
        let said = words(&health);
        assert!(said.contains(expected), "{name}: {said}");
        if let Health::Failed(cause) = &health {
            assert_eq!((cause.exit_code, cause.oom_killed), (code, oom), "{name}: {cause:?}");
        }
    }
}
