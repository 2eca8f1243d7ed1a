//! A Kubernetes cluster as a target: what the verbs do there.

mod apply;
mod assessment;
pub mod delivery;
pub mod deploy;
mod drive;
pub mod goal;
mod image;
mod ledger;
pub mod proposal;
mod pull_secret;
mod secret;
pub mod site;
mod survey;

pub use delivery::Delivery;
pub use deploy::{Deployment, Options};
pub use goal::Goal;
pub use proposal::{Proposal, Wish, propose};
pub use site::Site;
