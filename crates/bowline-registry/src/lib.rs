//! The embedded registry: an OCI distribution server (distribution-spec 1.1) over one directory.
//!
//! [`Store::open`] takes a directory, [`serve`] answers on a listener until it is told to stop. Bodies are streamed
//! to disk while they are hashed; what a client was told is stored survives the process being killed at any moment.
//!
//! There is no authentication: [`check_address`] keeps it on the loopback device unless its owner says otherwise.
#![deny(missing_docs)]

mod address;
mod blob;
mod collect;
mod disk;
mod document;
mod error;
mod manifest;
mod name;
mod referrer;
mod route;
mod router;
mod server;
mod stall;
mod store;
mod tag;
mod upload;

pub use address::{AddressError, check_address};
pub use collect::{CollectError, Collected};
pub use server::{Limits, serve, serve_with};
pub use store::{OpenError, Store};
