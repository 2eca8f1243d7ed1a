//! What controllers and kubelets reported of an object. Events are hints: they may be missing, late and repeated.

use jiff::Timestamp;
use serde_json::Value;

use super::status::{text, time};

/// One event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
    /// When it last happened.
    pub(super) at: Option<Timestamp>,
    /// Which part of the object it is about: `spec.containers{user}`.
    field: &'a str,
}

impl Event<'_> {
    /// Whether it is about this container.
    pub(super) fn is_about(&self, container: &str) -> bool {
        self.field
            .strip_suffix('}')
            .and_then(|field| field.split_once('{'))
            .is_some_and(|(_, name)| name == container)
    }
}

/// The events about an object, told by its uid: a later object of the same name is another one.
pub(super) fn about<'a>(
    events: &'a [&'a Value],
    object: &Value,
) -> impl Iterator<Item = Event<'a>> + use<'a> {
    let uid = text(object, "/metadata/uid").to_owned();
    events.iter().filter_map(move |event| {
        let subject = event.get("involvedObject").or_else(|| event.get("regarding"))?;
        (!uid.is_empty() && text(subject, "/uid") == uid).then(|| read(event, subject))
    })
}

/// Core events and those of `events.k8s.io` tell the same in other fields; which times are filled in depends on the age
/// of who wrote it.
fn read<'a>(event: &'a Value, subject: &'a Value) -> Event<'a> {
    const TIMES: [&str; 5] = [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
        "/eventTime",
        "/firstTimestamp",
    ];
    let message = match text(event, "/message") {
        "" => text(event, "/note"),
        message => message,
    };
    Event {
        reason: text(event, "/reason"),
        message,
        at: TIMES.iter().find_map(|pointer| time(event, pointer)),
        field: text(subject, "/fieldPath"),
    }
}

/// The last of some events, whatever their order.
pub(super) fn newest<'a>(events: impl Iterator<Item = Event<'a>>) -> Option<Event<'a>> {
    events.max_by_key(|event| (event.at, event.message))
}
