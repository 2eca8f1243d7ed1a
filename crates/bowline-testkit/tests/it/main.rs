//! The testkit against the real things.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod host;
mod image;
mod proxy;
mod repository;
