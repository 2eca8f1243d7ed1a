use serde_json::{Value, json};

use super::*;
use crate::kube::manifest::read;
use crate::kube::translation::{Given, translate};
use crate::parity::compose::Claim;

fn host(config: Value) -> Side {
    compose::describe(config, "chat", &BTreeMap::new(), ("/x", "/host")).unwrap()
}

fn deployed(text: &str) -> Side {
    let files = BTreeMap::from([("a.yaml".to_owned(), text.to_owned())]);
    let reading = read(&files, Some("chat"), |_| None);
    assert_eq!(reading.problems, []);
    cluster::describe(&reading.manifests, &BTreeMap::new(), |_| None)
}

fn rows(one: &Side, other: &Side) -> Vec<String> {
    let text = |side: &Option<String>| side.clone().unwrap_or_else(|| "-".into());
    compare(one, other)
        .iter()
        .map(|found| {
            format!("{} {}: {} | {}", found.service, found.what, text(&found.one), text(&found.other))
        })
        .collect()
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: { name: user-deployment }
spec:
  replicas: 2
  template:
    metadata: { labels: { app: user } }
    spec:
      containers:
        - name: user
          image: acme/user:2
          args: [run, $$(X)]
          envFrom: [{ configMapRef: { name: settings } }]
          env:
            - { name: A, value: '2' }
            - { name: DB_PASSWORD, valueFrom: { secretKeyRef: { name: s, key: k } } }
            - { name: API_TOKEN, value: two }
          ports: [{ name: http, containerPort: 8080 }]
          readinessProbe: { httpGet: { path: /h, port: http } }
          resources: { limits: { memory: 1Gi, cpu: '1' } }
          volumeMounts: [{ name: d, mountPath: /data }, { name: c, mountPath: /c }, { name: t, mountPath: /t }]
      volumes:
        - { name: d, persistentVolumeClaim: { claimName: user-pvc } }
        - { name: c, configMap: { name: settings } }
        - { name: t, emptyDir: {} }
---
apiVersion: v1
kind: Service
metadata: { name: user }
spec: { type: NodePort, selector: { app: user }, ports: [{ port: 80, targetPort: http }] }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { B: b, C: c }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: extra }
spec: { template: { spec: { containers: [{ name: x, image: x }] } } }
";

#[test]
fn every_aspect_of_a_service_is_compared() {
    let one = host(json!({"services": {
        "user": {
            "image": "acme/user:1",
            "environment": {"A": "1", "B": "b", "DB_PASSWORD": "x", "API_TOKEN": "one", "D": "d"},
            "command": ["run", "$$(Y)"],
            "ports": [{"target": 8080, "published": "8080", "protocol": "tcp"}, {"target": 9, "protocol": "udp"}],
            "healthcheck": {"test": ["CMD", "curl", "-f", "http://localhost:8080/health"]},
            "mem_limit": "536870912", "cpus": 0.5, "scale": 3,
            "volumes": [{"type": "volume", "source": "data", "target": "/data"},
                {"type": "bind", "source": "/x/c", "target": "/c"}, {"type": "bind", "source": "/x/t", "target": "/t"}],
        },
        "kafka2": {"image": "kafka", "scale": 0},
        "mail": {"image": "mail"},
    }}));
    assert_eq!(
        rows(&one, &deployed(DEPLOYMENT)),
        [
            "mail service: runs mail:latest | -",
            "user image: acme/user:1 | acme/user:2",
            "user command: … run $(Y) | … run $(X)",
            "user env A: 1 | 2",
            "user env API_TOKEN: (a secret) | (another)",
            "user env C: - | c",
            "user env D: d | -",
            "user port: 9/udp | -",
            "user volume /t: /host/t of the host | empty at each start",
            "user health: GET :8080/health | GET :8080/h",
            "user memory: 512Mi | 1Gi",
            "user cpus: 500m | 1000m",
            "user replicas: 3 | 2",
            "extra service: - | runs x:latest",
        ]
    );
}

#[test]
fn a_target_does_not_differ_from_itself() {
    let side = deployed(DEPLOYMENT);
    assert_eq!(compare(&side, &side), []);
}

#[test]
fn services_meet_by_the_image_that_only_they_run() {
    let claim =
        BTreeMap::from([("user-server".to_owned(), Claim { ours: Some("user".into()), probe: None })]);
    let config = json!({"services": {"user-server": {"image": "main_user"}}});
    let one = compose::describe(config, "chat", &claim, ("", "")).unwrap();
    let files = BTreeMap::from([("a.yaml".to_owned(), "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: u}\nspec: {template: {spec: {containers: [{name: c, image: main_user}]}}}\n".to_owned())]);
    let reading = read(&files, None, |_| None);
    let other = cluster::describe(&reading.manifests, &BTreeMap::new(), |_| Some("user".into()));
    assert_eq!(compare(&one, &other), []);
}

#[test]
fn what_was_translated_differs_only_in_what_was_said() {
    let config = json!({"name": "chat", "services": {
        "web": {
            "image": "acme/web", "environment": {"A": "$$x $$(B)", "DB_PASSWORD": "x"}, "command": ["a", "$$(b)"],
            "ports": [{"target": 80, "published": "8080", "protocol": "tcp"}], "expose": ["81"],
            "healthcheck": {"test": ["CMD-SHELL", "curl -f http://localhost/h || exit 1"]},
            "mem_limit": "536870912", "cpus": 0.5, "scale": 3, "tmpfs": ["/run"],
            "depends_on": {"db": {"condition": "service_started"}},
            "secrets": [{"source": "s", "target": "/run/secrets/s"}],
        },
        "db": {"image": "postgres:15", "volumes": [{"type": "volume", "source": "data", "target": "/var/lib/postgresql/data"}],
            "healthcheck": {"test": ["CMD-SHELL", "pg_isready -U $$USER"]}},
    }, "volumes": {"data": {"name": "chat_data"}}, "secrets": {"s": {"file": "/x/s"}}});
    let given = Given {
        config: config.clone(),
        project: "chat".into(),
        namespace: "chat".into(),
        ..Given::default()
    };
    let translation = translate(&given).unwrap();
    let texts: Vec<String> = translation.documents.iter().map(|document| document.text.clone()).collect();
    let files = BTreeMap::from([("a.yaml".to_owned(), texts.join("---\n"))]);
    let reading = read(&files, Some("chat"), |_| None);
    assert_eq!(reading.problems, []);
    let other = cluster::describe(&reading.manifests, &BTreeMap::new(), |_| None);
    assert_eq!(rows(&host(config), &other), ["web from outside: 80 | -"]);
}
