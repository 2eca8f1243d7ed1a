//! What a look before a deploy finds, on whatever kind of target.

use serde::Serialize;

use crate::kube::object::Origin;

/// Something found before a deploy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The service, object or thing it is about.
    pub subject: String,
    /// What is wrong or weak.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
    /// Where it was written, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Finding {
    /// A finding without a place in a file.
    pub fn new(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject: subject.into(), text: text.into(), remedy: remedy.into(), origin: None }
    }

    /// The same, written at this place.
    #[must_use]
    pub fn at(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }
}

/// What was found: refusals stop the deploy, warnings do not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// These would make it fail.
    pub refusals: Vec<Finding>,
    /// These are worth knowing.
    pub warnings: Vec<Finding>,
}
