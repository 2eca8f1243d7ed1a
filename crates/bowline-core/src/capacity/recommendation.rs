//! What a container should ask for, by the rules of tools that people know.
//!
//! Two recommenders are reproduced to the last digit (`tests/it/recommendation.rs` holds results of the originals, and
//! `bench/reference` makes them), so that what Bowline says can be laid beside what they would say: [`vpa`] is the
//! Vertical Pod Autoscaler's, [`krr`] is Robusta's. Neither knows of a JVM, of CPU credits or of stolen time.

pub mod krr;
mod prometheus;
pub mod vpa;

/// Amounts of both resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Processors, in thousandths of a core.
    pub cpu: u64,
    /// Memory, in bytes.
    pub memory: u64,
}

/// What to ask for, and the bounds within which it is not worth a restart to ask for something else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recommendation {
    /// What to ask for.
    pub target: Amount,
    /// Asking for less than this is too little.
    pub lower: Amount,
    /// Asking for more than this is waste.
    pub upper: Amount,
}
