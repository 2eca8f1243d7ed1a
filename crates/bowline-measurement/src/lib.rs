//! What was measured of a machine and its containers: a span of time, how spans add up, and how they are kept and sent.
//!
//! The program on hosts writes it and the core reads it. It is a crate of its own so that the one is built without the
//! other. No IO, no clock.

pub mod facts;
pub mod frame;
pub mod interval;
pub mod rollup;
