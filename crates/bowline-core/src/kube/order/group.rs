//! The order that file names ask for: `p1-namespace.yaml`, `k8s/p2-db/claim.yaml`.

use std::fmt;

use serde::Serialize;

/// A group of files that comes before all groups with a greater number and after all with a smaller one. Files without a
/// number are of no group: they wait for nobody on its account.
///
/// Where folders and files both carry numbers, the outer one counts first: `p2-db/p1-claim.yaml` is 2, then 1, and comes
/// after `p2-db/secret.yaml`, which is just 2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Group(Vec<u32>);

impl Group {
    /// The group of a file, from its path with `/` between the parts: every part that begins with `p<number>-` counts.
    pub fn of(path: &str) -> Option<Self> {
        let numbers: Vec<u32> = path.split('/').filter_map(number).collect();
        (!numbers.is_empty()).then_some(Self(numbers))
    }
}

fn number(part: &str) -> Option<u32> {
    let (digits, _) = part.strip_prefix('p')?.split_once('-')?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

impl fmt::Display for Group {
    /// `p1-`, `p2-/p1-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, number) in self.0.iter().enumerate() {
            write!(f, "{}p{number}-", if index == 0 { "" } else { "/" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_front_of_a_file_or_folder_makes_a_group() {
        for (path, group) in [
            ("p1-namespace.yaml", Some("p1-")),
            ("k8s/p2-db/claim.yaml", Some("p2-")),
            ("k8s/p2-db/p10-claim.yaml", Some("p2-/p10-")),
            ("k8s/deployment.yaml", None),
            ("k8s/p-x.yaml", None),
            ("k8s/p1x-y.yaml", None),
            ("k8s/p1.yaml", None),
            ("k8s/php1-x.yaml", None),
            ("p99999999999-x.yaml", None),
        ] {
            assert_eq!(Group::of(path).map(|group| group.to_string()).as_deref(), group, "{path}");
        }
        let sorted = ["p1-a", "p2-b/c", "p2-b/p1-c", "p2-b/p3-c", "p10-a"].map(Group::of);
        assert!(sorted.is_sorted());
    }
}
