//! One file a verb: its arguments, the operation it calls, and how the result is shown.

pub mod build;
pub mod completions;
pub mod init;
pub mod man;
pub mod schema;
pub mod version;
