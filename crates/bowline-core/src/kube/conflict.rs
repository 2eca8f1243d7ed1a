//! Fields that others hold as well: whom they are taken from, and to whom Bowline gives way.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::field;
use super::object::Manifest;

/// The name under which Bowline's fields are kept.
pub const MANAGER: &str = "bowline";
/// The name under which `kubectl apply --server-side` keeps fields.
const KUBECTL: &str = "kubectl";

/// The fields that Bowline holds in an object, as the server keeps them (`fieldsV1`).
pub fn owned(object: &Value) -> Option<&Value> {
    let fields = object.pointer("/metadata/managedFields")?.as_array()?;
    let ours = |entry: &&Value| {
        entry.get("manager").and_then(Value::as_str) == Some(MANAGER)
            && entry.get("operation").and_then(Value::as_str) == Some("Apply")
    };
    fields.iter().find(ours)?.get("fieldsV1")
}

/// A field that server-side apply would take from somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conflict {
    /// Who holds it, e.g. `kube-controller-manager`.
    pub manager: String,
    /// The part of the API that it was written through, e.g. `scale`.
    pub subresource: Option<String>,
    /// Its path, e.g. `.spec.replicas`.
    pub field: String,
}

impl std::fmt::Display for Conflict {
    /// `.spec.replicas (held by kube-controller-manager through scale)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (held by {}", self.field, self.manager)?;
        self.subresource.iter().try_for_each(|subresource| write!(f, " through {subresource}"))?;
        f.write_str(")")
    }
}

/// The conflicts that an answer of the API server (a `Status`) tells of, each once, in order; empty where it is about
/// something else.
pub fn parse(status: &Value) -> Vec<Conflict> {
    let causes = status.pointer("/details/causes").and_then(Value::as_array);
    let mut found: Vec<_> = causes.into_iter().flatten().filter_map(parse_cause).collect();
    found.sort();
    found.dedup();
    found
}

/// `conflict with "kubectl" with subresource "scale" using apps/v1 at 2026-11-25T10:00:00Z`.
fn parse_cause(cause: &Value) -> Option<Conflict> {
    let text = |field: &str| cause.get(field).and_then(Value::as_str);
    if text("reason") != Some("FieldManagerConflict") {
        return None;
    }
    let message = text("message")?;
    let quoted = |after: &str| {
        let rest = message.get(message.find(after)? + after.len()..)?;
        serde_json::Deserializer::from_str(rest).into_iter::<String>().next()?.ok()
    };
    Some(Conflict {
        manager: quoted("conflict with ")?,
        subresource: quoted(" with subresource "),
        field: text("field")?.to_owned(),
    })
}

/// What to do about the conflicts of one object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settlement {
    /// Fields that are taken: people set them by hand, or Bowline did.
    pub taken: Vec<Conflict>,
    /// Fields that are left to whoever holds them.
    pub yielded: Vec<Conflict>,
    /// Fields that the release consists of, held by something that would set them again. Neither taking nor leaving
    /// them would last, so nothing is applied.
    pub contested: Vec<Conflict>,
}

impl Settlement {
    /// The paths of the fields that are left to others, in order.
    pub fn yielded_fields(&self) -> Vec<String> {
        let mut fields: Vec<_> = self.yielded.iter().map(|conflict| conflict.field.clone()).collect();
        fields.sort();
        fields.dedup();
        fields
    }
}

/// Settles conflicts: fields are taken from people's own tools (kubectl and the clusters' user interfaces), from
/// Bowline itself, and from the managers named in `also`. Everybody else keeps theirs: an autoscaler its replicas, an
/// operator what it operates. Images are what a release is: they are never left to others.
pub fn settle(conflicts: &[Conflict], also: &[String]) -> Settlement {
    let mut settlement = Settlement::default();
    for conflict in conflicts {
        let list = if is_ours_to_take(&conflict.manager) || also.contains(&conflict.manager) {
            &mut settlement.taken
        } else if is_image(&conflict.field) {
            &mut settlement.contested
        } else {
            &mut settlement.yielded
        };
        list.push(conflict.clone());
    }
    settlement
}

/// Whether what a manager wrote was written by a person's hand. Helm is not among them: it would write it again.
pub fn is_ours_to_take(manager: &str) -> bool {
    // A manager that gives no name is known by its user agent: browsers are user interfaces behind `kubectl proxy`,
    // and Lens calls itself by the library that it is built on.
    const HANDS: [&str; 12] = [
        MANAGER,
        "kubectl",
        "before-first-apply",
        "rancher",
        "k9s",
        "dashboard",
        "kubernetes-dashboard",
        "headlamp-server",
        "headlamp",
        "lens",
        "node-fetch",
        "Mozilla",
    ];
    HANDS.contains(&manager) || manager.starts_with("kubectl-")
}

fn is_image(field: &str) -> bool {
    field.ends_with("].image") && field.to_ascii_lowercase().contains("containers[")
}

/// A field that is to be left to others is not where it is said to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{manifest}: the cluster names the field {field}, which the manifest does not have")]
pub struct UnknownField {
    /// Which object.
    pub manifest: String,
    /// The field's path.
    pub field: String,
}

/// The manifest without some of its fields, so that the rest can be applied and whoever holds these keeps them.
pub fn yield_fields(manifest: &Manifest, conflicts: &[Conflict]) -> Result<Manifest, UnknownField> {
    let mut left = manifest.clone();
    let fields = conflicts.iter().map(|conflict| conflict.field.as_str());
    match field::remove_all(&mut left.value, fields).first() {
        Some(field) => Err(UnknownField { manifest: manifest.id.to_string(), field: (*field).to_owned() }),
        None => Ok(left),
    }
}

/// The manifest without fields that are left to others; what it does not have any more needs no leaving.
pub fn without(value: &Value, fields: &[String]) -> Value {
    let mut left = value.clone();
    field::remove_all(&mut left, fields.iter().map(String::as_str));
    left
}

/// The `metadata.managedFields` of an object after Bowline has inherited what people's tools wrote; none where there is
/// nothing to inherit.
///
/// Without that, a field that is taken out of a manifest would stay in the cluster: kubectl, which once wrote it, would
/// still hold it. What was written through a part of the API (`status`, `scale`) stays whose it is.
pub fn inherit(live: &Value) -> Option<Vec<Value>> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let text =
        |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let inherited = |entry: &Value| {
        text(entry, "operation") == "Update"
            && text(entry, "subresource").is_empty()
            && is_ours_to_take(&text(entry, "manager"))
            && text(entry, "manager") != MANAGER
            // Before 1.22 a status is written under the manager's plain name.
            && (entry.pointer("/fieldsV1/f:status").is_none() || entry.pointer("/fieldsV1/f:spec").is_some())
    };
    let ours = |entry: &Value| {
        text(entry, "manager") == MANAGER
            && text(entry, "operation") == "Apply"
            && text(entry, "subresource").is_empty()
    };
    let last = entries.iter().rfind(|entry| inherited(entry))?;
    let version = entries.iter().find(|entry| ours(entry)).unwrap_or(last).get("apiVersion")?.clone();
    // Fields are only comparable within one version of a kind.
    let same = |entry: &Value| entry.get("apiVersion") == Some(&version);
    let newest = entries.iter().rfind(|entry| inherited(entry) && same(entry))?;
    let mut fields = Value::Object(Map::new());
    let mut rest = Vec::new();
    for entry in entries {
        if same(entry) && (inherited(entry) || ours(entry)) {
            unite(&mut fields, entry.get("fieldsV1").unwrap_or(&Value::Null));
        } else {
            rest.push(entry.clone());
        }
    }
    rest.push(json!({
        "manager": MANAGER, "operation": "Apply", "apiVersion": version, "fieldsType": "FieldsV1",
        "time": newest.get("time"), "fieldsV1": fields,
    }));
    Some(rest)
}

/// The `metadata.managedFields` of an object after what Bowline applied has become kubectl's, as `kubectl apply
/// --server-side` keeps it; none where Bowline holds nothing.
pub fn bequeath(live: &Value) -> Option<Vec<Value>> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let is = |entry: &Value, manager: &str| {
        entry.get("manager").and_then(Value::as_str) == Some(manager)
            && entry.get("operation").and_then(Value::as_str) == Some("Apply")
            && entry.get("subresource").and_then(Value::as_str).unwrap_or_default().is_empty()
    };
    let mut ours = entries.iter().find(|entry| is(entry, MANAGER))?.clone();
    let same = |entry: &Value| entry.get("apiVersion") == ours.get("apiVersion");
    let mut fields = ours.get("fieldsV1").cloned().unwrap_or_else(|| json!({}));
    let mut rest = Vec::new();
    for entry in entries.iter().filter(|entry| !is(entry, MANAGER)) {
        if is(entry, KUBECTL) && same(entry) {
            unite(&mut fields, entry.get("fieldsV1").unwrap_or(&Value::Null));
        } else {
            rest.push(entry.clone());
        }
    }
    if let Some(map) = ours.as_object_mut() {
        map.insert("manager".into(), json!(KUBECTL));
        map.insert("fieldsV1".into(), fields);
    }
    rest.push(ours);
    Some(rest)
}

/// Adds one set of fields to another.
pub(super) fn unite(fields: &mut Value, more: &Value) {
    let (Value::Object(fields), Value::Object(more)) = (fields, more) else { return };
    for (name, inner) in more {
        unite(fields.entry(name).or_insert_with(|| Value::Object(Map::new())), inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::object::{ObjectId, Origin};

    fn conflict(manager: &str, subresource: Option<&str>, field: &str) -> Conflict {
        Conflict { manager: manager.into(), subresource: subresource.map(str::to_owned), field: field.into() }
    }

    #[test]
    fn conflicts_are_read_from_every_form_of_the_message() {
        let cause = |message: &str, field: &str| json!({"reason": "FieldManagerConflict", "message": message, "field": field});
        let status = json!({"reason": "Conflict", "details": {"causes": [
            cause(r#"conflict with "kubectl" using apps/v1"#, ".spec.a"),
            cause(r#"conflict with "kube-controller-manager" with subresource "scale" using apps/v1 at 2026-11-25T10:00:00Z"#, ".spec.replicas"),
            cause(r#"conflict with "flux""#, ".spec.c"),
            cause(r#"conflict with "flux""#, ".spec.c"),
            cause(r#"conflict with "odd \" with subresource ""#, ".spec.d"),
            {"reason": "Else"},
        ]}});
        assert_eq!(
            parse(&status),
            [
                conflict("flux", None, ".spec.c"),
                conflict("kube-controller-manager", Some("scale"), ".spec.replicas"),
                conflict("kubectl", None, ".spec.a"),
                conflict("odd \" with subresource ", None, ".spec.d"),
            ]
        );
        assert_eq!(parse(&json!({"reason": "Conflict", "message": "the object has been modified"})), []);
    }

    #[test]
    fn hands_are_taken_from_machines_are_left_alone_and_images_are_never_given_away() {
        let image = r#".spec.template.spec.containers[name="user"].image"#;
        for (manager, field, verdict) in [
            ("kubectl", image, "taken"),
            ("kubectl-client-side-apply", image, "taken"),
            ("kubectl-edit", ".spec.replicas", "taken"),
            ("kubectl-rollout", ".spec.paused", "taken"),
            ("before-first-apply", ".spec.replicas", "taken"),
            ("bowline", ".spec.replicas", "taken"),
            ("rancher", ".spec.replicas", "taken"),
            ("k9s", ".spec.replicas", "taken"),
            ("chosen", ".spec.replicas", "taken"),
            ("kube-controller-manager", ".spec.replicas", "yielded"),
            ("helm", ".spec.replicas", "yielded"),
            ("kubectlish", ".spec.replicas", "yielded"),
            ("flux", image, "contested"),
            ("helm", image, "contested"),
            ("flux", r#".spec.jobTemplate.spec.template.spec.initContainers[name="a"].image"#, "contested"),
            ("operator", ".spec.image", "yielded"),
        ] {
            let found = settle(&[conflict(manager, None, field)], &["chosen".into()]);
            let got = match (found.taken.len(), found.yielded.len(), found.contested.len()) {
                (1, 0, 0) => "taken",
                (0, 1, 0) => "yielded",
                (0, 0, 1) => "contested",
                _ => "nonsense",
            };
            assert_eq!(got, verdict, "{manager} {field}");
        }
        let said = conflict("kube-controller-manager", Some("scale"), ".spec.replicas").to_string();
        assert_eq!(said, ".spec.replicas (held by kube-controller-manager through scale)");
    }

    #[test]
    fn only_what_is_given_away_leaves_the_manifest() {
        let manifest = Manifest {
            id: ObjectId::namespaced("apps", "Deployment", "chat", "user"),
            version: "v1".into(),
            value: json!({"spec": {"replicas": 3, "paused": false, "tolerations": [{"key": "a"}, {"key": "b"}, {"key": "c"}]}}),
            origin: Origin { file: "a.yaml".into(), line: 1, column: 1 },
        };
        let found = [
            conflict("hpa", None, ".spec.replicas"),
            conflict("x", None, ".spec.tolerations[0]"),
            conflict("x", None, ".spec.tolerations[0].key"),
            conflict("x", None, ".spec.tolerations[1]"),
        ];
        let left = yield_fields(&manifest, &found).unwrap();
        assert_eq!(left.value, json!({"spec": {"paused": false, "tolerations": [{"key": "c"}]}}));
        let error = yield_fields(&manifest, &[conflict("x", None, ".spec.gone")]).unwrap_err();
        assert!(
            error.to_string().starts_with("Deployment chat/user: the cluster names the field .spec.gone")
        );
        let fields: Vec<_> = found.iter().map(|conflict| conflict.field.clone()).collect();
        assert_eq!(without(&manifest.value, &fields), left.value);
    }

    #[test]
    fn what_hands_wrote_becomes_ours_and_the_rest_stays() {
        let entry = |manager: &str, operation: &str, subresource: &str, fields: Value| {
            json!({"manager": manager, "operation": operation, "subresource": subresource, "apiVersion": "apps/v1",
                   "fieldsType": "FieldsV1", "time": "2026-11-25T10:00:00Z", "fieldsV1": fields})
        };
        let hpa = entry("kube-controller-manager", "Update", "scale", json!({"f:spec": {"f:replicas": {}}}));
        let status = entry("kubectl", "Update", "status", json!({"f:status": {}}));
        let live = json!({"metadata": {"managedFields": [
            entry("kubectl-client-side-apply", "Update", "", json!({"f:spec": {"f:a": {}, "f:b": {"k:{\"name\":\"x\"}": {".": {}}}}})),
            hpa, status,
            entry("bowline", "Apply", "", json!({"f:spec": {"f:a": {}, "f:c": {}}})),
        ]}});
        let after = inherit(&live).unwrap();
        assert_eq!(after[..2], [hpa, status]);
        assert_eq!(after[2]["manager"], "bowline");
        assert_eq!(after[2]["operation"], "Apply");
        assert_eq!(
            after[2]["fieldsV1"],
            json!({"f:spec": {"f:a": {}, "f:b": {"k:{\"name\":\"x\"}": {".": {}}}, "f:c": {}}})
        );
        assert_eq!(inherit(&json!({"metadata": {"managedFields": after}})), None);
        assert_eq!(inherit(&json!({"metadata": {}})), None);
    }

    #[test]
    fn what_bowline_applied_becomes_kubectls_and_the_rest_stays() {
        let entry = |manager: &str, operation: &str, fields: Value| json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsV1": fields});
        let (a, b) = (json!({"f:spec": {"f:a": {}}}), json!({"f:spec": {"f:b": {}}}));
        let both = json!({"f:spec": {"f:a": {}, "f:b": {}}});
        let hand = entry("kubectl", "Update", b.clone());
        let table = [
            (vec![entry("bowline", "Apply", a.clone())], Some(vec![entry("kubectl", "Apply", a.clone())])),
            (
                vec![
                    entry("kubectl", "Apply", b.clone()),
                    entry("bowline", "Apply", a.clone()),
                    hand.clone(),
                ],
                Some(vec![hand.clone(), entry("kubectl", "Apply", both)]),
            ),
            (vec![hand, entry("bowline", "Update", a)], None),
        ];
        for (fields, expected) in table {
            let after = bequeath(&json!({"metadata": {"managedFields": fields}}));
            assert_eq!(after, expected);
        }
    }
}
