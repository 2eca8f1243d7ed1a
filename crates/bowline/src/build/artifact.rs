//! Finds what a build made: exactly one file or folder a service.

use std::path::{Path, PathBuf};

use bowline_core::placeholder::Placeholders;
use globset::{GlobBuilder, GlobMatcher};

use crate::error::{Attempt, Failure, Outcome};

/// How many entries an error lists.
const LISTED: usize = 12;
/// A build tree with more entries than this is not searched further.
const MOST_ENTRIES: usize = 200_000;

/// Finds the one thing below `root` that the pattern names. Gives its path relative to `root`.
///
/// # Errors
/// When nothing matches, then with what is there instead, or when several things match.
pub fn find(root: &Path, service: &str, pattern: &str, values: &Placeholders) -> Outcome<PathBuf> {
    let filled = values.fill(pattern);
    let clean = filled.trim_start_matches("./").trim_end_matches('/');
    let found = search(root, clean)?;
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(nothing(root, service, pattern, clean)),
        several => Err(Failure::failed(format!("finding the artifact of {service}"))
            .since(format!("{} things match {clean}, one is needed", several.len()))
            .detail(listed(several.iter().map(|path| path.display().to_string()).collect()))
            .hint(format!(
                "make services.{service}.artifact narrower; what older builds left can be removed by a clean build"
            ))),
    }
}

fn nothing(root: &Path, service: &str, pattern: &str, filled: &str) -> Failure {
    let failure = Failure::failed(format!("finding the artifact of {service}"))
        .since(format!("the build made nothing that matches {filled}"));
    let any = Placeholders::new("*").fill(pattern).replace("v*", "*");
    let similar = search(root, any.trim_start_matches("./").trim_end_matches('/')).unwrap_or_default();
    if any != filled && !similar.is_empty() {
        return failure
            .since("what it made carries another version")
            .detail(listed(similar.iter().map(|path| path.display().to_string()).collect()))
            .hint("does the build command hand over the version, as -Pversion={tag} does?");
    }
    let directory = nearest(root, &literal_prefix(filled));
    let entries = names(&root.join(&directory));
    let place = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
    let (what, lines) = match entries.len() {
        0 => (format!("{} is empty", place.display()), Vec::new()),
        count => (format!("{} has {count} entries", place.display()), listed(entries)),
    };
    failure
        .since(what)
        .detail(lines)
        .hint(format!("correct services.{service}.artifact, or what the build command makes"))
}

fn listed(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    if more > 0 {
        names.push(format!("… and {more} more"));
    }
    names
}

/// Everything below `root` whose relative path matches, in order.
fn search(root: &Path, pattern: &str) -> Outcome<Vec<PathBuf>> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    let matcher = glob.attempt(|| format!("reading the glob `{pattern}`"))?.compile_matcher();
    let prefix = literal_prefix(pattern);
    if prefix.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        return Err(Failure::invalid(format!("reading the glob `{pattern}`"))
            .since("it leads out of the project's directory"));
    }
    let below = pattern.split('/').count().saturating_sub(prefix.components().count());
    let depth = if pattern.contains("**") { usize::MAX } else { below };
    let mut found = Vec::new();
    let mut left = MOST_ENTRIES;
    if root.join(&prefix).exists() {
        if matcher.is_match(&prefix) {
            found.push(prefix.clone());
        }
        walk(root, &prefix, depth, &matcher, &mut left, &mut found);
    }
    found.sort();
    Ok(found)
}

fn walk(
    root: &Path,
    directory: &Path,
    depth: usize,
    matcher: &GlobMatcher,
    left: &mut usize,
    found: &mut Vec<PathBuf>,
) {
    let Ok(entries) = std::fs::read_dir(root.join(directory)) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name() != ".git") {
        *left = left.saturating_sub(1);
        if depth == 0 || *left == 0 {
            return;
        }
        let path = directory.join(entry.file_name());
        if matcher.is_match(&path) {
            found.push(path.clone());
        }
        // Links are matched but not followed: they may lead round in a circle.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(root, &path, depth - 1, matcher, left, found);
        }
    }
}

/// The components before the first that holds a wildcard; the whole path where none does.
fn literal_prefix(pattern: &str) -> PathBuf {
    pattern.split('/').take_while(|part| !part.contains(['*', '?', '[', '{', '\\'])).collect()
}

fn nearest(root: &Path, path: &Path) -> PathBuf {
    path.ancestors().find(|part| root.join(part).is_dir()).unwrap_or(Path::new("")).to_owned()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let slash = if entry.file_type().is_ok_and(|kind| kind.is_dir()) { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in paths {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        root
    }

    fn check(paths: &[&str], pattern: &str) -> String {
        let root = tree(paths);
        match find(root.path(), "user", pattern, &Placeholders::new("5.0.2-b321acf")) {
            Ok(path) => path.display().to_string(),
            Err(failure) => {
                format!("{failure} {:?} → {}", failure.detail, failure.hint.clone().unwrap_or_default())
            }
        }
    }

    const LIBS: [&str; 3] = [
        "user/build/libs/user-v5.0.2-b321acf.jar",
        "user/build/libs/user-v5.0.2-b321acf-plain.jar",
        "user/build/libs/user-v5.0.1-abf2154.jar",
    ];

    #[test]
    fn one_artifact_is_found() {
        for pattern in
            ["user/build/libs/*-{tag}.jar", "./user/**/user-{tag}.jar", LIBS[0], "*/build/*/*2-b321acf.jar"]
        {
            assert_eq!(check(&LIBS, pattern), LIBS[0], "{pattern}");
        }
        assert_eq!(check(&["web/dist/index.html"], "web/dist/"), "web/dist");
        assert_eq!(check(&["a/x.{jar}"], "a/x.?jar?"), "a/x.{jar}");
    }

    #[test]
    fn several_artifacts_are_listed() {
        insta::assert_snapshot!(check(&LIBS, "user/build/libs/*.jar"), @r#"finding the artifact of user: 3 things match user/build/libs/*.jar, one is needed ["user/build/libs/user-v5.0.1-abf2154.jar", "user/build/libs/user-v5.0.2-b321acf-plain.jar", "user/build/libs/user-v5.0.2-b321acf.jar"] → make services.user.artifact narrower; what older builds left can be removed by a clean build"#);
    }

    #[test]
    fn none_says_what_is_there_instead() {
        insta::assert_snapshot!(check(&["user/build/libs/user.war", "user/build/tmp/x"], "user/build/libs/*-{tag}.jar"), @r#"finding the artifact of user: the build made nothing that matches user/build/libs/*-v5.0.2-b321acf.jar: user/build/libs has 1 entries ["user.war"] → correct services.user.artifact, or what the build command makes"#);
        insta::assert_snapshot!(check(&["user/src/A.java", "user/build.gradle"], "user/build/libs/*.jar"), @r#"finding the artifact of user: the build made nothing that matches user/build/libs/*.jar: user has 2 entries ["build.gradle", "src/"] → correct services.user.artifact, or what the build command makes"#);
        insta::assert_snapshot!(check(&LIBS[2..], "user/build/libs/*-{tag}.jar"), @r#"finding the artifact of user: the build made nothing that matches user/build/libs/*-v5.0.2-b321acf.jar: what it made carries another version ["user/build/libs/user-v5.0.1-abf2154.jar"] → does the build command hand over the version, as -Pversion={tag} does?"#);
    }

    #[test]
    fn patterns_stay_inside_the_project() {
        assert!(check(&["a"], "../a").contains("leads out"), "{}", check(&["a"], "../a"));
        assert!(
            check(&["a"], "/etc/passwd").contains("leads out")
                || check(&["a"], "/etc/passwd").contains("nothing")
        );
    }
}
