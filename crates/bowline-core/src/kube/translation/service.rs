//! The Services: the names and ports by which services call each other.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::image::well_known_port;
use super::name::{Names, label, mentions, ports_behind};
use super::probe::{Probe, of_compose};
use super::yaml::Node;
use super::{Writer, image_of};

/// A port, and `TCP`, `UDP` or `SCTP`.
pub(super) type Listening = (u16, String);

/// The texts of a service that may name others: values of variables, and words of commands.
pub(super) fn texts(raw: &Value) -> impl Iterator<Item = String> {
    let values = raw.get("environment").and_then(Value::as_object).into_iter().flatten();
    let words = ["command", "entrypoint"].into_iter().flat_map(|key| super::container::list(raw, key));
    values.map(|(_, value)| value).chain(words).filter_map(Value::as_str).map(str::to_owned)
}

impl Writer<'_> {
    /// Writes a Service for each service that somebody may call, and one for each further name of it.
    pub(super) fn services(&mut self, names: &mut Names) {
        for service in self.model.services.keys().cloned().collect::<Vec<_>>() {
            let aliases = self.aliases(&service);
            let ports = self.ports(&service);
            if self.is_task(&service) {
                continue;
            }
            if ports.is_empty() && aliases.is_empty() && !self.is_called(&service) {
                self.guess(Some(&service), "nobody seems to call it: it has no Service");
                continue;
            }
            let name = self.called(&service);
            let node = self.service(&service, &name, &ports);
            self.add("service", &node, "");
            for alias in aliases {
                if names.has(&label(&alias)) {
                    if label(&alias) != name {
                        self.doubt(
                            Some(&service),
                            format!("its further name {alias} is another service's: it is left out"),
                        );
                    }
                    continue;
                }
                let called = names.take(&alias);
                let mut node = self.service(&service, &called, &ports);
                node.remark(format!("Another name of {service}, as the compose file has it."));
                self.add("service", &node, "");
                self.guess(Some(&service), format!("is called {called}, too: by a Service of its own"));
            }
        }
    }

    fn service(&mut self, service: &str, name: &str, ports: &[Listening]) -> Node {
        let app = self.called(service);
        let mut node = Node::object("v1", "Service", name);
        if let Some(metadata) = node.child("metadata") {
            metadata.insert("labels".into(), json!({"app": app}));
        }
        let mut spec = Node::default();
        if ports.is_empty() {
            spec.set("clusterIP", "None");
            spec.note(
                "clusterIP",
                "Nothing says which port it listens on: this leads to its pods, whatever the port.",
            );
            self.guess(
                Some(service),
                "nothing says which port it listens on: its Service leads to its pods on every port",
            );
        } else {
            let published = self.published(service);
            spec.set("type", "ClusterIP");
            if !published.is_empty() {
                spec.note("type", format!(
                    "The compose file publishes {}. In the cluster only its pods reach this: `kubectl port-forward service/{name}` leads here from a desk, an Ingress, NodePort or LoadBalancer from outside.",
                    published.join(", ")
                ));
                self.doubt(
                    Some(service),
                    format!(
                        "publishes {}: in the cluster it is reached from inside only (ClusterIP)",
                        published.join(", ")
                    ),
                );
            }
        }
        spec.set("selector", json!({"app": app}));
        let several = ports.len() > 1;
        let port = |(port, protocol): &Listening| {
            let mut node = Node::default();
            if several {
                node.set("name", format!("{}-{port}", protocol.to_ascii_lowercase()));
            }
            node.set("port", *port);
            if protocol != "TCP" {
                node.set("protocol", protocol.as_str());
            }
            node
        };
        spec.list("ports", ports.iter().map(port).collect());
        node.put("spec", spec);
        node
    }

    /// The ports that a service listens on, as far as anything tells.
    pub(super) fn ports(&self, service: &str) -> Vec<Listening> {
        let raw = self.raw(service);
        let known = self.known(service);
        let mut found: BTreeSet<Listening> = BTreeSet::new();
        let model = self.model.services.get(service);
        for port in model.into_iter().flat_map(|service| &service.ports) {
            found.insert((port.target, port.protocol.to_ascii_uppercase()));
        }
        for exposed in super::container::list(&raw, "expose") {
            let text = exposed.as_str().map_or_else(|| exposed.to_string(), str::to_owned);
            let (port, protocol) = text.split_once('/').unwrap_or((text.as_str(), "tcp"));
            let (first, last) = port.split_once('-').unwrap_or((port, port));
            if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
                found.extend((first..=last).take(100).map(|port| (port, protocol.to_ascii_uppercase())));
            }
        }
        let tcp = |port: u16| (port, "TCP".to_owned());
        found.extend(known.port.map(tcp));
        found.extend(known.traits.ports.iter().copied().map(tcp));
        if let Some(Probe::Http { port, .. } | Probe::Tcp { port }) = of_compose(&raw).or(known.probe) {
            found.insert(tcp(port));
        }
        for (other, model) in &self.model.services {
            if other != service {
                found.extend(texts(&model.raw).flat_map(|text| ports_behind(&text, service)).map(tcp));
            }
        }
        if found.is_empty() {
            found.extend(well_known_port(&image_of(&self.given.project, service, &raw)).map(tcp));
        }
        found.into_iter().collect()
    }

    /// `8080 (for 80)`, of each port of the host that a service takes.
    fn published(&self, service: &str) -> Vec<String> {
        let ports =
            self.model.services.get(service).map(|service| service.ports.as_slice()).unwrap_or_default();
        let text = |port: &crate::compose::model::Port| {
            let published = port.published?;
            let address = if port.address.is_empty() { String::new() } else { format!("{}:", port.address) };
            let protocol = if port.protocol == "tcp" { String::new() } else { format!("/{}", port.protocol) };
            let inside =
                if published == port.target { String::new() } else { format!(" (for its {})", port.target) };
            Some(format!("{address}{published}{protocol}{inside}"))
        };
        ports.iter().filter_map(text).collect()
    }

    /// Whether some other service waits for it, or names it.
    fn is_called(&self, service: &str) -> bool {
        self.model.services.iter().filter(|(other, _)| *other != service).any(|(_, other)| {
            other.depends_on.contains_key(service) || texts(&other.raw).any(|text| mentions(&text, service))
        })
    }

    /// The further names under which others reach a service.
    fn aliases(&self, service: &str) -> BTreeSet<String> {
        let raw = self.raw(service);
        let networks = raw.get("networks").and_then(Value::as_object).into_iter().flatten();
        let mut aliases: BTreeSet<String> = networks
            .flat_map(|(_, network)| super::container::list(network, "aliases"))
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        for (other, model) in &self.model.services {
            for link in super::container::list(&model.raw, "links").filter_map(Value::as_str) {
                if let Some((_, alias)) = link.split_once(':').filter(|(linked, _)| *linked == service) {
                    aliases.insert(alias.into());
                }
            }
            // These two are names on the network as well, which nearly nobody uses.
            for key in ["container_name", "hostname"] {
                let Some(name) = raw.get(key).and_then(Value::as_str) else { continue };
                if other != service && texts(&model.raw).any(|text| mentions(&text, name)) {
                    aliases.insert(name.into());
                }
            }
        }
        aliases.remove(service);
        aliases
    }
}
