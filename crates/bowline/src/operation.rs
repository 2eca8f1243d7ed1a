//! What the verbs do: each operation observes, plans, and applies what was planned.

mod apply;
pub mod build;
pub mod deploy;
mod drive;
pub mod goal;
pub mod host;
pub mod init;
mod sight;
pub mod spec;
pub mod version;

pub use drive::Cancel;
