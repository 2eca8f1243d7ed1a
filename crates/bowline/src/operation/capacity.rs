//! What machines carry: measured, advised, planned.

pub mod aftermath;
pub mod configuration;
pub mod container;
pub mod demand;
pub mod facts;
pub mod fit;
pub mod load;
pub mod machine;
pub mod measurement;
pub mod need;
pub mod recording;
pub mod sampler;
