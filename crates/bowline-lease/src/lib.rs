//! What every kind of lease needs of this machine, whatever the target: a clock that also counts while it sleeps, which
//! process this is and whether another one still lives, and the right to change a target, shared by all that do.
//!
//! The rules are in [`bowline_core::lease`]; how a lease is kept on a target is the adapters' business.
#![deny(missing_docs)]

mod authority;
mod clock;
mod process;

pub use authority::Authority;
pub use clock::since_boot;
pub use process::{is_dead, this_process};
