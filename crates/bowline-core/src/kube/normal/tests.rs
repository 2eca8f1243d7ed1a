use super::*;
use crate::kube::manifest::read;

fn normal(text: &str) -> (Vec<Value>, Vec<String>, Vec<String>) {
    let files = BTreeMap::from([("a.yaml".to_owned(), text.to_owned())]);
    let reading = read(&files, Some("ns"), |_| None);
    assert_eq!((reading.problems, reading.skipped), (vec![], vec![]));
    let mut manifests = reading.manifests;
    let normalised = normalise(&mut manifests, &files);
    let shown = |remarks: Vec<Remark>| remarks.iter().map(Remark::to_string).collect();
    let values = manifests.into_iter().map(|manifest| manifest.value).collect();
    (values, shown(normalised.warnings), shown(normalised.problems))
}

fn deployment(spec: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: user}}\nspec:\n  template:\n    spec:\n{spec}"
    )
}

/// A `spec` of a pod as it comes out.
fn pod_spec(spec: &str) -> (Value, Vec<String>, Vec<String>) {
    let (values, warnings, problems) = normal(&deployment(spec));
    (values[0]["spec"]["template"]["spec"].clone(), warnings, problems)
}

#[test]
fn of_two_with_one_key_the_last_counts_and_the_first_is_told() {
    let (spec, warnings, problems) = pod_spec(concat!(
        "      containers:\n",
        "      - name: app\n",
        "        env:\n",
        "        - {name: A, value: '1'}\n",
        "        - {name: B, value: $(A)}\n",
        "        - {name: A, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}\n",
        "        ports:\n",
        "        - containerPort: 53\n",
        "          name: one\n",
        "        - {containerPort: 53, protocol: UDP}\n",
        "        - {containerPort: 53, protocol: TCP, name: two}\n",
        "        volumeMounts:\n",
        "        - {name: v, mountPath: /a}\n",
        "        - {name: w, mountPath: /a}\n",
    ));
    let container = &spec["containers"][0];
    assert_eq!(
        container["env"],
        serde_json::json!([
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}, {"name": "B", "value": "$(A)"}])
    );
    assert_eq!(
        container["ports"],
        serde_json::json!([
            {"containerPort": 53, "protocol": "TCP", "name": "two"}, {"containerPort": 53, "protocol": "UDP"}])
    );
    assert_eq!(container["volumeMounts"], serde_json::json!([{"name": "w", "mountPath": "/a"}]));
    let said = |list: &str, key: &str| {
        format!(
            "Deployment ns/user, container `app`: `{list}` has `{key}` more than once; this one does not count"
        )
    };
    assert_eq!(
        warnings,
        [
            format!("a.yaml:10:11: {} (the last is at 12:11)", said("env", "A")),
            format!("a.yaml:14:11: {} (the last is at 17:11)", said("ports", "53/TCP")),
            format!("a.yaml:19:11: {} (the last is at 20:11)", said("volumeMounts", "/a")),
        ]
    );
    assert_eq!(problems, [""; 0]);
}

#[test]
fn all_lists_with_keys_are_known() {
    for (list, one, other, kept) in [
        ("volumes", "{name: a, emptyDir: {}}", "{name: a, hostPath: {path: /}}", 1),
        ("imagePullSecrets", "{name: a}", "{name: a}", 1),
        ("hostAliases", "{ip: 1.2.3.4, hostnames: [a]}", "{ip: 1.2.3.4, hostnames: [b]}", 1),
        (
            "topologySpreadConstraints",
            "{topologyKey: a, whenUnsatisfiable: X}",
            "{topologyKey: a, whenUnsatisfiable: X}",
            1,
        ),
        (
            "topologySpreadConstraints",
            "{topologyKey: a, whenUnsatisfiable: X}",
            "{topologyKey: a, whenUnsatisfiable: Z}",
            2,
        ),
        ("containers", "{name: a, image: x}", "{name: a, image: z}", 1),
        ("initContainers", "{name: a, image: x}", "{name: a, image: z}", 1),
        ("tolerations", "{key: a}", "{key: a}", 2),
        ("volumes", "{emptyDir: {}}", "{emptyDir: {}}", 2),
    ] {
        let (spec, warnings, problems) =
            pod_spec(&format!("      {list}:\n      - {one}\n      - {other}\n"));
        assert_eq!(spec[list].as_array().unwrap().len(), kept, "{list} {one}");
        assert_eq!((warnings.len(), problems.len()), (2 - kept, 0), "{list} {one}: {warnings:?}");
    }
    let object = |kind: &str, rest: &str| format!("{kind}\nmetadata: {{name: a}}\n{rest}");
    for (text, pointer, kept) in [
        (
            object(
                "apiVersion: v1\nkind: Service",
                "spec: {ports: [{port: 53}, {port: 53, protocol: UDP}, {port: 53, targetPort: 5}]}",
            ),
            "/spec/ports",
            2,
        ),
        (object("apiVersion: v1\nkind: ServiceAccount", "secrets: [{name: a}, {name: a}]"), "/secrets", 1),
        (
            object(
                "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration",
                "webhooks: [{name: a}, {name: a}]",
            ),
            "/webhooks",
            1,
        ),
        (
            object("apiVersion: own.io/v1\nkind: Service", "spec: {ports: [{port: 53}, {port: 53}]}"),
            "/spec/ports",
            2,
        ),
    ] {
        let (values, ..) = normal(&text);
        assert_eq!(values[0].pointer(pointer).unwrap().as_array().unwrap().len(), kept, "{text}");
    }
}

#[test]
fn a_variable_that_builds_on_itself_keeps_its_meaning() {
    let env = |first: &str, last: &str| {
        pod_spec(&format!(
            "      containers:\n      - name: app\n        env:\n        - {{name: A, {first}}}\n        - {{name: A, value: {last}}}\n"
        ))
    };
    let (spec, warnings, problems) = env("value: /bin", "'$(A):/more:$(A)'");
    assert_eq!(spec["containers"][0]["env"], serde_json::json!([{"name": "A", "value": "/bin:/more:/bin"}]));
    assert_eq!((warnings.len(), problems.len()), (1, 0));
    for (first, last) in [
        ("valueFrom: {fieldRef: {fieldPath: x}}", "$(A)/x"),
        ("value: $(B)", "$(A)/x"),
        ("value: b", "$$(A)$(A)"),
    ] {
        let (spec, warnings, problems) = env(first, last);
        assert_eq!(spec["containers"][0]["env"].as_array().unwrap().len(), 2, "{first}");
        assert_eq!((warnings.len(), problems.len()), (0, 1), "{first}");
        assert!(problems[0].starts_with("a.yaml:10:11: "), "{problems:?}");
    }
}

#[test]
fn nulls_are_fields_that_are_not_there() {
    let (values, warnings, _) = normal(concat!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  creationTimestamp: null\n  labels:\ndata:\n  a: x\n  b:\n",
        "---\napiVersion: own.io/v1\nkind: Own\nmetadata: {name: a, creationTimestamp: null}\nspec: {a: null}\n",
        "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {volumes: [{name: v, emptyDir: }], args: [null]}\n",
    ));
    assert_eq!(values[0]["metadata"], serde_json::json!({"name": "a", "namespace": "ns"}));
    assert_eq!(values[0]["data"], serde_json::json!({"a": "x"}));
    assert_eq!(values[1]["spec"], serde_json::json!({"a": null}));
    assert_eq!(values[1]["metadata"], serde_json::json!({"name": "a", "namespace": "ns"}));
    assert_eq!(values[2]["spec"], serde_json::json!({"volumes": [{"name": "v"}], "args": [null]}));
    assert_eq!(
        warnings,
        ["a.yaml:9:4: ConfigMap ns/a: `b` has no value and is left out; for empty text write `\"\"`"]
    );
}

#[test]
fn what_an_export_brings_is_left_out() {
    let (values, warnings, _) = normal(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n  uid: x\n  resourceVersion: '1'\n  managedFields: []\n  annotations: {{{LAST_APPLIED}: secret, deployment.kubernetes.io/revision: '3', own: x}}\n"
    ));
    assert_eq!(
        values[0]["metadata"],
        serde_json::json!({"name": "a", "namespace": "ns", "annotations": {"own": "x"}})
    );
    assert_eq!(
        warnings,
        [format!(
            "a.yaml:4:3: Secret ns/a: managedFields, resourceVersion, uid, {LAST_APPLIED}, deployment.kubernetes.io/revision come from a cluster and are left out"
        )]
    );
}

#[test]
fn places_are_found_through_anchors() {
    let text = deployment(concat!(
        "      containers:\n      - &app\n        name: app\n        env: &env\n        - {name: A}\n        - {name: A}\n",
        "      - <<: *app\n        name: other\n      - {name: third, env: *env}\n",
    ));
    let (_, warnings, _) = normal(&text);
    let places: Vec<_> = warnings.iter().map(|warning| warning.split(' ').next().unwrap()).collect();
    assert_eq!(places, ["a.yaml:11:11:"; 3]);
}

#[test]
fn objects_that_need_nothing_stay_as_they_are() {
    let text =
        deployment("      containers:\n      - {name: app, env: [{name: A}, {name: B}], args: [a, a]}\n");
    let (values, warnings, problems) = normal(&text);
    let files = BTreeMap::from([("a.yaml".to_owned(), text)]);
    assert_eq!(values[0], read(&files, Some("ns"), |_| None).manifests[0].value);
    assert_eq!((warnings.len(), problems.len()), (0, 0));
}

#[test]
fn an_account_is_named_as_the_server_keeps_it() {
    for field in ["serviceAccountName", "serviceAccount"] {
        let (spec, warnings, problems) = pod_spec(&format!("      {field}: web\n      containers: []\n"));
        assert_eq!((warnings, problems), (vec![], vec![]));
        let expected =
            serde_json::json!({"serviceAccountName": "web", "serviceAccount": "web", "containers": []});
        assert_eq!(spec, expected);
    }
}

#[test]
fn values_of_the_wrong_type_are_told_with_their_places() {
    let (_, _, problems) = pod_spec(concat!(
        "      containers:\n",
        "      - name: app\n",
        "        env:\n",
        "        - {name: PORT, value: 8080}\n",
        "        - name: DEBUG\n",
        "          value: true\n",
    ));
    let said = |name: &str, is: &str| {
        format!(
            "Deployment ns/user: `containers[app].env[{name}].value` must be text, and is {is}: put it in quotes"
        )
    };
    assert_eq!(
        problems,
        [
            format!("a.yaml:10:31: {}", said("PORT", "a number")),
            format!("a.yaml:12:18: {}", said("DEBUG", "true or false")),
        ]
    );
}
