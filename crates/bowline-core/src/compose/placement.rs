//! What stands where after a deploy: what a revision keeps of each service.

use std::collections::{BTreeMap, BTreeSet};

use crate::compose::desired::{DeployImage, Desired};
use crate::compose::observed::Container;
use crate::digest::Digest;
use crate::release::{Placed, Revision};

/// What a revision says of services, files and images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// By the compose file's service names.
    pub services: BTreeMap<String, Placed>,
    /// The digests of the files in the project's directory.
    pub files: BTreeMap<String, Digest>,
    /// Our images by our services' names.
    pub images: BTreeMap<String, DeployImage>,
}

/// Takes down what was reached. `images` are the release's. Where only some services of the compose file were deployed
/// (`only` is not empty), all others stay as the base revision has them.
pub fn place(
    desired: &Desired,
    images: &BTreeMap<String, DeployImage>,
    containers: &[Container],
    base: Option<&Revision>,
    only: &BTreeSet<String>,
) -> Placement {
    let mut placement = Placement {
        services: BTreeMap::new(),
        files: desired.files.iter().map(|(path, file)| (path.clone(), file.digest())).collect(),
        images: images.clone(),
    };
    for (name, service) in &desired.services {
        if !only.is_empty() && !only.contains(name) {
            continue;
        }
        let own: Vec<&Container> = containers.iter().filter(|c| c.service == *name && !c.one_off).collect();
        let before = base.and_then(|base| base.services.get(name)).map(|before| before.image);
        // A service that never had a container has nothing to go back to.
        let Some(image) = own.first().map(|container| container.image).or(before) else { continue };
        let released = match &service.image {
            Some(DeployImage::Released { id, .. }) => Some(id.clone()),
            _ => None,
        };
        let placed = Placed {
            image,
            image_name: service.image_name.clone(),
            released,
            fingerprint: service.fingerprint,
            containers: own.iter().map(|container| container.id.clone()).collect(),
            task: service.is_awaited() || have_ended(&own),
        };
        placement.services.insert(name.clone(), placed);
    }
    if let Some(base) = base.filter(|_| !only.is_empty()) {
        let deployed: BTreeSet<&String> =
            only.iter().filter_map(|name| desired.services.get(name)?.ours.as_ref()).collect();
        placement.images.retain(|name, _| deployed.contains(name));
        add_missing(&mut placement.images, &base.images);
        add_missing(&mut placement.services, &base.services);
        add_missing(&mut placement.files, &base.files);
    }
    placement
}

/// Whether a service is found to be a task: all its containers have ended well.
pub fn have_ended(containers: &[&Container]) -> bool {
    !containers.is_empty() && containers.iter().all(|container| container.has_ended_well())
}

fn add_missing<V: Clone>(to: &mut BTreeMap<String, V>, from: &BTreeMap<String, V>) {
    for (key, value) in from {
        to.entry(key.clone()).or_insert_with(|| value.clone());
    }
}
