//! What runs on a Docker host beside the services: it samples the machine and its containers, keeps what was measured,
//! and hands it out.
//!
//! [`lookout`] looks: at the kernel's files, which [`kernel`] understands, and at the engine, for names only. Between two
//! looks lies what was used ([`difference`]). [`store`] keeps it, [`export`] hands it out, as frames that
//! [`bowline_measurement`] knows. It changes nothing on the host.
#![deny(missing_docs)]

pub mod cli;
pub mod clock;
mod complaint;
pub mod difference;
pub mod engine;
pub mod export;
pub mod facts;
pub mod hierarchy;
pub mod instance;
pub mod kernel;
pub mod label;
pub mod lookout;
pub mod machine;
pub mod metric;
pub mod reading;
pub mod request;
pub mod roster;
pub mod sampler;
pub mod server;
pub mod source;
pub mod store;
