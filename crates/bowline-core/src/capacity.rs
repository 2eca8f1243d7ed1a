//! What machines carry: what was measured, what it means, and how far it reaches.
//!
//! Everything here is arithmetic on plain values. Measuring is done elsewhere; every figure that leaves this module says
//! over which window and from how many samples it was made.

pub mod advice;
pub mod anchor;
mod arithmetic;
pub mod comparison;
pub mod credit;
pub mod fit;
pub mod fleet;
pub mod forecast;
pub mod histogram;
pub mod kubelet;
pub mod machine;
pub mod outlook;
pub mod picture;
pub mod placement;
pub mod profile;
pub mod recommendation;
pub mod runtime;
pub mod scaling;
pub mod series;
pub mod trace;
