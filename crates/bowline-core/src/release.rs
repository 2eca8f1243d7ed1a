//! Releases, their record in the registry, and revisions: which release a target runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::compose::desired::DeployImage;
use crate::digest::Digest;
use crate::event::RunId;
use crate::image::ImageId;
use crate::tag::Tag;

/// The version of the record's format. A reader refuses a higher one.
pub const FORMAT: u16 = 1;

/// The media types of a release in the registry: an OCI artifact (image-spec 1.1, manifest.md, "artifactType").
pub mod media_type {
    /// The artifact.
    pub const RELEASE: &str = "application/vnd.bowline.release.v1";
    /// Its first layer: the [`Record`](super::Record) as JSON.
    pub const RECORD: &str = "application/vnd.bowline.release.record.v1+json";
    /// Its second layer: the [`Spec`](super::Spec) as JSON.
    pub const SPEC: &str = "application/vnd.bowline.release.spec.v1+json";
}

/// What a release is: images, and the digest of the spec they are deployed with.
///
/// A release exists when its record is in the registry, under the bare git tag; it never changes afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u16,
    /// The project's name.
    pub project: String,
    /// The git tag, e.g. `v5.0.2-b321acf`.
    pub tag: String,
    /// The version without its `v`.
    pub version: String,
    /// The full commit id.
    pub commit: String,
    /// The release before this one.
    pub previous: Option<String>,
    /// One image for every service.
    pub images: BTreeMap<String, ReleasedImage>,
    /// The digest of the spec.
    pub spec: Digest,
    /// When the record was written. It is not part of any image.
    pub created: Timestamp,
    /// What was merged since the release before, newest first: titles as read, untrusted.
    pub changes: Vec<String>,
}

/// One service's image in a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedImage {
    /// Which.
    #[serde(flatten)]
    pub id: ImageId,
    /// Its tag in the registry's repository, e.g. `user_v5.0.2-b321acf`. For people.
    pub tag: String,
    /// Whether its content differs from the release before.
    pub changed: bool,
    /// The release whose build made it.
    pub built_in: String,
    /// The fingerprint of how it was built; see [`crate::change`].
    #[serde(default)]
    pub definition: Option<Digest>,
    /// Compressed bytes of its layers.
    #[serde(default)]
    pub size: u64,
    /// Those layers and their bytes: what images share is counted once. None in records from before they were noted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layers: BTreeMap<Digest, u64>,
    /// Whether it brings a health check of its own.
    #[serde(default)]
    pub healthcheck: bool,
}

/// The files that a deploy needs from the commit: compose files, the small files they mount, `bowline.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// By path relative to the directory of `bowline.toml`, with `/` between the parts, never leaving it.
    pub files: BTreeMap<String, SpecFile>,
}

/// One file of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecFile {
    /// Whether it may be executed: git keeps no other mode.
    pub executable: bool,
    /// Its bytes, as standard base64 (RFC 4648, section 4) in JSON.
    #[serde(with = "content")]
    pub content: Vec<u8>,
}

impl SpecFile {
    /// The digest that decides whether a file on the target is this one.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.content)
    }
}

impl Spec {
    /// The digest over all paths, modes and contents. Lengths are hashed too, so that no two specs read the same.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for (path, file) in &self.files {
            for part in [path.as_bytes(), if file.executable { b"x" } else { b"-" }, &file.content] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        Digest::from_bytes(hash.finalize().into())
    }

    /// The files below a directory, by their paths relative to it; the empty path is the whole.
    pub fn below(&self, directory: &str) -> Self {
        let relative = |path: &str| match directory {
            "" | "." => Some(path.to_owned()),
            directory => path.strip_prefix(directory)?.strip_prefix('/').map(str::to_owned),
        };
        let files = self.files.iter().filter_map(|(path, file)| Some((relative(path)?, file.clone())));
        Self { files: files.collect() }
    }

    /// A file as text; nothing where it is missing or not UTF-8.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).and_then(|file| std::str::from_utf8(&file.content).ok())
    }
}

/// What a target was brought to, once. Numbers count from 1; what was found before the first deploy is 0.
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
    /// The digest of the spec, which is kept on the target beside it.
    pub spec: Digest,
    /// The digests of the files in the project's directory.
    #[serde(default)]
    pub files: BTreeMap<String, Digest>,
    /// Our images by our services' names: what a return to this revision deploys.
    #[serde(default)]
    pub images: BTreeMap<String, DeployImage>,
    /// What stands where, by the compose file's service names.
    pub services: BTreeMap<String, Placed>,
    /// Milliseconds from the start of the run until everything was healthy.
    pub milliseconds: u64,
}

impl Revision {
    /// What of it decides where `rollback` goes.
    pub fn milestone(&self) -> Milestone<'_> {
        Milestone { number: self.number, release: self.release.as_deref(), verb: &self.verb }
    }
}

/// What a service was left with by a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The engine's own id of the image that its containers run.
    pub image: Digest,
    /// The name by which the compose file calls the image.
    pub image_name: String,
    /// The image as a release knows it, where it is ours.
    pub released: Option<ImageId>,
    /// The fingerprint of its definition; see [`crate::compose::desired`].
    pub fingerprint: Digest,
    /// The ids of its containers.
    pub containers: Vec<String>,
    /// Whether it is a task, which has done its work when it has ended well: others wait for its end, or it had ended by
    /// itself when the revision was reached. Any other service that has ended was stopped.
    #[serde(default)]
    pub task: bool,
}

/// One revision of a target's history, as far as it decides where `rollback` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Milestone<'r> {
    /// The revision's number.
    pub number: u64,
    /// The release, unless it was adopted.
    pub release: Option<&'r str>,
    /// How it came to be.
    pub verb: &'r str,
}

/// Where `rollback` goes when nobody says where: to the release that ran before the one that runs now was deployed. One that
/// was gone back to had been deployed before: a second rollback goes further back, not forward to what was left.
///
/// `history` is in the order of the numbers. Gives the revision's number; nothing where no release is before.
pub fn release_before(history: &[Milestone<'_>]) -> Option<u64> {
    let newest = history.last()?.release;
    let is_return = |verb: &str| matches!(verb, "rollback" | "restore");
    let came = history.iter().rposition(|there| there.release == newest && !is_return(there.verb))?;
    let before = history.get(..came)?.iter().rev().find(|there| there.release != newest)?;
    Some(before.number)
}

/// Whether a target runs a newer release than the one that a merge brings: merges come close together, and the one that
/// was built longer must not replace what came after it. What has no version of ours is neither newer nor older.
pub fn is_superseded(wanted: Option<&str>, running: Option<&str>) -> bool {
    let version = |name: Option<&str>| Some(name?.parse::<Tag>().ok()?.version());
    matches!((version(wanted), version(running)), (Some(wanted), Some(running)) if running > wanted)
}

mod content {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(files: &[(&str, &[u8])]) -> Spec {
        let file = |content: &&[u8]| SpecFile { executable: false, content: content.to_vec() };
        Spec { files: files.iter().map(|(path, content)| ((*path).to_owned(), file(content))).collect() }
    }

    #[test]
    fn a_merge_does_not_replace_what_came_after_it() {
        for (wanted, running, superseded) in [
            (Some("v1.0.9-abf2154"), Some("v1.0.10-b321acf"), true),
            (Some("v1.0.10-b321acf"), Some("v1.0.9-abf2154"), false),
            (Some("v1.0.9-abf2154"), Some("v1.0.9-abf2154"), false),
            (Some("v1.0.9"), Some("nightly"), false),
            (Some("v1.0.9"), None, false),
            (None, Some("v1.0.9"), false),
        ] {
            assert_eq!(is_superseded(wanted, running), superseded, "{wanted:?} over {running:?}");
        }
    }

    #[test]
    fn a_second_rollback_goes_further_back() {
        let check = |history: &'static str| {
            let milestone = |(number, there): (u64, &'static str)| {
                let (release, verb) = there.split_once(':').unwrap();
                Milestone { number, release: Some(release).filter(|release| *release != "-"), verb }
            };
            release_before(&(1..).zip(history.split(' ')).map(milestone).collect::<Vec<_>>())
        };
        for (history, before) in [
            ("v1:ship", None),
            ("v1:ship v2:ship", Some(1)),
            ("v1:ship v2:ship v3:ship v2:rollback", Some(1)),
            ("v1:ship v2:ship v3:ship v2:rollback v1:rollback", None),
            ("v1:ship v2:ship v3:ship v2:rollback v4:ship", Some(4)),
            ("v1:ship v2:ship v2:restore", Some(1)),
            ("v1:ship v2:ship v1:deploy", Some(2)),
            ("-:adopt v1:ship", Some(1)),
            ("-:adopt v1:ship -:rollback", None),
            ("v3:ship v2:rollback", None),
        ] {
            assert_eq!(check(history), before, "{history}");
        }
    }

    #[test]
    fn any_bytes_survive_the_record() {
        let spec = spec(&[("a", &[0, 255, 10]), ("b/c", b"text")]);
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
    }

    #[test]
    fn images_are_read_with_and_without_their_layers() {
        let digest = Digest::of(b"x");
        let id = serde_json::json!({"manifest": digest, "config": digest, "platform": "linux/amd64"});
        for (layers, expected) in [
            (None, BTreeMap::new()),
            (Some(serde_json::json!({digest.to_string(): 7})), BTreeMap::from([(digest, 7)])),
        ] {
            let mut released = id.clone();
            released["tag"] = "users_v1".into();
            released["changed"] = true.into();
            released["built_in"] = "v1".into();
            let mut deployed = serde_json::json!({"id": id, "size": 7, "keep": "app:users_v1"});
            for image in [&mut released, &mut deployed] {
                image.as_object_mut().unwrap().extend(layers.clone().map(|layers| ("layers".into(), layers)));
            }
            let released: ReleasedImage = serde_json::from_value(released).unwrap();
            assert_eq!(released.layers, expected);
            let text = serde_json::to_string(&released).unwrap();
            assert_eq!(serde_json::from_str::<ReleasedImage>(&text).unwrap(), released);
            let deployed: DeployImage =
                serde_json::from_value(serde_json::json!({ "released": deployed })).unwrap();
            let text = serde_json::to_string(&deployed).unwrap();
            assert_eq!(serde_json::from_str::<DeployImage>(&text).unwrap(), deployed);
            assert!(matches!(deployed, DeployImage::Released { layers, .. } if layers == expected));
        }
    }

    #[test]
    fn moving_bytes_between_path_and_content_changes_the_digest() {
        assert_ne!(spec(&[("ab", b"c")]).digest(), spec(&[("a", b"bc")]).digest());
        assert_ne!(spec(&[("a", b""), ("b", b"")]).digest(), spec(&[("a", b"")]).digest());
    }
}
