//! What the services of a target need: as measured, else as declared.

use std::collections::BTreeMap;

use bowline_core::capacity::advice::{doubts, with_margin};
use bowline_core::capacity::forecast::{Ground, Need};
use bowline_core::capacity::outlook::Load;
use bowline_core::capacity::profile::{Profile, ServiceProfile};
use bowline_core::kube::manifest;
use bowline_core::kube::object::Manifest;
use bowline_core::kube::workload::pod_spec;
use bowline_core::quantity::parse_size;
use serde_json::Value;

use crate::config::{ComposeTarget, Config, KubernetesTarget, Target};
use crate::error::{Failure, Outcome};
use crate::operation::manifest::Selection;
use crate::operation::{checkout, spec};

/// What a target's services need, and how that is known.
#[derive(Debug)]
pub struct Needs {
    /// Service by service.
    pub needs: Vec<Need>,
    /// What the machines are to each other, if nobody says otherwise.
    pub ground: Ground,
    /// Services of which the declaration alone is known.
    pub declared: Vec<String>,
    /// Services that declare nothing, and that nobody measured: on a host they are not in the plan, and in a cluster they ask
    /// for nothing.
    pub unknown: Vec<String>,
    /// Services whose measurements do not show what they need: of what was measured and what is declared the greater counts.
    pub doubtful: Vec<String>,
    /// Jobs, which run for a while only: when and how many at once nobody can tell, so that they are not in the plan.
    pub passing: Vec<String>,
}

impl Needs {
    /// Nothing yet.
    fn on(ground: Ground) -> Self {
        let (declared, unknown, doubtful, passing) = Default::default();
        Self { needs: Vec::new(), ground, declared, unknown, doubtful, passing }
    }
}

/// A service of a compose file, as far as it matters here.
struct Declared {
    name: String,
    replicas: u64,
    cpu: Option<u64>,
    memory: Option<u64>,
    /// Its volumes by name, in words: on a host nothing moves, but in a cluster of several machines it would.
    volumes: Vec<String>,
}

/// What the services of a target need; `profile` is what was measured there, if anything was.
///
/// # Errors
/// When the compose file or the manifests cannot be read.
pub async fn find(config: &Config, target: &Target, profile: Option<&Profile>) -> Outcome<Needs> {
    match target {
        Target::Compose(target) => of_compose(config, target, profile).await,
        Target::Kubernetes(target) => of_manifests(config, target, profile).await,
    }
}

async fn of_compose(config: &Config, target: &ComposeTarget, profile: Option<&Profile>) -> Outcome<Needs> {
    let interpreted = checkout::interpret(config, target, true).await?;
    let services = interpreted.config.get("services").and_then(Value::as_object).into_iter().flatten();
    Ok(of_services(services.map(|(name, service)| (name.as_str(), service)), profile))
}

/// What the services of a compose file need, as the Compose CLI prints them.
pub fn of_services<'s>(
    services: impl IntoIterator<Item = (&'s str, &'s Value)>,
    profile: Option<&Profile>,
) -> Needs {
    let mut found = Needs::on(Ground::Hosts);
    for service in declared(services) {
        let need = |load| Need {
            anchors: service.volumes.clone(),
            ..Need::of_container(&service.name, service.replicas, load)
        };
        let measured = profile.and_then(|profile| profile.services.get(&service.name));
        if let (Some(measured), Some(profile)) = (measured, profile) {
            let mut load = load(measured, service.replicas);
            if !doubts(&profile.machine, measured).is_empty() {
                load.memory = load.memory.max(service.memory.unwrap_or(0));
                found.doubtful.push(service.name.clone());
            }
            found.needs.push(need(load));
        } else if let Some(memory) = service.memory {
            let load = Load { cpu_kept: service.cpu.unwrap_or(0), cpu_used: None, memory };
            found.needs.push(need(load));
            found.declared.push(service.name);
        } else {
            found.unknown.push(service.name);
        }
    }
    found
}

/// What one of so many containers needs by what was measured, with the margin of advice: they share what all did.
fn load(measured: &ServiceProfile, replicas: u64) -> Load {
    let each = measured.average.div_ceil(replicas.max(1));
    Load {
        cpu_kept: with_margin(measured.steady.percentile(95).unwrap_or(each)).max(10),
        cpu_used: Some(each),
        memory: with_margin(measured.memory),
    }
}

/// The services of a compose file that run for long: those with no container are left out.
fn declared<'s>(services: impl IntoIterator<Item = (&'s str, &'s Value)>) -> Vec<Declared> {
    let read = |(name, service): (&str, &Value)| {
        let size = |pointer: &str| match service.pointer(pointer)? {
            Value::String(text) => parse_size(text).ok(),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        let cores = |pointer: &str| {
            let value = service.pointer(pointer)?;
            let cores = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            (0.0..=4_096.0).contains(&cores).then(|| (cores * 1000.0).round() as u64)
        };
        // A volume without a name is made anew with each container; files that are mounted come with the release.
        let volumes = service.get("volumes").and_then(Value::as_array).into_iter().flatten();
        let named = volumes.filter(|volume| volume.get("type").and_then(Value::as_str) == Some("volume"));
        let named = named.filter_map(|volume| volume.get("source")?.as_str());
        let positive = |size: Option<u64>| size.filter(|size| *size > 0);
        Declared {
            name: name.to_owned(),
            replicas: service
                .pointer("/deploy/replicas")
                .or_else(|| service.get("scale"))
                .and_then(Value::as_u64)
                .unwrap_or(1),
            cpu: positive(cores("/deploy/resources/reservations/cpus"))
                .or_else(|| positive(cores("/deploy/resources/limits/cpus")))
                .or_else(|| positive(cores("/cpus"))),
            memory: positive(size("/deploy/resources/limits/memory"))
                .or_else(|| positive(size("/mem_limit")))
                .or_else(|| positive(size("/deploy/resources/reservations/memory")))
                .or_else(|| positive(size("/mem_reservation"))),
            volumes: named.map(|name| format!("volume {name}")).collect(),
        }
    };
    services.into_iter().map(read).filter(|service| service.replicas > 0).collect()
}

/// The manifests of a target as the checkout has them.
///
/// # Errors
/// When one cannot be read.
pub(super) async fn manifests(config: &Config, target: &KubernetesTarget) -> Outcome<Vec<Manifest>> {
    let tracked = checkout::tracked(config).await?.unwrap_or_default();
    let collected = spec::collect(config, &tracked)?;
    let files: BTreeMap<String, String> = Selection::of(target)?.read(&collected.spec)?;
    let reading = manifest::read(&files, target.namespace.as_deref(), |_| None);
    if !reading.problems.is_empty() {
        return Err(Failure::invalid(format!("reading the manifests of {}", target.name))
            .since("some cannot be read")
            .detail(reading.problems.iter().map(ToString::to_string)));
    }
    Ok(reading.manifests)
}

async fn of_manifests(
    config: &Config,
    target: &KubernetesTarget,
    profile: Option<&Profile>,
) -> Outcome<Needs> {
    Ok(of_workloads(&manifests(config, target).await?, profile))
}

/// What the workloads among manifests need.
fn of_workloads(manifests: &[Manifest], profile: Option<&Profile>) -> Needs {
    let mut found = Needs::on(Ground::Shared);
    for manifest in manifests {
        let Some(mut need) = Need::of_manifest(manifest) else {
            if manifest.id.kind.group == "batch" && pod_spec(&manifest.id.kind, &manifest.value).is_some() {
                found.passing.push(manifest.id.name.clone());
            }
            continue;
        };
        let asks_nothing = need.load.memory == 0 && need.load.cpu_kept == 0;
        let measured = profile.and_then(|profile| profile.services.get(&need.name));
        if let Some(measured) = measured {
            let load = load(measured, need.replicas);
            need.load.cpu_used = load.cpu_used;
            // The scheduler goes by what is asked for; the machine has to have what is needed.
            need.load.memory = need.load.memory.max(load.memory);
        }
        match (asks_nothing, measured) {
            (true, _) => found.unknown.push(need.name.clone()),
            (false, None) => found.declared.push(need.name.clone()),
            (false, Some(_)) => {}
        }
        // Pods that ask for nothing have a place as well; that they need nothing is not believed, but said.
        found.needs.push(need);
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_with_a_name_may_hold_a_service_to_its_machine() {
        let store = json!({ "volumes": [
            { "type": "volume", "source": "data", "target": "/data" },
            { "type": "volume", "target": "/scratch" },
            { "type": "bind", "source": "/srv/app/settings.toml", "target": "/settings.toml" },
        ] });
        assert_eq!(declared([("store", &store)])[0].volumes, ["volume data"]);
    }

    #[test]
    fn what_runs_for_a_while_only_is_told_and_left_out() {
        let pods =
            "{spec: {containers: [{name: a, image: a, resources: {requests: {cpu: 100m, memory: 1M}}}]}}";
        let text = [
            format!("{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{template: {pods}}}}}"),
            format!("{{apiVersion: batch/v1, kind: Job, metadata: {{name: migrate}}, spec: {{template: {pods}}}}}"),
            format!(
                "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: nightly}}, \
                 spec: {{jobTemplate: {{spec: {{template: {pods}}}}}}}}}"
            ),
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}".to_owned(),
        ]
        .join("\n---\n");
        let reading =
            manifest::read(&BTreeMap::from([("all.yaml".to_owned(), text)]), Some("shop"), |_| None);
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        let found = of_workloads(&reading.manifests, None);
        assert_eq!(found.passing, ["migrate", "nightly"]);
        assert_eq!((found.needs.len(), &found.declared[..]), (1, &["web".to_owned()][..]));
    }

    #[test]
    fn what_a_compose_file_declares_is_found_in_all_its_forms() {
        let config = json!({ "services": {
            "a": { "mem_limit": "536870912", "cpus": 0.5 },
            "b": { "deploy": { "replicas": 2, "resources": {
                "limits": { "memory": "268435456", "cpus": "1" }, "reservations": { "cpus": "0.25" } } } },
            "c": {},
            "d": { "deploy": { "replicas": 0 }, "mem_limit": "1" },
        } });
        let services = config["services"].as_object().unwrap();
        let found: Vec<_> = declared(services.iter().map(|(name, service)| (name.as_str(), service)))
            .into_iter()
            .map(|service| (service.name, service.replicas, service.cpu, service.memory))
            .collect();
        assert_eq!(
            found,
            [
                ("a".to_owned(), 1, Some(500), Some(512 << 20)),
                ("b".to_owned(), 2, Some(250), Some(256 << 20)),
                ("c".to_owned(), 1, None, None),
            ]
        );
    }
}
