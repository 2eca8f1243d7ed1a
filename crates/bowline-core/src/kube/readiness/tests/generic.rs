//! Services, definitions, namespaces and all other kinds.

use serde_json::{Value, json};

use super::samples::*;
use super::*;

const UID: &str = "service-uid";

fn service(patch: Value) -> Value {
    let base = json!({
        "metadata": {"name": "user", "namespace": "chat", "uid": UID, "creationTimestamp": CHANGED},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "selector": {"app": "user"},
                 "ports": [{"port": 8010, "protocol": "TCP", "targetPort": 8010}]},
        "status": {"loadBalancer": {}}
    });
    with(base, patch)
}

#[test]
fn a_service_is_up_when_it_has_an_address() {
    let judge = |patch: Value, pods: Vec<Value>| {
        Scene { pods, ..Scene::default() }.judge("", "Service", &service(patch))
    };
    assert_eq!(judge(json!({}), vec![]), "ready: it has an address");
    assert_eq!(judge(json!({}), vec![pod("a")]), "ready: it has an address");
    assert_eq!(
        judge(json!({"spec": {"selector": {"app": "usre"}}}), vec![pod("a")]),
        "ready: it has an address, but selects no pod"
    );
    assert_eq!(judge(json!({"spec": {"clusterIP": "None"}}), vec![]), "ready: it has an address");
    assert_eq!(judge(json!({"spec": {"clusterIP": null}}), vec![]), "starting: it has no address yet");
    assert_eq!(
        judge(json!({"spec": {"type": "ExternalName", "clusterIP": null}}), vec![]),
        "ready: it is a name for something else"
    );
    assert!(selects(&service(json!({})), Some(&json!({"app": "user", "tier": "x"}))));
    assert!(!selects(&service(json!({"spec": {"selector": null}})), Some(&json!({"app": "user"}))));
}

#[test]
fn an_outer_address_is_waited_for_where_somebody_gives_one() {
    let balanced = |patch: Value| service(with(json!({"spec": {"type": "LoadBalancer"}}), patch));
    let judge = |object: &Value, events: Vec<Value>, now: &str| {
        Scene { events, ..Scene::default() }.judge_at("", "Service", object, now)
    };
    let (soon, later) = ("2026-11-22T10:00:02Z", "2026-11-22T10:05:00Z");
    let waits = "starting: it waits for the address of its load balancer";
    let plain = balanced(json!({}));
    assert_eq!(judge(&plain, vec![], soon), waits);
    assert_eq!(
        judge(&plain, vec![], later),
        "ready: it has an address inside the cluster; nobody gives it an outer one"
    );
    let marked =
        balanced(json!({"metadata": {"finalizers": ["service.kubernetes.io/load-balancer-cleanup"]}}));
    assert_eq!(judge(&marked, vec![], later), waits);
    let ensuring = event(UID, "EnsuringLoadBalancer", "Ensuring load balancer", soon);
    assert_eq!(judge(&plain, vec![ensuring.clone()], later), waits);
    let failed = event(UID, "SyncLoadBalancerFailed", "Error syncing load balancer: no subnets", later);
    assert_eq!(
        judge(&marked, vec![ensuring, failed], later),
        "starting: SyncLoadBalancerFailed: Error syncing load balancer: no subnets"
    );
    let given =
        balanced(json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7", "ipMode": "VIP"}]}}}));
    assert_eq!(judge(&given, vec![], soon), "ready: it has an outer address");
}

fn conditioned(conditions: Value) -> Value {
    json!({"metadata": {"name": "x", "generation": 2}, "status": {"conditions": conditions}})
}

#[test]
fn definitions_apis_and_namespaces_have_rules_of_their_own() {
    let accepted = json!({"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found"});
    let established = json!({"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted"});
    let taken = json!({"type": "NamesAccepted", "status": "False", "reason": "PluralConflict", "message": "\"rooms\" is already in use"});
    let installing = json!({"type": "Established", "status": "False", "reason": "Installing", "message": "the initial names have been accepted"});
    let definition = |conditions: Value| {
        Scene::default().judge("apiextensions.k8s.io", "CustomResourceDefinition", &conditioned(conditions))
    };
    assert_eq!(definition(json!([accepted, established])), "ready: its kind is served");
    assert_eq!(definition(json!([accepted, installing])), "starting: its kind is not served yet");
    assert_eq!(definition(json!([])), "starting: its kind is not served yet");
    assert_eq!(
        definition(json!([taken, established])),
        "failed: its names are taken: PluralConflict: \"rooms\" is already in use"
    );

    let api = |status: &str| {
        let available = json!([{"type": "Available", "status": status, "reason": "FailedDiscoveryCheck", "message": "no response"}]);
        Scene::default().judge("apiregistration.k8s.io", "APIService", &conditioned(available))
    };
    assert_eq!(api("True"), "ready: it answers");
    assert_eq!(api("False"), "starting: FailedDiscoveryCheck: no response");

    let active = json!({"metadata": {"name": "chat"}, "status": {"phase": "Active"}});
    let leaving = json!({
        "metadata": {"name": "chat", "deletionTimestamp": CHANGED},
        "status": {"phase": "Terminating", "conditions": [
            {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "reason": "ResourcesDiscovered"},
            {"type": "NamespaceFinalizersRemaining", "status": "True", "reason": "SomeFinalizersRemain",
             "message": "Some content in the namespace has finalizers remaining: example.org/x in 1 resource instances"}]}
    });
    assert_eq!(Scene::default().judge("", "Namespace", &active), "ready: active");
    assert_eq!(
        Scene::default().judge("", "Namespace", &leaving),
        "failed: it is being deleted, and nothing new can be made in it: SomeFinalizersRemain: Some content in the namespace \
         has finalizers remaining: example.org/x in 1 resource instances"
    );
}

#[test]
fn what_has_no_state_is_up_when_it_exists() {
    for (group, kind) in [
        ("", "ConfigMap"),
        ("", "Secret"),
        ("networking.k8s.io", "Ingress"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
        ("autoscaling", "HorizontalPodAutoscaler"),
        ("policy", "PodDisruptionBudget"),
        ("storage.k8s.io", "StorageClass"),
    ] {
        // A condition of a built-in kind that is no verdict on it.
        let object = conditioned(json!([{"type": "Ready", "status": "False"}]));
        assert_eq!(Scene::default().judge(group, kind, &object), "ready: it exists", "{kind}");
    }
}

#[test]
fn custom_resources_are_judged_by_the_conventions() {
    let judge = |object: &Value| Scene::default().judge("cert-manager.io", "Certificate", object);
    let ready = |status: &str| json!({"type": "Ready", "status": status, "reason": "DoesNotExist", "message": "Issuing certificate"});
    for (object, expected) in [
        (conditioned(json!([])), "ready: it exists"),
        (json!({"metadata": {"name": "x", "generation": 2}}), "ready: it exists"),
        (conditioned(json!([ready("True")])), "ready: its controller calls it ready"),
        (conditioned(json!([ready("False")])), "starting: DoesNotExist: Issuing certificate"),
        (
            conditioned(json!([with(ready("True"), json!({"observedGeneration": 1}))])),
            "starting: its controller has not seen the change yet",
        ),
        (
            with(conditioned(json!([ready("True")])), json!({"status": {"observedGeneration": 1}})),
            "starting: its controller has not seen the change yet",
        ),
        (
            conditioned(
                json!([{"type": "Stalled", "status": "True", "message": "no such chart"}, ready("False")]),
            ),
            "failed: its controller has given up: no such chart",
        ),
        (
            conditioned(
                json!([{"type": "Reconciling", "status": "True", "reason": "Progressing"}, ready("True")]),
            ),
            "starting: Progressing",
        ),
    ] {
        assert_eq!(judge(&object), expected);
    }
}

#[test]
fn what_must_be_watched_is_told_by_kind() {
    let deployment = wanted_related(&Kind::new("apps", "Deployment"));
    assert!(deployment.contains(&Related::ReplicaSets) && deployment.contains(&Related::Pods));
    assert!(!wanted_related(&Kind::new("batch", "Job")).contains(&Related::ReplicaSets));
    assert!(wanted_related(&Kind::new("", "ConfigMap")).is_empty());
}
