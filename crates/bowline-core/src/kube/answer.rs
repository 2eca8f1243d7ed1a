//! What an API server says to an object that is to be applied, in the few ways that make a difference.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conflict::{self, Conflict};

/// What an API server says to an object that is to be applied.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is applied; this is how it is now (or would be: a dry run). Secret values are masked.
    Applied(Value),
    /// Others hold fields of it; nothing is applied.
    Conflict(Vec<Conflict>),
    /// It is no longer the object that was looked at: look again.
    Stale {
        /// In the server's words.
        message: String,
    },
    /// Fields of it cannot change: it would have to be made anew.
    Immutable {
        /// Their paths, in the server's words; one can be as wide as `spec`.
        fields: Vec<String>,
        /// What the server says about them.
        message: String,
    },
    /// It is wrong.
    Invalid {
        /// What is wrong with which field.
        causes: Vec<Cause>,
        /// All of it, for one line.
        message: String,
    },
    /// What it needs in order to be applied is not there.
    Missing(Missing),
    /// It is not allowed.
    Denied {
        /// By whom.
        by: Denier,
        /// In the server's words.
        message: String,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Its path, in the server's words; empty where it names none.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// What an object needs in order to be applied, and is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// The namespace of this name.
    Namespace(String),
    /// A namespace that is being deleted takes nothing new.
    Terminating(String),
    /// The cluster does not know the kind.
    Kind,
}

/// Who does not allow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denier {
    /// The roles of whoever asks.
    Roles,
    /// A quota or a limit of the namespace.
    Quota,
    /// An admission webhook of this name: it says no, or cannot be asked.
    Webhook(String),
    /// Another rule of the cluster: pod security, a validating policy.
    Policy,
}

/// Sorts an answer to an apply; none where it says nothing about the object (the server is in trouble, or does not know
/// who asks).
pub fn classify(status: u16, body: &Value) -> Option<Answer> {
    let message = body.get("message").and_then(Value::as_str).unwrap_or_default();
    let detail =
        |field: &str| body.pointer(&format!("/details/{field}")).and_then(Value::as_str).unwrap_or_default();
    if let Some(webhook) = webhook(message).filter(|_| status >= 400) {
        return Some(Answer::Denied { by: Denier::Webhook(webhook), message: tidy(message) });
    }
    Some(match status {
        200 | 201 => {
            let mut object = body.clone();
            super::comparison::mask(&mut object);
            Answer::Applied(object)
        }
        403 if has_cause(body, "NamespaceTerminating") => {
            let cause = body.pointer("/details/causes/0/message").and_then(Value::as_str).unwrap_or_default();
            let name = cause.split_whitespace().nth(1).unwrap_or_default();
            Answer::Missing(Missing::Terminating(name.to_owned()))
        }
        403 => Answer::Denied { by: denier(message), message: tidy(message) },
        404 if detail("kind") == "namespaces" => {
            Answer::Missing(Missing::Namespace(detail("name").to_owned()))
        }
        404 => Answer::Missing(Missing::Kind),
        409 => match conflict::parse(body) {
            conflicts if conflicts.is_empty() => Answer::Stale { message: tidy(message) },
            conflicts => Answer::Conflict(conflicts),
        },
        400 | 413 => Answer::Invalid { causes: typed_causes(message), message: tidy(message) },
        422 => invalid(body, message),
        // Before 1.22 or so, what does not fit the schema is an internal error.
        500 if is_typed(message) => Answer::Invalid { causes: typed_causes(message), message: tidy(message) },
        _ => return None,
    })
}

/// Whether the server could not even read the object as one of its kind: asking again changes nothing.
pub fn is_typed(message: &str) -> bool {
    message.contains("typed patch object") || message.contains("failed to create typed")
}

fn has_cause(body: &Value, reason: &str) -> bool {
    let causes = body.pointer("/details/causes").and_then(Value::as_array);
    causes.into_iter().flatten().any(|cause| cause.get("reason").and_then(Value::as_str) == Some(reason))
}

/// The name in `admission webhook "x" denied the request` and `failed calling webhook "x"`.
fn webhook(message: &str) -> Option<String> {
    let after = ["admission webhook \"", "failed calling webhook \""]
        .iter()
        .find_map(|text| message.find(text).and_then(|at| message.get(at + text.len()..)))?;
    after.split_once('"').map(|(name, _)| name.to_owned())
}

fn denier(message: &str) -> Denier {
    let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if says(&[" cannot ", "attempting to grant RBAC permissions", "is attempting to grant"]) {
        Denier::Roles
    } else if says(&["exceeded quota", "failed quota", "usage per ", "insufficient quota"]) {
        Denier::Quota
    } else {
        Denier::Policy
    }
}

fn invalid(body: &Value, message: &str) -> Answer {
    let list = body.pointer("/details/causes").and_then(Value::as_array);
    let causes = list.into_iter().flatten().map(|cause| {
        let text = |field: &str| cause.get(field).and_then(Value::as_str).unwrap_or_default();
        let field = text("field").to_owned();
        Cause { message: without_value(&field, text("message")), field }
    });
    let causes: Vec<Cause> = causes.collect();
    let is_precondition =
        |cause: &Cause| ["metadata.uid", "metadata.resourceVersion"].contains(&cause.field.as_str());
    if causes.iter().any(is_precondition) {
        return Answer::Stale { message: join(&causes) };
    }
    if causes.is_empty() {
        return Answer::Invalid { causes, message: tidy(message) };
    }
    let message = join(&causes);
    if causes.iter().all(|cause| is_immutable(&cause.message)) {
        let mut fields: Vec<_> = causes.into_iter().map(|cause| cause.field).collect();
        fields.sort();
        fields.dedup();
        return Answer::Immutable { fields, message };
    }
    Answer::Invalid { causes, message }
}

fn join(causes: &[Cause]) -> String {
    let lines: Vec<_> = causes
        .iter()
        .map(|cause| {
            if cause.field.is_empty() {
                cause.message.clone()
            } else {
                format!("{}: {}", cause.field, cause.message)
            }
        })
        .collect();
    tidy(&lines.join("; "))
}

/// Whether a field cannot change, as opposed to having a wrong value. Each kind says it in its own words.
fn is_immutable(message: &str) -> bool {
    const WORDS: [&str; 9] = [
        "immutable",
        "may not change once set",
        "may not be changed",
        "cannot be changed",
        "can not be changed",
        "cannot change roleRef",
        "may not change fields other than",
        "may not be unset",
        "primary clusterIP can not be unset",
    ];
    WORDS.iter().any(|word| message.contains(word))
        || (message.contains("updates to ") && message.contains("forbidden"))
}

/// A cause without the value that it quotes, unless that is short and no secret: of a job it quotes the whole pod, with
/// its variables.
fn without_value(field: &str, message: &str) -> String {
    const QUOTED: usize = 64;
    const QUOTING: [&str; 3] = ["Invalid value", "Unsupported value", "Duplicate value"];
    let Some((kind, rest)) = message.split_once(": ").filter(|(kind, _)| QUOTING.contains(kind)) else {
        return tidy(message);
    };
    let secret = field.starts_with("data") || field.starts_with("stringData") || field.contains("env[");
    let mut texts = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
    let (value, detail) = match texts.next() {
        Some(Ok(value)) => {
            let shown = value.to_string();
            let short = !secret && !value.is_object() && !value.is_array() && shown.len() <= QUOTED;
            (
                short.then_some(shown),
                rest.get(texts.byte_offset()..).unwrap_or_default().trim_start_matches(": "),
            )
        }
        // The value is in Go's own notation, and may contain anything: only what comes after it is safe.
        _ => (
            None,
            rest.rsplit_once("}: ").or_else(|| rest.rsplit_once(": ")).map_or("", |(_, detail)| detail),
        ),
    };
    match (value, detail) {
        (Some(value), "") => format!("{kind}: {value}"),
        (Some(value), detail) => format!("{kind}: {value}: {detail}"),
        (None, "") => kind.to_owned(),
        (None, detail) => format!("{kind}: {detail}"),
    }
}

/// What does not fit the schema: `… typed patch object (…): .spec.foo: field not declared in schema`, or several of
/// those after `errors:`. Servers of 1.20 leave the parenthesis out.
fn typed_causes(message: &str) -> Vec<Cause> {
    if let Some((_, rest)) = message.split_once("strict decoding error: ") {
        let cause = |text: &str| Cause {
            field: text.split('"').nth(1).unwrap_or_default().to_owned(),
            message: tidy(text.split(" \"").next().unwrap_or(text)),
        };
        return rest.split(", ").map(cause).collect();
    }
    let Some((_, rest)) = message.split_once("typed patch object") else { return Vec::new() };
    let named = rest.starts_with(" (").then(|| rest.split_once("): ")).flatten().map(|(_, rest)| rest);
    let Some(rest) = named.or_else(|| rest.strip_prefix(": ")) else { return Vec::new() };
    let rest = rest.strip_prefix("errors:").unwrap_or(rest);
    let cause = |line: &str| {
        let line = line.trim();
        let (field, message) = line.split_once(": ")?;
        field.starts_with('.').then(|| Cause { field: field.to_owned(), message: tidy(message) })
    };
    rest.lines().filter_map(cause).collect()
}

/// A message for one line, without quoted values that are too long to be read.
fn tidy(message: &str) -> String {
    const LONGEST: usize = 1000;
    let line: String = message.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(LONGEST) {
        None => line,
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(code: u16, message: &str, details: Value) -> Option<Answer> {
        classify(code, &json!({"kind": "Status", "code": code, "message": message, "details": details}))
    }

    fn caused(field: &str, message: &str) -> Option<Answer> {
        status(
            422,
            "…",
            json!({"causes": [{"reason": "FieldValueInvalid", "message": message, "field": field}]}),
        )
    }

    #[test]
    fn fields_that_cannot_change_are_told_from_fields_that_are_wrong() {
        for (field, message) in [
            (
                "spec.selector",
                r#"Invalid value: v1.LabelSelector{MatchLabels:map[string]string{"a":"b"}}: field is immutable"#,
            ),
            (
                "spec.template",
                r#"Invalid value: core.PodTemplateSpec{Env: "hunter2: x"}: field is immutable"#,
            ),
            (
                "spec",
                "Forbidden: updates to statefulset spec for fields other than 'replicas', 'template', and 'updateStrategy' are forbidden",
            ),
            ("spec", "Forbidden: pod updates may not change fields other than `spec.containers[*].image`"),
            (
                "spec",
                "Forbidden: spec is immutable after creation except resources.requests for bound claims",
            ),
            (
                "spec.persistentvolumesource",
                "Forbidden: spec.persistentvolumesource is immutable after creation",
            ),
            ("spec.clusterIPs[0]", r#"Invalid value: []string{"10.0.0.9"}: may not change once set"#),
            ("roleRef", r#"Invalid value: rbac.RoleRef{Name:"x"}: cannot change roleRef"#),
            ("parameters", "Forbidden: updates to parameters are forbidden."),
            ("data", "Forbidden: field is immutable when `immutable` is set"),
        ] {
            let answer = caused(field, message);
            let Some(Answer::Immutable { fields, message }) = answer else { panic!("{field}: {answer:?}") };
            assert_eq!(fields, [field]);
            assert!(!message.contains("hunter2"), "{message}");
        }
        let answer =
            caused("spec.replicas", "Invalid value: -1: must be greater than or equal to 0").unwrap();
        let message = "spec.replicas: Invalid value: -1: must be greater than or equal to 0";
        let Answer::Invalid { message: said, causes } = answer else { panic!() };
        assert_eq!((said.as_str(), causes.len()), (message, 1));
        let stale = caused("metadata.uid", r#"Invalid value: "a": field is immutable"#);
        assert!(matches!(stale, Some(Answer::Stale { .. })), "{stale:?}");
    }

    #[test]
    fn refusals_say_who_refuses() {
        for (code, message, by) in [
            (
                403,
                r#"deployments.apps "user" is forbidden: User "ci" cannot patch resource "deployments" in API group "apps" in the namespace "chat""#,
                Denier::Roles,
            ),
            (
                403,
                "pods \"a\" is forbidden: exceeded quota: small, requested: cpu=2, used: cpu=1, limited: cpu=2",
                Denier::Quota,
            ),
            (
                403,
                "pods \"a\" is forbidden: maximum cpu usage per Container is 1, but limit is 2",
                Denier::Quota,
            ),
            (403, "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": x", Denier::Policy),
            (
                400,
                r#"admission webhook "check.example.com" denied the request: no"#,
                Denier::Webhook("check.example.com".into()),
            ),
            (
                500,
                r#"Internal error occurred: failed calling webhook "v.x.io": Post "https://x": refused"#,
                Denier::Webhook("v.x.io".into()),
            ),
        ] {
            let answer = status(code, message, Value::Null);
            assert_eq!(answer, Some(Answer::Denied { by, message: message.into() }));
        }
    }

    #[test]
    fn what_is_missing_has_a_name() {
        let answer =
            status(404, r#"namespaces "chat" not found"#, json!({"name": "chat", "kind": "namespaces"}));
        assert_eq!(answer, Some(Answer::Missing(Missing::Namespace("chat".into()))));
        let answer = status(404, "the server could not find the requested resource", json!({}));
        assert_eq!(answer, Some(Answer::Missing(Missing::Kind)));
        let cause = json!({"causes": [{"reason": "NamespaceTerminating", "message": "namespace chat is being terminated"}]});
        let answer = status(403, "unable to create new content", cause);
        assert_eq!(answer, Some(Answer::Missing(Missing::Terminating("chat".into()))));
    }

    #[test]
    fn what_does_not_fit_the_schema_is_wrong_whatever_the_status() {
        for (code, message, field, what) in [
            (
                500,
                "failed to create typed patch object (chat/user; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema",
                ".spec.foo",
                "field not declared in schema",
            ),
            (
                500,
                "failed to create typed patch object (chat/user; apps/v1, Kind=Deployment): errors:\n  .spec.template.spec.containers[name=\"a\"].env: duplicate entries for key [name=\"X\"]",
                ".spec.template.spec.containers[name=\"a\"].env",
                "duplicate entries for key [name=\"X\"]",
            ),
            (
                500,
                "failed to create typed patch object: .spec.foo: field not declared in schema",
                ".spec.foo",
                "field not declared in schema",
            ),
            (
                500,
                "failed to create typed patch object: errors:\n  .spec.b: expected list, got (a): b",
                ".spec.b",
                "expected list, got (a): b",
            ),
            (
                400,
                "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.foo\"",
                "spec.foo",
                "unknown field",
            ),
        ] {
            let Some(Answer::Invalid { causes, .. }) = status(code, message, Value::Null) else {
                panic!("{message}")
            };
            assert_eq!(causes, [Cause { field: field.into(), message: what.into() }]);
        }
        assert_eq!(status(500, "etcdserver: leader changed", Value::Null), None);
        assert_eq!(status(401, "Unauthorized", Value::Null), None);
        let stale = status(409, "the object has been modified", json!({}));
        assert!(matches!(stale, Some(Answer::Stale { .. })));
    }

    #[test]
    fn values_are_only_quoted_where_they_are_short_and_no_secret() {
        for (field, message, expected) in [
            (
                "metadata.name",
                r#"Invalid value: "A_b": a name is: lower case"#,
                r#"Invalid value: "A_b": a name is: lower case"#,
            ),
            ("data[x]", r#"Invalid value: "hunter2": no"#, "Invalid value: no"),
            ("spec.containers[0].env[0].name", r#"Invalid value: "hunter2": no"#, "Invalid value: no"),
            (
                "spec.x",
                r#"Unsupported value: "Z": supported values: "A", "B""#,
                r#"Unsupported value: "Z": supported values: "A", "B""#,
            ),
            ("spec.x", "Required value: must be given", "Required value: must be given"),
            ("spec.x", r#"Invalid value: {"a":"hunter2"}: no"#, "Invalid value: no"),
            ("spec", "Forbidden: no", "Forbidden: no"),
        ] {
            assert_eq!(without_value(field, message), expected, "{message}");
        }
    }
}
