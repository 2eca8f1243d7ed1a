//! A target's own wishes for services, as a compose file that is laid over the team's own.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::compose::model::Model;
use crate::release::SpecFile;
use crate::service::ServiceOverride;

/// Overrides for services that the compose file does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the compose file has no service `{service}`; it has {}", .known.join(", "))]
pub struct UnknownService {
    /// The name that was asked for.
    pub service: String,
    /// The names that there are.
    pub known: Vec<String>,
}

/// Renders the overrides, or nothing where there are none. JSON is YAML (YAML 1.2, section 1.3), so it is JSON.
///
/// Compose refuses a limit that is set in both of its two places, so each goes where the file has it already.
///
/// # Errors
/// When a service is not in the model.
pub fn render(
    model: &Model,
    overrides: &BTreeMap<String, ServiceOverride>,
) -> Result<Option<SpecFile>, UnknownService> {
    let mut services = Map::new();
    for (name, wanted) in overrides {
        let Some(service) = model.services.get(name) else {
            return Err(UnknownService {
                service: name.clone(),
                known: model.services.keys().cloned().collect(),
            });
        };
        let has = |pointer: &str| service.raw.pointer(pointer).is_some_and(|value| !value.is_null());
        let mut entry = json!({});
        if !wanted.env.is_empty() {
            // `$` starts an interpolation in compose files; these values are meant as they are.
            let env: Map<_, _> =
                wanted.env.iter().map(|(k, v)| (k.clone(), Value::from(v.replace('$', "$$")))).collect();
            set(&mut entry, &["environment"], Value::Object(env));
        }
        if let Some(bytes) = wanted.memory {
            let text = Value::from(bytes.to_string());
            let deploy = has("/deploy/resources/limits/memory");
            if deploy {
                set(&mut entry, &["deploy", "resources", "limits", "memory"], text.clone());
            }
            if has("/mem_limit") || !deploy {
                set(&mut entry, &["mem_limit"], text);
            }
        }
        if let Some(cpus) = wanted.cpus {
            let deploy = has("/deploy/resources/limits/cpus");
            if deploy {
                set(&mut entry, &["deploy", "resources", "limits", "cpus"], Value::from(cpus.to_string()));
            }
            if has("/cpus") || !deploy {
                set(&mut entry, &["cpus"], Value::from(cpus));
            }
        }
        let replicas = if wanted.enabled == Some(false) { Some(0) } else { wanted.replicas };
        if let Some(replicas) = replicas {
            let deploy = has("/deploy/replicas");
            if has("/scale") || !deploy {
                set(&mut entry, &["scale"], Value::from(replicas));
            }
            if deploy {
                set(&mut entry, &["deploy", "replicas"], Value::from(replicas));
            }
        }
        if entry != json!({}) {
            services.insert(name.clone(), entry);
        }
    }
    if services.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_string_pretty(&json!({ "services": services })).unwrap_or_default();
    let head = "# Written by Bowline from [targets.*.services] in bowline.toml; do not edit.\n";
    Ok(Some(SpecFile { executable: false, content: format!("{head}{text}\n").into_bytes() }))
}

fn set(entry: &mut Value, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *entry = value;
        return;
    };
    if let Some(map) = entry.as_object_mut() {
        set(map.entry((*first).to_owned()).or_insert_with(|| json!({})), rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(service: Value, wanted: ServiceOverride) -> Value {
        let model = Model::parse(json!({"services": {"a": service}}), "", "").unwrap();
        let file = render(&model, &BTreeMap::from([("a".into(), wanted)])).unwrap().unwrap();
        let text = String::from_utf8(file.content).unwrap();
        let (_, body) = text.split_once('\n').unwrap();
        serde_json::from_str::<Value>(body).unwrap()["services"]["a"].take()
    }

    #[test]
    fn limits_go_where_the_file_has_them() {
        let wanted =
            ServiceOverride { memory: Some(512), cpus: Some(0.5), replicas: Some(2), ..Default::default() };
        assert_eq!(rendered(json!({}), wanted.clone()), json!({"mem_limit": "512", "cpus": 0.5, "scale": 2}));
        assert_eq!(
            rendered(
                json!({"deploy": {"replicas": 1, "resources": {"limits": {"memory": "1", "cpus": "1"}}}}),
                wanted
            ),
            json!({"deploy": {"replicas": 2, "resources": {"limits": {"memory": "512", "cpus": "0.5"}}}})
        );
    }

    #[test]
    fn what_is_switched_off_has_no_containers() {
        let wanted = ServiceOverride { enabled: Some(false), replicas: Some(3), ..Default::default() };
        assert_eq!(rendered(json!({}), wanted), json!({"scale": 0}));
    }

    #[test]
    fn values_are_not_interpolated() {
        let env = BTreeMap::from([("A".to_owned(), "$HOME".to_owned())]);
        let wanted = ServiceOverride { env, ..Default::default() };
        assert_eq!(rendered(json!({}), wanted), json!({"environment": {"A": "$$HOME"}}));
    }

    #[test]
    fn an_unknown_service_is_named_with_those_there_are() {
        let model = Model::parse(json!({"services": {"a": {}}}), "", "").unwrap();
        let error = render(&model, &BTreeMap::from([("b".into(), ServiceOverride::default())])).unwrap_err();
        assert_eq!(error.to_string(), "the compose file has no service `b`; it has a");
    }
}
