//! What an annotation asks to wait for: `bowline.dev/depends-on: "Deployment/postgres, job/migrate"`.

use std::collections::BTreeMap;
use std::fmt;

use crate::kube::object::{Kind, Manifest, ObjectId, Origin};

use super::nearest::nearest;
use super::rank::runs_pods;

/// The annotation by which an object asks to come after others: a list, with commas, of `name`, `Kind/name` or
/// `namespace/Kind/name`. A kind may be written in small letters, in the plural, short as in kubectl, and with its group
/// (`Kafka.kafka.strimzi.io`). A bare name must leave no doubt: it is looked for among what runs pods first.
pub const DEPENDS_ON: &str = "bowline.dev/depends-on";

/// Why an item of the annotation means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestProblem {
    /// The object that carries it.
    pub object: ObjectId,
    /// Where that object is written.
    pub origin: Origin,
    /// The item.
    pub item: String,
    /// What is wrong with it.
    pub why: Unclear,
}

/// What is wrong with an item of the annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unclear {
    /// It is not of the form.
    Malformed,
    /// No object of the release is called so; this one comes nearest.
    Unknown(Option<ObjectId>),
    /// Several are called so.
    Ambiguous(Vec<ObjectId>),
    /// It is the object itself.
    Itself,
}

impl fmt::Display for RequestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, origin, item, why } = self;
        write!(f, "{origin}: {object}: {DEPENDS_ON} names `{item}`, ")?;
        match why {
            Unclear::Malformed => {
                f.write_str("which is not of the form `name`, `Kind/name` or `namespace/Kind/name`")
            }
            Unclear::Unknown(None) => f.write_str("which this release does not have"),
            Unclear::Unknown(Some(near)) => {
                write!(f, "which this release does not have; did you mean {near}?")
            }
            Unclear::Ambiguous(all) => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                write!(f, "which may be {}: write its kind too", all.join(" or "))
            }
            Unclear::Itself => f.write_str("which is the object itself"),
        }
    }
}

/// The objects of a release by name.
pub(super) struct Names<'m> {
    objects: &'m [Manifest],
    by_name: BTreeMap<(Option<&'m str>, &'m str), Vec<usize>>,
}

impl<'m> Names<'m> {
    pub(super) fn new(objects: &'m [Manifest]) -> Self {
        let mut by_name: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, manifest) in objects.iter().enumerate() {
            let id = &manifest.id;
            by_name.entry((id.namespace.as_deref(), id.name.as_str())).or_default().push(index);
        }
        Self { objects, by_name }
    }

    /// The objects that the annotation of one names.
    pub(super) fn requested(&self, manifest: &Manifest, problems: &mut Vec<RequestProblem>) -> Vec<usize> {
        let annotation = manifest.value.pointer("/metadata/annotations").and_then(|all| all.get(DEPENDS_ON));
        let mut found = Vec::new();
        let Some(annotation) = annotation else { return found };
        let text = annotation.as_str().unwrap_or_default();
        for item in text.split(',').map(str::trim) {
            match self.resolve(manifest, item) {
                Ok(index) => found.push(index),
                Err(why) => problems.push(RequestProblem {
                    object: manifest.id.clone(),
                    origin: manifest.origin.clone(),
                    item: item.chars().take(100).collect(),
                    why,
                }),
            }
        }
        found
    }

    fn resolve(&self, manifest: &Manifest, item: &str) -> Result<usize, Unclear> {
        let parts: Vec<&str> = item.split('/').map(str::trim).collect();
        if parts.iter().any(|part| part.is_empty() || part.contains(char::is_whitespace)) {
            return Err(Unclear::Malformed);
        }
        let own = manifest.id.namespace.as_deref();
        let (namespace, kind, name) = match *parts {
            [name] => (own, None, name),
            [kind, name] => (own, Some(kind), name),
            [namespace, kind, name] => (Some(namespace), Some(kind), name),
            _ => return Err(Unclear::Malformed),
        };
        let fits = |index: &&usize| {
            kind.is_none_or(|kind| self.kind(**index).is_some_and(|there| means(kind, there)))
        };
        let called = |namespace| self.by_name.get(&(namespace, name)).into_iter().flatten().filter(fits);
        let mut found: Vec<usize> = called(namespace).copied().collect();
        // Objects of the whole cluster have no namespace to be looked for in.
        if found.is_empty() && namespace.is_some() {
            found = called(None).copied().collect();
        }
        if found.len() > 1 && kind.is_none() {
            let run = |index: &usize| self.kind(*index).is_some_and(runs_pods);
            let running: Vec<usize> = found.iter().copied().filter(run).collect();
            if !running.is_empty() {
                found = running;
            }
        }
        match *found {
            [] => Err(Unclear::Unknown(self.nearest(namespace, kind, name))),
            [index] if self.objects.get(index).is_some_and(|object| object.id == manifest.id) => {
                Err(Unclear::Itself)
            }
            [index] => Ok(index),
            _ => Err(Unclear::Ambiguous(found.iter().filter_map(|index| self.id(*index).cloned()).collect())),
        }
    }

    fn id(&self, index: usize) -> Option<&ObjectId> {
        self.objects.get(index).map(|object| &object.id)
    }

    fn kind(&self, index: usize) -> Option<&Kind> {
        self.id(index).map(|id| &id.kind)
    }

    /// What may have been meant: another name of that kind, or that name elsewhere.
    fn nearest(&self, namespace: Option<&str>, kind: Option<&str>, name: &str) -> Option<ObjectId> {
        let ids = || self.objects.iter().map(|object| &object.id);
        let alike = |id: &&ObjectId| kind.is_none_or(|kind| means(kind, &id.kind)) && runs_or_named(kind, id);
        let here = || ids().filter(alike).filter(|id| id.namespace.as_deref() == namespace);
        if let Some(near) = nearest(name, here().map(|id| id.name.as_str())) {
            return here().find(|id| id.name == near).cloned();
        }
        ids().filter(|id| id.name == name).min().cloned()
    }
}

fn runs_or_named(kind: Option<&str>, id: &ObjectId) -> bool {
    kind.is_some() || runs_pods(&id.kind)
}

/// The short names that kubectl knows.
const SHORT: [(&str, &str); 19] = [
    ("cj", "cronjob"),
    ("cm", "configmap"),
    ("crd", "customresourcedefinition"),
    ("deploy", "deployment"),
    ("ds", "daemonset"),
    ("hpa", "horizontalpodautoscaler"),
    ("ing", "ingress"),
    ("limits", "limitrange"),
    ("netpol", "networkpolicy"),
    ("ns", "namespace"),
    ("pdb", "poddisruptionbudget"),
    ("po", "pod"),
    ("pv", "persistentvolume"),
    ("pvc", "persistentvolumeclaim"),
    ("quota", "resourcequota"),
    ("rs", "replicaset"),
    ("sa", "serviceaccount"),
    ("sts", "statefulset"),
    ("svc", "service"),
];

/// Whether a word means a kind.
fn means(word: &str, kind: &Kind) -> bool {
    let word = word.to_ascii_lowercase();
    let (word, group) =
        word.split_once('.').map_or((word.as_str(), None), |(word, group)| (word, Some(group)));
    if group.is_some_and(|group| group != kind.group) {
        return false;
    }
    let name = kind.kind.to_ascii_lowercase();
    let long = SHORT.iter().find(|(short, _)| *short == word).map(|(_, long)| *long);
    word == name || long == Some(&name) || word == plural(&name)
}

/// The plural that Kubernetes makes of a kind in small letters.
fn plural(name: &str) -> String {
    match name.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if name.ends_with('s') => format!("{name}es"),
        _ => format!("{name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_many_names() {
        for (word, group, kind, known) in [
            ("Deployment", "apps", "Deployment", true),
            ("deployments", "apps", "Deployment", true),
            ("deploy", "apps", "Deployment", true),
            ("deployment.apps", "apps", "Deployment", true),
            ("deployment.extensions", "apps", "Deployment", false),
            ("networkpolicies", "networking.k8s.io", "NetworkPolicy", true),
            ("storageclasses", "storage.k8s.io", "StorageClass", true),
            ("gateways", "gateway.networking.k8s.io", "Gateway", true),
            ("Kafka.kafka.strimzi.io", "kafka.strimzi.io", "Kafka", true),
            ("job", "batch", "CronJob", false),
        ] {
            assert_eq!(means(word, &Kind::new(group, kind)), known, "{word}");
        }
    }
}
