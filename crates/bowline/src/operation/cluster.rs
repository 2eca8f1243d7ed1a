//! A Kubernetes cluster as a target: what the verbs do there.

pub mod adopt;
mod apply;
mod assessment;
mod checkout;
mod crew;
pub mod delivery;
pub mod deploy;
pub mod detach;
pub mod diff;
mod drive;
pub mod exec;
pub mod goal;
mod image;
mod ledger;
pub mod lock;
pub mod logs;
pub mod proposal;
pub mod prune;
mod pull_secret;
mod secret;
pub mod site;
mod standing;
pub mod status;
mod survey;
pub mod usage;

pub use delivery::Delivery;
pub use deploy::{Deployment, Options};
pub use goal::Goal;
pub use proposal::{Proposal, Wish, propose};
pub(super) use pull_secret::own_name as pull_secret_name;
pub use site::Site;

/// The objects of this checkout's manifests, as a release of it would bring them; their images are none that exist.
///
/// # Errors
/// When manifests are missing or wrong, a command that renders them fails, or the cluster does not answer.
pub(super) async fn checkout_manifests(
    site: &Site,
    config: &crate::config::Config,
) -> crate::error::Outcome<Vec<bowline_core::kube::object::Manifest>> {
    Ok(checkout::read(site, config).await?.assembled.manifests)
}
