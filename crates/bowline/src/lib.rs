//! The shell around the pure core: command line, configuration, git, builds, and the operations that verbs perform.
//!
//! `commands` parse arguments, call an `operation` and render what it returns; they hold no logic of their own.

pub mod build;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod error;
pub mod forge;
pub mod git;
pub mod github;
pub mod http;
pub mod init;
pub mod notify;
pub mod operation;
pub mod record;
pub mod ui;
