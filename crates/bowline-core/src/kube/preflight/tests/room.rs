//! Whether pods fit: nodes, ports, volumes, quotas.

use serde_json::json;

use super::*;

#[test]
fn images_must_run_on_the_nodes() {
    let mut arm = node("b", "2", "4Gi");
    arm["metadata"]["labels"]["kubernetes.io/arch"] = json!("arm64");
    let mut cluster = cluster(&[node("a", "2", "4Gi"), arm]);
    let amd = ImageFact::Platforms(BTreeSet::from(["linux/amd64".parse().unwrap()]));
    let s390 = ImageFact::Platforms(BTreeSet::from(["linux/s390x".parse().unwrap()]));
    let picky = json!({"nodeSelector": {"kubernetes.io/arch": "amd64"}});
    for (fact, spec, expected) in [
        (ImageFact::Missing, json!({}), Some("no: {}its image registry/user:1 is not in the registry")),
        (
            amd.clone(),
            json!({}),
            Some("hm: {}its image registry/user:1 is for linux/amd64; on b (linux/arm64) it does not run"),
        ),
        (amd, picky, None),
        (
            s390,
            json!({}),
            Some(
                "no: {}its image registry/user:1 is for linux/s390x, the nodes that may run it are linux/amd64",
            ),
        ),
    ] {
        cluster.images.insert("registry/user:1".into(), fact);
        let expected: Vec<String> =
            expected.iter().map(|text| text.replace("{}", "Deployment chat/user: ")).collect();
        assert_eq!(found(&[deployment("user", 1, spec)], &cluster), expected);
    }
    let latest = deployment("web", 1, json!({"container": {"image": "nginx"}}));
    assert_eq!(
        found(&[latest], &cluster),
        ["hm: Deployment chat/web: nginx may be another image on each node, as its tag moves"]
    );
}

#[test]
fn pods_find_room_on_the_nodes() {
    let user = |replicas, cpu: &str, memory: &str| {
        deployment("user", replicas, json!({"container": asking(cpu, memory)}))
    };
    let nodes = [node("a", "2", "4Gi"), node("b", "2", "4Gi")];
    for (objects, expected) in [
        (vec![user(4, "1", "1Gi")], vec![]),
        (
            vec![user(5, "1", "1Gi")],
            vec![
                "no: Deployment chat/user: 1 of its 5 pods find no room: each asks for 1 CPU, 1Gi memory; free on a 2 CPU, \
                  4Gi memory; on b 2 CPU, 4Gi memory",
            ],
        ),
        (
            vec![user(1, "3", "1Gi")],
            vec![
                "no: Deployment chat/user: one pod asks for 3 CPU, 1Gi memory, more than any node that may run it has; \
                  b offers 2 CPU, 4Gi memory",
            ],
        ),
        (
            vec![user(3, "1", "1Gi"), deployment("chat", 2, json!({"container": asking("1", "1Gi")}))],
            vec!["no: nodes: all pods of the release together ask for 5 CPU, the nodes have 4 CPU for them"],
        ),
        (
            vec![user(2, "1500m", "1Gi"), deployment("chat", 1, json!({"container": asking("1", "1Gi")}))],
            vec![
                "hm: Deployment chat/chat: 1 of its 1 pod may find no room once the other pods of the release are placed: \
                  each asks for 1 CPU, 1Gi memory",
            ],
        ),
        (
            vec![deployment("user", 1, json!({"nodeSelector": {"disk": "ssd"}}))],
            vec![
                "no: Deployment chat/user: no node may run its pods (2 nodes: without the label disk=ssd of its nodeSelector)",
            ],
        ),
    ] {
        assert_eq!(found(&objects, &cluster(&nodes)), expected);
    }
    let growing = Cluster { grows: true, ..cluster(&nodes) };
    assert!(found(&[user(5, "1", "1Gi")], &growing)[0].starts_with("hm: "), "nodes will come");
    let settled = Cluster { unchanged: [user(1, "1", "1Gi").id].into(), ..cluster(&nodes) };
    assert_eq!(found(&[user(5, "1", "1Gi")], &settled), [""; 0], "no new pods come");
}

#[test]
fn a_rolling_update_needs_room_for_one_pod_more() {
    let container = asking("1", "1Gi");
    let user =
        |strategy: Value| [deployment("user", 2, json!({"container": container, "strategy": strategy}))];
    let mut cluster = cluster(&[node("a", "2500m", "4Gi")]);
    let pod = || running("user", "a", json!({"containers": [container]}));
    cluster.pods = vec![pod(), pod()];
    assert_eq!(
        found(&user(json!({})), &cluster),
        [
            "no: Deployment chat/user: its rolling update would hang: a new pod, which asks for 1 CPU, 1Gi memory, must run \
          before an old one goes; free on a 500m CPU, 2Gi memory"
        ]
    );
    let yielding = json!({"rollingUpdate": {"maxUnavailable": 1}});
    assert_eq!(
        found(&user(yielding), &cluster),
        [
            "hm: Deployment chat/user: its rolling update finds no room for a pod more: up to 1 of its 2 pods will be away \
          meanwhile; each asks for 1 CPU, 1Gi memory; free on a 500m CPU, 2Gi memory"
        ]
    );
    assert_eq!(found(&user(json!({"type": "Recreate"})), &cluster), [""; 0]);
    cluster.nodes = vec![node("a", "3", "4Gi")];
    assert_eq!(found(&user(json!({})), &cluster), [""; 0]);
}

#[test]
fn ports_of_nodes_and_distances_limit_how_many_pods_there_are() {
    let port = json!({"ports": [{"containerPort": 80, "hostPort": 80}]});
    let user = |replicas, strategy: Value| {
        [deployment("user", replicas, json!({"container": port, "strategy": strategy}))]
    };
    let mut cluster = cluster(&[node("a", "2", "4Gi"), node("b", "2", "4Gi")]);
    let said = |lines: &[String], start: &str, part: &str| {
        assert!(lines.len() == 1 && lines[0].starts_with(start) && lines[0].contains(part), "{lines:?}");
    };
    said(
        &found(&user(3, json!({})), &cluster),
        "no:",
        "of its 3 pods only 2 can run: each takes port 80 of its node",
    );
    said(&found(&user(2, json!({})), &cluster), "hm:", "the next rolling update finds none");
    assert_eq!(found(&user(1, json!({})), &cluster), [""; 0]);
    let pod = |node| running("user", node, json!({"containers": [port]}));
    cluster.pods = vec![pod("a"), pod("b")];
    said(&found(&user(2, json!({})), &cluster), "no:", "its rolling update would hang");
    assert_eq!(found(&user(2, json!({"rollingUpdate": {"maxSurge": 0}})), &cluster), [""; 0]);
    cluster.pods = vec![running("other", "a", json!({"containers": [port]}))];
    said(&found(&user(2, json!({})), &cluster), "no:", "only 1 can run");

    cluster.pods.clear();
    let apart = |key: &str| {
        json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": key, "labelSelector": {"matchLabels": {"app": "user"}}}]}})
    };
    let user =
        |replicas| [deployment("user", replicas, json!({"affinity": apart("kubernetes.io/hostname")}))];
    said(
        &found(&user(3), &cluster),
        "no:",
        "allows one for each kubernetes.io/hostname, of which its nodes have 2",
    );
    assert_eq!(found(&user(1), &cluster), [""; 0]);
    let zone = [deployment("user", 2, json!({"affinity": apart("kubernetes.io/os")}))];
    said(&found(&zone, &cluster), "no:", "only 1 can run");
}

#[test]
fn volumes_are_shared_by_those_who_can() {
    let mounts = |strategy: Value| json!({"strategy": strategy, "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
    let claim = |mode: &str| {
        object(
            "a.yaml",
            "PersistentVolumeClaim chat/data",
            json!({"spec": {"storageClassName": "", "accessModes": [mode]}}),
        )
    };
    let two = cluster(&[node("a", "2", "4Gi"), node("b", "2", "4Gi")]);
    let one = cluster(&[node("a", "2", "4Gi")]);
    let lines = |replicas, mode, strategy, cluster: &Cluster| {
        found(&[deployment("user", replicas, mounts(strategy)), claim(mode)], cluster)
    };
    for (replicas, mode, strategy, cluster, part) in [
        (
            2,
            "ReadWriteOnce",
            json!({}),
            &two,
            Some("hm: Deployment chat/user: its 2 pods share the claim `data`"),
        ),
        (
            1,
            "ReadWriteOnce",
            json!({}),
            &two,
            Some("hm: Deployment chat/user: its rolling update starts a new pod before"),
        ),
        (1, "ReadWriteOnce", json!({"type": "Recreate"}), &two, None),
        (2, "ReadWriteMany", json!({}), &two, None),
        (2, "ReadWriteOnce", json!({}), &one, None),
        (
            2,
            "ReadWriteOncePod",
            json!({}),
            &one,
            Some("no: Deployment chat/user: its 2 pods share the claim `data`"),
        ),
    ] {
        let lines = lines(replicas, mode, strategy, cluster);
        assert_eq!(lines.len(), usize::from(part.is_some()), "{lines:?}");
        assert!(part.is_none_or(|part| lines[0].starts_with(part)), "{lines:?}");
    }
    let folder = |path: &str| {
        json!({"volumes": [{"name": "data", "hostPath": {"path": path}}],
            "container": {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}})
    };
    let lines = found(&[deployment("user", 1, folder("/srv/data"))], &two);
    assert_eq!(
        lines,
        [
            "hm: Deployment chat/user: it writes into /srv/data of whatever node it comes to; on another node it finds nothing"
        ]
    );
    assert_eq!(found(&[deployment("user", 1, folder("/var/run/docker.sock"))], &two), [""; 0]);
    assert_eq!(found(&[deployment("user", 1, folder("/srv/data"))], &one), [""; 0]);
}

#[test]
fn a_local_volume_keeps_its_pods_on_its_node() {
    let objects = |affinity: Value| {
        let spec = json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "container": asking("2", "1Gi"), "strategy": {"type": "Recreate"}});
        [
            deployment("db", 1, spec),
            object(
                "a.yaml",
                "PersistentVolumeClaim chat/data",
                json!({"spec": {"volumeName": "disk", "accessModes": ["ReadWriteOnce"]}}),
            ),
            object(
                "a.yaml",
                "PersistentVolume disk",
                json!({"spec": {"local": {"path": "/disk"}, "nodeAffinity": {"required": affinity}}}),
            ),
        ]
    };
    let on = |name: &str| {
        json!({"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}]}]})
    };
    let cluster = cluster(&[node("a", "1", "4Gi"), node("b", "2", "4Gi")]);
    assert_eq!(found(&objects(on("b")), &cluster), [""; 0]);
    assert!(found(&objects(on("a")), &cluster)[0].contains("more than any node that may run it has"));
    assert!(found(&objects(on("c")), &cluster)[0].contains("2 nodes: out of reach of PersistentVolume disk"));
}

#[test]
fn quotas_are_kept() {
    let mut cluster = cluster(&[node("a", "8", "16Gi")]);
    exists(
        &mut cluster,
        json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "limits", "namespace": "chat"},
        "spec": {"hard": {"requests.cpu": "2", "pods": "3", "services": 1}},
        "status": {"used": {"requests.cpu": "1", "pods": "1", "services": "1"}}}),
    );
    let user = |replicas, cpu: &str| deployment("user", replicas, json!({"container": asking(cpu, "1Gi")}));
    assert_eq!(found(&[user(1, "1")], &cluster), [""; 0]);
    assert_eq!(
        found(&[user(3, "1")], &cluster),
        [
            "no: ResourceQuota chat/limits: the release brings 3 pods more, 1 pods of 3 pods (pods) are used",
            "no: ResourceQuota chat/limits: the release brings 3 CPU more, 1 CPU of 2 CPU (requests.cpu) are used",
        ]
    );
    assert_eq!(
        found(&[deployment("user", 1, json!({}))], &cluster),
        [
            "no: Deployment chat/user: ResourceQuota chat/limits limits cpu, and user says no requests.cpu: the API server \
          takes no such pod"
        ]
    );
    let service = object("a.yaml", "Service chat/user", json!({"spec": {}}));
    assert_eq!(
        found(&[service], &cluster),
        [
            "no: ResourceQuota chat/limits: the release brings 1 services more, 1 services of 1 services (services) are used"
        ]
    );
    cluster.pods = vec![running("user", "a", json!({"containers": [asking("1", "1Gi")]}))];
    assert_eq!(found(&[user(1, "1")], &cluster), [""; 0], "the old pod's place, and one more while it rolls");
    let lines = found(&[user(1, "1500m")], &cluster);
    assert!(lines[0].contains("its rolling update starts a pod more before an old one goes"), "{lines:?}");
}

#[test]
fn a_large_release_is_judged_at_once() {
    let mut objects = Vec::new();
    for number in 0..1000 {
        let name = format!("user{number}");
        objects.push(deployment(&name, 1, json!({"container": asking("10m", "10Mi")})));
        let spec = json!({"spec": {"selector": {"app": name}}});
        objects.push(object("a.yaml", &format!("Service chat/{name}"), spec));
    }
    let nodes: Vec<Value> = (0..50).map(|number| node(&format!("node{number}"), "8", "16Gi")).collect();
    assert_eq!(found(&objects, &cluster(&nodes)), [""; 0]);
}
