//! Against a real API server (see `bowline_testkit::cluster`), and against one of a few lines that fails as told.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod access;
mod application;
mod discovery;
mod fault;
mod holder;
mod lab;
mod lease;
mod log;
mod observation;
mod stage;
mod state;
mod watch;
