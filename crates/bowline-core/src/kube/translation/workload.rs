//! The workload of a service: a Deployment, or a Job for what ends.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::probe::{Probe, of_compose, readiness, seconds};
use super::volume::Mounts;
use super::yaml::Node;
use super::{Writer, image_of};
use crate::compose::model::Condition;
use crate::kube::order::DEPENDS_ON;

impl Writer<'_> {
    /// Writes the workload of a service, and the files that it mounts.
    pub(super) fn workload(&mut self, service: &str) {
        let raw = self.raw(service);
        let image = image_of(&self.given.project, service, &raw);
        self.written.images.insert(service.into(), image.clone());
        let mounts = self.mounts(service, &raw, &image);
        let task = self.is_task(service);
        let mut container = self.container(service, &raw, &image);
        let ports: Vec<Value> = self.ports(service).iter().map(container_port).collect();
        if !ports.is_empty() && !task {
            container.set("ports", ports);
        }
        if !task {
            let probe = self.readiness(service, &raw);
            container.put("readinessProbe", probe);
        }
        let resources = self.resources(&raw);
        container.put("resources", resources);
        let (pod_security, security) = self.security(service, &raw, mounts.claims);
        container.put("securityContext", security);
        let Mounts { volumes, mounts, exclusive, .. } = mounts;
        container.list("volumeMounts", mounts);
        let mut pod = self.pod(service, &raw, task);
        pod.put("securityContext", pod_security);
        pod.list("containers", vec![container]);
        pod.list("volumes", volumes);
        self.other(service, &raw);
        let name = self.called(service);
        let (folder, node) = if task {
            ("job", self.job(service, &raw, pod))
        } else {
            ("deployment", self.deployment(service, pod, exclusive))
        };
        if name != service {
            self.renamed(service, &name);
        }
        self.add(folder, &node, "");
    }

    /// Whether it does its work and ends: others wait for that, or nobody starts it again.
    pub(super) fn is_task(&self, service: &str) -> bool {
        let edges = self.model.services.values().flat_map(|other| &other.depends_on);
        let mut awaited =
            edges.filter(|(on, edge)| on.as_str() == service && edge.condition == Condition::Completed);
        let raw = self.model.services.get(service).map(|service| &service.raw);
        let written = raw.and_then(|raw| raw.get("restart")).and_then(Value::as_str);
        let deploy =
            raw.and_then(|raw| raw.pointer("/deploy/restart_policy/condition")).and_then(Value::as_str);
        let never = written == Some("no") || (written.is_none() && deploy == Some("none"));
        let serves = raw.is_some_and(|raw| {
            raw.get("ports").is_some() || raw.get("expose").is_some() || of_compose(raw).is_some()
        });
        awaited.next().is_some() || (never && !serves)
    }

    fn head(&mut self, service: &str, kind: (&str, &str)) -> Node {
        let name = self.called(service);
        let mut node = Node::object(kind.0, kind.1, &name);
        let before = self.before(service);
        if let Some(metadata) = node.child("metadata") {
            metadata.insert("labels".into(), json!({"app": name}));
            if !before.is_empty() {
                metadata.insert("annotations".into(), json!({DEPENDS_ON: before.join(", ")}));
            }
        }
        node
    }

    /// The objects that a service waits for.
    fn before(&self, service: &str) -> Vec<String> {
        let Some(model) = self.model.services.get(service) else { return Vec::new() };
        // Those of a profile that nobody asked for are not there.
        let known = model.depends_on.keys().filter(|on| self.model.services.contains_key(*on));
        let object = |on: &String| {
            let kind = if self.is_task(on) { "Job" } else { "Deployment" };
            format!("{kind}/{}", self.called(on))
        };
        known.map(object).collect()
    }

    fn deployment(&mut self, service: &str, pod: Node, exclusive: bool) -> Node {
        let name = self.called(service);
        let replicas = self.model.services.get(service).map_or(1, |service| service.replicas);
        let mut node = self.head(service, ("apps/v1", "Deployment"));
        let mut spec = Node::default();
        spec.set("replicas", replicas);
        if exclusive {
            spec.set("strategy", json!({"type": "Recreate"}));
            spec.note(
                "strategy",
                "Two pods must not write to its volume: the old one goes before the new one comes.",
            );
            if replicas > 1 {
                self.doubt(
                    Some(service),
                    format!(
                        "{replicas} pods share one volume: give each its own (a StatefulSet), or run one"
                    ),
                );
            }
        }
        spec.set("selector", json!({"matchLabels": {"app": name}}));
        spec.put("template", template(&name, pod));
        node.put("spec", spec);
        node
    }

    fn job(&mut self, service: &str, raw: &Value, mut pod: Node) -> Node {
        let name = self.called(service);
        let policy =
            self.model.services.get(service).map(|service| service.restart.clone()).unwrap_or_default();
        let tries = policy
            .strip_prefix("on-failure")
            .map(|rest| rest.strip_prefix(':').and_then(|tries| tries.parse::<u64>().ok()));
        let tries = tries.map(|tries| {
            tries.or_else(|| raw.pointer("/deploy/restart_policy/max_attempts")?.as_u64()).unwrap_or(6)
        });
        let mut node = self.head(service, ("batch/v1", "Job"));
        node.remark("A Job: it does its work and ends. Kubernetes changes no Job that is there: a new one takes its place.");
        let mut spec = Node::default();
        spec.set("backoffLimit", tries.unwrap_or(0));
        pod.set("restartPolicy", "Never");
        spec.put("template", template(&name, pod));
        node.put("spec", spec);
        self.guess(Some(service), "is a Job: it ends, and nothing starts it again");
        node
    }

    /// The pod without its container.
    fn pod(&mut self, service: &str, raw: &Value, task: bool) -> Node {
        let mut pod = Node::default();
        pod.set("enableServiceLinks", false);
        pod.note("enableServiceLinks", "Otherwise each Service would set variables here, such as REDIS_PORT, that programs take for their own.");
        if !task {
            let grace = raw.get("stop_grace_period").and_then(Value::as_str).and_then(seconds);
            pod.set("terminationGracePeriodSeconds", grace.unwrap_or(10));
            if grace.is_none() {
                pod.note(
                    "terminationGracePeriodSeconds",
                    "What Compose gives a container; Kubernetes would give it 30.",
                );
            }
        }
        pod.set_some("hostname", raw.get("hostname").and_then(Value::as_str).map(super::name::label));
        let platform =
            raw.get("platform").and_then(Value::as_str).and_then(|platform| platform.split('/').nth(1));
        pod.set_some("nodeSelector", platform.map(|arch| json!({"kubernetes.io/arch": arch})));
        if raw.get("network_mode").and_then(Value::as_str) == Some("host") {
            self.doubt(
                Some(service),
                "runs on the network of the machine, and here on that of whichever node it is on",
            );
            pod.set("hostNetwork", true);
            pod.set("dnsPolicy", "ClusterFirstWithHostNet");
        }
        for (from, to) in [("pid", "hostPID"), ("ipc", "hostIPC")] {
            if raw.get(from).and_then(Value::as_str) == Some("host") {
                pod.set(to, true);
            }
        }
        let aliases = self.host_aliases(service, raw);
        pod.list("hostAliases", aliases);
        pod
    }

    fn host_aliases(&mut self, service: &str, raw: &Value) -> Vec<Node> {
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for line in super::container::list(raw, "extra_hosts").filter_map(Value::as_str) {
            let Some((host, address)) = line.split_once('=').or_else(|| line.split_once(':')) else {
                continue;
            };
            if address.parse::<core::net::IpAddr>().is_err() {
                self.doubt(
                    Some(service),
                    format!("the host {host} is {address}, which a cluster does not have: it is left out"),
                );
                continue;
            }
            match found.iter_mut().find(|(there, _)| there == address) {
                Some((_, hosts)) => hosts.push(host.into()),
                None => found.push((address.into(), vec![host.into()])),
            }
        }
        let node = |(address, hosts): (String, Vec<String>)| {
            let mut node = Node::default();
            node.set("ip", address);
            node.set("hostnames", hosts);
            node
        };
        found.into_iter().map(node).collect()
    }

    fn readiness(&mut self, service: &str, raw: &Value) -> Node {
        let known = self.known(service);
        if let Some(probe) = of_compose(raw) {
            let mut node = readiness(&probe, raw);
            if let Probe::Http { .. } = probe {
                node.remark("The compose file's health check, asked from outside of the container.");
            }
            return node;
        }
        let written = raw.get("healthcheck").is_some();
        if let Some(probe) = known.probe.or(known.port.map(|port| Probe::Tcp { port })) {
            let mut node = readiness(&probe, &json!({}));
            node.remark("From `health` or `port` of the service in bowline.toml.");
            return node;
        }
        if known.traits.healthcheck
            || (written && self.model.services.get(service).is_some_and(|s| s.healthcheck.is_none()))
        {
            self.doubt(
                Some(service),
                "its image has a HEALTHCHECK, which Kubernetes does not run: add a readinessProbe",
            );
        } else {
            self.doubt(Some(service), "has no health check: it counts as ready as soon as it runs");
        }
        Node::default()
    }

    /// A name that a cluster cannot have: who uses it has to use the other one.
    fn renamed(&mut self, service: &str, name: &str) {
        let mut users = BTreeSet::new();
        for (other, model) in &self.model.services {
            if super::service::texts(&model.raw).any(|text| super::name::mentions(&text, service)) {
                users.insert(other.clone());
            }
        }
        let users: Vec<String> = users.into_iter().collect();
        let by =
            if users.is_empty() { String::new() } else { format!("; {} must call it so", users.join(", ")) };
        self.doubt(
            Some(service),
            format!("is {name} in the cluster, where names are small letters, digits and `-`{by}"),
        );
    }
}

fn template(name: &str, pod: Node) -> Node {
    let mut template = Node::default();
    template.set("metadata", json!({"labels": {"app": name}}));
    template.put("spec", pod);
    template
}

fn container_port((port, protocol): &(u16, String)) -> Value {
    match protocol.as_str() {
        "TCP" => json!({"containerPort": port}),
        other => json!({"containerPort": port, "protocol": other}),
    }
}
