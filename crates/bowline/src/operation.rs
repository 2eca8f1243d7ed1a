//! What the verbs do: each operation observes, plans, and applies what was planned.

pub mod build;
pub mod init;
pub mod version;
