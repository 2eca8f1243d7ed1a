//! What Bowline keeps on a target, by type: revisions with their specs, and the journal of the operation under way.

use std::collections::BTreeMap;

use bowline_core::digest::Digest;
use bowline_core::event::RunId;
use bowline_core::journal::{Intent, Setback};
use bowline_core::release::{Revision, Spec};

use crate::document::{Creation, Document, DocumentError, Documents, Kind};
use crate::engine::EngineError;
use crate::lease::Authority;

/// How the second entry of a run is told from its first.
const BACK: &str = ".back";

/// Everything that Bowline keeps on a target, without the specs.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// All revisions, by number.
    pub revisions: BTreeMap<u64, Revision>,
    /// What runs that have not ended mean to do: at most one, unless the target was changed by force.
    pub intents: Vec<Intent>,
    /// Why runs turned back, ended or not.
    pub setbacks: Vec<Setback>,
    /// Which specs are there.
    pub specs: Vec<Digest>,
    /// What could not be read, and why.
    pub unreadable: BTreeMap<String, String>,
}

impl State {
    /// The newest revision.
    pub fn newest(&self) -> Option<&Revision> {
        self.revisions.last_key_value().map(|(_, revision)| revision)
    }

    /// Sorts documents by what they are.
    fn fold(documents: &[Document], unreadable: BTreeMap<String, String>) -> Self {
        let mut state = Self { unreadable, ..Self::default() };
        for document in documents {
            let read = match document.kind {
                Kind::Revision => document.read().map(|revision: Revision| {
                    state.revisions.insert(revision.number, revision);
                }),
                Kind::Journal if document.key.ends_with(BACK) => {
                    document.read().map(|setback| state.setbacks.push(setback))
                }
                Kind::Journal => document.read().map(|intent| state.intents.push(intent)),
                Kind::Spec => {
                    state.specs.extend(format!("sha256:{}", document.key).parse::<Digest>());
                    Ok(())
                }
                Kind::Lease => Ok(()),
            };
            if let Err(error) = read {
                let name = format!("{:?} {}", document.kind, document.key).to_lowercase();
                state.unreadable.insert(name, error.to_string());
            }
        }
        state
    }
}

/// Why the state was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Somebody else wrote the revision.
    #[error("revision {number} of {project} exists already: somebody else changed the target")]
    Conflict {
        /// Its number.
        number: u64,
        /// The project.
        project: String,
    },
    /// It could not be read or written.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl StateError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Conflict { .. } => {
                Some("look at it with `bowline history`, then run the command again".into())
            }
            Self::Document(error) => error.hint(),
        }
    }

    /// Whether host or engine could not be reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Document(error) if error.is_unreachable())
    }
}

impl From<EngineError> for StateError {
    fn from(error: EngineError) -> Self {
        Self::Document(error.into())
    }
}

fn check(authority: &Authority) -> Result<(), StateError> {
    authority.check().map_err(|error| EngineError::from(error).into())
}

impl Documents {
    /// Reads the whole state: one round trip.
    pub async fn state(&self) -> Result<State, DocumentError> {
        let found = self.list().await?;
        Ok(State::fold(&found.documents, found.unreadable))
    }

    /// Writes down what a run means to do: before its first change.
    pub async fn begin(&self, authority: &Authority, intent: &Intent) -> Result<(), StateError> {
        check(authority)?;
        self.create(Kind::Journal, &intent.run.to_string(), intent).await?;
        Ok(())
    }

    /// Writes down why a run turns back: before its first step back. The first reason stays.
    pub async fn turn_back(&self, authority: &Authority, setback: &Setback) -> Result<(), StateError> {
        check(authority)?;
        self.create(Kind::Journal, &format!("{}{BACK}", setback.run), setback).await?;
        Ok(())
    }

    /// Closes a run: after its last change. Why it turned back, if it did, stays as history.
    pub async fn end(&self, authority: &Authority, run: &RunId) -> Result<(), StateError> {
        check(authority)?;
        self.delete(Kind::Journal, &run.to_string()).await?;
        Ok(())
    }

    /// Keeps a spec, for the revision that will be deployed with it.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`] when it does not fit into a document.
    pub async fn keep_spec(&self, authority: &Authority, spec: &Spec) -> Result<(), StateError> {
        check(authority)?;
        self.create(Kind::Spec, &spec.digest().hex(), spec).await?;
        Ok(())
    }

    /// Writes down what the target was brought to. Its spec is kept before ([`Documents::keep_spec`]).
    ///
    /// # Errors
    /// [`StateError::Conflict`] when somebody else's revision has the number.
    pub async fn commit(&self, authority: &Authority, revision: &Revision) -> Result<(), StateError> {
        check(authority)?;
        match self.create(Kind::Revision, &revision.number.to_string(), revision).await? {
            // An answer was lost on the way, and this is the second try.
            Creation::Exists(there) if there.read::<Revision>().is_ok_and(|there| there == *revision) => {
                Ok(())
            }
            Creation::Exists(_) => {
                Err(StateError::Conflict { number: revision.number, project: self.project().into() })
            }
            Creation::Created(_) => Ok(()),
        }
    }

    /// Reads the spec that a revision was deployed with; none where it is not kept any more.
    pub async fn spec(&self, digest: &Digest) -> Result<Option<Spec>, DocumentError> {
        let found = self.list_kind(Kind::Spec).await?;
        let hex = digest.hex();
        found.of(Kind::Spec).find(|document| document.key == hex).map(Document::read).transpose()
    }

    /// Forgets revisions, why runs turned back to them, and the specs that no other revision has.
    pub async fn forget(&self, authority: &Authority, numbers: &[u64]) -> Result<(), StateError> {
        let state = self.state().await?;
        for number in numbers {
            check(authority)?;
            self.delete(Kind::Revision, &number.to_string()).await?;
        }
        let gone = |setback: &&Setback| setback.base.is_some_and(|base| numbers.contains(&base));
        for setback in state.setbacks.iter().filter(gone) {
            check(authority)?;
            self.delete(Kind::Journal, &format!("{}{BACK}", setback.run)).await?;
        }
        let kept = |digest: &Digest| {
            let mut others = state.revisions.values().filter(|revision| !numbers.contains(&revision.number));
            others.any(|revision| revision.spec == *digest)
        };
        for digest in state.specs.iter().filter(|digest| !kept(digest)) {
            check(authority)?;
            self.delete(Kind::Spec, &digest.hex()).await?;
        }
        Ok(())
    }

    /// Forgets everything of the project except the lease: what `detach` ends with.
    pub async fn forget_all(&self, authority: &Authority) -> Result<(), StateError> {
        for document in self.list().await?.documents {
            if document.kind != Kind::Lease {
                check(authority)?;
                self.delete(document.kind, &document.key).await?;
            }
        }
        Ok(())
    }
}
