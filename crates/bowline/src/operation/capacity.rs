//! What machines carry: measured, advised, planned.

pub mod configuration;
pub mod facts;
pub mod load;
pub mod machine;
pub mod measurement;
pub mod need;
pub mod sampler;
