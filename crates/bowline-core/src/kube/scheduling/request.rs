//! What pods ask for, as the scheduler and quotas count it.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::kube::order::mention::{list, text};
use crate::quantity::Quantity;

/// Amounts by resource: `cpu`, `memory`, `pods`, `nvidia.com/gpu`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests(BTreeMap<String, Quantity>);

impl Requests {
    /// The amounts in a map of the API, such as `status.allocatable`; what is no quantity is left out.
    pub fn read(map: Option<&Value>) -> Self {
        let map = map.and_then(Value::as_object).into_iter().flatten();
        Self(map.filter_map(|(name, value)| Some((name.clone(), quantity(value)?))).collect())
    }

    /// How much of a resource.
    pub fn get(&self, resource: &str) -> Quantity {
        self.0.get(resource).copied().unwrap_or_default()
    }

    /// Whether a resource is named, be it with nothing.
    pub fn names(&self, resource: &str) -> bool {
        self.0.contains_key(resource)
    }

    /// All amounts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.0.iter().map(|(resource, amount)| (resource.as_str(), *amount))
    }

    /// Adds so much of a resource.
    pub fn add(&mut self, resource: &str, amount: Quantity) {
        let there = self.0.entry(resource.to_owned()).or_default();
        *there = there.plus(amount);
    }

    /// Adds all of another.
    pub fn add_all(&mut self, other: &Self, times: u64) {
        for (resource, amount) in other.iter() {
            self.add(resource, amount.times(times));
        }
    }

    /// Takes all of another away; amounts may become negative.
    pub fn take_all(&mut self, other: &Self, times: u64) {
        for (resource, amount) in other.iter() {
            self.add(resource, Quantity::ZERO.minus(amount.times(times)));
        }
    }

    /// How many times another fits into this; every number where it asks for nothing.
    pub fn holds(&self, part: &Self) -> u64 {
        let times = part.iter().filter_map(|(resource, amount)| self.get(resource).holds(amount));
        times.min().unwrap_or(u64::MAX)
    }

    /// The greater of the two, resource by resource.
    #[must_use]
    pub fn max(mut self, other: &Self) -> Self {
        for (resource, amount) in other.iter() {
            let there = self.0.entry(resource.to_owned()).or_default();
            *there = (*there).max(amount);
        }
        self
    }

    /// Only what another asks for.
    #[must_use]
    pub fn like(&self, other: &Self) -> Self {
        let asked = other.iter().filter(|(_, amount)| *amount > Quantity::ZERO);
        Self(asked.map(|(resource, _)| (resource.to_owned(), self.get(resource))).collect())
    }

    /// What the map has and this does not name is taken over.
    fn fill(&mut self, map: Option<&Value>) {
        for (resource, amount) in Self::read(map).0 {
            self.0.entry(resource).or_insert(amount);
        }
    }
}

impl fmt::Display for Requests {
    /// `500m CPU, 1Gi memory`. That each pod counts as one is said only where nothing else is asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<String> = self
            .iter()
            .filter(|(name, _)| *name != "pods")
            .map(|(name, amount)| amount_of(name, amount))
            .collect();
        if all.is_empty() {
            all.push(amount_of("pods", self.get("pods")));
        }
        f.write_str(&all.join(", "))
    }
}

/// An amount of a resource, for people.
pub(crate) fn amount_of(resource: &str, amount: Quantity) -> String {
    let (_, plain) = resource.rsplit_once('.').unwrap_or(("", resource));
    match plain {
        "cpu" => format!("{} CPU", amount.cores()),
        "memory" | "ephemeral-storage" | "storage" => format!("{} {plain}", amount.bytes()),
        _ if resource.contains("hugepages-") => format!("{} {resource}", amount.bytes()),
        _ => format!("{} {resource}", amount.units()),
    }
}

/// A quantity as JSON has it: text or number.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// What containers get that say nothing, from the LimitRanges of a namespace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defaults {
    requests: Requests,
    limits: Requests,
}

impl Defaults {
    pub(crate) fn read<'v>(ranges: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut defaults = Self::default();
        for range in ranges {
            for item in list(range, "/spec/limits").filter(|item| text(item, "/type") == Some("Container")) {
                defaults.limits.fill(item.get("default"));
                defaults.requests.fill(item.get("defaultRequest"));
                // The API server takes the default limit, else the maximum, for what is not said.
                defaults.requests.fill(item.get("default"));
            }
        }
        defaults
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Requests,
    Limits,
}

/// What a pod with this `spec` asks for, itself counted as one of `pods`.
///
/// Containers add up. Those that only prepare run one after the other, beside those before them that go on running
/// (`restartPolicy: Always`); the greater of the two phases counts. What the pod says as a whole goes before what its
/// containers say. (kubernetes.io, "Effective Pod requests and limits")
pub(crate) fn of_pod(spec: &Value, side: Side, defaults: &Defaults) -> Requests {
    let mut total = of_containers(spec, side, defaults, &Requests::default());
    cover(&mut total, spec, side);
    total.add_all(&Requests::read(spec.get("overhead")), 1);
    total.add("pods", Quantity::whole(1));
    total
}

/// What the containers of a pod ask for together; those that do not say get what `floor` has.
pub(crate) fn of_containers(spec: &Value, side: Side, defaults: &Defaults, floor: &Requests) -> Requests {
    let read = |container: &Value| {
        let mut own = of_container(container, side, defaults);
        for (resource, amount) in
            floor.iter().filter(|(resource, _)| !own.names(resource)).collect::<Vec<_>>()
        {
            own.add(resource, amount);
        }
        own
    };
    let mut running = Requests::default();
    let mut peak = Requests::default();
    for container in list(spec, "/initContainers") {
        let mut now = running.clone();
        now.add_all(&read(container), 1);
        peak = peak.max(&now);
        if text(container, "/restartPolicy") == Some("Always") {
            running = now;
        }
    }
    for container in list(spec, "/containers") {
        running.add_all(&read(container), 1);
    }
    running.max(&peak)
}

/// Whether a pod asks for something as a whole, beside what its containers ask for.
pub(crate) fn is_covered(spec: &Value) -> bool {
    ["/resources/requests", "/resources/limits"].iter().any(|field| {
        let named = spec.pointer(field).and_then(Value::as_object).into_iter().flatten();
        named.into_iter().any(|(name, _)| is_of_pods(name))
    })
}

/// What can be asked for by a pod as a whole.
fn is_of_pods(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || resource.starts_with("hugepages-")
}

/// Puts what the pod says as a whole in the place of what its containers say.
pub(crate) fn cover(total: &mut Requests, spec: &Value, side: Side) {
    let read = |field: &str| Requests::read(spec.pointer(field));
    let limits = read("/resources/limits");
    let said = if side == Side::Requests { read("/resources/requests") } else { limits.clone() };
    if side == Side::Requests {
        // The API server takes a limit for the request where neither pod nor containers ask for any of it; pages that are
        // huge cannot be promised twice, so that the containers do not count.
        for (resource, amount) in limits.0.into_iter().filter(|(resource, _)| !said.names(resource)) {
            if is_of_pods(&resource) && (resource.starts_with("hugepages-") || !total.names(&resource)) {
                total.0.insert(resource, amount);
            }
        }
    }
    total.0.extend(said.0.into_iter().filter(|(resource, _)| is_of_pods(resource)));
}

pub(crate) fn of_container(container: &Value, side: Side, defaults: &Defaults) -> Requests {
    let mut limits = Requests::read(container.pointer("/resources/limits"));
    match side {
        Side::Limits => {
            limits.0.extend(
                defaults
                    .limits
                    .0
                    .iter()
                    .filter(|(name, _)| !limits.names(name))
                    .map(|(name, amount)| (name.clone(), *amount))
                    .collect::<Vec<_>>(),
            );
            limits
        }
        Side::Requests => {
            let mut requests = Requests::read(container.pointer("/resources/requests"));
            for (name, amount) in limits.0.into_iter().chain(defaults.requests.0.clone()) {
                requests.0.entry(name).or_insert(amount);
            }
            requests
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_asks_for_the_greater_of_its_phases() {
        let cpu = |amount: &str| json!({"resources": {"requests": {"cpu": amount}}});
        let sidecar =
            |amount: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": amount}}});
        for (spec, expected) in [
            (json!({"containers": [cpu("100m"), cpu("200m")]}), "300m CPU"),
            (json!({"containers": [cpu("100m")], "initContainers": [cpu("1"), cpu("500m")]}), "1 CPU"),
            (
                json!({"containers": [cpu("100m")], "initContainers": [sidecar("100m"), cpu("1")]}),
                "1100m CPU",
            ),
            (json!({"containers": [cpu("2")], "initContainers": [cpu("1"), sidecar("100m")]}), "2100m CPU"),
            (json!({"containers": [cpu("2")], "overhead": {"cpu": "250m"}}), "2250m CPU"),
            (json!({"containers": [cpu("2")], "resources": {"requests": {"cpu": 3}}}), "3 CPU"),
            (json!({"containers": [cpu("2")], "resources": {"limits": {"cpu": 3}}}), "2 CPU"),
            (json!({"containers": [{}], "resources": {"limits": {"cpu": 3}}}), "3 CPU"),
            (json!({"containers": [{"resources": {"limits": {"memory": "64Mi"}}}]}), "64Mi memory"),
            (json!({"containers": [{}]}), "1 pods"),
        ] {
            assert_eq!(of_pod(&spec, Side::Requests, &Defaults::default()).to_string(), expected, "{spec}");
        }
    }

    #[test]
    fn limit_ranges_fill_what_is_not_said() {
        let range = json!({"spec": {"limits": [{"type": "Container",
            "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}]}});
        let defaults = Defaults::read([&range]);
        let spec = json!({"containers": [{}, {"resources": {"limits": {"cpu": "2"}}}]});
        assert_eq!(of_pod(&spec, Side::Requests, &defaults).to_string(), "2100m CPU, 2Gi memory");
        assert_eq!(of_pod(&spec, Side::Limits, &defaults).to_string(), "3 CPU, 2Gi memory");
    }
}
