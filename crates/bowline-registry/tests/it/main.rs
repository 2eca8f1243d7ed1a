//! The registry as its clients see it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "all of it is tests; the exception in clippy.toml knows only the functions marked as such"
)]

mod client;
mod concurrency;
mod crash;
mod engine;
mod limit;
mod protocol;
mod served;
