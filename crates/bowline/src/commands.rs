//! One file a verb: its arguments, the operation it calls, and how the result is shown.

pub mod adopt;
pub mod build;
pub mod capacity;
pub mod completions;
pub mod deploy;
pub mod detach;
pub mod diff;
pub mod doctor;
pub mod exec;
pub mod history;
pub mod init;
pub mod lock;
pub mod logs;
pub mod man;
pub mod plan;
pub mod prune;
pub mod registry;
pub mod release;
pub mod rollback;
pub mod schema;
pub mod ship;
pub mod status;
pub mod version;
