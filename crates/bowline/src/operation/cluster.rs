//! A Kubernetes cluster as a target: what the verbs do there.

mod apply;
mod assessment;
mod crew;
pub mod delivery;
pub mod deploy;
pub mod diff;
mod drive;
pub mod exec;
pub mod goal;
mod image;
mod ledger;
pub mod lock;
pub mod logs;
pub mod proposal;
mod pull_secret;
mod secret;
pub mod site;
mod standing;
pub mod status;
mod survey;

pub use delivery::Delivery;
pub use deploy::{Deployment, Options};
pub use goal::Goal;
pub use proposal::{Proposal, Wish, propose};
pub use site::Site;
