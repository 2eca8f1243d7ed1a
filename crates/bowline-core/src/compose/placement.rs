//! What stands where after a deploy: what a revision keeps of each service.

use std::collections::BTreeMap;

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

/// Takes down what was reached. `images` are those that `desired` was made of.
pub fn place(
    desired: &Desired,
    images: &BTreeMap<String, DeployImage>,
    containers: &[Container],
    base: Option<&Revision>,
) -> Placement {
    let mut placement = Placement {
        services: BTreeMap::new(),
        files: desired.files.iter().map(|(path, file)| (path.clone(), file.digest())).collect(),
        images: images.clone(),
    };
    for (name, service) in &desired.services {
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
    placement
}

/// Whether a service is found to be a task: all its containers have ended well.
pub fn have_ended(containers: &[&Container]) -> bool {
    !containers.is_empty() && containers.iter().all(|container| container.has_ended_well())
}
