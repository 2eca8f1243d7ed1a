//! How the pods of a workload are replaced.

use serde_json::Value;

use crate::kube::object::Manifest;
use crate::kube::order::mention::text;

/// How the pods of a workload are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// So many pods more than wanted, and so many less than wanted, at any time.
    Rolling { surge: u64, unavailable: u64 },
    /// Old pods go before new ones come: all at once, or one after the other.
    Before,
}

impl Strategy {
    /// Of an object that runs so many pods.
    pub(crate) fn read(manifest: &Manifest, replicas: u64) -> Self {
        let value = &manifest.value;
        match manifest.id.kind.kind.as_str() {
            "Deployment" if text(value, "/spec/strategy/type") != Some("Recreate") => {
                let number = |field: &str, up: bool| {
                    let given = value.pointer("/spec/strategy/rollingUpdate").and_then(|all| all.get(field));
                    scaled(given, replicas, up).unwrap_or_else(|| share(25, replicas, up))
                };
                let (surge, unavailable) = (number("maxSurge", true), number("maxUnavailable", false));
                // Where both come to nothing, Kubernetes lets one pod go.
                let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
                Self::Rolling { surge, unavailable: unavailable.min(replicas) }
            }
            _ => Self::Before,
        }
    }

    /// Whether a new pod must run before an old one may go.
    pub(crate) fn is_tight(self) -> bool {
        matches!(self, Self::Rolling { unavailable: 0, .. })
    }
}

/// How many pods more than it is to have an object with so many replicas runs while it is replaced.
pub fn surge_of(manifest: &Manifest, replicas: u64) -> u64 {
    match Strategy::read(manifest, replicas) {
        Strategy::Rolling { surge, .. } => surge,
        Strategy::Before => 0,
    }
}

/// A number or a share of `replicas`; shares are rounded up where that is said, else down.
fn scaled(value: Option<&Value>, replicas: u64, up: bool) -> Option<u64> {
    match value? {
        Value::String(text) => Some(share(text.strip_suffix('%')?.parse().ok()?, replicas, up)),
        number => number.as_u64(),
    }
}

fn share(percent: u64, replicas: u64, up: bool) -> u64 {
    let hundredths = percent.saturating_mul(replicas);
    if up { hundredths.div_ceil(100) } else { hundredths / 100 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kube::order::tests::object;

    #[test]
    fn shares_are_rounded_as_kubernetes_does() {
        for (rolling, replicas, surge, unavailable) in [
            (json!({}), 1, 1, 0),
            (json!({}), 4, 1, 1),
            (json!({}), 5, 2, 1),
            (json!({"maxSurge": "10%", "maxUnavailable": "10%"}), 3, 1, 0),
            (json!({"maxSurge": 0, "maxUnavailable": "10%"}), 3, 0, 1),
            (json!({"maxSurge": 0, "maxUnavailable": 0}), 3, 0, 1),
            (json!({"maxSurge": 2, "maxUnavailable": 5}), 3, 2, 3),
        ] {
            let fields = json!({"spec": {"strategy": {"rollingUpdate": rolling}}});
            let manifest = object("a.yaml", "Deployment chat/user", fields);
            assert_eq!(
                Strategy::read(&manifest, replicas),
                Strategy::Rolling { surge, unavailable },
                "{rolling} of {replicas}"
            );
        }
        let manifest =
            object("a.yaml", "Deployment chat/user", json!({"spec": {"strategy": {"type": "Recreate"}}}));
        assert_eq!(Strategy::read(&manifest, 3), Strategy::Before);
    }
}
