use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::kube::manifest::read;

fn translated(config: Value) -> Translation {
    translate(&Given {
        config,
        project: "chat".into(),
        target: "cluster".into(),
        namespace: "chat".into(),
        ..Given::default()
    })
    .unwrap()
}

fn of_service(service: Value) -> Translation {
    translated(json!({"services": {"app": service}}))
}

fn document<'t>(translation: &'t Translation, path: &str) -> &'t Value {
    let paths: Vec<&str> = translation.documents.iter().map(|document| document.path.as_str()).collect();
    let found = translation.documents.iter().find(|document| document.path == path);
    &found.unwrap_or_else(|| panic!("{path} is none of {paths:?}")).value
}

fn says(translation: &Translation, words: &str) -> bool {
    translation.remarks.iter().any(|remark| remark.text.contains(words))
}

type Field = (Value, &'static str, &'static str, Value);

const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

#[track_caller]
fn check(fields: impl IntoIterator<Item = Field>) {
    for (service, at, field, expected) in fields {
        let translation = of_service(service.clone());
        let found = document(&translation, "deployment/app.yaml").pointer(&format!("{at}{field}"));
        assert_eq!(found, Some(&expected), "{service}");
    }
}

/// One key of a service, and where which value stands in its Deployment.
#[test]
fn keys_of_a_service_become_fields_of_a_deployment() {
    check([
        (json!({"scale": 3}), "", "/spec/replicas", json!(3)),
        (json!({"deploy": {"replicas": 0}}), "", "/spec/replicas", json!(0)),
        (json!({}), CONTAINER, "/image", json!("chat-app")),
        (json!({"image": "a:1"}), CONTAINER, "/image", json!("a:1")),
        (json!({"entrypoint": ["/x", "$$A"]}), CONTAINER, "/command", json!(["/x", "$A"])),
        (json!({"command": ["a", "$$(B)"]}), CONTAINER, "/args", json!(["a", "$$(B)"])),
        (
            json!({"environment": {"A": "$$(B) $$"}}),
            CONTAINER,
            "/env",
            json!([{"name": "A", "value": "$$(B) $"}]),
        ),
        (json!({"working_dir": "/w"}), CONTAINER, "/workingDir", json!("/w")),
        (json!({"tty": true}), CONTAINER, "/tty", json!(true)),
        (json!({"pull_policy": "always"}), CONTAINER, "/imagePullPolicy", json!("Always")),
        (
            json!({"mem_limit": "536870912", "cpus": 0.5}),
            CONTAINER,
            "/resources",
            json!({"limits": {"cpu": "500m", "memory": "512Mi"}}),
        ),
        (
            json!({"deploy": {"resources": {"limits": {"cpus": "2"}, "reservations": {"memory": "1000"}}}}),
            CONTAINER,
            "/resources",
            json!({"requests": {"memory": "1000"}, "limits": {"cpu": "2"}}),
        ),
        (
            json!({"user": "1000:50"}),
            CONTAINER,
            "/securityContext",
            json!({"runAsUser": 1000, "runAsGroup": 50}),
        ),
        (
            json!({"cap_drop": ["ALL"], "read_only": true}),
            CONTAINER,
            "/securityContext",
            json!({"readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}),
        ),
        (
            json!({"ports": [{"target": 80, "published": "8080", "protocol": "tcp"}, {"target": 53, "protocol": "udp"}]}),
            CONTAINER,
            "/ports",
            json!([{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 80}]),
        ),
        (
            json!({"healthcheck": {"test": ["CMD", "x"], "interval": "2s", "retries": 4}}),
            CONTAINER,
            "/readinessProbe",
            json!({"exec": {"command": ["x"]}, "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 4}),
        ),
    ]);
}

#[test]
fn keys_of_a_service_become_fields_of_its_pod() {
    check([
        (json!({"stop_grace_period": "1m30s"}), POD, "/terminationGracePeriodSeconds", json!(90)),
        (json!({}), POD, "/terminationGracePeriodSeconds", json!(10)),
        (json!({}), POD, "/enableServiceLinks", json!(false)),
        (
            json!({"extra_hosts": ["a=1.2.3.4", "b=1.2.3.4", "c=host-gateway"]}),
            POD,
            "/hostAliases",
            json!([{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]),
        ),
        (json!({"platform": "linux/arm64"}), POD, "/nodeSelector", json!({"kubernetes.io/arch": "arm64"})),
        (json!({"group_add": ["7"]}), POD, "/securityContext", json!({"supplementalGroups": [7]})),
        (
            json!({"tmpfs": ["/a", "/b:size=1048576"]}),
            POD,
            "/volumes",
            json!([{"name": "tmp", "emptyDir": {"medium": "Memory"}}, {"name": "tmp-2", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]),
        ),
        (
            json!({"volumes": [{"type": "bind", "source": "/x", "target": "/y", "read_only": true}]}),
            POD,
            "/volumes",
            json!([{"name": "x", "hostPath": {"path": "/x", "type": "DirectoryOrCreate"}}]),
        ),
    ]);
}

#[test]
fn a_volume_is_kept_and_only_one_pod_writes_to_it() {
    let config = json!({"services": {"db": {
        "image": "postgres:15", "user": "70", "volumes": [{"type": "volume", "source": "db_data", "target": "/d"}],
    }}, "volumes": {"db_data": {}, "unused": {}}});
    let translation = translated(config);
    let deployment = document(&translation, "deployment/db.yaml");
    assert_eq!(deployment["spec"]["strategy"], json!({"type": "Recreate"}));
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"], json!({"fsGroup": 70}));
    assert_eq!(
        pod["volumes"],
        json!([{"name": "db-data", "persistentVolumeClaim": {"claimName": "db-data"}}])
    );
    assert_eq!(
        pod["containers"][0]["volumeMounts"],
        json!([{"name": "db-data", "mountPath": "/d", "subPath": "data"}])
    );
    assert_eq!(
        document(&translation, "volume/db-data.yaml")["spec"]["accessModes"],
        json!(["ReadWriteOnce"])
    );
    assert!(!translation.documents.iter().any(|document| document.path.contains("unused")));
}

#[test]
fn secrets_are_referred_to_and_not_written_down() {
    let config = json!({"services": {
        "a": {"image": "a", "environment": {"DB_PASSWORD": "hunter2", "USER": "u", "KEEP": "hunter3", "PW_TOKEN": "hunter4"}},
        "b": {"image": "b", "environment": {"DB_PASSWORD": "other"}, "secrets": [{"source": "cert"}]},
    }, "secrets": {"cert": {"file": "/repo/cert.pem"}}});
    let origins = BTreeMap::from([
        (("a".to_owned(), "KEEP".to_owned()), Origin::Untracked("my.env".into())),
        (("a".to_owned(), "PW_TOKEN".to_owned()), Origin::Variable { name: "THE_TOKEN".into(), whole: true }),
    ]);
    let translation = translate(&Given { config, origins, ..Given::default() }).unwrap();
    let text: String = translation.documents.iter().map(|document| document.text.as_str()).collect();
    assert!(!text.contains("hunter") && !text.contains("other\n"), "{text}");
    assert!(text.contains("value: u\n"), "{text}");
    let secrets: Vec<String> = translation
        .secrets
        .iter()
        .flat_map(|(name, keys)| keys.iter().map(move |(key, from)| format!("{name} {key} {from}")))
        .collect();
    assert_eq!(
        secrets,
        [
            "a-secrets DB_PASSWORD env:DB_PASSWORD",
            "a-secrets KEEP env:KEEP",
            "a-secrets PW_TOKEN env:THE_TOKEN",
            "b-secrets DB_PASSWORD env:B_DB_PASSWORD",
            "cert cert file:/repo/cert.pem",
        ]
    );
}

#[test]
fn names_and_ports_by_which_services_call_each_other_stay() {
    let config = json!({"services": {
        "web": {"image": "web", "depends_on": {"my_db": {"condition": "service_started"}, "quiet": {"condition": "service_started"}},
            "environment": {"DB": "jdbc:x://my_db:3307/x", "C": "http://cache-1:1/"}},
        "my_db": {"image": "mysql:8", "networks": {"n": {"aliases": ["database", "my_db"]}}},
        "cache": {"image": "redis", "container_name": "cache-1"},
        "quiet": {"image": "acme/quiet"},
        "worker": {"image": "acme/worker"},
    }});
    let translation = translated(config);
    let services: Vec<(&str, Value)> = translation
        .documents
        .iter()
        .filter_map(|document| {
            Some((document.path.strip_prefix("service/")?, document.value["spec"].clone()))
        })
        .collect();
    let led = |app: &str, port: u16| json!({"type": "ClusterIP", "selector": {"app": app}, "ports": [{"port": port}]});
    assert_eq!(
        services,
        [
            ("cache-1.yaml", led("cache", 6379)),
            ("cache.yaml", led("cache", 6379)),
            ("database.yaml", led("my-db", 3307)),
            ("my-db.yaml", led("my-db", 3307)),
            ("quiet.yaml", json!({"clusterIP": "None", "selector": {"app": "quiet"}})),
        ]
    );
    let annotations = &document(&translation, "deployment/web.yaml")["metadata"]["annotations"];
    assert_eq!(annotations, &json!({"bowline.dev/depends-on": "Deployment/my-db, Deployment/quiet"}));
    assert!(says(
        &translation,
        "is my-db in the cluster, where names are small letters, digits and `-`; web must call it so"
    ));
}

#[test]
fn what_ends_becomes_a_job() {
    let config = json!({"services": {
        "web": {"image": "w", "restart": "always", "depends_on": {"migrate": {"condition": "service_completed_successfully"}}},
        "migrate": {"image": "m", "restart": "on-failure:3"},
        "seed": {"image": "s", "restart": "no"},
        "api": {"image": "a", "restart": "no", "ports": [{"target": 1, "protocol": "tcp"}]},
        "plain": {"image": "p"},
    }});
    let translation = translated(config);
    let paths: Vec<&str> = translation
        .documents
        .iter()
        .map(|document| document.path.as_str())
        .filter(|path| path.starts_with("job") || path.starts_with("dep"))
        .collect();
    assert_eq!(
        paths,
        [
            "deployment/api.yaml",
            "deployment/plain.yaml",
            "deployment/web.yaml",
            "job/migrate.yaml",
            "job/seed.yaml"
        ]
    );
    assert_eq!(document(&translation, "job/migrate.yaml")["spec"]["backoffLimit"], 3);
    let annotations = &document(&translation, "deployment/web.yaml")["metadata"]["annotations"];
    assert_eq!(annotations, &json!({"bowline.dev/depends-on": "Job/migrate"}));
}

#[test]
fn files_of_the_repository_come_along_and_others_are_told_of() {
    let file = |text: &str, executable| Content { text: text.into(), executable };
    let sources = BTreeMap::from([
        ("/r/nginx.conf".to_owned(), Source::File(file("a\nb\n", false))),
        (
            "/r/scripts".to_owned(),
            Source::Directory(BTreeMap::from([("x/run.sh".to_owned(), file("run", true))])),
        ),
        (
            "/r/data".to_owned(),
            Source::Host { path: "/srv/data".into(), directory: true, why: "git does not track it" },
        ),
    ]);
    let bind = |source: &str, target: &str| json!({"type": "bind", "source": source, "target": target});
    let service = json!({"image": "a", "volumes": [bind("/r/nginx.conf", "/etc/nginx.conf"), bind("/r/scripts", "/s"), bind("/r/data", "/d")],
        "configs": [{"source": "c"}]});
    let config =
        json!({"services": {"app": service.clone(), "two": service}, "configs": {"c": {"content": "$$x"}}});
    let translation = translate(&Given { config, sources, ..Given::default() }).unwrap();
    assert_eq!(document(&translation, "config/nginx-conf.yaml")["data"], json!({"nginx.conf": "a\nb\n"}));
    assert_eq!(document(&translation, "config/scripts.yaml")["data"], json!({"x__run.sh": "run"}));
    assert_eq!(document(&translation, "config/c.yaml")["data"], json!({"c": "$x"}));
    let pod = &document(&translation, "deployment/two.yaml")["spec"]["template"]["spec"];
    assert_eq!(
        pod["volumes"][1]["configMap"],
        json!({"name": "scripts", "items": [{"key": "x__run.sh", "path": "x/run.sh"}], "defaultMode": 493})
    );
    assert_eq!(pod["volumes"][2]["hostPath"]["path"], "/srv/data");
    assert_eq!(
        pod["containers"][0]["volumeMounts"][0],
        json!({"name": "nginx-conf", "mountPath": "/etc/nginx.conf", "subPath": "nginx.conf"})
    );
    assert!(says(&translation, "/d is /srv/data of whichever node a pod runs on (git does not track it)"));
}

#[test]
fn bowline_toml_and_the_dockerfile_say_what_the_compose_file_does_not() {
    let known = Known {
        probe: Some(Probe::Http { path: "/up".into(), port: 8080, tls: false }),
        port: Some(8080),
        traits: Traits { ports: vec![9090], user: Some(65532), healthcheck: false },
    };
    let service = json!({"image": "a", "volumes": [{"type": "volume", "source": "v", "target": "/v"}]});
    let config = json!({"services": {"app": service}, "volumes": {"v": {}}});
    let services = BTreeMap::from([("app".to_owned(), known)]);
    let translation = translate(&Given { config, services, ..Given::default() }).unwrap();
    let pod = &document(&translation, "deployment/app.yaml")["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["readinessProbe"], json!({"httpGet": {"path": "/up", "port": 8080}}));
    assert_eq!(pod["containers"][0]["ports"], json!([{"containerPort": 8080}, {"containerPort": 9090}]));
    assert_eq!(pod["securityContext"], json!({"fsGroup": 65532}));
}

#[test]
fn what_has_no_counterpart_is_told() {
    for (service, words) in [
        (
            json!({"ulimits": {"nofile": 1}, "devices": ["/dev/x"]}),
            "devices, ulimits of the compose file: left out",
        ),
        (json!({"user": "app"}), "the user app is a name"),
        (json!({"network_mode": "service:x"}), "shares the network of service:x"),
        (json!({"deploy": {"mode": "global"}}), "make it a DaemonSet"),
        (json!({"environment": {"A": null}}), "A is handed on from the shell"),
        (json!({}), "has no health check"),
        (json!({"healthcheck": {"interval": "1s"}}), "its image has a HEALTHCHECK"),
        (
            json!({"ports": [{"target": 80, "published": "8080", "protocol": "tcp"}]}),
            "publishes 8080 (for its 80)",
        ),
    ] {
        let translation = of_service(service.clone());
        assert!(says(&translation, words), "{service}: {:#?}", translation.remarks);
    }
}

#[test]
fn every_document_is_read_back_value_by_value() {
    let config = json!({"services": {"app": {
        "image": "a: b", "command": ["- x", "#", "y: z", "a\nb"], "hostname": "yes",
        "environment": {"NO": "no", "N": "0123", "M": "a\nb\n", "T": " x ", "U": "é\u{85}", "E": ""},
        "volumes": [{"type": "volume", "source": "v", "target": "/v: x"}, {"type": "tmpfs", "target": "/t"}],
        "healthcheck": {"test": ["CMD-SHELL", "a && \"b\" || $$c"]}, "extra_hosts": ["h=1.2.3.4"],
    }}, "volumes": {"v": {}}});
    let translation = translated(config);
    assert!(translation.documents.len() >= 3);
    for written in translation.documents {
        let files = BTreeMap::from([(written.path.clone(), written.text.clone())]);
        let mut reading = read(&files, Some("chat"), |_| None);
        assert_eq!((reading.problems, reading.warnings), (vec![], vec![]), "{}", written.text);
        let mut value = reading.manifests.remove(0).value;
        value["metadata"].as_object_mut().unwrap().shift_remove("namespace");
        assert_eq!(value, written.value, "{}", written.text);
    }
}

#[test]
fn a_deployment_reads_well() {
    let config = json!({"services": {
        "web": {"image": "acme/web:1", "environment": {"DB_PASSWORD": "x", "A": "b"}, "mem_limit": "536870912",
            "depends_on": {"db": {"condition": "service_healthy"}},
            "healthcheck": {"test": ["CMD-SHELL", "curl -f http://localhost:80/up || exit 1"], "interval": "5s"},
            "ports": [{"target": 80, "published": "8080", "protocol": "tcp"}]},
        "db": {"image": "postgres:15", "volumes": [{"type": "volume", "source": "data", "target": "/var/lib/postgresql/data"}]},
    }, "volumes": {"data": {}}});
    let translation = translated(config);
    let pages: Vec<String> = translation
        .documents
        .iter()
        .map(|document| format!("=== {}\n{}", document.path, document.text))
        .collect();
    insta::assert_snapshot!(pages.concat());
}
