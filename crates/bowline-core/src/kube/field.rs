//! Paths of fields, as server-side apply writes them: `.spec.template.spec.containers[name="user"].image`.
//!
//! A path is only understood beside the object that it is about: names are written as they are, so that
//! `.metadata.labels.app.kubernetes.io/name` could mean several things.

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A field of a map.
    Name(String),
    /// An element of a list, counted from 0.
    Index(usize),
}

/// The steps that a path takes through an object; none where it does not lead to something that is there.
pub fn resolve(path: &str, object: &Value) -> Option<Vec<Step>> {
    let (mut rest, mut here, mut steps) = (path, object, Vec::new());
    while !rest.is_empty() {
        let (step, next, after) = match here {
            Value::Object(map) => enter_map(rest, map)?,
            Value::Array(list) => enter_list(rest, list)?,
            _ => return None,
        };
        steps.push(step);
        (here, rest) = (next, after);
    }
    (!steps.is_empty()).then_some(steps)
}

/// The longest name that the path may mean: `.a.b` is the field `a.b` where there is one.
fn enter_map<'v, 'p>(path: &'p str, map: &'v Map<String, Value>) -> Option<(Step, &'v Value, &'p str)> {
    let named = path.strip_prefix('.')?;
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    let candidates = map.iter().filter_map(|(name, value)| {
        let rest = named.strip_prefix(name.as_str())?;
        ends(rest).then_some((name, value, rest))
    });
    let (name, value, rest) = candidates.max_by_key(|(name, ..)| name.len())?;
    Some((Step::Name(name.clone()), value, rest))
}

fn enter_list<'v, 'p>(path: &'p str, list: &'v [Value]) -> Option<(Step, &'v Value, &'p str)> {
    let (selector, rest) = read_selector(path.strip_prefix('[')?)?;
    let index = match selector {
        Selector::Index(index) => index,
        Selector::Value(wanted) => list.iter().position(|value| *value == wanted)?,
        Selector::Keys(keys) => find(list, &keys)?,
    };
    Some((Step::Index(index), list.get(index)?, rest))
}

enum Selector {
    Index(usize),
    Value(Value),
    Keys(Vec<(String, Value)>),
}

/// Reads what stands between brackets: `0`, `="v"`, `containerPort=80,protocol="TCP"`; and what comes after them.
fn read_selector(text: &str) -> Option<(Selector, &str)> {
    if let Some(rest) = text.strip_prefix('=') {
        let (value, rest) = read_value(rest)?;
        return Some((Selector::Value(value), rest.strip_prefix(']')?));
    }
    if let Some((digits, rest)) = text.split_once(']')
        && let Ok(index) = digits.parse()
    {
        return Some((Selector::Index(index), rest));
    }
    let (mut keys, mut rest) = (Vec::new(), text);
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = read_value(after)?;
        keys.push((key.to_owned(), value));
        rest = match after.strip_prefix(',') {
            Some(more) => more,
            None => return Some((Selector::Keys(keys), after.strip_prefix(']')?)),
        };
    }
}

/// A JSON scalar at the beginning of a text, and what comes after it.
fn read_value(text: &str) -> Option<(Value, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Some((value, text.get(values.byte_offset()..)?)),
        // A number is only known to end where something follows that ends a value, and `]` alone does not.
        _ => {
            let end = text.find([',', ']'])?;
            let (scalar, rest) = text.split_at_checked(end)?;
            Some((serde_json::from_str(scalar).ok()?, rest))
        }
    }
}

/// The element that has these keys. A key that an element leaves out is taken for the default that the path spells out
/// (`protocol="TCP"`), as long as no element fits better.
fn find(list: &[Value], keys: &[(String, Value)]) -> Option<usize> {
    let fit = |element: &Value| {
        let mut equal = 0_usize;
        for (key, wanted) in keys {
            match element.get(key) {
                Some(value) if value == wanted => equal += 1,
                Some(_) => return 0,
                None => {}
            }
        }
        equal
    };
    let mut best = None;
    for (index, element) in list.iter().enumerate() {
        let fit = fit(element);
        if fit > best.map_or(0, |(_, fit)| fit) {
            best = Some((index, fit));
        }
    }
    best.map(|(index, _)| index)
}

/// Takes fields out of an object, and the maps that have nothing else in them; those of the paths that lead nowhere.
pub fn remove_all<'p>(object: &mut Value, paths: impl IntoIterator<Item = &'p str>) -> Vec<&'p str> {
    let mut nowhere = Vec::new();
    let mut found = Vec::new();
    for path in paths {
        match resolve(path, object) {
            Some(steps) => found.push(steps),
            None => nowhere.push(path),
        }
    }
    found.sort();
    // From behind: what is taken out must not move what is still to be found by its position.
    for steps in found.iter().rev() {
        remove(object, steps);
    }
    nowhere
}

/// Takes a field out of an object, and the maps that have nothing else in them; false where it is not there.
fn remove(object: &mut Value, steps: &[Step]) -> bool {
    match (steps, object) {
        ([Step::Name(name)], Value::Object(map)) => map.shift_remove(name).is_some(),
        ([Step::Index(index)], Value::Array(list)) if *index < list.len() => {
            list.remove(*index);
            true
        }
        ([Step::Name(name), rest @ ..], Value::Object(map)) => {
            let Some(inner) = map.get_mut(name) else { return false };
            let removed = remove(inner, rest);
            if removed && inner.as_object().is_some_and(Map::is_empty) {
                map.shift_remove(name);
            }
            removed
        }
        ([Step::Index(index), rest @ ..], Value::Array(list)) => {
            list.get_mut(*index).is_some_and(|element| remove(element, rest))
        }
        _ => false,
    }
}

/// A path's next part for a field of a map.
pub fn push_name(path: &str, name: &str) -> String {
    format!("{path}.{name}")
}

/// What the elements of lists are told apart by, in the order to try. It need not be what the API uses: that is only
/// known for a kind's schema, and whoever uses this falls back to positions.
const KEYS: [&[&str]; 11] = [
    &["name"],
    &["containerPort", "protocol"],
    &["port", "protocol"],
    &["mountPath"],
    &["devicePath"],
    &["key"],
    &["ip"],
    &["type"],
    &["topologyKey", "whenUnsatisfiable"],
    &["host"],
    &["path"],
];

/// The keys by which the elements of both lists are told apart: all are maps that have the first of them, and no two of
/// a list have the same. None where there are no such keys.
pub fn keys(one: &[Value], other: &[Value]) -> Option<&'static [&'static str]> {
    KEYS.into_iter().find(|keys| {
        [one, other].into_iter().all(|list| {
            let mut seen = std::collections::BTreeSet::new();
            list.iter().all(|element| select(element, keys).is_some_and(|selector| seen.insert(selector)))
        })
    })
}

/// How an element is told apart by some keys: `[name="user"]`. None where it does not have the first of them.
pub fn select(element: &Value, keys: &[&str]) -> Option<String> {
    let scalar = |key: &str| element.get(key).filter(|value| value.is_string() || value.is_number());
    scalar(keys.first()?)?;
    let parts: Vec<_> = keys.iter().filter_map(|key| Some(format!("{key}={}", scalar(key)?))).collect();
    Some(format!("[{}]", parts.join(",")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment() -> Value {
        json!({
            "metadata": {"labels": {"app": "user", "app.kubernetes.io/name": "user"}, "finalizers": ["a", "b]"]},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [
                {"name": "side", "image": "side:1"},
                {"name": "user", "image": "user:1", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}],
                 "resources": {"limits": {"cpu": "1"}}},
            ]}}},
        })
    }

    #[test]
    fn paths_lead_through_names_with_dots_keys_values_and_positions() {
        for (path, pointer) in [
            (".spec.replicas", "/spec/replicas"),
            (".metadata.labels.app", "/metadata/labels/app"),
            (".metadata.labels.app.kubernetes.io/name", "/metadata/labels/app.kubernetes.io~1name"),
            (r#".metadata.finalizers[="b]"]"#, "/metadata/finalizers/1"),
            (
                r#".spec.template.spec.containers[name="user"].image"#,
                "/spec/template/spec/containers/1/image",
            ),
            (".spec.template.spec.containers[0].image", "/spec/template/spec/containers/0/image"),
            (
                r#".spec.template.spec.containers[name="user"].ports[containerPort=80,protocol="TCP"]"#,
                "/spec/template/spec/containers/1/ports/0",
            ),
            (
                r#".spec.template.spec.containers[name="user"].ports[containerPort=80,protocol="UDP"].containerPort"#,
                "/spec/template/spec/containers/1/ports/1/containerPort",
            ),
        ] {
            let steps = resolve(path, &deployment()).unwrap_or_else(|| panic!("{path}"));
            let mut reached = String::new();
            for step in steps {
                match step {
                    Step::Name(name) => reached += &format!("/{}", name.replace('/', "~1")),
                    Step::Index(index) => reached += &format!("/{index}"),
                }
            }
            assert_eq!(reached, pointer);
        }
        for path in [
            "",
            "spec",
            ".spec.paused",
            r#".spec.template.spec.containers[name="x"].image"#,
            ".spec.replicas.x",
            ".spec[",
            ".metadata.finalizers[",
        ] {
            assert_eq!(resolve(path, &deployment()), None, "{path}");
        }
    }

    #[test]
    fn what_is_taken_out_leaves_no_empty_maps_of_its_own() {
        let mut object = deployment();
        let path = r#".spec.template.spec.containers[name="user"].resources.limits.cpu"#;
        let steps = resolve(path, &object).unwrap();
        assert!(remove(&mut object, &steps));
        assert!(!remove(&mut object, &steps));
        let container = &object["spec"]["template"]["spec"]["containers"][1];
        assert_eq!(container.get("resources"), None);
        assert_eq!(container["name"], "user");
    }

    #[test]
    fn elements_are_told_apart_where_that_is_certain() {
        let named = [json!({"name": "a"}), json!({"name": "b"})];
        let ports = [json!({"port": 80}), json!({"port": 80, "protocol": "UDP"})];
        let twice = [json!({"name": "a"}), json!({"name": "a"})];
        assert_eq!(keys(&named, &named), Some(&["name"][..]));
        assert_eq!(keys(&ports, &[]), Some(&["port", "protocol"][..]));
        assert_eq!(keys(&named, &twice), None);
        assert_eq!(keys(&[json!("a")], &[]), None);
        assert_eq!(select(&ports[1], &["port", "protocol"]).unwrap(), r#"[port=80,protocol="UDP"]"#);
    }
}
