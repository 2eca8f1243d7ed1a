use std::time::Duration;

use bowline_core::kube::answer::{Answer, Denier, Missing};
use bowline_core::kube::comparison::{Verdict, difference, remember, unchanged};
use bowline_core::kube::conflict::{settle, yield_fields};
use bowline_core::kube::object::Manifest;
use bowline_kube::{Deleted, Dependents, Expected, Handover};
use serde_json::{Value, json};

use crate::lab::{Lab, deployment};

/// Does something until it works out: an object may change between looking at it and writing it.
async fn again<T>(attempt: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..50 {
        if let Some(done) = attempt().await {
            return done;
        }
    }
    panic!("it changed 50 times between looking and writing")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let Some(lab) = Lab::open("dry").await else { return };
    let first = lab.manifest(deployment("app", "app:1"));
    let tried = lab.cluster.dry_run(lab.resource(&first), &first, false).await.unwrap();
    assert!(matches!(tried.answer, Answer::Applied(_)), "{tried:?}");
    assert_eq!(lab.live(&first).await, None);

    let live = lab.applied(first.value.clone()).await;
    let remembered = remember(&first.value, &live, &[]);
    assert_eq!(unchanged(&first.value, Some(&live), Some(&remembered)), Verdict::Unchanged);
    // A controller's status is no change of ours.
    let live = lab.live(&first).await.unwrap();
    assert_eq!(unchanged(&first.value, Some(&live), Some(&remembered)), Verdict::Unchanged);
    let Answer::Applied(same) =
        lab.cluster.dry_run(lab.resource(&first), &first, false).await.unwrap().answer
    else {
        panic!()
    };
    assert_eq!(difference(&live, &same), []);

    let mut second = first.clone();
    second.value["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:2");
    assert_eq!(unchanged(&second.value, Some(&live), Some(&remembered)), Verdict::Edited);
    let Answer::Applied(after) =
        lab.cluster.dry_run(lab.resource(&second), &second, false).await.unwrap().answer
    else {
        panic!()
    };
    let changes = difference(&lab.live(&first).await.unwrap(), &after);
    let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, [r#".spec.template.spec.containers[name="app"].image"#]);
    let image = &lab.live(&first).await.unwrap()["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "app:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_keeps_its_replicas_for_ever_and_hands_are_taken_over() {
    let Some(lab) = Lab::open("conflict").await else { return };
    let manifest = lab.manifest(deployment("app", "app:1"));
    lab.applied(manifest.value.clone()).await;
    let scale = json!({"spec": {"replicas": 7}});
    lab.write_as("kube-controller-manager", &manifest, "merge", "/scale", &scale).await;
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "by-hand:1"}]}}}});
    lab.write_as("kubectl-edit", &manifest, "merge", "", &image).await;

    let Answer::Conflict(conflicts) = lab.apply(&manifest, &Expected::Anything, false).await else {
        panic!()
    };
    let settlement = settle(&conflicts, &[]);
    assert_eq!(settlement.yielded_fields(), [".spec.replicas"], "{settlement:?}");
    assert!(settlement.taken.iter().any(|conflict| conflict.field.ends_with(".image")), "{settlement:?}");
    assert!(settlement.contested.is_empty());
    let reduced = yield_fields(&manifest, &settlement.yielded).unwrap();
    let seen = lab.live(&manifest).await.unwrap();

    // Whoever changes it in between is not run over.
    lab.write_as("somebody", &manifest, "merge", "", &json!({"metadata": {"labels": {"a": "b"}}})).await;
    let stale = lab.apply(&reduced, &Expected::exactly(&seen), true).await;
    assert!(matches!(stale, Answer::Stale { .. }), "{stale:?}");

    // The controllers write its status all the time.
    let live = again(async || {
        let seen = lab.live(&manifest).await.unwrap();
        match lab.apply(&reduced, &Expected::exactly(&seen), true).await {
            Answer::Applied(live) => Some(live),
            Answer::Stale { .. } => None,
            answer => panic!("{answer:?}"),
        }
    })
    .await;
    assert_eq!(live["spec"]["replicas"], 7);
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "app:1");

    // Next time there is nothing to do, also after the autoscaler has been at it again.
    let remembered = remember(&manifest.value, &live, &settlement.yielded_fields());
    assert_eq!(unchanged(&manifest.value, Some(&live), Some(&remembered)), Verdict::Unchanged);
    lab.write_as("kube-controller-manager", &manifest, "merge", "/scale", &json!({"spec": {"replicas": 3}}))
        .await;
    let live = lab.live(&manifest).await.unwrap();
    assert_eq!(unchanged(&manifest.value, Some(&live), Some(&remembered)), Verdict::Unchanged);
    // And nothing changes where nobody remembers.
    let Answer::Conflict(conflicts) =
        lab.cluster.dry_run(lab.resource(&manifest), &manifest, false).await.unwrap().answer
    else {
        panic!()
    };
    let reduced = yield_fields(&manifest, &settle(&conflicts, &[]).yielded).unwrap();
    let Answer::Applied(after) =
        lab.cluster.dry_run(lab.resource(&reduced), &reduced, true).await.unwrap().answer
    else {
        panic!()
    };
    assert_eq!(difference(&live, &after), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_wrote_goes_when_it_leaves_the_manifest() {
    let Some(lab) = Lab::open("inherit").await else { return };
    let mut old = deployment("app", "app:1");
    old["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    let old = lab.manifest(old);
    lab.write_as("kubectl-client-side-apply", &old, "create", "", &old.value).await;
    let new = lab.manifest(deployment("app", "app:1"));
    let env =
        |live: &Value| live["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap().len();

    let take_over =
        async |seen: &Value| lab.cluster.take_over(lab.resource(&new), &new.id, seen).await.unwrap();
    // The controllers write its status all the time.
    let seen = again(async || {
        let seen = lab.live(&new).await.unwrap();
        (take_over(&seen).await == Handover::Done).then_some(seen)
    })
    .await;
    // Who looked earlier takes nothing over.
    assert_eq!(take_over(&seen).await, Handover::Stale);
    let after = lab.live(&new).await.unwrap();
    assert_eq!(difference(&seen, &after), []);
    assert_eq!(take_over(&after).await, Handover::Nothing);
    let Answer::Applied(live) = lab.apply(&new, &Expected::object(&after), false).await else { panic!() };
    assert_eq!(env(&live), 1, "{live}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_cannot_change_are_named() {
    let Some(lab) = Lab::open("immutable").await else { return };
    let pod = json!({"containers": [{"name": "app", "image": "app:1"}]});
    let template = |name: &str| json!({"metadata": {"labels": {"app": name}}, "spec": pod});
    let mut job = template("job");
    job["spec"]["restartPolicy"] = json!("Never");
    job["spec"]["containers"][0]["env"] = json!([{"name": "KEY", "value": "hunter2"}]);
    let changes: [(Value, &str, Value, &[&str]); 6] = [
        (deployment("app", "app:1"), "/spec/selector/matchLabels/app", json!("x"), &["spec.selector"]),
        (
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {"serviceName": "db",
                "replicas": 0, "selector": {"matchLabels": {"app": "db"}}, "template": template("db")}}),
            "/spec/serviceName",
            json!("x"),
            &["spec"],
        ),
        (
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": job}}),
            "/spec/template/spec/containers/0/image",
            json!("app:2"),
            &["spec.template"],
        ),
        (
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {
                "storageClassName": "none", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
            "/spec/storageClassName",
            json!("other"),
            &["spec"],
        ),
        (
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque", "data": {}}),
            "/type",
            json!("x/y"),
            &["type"],
        ),
        (
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": pod}),
            "/spec/containers/0/command",
            json!(["x"]),
            &["spec"],
        ),
    ];
    for (mut value, pointer, new, expected) in changes {
        if value["kind"] == "Pod" {
            value["spec"]["containers"][0]["command"] = json!(["a"]);
            value["spec"]["automountServiceAccountToken"] = json!(false);
            // A pod needs its namespace's account, which a controller makes.
            lab.applied(
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
            )
            .await;
        }
        lab.applied(value.clone()).await;
        *value.pointer_mut(pointer).unwrap() = new;
        if value["kind"] == "Deployment" {
            value["spec"]["template"]["metadata"]["labels"]["app"] = json!("x");
        }
        let manifest = lab.manifest(value);
        match lab.apply(&manifest, &Expected::Anything, false).await {
            Answer::Immutable { fields, message } => {
                assert_eq!(fields, expected, "{}: {message}", manifest.id);
                assert!(!message.contains("hunter2"), "{message}");
            }
            answer => panic!("{}: {answer:?}", manifest.id),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_missing_or_not_allowed_is_told_apart() {
    let Some(lab) = Lab::open("wrong").await else { return };
    let change = |change: fn(&mut Value)| {
        let mut value = deployment("app", "app:1");
        change(&mut value);
        lab.manifest(value)
    };
    let causes = |answer: Answer| match answer {
        Answer::Invalid { causes, message } => {
            assert!(!causes.is_empty(), "{message}");
            causes.into_iter().map(|cause| cause.field).collect::<Vec<_>>()
        }
        answer => panic!("{answer:?}"),
    };
    let unknown = change(|value| value["spec"]["foo"] = json!(1));
    assert_eq!(causes(lab.apply(&unknown, &Expected::Anything, false).await), [".spec.foo"]);
    let twice = change(|value| {
        let variable = json!({"name": "A", "value": "1"});
        value["spec"]["template"]["spec"]["containers"][0]["env"] = json!([variable, variable]);
    });
    let fields = causes(lab.apply(&twice, &Expected::Anything, false).await);
    assert!(fields[0].starts_with(r#".spec.template.spec.containers[name="app"].env"#), "{fields:?}");
    let negative = change(|value| value["spec"]["replicas"] = json!(-1));
    assert_eq!(causes(lab.apply(&negative, &Expected::Anything, false).await), ["spec.replicas"]);

    let mut elsewhere = deployment("app", "app:1");
    elsewhere["metadata"]["namespace"] = json!("bowline-it-absent");
    let elsewhere = lab.manifest(elsewhere);
    for answer in [
        lab.apply(&elsewhere, &Expected::Anything, false).await,
        lab.cluster.dry_run(lab.resource(&elsewhere), &elsewhere, false).await.unwrap().answer,
    ] {
        assert_eq!(answer, Answer::Missing(Missing::Namespace("bowline-it-absent".into())));
    }

    let stranger = lab.as_user("stranger").await;
    let fine = change(|_| {});
    let answer = stranger.apply(lab.resource(&fine), &fine, &Expected::Anything, false).await.unwrap().answer;
    let Answer::Denied { by: Denier::Roles, message } = answer else { panic!("{answer:?}") };
    assert!(message.contains("stranger"), "{message}");

    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
        "spec": {"hard": {"count/deployments.apps": "0"}}});
    lab.applied(quota.clone()).await;
    // Without controllers nobody fills in what is used.
    let used =
        json!({"status": {"hard": {"count/deployments.apps": "0"}, "used": {"count/deployments.apps": "0"}}});
    lab.write_as("controller", &lab.manifest(quota), "merge", "/status", &used).await;
    let answer = lab.apply(&fine, &Expected::Anything, false).await;
    let Answer::Denied { by: Denier::Quota, message } = answer else { panic!("{answer:?}") };
    assert!(message.contains("exceeded quota: small"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_to_another_object_of_that_name() {
    let Some(lab) = Lab::open("stale").await else { return };
    let map = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"a": value}});
    let manifest = lab.manifest(map("1"));
    let first = lab.applied(map("1")).await;
    let resource = lab.resource(&manifest).clone();
    let delete = |manifest: Manifest, expected: Expected| {
        let (cluster, resource) = (lab.cluster.clone(), resource.clone());
        async move { cluster.delete(&resource, &manifest.id, &expected, Dependents::After).await.unwrap() }
    };
    lab.applied(map("2")).await;
    // It has changed, and is still the same.
    let exactly = delete(manifest.clone(), Expected::exactly(&first)).await;
    assert!(matches!(exactly, Deleted::Stale { .. }), "{exactly:?}");
    assert!(matches!(lab.apply(&manifest, &Expected::object(&first), false).await, Answer::Applied(_)));
    assert_eq!(delete(manifest.clone(), Expected::object(&first)).await, Deleted::Gone);
    assert_eq!(delete(manifest.clone(), Expected::object(&first)).await, Deleted::Absent);
    // It is not there any more: what expects it makes no new one.
    for expected in [Expected::object(&first), Expected::exactly(&first)] {
        let answer = lab.apply(&manifest, &expected, false).await;
        assert!(matches!(answer, Answer::Stale { .. }), "{expected:?}: {answer:?}");
    }
    assert_eq!(lab.live(&manifest).await, None);
    // Another one has its name.
    let second = lab.applied(map("1")).await;
    for expected in [Expected::object(&first), Expected::exactly(&first)] {
        let answer = lab.apply(&manifest, &expected, false).await;
        assert!(matches!(answer, Answer::Stale { .. }), "{expected:?}: {answer:?}");
        let deleted = delete(manifest.clone(), expected).await;
        assert!(matches!(deleted, Deleted::Stale { .. }), "{deleted:?}");
    }
    let replaced = lab.cluster.replace_by_delete(
        &resource,
        &manifest.id,
        &second,
        Dependents::After,
        Duration::from_secs(20),
    );
    assert_eq!(replaced.await.unwrap(), Deleted::Gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_finalizer_is_going_and_not_gone() {
    let Some(lab) = Lab::open("finalizer").await else { return };
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "map", "finalizers": ["example.com/hold"]}});
    let manifest = lab.manifest(value.clone());
    let live = lab.applied(value).await;
    let replaced = lab.cluster.replace_by_delete(
        lab.resource(&manifest),
        &manifest.id,
        &live,
        Dependents::After,
        Duration::from_millis(200),
    );
    assert_eq!(replaced.await.unwrap(), Deleted::Going);
    lab.write_as("holder", &manifest, "merge", "", &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(lab.live(&manifest).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_copied_from_a_cluster_is_taken() {
    let Some(lab) = Lab::open("copied").await else { return };
    let mut copied = lab.applied(deployment("app", "app:1")).await;
    copied["metadata"]["creationTimestamp"] = Value::Null;
    // As every manifest is before it is applied.
    let mut manifests = [lab.manifest(copied)];
    bowline_core::kube::normal::normalise(&mut manifests, &Default::default());
    let [manifest] = manifests;
    let Answer::Applied(live) = lab.apply(&manifest, &Expected::Anything, false).await else { panic!() };
    let remembered = remember(&manifest.value, &live, &[]);
    let now = lab.live(&manifest).await;
    assert_eq!(unchanged(&manifest.value, now.as_ref(), Some(&remembered)), Verdict::Unchanged);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_warns_of_is_passed_on() {
    let Some(lab) = Lab::open("warning").await else { return };
    let mut old = deployment("app", "app:1");
    old["spec"]["template"]["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
    let manifest = lab.manifest(old);
    let tried = lab.cluster.dry_run(lab.resource(&manifest), &manifest, false).await.unwrap();
    // The first versions warned of nothing.
    if lab.catalog.server.minor >= 25 {
        assert!(tried.warnings.iter().any(|warning| warning.contains("deprecated")), "{tried:?}");
    }
}
