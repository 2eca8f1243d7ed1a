//! What Bowline keeps in a cluster, by type: revisions with their specs and manifests, and the journal of the operation
//! under way.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::digest::Digest;
use bowline_core::event::RunId;
use bowline_core::journal::{Intent, Setback};
use bowline_core::kube::revision::{Manifests, Revision, outdated};
use bowline_core::release::Spec;

use crate::document::{Creation, Document, DocumentError, Documents, Kind};
use crate::error::KubeError;
use crate::lease::{Authority, AuthorityError};

/// Everything that Bowline keeps in a cluster, without specs and manifests.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// All revisions, by number.
    pub revisions: BTreeMap<u64, Revision>,
    /// What runs that have not ended mean to do: at most one, unless the target was changed by force.
    pub intents: Vec<Intent>,
    /// Why runs turned back, ended or not.
    pub setbacks: Vec<Setback>,
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
                Kind::Setback => document.read().map(|setback| state.setbacks.push(setback)),
                Kind::Intent => document.read().map(|intent| state.intents.push(intent)),
                Kind::Spec | Kind::Manifests => Ok(()),
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
    /// The target may no longer be changed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
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
            Self::Authority(_) => None,
            Self::Document(error) => error.hint(),
        }
    }

    /// Whether the cluster could not be reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Document(error) if error.is_unreachable())
    }
}

impl From<KubeError> for StateError {
    fn from(error: KubeError) -> Self {
        Self::Document(error.into())
    }
}

impl Documents {
    /// Reads the whole state: one round trip.
    pub async fn state(&self) -> Result<State, DocumentError> {
        let found = self.list(&[Kind::Intent, Kind::Setback, Kind::Revision]).await?;
        Ok(State::fold(&found.documents, found.unreadable))
    }

    /// Writes down what a run means to do: before its first change.
    pub async fn begin(&self, authority: &Authority, intent: &Intent) -> Result<(), StateError> {
        authority.check()?;
        self.create(Kind::Intent, &intent.run.to_string(), intent).await?;
        Ok(())
    }

    /// Writes down why a run turns back: before its first step back. The first reason stays.
    pub async fn turn_back(&self, authority: &Authority, setback: &Setback) -> Result<(), StateError> {
        authority.check()?;
        self.create(Kind::Setback, &setback.run.to_string(), setback).await?;
        Ok(())
    }

    /// Closes a run: after its last change. Why it turned back, if it did, stays as history.
    pub async fn end(&self, authority: &Authority, run: &RunId) -> Result<(), StateError> {
        authority.check()?;
        self.delete(Kind::Intent, &run.to_string()).await?;
        Ok(())
    }

    /// Keeps the spec and the manifests of a revision, these by their digest, before anything is applied and before it is
    /// committed.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`] when one does not fit into a document.
    pub async fn keep(
        &self,
        authority: &Authority,
        spec: &Spec,
        (manifests, digest): (&Manifests, Digest),
    ) -> Result<(), StateError> {
        authority.check()?;
        let (spec_key, manifests_key) = (spec.digest().hex(), digest.hex());
        tokio::try_join!(
            self.create(Kind::Spec, &spec_key, spec),
            self.create(Kind::Manifests, &manifests_key, manifests),
        )?;
        Ok(())
    }

    /// Writes down what the target was brought to. Its spec and its manifests are kept already.
    ///
    /// # Errors
    /// [`StateError::Conflict`] when somebody else's revision has the number.
    pub async fn commit(&self, authority: &Authority, revision: &Revision) -> Result<(), StateError> {
        authority.check()?;
        match self.create(Kind::Revision, &revision.number.to_string(), revision).await? {
            // This is a run's second try.
            Creation::Exists(there) if there.read::<Revision>().is_ok_and(|there| there == *revision) => {
                Ok(())
            }
            Creation::Exists(_) => {
                Err(StateError::Conflict { number: revision.number, project: self.project().into() })
            }
            Creation::Created => Ok(()),
        }
    }

    /// Reads the spec that a revision was deployed with; none where it is not kept any more.
    pub async fn spec(&self, digest: &Digest) -> Result<Option<Spec>, DocumentError> {
        let document = self.find(Kind::Spec, &digest.hex()).await?;
        document.as_ref().map(Document::read).transpose()
    }

    /// Reads the manifests that a revision applied; none where they are not kept any more.
    pub async fn manifests(&self, digest: &Digest) -> Result<Option<Manifests>, DocumentError> {
        let document = self.find(Kind::Manifests, &digest.hex()).await?;
        document.as_ref().map(Document::read).transpose()
    }

    /// Forgets all but the `keep` newest revisions (the newest always stays), as [`Documents::forget`] does. Gives the
    /// numbers of those forgotten.
    ///
    /// `state` is all that is there: nobody else changes it while the lock is held.
    pub async fn prune(
        &self,
        authority: &Authority,
        state: &State,
        keep: u32,
    ) -> Result<Vec<u64>, StateError> {
        let numbers = outdated(&state.revisions, keep);
        self.forget_from(authority, state, &numbers).await?;
        Ok(numbers)
    }

    /// Forgets revisions, why runs turned back to them, the specs and manifests that no other revision has, and what
    /// writes that were cut off left.
    pub async fn forget(&self, authority: &Authority, numbers: &[u64]) -> Result<(), StateError> {
        let state = self.state().await?;
        self.forget_from(authority, &state, numbers).await
    }

    async fn forget_from(
        &self,
        authority: &Authority,
        state: &State,
        numbers: &[u64],
    ) -> Result<(), StateError> {
        for number in numbers {
            authority.check()?;
            self.delete(Kind::Revision, &number.to_string()).await?;
        }
        let gone = |setback: &&Setback| setback.base.is_some_and(|base| numbers.contains(&base));
        for setback in state.setbacks.iter().filter(gone) {
            authority.check()?;
            self.delete(Kind::Setback, &setback.run.to_string()).await?;
        }
        let there = self.inventory(&[]).await?;
        for name in &there.orphans {
            authority.check()?;
            self.drop_secret(name).await?;
        }
        // A revision that cannot be read may need any of them.
        if !unread(state, &there.documents).is_empty() {
            return Ok(());
        }
        let kept: BTreeSet<String> = state
            .revisions
            .values()
            .filter(|revision| !numbers.contains(&revision.number))
            .flat_map(|revision| [revision.spec.hex(), revision.manifests.hex()])
            .collect();
        for (kind, key) in &there.documents {
            if matches!(kind, Kind::Spec | Kind::Manifests) && !kept.contains(key) {
                authority.check()?;
                self.delete(*kind, key).await?;
            }
        }
        Ok(())
    }

    /// Forgets everything of the project's target except the lease: what `detach` ends with.
    pub async fn forget_all(&self, authority: &Authority) -> Result<(), StateError> {
        let there = self.inventory(&[]).await?;
        for (kind, key) in &there.documents {
            authority.check()?;
            self.delete(*kind, key).await?;
        }
        for name in there.orphans.iter().chain(&there.unknown) {
            authority.check()?;
            self.drop_secret(name).await?;
        }
        Ok(())
    }
}

/// The keys of revisions that are there and could not be read.
fn unread<'a>(state: &State, there: &'a BTreeSet<(Kind, String)>) -> Vec<&'a str> {
    let read = |key: &str| key.parse().is_ok_and(|number: u64| state.revisions.contains_key(&number));
    let revisions = there.iter().filter(|(kind, _)| *kind == Kind::Revision);
    revisions.map(|(_, key)| key.as_str()).filter(|key| !read(key)).collect()
}
