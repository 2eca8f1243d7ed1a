//! What pods ask for and what nodes take, as the scheduler and the API server count it.
//!
//! The checks before a deploy and the placement of pods both ask this.

pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod request;
pub(crate) mod rollout;
pub(crate) mod selector;

pub use pod::{HostPort, RunningPod};
pub use request::Requests;
pub use rollout::surge_of;
