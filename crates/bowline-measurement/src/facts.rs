//! What a machine is, as far as it matters for what it carries.

use serde::{Deserialize, Serialize};

/// What was found out about a machine when sampling began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its host name.
    pub host: String,
    /// Processors, as the system counts them.
    pub cores: u32,
    /// Memory, in bytes.
    pub memory: u64,
    /// The cloud's name for this kind of machine, such as `t2.micro`; nothing where no metadata service tells.
    pub instance: Option<String>,
    /// The kernel's release, such as `6.1.0-13-amd64`.
    pub kernel: String,
    /// What its processor is, as `uname -m` says: `x86_64`, `aarch64`.
    pub architecture: String,
    /// Milliseconds from one sample to the next.
    pub every: u64,
}
