//! Versions from real git repositories: full and shallow clones, foreign tags, hostile titles, and many at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use bowline::github::Surroundings;
use bowline::operation::version::{Request, Reserved, reserve};
use bowline_core::bump::DefaultBump;
use bowline_core::decision::Verdict;
use bowline_testkit::repository::{Origin, Repository};
use serde_json::Value;

/// `bowline ARGS` in a clone, with nothing of this machine's surroundings.
fn bowline(clone: &Repository, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    bowline_in(clone.path(), clone, variables, arguments)
}

/// The same in another directory.
fn bowline_in(
    directory: &Path,
    clone: &Repository,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.args(["-C"]).arg(directory).args(arguments).env_clear().envs(clone.environment());
    command
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("BOWLINE_CACHE", clone.path().join("../cache"));
    command.envs(variables.iter().copied()).output().unwrap()
}

fn version(clone: &Repository, arguments: &[&str]) -> Value {
    let all = [&["--json", "version"], arguments].concat();
    let output = bowline(clone, &[], &all);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The next tag without its suffix, and what rose.
fn next(clone: &Repository) -> String {
    let report = version(clone, &[]);
    let tag = report["tag"].as_str().unwrap();
    format!("{} {}", tag.split('-').next().unwrap(), report["bump"].as_str().unwrap())
}

/// The state of a clone that must not change: references, shallow boundary, configuration, files.
fn fingerprint(clone: &Repository) -> String {
    let file = |name: &str| std::fs::read_to_string(clone.path().join(".git").join(name)).unwrap_or_default();
    let (references, status) = (clone.git(["for-each-ref"]), clone.git(["status", "--porcelain"]));
    format!("{references}\n{status}\n{}\n{}\n{}", file("shallow"), file("config"), file("FETCH_HEAD"))
}

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

#[test]
fn without_tags_counting_starts_at_nothing() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    clone.commit("first");
    clone.push();
    assert_eq!(next(&clone), "v0.0.1 patch");
    clone.commit("[minor] second");
    clone.push();
    assert_eq!(next(&clone), "v0.1.0 minor");
    assert_eq!(version(&clone, &[])["previous_tag"], Value::Null);
}

#[test]
fn the_highest_token_since_the_last_release_counts() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    let first = clone.commit("[major] long ago");
    clone.tag(&format!("v5.0.1-{}", &first[..7]));
    clone.squash_pull(1, "[patch] typo", |_| {});
    clone.merge_pull(2, "[minor] rooms", |_| {});
    clone.commit("work [skip]");
    clone.push();
    let report = version(&clone, &[]);
    let head = clone.head();
    assert!(report["tag"].as_str().unwrap().starts_with(&format!("v5.1.0-{}", &head[..7])));
    assert_eq!(report["version"].as_str().unwrap(), &report["tag"].as_str().unwrap()[1..]);
    assert_eq!(report["previous_tag"], format!("v5.0.1-{}", &first[..7]));
    assert_eq!(report["commit"], head);
    assert_eq!(report["reused"], false);
    assert_eq!(version(&clone, &["--pr-title", "[major] all new"])["bump"], "major");
}

#[test]
fn a_shallow_clone_gives_the_same_answer_and_is_left_as_it_was() {
    let origin = Origin::new();
    let full = origin.clone_full();
    let first = full.commit("first");
    full.tag_annotated(&format!("v1.2.3-{}", &first[..7]), "release");
    for number in 1..6 {
        full.merge_pull(number, if number == 2 { "[major] drop" } else { "fix" }, |repo| {
            repo.write("file", format!("{number}"));
        });
    }
    full.push();
    let shallow = origin.clone_shallow(1);
    let before = fingerprint(&shallow);
    let (ours, theirs) = (version(&shallow, &[]), version(&full, &[]));
    assert_eq!(ours["tag"], theirs["tag"]);
    assert!(ours["tag"].as_str().unwrap().starts_with("v2.0.0-"));
    let reasons = |report: &Value| {
        let all = report["reasons"].as_array().unwrap().clone();
        all.into_iter().filter(|reason| !reason.as_str().unwrap().contains("clone")).collect::<Vec<Value>>()
    };
    assert_eq!(reasons(&ours), reasons(&theirs));
    assert_eq!(fingerprint(&shallow), before);
    // Only commits were fetched, although the host could give everything.
    let cache = shallow.path().join("../cache/git");
    let entry = std::fs::read_dir(cache)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .unwrap();
    let mut check = Command::new("git");
    check.arg("-C").arg(&entry).args(["cat-file", "--batch-all-objects", "--batch-check=%(objecttype)"]);
    let kinds = check.env("GIT_NO_LAZY_FETCH", "1").output().unwrap();
    assert!(!String::from_utf8_lossy(&kinds.stdout).contains("blob"));
}

#[test]
fn a_host_that_refuses_filters_and_ids_is_served_too() {
    let origin = Origin::new();
    origin.git(["config", "uploadpack.allowFilter", "false"]);
    origin.git(["config", "uploadpack.allowAnySHA1InWant", "false"]);
    let full = origin.clone_full();
    let first = full.commit("first");
    full.tag(&format!("v1.0.0-{}", &first[..7]));
    full.commit("[minor] x");
    full.push();
    assert_eq!(next(&origin.clone_shallow(1)), "v1.1.0 minor");
}

#[test]
fn a_shallow_clone_without_its_remote_is_an_error_that_says_what_to_do() {
    let origin = Origin::new();
    let full = origin.clone_full();
    full.commit("first");
    full.commit("second");
    full.push();
    let shallow = origin.clone_shallow(1);
    drop(origin);
    let output = bowline(&shallow, &[], &["version"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(output.stdout.is_empty());
    assert!(error.contains("listing the tags of remote `origin`") && error.contains("shallow"), "{error}");
}

#[test]
fn wrong_surroundings_are_told_apart() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    let unborn = bowline(&clone, &[], &["version"]);
    assert_eq!(unborn.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unborn.stderr).contains("`HEAD` leads to no commit"));
    clone.commit("first");
    clone.push();
    let output = bowline(&clone, &[], &["version", "--remote", "upstream"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no remote `upstream`, only origin"));
    let nowhere = tempfile::tempdir().unwrap();
    let output = bowline_in(nowhere.path(), &clone, &[], &["version"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("is not in a git repository"), "{error}");
}

#[test]
fn foreign_and_unreachable_tags_do_no_harm() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    let first = clone.commit("first");
    for name in ["v9.0.0-deadbee", "v9.0.0-rc.1", "nightly", "user/v8.0.0", "v99999999999999999999.0.0"] {
        clone.tag(name);
    }
    clone.write("file", "x");
    let blob = clone.git(["hash-object", "-w", "file"]);
    clone.git(["tag", "v7.0.0", &blob]);
    // Seventeen releases of one number, on commits that no branch reaches.
    for n in 0..17 {
        clone.git(["checkout", "--quiet", "--detach", &first]);
        let commit = clone.commit(&format!("lost {n}"));
        clone.tag(&format!("v5.0.1-{}", &commit[..7]));
    }
    clone.git(["checkout", "--quiet", "main"]);
    clone.git(["clean", "-qf"]);
    clone.commit("[minor] second");
    clone.push();
    assert_eq!(next(&clone), "v5.1.0 minor");
    assert_eq!(next(&origin.clone_shallow(1)), "v5.1.0 minor");
    let output = bowline(&clone, &[], &["version"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("17 tags share its number"), "{text}");
    assert!(text.contains("lead to no commit: refs/tags/v7.0.0"), "{text}");
    assert!(text.contains("nightly"), "{text}");
}

#[test]
fn hostile_titles_are_only_words() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    clone.write(
        "message",
        "$(touch pwned) `touch pwned` \u{1b}[31m [minor] ::set-output name=a::b\n\n::error::x",
    );
    clone.git(["add", "--all"]);
    clone.git(["commit", "--quiet", "-F", "message"]);
    let mut long = b"[skip] ##[add-mask]x \xff\xfe".to_vec();
    long.extend(vec![b'x'; 10 << 20]);
    clone.write("message", &long);
    clone.git([
        "-c",
        "i18n.commitEncoding=UTF-8",
        "commit",
        "--quiet",
        "-a",
        "--cleanup=verbatim",
        "-F",
        "message",
    ]);
    clone.push();
    let output = bowline(&clone, &[], &["version"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("v0.1.0-") && text.len() < 4000, "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("##["), "{text}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("::")), "{text}");
    assert!(!clone.path().join("pwned").exists());
}

#[test]
fn the_event_file_knows_better_than_the_commit() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    let first = clone.commit("first");
    clone.tag(&format!("v1.0.0-{}", &first[..7]));
    let merge = clone.merge_pull(3, "[patch] as it was when merged", |_| {});
    clone.push();
    let event = clone.path().join("../event.json");
    let body = serde_json::json!({"pull_request": {"number": 3, "merged": true, "merge_commit_sha": merge,
        "title": format!("[major] edited {}", "y".repeat(10 << 20))}});
    std::fs::write(&event, body.to_string()).unwrap();
    let variables = [("GITHUB_EVENT_PATH", event.to_str().unwrap())];
    let output = bowline(&clone, &variables, &["--json", "version"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["bump"], "major");
    assert!(report["reasons"].to_string().contains("GitHub event file"));
    std::fs::write(&event, "no json").unwrap();
    let output = bowline(&clone, &variables, &["--json", "version"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["bump"], "patch");
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

#[test]
fn a_relative_address_and_a_folder_below_the_top_work() {
    let origin = Origin::new();
    let full = origin.clone_full();
    full.write("below/file", "x");
    full.commit("[minor] first");
    full.commit("second");
    full.push();
    let clone = origin.clone_shallow(1);
    let link = clone.path().join("../origin.git");
    std::os::unix::fs::symlink(origin.path(), link).unwrap();
    clone.git(["remote", "set-url", "origin", "../origin.git"]);
    let output = bowline_in(&clone.path().join("below"), &clone, &[], &["--json", "version"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["bump"], "minor", "{}", String::from_utf8_lossy(&output.stderr));
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

#[test]
fn what_a_killed_run_left_in_the_cache_is_no_obstacle() {
    let origin = Origin::new();
    let full = origin.clone_full();
    full.commit("[minor] first");
    full.commit("second");
    full.push();
    let shallow = origin.clone_shallow(1);
    assert_eq!(next(&shallow), "v0.1.0 minor");
    let cache = shallow.path().join("../cache/git");
    let entry = std::fs::read_dir(&cache)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .unwrap();
    full.commit("[major] third");
    full.push();
    shallow.git(["fetch", "--quiet", "--depth=1", "origin"]);
    shallow.git(["reset", "--quiet", "--hard", "origin/main"]);
    // A lock that nobody holds any more, half a repository, and a reference cut short.
    for lock in ["config.lock", "shallow.lock", "packed-refs.lock"] {
        std::fs::write(entry.join(lock), "").unwrap();
    }
    std::fs::create_dir(entry.with_extension("half")).unwrap();
    std::fs::write(entry.join("HEAD"), "").unwrap();
    assert_eq!(next(&shallow), "v1.0.0 major");
}

/// Answers every question for the pull requests of a commit with `answer`, and counts them.
fn github(answer: &'static str) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use std::io::{BufRead, BufReader, Write};
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", server.local_addr().unwrap());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = seen.clone();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            heard.lock().unwrap().push(head.join("\n"));
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, seen)
}

#[test]
fn the_api_is_asked_for_titles_and_its_failure_is_told() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    clone.commit("rebased one");
    clone.commit("rebased two");
    clone.push();
    let body = r#"[{"number":4,"title":"[major] from the API","merged_at":"2026-01-01T00:00:00Z","user":{"login":"ada","type":"User"}}]"#;
    let good =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let bad = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
    for (answer, bump, words) in
        [(good, "major", "#4"), (bad, "patch", "403 Forbidden; commit messages are read instead")]
    {
        let (address, seen) = github(answer.leak());
        let variables = [
            ("GITHUB_API_URL", address.as_str()),
            ("GITHUB_TOKEN", "secret-word"),
            ("GITHUB_REPOSITORY", "chat/chat"),
        ];
        let output = bowline(&clone, &variables, &["--json", "version"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["bump"], bump, "{text}");
        assert!(text.contains(words) && !text.contains("secret-word"), "{text}");
        assert_eq!(text.matches("from the API").count(), usize::from(bump == "major") * 2, "{text}");
        let seen = seen.lock().unwrap();
        assert!(seen.iter().all(|head| head.to_lowercase().contains("authorization: bearer secret-word")));
        assert!(seen[0].contains("GET /repos/chat/chat/commits/"));
    }
}

/// Fifty clones, each with another commit checked out, reserve at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn of_fifty_at_once_numbers_are_unique_rise_with_history_and_lose_no_token() {
    let origin = Origin::new();
    let author = origin.clone_full();
    let mut commits = vec![author.commit("start")];
    author.tag(&format!("v1.0.0-{}", &commits[0][..7])).push();
    for n in 1..=50 {
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
    let mut made: Vec<(usize, bowline_core::version::Version)> = origin
        .tags()
        .into_iter()
        .map(|(name, commit)| (position(&commit), name.parse::<bowline_core::tag::Tag>().unwrap().version()))
        .collect();
    made.sort();
    eprintln!("{new} new, {superseded} superseded: {made:?}");
    assert_eq!((new + superseded, new), (50, made.len() - 1));
    assert!(made.windows(2).all(|pair| pair[0].1 < pair[1].1), "numbers rise with history: {made:?}");
    assert_eq!(made.iter().map(|(_, version)| version).collect::<BTreeSet<_>>().len(), made.len());
    // The newest commit is never superseded, and every [major] is in the number of the first release that contains it.
    assert_eq!(made.last().unwrap().0, 50);
    for major in [7, 33] {
        let at = made.iter().position(|(position, _)| *position >= major).unwrap();
        assert!(made[at].1.major > made[at - 1].1.major, "{major}: {made:?}");
    }
}
