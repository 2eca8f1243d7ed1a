//! What the verbs do: each operation observes, plans, and applies what was planned.

pub mod adopt;
mod apply;
pub mod archive;
pub mod build;
mod checkout;
pub mod choice;
pub mod cluster;
pub mod delivery;
pub mod deploy;
pub mod depot;
pub mod detach;
pub mod diff;
pub mod doctor;
mod drive;
pub mod exec;
pub mod goal;
pub mod history;
pub mod host;
pub mod init;
mod ledger;
pub mod lock;
pub mod logs;
pub mod manifest;
pub mod parity;
pub mod proposal;
pub mod prune;
pub mod release;
pub mod run;
mod sight;
pub mod spec;
pub mod status;
pub mod target;
pub mod translation;
pub mod version;
pub mod workflow;

pub use drive::Cancel;
