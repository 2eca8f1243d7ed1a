//! Containers of a cluster's workloads, as the manifests of the checkout declare them.

use std::collections::BTreeMap;

use bowline_core::capacity::advice::{Advice, Amount, Facts, Given, Setting};
use bowline_core::capacity::runtime::Runtime;
use bowline_core::kube::edit::{Amounts, Wanted};
use bowline_core::kube::object::{Manifest, Origin};
use bowline_core::kube::workload::pod_spec;
use bowline_core::quantity::Quantity;
use bowline_measurement::interval::Interval;
use serde_json::Value;

use super::need::manifests;
use crate::config::{Config, KubernetesTarget};
use crate::error::Outcome;

/// A container of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Where the workload's manifest begins.
    pub origin: Origin,
    /// The workload.
    pub workload: String,
    /// The container.
    pub container: String,
    /// Whether the workload's pods have no other.
    pub alone: bool,
    /// What is known of it. What an image runs by itself no manifest tells.
    pub facts: Facts,
}

impl Declared {
    /// As people call it.
    pub fn name(&self) -> String {
        if self.alone { self.workload.clone() } else { format!("{}/{}", self.workload, self.container) }
    }
}

/// The containers of a target's workloads, by `workload/container` as they are measured.
///
/// # Errors
/// When the manifests cannot be read.
pub async fn of_manifests(config: &Config, target: &KubernetesTarget) -> Outcome<BTreeMap<String, Declared>> {
    let manifests = manifests(config, target).await?;
    let all = manifests.iter().flat_map(read);
    Ok(all.map(|declared| (format!("{}/{}", declared.workload, declared.container), declared)).collect())
}

fn read(manifest: &Manifest) -> Vec<Declared> {
    let containers = pod_spec(&manifest.id.kind, &manifest.value)
        .and_then(|spec| spec.get("containers")?.as_array())
        .map_or(&[][..], Vec::as_slice);
    let read = |container: &Value| {
        Some(Declared {
            origin: manifest.origin.clone(),
            workload: manifest.id.name.clone(),
            container: container.get("name")?.as_str()?.to_owned(),
            alone: containers.len() == 1,
            facts: facts(container),
        })
    };
    containers.iter().filter_map(read).collect()
}

fn facts(container: &Value) -> Facts {
    let texts = |pointer: &str| {
        let list = container.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let command: Vec<String> = texts("/command").into_iter().chain(texts("/args")).collect();
    let variables = container.get("env").and_then(Value::as_array).into_iter().flatten();
    let environment: BTreeMap<String, String> = variables
        .filter_map(|variable| {
            let text = |key: &str| variable.get(key).and_then(Value::as_str).map(str::to_owned);
            Some((text("name")?, text("value")?))
        })
        .collect();
    let quantity = |pointer: &str| {
        let value = container.pointer(pointer)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.parse::<Quantity>().ok()
    };
    let given = Given {
        cpu_request: quantity("/resources/requests/cpu").map(Quantity::thousandths),
        cpu_limit: quantity("/resources/limits/cpu").map(Quantity::thousandths),
        memory_request: quantity("/resources/requests/memory").map(Quantity::units),
        memory_limit: quantity("/resources/limits/memory").map(Quantity::units),
    };
    Facts { runtime: Runtime::read(&command, &environment), given, threads: None, vitals: None }
}

/// The namespace that most containers of these workloads were measured in.
pub fn namespace_of(rows: &[Interval], declared: &BTreeMap<String, Declared>) -> Option<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for name in rows.iter().flat_map(|row| row.containers.keys()) {
        if let [namespace, workload, _, container] = name.split('/').collect::<Vec<_>>()[..]
            && declared.contains_key(&format!("{workload}/{container}"))
        {
            *seen.entry(namespace).or_default() += 1;
        }
    }
    seen.into_iter().max_by_key(|(_, count)| *count).map(|(namespace, _)| namespace.to_owned())
}

/// What containers are to be given by the advice. A virtual machine whose heap would have to be told something else too is
/// left out, as the one without the other would do harm; so is what stays as it is.
pub fn wanted(declared: &BTreeMap<String, Declared>, advice: &[Advice]) -> Vec<Wanted> {
    let read = |advice: &Advice| {
        let known = declared.get(&advice.service)?;
        let with_heap = advice.lines.iter().any(|line| matches!(line.setting, Setting::Variable(_)));
        let (mut requests, mut limits) = (Amounts::default(), Amounts::default());
        for line in &advice.lines {
            match (&line.setting, &line.advised) {
                (Setting::CpuRequest, Amount::Cores(cores)) => {
                    requests.cpu = Some(*cores);
                    // A request above the limit would be refused.
                    limits.cpu = known.facts.given.cpu_limit.filter(|limit| limit < cores).map(|_| *cores);
                }
                (Setting::CpuLimit, Amount::Cores(cores)) => {
                    limits.cpu = Some(limits.cpu.unwrap_or(0).max(*cores));
                }
                (Setting::Memory, Amount::Bytes(bytes)) if !with_heap => {
                    (requests.memory, limits.memory) = (Some(*bytes), Some(*bytes));
                }
                _ => {}
            }
        }
        let nothing = requests == Amounts::default() && limits == Amounts::default();
        (!nothing).then(|| Wanted {
            object: known.origin.clone(),
            container: known.container.clone(),
            requests,
            limits,
        })
    };
    advice.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use bowline_core::capacity::advice::Line;
    use bowline_core::capacity::profile::Window;

    use super::*;

    fn declared(name: &str, cpu_limit: Option<u64>) -> (String, Declared) {
        let given = Given { cpu_limit, ..Given::default() };
        let declared = Declared {
            origin: Origin { file: format!("{name}.yaml"), line: 1, column: 1 },
            workload: name.to_owned(),
            container: "app".to_owned(),
            alone: true,
            facts: Facts { given, ..facts(&Value::Null) },
        };
        (format!("{name}/app"), declared)
    }

    #[test]
    fn a_heap_that_no_manifest_is_told_keeps_its_memory() {
        let declared = BTreeMap::from([declared("user", Some(50)), declared("kafka", None)]);
        let line = |setting, advised| Line { setting, now: None, advised, why: String::new(), frees: None };
        let advice = |service: &str, lines| Advice {
            service: format!("{service}/app"),
            window: Window::default(),
            lines,
            doubts: Vec::new(),
        };
        let cpu = || line(Setting::CpuRequest, Amount::Cores(115));
        let memory = || line(Setting::Memory, Amount::Bytes(64 << 20));
        let heap = line(Setting::Variable("KAFKA_HEAP_OPTS".into()), Amount::Text("-Xmx9m".into()));
        let all = [
            advice("user", vec![cpu(), memory()]),
            advice("kafka", vec![memory(), heap]),
            advice("stranger", vec![cpu()]),
        ];
        let found = wanted(&declared, &all);
        let amounts = |cpu, memory| Amounts { cpu, memory };
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].requests, amounts(Some(115), Some(64 << 20)));
        assert_eq!(found[0].limits, amounts(Some(115), Some(64 << 20)));
        assert_eq!(found[0].object.file, "user.yaml");
    }
}
