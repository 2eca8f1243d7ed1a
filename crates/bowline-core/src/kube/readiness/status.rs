//! Reading what all objects of the API have in common: names, owners, generations, conditions, times.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The text at a JSON pointer, empty where there is none.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The count at a JSON pointer: the API leaves out zeros.
pub(super) fn count(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// The time at a JSON pointer.
pub(super) fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    text(value, pointer).parse().ok()
}

/// Whether something is true at a JSON pointer.
pub(super) fn is_true(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The items of the list at a JSON pointer.
pub(super) fn items<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// What an object is called.
pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// Whether this object is controlled by the one with this uid.
pub(super) fn is_owned(object: &Value, uid: &str) -> bool {
    !uid.is_empty()
        && items(object, "/metadata/ownerReferences")
            .any(|owner| text(owner, "/uid") == uid && is_true(owner, "/controller"))
}

/// Whether somebody has asked for its deletion.
pub(super) fn is_terminating(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

/// Why an object that is being deleted is still there.
pub(super) fn deletion(object: &Value) -> Option<String> {
    if !is_terminating(object) {
        return None;
    }
    let finalizers: Vec<_> = items(object, "/metadata/finalizers").filter_map(Value::as_str).collect();
    Some(match finalizers.as_slice() {
        [] => "it is being deleted".into(),
        some => format!("it is being deleted and waits for {}", some.join(", ")),
    })
}

/// Whether its controller has not yet seen its present `spec`. A controller of Kubernetes that has written nothing has
/// seen nothing.
pub(super) fn is_unobserved(object: &Value) -> bool {
    count(object, "/metadata/generation") != count(object, "/status/observedGeneration")
}

/// How many pods are wanted (kubernetes: pkg/apis/apps/v1/defaults.go, one where nothing is said).
pub(super) fn wanted_replicas(object: &Value) -> u64 {
    object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)
}

/// One of an object's conditions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition<'v> {
    value: &'v Value,
}

impl<'v> Condition<'v> {
    pub(super) fn is_true(&self) -> bool {
        text(self.value, "/status") == "True"
    }

    pub(super) fn is_false(&self) -> bool {
        text(self.value, "/status") == "False"
    }

    pub(super) fn reason(&self) -> &'v str {
        text(self.value, "/reason")
    }

    pub(super) fn message(&self) -> &'v str {
        text(self.value, "/message")
    }

    /// Since when it has this status.
    pub(super) fn since(&self) -> Option<Timestamp> {
        time(self.value, "/lastTransitionTime")
    }

    /// When it was last written, where its kind says so.
    pub(super) fn written(&self) -> Option<Timestamp> {
        time(self.value, "/lastUpdateTime").or_else(|| self.since())
    }

    /// Whether it is about an older `spec` of its object.
    pub(super) fn is_outdated(&self, object: &Value) -> bool {
        let about = self.value.get("observedGeneration").and_then(Value::as_u64);
        about.is_some_and(|about| about < count(object, "/metadata/generation"))
    }

    /// Its reason and its message as one sentence.
    pub(super) fn words(&self) -> String {
        match (self.reason(), self.message()) {
            ("", "") => "no reason given".into(),
            ("", words) | (words, "") => shorten(words),
            (reason, message) => format!("{reason}: {}", shorten(message)),
        }
    }
}

/// The condition of this type.
pub(super) fn condition<'v>(object: &'v Value, kind: &str) -> Option<Condition<'v>> {
    items(object, "/status/conditions")
        .find(|value| text(value, "/type") == kind)
        .map(|value| Condition { value })
}

/// Whether this much time lies between the two.
pub(super) fn has_passed(since: Timestamp, wait: Duration, now: Timestamp) -> bool {
    SignedDuration::try_from(wait).is_ok_and(|wait| now.duration_since(since) >= wait)
}

/// A message on one line, and not longer than what somebody reads.
pub(super) fn shorten(message: &str) -> String {
    const LIMIT: usize = 400;
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default().trim_end()),
        None => line,
    }
}

/// `1 pod`, `3 pods`.
pub(super) fn pods(number: u64) -> String {
    if number == 1 { "1 pod".into() } else { format!("{number} pods") }
}
