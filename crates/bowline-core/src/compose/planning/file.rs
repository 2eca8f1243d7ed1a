//! The files of the project's directory: which are written, which somebody else's are kept first, which go, and which
//! are put back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, SHORT_TIMEOUT, simple};
use crate::compose::desired::Desired;
use crate::compose::observed::Observed;
use crate::digest::Digest;
use crate::plan::{Step, StepId};

/// Under which ending a file that is not ours is kept before it is replaced.
pub const KEPT: &str = "before-bowline";

/// Where a file that is not ours is kept.
pub fn kept(path: &str) -> String {
    format!("{path}.{KEPT}")
}

/// The paths, besides those that a goal has, whose files decide what is done: those of the base revision, and those that
/// runs that have not ended wrote, with what was kept of them.
pub fn known_paths(observed: &Observed) -> BTreeSet<String> {
    let written = observed.traces.written.keys().flat_map(|path| [path.clone(), kept(path)]);
    let known = observed.revision.iter().flat_map(|revision| revision.files.keys().cloned());
    known.chain(written).collect()
}

/// What is done to files before anything is started.
pub(super) fn write(
    observed: &Observed,
    desired: &Desired,
    after: &BTreeSet<StepId>,
) -> Option<Step<Action>> {
    let stands_again = |path: &str| {
        desired.back && displaced(observed, path).is_some_and(|was| observed.files.get(path) == Some(was))
    };
    let files: BTreeMap<String, Digest> = desired
        .files
        .iter()
        .map(|(path, file)| (path.clone(), file.digest()))
        .filter(|(path, digest)| observed.files.get(path) != Some(digest) && !stands_again(path))
        .collect();
    let edited = files
        .keys()
        .filter(|path| observed.files.get(*path).is_some_and(|there| !is_ours(observed, path, there)));
    let edited = edited.cloned().collect();
    let restored: BTreeSet<String> =
        restorable(observed).filter(|path| !desired.files.contains_key(*path)).cloned().collect();
    let mut stale = stale(observed, desired);
    stale.retain(|path| !restored.contains(path));
    if files.is_empty() && stale.is_empty() && restored.is_empty() {
        return None;
    }
    let action = Action::WriteFiles { files, edited, stale, restored };
    Some(simple("write", "files", action, after.clone(), SHORT_TIMEOUT))
}

/// Going back, a file that somebody had edited is put back when all else is done: until then Compose needs the one that
/// the revision was made from.
pub(super) fn restore(
    observed: &Observed,
    desired: &Desired,
    after: &BTreeSet<StepId>,
) -> Option<Step<Action>> {
    let wanted = |path: &&String| desired.back && desired.files.contains_key(*path);
    let restored: BTreeSet<String> = restorable(observed).filter(wanted).cloned().collect();
    if restored.is_empty() {
        return None;
    }
    let (files, edited, stale) = Default::default();
    let action = Action::WriteFiles { files, edited, stale, restored };
    Some(simple("restore", "files", action, after.clone(), SHORT_TIMEOUT))
}

/// Whether a file's content is what a release, or a run that did not end, wrote there.
fn is_ours(observed: &Observed, path: &str, there: &Digest) -> bool {
    let known = observed.revision.as_ref().and_then(|revision| revision.files.get(path));
    let written = observed.traces.written.get(path);
    known == Some(there) || written.is_some_and(|written| written.wrote.contains(there))
}

/// What somebody else had there before runs that have not ended wrote over it.
fn displaced<'o>(observed: &'o Observed, path: &str) -> Option<&'o Digest> {
    let was = observed.traces.written.get(path)?.was.as_ref()?;
    let known = observed.revision.as_ref().and_then(|revision| revision.files.get(path));
    (known != Some(was)).then_some(was)
}

/// The files that were displaced, or were about to be, and are kept. What somebody has put there since is left alone.
fn restorable(observed: &Observed) -> impl Iterator<Item = &String> {
    observed.traces.written.keys().filter(|path| {
        displaced(observed, path).is_some_and(|was| {
            let there = observed.files.get(*path);
            observed.files.get(&kept(path)) == Some(was)
                && there.is_none_or(|there| there == was || is_ours(observed, path, there))
        })
    })
}

/// Files that a release, or a run that did not end, brought, and that nobody has edited since. What was found when the
/// project was adopted is the user's.
fn stale(observed: &Observed, desired: &Desired) -> BTreeSet<String> {
    let revision = observed.revision.as_ref().filter(|revision| revision.release.is_some());
    let released = |path: &String| revision.and_then(|revision| revision.files.get(path));
    let brought = |path: &String, there: &Digest| {
        released(path) == Some(there)
            || observed.traces.written.get(path).is_some_and(|written| {
                let was_ours = written.was.as_ref().is_none_or(|was| released(path) == Some(was));
                written.wrote.contains(there) && was_ours
            })
    };
    let gone = observed
        .files
        .iter()
        .filter(|(path, there)| !desired.files.contains_key(*path) && brought(path, there));
    gone.map(|(path, _)| path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::RunId;
    use crate::journal::Written;
    use crate::release::{Revision, SpecFile};

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    /// One file: what the base revision has (`-`: nothing; adopted where it begins with `a`), what lies there, what is
    /// kept beside it, what is wanted.
    fn world(base: &str, there: &str, beside: &str, wanted: &str) -> (Observed, Desired) {
        let some = |text: &str| (text != "-").then(|| text.to_owned());
        let path = || "x".to_owned();
        let mut observed = Observed::default();
        observed.files.extend(some(there).map(|text| (path(), digest(&text))));
        observed.files.extend(some(beside).map(|text| (kept("x"), digest(&text))));
        observed.revision = Some(Revision {
            number: 1,
            release: (!base.starts_with('a')).then(|| "v1".into()),
            verb: "deploy".into(),
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            run: RunId::from("r".to_owned()),
            by: "t".into(),
            spec: digest(""),
            files: some(base).into_iter().map(|text| (path(), digest(&text))).collect(),
            images: BTreeMap::new(),
            services: BTreeMap::new(),
            milliseconds: 0,
        });
        let file = |text: String| SpecFile { executable: false, content: text.into_bytes() };
        let desired = Desired {
            project: "app".into(),
            directory: "/srv/app".into(),
            services: BTreeMap::new(),
            files: some(wanted).into_iter().map(|text| (path(), file(text))).collect(),
            unnamed: Vec::new(),
            back: false,
        };
        (observed, desired)
    }

    /// What is done, in words.
    fn words(observed: &Observed, desired: &Desired) -> String {
        let nothing = BTreeSet::new();
        let mut words = Vec::new();
        for step in [write(observed, desired, &nothing), restore(observed, desired, &nothing)] {
            let Some(Step { id, action: Action::WriteFiles { files, edited, stale, restored }, .. }) = step
            else {
                continue;
            };
            let done = [
                (!edited.is_empty(), "keep"),
                (!files.is_empty(), "write"),
                (!stale.is_empty(), "remove"),
                (
                    !restored.is_empty(),
                    if id == StepId::new("restore", "files") { "restore last" } else { "restore" },
                ),
            ];
            words.extend(done.into_iter().filter(|(is, _)| *is).map(|(_, word)| word));
        }
        words.join(", ")
    }

    #[test]
    fn files_without_a_run_before() {
        for (base, there, wanted, expected) in [
            ("-", "-", "new", "write"),
            ("-", "user's", "new", "keep, write"),
            ("old", "old", "new", "write"),
            ("old", "edited", "new", "keep, write"),
            ("old", "new", "new", ""),
            ("old", "old", "-", "remove"),
            ("old", "edited", "-", ""),
            ("adopted", "adopted", "-", ""),
        ] {
            let (observed, desired) = world(base, there, "-", wanted);
            assert_eq!(words(&observed, &desired), expected, "{base} {there} {wanted}");
        }
    }

    #[test]
    fn files_after_a_run_that_did_not_end() {
        // A run wrote `2` where `was` had been; what is there now, and beside it; what is wanted, and whether that is the
        // base again.
        for (base, was, there, beside, wanted, back, expected) in [
            // What was not there goes, or is replaced.
            ("-", "-", "2", "-", "-", true, "remove"),
            ("-", "-", "2", "-", "3", false, "write"),
            ("-", "-", "edited", "-", "-", true, ""),
            ("-", "-", "edited", "-", "3", false, "keep, write"),
            // The user's comes back, unless it is wanted otherwise, or somebody has put something there since.
            ("-", "user's", "2", "user's", "-", true, "restore"),
            ("-", "user's", "2", "user's", "-", false, "restore"),
            ("-", "user's", "2", "user's", "3", false, "write"),
            ("-", "user's", "user's", "-", "-", true, ""),
            ("-", "user's", "user's", "-", "3", false, "keep, write"),
            ("-", "user's", "user's", "user's", "-", true, "restore"),
            ("-", "user's", "edited", "user's", "-", true, ""),
            ("-", "user's", "2", "other", "-", true, ""),
            ("-", "user's", "2", "-", "-", true, ""),
            // What a revision had is written again from its own files.
            ("1", "1", "2", "-", "1", true, "write"),
            ("1", "1", "2", "-", "-", false, "remove"),
            ("1", "1", "-", "-", "1", true, "write"),
            ("1", "-", "2", "-", "-", false, "remove"),
            ("adopted", "adopted", "2", "-", "-", false, ""),
            // What somebody had edited is put back behind what the revision had.
            ("1", "edited", "2", "edited", "1", true, "write, restore last"),
            ("1", "edited", "2", "edited", "1", false, "write"),
            ("1", "edited", "2", "edited", "-", false, "restore"),
            ("1", "edited", "1", "edited", "1", true, "restore last"),
            ("1", "edited", "edited", "-", "1", true, ""),
            ("1", "edited", "edited", "edited", "1", true, "restore last"),
            ("1", "edited", "edited", "-", "1", false, "keep, write"),
        ] {
            let (mut observed, mut desired) = world(base, there, beside, wanted);
            let was = (was != "-").then(|| digest(was));
            let wrote = BTreeSet::from([digest("2")]);
            observed.traces.written.insert("x".into(), Written { was, wrote });
            desired.back = back;
            assert_eq!(words(&observed, &desired), expected, "{base} {there} {beside} {wanted} {back}");
        }
    }
}
