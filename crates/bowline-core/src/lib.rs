//! The pure core of Bowline.
//!
//! Everything here is a value or a function from values to values. There is no IO, no clock and no
//! randomness: the same inputs give the same plan, byte for byte. What touches the world lives in the
//! adapters (`bowline-oci`, `bowline-compose`) and in the binary, and executes what was planned here.
#![deny(missing_docs)]

pub mod artifact;
pub mod bump;
pub mod capacity;
pub mod change;
pub mod compose;
pub mod decision;
pub mod digest;
pub mod event;
pub mod finding;
pub mod health;
pub mod history;
pub mod image;
pub mod journal;
pub mod kube;
pub mod lease;
pub mod parity;
pub mod placeholder;
pub mod plan;
pub mod quantity;
pub mod reference;
pub mod release;
pub mod rollout;
pub mod service;
pub mod status;
pub mod tag;
pub mod timeline;
pub mod title;
pub mod version;
