//! Tests against real registries and engines. What cannot run here says so on standard error.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "all of it is tests; the exception in clippy.toml knows only the functions marked as such"
)]

mod aws;
mod base;
mod conform;
mod ecr;
mod fault;
mod image;
mod login;
mod place;
mod record;
