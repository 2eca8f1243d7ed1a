//! What a release changes on a cluster, and what it leaves: fields that cannot change, hands that were at work, others'
//! numbers, and what people store.

use std::time::{Duration, Instant};

use crate::cluster::{Harbour, Pod};

#[test]
fn a_field_that_cannot_change_is_named_and_renewing_the_object_changes_it() {
    let Some(harbour) = Harbour::open("renew") else { return };
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let file = harbour.work.path().join("k8s/users.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("matchLabels: {app: users}", "matchLabels: {app: users, tier: back}");
    let text = text.replace("labels: {app: users}}\n    spec", "labels: {app: users, tier: back}}\n    spec");
    harbour.work.write("k8s/users.yaml", text);
    harbour.merge("[patch] another selector");
    harbour.run(&["release"]).exits(0);
    let (before, pods) = (harbour.resource_versions(), harbour.pods());
    for verb in ["plan", "deploy"] {
        let ran = harbour.run(&[verb, "cluster"]).exits(2);
        assert!(ran.err.contains("spec.selector"), "{ran}");
        ran.says("--renew Deployment/users");
    }
    assert_eq!((harbour.resource_versions(), harbour.pods()), (before, pods.clone()));

    let plan = harbour.run(&["plan", "cluster", "--renew", "Deployment/users"]).exits(0);
    assert!(plan.out.contains("renew") && plan.out.contains("Deployment"), "{plan}");
    harbour.run(&["deploy", "cluster", "--renew", "Deployment/users"]).exits(0);
    harbour.runs("1", "1");
    let objects = harbour.objects();
    assert_eq!(objects["Deployment/users"]["spec"]["selector"]["matchLabels"]["tier"], "back");
    let web = |pods: &[Pod]| -> Vec<_> { pods.iter().filter(|pod| pod.app == "web").cloned().collect() };
    assert_eq!(web(&harbour.pods()), web(&pods));
    harbour.is_at_rest();
}

#[test]
fn what_somebody_edits_is_shown_and_put_back_by_the_next_deploy() {
    let Some(harbour) = Harbour::open("drift") else { return };
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let pods = harbour.pods();
    // As `kubectl edit` does, which wants a terminal.
    let edit = ["--field-manager=kubectl-edit", "--patch", r#"{"spec": {"replicas": 3}}"#];
    harbour.cluster.kubectl(["patch", "deployment", "web"].iter().chain(&edit));
    harbour.cluster.kubectl([
        "patch",
        "configmap",
        "settings",
        "--patch",
        r#"{"data": {"version": "by hand"}}"#,
    ]);
    harbour.cluster.kubectl(["delete", "service", "users"]);
    let plan = harbour.run(&["plan", "cluster"]).exits(0);
    for words in [".spec.replicas: 3 -> 2", "by hand -> 1", "create"] {
        assert!(plan.out.contains(words), "no {words}: {plan}");
    }
    harbour.run(&["deploy", "cluster"]).exits(0);
    let objects = harbour.objects();
    assert_eq!(objects["Deployment/web"]["spec"]["replicas"], 2);
    assert_eq!(objects["ConfigMap/settings"]["data"]["version"], "1");
    assert!(objects.contains_key("Service/users"));
    let plan = harbour.run(&["plan", "cluster"]).exits(0);
    assert!(plan.out.contains("nothing to do"), "{plan}");
    let users = |pods: &[Pod]| -> Vec<_> { pods.iter().filter(|pod| pod.app == "users").cloned().collect() };
    assert_eq!(users(&harbour.pods()), users(&pods));
    harbour.is_at_rest();
}

/// How many pods a Deployment is to have.
fn replicas(harbour: &Harbour, name: &str) -> u64 {
    harbour.objects()[&format!("Deployment/{name}")]["spec"]["replicas"].as_u64().unwrap()
}

#[test]
fn the_number_of_pods_is_left_to_an_autoscaler() {
    let Some(harbour) = Harbour::open("scale") else { return };
    let scaler = "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec:\n  \
                  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n  minReplicas: 3\n  \
                  maxReplicas: 4\n";
    harbour.work.write("k8s/scaler.yaml", scaler);
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let begin = Instant::now();
    while replicas(&harbour, "web") != 3 {
        assert!(begin.elapsed() < Duration::from_secs(90), "the autoscaler does not work");
        std::thread::sleep(Duration::from_millis(500));
    }
    harbour.service("web", "2", &[]);
    harbour.merge("[patch] another web");
    harbour.run(&["ship", "cluster"]).exits(0);
    assert_eq!((replicas(&harbour, "web"), replicas(&harbour, "users")), (3, 2));
    assert_eq!((harbour.answers("web").as_str(), harbour.pods_of("web").len()), ("2", 3));
    let plan = harbour.run(&["plan", "cluster"]).exits(0);
    assert!(plan.out.contains("nothing to do"), "{plan}");
    harbour.run(&["rollback", "cluster"]).exits(0);
    assert_eq!((harbour.answers("web").as_str(), harbour.pods_of("web").len()), ("1", 3));
    harbour.is_at_rest();
}

/// Deletes a volume of the whole cluster at the end.
struct Volume<'h>(&'h Harbour);

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        let name = self.0.namespace();
        let arguments = ["delete", "persistentvolume", name, "--ignore-not-found", "--wait=false"];
        self.0.cluster.try_kubectl(arguments);
    }
}

#[test]
fn what_leaves_the_manifests_goes_only_when_asked_for_and_what_people_store_never() {
    let Some(harbour) = Harbour::open("prune") else { return };
    let _volume = Volume(&harbour);
    let name = harbour.namespace();
    let volume = format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  storageClassName: {name}\n  \
         accessModes: [ReadWriteOnce]\n  capacity: {{storage: 1Mi}}\n  hostPath: {{path: /tmp/{name}}}\n---\n\
         apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data}}\nspec:\n  storageClassName: {name}\n  \
         accessModes: [ReadWriteOnce]\n  resources: {{requests: {{storage: 1Mi}}}}\n"
    );
    harbour.work.write("k8s/data.yaml", volume);
    harbour.config_map("old", "a", "b");
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let names = harbour.names();
    assert!(names.contains("PersistentVolumeClaim/data") && names.contains("ConfigMap/old"), "{names:?}");

    // Somebody else's, of the same namespace.
    harbour.cluster.kubectl(["create", "configmap", "foreign"]);
    for file in ["data", "old", "namespace"] {
        std::fs::remove_file(harbour.work.path().join(format!("k8s/{file}.yaml"))).unwrap();
    }
    harbour.merge("[patch] without them");
    harbour.run(&["ship", "cluster"]).exits(0);
    let mut expected = names;
    expected.insert("ConfigMap/foreign".into());
    assert_eq!(harbour.names(), expected);

    // Asked for, it goes, although the release before did not have it either.
    let plan = harbour.run(&["plan", "cluster", "--prune"]).exits(0);
    assert!(plan.out.contains("delete") && plan.out.contains("/old"), "{plan}");
    assert!(!plan.out.contains("/data") && !plan.out.contains("foreign"), "{plan}");
    plan.says("PersistentVolumeClaim").says("what people stored may be in it");
    harbour.run(&["deploy", "cluster", "--prune"]).exits(0);
    expected.remove("ConfigMap/old");
    assert_eq!(harbour.names(), expected);
    harbour.cluster.kubectl(["get", "persistentvolume", name]);
    harbour.runs("1", "1");
    // The way back brings it again.
    harbour.run(&["rollback", "cluster"]).exits(0);
    assert!(harbour.names().contains("ConfigMap/old"));
    harbour.is_at_rest();
}
