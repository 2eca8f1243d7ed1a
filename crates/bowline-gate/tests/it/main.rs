//! Against this machine's kernel, a real engine, and a writer that is killed.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod engine;
mod kernel;
mod metadata;
mod store;

use std::path::Path;

use bowline_core::capacity::series::Series;
use bowline_gate::export::{Selection, export};
use bowline_measurement::frame::Decoder;
use bowline_measurement::rollup::Step;

/// The binary that is tested.
const GATE: &str = env!("CARGO_BIN_EXE_bowline-gate");

/// Everything of one step that a store hands out.
fn read(store: &Path, step: Step) -> Series {
    let mut bytes = Vec::new();
    export(store, Selection { since: i64::MIN, until: i64::MAX, step }, &mut bytes).unwrap();
    series(&bytes)
}

/// What a stream holds.
fn series(bytes: &[u8]) -> Series {
    let (mut decoder, mut series) = (Decoder::default(), Series::default());
    for piece in bytes.chunks(1000) {
        decoder.feed(piece);
        series.drain(&mut decoder).unwrap();
    }
    assert!(series.complete && decoder.is_empty());
    series
}
