//! Containers as they are.

use std::collections::BTreeSet;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, HealthStatusEnum, PortMap,
    RestartPolicy,
};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use bowline_core::compose::observed::{Container, HostPort, Stranger};
use bowline_core::health::{CheckStatus, ProcessState};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Engine, EngineError, ORDINARY, short};

/// The label by which a container belongs to a compose project.
pub(crate) const PROJECT: &str = "com.docker.compose.project";
pub(crate) const SERVICE: &str = "com.docker.compose.service";
pub(crate) const DIRECTORY: &str = "com.docker.compose.project.working_dir";
pub(crate) const FILES: &str = "com.docker.compose.project.config_files";
const NUMBER: &str = "com.docker.compose.container-number";
const HASH: &str = "com.docker.compose.config-hash";
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// How many containers are looked at at the same time.
const PARALLEL: usize = 16;

impl Engine {
    /// All containers, running or not: those of the compose project in full, in the order of service and number, and
    /// what the others hold. Two round trips.
    pub async fn containers(&self, project: &str) -> Result<(Vec<Container>, Vec<Stranger>), EngineError> {
        let summaries = self.summaries().await?;
        let (ours, others): (Vec<_>, Vec<_>) =
            summaries.into_iter().partition(|summary| label(summary, PROJECT) == Some(project));
        let ids: Vec<String> = ours.into_iter().filter_map(|summary| summary.id).collect();
        let looks = stream::iter(ids).map(|id| async move { self.container(&id).await });
        let found: Vec<Option<Container>> = looks.buffered(PARALLEL).try_collect().await?;
        let mut containers: Vec<Container> = found.into_iter().flatten().collect();
        containers.sort_by(|a, b| (&a.service, a.number, &a.id).cmp(&(&b.service, b.number, &b.id)));
        Ok((containers, others.into_iter().filter_map(stranger).collect()))
    }

    /// One container by id or name; none when it is not there, or is of no compose project.
    pub async fn container(&self, id: &str) -> Result<Option<Container>, EngineError> {
        let what = format!("look at container {}", short(id));
        let answer = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        match self.ask(&what, ORDINARY, answer).await {
            Ok(found) => read(found).map_err(|message| EngineError::Unexpected { what, message }),
            // Gone since it was listed.
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn summaries(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        self.ask("list containers", ORDINARY, self.docker.list_containers(Some(options))).await
    }
}

/// A label of a listed container.
pub(crate) fn label<'a>(summary: &'a ContainerSummary, name: &str) -> Option<&'a str> {
    summary.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str)
}

fn stranger(summary: ContainerSummary) -> Option<Stranger> {
    let project = label(&summary, PROJECT).map(str::to_owned);
    let name = summary.names?.first()?.trim_start_matches('/').to_owned();
    let ports = summary.ports.unwrap_or_default().into_iter().filter_map(|port| {
        let protocol = port.typ.map(|protocol| protocol.to_string()).unwrap_or_default();
        HostPort::new(&protocol, &port.ip.unwrap_or_default(), port.public_port?)
    });
    let ports = ports.collect();
    let image = summary.image_id.and_then(|id| id.parse().ok());
    Some(Stranger { name, project, ports, image })
}

/// Reads what the engine says of one container; none where it is of no compose project.
fn read(found: ContainerInspectResponse) -> Result<Option<Container>, String> {
    let mut labels = found.config.unwrap_or_default().labels.unwrap_or_default();
    let Some(service) = labels.remove(SERVICE) else { return Ok(None) };
    let id = found.id.ok_or("the container has no id")?;
    let image = found.image.unwrap_or_default();
    let image = image.parse().map_err(|_| format!("the image of {} has no digest: `{image}`", short(&id)))?;
    let state = found.state.unwrap_or_default();
    let host = found.host_config.unwrap_or_default();
    let network = found.network_settings.unwrap_or_default();
    let mut take = |name: &str| labels.remove(name).unwrap_or_default();
    let addresses = network.networks.unwrap_or_default().into_values();
    let mut addresses: Vec<String> =
        addresses.filter_map(|end| end.ip_address).filter(|address| !address.is_empty()).collect();
    addresses.sort();
    let mut ports = published(host.port_bindings);
    ports.extend(published(network.ports));
    Ok(Some(Container {
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        service,
        number: take(NUMBER).parse().unwrap_or(1),
        one_off: take(ONE_OFF).eq_ignore_ascii_case("true"),
        image,
        state: process(state.status),
        exit_code: state.exit_code.unwrap_or(0),
        oom_killed: state.oom_killed.unwrap_or(false),
        error: state.error.unwrap_or_default(),
        restarts: found.restart_count.and_then(|count| count.try_into().ok()).unwrap_or(0),
        check: check(state.health.and_then(|health| health.status)),
        started_at: state.started_at.unwrap_or_default(),
        config_hash: take(HASH),
        working_dir: take(DIRECTORY),
        config_files: take(FILES).split(',').filter(|file| !file.is_empty()).map(str::to_owned).collect(),
        ports,
        addresses,
        restart: restart(host.restart_policy),
        id,
    }))
}

fn check(status: Option<HealthStatusEnum>) -> Option<CheckStatus> {
    match status? {
        HealthStatusEnum::STARTING => Some(CheckStatus::Starting),
        HealthStatusEnum::HEALTHY => Some(CheckStatus::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(CheckStatus::Unhealthy),
        HealthStatusEnum::NONE | HealthStatusEnum::EMPTY => None,
    }
}

fn restart(policy: Option<RestartPolicy>) -> String {
    let policy = policy.unwrap_or_default();
    let name = policy.name.map(|name| name.to_string()).filter(|name| !name.is_empty());
    match (name, policy.maximum_retry_count) {
        (Some(name), Some(most @ 1..)) => format!("{name}:{most}"),
        (Some(name), _) => name,
        (None, _) => "no".into(),
    }
}

/// The host ports of a port map. A port that the engine is to choose (0) is nobody's yet.
fn published(map: Option<PortMap>) -> BTreeSet<HostPort> {
    let mut ports = BTreeSet::new();
    for (inside, bindings) in map.unwrap_or_default() {
        let protocol = inside.split_once('/').map_or("", |(_, protocol)| protocol);
        ports.extend(bindings.into_iter().flatten().filter_map(|binding| {
            HostPort::new(protocol, &binding.host_ip.unwrap_or_default(), binding.host_port?.parse().ok()?)
        }));
    }
    ports
}

fn process(status: Option<ContainerStateStatusEnum>) -> ProcessState {
    match status {
        Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING) => ProcessState::Running,
        Some(ContainerStateStatusEnum::PAUSED) => ProcessState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => ProcessState::Restarting,
        Some(ContainerStateStatusEnum::REMOVING) => ProcessState::Removing,
        Some(ContainerStateStatusEnum::EXITED) => ProcessState::Exited,
        Some(ContainerStateStatusEnum::DEAD) => ProcessState::Dead,
        Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY) | None => {
            ProcessState::Created
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn inspected() -> ContainerInspectResponse {
        let text = format!(
            r#"{{"Id":"abc","Name":"/chat-user-1","RestartCount":3,
            "Image":"sha256:{0}",
            "State":{{"Status":"exited","ExitCode":137,"OOMKilled":true,"StartedAt":"2026-11-22T10:00:00Z"}},
            "Config":{{"Labels":{{"com.docker.compose.service":"user","com.docker.compose.container-number":"2",
              "com.docker.compose.oneoff":"False","com.docker.compose.project.config_files":"/a/x.yaml,/a/y.yaml"}}}},
            "HostConfig":{{"RestartPolicy":{{"Name":"on-failure","MaximumRetryCount":3}},
              "PortBindings":{{"80/tcp":[{{"HostIp":"","HostPort":"8080"}}],"81/tcp":[{{"HostPort":"0"}}],"82/tcp":null,
              "53/udp":[{{"HostIp":"127.0.0.1","HostPort":"53"}},{{"HostIp":"::1","HostPort":"53"}}]}}}}
            }}"#,
            "a".repeat(64)
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_container_is_read_whole() {
        let container = read(inspected()).unwrap().unwrap();
        assert_eq!((container.name.as_str(), container.number, container.one_off), ("chat-user-1", 2, false));
        assert_eq!(
            (container.state, container.exit_code, container.oom_killed),
            (ProcessState::Exited, 137, true)
        );
        assert_eq!(container.restart, "on-failure:3");
        let port = |protocol, address, number| HostPort::new(protocol, address, number).unwrap();
        assert_eq!(
            container.ports,
            BTreeSet::from([port("tcp", "", 8080), port("udp", "127.0.0.1", 53), port("udp", "::1", 53)])
        );
        assert_eq!(container.config_files, ["/a/x.yaml", "/a/y.yaml"]);
        assert_eq!(container.check, None);
    }

    #[test]
    fn a_stranger_holds_ports_of_a_protocol_on_an_address() {
        let summary = r#"{"Names":["/dns"],"Ports":[{"IP":"127.0.0.1","PrivatePort":53,"PublicPort":53,"Type":"udp"},
            {"PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"PrivatePort":9,"Type":"tcp"}]}"#;
        let stranger = stranger(serde_json::from_str(summary).unwrap()).unwrap();
        let port = |protocol, address, number| HostPort::new(protocol, address, number).unwrap();
        assert_eq!(stranger.ports, BTreeSet::from([port("udp", "127.0.0.1", 53), port("tcp", "", 8080)]));
    }

    #[test]
    fn one_without_a_service_is_nobodys() {
        let mut found = inspected();
        found.config = None;
        assert_eq!(read(found), Ok(None));
    }
}
