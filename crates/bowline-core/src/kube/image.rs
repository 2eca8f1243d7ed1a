//! Which images in manifests are ours, and what they become: `repository:tag@digest`, so that a node can pull nothing else.
//!
//! One repository holds the images of all services. A repository alone says nothing, therefore, and a tag is split and its
//! service compared whole: `user_v5.0.1` is not an image of `super-user`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::edit::Change;
use super::manifest::{brief, is_built_in};
use super::object::{Manifest, ObjectId, Origin};
use super::workload::{CONTAINER_LISTS, containers, pod_spec, pod_spec_mut, template_pointer};
use crate::image::ImageId;
use crate::reference::{Reference, Repository};
use crate::service::{ServiceName, TagTemplate};

/// One service's image in a release, and how manifests call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurImage {
    /// The names that the service claims: `images` in bowline.toml.
    pub claims: Vec<Reference>,
    /// The image.
    pub id: ImageId,
    /// Its tag in the release's repository.
    pub tag: String,
}

/// The images of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurImages {
    /// The repository that holds all of them, as the cluster's nodes call it.
    pub repository: Repository,
    /// How tags are made of services and versions.
    pub template: TagTemplate,
    /// The services of the release.
    pub services: BTreeMap<ServiceName, OurImage>,
}

/// A place in a manifest that names an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// In which object.
    pub object: ObjectId,
    /// Where that begins.
    pub origin: Origin,
    /// The container.
    pub container: String,
    /// Where in the object the image's name is, as a JSON pointer.
    pub pointer: String,
    /// The name as it is written.
    pub image: String,
}

impl fmt::Display for Place {
    /// `Deployment chat/user, container app (k8s/user.yaml:1:1)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, container {} ({})", self.object, brief(&self.container), self.origin)
    }
}

/// A place that names an image of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pin {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// Whose image it is.
    pub service: ServiceName,
    /// What stands there now. It can be what stood there before.
    pub to: Reference,
}

impl Pin {
    /// Whether the manifest says something else than it did.
    pub fn is_change(&self) -> bool {
        self.place.image != self.to.to_string()
    }

    /// The change that brings the manifest's file there.
    pub fn change(&self) -> Change {
        Change {
            object: self.place.origin.clone(),
            pointer: self.place.pointer.clone(),
            from: self.place.image.clone(),
            to: self.to.to_string(),
        }
    }
}

/// What is odd, and does not stand in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// No manifest uses the service's image.
    Unused(ServiceName),
    /// An image of our repository that no service of the release explains.
    Unexplained(Place),
    /// An image of ours in an object whose kind is not known: it stays as it is.
    Custom(Place, ServiceName),
    /// What stands there is no image reference.
    Unreadable(Place),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unused(service) => write!(
                f,
                "no manifest uses the image of {service}: deploying it changes nothing; `services.{service}.images` says what manifests call it"
            ),
            Self::Unexplained(place) => write!(
                f,
                "{place}: `{}` is in the project's repository, but belongs to no service of this release; it stays as it is",
                brief(&place.image)
            ),
            Self::Custom(place, service) => write!(
                f,
                "{place}: `{}` is the image of {service}, but what a {} does with it is not known; it stays as it is",
                brief(&place.image),
                place.object.kind
            ),
            Self::Unreadable(place) => {
                write!(f, "{place}: `{}` is no image reference; it stays as it is", brief(&place.image))
            }
        }
    }
}

/// An image that is several services' at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contest {
    /// The image, as it is claimed or written.
    pub image: String,
    /// The services.
    pub services: BTreeSet<ServiceName>,
    /// Where it is used; none if it is only claimed.
    pub place: Option<Place>,
}

impl fmt::Display for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.iter().try_for_each(|place| write!(f, "{place}: "))?;
        let services: Vec<&str> = self.services.iter().map(ServiceName::as_str).collect();
        let image = brief(&self.image);
        write!(f, "`{image}` cannot be the image of {} at once: see their `images`", services.join(" and "))
    }
}

/// What was done to manifests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pinned {
    /// All places that name an image of ours, in the manifests' order.
    pub pins: Vec<Pin>,
    /// What is odd.
    pub warnings: Vec<Doubt>,
    /// What must be put right first. Those places stay as they are.
    pub problems: Vec<Contest>,
}

/// Whose image something is.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Service(ServiceName),
    Contested(BTreeSet<ServiceName>),
    /// It is in our repository.
    Unexplained,
    Foreign,
}

impl OurImages {
    /// The image of a service as manifests are to name it.
    pub fn reference(&self, service: &ServiceName) -> Option<Reference> {
        let image = self.services.get(service)?;
        Some(Reference {
            repository: self.repository.clone(),
            tag: Some(image.tag.clone()),
            digest: Some(image.id.manifest),
        })
    }

    fn owner(&self, reference: &Reference) -> Owner {
        let claiming = |(_, image): &(&ServiceName, &OurImage)| {
            // A claim names an image by its tag: which content of that a manifest wants makes no difference.
            let digest = reference.digest.filter(|_| reference.tag.is_none());
            let named = Reference { digest, ..reference.clone() };
            image.claims.iter().any(|claim| claim.is_same_image(&named) || claim.is_same_image(reference))
        };
        let mut owners: BTreeSet<ServiceName> =
            self.services.iter().filter(claiming).map(|(name, _)| name.clone()).collect();
        if reference.repository == self.repository {
            owners.extend(self.tagged(reference));
        }
        match (owners.pop_first(), owners.is_empty()) {
            (Some(only), true) => Owner::Service(only),
            (Some(first), false) => {
                owners.insert(first);
                Owner::Contested(owners)
            }
            (None, _) if reference.repository == self.repository => Owner::Unexplained,
            (None, _) => Owner::Foreign,
        }
    }

    /// The service of a reference to our repository.
    fn tagged(&self, reference: &Reference) -> Option<ServiceName> {
        let Some(tag) = &reference.tag else {
            let same = |image: &OurImage| Some(image.id.manifest) == reference.digest;
            let mut services = self.services.iter().filter(|(_, image)| same(image)).map(|(name, _)| name);
            // Two services can have the same image; which one is meant only a tag says.
            return services.next().filter(|_| services.next().is_none()).cloned();
        };
        let service = match self.template.parse(tag) {
            Some((service, _)) => service,
            // Tags that were made before the template was: no version holds a `_`.
            None => tag.rsplit_once('_')?.0.parse().ok()?,
        };
        self.services.contains_key(&service).then_some(service)
    }

    /// Names that several services claim.
    fn contests(&self) -> Vec<Contest> {
        let claims = || self.services.values().flat_map(|image| &image.claims);
        let mut found: Vec<(&Reference, BTreeSet<ServiceName>)> = Vec::new();
        for claim in claims() {
            let known = found.iter().any(|(known, _)| known.is_same_image(claim));
            if let (Owner::Contested(services), false) = (self.owner(claim), known) {
                found.push((claim, services));
            }
        }
        let contest =
            |(image, services): (&Reference, _)| Contest { image: image.familiar(), services, place: None };
        found.into_iter().map(contest).collect()
    }
}

/// Replaces the images of ours in all objects that run pods. Objects of other kinds stay as they are. Call it before
/// [`super::normal::normalise`]: the pointers are those of the files as they are written.
pub fn pin(manifests: &mut [Manifest], ours: &OurImages) -> Pinned {
    let mut pinned = Pinned { problems: ours.contests(), ..Pinned::default() };
    let mut used: BTreeSet<ServiceName> = BTreeSet::new();
    for manifest in manifests {
        let known = template_pointer(&manifest.id.kind);
        let pointers = match known {
            Some(template) => in_pod(&manifest.value, &format!("{template}/spec")),
            // No other kind of Kubernetes itself has containers.
            None if is_built_in(&manifest.id.kind) => Vec::new(),
            None => anywhere(&manifest.value),
        };
        for pointer in pointers {
            let Some(place) = place(manifest, pointer) else { continue };
            let Ok(reference) = place.image.parse::<Reference>() else {
                pinned.warnings.extend(known.map(|_| Doubt::Unreadable(place)));
                continue;
            };
            match ours.owner(&reference) {
                Owner::Foreign => {}
                Owner::Unexplained => pinned.warnings.push(Doubt::Unexplained(place)),
                Owner::Contested(services) => {
                    let image = place.image.clone();
                    used.extend(services.iter().cloned());
                    pinned.problems.push(Contest { image, services, place: Some(place) });
                }
                Owner::Service(service) => {
                    used.insert(service.clone());
                    let (true, Some(to)) = (known.is_some(), ours.reference(&service)) else {
                        pinned.warnings.push(Doubt::Custom(place, service));
                        continue;
                    };
                    if let Some(image) = manifest.value.pointer_mut(&place.pointer) {
                        *image = Value::from(to.to_string());
                    }
                    pinned.pins.push(Pin { place, service, to });
                }
            }
        }
    }
    let unused = ours.services.keys().filter(|service| !used.contains(*service));
    pinned.warnings.extend(unused.cloned().map(Doubt::Unused));
    pinned
}

/// Writes other images where ours are pinned; `image` says which, and nothing where a place stays as it is.
pub fn set_images(manifests: &mut [Manifest], pins: &[Pin], image: impl Fn(&Pin) -> Option<String>) {
    for pin in pins {
        let Some(image) = image(pin) else { continue };
        let Some(manifest) = manifests.iter_mut().find(|manifest| manifest.id == pin.place.object) else {
            continue;
        };
        let Some(spec) = pod_spec_mut(&manifest.id.kind, &mut manifest.value) else { continue };
        // By name: where it stood in the file may not be where it stands now.
        for list in CONTAINER_LISTS {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
            let named = |container: &&mut Value| {
                container.get("name").and_then(Value::as_str) == Some(pin.place.container.as_str())
            };
            for container in containers.filter(named) {
                if let Some(container) = container.as_object_mut() {
                    container.insert("image".into(), Value::from(image.clone()));
                }
            }
        }
    }
}

/// The image that a live object runs where a pin is.
pub fn image_at(pin: &Pin, live: &Value) -> Option<String> {
    let spec = pod_spec(&pin.place.object.kind, live)?;
    let named = |container: &&Value| {
        container.get("name").and_then(Value::as_str) == Some(pin.place.container.as_str())
    };
    containers(spec).find(named)?.get("image")?.as_str().map(str::to_owned)
}

fn place(manifest: &Manifest, pointer: String) -> Option<Place> {
    let image = manifest.value.pointer(&pointer)?.as_str()?.to_owned();
    let container = pointer.strip_suffix("/image").and_then(|container| manifest.value.pointer(container));
    let container = container.and_then(|container| container.get("name")).and_then(Value::as_str);
    let container = container.unwrap_or_default().to_owned();
    Some(Place { object: manifest.id.clone(), origin: manifest.origin.clone(), container, pointer, image })
}

/// The pointers of the images of a pod's containers.
fn in_pod(value: &Value, spec: &str) -> Vec<String> {
    let mut found = Vec::new();
    for list in CONTAINER_LISTS {
        let list = format!("{spec}/{list}");
        let containers = value.pointer(&list).and_then(Value::as_array).map_or(0, Vec::len);
        found.extend((0..containers).map(|index| format!("{list}/{index}/image")));
    }
    found
}

/// The pointers of whatever looks like the image of a container.
fn anywhere(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), value)];
    while let Some((pointer, value)) = open.pop() {
        match value {
            Value::Object(map) => {
                if CONTAINER_LISTS.iter().any(|list| map.get(*list).is_some_and(Value::is_array)) {
                    found.extend(in_pod(value, "").into_iter().map(|image| format!("{pointer}{image}")));
                }
                let below = |(key, value)| {
                    let key: &String = key;
                    (format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), value)
                };
                open.extend(map.iter().map(below));
            }
            Value::Array(items) => {
                open.extend(
                    items.iter().enumerate().map(|(index, item)| (format!("{pointer}/{index}"), item)),
                );
            }
            _ => {}
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests;
