//! What a cluster was brought to: a revision with its inventory, and the manifests exactly as they were applied.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::comparison::Remembered;
use super::object::{Manifest, ObjectId, Origin};
use crate::digest::Digest;
use crate::event::RunId;
use crate::image::ImageId;
use crate::release::Milestone;

/// What a cluster was brought to, once. Numbers count from 1; what was found before the first deploy is 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Counts up by one.
    pub number: u64,
    /// The release, unless it was adopted.
    pub release: Option<String>,
    /// How it came to be: `deploy`, `rollback`, `adopt`, `ship`.
    pub verb: String,
    /// When it was reached.
    pub at: Timestamp,
    /// The run that made it.
    pub run: RunId,
    /// Who ran it: `user@machine`.
    pub by: String,
    /// The digest of the spec, which is kept in the cluster beside it.
    pub spec: Digest,
    /// The digest of the manifests as applied ([`Manifests::digest`]), which are kept beside it too.
    pub manifests: Digest,
    /// Our images by our services' names.
    #[serde(default)]
    pub images: BTreeMap<String, PlacedImage>,
    /// What stands where.
    pub inventory: Inventory,
    /// Milliseconds from the start of the run until everything was healthy.
    pub milliseconds: u64,
}

impl Revision {
    /// What of it decides where `rollback` goes.
    pub fn milestone(&self) -> Milestone<'_> {
        Milestone { number: self.number, release: self.release.as_deref(), verb: &self.verb }
    }
}

/// An image of ours as the manifests name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedImage {
    /// The reference, by digest where a release brought it.
    pub reference: String,
    /// The image as a release knows it; none for what was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ImageId>,
}

/// The objects of a revision, each once, in the order of their identities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Inventory {
    entries: BTreeMap<ObjectId, Entry>,
}

/// An object as a revision left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which.
    #[serde(flatten)]
    pub id: ObjectId,
    /// The version of its API that it was written in, without the group: how to ask for it.
    pub version: String,
    /// What is to be remembered of it: while the manifest and the object are as they were then, nothing is to be done,
    /// and no dry run is needed to know that. None where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remembered: Option<Remembered>,
    /// Where it was written; none for what Bowline made itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Inventory {
    /// An object, if it is part of the revision.
    pub fn get(&self, id: &ObjectId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// All objects, in the order of their identities.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.values()
    }

    /// Their identities.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = &ObjectId> + ExactSizeIterator {
        self.entries.keys()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl FromIterator<Entry> for Inventory {
    /// Of two entries of one object the last counts.
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect() }
    }
}

impl From<Vec<Entry>> for Inventory {
    fn from(entries: Vec<Entry>) -> Self {
        entries.into_iter().collect()
    }
}

impl From<Inventory> for Vec<Entry> {
    fn from(inventory: Inventory) -> Self {
        inventory.entries.into_values().collect()
    }
}

/// The manifests of a revision as they were applied: the way back when the files in git have changed since.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifests {
    /// One for each object, in the order in which they were applied.
    pub manifests: Vec<KeptManifest>,
}

/// One manifest as it was applied, without what is secret in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptManifest {
    /// The manifest. Values that are withheld are `null`.
    pub manifest: Manifest,
    /// Where the values stood that Bowline filled in from the team's sources of secrets (JSON pointers). They are not
    /// kept: whoever goes back to this revision resolves them again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub withheld: BTreeSet<String>,
}

impl KeptManifest {
    /// A manifest to be kept. What stands at `withheld` (JSON pointers) is taken out of it.
    pub fn new(mut manifest: Manifest, withheld: BTreeSet<String>) -> Self {
        for pointer in &withheld {
            if let Some(value) = manifest.value.pointer_mut(pointer) {
                *value = Value::Null;
            }
        }
        Self { manifest, withheld }
    }
}

impl Manifests {
    /// The digest by which they are kept: revisions that applied the same share one document.
    pub fn digest(&self) -> Digest {
        // Values and texts alone: making JSON of them does not fail.
        Digest::of_json(&serde_json::to_value(self).unwrap_or_default())
    }
}

/// The numbers of the revisions that may be forgotten when the newest `keep` stay; the newest one always stays.
pub fn outdated(revisions: &BTreeMap<u64, Revision>, keep: u32) -> Vec<u64> {
    let keep = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
    let mut numbers: Vec<u64> = revisions.keys().rev().skip(keep).copied().collect();
    numbers.reverse();
    numbers
}

/// What a revision changed against the one before it, in words: `Deployment/user`, `ConfigMap/settings (new)`.
pub fn changes(before: Option<&Revision>, after: &Revision) -> Vec<String> {
    let called = |id: &ObjectId| format!("{}/{}", id.kind, id.name);
    let Some(before) = before else {
        let word = if after.verb == "adopt" { "found" } else { "first" };
        return after.inventory.ids().map(|id| format!("{} ({word})", called(id))).collect();
    };
    let changed = after.inventory.iter().filter_map(|entry| {
        let name = called(&entry.id);
        match before.inventory.get(&entry.id) {
            None => Some(format!("{name} (new)")),
            Some(old) => match (&old.remembered, &entry.remembered) {
                (Some(old), Some(new)) if old.desired != new.desired => Some(name),
                // The same manifest: somebody else had changed it meanwhile.
                (Some(old), Some(new)) if old.live != new.live => Some(format!("{name} (set right)")),
                (None, Some(_)) => Some(name),
                _ => None,
            },
        }
    });
    let gone = before.inventory.ids().filter(|id| after.inventory.get(id).is_none());
    changed.chain(gone.map(|id| format!("{} (left out)", called(id)))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn revision(number: u64) -> Revision {
        let entry = |name: &str| Entry {
            id: ObjectId::namespaced("apps", "Deployment", "chat", name),
            version: "v1".into(),
            remembered: (name == "user").then(|| Remembered {
                desired: Digest::of(b"m"),
                live: Digest::of(b"l"),
                yielded: vec!["spec.replicas".into()],
            }),
            origin: Some(Origin { file: "k8s/user.yaml".into(), line: 1, column: 1 }),
        };
        Revision {
            number,
            release: Some("v1.0.0-abf2154".into()),
            verb: "deploy".into(),
            at: Timestamp::UNIX_EPOCH,
            run: RunId::from("r".to_owned()),
            by: "me@here".into(),
            spec: Digest::of(b"s"),
            manifests: Manifests::default().digest(),
            images: BTreeMap::new(),
            inventory: [entry("user"), entry("chat"), entry("user")].into_iter().collect(),
            milliseconds: 5,
        }
    }

    #[test]
    fn a_revision_survives_its_document() {
        let value = serde_json::to_value(revision(3)).unwrap();
        assert_eq!(value["inventory"][0]["name"], "chat");
        assert_eq!(value["inventory"][0]["kind"], "Deployment");
        assert_eq!(serde_json::from_value::<Revision>(value).unwrap(), revision(3));
        assert_eq!(revision(3).inventory.len(), 2);
        assert!(revision(3).inventory.get(&ObjectId::of_cluster("", "Namespace", "chat")).is_none());
    }

    #[test]
    fn what_is_secret_is_not_kept_and_does_not_change_the_digest() {
        let manifest = |password: &str| Manifest {
            id: ObjectId::namespaced("", "Secret", "chat", "database"),
            version: "v1".into(),
            value: json!({"kind": "Secret", "stringData": {"user": "chat", "a/b": password}}),
            origin: Origin { file: "bowline.toml".into(), line: 1, column: 1 },
        };
        let withheld = BTreeSet::from(["/stringData/a~1b".to_owned(), "/data/missing".to_owned()]);
        let kept =
            |password| Manifests { manifests: vec![KeptManifest::new(manifest(password), withheld.clone())] };
        let text = serde_json::to_string(&kept("hunter2")).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains(r#""a/b":null"#), "{text}");
        assert_eq!(kept("hunter2").digest(), kept("other").digest());
        assert_eq!(serde_json::from_str::<Manifests>(&text).unwrap(), kept("other"));
    }

    #[test]
    fn a_revision_says_what_it_changed() {
        let entry = |name: &str, desired: &str, live: &str| Entry {
            id: ObjectId::namespaced("apps", "Deployment", "chat", name),
            version: "v1".into(),
            remembered: (!desired.is_empty()).then(|| Remembered {
                desired: Digest::of(desired.as_bytes()),
                live: Digest::of(live.as_bytes()),
                yielded: Vec::new(),
            }),
            origin: None,
        };
        let of = |entries: &[Entry]| Revision { inventory: entries.iter().cloned().collect(), ..revision(1) };
        let before =
            of(&[entry("a", "1", "1"), entry("b", "1", "1"), entry("c", "1", "1"), entry("d", "", "")]);
        let after =
            of(&[entry("a", "1", "1"), entry("b", "2", "1"), entry("d", "1", "1"), entry("e", "1", "1")]);
        let told = changes(Some(&before), &after).join(", ");
        assert_eq!(told, "Deployment/b, Deployment/d, Deployment/e (new), Deployment/c (left out)");
        let right = of(&[entry("a", "1", "2")]);
        assert_eq!(changes(Some(&of(&[entry("a", "1", "1")])), &right), ["Deployment/a (set right)"]);
        assert_eq!(changes(None, &right), ["Deployment/a (first)"]);
        let found = Revision { verb: "adopt".into(), ..right };
        assert_eq!(changes(None, &found), ["Deployment/a (found)"]);
    }

    #[test]
    fn the_newest_revisions_stay() {
        let all: BTreeMap<_, _> = [0, 3, 7, 8].map(|number| (number, revision(number))).into();
        for (keep, expected) in [(0, vec![0, 3, 7]), (1, vec![0, 3, 7]), (3, vec![0]), (9, vec![])] {
            assert_eq!(outdated(&all, keep), expected, "keep {keep}");
        }
    }
}
