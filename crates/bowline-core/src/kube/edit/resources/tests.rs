mod generated;

use serde_json::json;

use super::*;

const MEBIBYTE: u64 = 1 << 20;

fn amounts(cpu: Option<u64>, mebibytes: Option<u64>) -> Amounts {
    Amounts { cpu, memory: mebibytes.map(|count| count * MEBIBYTE) }
}

fn wanted(line: u32, column: u32, container: &str, requests: Amounts, limits: Amounts) -> Wanted {
    let object = Origin { file: "a.yaml".into(), line, column };
    Wanted { object, container: container.into(), requests, limits }
}

/// 115m and 96Mi, of which no more than 96Mi.
fn usual() -> Wanted {
    wanted(1, 1, "app", amounts(Some(115), Some(96)), amounts(None, Some(96)))
}

/// A pod with these lines in its list of containers.
fn pod(containers: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n{containers}")
}

/// The edited text, after it was tried that another time changes nothing.
fn edited(text: &str, wanted: &[Wanted]) -> String {
    let edited =
        edit_resources("a.yaml", text, wanted).unwrap_or_else(|refused| panic!("{text}: {refused:?}"));
    // What stands below may have moved.
    let begins = |text: &str| objects(&Page::read(text).unwrap().documents).into_keys().collect::<Vec<_>>();
    let moved: BTreeMap<Mark, Mark> = begins(text).into_iter().zip(begins(&edited)).collect();
    let again = wanted.iter().filter(|wanted| wanted.object.file == "a.yaml").map(|wanted| Wanted {
        object: moved[&Mark::of_origin(&wanted.object)].origin("a.yaml"),
        ..wanted.clone()
    });
    let again: Vec<Wanted> = again.collect();
    assert_eq!(edit_resources("a.yaml", &edited, &again).as_ref(), Ok(&edited), "a second time");
    edited
}

fn assert_each(cases: &[(&str, &str)], wanted: &Wanted) {
    for (before, after) in cases {
        assert_eq!(edited(&pod(before), std::slice::from_ref(wanted)), pod(after), "{before}");
        let windows = |text: &str| pod(text).replace('\n', "\r\n");
        assert_eq!(edited(&windows(before), std::slice::from_ref(wanted)), windows(after), "{before}");
    }
}

#[test]
fn what_is_there_changes_in_its_place() {
    assert_each(
        &[
            (
                "  - name: app\n    resources:\n      requests:\n        cpu: 500m # c\n        memory:   \"1Gi\"\n      limits: {memory: '2Gi', x: 1}\n    image: x\n",
                "  - name: app\n    resources:\n      requests:\n        cpu: 115m # c\n        memory:   \"96Mi\"\n      limits: {memory: '96Mi', x: 1}\n    image: x\n",
            ),
            (
                "  - resources: {limits: {memory: 1Gi}, requests: {memory: 134217728, cpu: 0.5}}\n    name: app",
                "  - resources: {limits: {memory: 96Mi}, requests: {memory: 96Mi, cpu: 115m}}\n    name: app",
            ),
            (
                "  - name: app\n    resources:\n      requests:\n        cpu:\n          1\n        memory: ~\n      limits:\n        memory: # none\n",
                "  - name: app\n    resources:\n      requests:\n        cpu:\n          115m\n        memory: 96Mi\n      limits:\n        memory: 96Mi # none\n",
            ),
        ],
        &usual(),
    );
}

#[test]
fn what_is_missing_is_put_in_as_the_file_is_written() {
    assert_each(
        &[
            (
                "  - name: app\n    image: x\n",
                "  - name: app\n    image: x\n    resources:\n      requests:\n        cpu: 115m\n        memory: 96Mi\n      limits:\n        memory: 96Mi\n",
            ),
            // No break at the end.
            (
                "  - name: app",
                "  - name: app\n    resources:\n      requests:\n        cpu: 115m\n        memory: 96Mi\n      limits:\n        memory: 96Mi",
            ),
            // Comments that are deeper stay with what they are about, others with what comes next.
            (
                "    -   image: x\n        name: app\n        env:\n        - name: A\n          value: b # c\n          # - name: C\n\n        # next\n    -   name: other\n",
                "    -   image: x\n        name: app\n        env:\n        - name: A\n          value: b # c\n          # - name: C\n        resources:\n          requests:\n            cpu: 115m\n            memory: 96Mi\n          limits:\n            memory: 96Mi\n\n        # next\n    -   name: other\n",
            ),
            // The step of the file, not ours.
            (
                "  - name: app\n    livenessProbe:\n        httpGet:\n            port: 1\n",
                "  - name: app\n    livenessProbe:\n        httpGet:\n            port: 1\n    resources:\n        requests:\n            cpu: 115m\n            memory: 96Mi\n        limits:\n            memory: 96Mi\n",
            ),
            // Nobody sees where a block of lines ends.
            (
                "  - name: app\n    image: x\n    args:\n    - |+\n      # a\n\n  # next\n",
                "  - name: app\n    image: x\n    resources:\n      requests:\n        cpu: 115m\n        memory: 96Mi\n      limits:\n        memory: 96Mi\n    args:\n    - |+\n      # a\n\n  # next\n",
            ),
            (
                "  - name: app\n    command: [\n      x\n    ]\n    tty:\n",
                "  - name: app\n    command: [\n      x\n    ]\n    tty:\n    resources:\n      requests:\n        cpu: 115m\n        memory: 96Mi\n      limits:\n        memory: 96Mi\n",
            ),
            // A plain text over lines, and one in quotes.
            (
                "  - name: app\n    image:\n      x\n      y   # c\n---\na: 1\n",
                "  - name: app\n    image:\n      x\n      y   # c\n    resources:\n      requests:\n        cpu: 115m\n        memory: 96Mi\n      limits:\n        memory: 96Mi\n---\na: 1\n",
            ),
        ],
        &usual(),
    );
}

#[test]
fn what_is_there_in_part_is_completed() {
    assert_each(
        &[
            (
                "  - name: app\n    resources:\n      requests:\n        cpu: 1\n    image: x\n",
                "  - name: app\n    resources:\n      requests:\n        cpu: 115m\n        memory: 96Mi\n      limits:\n        memory: 96Mi\n    image: x\n",
            ),
            (
                "  - name: app\n    resources:\n          limits:\n              cpu: 1 # c\n    image: x\n",
                "  - name: app\n    resources:\n          limits:\n              cpu: 1 # c\n              memory: 96Mi\n          requests:\n              cpu: 115m\n              memory: 96Mi\n    image: x\n",
            ),
            (
                "  - name: app\n    resources: # c\n    image: x\n",
                "  - name: app\n    resources: # c\n      requests:\n        cpu: 115m\n        memory: 96Mi\n      limits:\n        memory: 96Mi\n    image: x\n",
            ),
            (
                "  - name: app\n    resources:  null  # c\n    image: x\n",
                "  - name: app\n    resources:  # c\n      requests:\n        cpu: 115m\n        memory: 96Mi\n      limits:\n        memory: 96Mi\n    image: x\n",
            ),
            (
                "  - name: app\n    resources:\n      ~\n    image: x\n",
                "  - name: app\n    resources:\n      {requests: {cpu: 115m, memory: 96Mi}, limits: {memory: 96Mi}}\n    image: x\n",
            ),
            (
                "  - name: app\n    resources:\n      limits:\n      requests:",
                "  - name: app\n    resources:\n      limits:\n        memory: 96Mi\n      requests:\n        cpu: 115m\n        memory: 96Mi",
            ),
            (
                "  - name: app\n    resources:\n      requests: {}\n    image: x\n",
                "  - name: app\n    resources:\n      requests: {cpu: 115m, memory: 96Mi}\n      limits:\n        memory: 96Mi\n    image: x\n",
            ),
        ],
        &usual(),
    );
}

#[test]
fn braces_are_filled_as_they_are_written() {
    assert_each(
        &[
            (
                "  - name: app\n    resources: {}\n",
                "  - name: app\n    resources: {requests: {cpu: 115m, memory: 96Mi}, limits: {memory: 96Mi}}\n",
            ),
            (
                "  - name: app\n    resources: { limits: { } } # c\n",
                "  - name: app\n    resources: { limits: { memory: 96Mi }, requests: { cpu: 115m, memory: 96Mi } } # c\n",
            ),
            (
                "  - {name: app, image: x}\n",
                "  - {name: app, image: x, resources: {requests: {cpu: 115m, memory: 96Mi}, limits: {memory: 96Mi}}}\n",
            ),
            (
                "  - {name: app, resources: {requests: {cpu: 1}}, tty}\n",
                "  - {name: app, resources: {requests: {cpu: 115m, memory: 96Mi}, limits: {memory: 96Mi}}, tty}\n",
            ),
            (
                "  - {name: app, resources}\n",
                "  - {name: app, resources: {requests: {cpu: 115m, memory: 96Mi}, limits: {memory: 96Mi}}}\n",
            ),
            (
                "  - {name: app, resources: , a: b}\n",
                "  - {name: app, resources: {requests: {cpu: 115m, memory: 96Mi}, limits: {memory: 96Mi}} , a: b}\n",
            ),
            (
                "  - {name: app, resources: {requests: null, limits: {memory}}}\n",
                "  - {name: app, resources: {requests: {cpu: 115m, memory: 96Mi}, limits: {memory: 96Mi}}}\n",
            ),
            (
                "  - {\"name\":\"app\",\"image\":\"x\"}\n",
                "  - {\"name\":\"app\",\"image\":\"x\",\"resources\":{\"requests\":{\"cpu\":\"115m\",\"memory\":\"96Mi\"},\"limits\":{\"memory\":\"96Mi\"}}}\n",
            ),
            (
                "  - {\n    name: app, # a\n    image: x # b\n    }\n",
                "  - {\n    name: app, # a\n    image: x, # b\n    resources: {\n      requests: {\n        cpu: 115m,\n        memory: 96Mi\n      },\n      limits: {\n        memory: 96Mi\n      }\n    }\n    }\n",
            ),
            (
                "  - {\n    name: app,\n    resources: {\n      requests: {\n        cpu: 1,\n      }, # c\n    },\n    }\n",
                "  - {\n    name: app,\n    resources: {\n      requests: {\n        cpu: 115m,\n        memory: 96Mi,\n      }, # c\n      limits: {\n        memory: 96Mi\n      },\n    },\n    }\n",
            ),
            (
                "  - name: app\n    resources: { # none\n    }\n",
                "  - name: app\n    resources: {requests: {cpu: 115m, memory: 96Mi}, limits: {memory: 96Mi} # none\n    }\n",
            ),
        ],
        &usual(),
    );
}

#[test]
fn json_stays_json() {
    let pod = |container: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}});
    let given = json!({"requests": {"cpu": "115m", "memory": "96Mi"}, "limits": {"memory": "96Mi"}});
    for resources in [
        json!({}),
        json!(null),
        json!({"requests": {}}),
        json!({"requests": null, "limits": {}}),
        json!({"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": 5}}),
        given.clone(),
    ] {
        let before = pod(json!({"name": "app", "resources": resources}));
        let after = pod(json!({"name": "app", "resources": given}));
        let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
        assert_eq!(edited(&pretty(&before), &[usual()]), pretty(&after));
        assert_eq!(edited(&before.to_string(), &[usual()]), after.to_string());
        let tabs = |value: &Value| pretty(value).replace("  ", "\t");
        assert_eq!(edited(&tabs(&before), &[usual()]), tabs(&after));
    }
    let (before, after) = (pod(json!({"name": "app"})), pod(json!({"name": "app", "resources": given})));
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    assert_eq!(edited(&pretty(&before), &[usual()]), pretty(&after));
    assert_eq!(edited(&before.to_string(), &[usual()]), after.to_string());
    let whole = wanted(1, 1, "app", amounts(Some(2000), None), Amounts::default());
    let number =
        |cpu: Value| pod(json!({"name": "app", "resources": {"requests": {"cpu": cpu}}})).to_string();
    assert_eq!(edited(&number(json!(1)), std::slice::from_ref(&whole)), number(json!(2)));
    assert_eq!(edited(&number(json!("1")), &[whole]), number(json!("2")));
}

#[test]
fn what_means_the_same_stays() {
    let all = wanted(1, 1, "app", amounts(Some(500), Some(1024)), amounts(Some(2000), Some(1024)));
    for (cpu, memory, limit) in [
        ("0.5", "1Gi", "2"),
        ("500m", "1024Mi", "2000m"),
        ("'.5'", "1073741824", "\"2\""),
        ("5e-1", "1048576Ki", "2.0"),
    ] {
        let same = pod(&format!(
            "  - name: app\n    resources: {{requests: {{cpu: {cpu}, memory: {memory}}}, limits: {{memory: {memory}, cpu: {limit}}}}}\n"
        ));
        assert_eq!(edited(&same, std::slice::from_ref(&all)), same);
    }
    // Also where it comes from elsewhere.
    let shared =
        pod("  - name: app\n    resources: &r {requests: {cpu: 0.5}}\n  - name: b\n    resources: *r\n");
    let cpu = wanted(1, 1, "b", amounts(Some(500), None), Amounts::default());
    assert_eq!(edited(&shared, &[cpu]), shared);
    // An exact amount is as good as the one that it would be rounded to.
    let exact = pod("  - {name: app, resources: {limits: {memory: 100M}}}\n");
    let bytes = Wanted {
        limits: Amounts { cpu: None, memory: Some(100_000_000) },
        requests: Amounts::default(),
        ..usual()
    };
    assert_eq!(edited(&exact, std::slice::from_ref(&bytes)), exact);
    let rounded = pod("  - {name: app, resources: {limits: {memory: 96Mi}}}\n");
    assert_eq!(edited(&exact.replace("100M", "1G"), &[bytes]), rounded);
}

#[test]
fn amounts_are_written_as_people_write_them() {
    for (cpu, memory, written) in [
        (1, 1, "{cpu: 1m, memory: 1Mi}"),
        (2000, MEBIBYTE, "{cpu: 2, memory: 1Mi}"),
        (2500, MEBIBYTE + 1, "{cpu: 2500m, memory: 2Mi}"),
        (0, 0, "{cpu: 0, memory: 0}"),
        (115, 1 << 30, "{cpu: 115m, memory: 1024Mi}"),
        (u64::MAX, u64::MAX, "{cpu: 18446744073709551615m, memory: 17592186044416Mi}"),
    ] {
        let requests = Amounts { cpu: Some(cpu), memory: Some(memory) };
        let text = edited(&pod("  - {name: app}\n"), &[wanted(1, 1, "app", requests, Amounts::default())]);
        assert_eq!(text, pod(&format!("  - {{name: app, resources: {{requests: {written}}}}}\n")));
    }
}

#[test]
fn containers_of_every_workload_are_found() {
    let cpu = |line, column| wanted(line, column, "app", amounts(Some(115), None), Amounts::default());
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"] {
        let text = format!(
            "---\napiVersion: apps/v1\nkind: {kind}\nspec:\n    template:\n        spec:\n            containers:\n            -   name: app\n"
        );
        let after = format!(
            "{text}                resources:\n                    requests:\n                        cpu: 115m\n"
        );
        assert_eq!(edited(&text, &[cpu(2, 1)]), after);
    }
    for (text, at) in [
        ("{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {containers: [{name: app}]}}}}", (1, 1)),
        (
            "{apiVersion: batch/v1, kind: CronJob, spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: app}]}}}}}}",
            (1, 1),
        ),
        ("{apiVersion: v1, kind: Pod, spec: {initContainers: [{restartPolicy: Always, name: app}]}}", (1, 1)),
        (
            "{apiVersion: v1, kind: List, items: [\n{apiVersion: v1, kind: Pod, spec: {containers: [{name: app}]}}]}",
            (2, 1),
        ),
        ("{apiVersion: v1, kind: PodList, items: [\n{spec: {containers: [{name: app}]}}]}", (2, 1)),
    ] {
        let after = text.replace("name: app}", "name: app, resources: {requests: {cpu: 115m}}}");
        assert_eq!(edited(text, &[cpu(at.0, at.1)]), after);
    }
}

#[test]
fn each_container_gets_its_own() {
    let text =
        pod("  - name: a\n  - name: app\n  - name: b\n    resources:\n      limits:\n        cpu: 1\n---\n")
            + &pod("  - name: app # c\n");
    let cpu = |line, name, cpu| wanted(line, 1, name, amounts(Some(cpu), None), Amounts::default());
    let other = Wanted { object: Origin { file: "b.yaml".into(), line: 1, column: 1 }, ..usual() };
    let memory = wanted(1, 1, "app", amounts(None, Some(64)), Amounts::default());
    let all = [cpu(13, "app", 3), cpu(1, "app", 1), cpu(1, "b", 2), other, memory, cpu(1, "app", 1)];
    let given = |cpu| format!("    resources:\n      requests:\n        cpu: {cpu}\n");
    let after = pod(&format!(
        "  - name: a\n  - name: app\n{}        memory: 64Mi\n  - name: b\n    resources:\n      limits:\n        cpu: 1\n      requests:\n        cpu: 2m\n---\n",
        given("1m")
    )) + &pod(&format!("  - name: app # c\n{}", given("3m")));
    assert_eq!(edited(&text, &all), after);
}

#[test]
fn what_cannot_be_given_is_refused_with_its_place() {
    let mut wrong = Vec::new();
    for (containers, place, reason) in [
        ("  - name: other\n", "5:3", "no container `app`"),
        ("  - name: app\n  - name: app\n", "7:5", "a second container"),
        ("  - {name: other}\n  initContainers:\n  - name: app\n", "5:3", "only prepares"),
        ("  - &c\n    name: app\n  x: *c\n", "7:5", "use this elsewhere"),
        ("  - &c {name: x}\n  - {<<: *c, name: app}\n", "7:6", "`<<`"),
        ("  - name: app\n    resources: &r {}\n  - resources: *r\n", "7:19", "use this elsewhere"),
        ("  - resources: &r {}\n  - name: app\n    resources: *r\n", "8:16", "alias"),
        ("  - name: app\n    resources:\n      requests: &r\n", "8:19", "anchor"),
        ("  - name: app\n    resources: !!map {}\n", "7:22", "tag"),
        ("  - name: app\n    resources: {requests: {cpu: !!str 1}}\n", "7:39", "tag"),
        ("  - name: app\n    resources: {requests: {cpu: &c 1}}\n", "7:36", "anchor"),
        (
            "  - name: app\n    resources:\n      requests:\n        cpu: |-\n          1\n",
            "10:11",
            "block of lines",
        ),
        ("  - name: app\n    resources: [1]\n", "7:16", "list"),
        ("  - name: app\n    resources: x\n", "7:16", "no mapping"),
        ("  - name: app\n    resources: ''\n", "7:16", "no mapping"),
        ("  - name: app\n    resources: {requests: {cpu: '${CPU}'}}\n", "7:33", "`${CPU}` is no quantity"),
        ("  - name: app\n    resources: {requests: {cpu: [1]}}\n", "7:33", "`[1]` is no quantity"),
        (
            "  - name: app\n    resources: {limits: {cpu: 100m}}\n",
            "7:31",
            "request 115m CPU, and its limit is 100m CPU",
        ),
        ("  - name: app\n    resources: {requests: {cpu: 1}, requests: {cpu: 2}}\n", "7:37", "second time"),
        ("  - name: app\n    resources: {requests: [\n", "7:27", "YAML"),
    ] {
        let refused = edit_resources("a.yaml", &pod(containers), &[usual()]).unwrap_err();
        let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
        let fits = |told: &String| told.starts_with(&format!("a.yaml:{place}: ")) && told.contains(reason);
        if !(told.len() == 1 && told.iter().all(fits)) {
            wrong.push(format!("{containers}{told:?}, and not {place} {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_request_stays_below_its_limit() {
    let limited = pod("  - name: app\n    resources:\n      requests: {cpu: 1, memory: 128Mi}\n");
    let limits = wanted(1, 1, "app", Amounts::default(), amounts(Some(500), Some(64)));
    let refused = edit_resources("a.yaml", &limited, &[limits]).unwrap_err();
    let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "a.yaml:8:23: `app` is to be limited to 500m CPU, and requests 1 CPU: give it another request as well",
            "a.yaml:8:34: `app` is to be limited to 64Mi memory, and requests 128Mi memory: give it another request as well",
        ]
    );
    let both = wanted(1, 1, "app", amounts(Some(1000), None), amounts(Some(500), None));
    let refused = edit_resources("a.yaml", &pod("  - name: app\n"), &[both]).unwrap_err();
    assert!(refused[0].message.contains("no cluster takes that"), "{refused:?}");
    // What was wrong before and is not touched is not our concern.
    let wrong = pod("  - name: app\n    resources: {requests: {cpu: 2, memory: 1Gi}, limits: {cpu: 1}}\n");
    let memory = wanted(1, 1, "app", amounts(Some(2000), Some(64)), Amounts::default());
    assert_eq!(edited(&wrong, &[memory]), wrong.replace("1Gi", "64Mi"));
    // A limit that is raised together with its request.
    let up = pod("  - name: app\n    resources: {requests: {cpu: 1}, limits: {cpu: 1}}\n");
    let more = wanted(1, 1, "app", amounts(Some(2000), None), amounts(Some(3000), None));
    assert_eq!(
        edited(&up, &[more]),
        up.replace("requests: {cpu: 1}, limits: {cpu: 1}", "requests: {cpu: 2}, limits: {cpu: 3}")
    );
}

#[test]
fn all_that_is_refused_is_said_together() {
    let text = pod("  - name: app\n    resources: x\n---\n") + "apiVersion: v1\nkind: Service\n";
    let at = |line, name| wanted(line, 1, name, amounts(Some(1), None), Amounts::default());
    let refused = edit_resources(
        "a.yaml",
        &text,
        &[
            at(1, "app"),
            at(9, "app"),
            at(20, "app"),
            at(1, "x"),
            Wanted { requests: amounts(Some(2), None), ..at(1, "app") },
        ],
    );
    let told: Vec<_> = refused.unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "a.yaml:1:1: `app` is to be given two different amounts",
            "a.yaml:5:3: there is no container `x` here any more",
            "a.yaml:7:16: no mapping stands here: change it by hand",
            "a.yaml:9:1: this is no object that runs pods",
            "a.yaml:20:1: no object begins here any more",
        ]
    );
    assert_eq!(edit_resources("b.yaml", &text, &[at(20, "app")]), Ok(text));
}
