//! For tests only: real hosts with engines, a real cluster, hermetic git repositories, a real registry, small images whose
//! program behaves as told, and proxies that inject faults.
//!
//! It depends on none of Bowline's crates. A test that cannot run where it is says so loudly (see [`skip`]);
//! anything else that goes wrong here panics, since it is the test's surroundings that are broken.
#![deny(missing_docs)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

pub mod cluster;
pub mod fixture;
pub mod host;
pub mod image;
pub mod java;
pub mod proxy;
pub mod registry;
pub mod repository;
pub mod skip;
