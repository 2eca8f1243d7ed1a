//! Whole stories against a simulated target: thousands of runs that are cut off anywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)]

mod cluster;
mod manifest;
mod part;
mod placement;
mod planning;
mod recommendation;
mod simulation;
mod survival;
mod vitals;
