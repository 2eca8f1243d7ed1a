//! Reserving a version: what is left on the remote and in the clone, hosts that refuse one thing or another, and many
//! at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bowline::github::Surroundings;
use bowline::operation::version::{Request, Reserved, reserve};
use bowline_core::bump::DefaultBump;
use bowline_core::decision::Verdict;
use bowline_core::tag::Tag;
use bowline_core::version::Version;
use bowline_testkit::repository::{Origin, Repository};
use serde_json::Value;

use crate::version::fingerprint;

fn request(clone: &Path, cache: &Path) -> Request {
    Request {
        directory: clone.to_owned(),
        remote: "origin".into(),
        commit: "HEAD".into(),
        title: None,
        default_bump: DefaultBump::Patch,
        surroundings: Surroundings::default(),
        cache: Some(cache.to_owned()),
    }
}

async fn take(clone: &Repository) -> Reserved {
    let cache = clone.path().join("../cache");
    reserve(&request(clone.path(), &cache), Duration::from_secs(60), |_| {}).await.unwrap()
}

#[tokio::test]
async fn a_reservation_is_kept_told_and_leaves_nothing_local() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    let old = clone.commit("first");
    clone.push();
    clone.merge_pull(1, "[minor] $(x) `y` \u{1b}[31m", |_| {});
    clone.push();
    for key in ["user.name", "user.email"] {
        clone.git(["config", "--unset", key]);
    }
    let before = fingerprint(&clone);
    let first = take(&clone).await;
    let tag = first.tag.clone().unwrap().to_string();
    assert!(tag.starts_with("v0.1.0-"));
    assert_eq!(fingerprint(&clone), before);
    assert_eq!(origin.tags(), [(tag.clone(), clone.head())]);
    assert_eq!(origin.git(["rev-parse", "refs/releases/0.1.0"]), clone.head());
    let message = origin.git(["cat-file", "tag", &tag]);
    let json: Value =
        serde_json::from_str(message.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    assert_eq!((json["bump"].as_str(), json["previous"].as_str()), (Some("minor"), None));
    // Again, here and in a clone that has nothing: the same tag, and what its message says.
    for clone in [&clone, &origin.clone_shallow(1)] {
        let again = take(clone).await;
        assert!(matches!(again.decision.verdict, Verdict::Reused { .. }));
        assert_eq!(again.tag.unwrap().to_string(), tag);
        assert_eq!(again.changes.len(), first.changes.len());
    }
    clone.git(["checkout", "--quiet", "--detach", &old]);
    let older = take(&clone).await;
    assert!(matches!(older.decision.verdict, Verdict::Superseded { .. }));
    assert_eq!(origin.tags().len(), 1);
}

#[tokio::test]
async fn a_host_that_refuses_the_reservation_gets_a_lock_tag() {
    for atomic in ["true", "false"] {
        let origin = Origin::new();
        origin.git(["config", "receive.hideRefs", "refs/releases"]);
        origin.git(["config", "receive.advertiseAtomic", atomic]);
        let clone = origin.clone_full();
        clone.commit("first");
        clone.push();
        let tag = take(&clone).await.tag.unwrap().to_string();
        let names: Vec<String> = origin.tags().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["release/0.0.1".to_owned(), tag.clone()]);
        assert_eq!(take(&clone).await.tag.unwrap().to_string(), tag);
        // A run that was killed between the two pushes is finished by the next for the same commit.
        origin.git(["tag", "-d", &tag]);
        assert_eq!(take(&clone).await.tag.unwrap().to_string(), tag);
        clone.commit("second");
        clone.push();
        assert_eq!(take(&clone).await.tag.unwrap().version().to_string(), "0.0.2");
    }
}

#[tokio::test]
async fn a_host_that_refuses_tags_is_an_error_with_its_words() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    clone.commit("first");
    clone.push();
    origin.hook("pre-receive", "echo 'no tags today' >&2; exit 1");
    let cache = clone.path().join("../cache");
    let failure = reserve(&request(clone.path(), &cache), Duration::from_secs(60), |_| {}).await.unwrap_err();
    assert!(failure.to_string().contains("no tags today"), "{failure}");
    assert!(failure.hint.is_some());
    assert!(origin.tags().is_empty());
}

#[tokio::test]
async fn a_repository_of_sha256_works_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(directory.path())
            .args(["-c", "user.name=x", "-c", "user.email=x@x"])
            .args(arguments);
        let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet", "--bare", "--object-format=sha256", "--initial-branch=main", "origin"]);
    git(&["init", "--quiet", "--object-format=sha256", "--initial-branch=main", "work"]);
    git(&["-C", "work", "remote", "add", "origin", "../origin"]);
    for message in ["one", "[minor] two"] {
        git(&["-C", "work", "commit", "--quiet", "--allow-empty", "-m", message]);
    }
    git(&["-C", "work", "push", "--quiet", "origin", "main"]);
    let url = format!("file://{}/origin", directory.path().display());
    git(&["clone", "--quiet", "--depth=1", &url, "shallow"]);
    for clone in ["shallow", "work"] {
        let request = request(&directory.path().join(clone), &directory.path().join("cache"));
        let reserved = reserve(&request, Duration::from_secs(60), |_| {}).await.unwrap();
        assert_eq!(reserved.commit.as_str().len(), 64);
        assert_eq!(reserved.tag.unwrap().version().to_string(), "0.1.0");
    }
}

#[tokio::test]
async fn every_kind_of_clone_can_reserve_also_for_a_commit_that_is_not_pushed() {
    for arguments in
        [&[][..], &["--depth=1"], &["--filter=tree:0"], &["--depth=1", "--filter=blob:none", "--no-tags"]]
    {
        let origin = Origin::new();
        let author = origin.clone_full();
        let first = author.commit("first");
        author.tag(&format!("v1.0.0-{}", &first[..7]));
        author.commit("[minor] second");
        author.push();
        let clone = origin.clone_with(arguments);
        // A release that this clone has never heard of, on the commit before.
        author.commit("third");
        author.push();
        clone.write("file", "local");
        clone.commit("[patch] local");
        let tag = take(&clone).await.tag.unwrap();
        assert_eq!(tag.version().to_string(), "1.1.0", "{arguments:?}");
        let later = take(&author).await;
        // The second commit's token is in 1.1.0 already, wherever that was released.
        assert_eq!(later.tag.unwrap().version().to_string(), "1.1.1", "{arguments:?}");
        clone.git(["push", "--quiet", "origin", "HEAD:refs/heads/other"]);
        assert_eq!(take(&clone).await.tag.unwrap(), tag);
    }
}

#[tokio::test]
async fn a_stranger_with_the_name_of_our_tag_is_named() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    let first = clone.commit("first");
    let second = clone.commit("second");
    clone.push();
    let suffix = bowline_core::tag::suffix(&second.parse().unwrap()).to_owned();
    clone.git(["push", "--quiet", "origin", &format!("{first}:refs/tags/v0.0.1-{suffix}")]);
    let failure =
        reserve(&request(clone.path(), clone.path()), Duration::from_secs(60), |_| {}).await.unwrap_err();
    assert!(failure.to_string().contains(&first) && failure.hint.is_some(), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_runs_for_one_commit_all_get_its_one_tag() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    clone.commit("first");
    clone.push();
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let request = request(clone.path(), &clone.path().join("../cache"));
        runs.spawn(async move { reserve(&request, Duration::from_secs(60), |_| {}).await });
    }
    let tags: BTreeSet<String> = runs
        .join_all()
        .await
        .into_iter()
        .map(|reserved| reserved.unwrap().tag.unwrap().to_string())
        .collect();
    assert_eq!(tags.len(), 1);
    assert_eq!(origin.tags().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn of_fifty_at_once_numbers_are_unique_rise_with_history_and_lose_no_token() {
    contend(&Origin::new(), 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn hosts_that_need_lock_tags_keep_the_order_too() {
    for (key, value) in [("receive.hideRefs", "refs/releases"), ("receive.advertiseAtomic", "false")] {
        let origin = Origin::new();
        origin.git(["config", key, value]);
        contend(&origin, 16).await;
    }
}

/// Clones, each with another commit checked out, reserve at once.
async fn contend(origin: &Origin, count: u32) {
    let author = origin.clone_full();
    let mut commits = vec![author.commit("[major] start")];
    author.push();
    take(&author).await;
    for n in 1..=count {
        let title = match n {
            7 | 33 => format!("[major] change {n}"),
            n if n % 5 == 0 => format!("[minor] change {n}"),
            _ => format!("change {n}"),
        };
        commits.push(author.squash_pull(n, &title, |_| {}));
    }
    author.push();
    let mut clones = Vec::new();
    let cache = tempfile::tempdir().unwrap();
    for (n, commit) in commits.iter().enumerate().skip(1) {
        // Every other one is as shallow as CI makes them.
        let clone = if n % 2 == 0 { origin.clone_full() } else { origin.clone_shallow(1) };
        clone.git(["fetch", "--quiet", "--depth=1", "origin", commit]);
        clone.git(["checkout", "--quiet", "--detach", commit]);
        clones.push(clone);
    }
    let mut runs = tokio::task::JoinSet::new();
    let begin = std::sync::Arc::new(tokio::sync::Barrier::new(clones.len()));
    for clone in &clones {
        let (request, begin) = (request(clone.path(), cache.path()), begin.clone());
        runs.spawn(async move {
            begin.wait().await;
            reserve(&request, Duration::from_secs(120), |_| {}).await
        });
    }
    let (mut new, mut superseded) = (0, 0);
    while let Some(reserved) = runs.join_next().await {
        match reserved.unwrap().unwrap().decision.verdict {
            Verdict::New { .. } => new += 1,
            Verdict::Superseded { .. } => superseded += 1,
            other => panic!("{other:?}"),
        }
    }
    let position = |commit: &str| commits.iter().position(|other| other == commit).unwrap();
    let tags = origin.tags().into_iter().filter(|(name, _)| !name.starts_with("release/"));
    let mut made: Vec<(usize, Version)> =
        tags.map(|(name, commit)| (position(&commit), name.parse::<Tag>().unwrap().version())).collect();
    made.sort();
    let told: Vec<String> =
        made.iter().map(|(position, version)| format!("{version} on {position}")).collect();
    assert_eq!((new + superseded, new), (clones.len(), made.len() - 1), "{told:?}");
    assert!(made.windows(2).all(|pair| pair[0].1 < pair[1].1), "numbers rise with history: {told:?}");
    // The newest commit is never superseded, and every [major] is in the number of the first release that contains it.
    assert_eq!(made.last().unwrap().0, clones.len());
    for major in [7, 33].into_iter().filter(|major| *major <= clones.len()) {
        let at = made.iter().position(|(position, _)| *position >= major).unwrap();
        assert!(made[at].1.major > made[at - 1].1.major, "{major}: {told:?}");
    }
}
