//! Objects that wait for each other.

use std::fmt;

use super::Node;
use super::reason::Reason;

/// One waits for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The one that waits.
    pub waits: Node,
    /// What it waits for.
    pub on: Node,
    /// Why.
    pub why: Reason,
}

/// A closed chain: each waits for the next, and the last for the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle(pub Vec<Link>);

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Link { waits, on, why }) in self.0.iter().enumerate() {
            let joint = if index == 0 { "" } else { "; " };
            write!(f, "{joint}{waits} waits for {on}, {why}")?;
        }
        Ok(())
    }
}
