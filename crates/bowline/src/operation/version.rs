//! `version` and the reservation that `release` makes: observe the remote, decide, and, for a release, push.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bowline_core::bump::{Bump, DefaultBump};
use bowline_core::decision::{DecideError, Decision, Observation, TaggedCommit, Verdict, decide};
use bowline_core::history::{Change, Commit, CommitId, TitleSource, fold_changes, read_change, walk};
use bowline_core::tag::{self, Claim, Reservation, Tag, TagNote};
use bowline_core::title::excerpt;
use serde::Serialize;
use tokio::time::Instant;

use crate::error::{Attempt, Failure, Outcome};
use crate::git::{Git, GitError, History, ListedTag, Listing, Pushed, Way};
use crate::github::{self, Event, Surroundings};

/// How long somebody else may be faster before a reservation is given up.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The rule, as the tag's message records it.
const RULE: &str =
    "the highest [major], [minor] or [patch] over the titles of all changes that no release contains";

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Anywhere in the clone.
    pub directory: PathBuf,
    /// The remote whose tags count: a configured name or an address.
    pub remote: String,
    /// The commit that wants a version: anything that git resolves.
    pub commit: String,
    /// The title of the change that the commit brought, where the caller knows it.
    pub title: Option<String>,
    /// What happens when no title carries a token.
    pub default_bump: DefaultBump,
    /// What GitHub tells, inside a workflow run.
    pub surroundings: Surroundings,
    /// Where history that the clone lacks is kept; `None`: below the user's cache directory.
    pub cache: Option<PathBuf>,
}

impl Request {
    /// The version of what is checked out, by the tags of `origin`.
    pub fn new(directory: PathBuf, default_bump: DefaultBump) -> Self {
        Self {
            directory,
            remote: "origin".to_owned(),
            commit: "HEAD".to_owned(),
            title: None,
            default_bump,
            surroundings: Surroundings::observe(),
            cache: None,
        }
    }
}

/// A commit that has its tag, or why it gets none.
#[derive(Debug, Clone)]
pub struct Reserved {
    /// The decision, with its reasons.
    pub decision: Decision,
    /// The commit.
    pub commit: CommitId,
    /// Its tag, which is on the remote; `None`: superseded, or nothing to release.
    pub tag: Option<Tag>,
    /// The release before.
    pub previous: Option<TaggedCommit>,
    /// What was merged since, newest first. Titles are strangers' words.
    pub changes: Vec<Change>,
}

/// A decision as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The tag of the release before.
    pub previous_tag: Option<Tag>,
    /// The tag without `v`; absent when there is no release.
    pub version: Option<String>,
    /// The tag.
    pub tag: Option<Tag>,
    /// Which part rose.
    pub bump: Option<Bump>,
    /// The full commit id.
    pub commit: CommitId,
    /// Step by step, in plain words.
    pub reasons: Vec<String>,
    /// Whether the commit had the tag already.
    pub reused: bool,
    /// The release that contains the commit.
    pub superseded_by: Option<Tag>,
}

impl Report {
    /// The report on a decision about a commit.
    pub fn new(commit: &CommitId, decision: &Decision) -> Self {
        let (tag, bump, previous, superseded_by) = match &decision.verdict {
            Verdict::New { tag, bump, previous } => (Some(tag), Some(*bump), previous.as_ref(), None),
            Verdict::Reused { tag, bump, previous } => (Some(tag), *bump, previous.as_ref(), None),
            Verdict::Superseded { by } => (None, None, None, Some(by.tag.clone())),
            Verdict::Nothing { previous } => (None, None, previous.as_ref(), None),
        };
        Self {
            previous_tag: previous.map(|release| release.tag.clone()),
            version: tag.map(Tag::number),
            tag: tag.cloned(),
            bump,
            commit: commit.clone(),
            reasons: decision.reasons.clone(),
            reused: matches!(decision.verdict, Verdict::Reused { .. }),
            superseded_by,
        }
    }
}

impl From<DecideError> for Failure {
    fn from(error: DecideError) -> Self {
        Self::invalid("working out the next version").because(&error).hint(error.hint())
    }
}

/// Finds out everything that the decision depends on. Nothing is changed, in the clone or on the remote.
///
/// # Errors
/// When the commit or the remote cannot be read: without the remote's tags there is no answer, rather than a wrong one.
pub async fn observe(request: &Request) -> Outcome<Observation> {
    Observer::open(request).await?.observe().await.map_err(Failure::from)
}

/// Gives the commit its tag: works out the version, reserves its number and pushes the tag, and starts again when
/// somebody else was faster, until `deadline` has passed. A commit that has a tag keeps it.
///
/// `say` is told, in plain words, why it starts again.
///
/// # Errors
/// When the remote cannot be read or refuses the tag, or the deadline has passed.
pub async fn reserve(request: &Request, deadline: Duration, say: impl Fn(&str)) -> Outcome<Reserved> {
    let end = Instant::now() + deadline;
    let mut observer = Observer::open(request).await?;
    let mut way = Way::Reference;
    let mut breaks = 0;
    for round in 0_u32.. {
        let result = observer.attempt(way).await;
        let why = match result {
            Ok(Attempted::Ended(reserved)) => return Ok(*reserved),
            Ok(Attempted::Weaker(weaker, said)) => {
                way = weaker;
                say(&format!("the remote does not reserve numbers that way ({said}); trying another"));
                continue;
            }
            Ok(Attempted::Lost(tag)) => format!("somebody else was faster than {tag}"),
            // A connection that broke may have broken after the push arrived: looking again tells.
            Err(AttemptError::Git(error)) if error.is_transient() && breaks < 3 => {
                breaks += 1;
                error.to_string()
            }
            Err(AttemptError::Git(error)) => return Err(error.into()),
            Err(AttemptError::Failure(failure)) => return Err(failure),
        };
        let pause =
            Duration::from_millis(100).saturating_mul(1 << round.min(5)).mul_f64(rand::random::<f64>());
        if Instant::now() + pause >= end {
            let what = format!(
                "reserving a version for commit {} on remote `{}`",
                observer.head.short(),
                request.remote
            );
            let since = format!("after {} tries in {} s: {why}", round + 1, deadline.as_secs());
            return Err(Failure::failed(what).since(since).hint("run it again: nothing was pushed"));
        }
        say(&format!("{why}; looking again"));
        tokio::time::sleep(pause).await;
    }
    Err(Failure::failed("reserving a version"))
}

enum Attempted {
    Ended(Box<Reserved>),
    Lost(Tag),
    Weaker(Way, String),
}

enum AttemptError {
    Git(GitError),
    Failure(Failure),
}

impl From<GitError> for AttemptError {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

impl From<Failure> for AttemptError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

struct Observer<'a> {
    git: Git,
    head: CommitId,
    request: &'a Request,
    titles: Titles<'a>,
}

impl<'a> Observer<'a> {
    async fn open(request: &'a Request) -> Result<Self, GitError> {
        let mut git = Git::open(&request.directory).await?;
        if let Some(cache) = &request.cache {
            git = git.with_cache(cache.clone());
        }
        let head = git.commit(&request.commit).await?;
        Ok(Self { git, head, request, titles: Titles::new(request) })
    }

    async fn attempt(&mut self, way: Way) -> Result<Attempted, AttemptError> {
        let observation = self.observe().await?;
        // Where a lock tag was needed once, the better way does not work.
        let locks = |tag: &Reservation| tag.reference.starts_with("refs/tags/");
        let way =
            if way == Way::Reference && observation.reservations.iter().any(locks) { Way::Tag } else { way };
        let decision = decide(&observation).map_err(Failure::from)?;
        let (tag, previous) = match &decision.verdict {
            Verdict::New { tag, previous, .. } | Verdict::Reused { tag, previous, .. } => {
                (Some(tag.clone()), previous.clone())
            }
            Verdict::Nothing { previous } => (None, previous.clone()),
            Verdict::Superseded { .. } => (None, None),
        };
        let ended = |tag| {
            let (commit, changes) = (self.head.clone(), observation.changes.clone());
            Ok(Attempted::Ended(Box::new(Reserved {
                decision: decision.clone(),
                commit,
                tag,
                previous,
                changes,
            })))
        };
        let Verdict::New { tag: wanted, bump, .. } = &decision.verdict else { return ended(tag) };
        let name = wanted.to_string();
        if let Some(other) = observation.tags.iter().find(|tag| tag.name == name) {
            return Err(AttemptError::Failure(
                Failure::failed(format!("making tag {name} for commit {}", self.head.short()))
                    .since(format!("the remote has a tag of that name on {}", other.commit))
                    .hint(format!(
                        "delete it if it is a mistake: git push {} :refs/tags/{name}",
                        self.request.remote
                    )),
            ));
        }
        let message = self.message(wanted, *bump, &decision, &observation)?;
        let pushed = self.git.publish(&self.request.remote, wanted, &self.head, &message, way).await?;
        match (pushed, way) {
            (Pushed::Done, _) => ended(tag),
            (Pushed::Lost, _) => Ok(Attempted::Lost(wanted.clone())),
            (Pushed::NotAtomic, _) => {
                Ok(Attempted::Weaker(Way::TagThenTag, "it has no atomic pushes".to_owned()))
            }
            (Pushed::Refused { said }, Way::Reference) => Ok(Attempted::Weaker(Way::Tag, said)),
            (Pushed::Refused { said }, Way::Tag | Way::TagThenTag) => Err(AttemptError::Failure(
                Failure::failed(format!("pushing tag {wanted} to remote `{}`", self.request.remote))
                    .since(format!("the remote refuses it: {said}"))
                    .hint("check that this account may create tags there (protected tags, rules, hooks)"),
            )),
        }
    }

    fn message(
        &self,
        tag: &Tag,
        bump: Bump,
        decision: &Decision,
        observation: &Observation,
    ) -> Outcome<String> {
        let previous = match &decision.verdict {
            Verdict::New { previous, .. } => previous.as_ref().map(|release| &release.tag),
            _ => None,
        };
        let tool = format!("bowline {}", env!("CARGO_PKG_VERSION"));
        let note = TagNote::new(previous, bump, &observation.changes, RULE.to_owned(), tool);
        note.render(tag).attempt(|| format!("writing the message of tag {tag}"))
    }

    async fn observe(&mut self) -> Result<Observation, GitError> {
        let remote = &self.request.remote;
        let listing = self.git.list(remote).await?;
        let tags = listing.remote_tags();
        let (claims, _) = tag::claims(&tags, &listing.reservations);
        let mut observation = Observation {
            head: self.head.clone(),
            tags,
            reservations: listing.reservations.clone(),
            note: None,
            ancestry: bowline_core::decision::Ancestry::default(),
            changes: Vec::new(),
            default_bump: self.request.default_bump,
            remarks: Vec::new(),
        };
        if let Some(tag) = own_tag(&claims, &listing, &self.head) {
            observation.note = self.git.note(remote, tag).await?;
            observation.changes = observation.note.iter().flat_map(|note| note.changes.clone()).collect();
            return Ok(observation);
        }
        let history = History::open(&self.git, remote, &listing, &self.head, &claims).await?;
        observation.remarks.push(history.remark.clone());
        observation.ancestry = history.ancestry(&claims).await?;
        if observation.ancestry.containing.is_empty() {
            let (range, cut) = history.range(&claims, &observation.ancestry.unknown).await?;
            if cut {
                observation
                    .remarks
                    .push(format!("only the newest {} commits were read for titles", range.len()));
            }
            let walked = walk(&range, &self.head);
            let known = self.titles.find(&walked, &self.head).await;
            observation.remarks.extend(self.titles.remarks.iter().cloned());
            observation.changes = fold_changes(&walked, &known);
        }
        Ok(observation)
    }
}

/// The tag that the commit has.
fn own_tag<'a>(claims: &[Claim], listing: &'a Listing, head: &CommitId) -> Option<&'a ListedTag> {
    let claim = claims.iter().find(|claim| claim.commit == *head && claim.tag.is_some())?;
    let name = claim.tag.as_ref()?.to_string();
    listing.tags.iter().find(|tag| tag.name == name)
}

/// Titles that are better known than by commit messages; what the API told is kept when the observation is repeated.
struct Titles<'a> {
    request: &'a Request,
    event: Event,
    told: BTreeMap<CommitId, Vec<Change>>,
    asked: bool,
    remarks: Vec<String>,
}

impl<'a> Titles<'a> {
    fn new(request: &'a Request) -> Self {
        let (event, remarks) = match request.surroundings.event.as_deref().map(github::read) {
            None => (Event::Other, Vec::new()),
            Some(Ok(event)) => (event, Vec::new()),
            Some(Err(failure)) => {
                (Event::Other, vec![excerpt(&format!("no title from an event: {failure}"))])
            }
        };
        Self { request, event, told: BTreeMap::new(), asked: false, remarks }
    }

    /// By commit: `--pr-title`, else the event file, else the API.
    async fn find(&mut self, walked: &[&Commit], head: &CommitId) -> BTreeMap<CommitId, Vec<Change>> {
        let mut known: BTreeMap<CommitId, Vec<Change>> = BTreeMap::new();
        match &self.event {
            Event::Pull { title, number, bot, merge, merged } => {
                let merge = merge.as_ref().filter(|merge| walked.iter().any(|commit| commit.id == **merge));
                // Before it is merged the event is a preview: what is checked out is GitHub's trial merge.
                if let Some(commit) = merge.or(Some(head).filter(|_| !merged)) {
                    let (commit, title, number, bot) = (commit.clone(), title.clone(), *number, *bot);
                    let change =
                        Change { commit: commit.clone(), number, title, source: TitleSource::Event, bot };
                    known.insert(commit, vec![change]);
                }
            }
            Event::Other => {}
        }
        if let Some(title) = &self.request.title {
            let message = walked.iter().find(|commit| commit.id == *head).map(|commit| read_change(commit));
            let (number, bot) = message.map_or((None, false), |change| (change.number, change.bot));
            let (commit, title) = (head.clone(), title.clone());
            known.insert(
                commit.clone(),
                vec![Change { commit, number, title, source: TitleSource::Flag, bot }],
            );
        }
        if self.request.surroundings.has_api() && !self.asked {
            let open: Vec<CommitId> = walked
                .iter()
                .map(|commit| &commit.id)
                .filter(|id| !known.contains_key(id))
                .cloned()
                .collect();
            let (told, trouble) = github::pull_requests(&self.request.surroundings, &open).await;
            self.remarks
                .extend(trouble.map(|trouble| format!("{trouble}; commit messages are read instead")));
            (self.told, self.asked) = (told, true);
        }
        for (commit, changes) in &self.told {
            known.entry(commit.clone()).or_insert_with(|| changes.clone());
        }
        known
    }
}
