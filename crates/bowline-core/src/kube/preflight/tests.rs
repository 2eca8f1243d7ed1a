use serde_json::json;

use super::*;
use crate::kube::object::identify;
use crate::kube::order::tests::object;

mod room;

/// A cluster with the namespace `chat` and these nodes.
fn cluster(nodes: &[Value]) -> Cluster {
    let mut cluster = Cluster { nodes: nodes.to_vec(), ..Cluster::default() };
    exists(&mut cluster, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "chat"}}));
    cluster
}

fn exists(cluster: &mut Cluster, value: Value) {
    cluster.existing.insert(identify(&value).unwrap(), value);
}

fn node(name: &str, cpu: &str, memory: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64"}},
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}]}})
}

/// A Deployment that nothing is to be said of: `app` is its label and its container.
fn deployment(name: &str, replicas: u64, spec: Value) -> Manifest {
    let mut pod =
        json!({"containers": [{"name": name, "image": format!("registry/{name}:1"), "readinessProbe": {}}]});
    for (field, value) in spec.as_object().unwrap() {
        match field.as_str() {
            "strategy" => {}
            "container" => {
                for (field, value) in value.as_object().unwrap() {
                    pod["containers"][0][field] = value.clone();
                }
            }
            _ => pod[field] = value.clone(),
        }
    }
    let mut whole = json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod}});
    if let Some(strategy) = spec.get("strategy") {
        whole["strategy"] = strategy.clone();
    }
    object("k8s/app.yaml", &format!("Deployment chat/{name}"), json!({"spec": whole}))
}

fn asking(cpu: &str, memory: &str) -> Value {
    json!({"resources": {"requests": {"cpu": cpu, "memory": memory}}})
}

fn running(app: &str, node: &str, spec: Value) -> RunningPod {
    let mut spec = spec;
    spec["nodeName"] = json!(node);
    RunningPod::read(
        &json!({"metadata": {"namespace": "chat", "name": format!("{app}-x"), "labels": {"app": app}},
        "spec": spec, "status": {"phase": "Running"}}),
    )
    .unwrap()
}

fn found(objects: &[Manifest], cluster: &Cluster) -> Vec<String> {
    let findings = check(objects, cluster);
    let line = |kind: &str, finding: &Finding| format!("{kind} {}: {}", finding.subject, finding.text);
    let refusals = findings.refusals.iter().map(|finding| line("no:", finding));
    refusals.chain(findings.warnings.iter().map(|finding| line("hm:", finding))).collect()
}

#[test]
fn a_release_without_faults_is_let_through() {
    let objects = [
        deployment(
            "user",
            2,
            json!({"container": {"ports": [{"name": "http", "containerPort": 8080}],
            "envFrom": [{"configMapRef": {"name": "settings"}}], "resources": {"requests": {"cpu": "500m"}}}}),
        ),
        object("a.yaml", "ConfigMap chat/settings", json!({"data": {"a": "b"}})),
        object(
            "a.yaml",
            "Service chat/user",
            json!({"spec": {"selector": {"app": "user"}, "ports": [{"port": 80, "targetPort": "http"}]}}),
        ),
        object(
            "a.yaml",
            "Ingress chat/web",
            json!({"spec": {"defaultBackend": {"service": {"name": "user", "port": {"number": 80}}}}}),
        ),
    ];
    assert_eq!(found(&objects, &cluster(&[node("a", "2", "4Gi")])), Vec::<String>::new());
}

#[test]
fn what_is_named_must_be_there_with_its_keys() {
    let key = |name: &str, key: &str| json!({"name": "X", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}});
    let mut cluster = cluster(&[node("a", "2", "4Gi")]);
    exists(
        &mut cluster,
        json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "db", "namespace": "chat"}, "data": {"password": ""}}),
    );
    for (spec, expected) in [
        (json!({"container": {"env": [key("db", "password")]}}), vec![]),
        (
            json!({"container": {"env": [key("db", "pasword"), key("dbs", "x")]}}),
            vec![
                "no: Deployment chat/user: it needs the key `pasword` of Secret chat/db, which has none of that name; \
                 did you mean `password`?",
                "no: Deployment chat/user: Secret chat/dbs, from which its environment is read, is neither in the \
                 release nor in the cluster",
            ],
        ),
        (
            json!({"serviceAccountName": "user", "priorityClassName": "high", "runtimeClassName": "gvisor",
                "imagePullSecrets": [{"name": "ecr"}]}),
            vec![
                "no: Deployment chat/user: RuntimeClass gvisor, which runs it, is neither in the release nor in the cluster",
                "no: Deployment chat/user: PriorityClass high, which sets its priority, is neither in the release nor in \
                 the cluster",
                "no: Deployment chat/user: ServiceAccount chat/user, as which it runs, is neither in the release nor in \
                 the cluster",
                "hm: Deployment chat/user: Secret chat/ecr, with which it pulls images, is neither in the release nor in \
                 the cluster",
            ],
        ),
        (json!({"volumes": [{"configMap": {"name": "none", "optional": true}}]}), vec![]),
        (
            json!({"volumes": [{"persistentVolumeClaim": {"claimName": "data"}}]}),
            vec![
                "no: Deployment chat/user: PersistentVolumeClaim chat/data, which it mounts, is neither in the release \
                  nor in the cluster",
            ],
        ),
    ] {
        let mut lines = found(&[deployment("user", 1, spec.clone())], &cluster);
        lines.sort();
        let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        expected.sort();
        assert_eq!(lines, expected, "{spec}");
    }
    let dbs = ObjectId::namespaced("", "Secret", "chat", "dbs");
    cluster.unreadable.insert(Reference::Object(dbs));
    let lines = found(&[deployment("user", 1, json!({"container": {"env": [key("dbs", "x")]}}))], &cluster);
    assert_eq!(lines, ["hm: rights: could not be looked up, and is not judged: Secret chat/dbs"]);
    let operator = [
        deployment("user", 1, json!({"container": {"env": [key("made", "x")]}})),
        object("a.yaml", "Kafka chat/events", json!({"spec": {"secretName": "made"}})),
    ];
    let lines = found(&operator, &cluster);
    assert!(
        lines.iter().any(|line| line.starts_with("hm: Deployment chat/user: Secret chat/made")),
        "{lines:?}"
    );
}

#[test]
fn namespaces_and_doubles_are_told() {
    let objects = [
        object("a.yaml", "ConfigMap chat/x", json!({})),
        object("b.yaml", "ConfigMap chat/x", json!({})),
        object("b.yaml", "ConfigMap caht/x", json!({})),
    ];
    assert_eq!(
        found(&objects, &cluster(&[])),
        [
            "no: ConfigMap chat/x: it is described twice; first in a.yaml:1:1",
            "no: ConfigMap caht/x: its namespace `caht` is neither in the release nor in the cluster",
        ]
    );
}

#[test]
fn services_find_their_pods() {
    let service = |spec: Value| object("a.yaml", "Service chat/user", json!({"spec": spec}));
    let user = || {
        deployment("user-server", 1, json!({"container": {"ports": [{"name": "http", "containerPort": 80}]}}))
    };
    let typo = json!({"selector": {"app": "user-servr"}});
    let refused = "Service chat/user: its selector app=user-servr takes no pods; the nearest are those of \
                   Deployment chat/user-server, with app=user-server";
    let cluster = cluster(&[node("a", "2", "4Gi")]);
    assert_eq!(found(&[user(), service(typo.clone())], &cluster), [format!("no: {refused}")]);
    assert_eq!(
        found(
            &[user(), service(json!({"selector": {"app": "user-server"}, "ports": [{"targetPort": "htp"}]}))],
            &cluster
        ),
        [
            "no: Service chat/user: its targetPort `htp` is no port of the pods that it takes; did you mean `http`?"
        ]
    );
    assert_eq!(
        found(&[service(json!({"type": "ExternalName", "selector": {"app": "x"}}))], &cluster),
        [""; 0]
    );
    assert_eq!(found(&[service(json!({}))], &cluster), [""; 0]);

    let mut before = cluster.clone();
    exists(&mut before, service(typo.clone()).value);
    assert_eq!(found(&[user(), service(typo.clone())], &before), [format!("hm: {refused}")]);
    let mut operated = cluster;
    operated.pods.push(running("user-servr", "a", json!({"containers": []})));
    assert_eq!(found(&[user(), service(typo)], &operated), [""; 0], "somebody's pods are found");
}

#[test]
fn ingresses_find_their_services() {
    let ingress = |name: &str, port: Value| {
        object(
            "a.yaml",
            "Ingress chat/web",
            json!({"spec": {"defaultBackend": {"service": {"name": name, "port": port}}}}),
        )
    };
    let mut cluster = cluster(&[]);
    exists(
        &mut cluster,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "user", "namespace": "chat"},
        "spec": {"ports": [{"port": 80, "name": "http"}]}}),
    );
    for (name, port, expected) in [
        ("user", json!({"number": 80}), None),
        ("user", json!({"name": "http"}), None),
        (
            "user",
            json!({"number": 8080}),
            Some("it routes to port 8080 of Service `user`, which has 80 (http)"),
        ),
        (
            "users",
            json!({"number": 80}),
            Some(
                "it routes to the Service `users`, which is neither in the release nor in \
                                               the cluster; did you mean `user`?",
            ),
        ),
    ] {
        let expected: Vec<String> =
            expected.iter().map(|text| format!("no: Ingress chat/web: {text}")).collect();
        assert_eq!(found(&[ingress(name, port)], &cluster), expected);
    }
}

#[test]
fn workloads_must_take_their_own_pods() {
    let mut wrong = deployment("user", 1, json!({}));
    wrong.value["spec"]["selector"]["matchLabels"]["app"] = json!("users");
    let cluster = cluster(&[node("a", "2", "4Gi")]);
    assert_eq!(
        found(&[wrong.clone()], &cluster),
        [
            "no: Deployment chat/user: its selector does not take the pods of its own template: they lack app=users"
        ]
    );
    wrong.value["spec"]["selector"] = json!({});
    assert!(found(&[wrong], &cluster)[0].contains("it has no spec.selector"));
}

#[test]
fn claims_find_a_class() {
    let claim = |spec: Value| [object("a.yaml", "PersistentVolumeClaim chat/data", json!({"spec": spec}))];
    let class = |name: &str, default: bool| {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()}}})
    };
    let mut cluster = cluster(&[]);
    let none = "PersistentVolumeClaim chat/data: it names no StorageClass, and";
    assert_eq!(found(&claim(json!({})), &cluster), [format!("no: {none} the cluster has no default one")]);
    exists(&mut cluster, class("gp2", true));
    assert_eq!(found(&claim(json!({})), &cluster), [""; 0]);
    exists(&mut cluster, class("gp3", true));
    assert_eq!(
        found(&claim(json!({})), &cluster),
        [format!("hm: {none} gp2 and gp3 are default ones: the youngest is taken")]
    );
    assert_eq!(
        found(&claim(json!({"storageClassName": "gp4"})), &cluster),
        [
            "no: PersistentVolumeClaim chat/data: it asks for the StorageClass `gp4`, which does not exist, and no volume \
          has that class; did you mean `gp2`?"
        ]
    );
    let mut manual = claim(json!({"storageClassName": "manual"})).to_vec();
    manual.push(object("a.yaml", "PersistentVolume disk", json!({"spec": {"storageClassName": "manual"}})));
    assert_eq!(found(&manual, &cluster), [""; 0]);
}

#[test]
fn weaknesses_are_told_once() {
    let mut bare = deployment("user", 2, json!({}));
    bare.value["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "app", "image": "a:1"}, {"name": "proxy", "image": "b:1"}]);
    let objects = [
        bare,
        object(
            "a.yaml",
            "HorizontalPodAutoscaler chat/user",
            json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "user"}}}),
        ),
    ];
    assert_eq!(
        found(&objects, &cluster(&[node("a", "2", "4Gi")])),
        [
            "hm: Deployment chat/user: weak: none of its containers has a readinessProbe, so it counts as ready as soon as it runs",
            "hm: Deployment chat/user: it sets replicas to 2, which HorizontalPodAutoscaler chat/user sets too: each deploy \
             undoes the other",
        ]
    );
}

#[test]
fn what_is_to_be_looked_up_and_allowed_is_said() {
    let objects = [
        deployment("user", 1, json!({"volumes": [{"secret": {"secretName": "tls"}}]})),
        object("a.yaml", "Service chat/users", json!({"spec": {"selector": {"app": "users"}}})),
        object("a.yaml", "PersistentVolumeClaim chat/data", json!({"spec": {}})),
    ];
    let looked: Vec<String> = references(&objects).iter().map(ToString::to_string).collect();
    assert_eq!(
        looked,
        [
            "Namespace chat",
            "PersistentVolumeClaim chat/data",
            "Secret chat/tls",
            "Service chat/users",
            "Deployment chat/user",
            "every LimitRange of chat",
            "every Node",
            "every PersistentVolume",
            "every Pod",
            "every ResourceQuota of chat",
            "every DaemonSet of chat",
            "every Deployment of chat",
            "every StatefulSet of chat",
            "every HorizontalPodAutoscaler of chat",
            "every StorageClass",
        ]
    );
    let user = ObjectId::namespaced("apps", "Deployment", "chat", "user");
    let rights = rights([(&user, Deed::Change), (&user, Deed::Await)], "chat");
    let said: Vec<String> = rights.iter().map(ToString::to_string).collect();
    for right in
        ["patch Deployment in chat", "get Pod/log in chat", "update Lease in chat", "create Secret in chat"]
    {
        assert!(said.iter().any(|there| there == right), "{right}: {said:?}");
    }
    assert!(!said.iter().any(|there| there == "create Deployment in chat"), "{said:?}");
    let denied = rights.iter().filter(|right| right.kind.kind == "Deployment").cloned().collect();
    let cluster = Cluster { denied, ..cluster(&[node("a", "2", "4Gi")]) };
    let lines = found(&[deployment("user", 1, json!({}))], &cluster);
    assert_eq!(lines, ["no: rights: not allowed: get, list, patch, watch Deployment in chat"]);
}

#[test]
fn only_what_is_needed_is_refused() {
    let namespace = ObjectId::of_cluster("", "Namespace", "chat");
    let denied = rights([(&namespace, Deed::Create)], "own");
    let denied: BTreeSet<Right> = denied.into_iter().filter(|right| right.kind.kind == "Namespace").collect();
    let log = Right {
        verb: "get",
        kind: super::super::object::Kind::new("", "Pod"),
        part: Some("log"),
        namespace: Some("chat".into()),
    };
    let denied = denied.into_iter().chain([log]).collect();
    let cluster = Cluster { denied, ..cluster(&[]) };
    assert_eq!(
        found(&[], &cluster),
        [
            "no: rights: not allowed: create, get, patch Namespace in chat",
            "hm: rights: not allowed: get Pod/log in chat",
        ]
    );
}
