//! Against a real API server, that of `BOWLINE_TEST_KUBECONFIG` (`lab/kubernetes up`).
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod holder;
mod lease;
mod log;
mod stage;
mod state;
mod watch;
