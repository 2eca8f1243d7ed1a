//! What of an object is as it was left, and what would change.

use std::borrow::Cow;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::conflict::{owned, without};
use super::field;
use super::normal::{LAST_APPLIED, SERVED_ANNOTATIONS};
use super::object::Kind;
use crate::digest::Digest;

/// What is remembered of an object that was applied: enough to know later that nothing has to be asked about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The manifest, as it was to be applied.
    pub desired: Digest,
    /// What the cluster made of the manifest's fields, right after.
    pub live: Digest,
    /// Fields of the manifest that were left to others, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yielded: Vec<String>,
}

/// Whether an object has to be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The manifest is the one that was applied, and the object is as it was then, in every field of it that is ours.
    Unchanged,
    /// It is not there.
    Absent,
    /// It is there, and Bowline never applied it.
    Foreign,
    /// The manifest is another than the one that was applied.
    Edited,
    /// Somebody has changed the object, or it is another one of that name.
    Drifted,
}

/// What to remember of an object that was just applied. `live` is what the cluster answered (see [`mask`]), `yielded`
/// the fields that were left to others.
pub fn remember(desired: &Value, live: &Value, yielded: &[String]) -> Remembered {
    let projected = project(&wanted(desired, yielded), live);
    Remembered {
        desired: Digest::of_json(desired),
        live: Digest::of_json(&projected),
        yielded: yielded.to_vec(),
    }
}

/// Decides without asking the cluster whether an object is exactly as Bowline left it.
pub fn unchanged(desired: &Value, live: Option<&Value>, remembered: Option<&Remembered>) -> Verdict {
    let Some(live) = live else { return Verdict::Absent };
    let Some(remembered) = remembered else { return Verdict::Foreign };
    if remembered.desired != Digest::of_json(desired) {
        return Verdict::Edited;
    }
    match Digest::of_json(&project(&wanted(desired, &remembered.yielded), live)) == remembered.live {
        true => Verdict::Unchanged,
        false => Verdict::Drifted,
    }
}

/// The live object's values at the fields that a manifest has, its uid, and which fields Bowline holds: a run that failed
/// may have left more of them than this manifest has. Only comparable with an earlier projection
/// for the same manifest: what the cluster fills in or rewrites (`0.5` as `500m`) is in both.
pub fn project(desired: &Value, live: &Value) -> Value {
    let (desired, live) = (masked(desired), masked(live));
    let mut projected = project_field(&desired, &live);
    if let Some(map) = projected.as_object_mut() {
        // A manifest that was once copied from a cluster may have a status: it is not applied.
        map.shift_remove("status");
        let uid = live.pointer("/metadata/uid").cloned();
        map.extend(uid.map(|uid| ("uid".to_owned(), uid)));
        map.extend(owned(&live).map(|fields| ("owned".to_owned(), fields.clone())));
    }
    projected
}

/// The manifest without fields that are left to others.
fn wanted<'d>(desired: &'d Value, yielded: &[String]) -> Cow<'d, Value> {
    if yielded.is_empty() { Cow::Borrowed(desired) } else { Cow::Owned(without(desired, yielded)) }
}

fn masked(object: &Value) -> Cow<'_, Value> {
    let mut object = Cow::Borrowed(object);
    if is_secret(&object) {
        mask(object.to_mut());
    }
    object
}

fn project_field(desired: &Value, live: &Value) -> Value {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            let fields = desired.iter().filter_map(|(name, value)| {
                // What is to be absent (`null`) is there or not; what is there of it counts whole.
                let live = live.get(name)?;
                Some((name.clone(), if value.is_null() { live.clone() } else { project_field(value, live) }))
            });
            Value::Object(fields.collect())
        }
        (Value::Array(desired), Value::Array(live)) => project_list(desired, live),
        _ => live.clone(),
    }
}

/// Elements that can be told apart are looked for wherever they stand, and others between them are not ours. The order
/// of ours counts: variables refer to those before them, and init containers run one after the other.
fn project_list(desired: &[Value], live: &[Value]) -> Value {
    if let Some(keys) = field::keys(desired, live) {
        let find = |element: &Value| {
            let selector = field::select(element, keys)?;
            desired.iter().find(|desired| matches(desired, element, keys, &selector))
        };
        return live.iter().filter_map(|element| Some(project_field(find(element)?, element))).collect();
    }
    // By position, and with all that comes after: such lists belong to one owner as a whole.
    let element = |(index, element): (usize, &Value)| match desired.get(index) {
        Some(desired) => project_field(desired, element),
        None => element.clone(),
    };
    live.iter().enumerate().map(element).collect()
}

/// Whether a manifest's element is the live one; a key that it leaves out is one that the cluster filled in.
fn matches(desired: &Value, live: &Value, keys: &[&str], selector: &str) -> bool {
    field::select(desired, keys).as_deref() == Some(selector)
        || keys.iter().all(|key| match (desired.get(key), live.get(key)) {
            (Some(desired), Some(live)) => desired == live,
            (None, _) => keys.first() != Some(key),
            (Some(_), None) => false,
        })
}

/// What stands in place of a secret value: as much as is needed to see that it is another one.
const MASKED: &str = "sha256:";

/// Puts digests in place of the values of a `Secret`, so that it can be kept, compared and logged; other objects are
/// left as they are. Twice is like once: what is masked is no base64.
pub fn mask(object: &mut Value) {
    if !is_secret(object) {
        return;
    }
    let Some(map) = object.as_object_mut() else { return };
    // The cluster moves texts into `data`, where they win.
    if let Some(Value::Object(texts)) = map.shift_remove("stringData") {
        let data = map.entry("data").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(data) = data {
            for (key, text) in texts {
                let encoded = text.as_str().map_or(Value::Null, |text| Value::String(STANDARD.encode(text)));
                data.insert(key, encoded);
            }
        }
    }
    if let Some(Value::Object(data)) = map.get_mut("data") {
        for (_, value) in data.iter_mut() {
            if let Some(text) = value.as_str().filter(|text| !text.starts_with(MASKED)) {
                *value = Value::String(format!("{MASKED}{}", Digest::of(text.trim().as_bytes()).hex()));
            }
        }
    }
    let annotations = map.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    if let Some(Value::Object(annotations)) = annotations {
        annotations.shift_remove(LAST_APPLIED);
    }
}

pub(super) fn is_secret(object: &Value) -> bool {
    object.get("apiVersion").and_then(Value::as_str) == Some("v1")
        && object.get("kind").and_then(Value::as_str) == Some("Secret")
}

/// One side of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// The field is not there.
    Absent,
    /// It is there, and what it is may be a secret.
    Hidden,
    /// What it is, cut where it is long.
    Text(String),
}

/// A field that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its path, e.g. `.spec.template.spec.containers[name="user"].image`.
    pub path: String,
    /// What it is.
    pub before: Shown,
    /// What it would be.
    pub after: Shown,
}

/// How much of a value is shown, in characters.
const LONGEST: usize = 120;

/// What changes from one state of an object to another, in the order of the paths' fields. What the cluster keeps for
/// itself (versions, times, owners of fields, the status) is no change; secret values and environment variables change
/// without being shown.
pub fn difference(before: &Value, after: &Value) -> Vec<Change> {
    let (mut before, mut after) = (before.clone(), after.clone());
    for object in [&mut before, &mut after] {
        mask(object);
        strip(object);
    }
    let mut changes = Vec::new();
    let hidden = is_secret(&before) || is_secret(&after);
    compare("", Some(&before), Some(&after), hidden, &mut changes);
    changes
}

/// Leaves out what the cluster keeps for itself.
fn strip(object: &mut Value) {
    const OWN: [&str; 8] = [
        "managedFields",
        "resourceVersion",
        "generation",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ];
    let Some(map) = object.as_object_mut() else { return };
    map.shift_remove("status");
    let Some(Value::Object(metadata)) = map.get_mut("metadata") else { return };
    for name in OWN {
        metadata.shift_remove(name);
    }
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        for name in SERVED_ANNOTATIONS {
            annotations.shift_remove(name);
        }
        if annotations.is_empty() {
            metadata.shift_remove("annotations");
        }
    }
}

fn compare(
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    hidden: bool,
    changes: &mut Vec<Change>,
) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for name in names {
                let path = field::push_name(path, name);
                compare(&path, before.get(name), after.get(name), hidden, changes);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            compare_lists(path, before, after, hidden, changes);
        }
        (before, after) => {
            // Labels and types of a secret are none themselves.
            let hidden = is_variable(path) || (hidden && path.starts_with(".data"));
            changes.push(Change {
                path: path.to_owned(),
                before: show(before, hidden),
                after: show(after, hidden),
            });
        }
    }
}

fn compare_lists(path: &str, before: &[Value], after: &[Value], hidden: bool, changes: &mut Vec<Change>) {
    let Some(keys) = field::keys(before, after) else {
        if before.iter().chain(after).any(Value::is_object) {
            for index in 0..before.len().max(after.len()) {
                compare(&format!("{path}[{index}]"), before.get(index), after.get(index), hidden, changes);
            }
        } else {
            let hidden = is_variable(path);
            let list = |list: &[Value]| show(Some(&Value::Array(list.to_vec())), hidden);
            changes.push(Change { path: path.to_owned(), before: list(before), after: list(after) });
        }
        return;
    };
    let names =
        |list: &[Value]| list.iter().filter_map(|element| field::select(element, keys)).collect::<Vec<_>>();
    let find = |list: &[Value], name: &str| {
        list.iter().find(|element| field::select(element, keys).as_deref() == Some(name)).cloned()
    };
    let (first, second) = (names(before), names(after));
    let added = second.iter().filter(|name| !first.contains(name));
    let count = changes.len();
    for name in first.iter().chain(added) {
        let (before, after) = (find(before, name), find(after, name));
        compare(&format!("{path}{name}"), before.as_ref(), after.as_ref(), hidden, changes);
    }
    if count == changes.len() {
        // The same elements in another order.
        let order = |names: &[String]| Shown::Text(cut(&names.join(" ")));
        changes.push(Change { path: path.to_owned(), before: order(&first), after: order(&second) });
    }
}

/// Whether a path leads to environment variables with their values: those are often secrets.
fn is_variable(path: &str) -> bool {
    path.contains("ontainers[") && (path.contains(".env[") || path.ends_with(".env"))
}

fn show(value: Option<&Value>, hidden: bool) -> Shown {
    match value {
        None => Shown::Absent,
        Some(_) if hidden => Shown::Hidden,
        Some(Value::String(text)) => Shown::Text(cut(text)),
        Some(value) => Shown::Text(cut(&without_variables(value).to_string())),
    }
}

/// A value that is shown as a whole, a new container, without what its variables are.
fn without_variables(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let field = |(name, inner): (&String, &Value)| {
                let inner = match inner {
                    Value::Array(list) if name == "env" => list
                        .iter()
                        .map(|variable| variable.get("name").cloned().unwrap_or_default())
                        .collect(),
                    inner => without_variables(inner),
                };
                (name.clone(), inner)
            };
            Value::Object(map.iter().map(field).collect())
        }
        Value::Array(list) => list.iter().map(without_variables).collect(),
        value => value.clone(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// What is lost when an object is deleted and made anew, because a field of it cannot change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Nothing that is not back at once.
    Nothing,
    /// Its pods can be left running without it, and are taken over by the new one.
    Orphans,
    /// Its pods stop, and others start.
    Pods,
    /// The address that it is reached by.
    Address,
    /// What people stored. It is never deleted without being asked for by name.
    Data,
}

/// What it costs to make an object of a kind anew.
pub fn loss(kind: &Kind) -> Loss {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace" | "PersistentVolume" | "PersistentVolumeClaim")
        | ("apiextensions.k8s.io", "CustomResourceDefinition") => Loss::Data,
        ("apps", "StatefulSet") => Loss::Orphans,
        // What cannot change in these is the selector: the new one would not know the old one's pods.
        ("apps", "Deployment" | "DaemonSet" | "ReplicaSet")
        | ("" | "batch", "Pod" | "ReplicationController" | "Job") => Loss::Pods,
        ("", "Service") | ("networking.k8s.io", "Ingress") | ("gateway.networking.k8s.io", _) => {
            Loss::Address
        }
        ("", "ConfigMap" | "Secret" | "ServiceAccount" | "LimitRange" | "ResourceQuota" | "Endpoints")
        | ("batch", "CronJob")
        | (
            "rbac.authorization.k8s.io" | "storage.k8s.io" | "autoscaling" | "policy" | "scheduling.k8s.io",
            _,
        )
        | ("networking.k8s.io", "NetworkPolicy" | "IngressClass")
        | ("node.k8s.io" | "coordination.k8s.io" | "discovery.k8s.io" | "admissionregistration.k8s.io", _) => {
            Loss::Nothing
        }
        // Whatever a controller made from an object of its own kind may go with it.
        _ => Loss::Data,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(image: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "user", "namespace": "chat"}, "spec": {
            "replicas": 2,
            "template": {"spec": {"containers": [
                {"name": "user", "image": image, "args": ["--a"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                 "ports": [{"containerPort": 80}]},
            ]}},
        }})
    }

    /// As the cluster has it: with defaults, a side car that somebody adds, and what changes all the time.
    fn live(image: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "user", "namespace": "chat", "uid": "u1", "resourceVersion": "7", "managedFields": [1]},
        "spec": {
            "replicas": 2, "progressDeadlineSeconds": 600,
            "template": {"spec": {"containers": [
                {"name": "side", "image": "side:1"},
                {"name": "user", "image": image, "args": ["--a"], "imagePullPolicy": "Always",
                 "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                 "ports": [{"containerPort": 80, "protocol": "TCP"}]},
            ]}},
        }, "status": {"readyReplicas": 2}})
    }

    #[test]
    fn an_object_is_unchanged_while_nothing_of_ours_moved() {
        let desired = deployment("user:1");
        let remembered = remember(&desired, &live("user:1"), &[]);
        let verdict = |change: fn(&mut Value)| {
            let mut live = live("user:1");
            change(&mut live);
            unchanged(&desired, Some(&live), Some(&remembered))
        };
        type Case = (&'static str, fn(&mut Value), Verdict);
        let table: [Case; 9] = [
            ("nothing", |_| {}, Verdict::Unchanged),
            ("status", |live| live["status"]["readyReplicas"] = json!(1), Verdict::Unchanged),
            ("a default", |live| live["spec"]["progressDeadlineSeconds"] = json!(1), Verdict::Unchanged),
            (
                "a side car goes",
                |live| {
                    live["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().remove(0);
                },
                Verdict::Unchanged,
            ),
            ("replicas", |live| live["spec"]["replicas"] = json!(5), Verdict::Drifted),
            (
                "the image",
                |live| live["spec"]["template"]["spec"]["containers"][1]["image"] = json!("x"),
                Verdict::Drifted,
            ),
            (
                "an argument",
                |live| live["spec"]["template"]["spec"]["containers"][1]["args"] = json!(["--a", "--b"]),
                Verdict::Drifted,
            ),
            (
                "the order of variables",
                |live| {
                    live["spec"]["template"]["spec"]["containers"][1]["env"].as_array_mut().unwrap().reverse()
                },
                Verdict::Drifted,
            ),
            ("another object", |live| live["metadata"]["uid"] = json!("u2"), Verdict::Drifted),
        ];
        for (what, change, expected) in table {
            assert_eq!(verdict(change), expected, "{what}");
        }
        let held = |live: &mut Value| {
            live["metadata"]["managedFields"] =
                json!([{"manager": "bowline", "operation": "Apply", "fieldsV1": {"f:x": {}}}]);
        };
        assert_eq!(verdict(held), Verdict::Drifted, "a field that the manifest does not have");
        assert_eq!(unchanged(&desired, None, Some(&remembered)), Verdict::Absent);
        assert_eq!(unchanged(&desired, Some(&live("user:1")), None), Verdict::Foreign);
        let edited = unchanged(&deployment("user:2"), Some(&live("user:1")), Some(&remembered));
        assert_eq!(edited, Verdict::Edited);
    }

    #[test]
    fn a_field_that_was_left_to_an_autoscaler_stays_left() {
        let desired = deployment("user:1");
        let yielded = [".spec.replicas".to_owned()];
        let remembered = remember(&desired, &live("user:1"), &yielded);
        let mut scaled = live("user:1");
        scaled["spec"]["replicas"] = json!(9);
        assert_eq!(unchanged(&desired, Some(&scaled), Some(&remembered)), Verdict::Unchanged);
        scaled["spec"]["template"]["spec"]["containers"][1]["image"] = json!("other");
        assert_eq!(unchanged(&desired, Some(&scaled), Some(&remembered)), Verdict::Drifted);
    }

    #[test]
    fn the_order_in_which_maps_are_written_does_not_count() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": 2, "d": [3]}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b": {"d": [3], "c": 2}, "a": 1}"#).unwrap();
        assert_eq!(Digest::of_json(&one), Digest::of_json(&other));
        assert_ne!(Digest::of_json(&json!({"a": "1"})), Digest::of_json(&json!({"a": 1})));
    }

    #[test]
    fn secrets_are_compared_and_never_shown() {
        let secret = |fields: Value| {
            let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "annotations": {
                LAST_APPLIED: "hunter2"
            }}});
            secret.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            secret
        };
        let desired = secret(json!({"stringData": {"password": "hunter2"}}));
        let mut before = secret(json!({"data": {"password": "aHVudGVyMg==", "old": "aA=="}}));
        let remembered = remember(&desired, &before, &[]);
        mask(&mut before);
        assert_eq!(unchanged(&desired, Some(&before), Some(&remembered)), Verdict::Unchanged);
        let after = secret(json!({"data": {"password": "aHVudGVyMw==", "new": "aA=="}, "type": "Opaque"}));
        assert_eq!(unchanged(&desired, Some(&after), Some(&remembered)), Verdict::Drifted);
        let changes = difference(&before, &after);
        let change = |path: &str, before: Shown, after: Shown| Change { path: path.into(), before, after };
        assert_eq!(
            changes,
            [
                change(".data.new", Shown::Absent, Shown::Hidden),
                change(".data.old", Shown::Hidden, Shown::Absent),
                change(".data.password", Shown::Hidden, Shown::Hidden),
                change(".type", Shown::Absent, Shown::Text("Opaque".into())),
            ]
        );
        let all = format!("{before} {changes:?}");
        assert!(!all.contains("hunter2") && !all.contains("aHVudGVyM"), "{all}");
        let whole = difference(&json!({}), &after);
        assert!(!format!("{whole:?}").contains("aHVudGVy"), "{whole:?}");
    }

    #[test]
    fn changes_are_told_by_path_in_order_and_without_noise() {
        let before = live("user:1");
        let mut after = live("user:2");
        after["metadata"]["resourceVersion"] = json!("8");
        after["metadata"]["generation"] = json!(2);
        after["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "2"});
        after["status"] = json!({});
        let container = &mut after["spec"]["template"]["spec"]["containers"][1];
        container["env"][1]["value"] = json!("hunter2");
        container["args"] = json!(["--b"]);
        container["ports"] = json!([{"containerPort": 81, "protocol": "TCP"}]);
        after["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().remove(0);
        let lines: Vec<_> = difference(&before, &after)
            .into_iter()
            .map(|change| format!("{}: {:?} -> {:?}", change.path, change.before, change.after))
            .collect();
        let base = ".spec.template.spec.containers";
        assert_eq!(
            lines,
            [
                format!(
                    r#"{base}[name="side"]: Text("{{\"name\":\"side\",\"image\":\"side:1\"}}") -> Absent"#
                ),
                format!(r#"{base}[name="user"].args: Text("[\"--a\"]") -> Text("[\"--b\"]")"#),
                format!(r#"{base}[name="user"].env[name="B"].value: Hidden -> Hidden"#),
                format!(r#"{base}[name="user"].image: Text("user:1") -> Text("user:2")"#),
                format!(
                    r#"{base}[name="user"].ports[containerPort=80,protocol="TCP"]: Text("{{\"containerPort\":80,\"protocol\":\"TCP\"}}") -> Absent"#
                ),
                format!(
                    r#"{base}[name="user"].ports[containerPort=81,protocol="TCP"]: Absent -> Text("{{\"containerPort\":81,\"protocol\":\"TCP\"}}")"#
                ),
            ]
        );
        assert_eq!(difference(&before, &before), []);
    }

    #[test]
    fn a_new_container_is_shown_without_what_its_variables_are() {
        let mut after = live("user:1");
        let new = json!({"name": "new", "env": [{"name": "KEY", "value": "hunter2"}]});
        after["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(new);
        let changes = difference(&live("user:1"), &after);
        assert_eq!(changes[0].after, Shown::Text(r#"{"name":"new","env":["KEY"]}"#.into()));
        assert_eq!(cut(&"x".repeat(500)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn what_holds_data_is_never_made_anew_lightly() {
        for (group, kind, expected) in [
            ("", "PersistentVolumeClaim", Loss::Data),
            ("", "Namespace", Loss::Data),
            ("kafka.strimzi.io", "Kafka", Loss::Data),
            ("apps", "StatefulSet", Loss::Orphans),
            ("apps", "Deployment", Loss::Pods),
            ("batch", "Job", Loss::Pods),
            ("", "Service", Loss::Address),
            ("rbac.authorization.k8s.io", "RoleBinding", Loss::Nothing),
            ("", "ConfigMap", Loss::Nothing),
        ] {
            assert_eq!(loss(&Kind::new(group, kind)), expected, "{kind}");
        }
    }
}
