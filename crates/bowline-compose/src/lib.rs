//! A Docker host as a target: everything that looks at one or changes one.
//!
//! Nothing is decided here. What to do is a plan of `bowline-core`; this crate says what is there and does what it is
//! told. What changes the target asks for an [`lease::Authority`] first.
#![deny(missing_docs)]

pub mod connection;
pub mod directory;
pub mod document;
pub mod engine;
pub mod knock;
pub mod lease;
pub mod observation;
pub mod project;
pub mod state;
