//! Planning for one Docker host with Compose, on plain values.
//!
//! The Compose CLI interprets the file; what it prints (`docker compose config --format json`) is the
//! [`model::Model`] here. [`desired::describe`] turns it, with a release's images and the target's own wishes, into
//! what should be; [`planning::plan`] compares that with what is [`observed`].

pub mod desired;
pub mod drift;
pub mod mention;
pub mod model;
pub mod observed;
pub mod override_file;
pub mod part;
pub mod placement;
pub mod planning;
pub mod preflight;
pub mod retention;
pub mod status;
