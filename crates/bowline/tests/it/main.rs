//! The binary, run as people run it: one file a subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr)]
mod adopt;
mod build;
mod cli;
mod cluster;
mod cluster_change;
mod cluster_chat;
mod cluster_failure;
mod cluster_far;
mod cluster_foreign;
mod cluster_manifest;
mod cluster_story;
mod cluster_survival;
mod config;
mod contention;
mod doctor;
mod fault;
mod git;
mod gradle;
mod init;
mod merge;
mod prune;
mod reservation;
mod residue;
mod resumption;
mod runner;
mod scene;
mod slack;
mod stage;
mod standing;
mod stored;
mod story;
mod survival;
mod translation;
mod version;
mod workflow;
