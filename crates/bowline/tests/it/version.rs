//! `bowline version` on real git repositories: full and shallow clones, foreign tags, hostile titles.

use std::path::Path;
use std::process::{Command, Output};

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
pub(crate) fn fingerprint(clone: &Repository) -> String {
    let file = |name: &str| std::fs::read_to_string(clone.path().join(".git").join(name)).unwrap_or_default();
    let (references, status) = (clone.git(["for-each-ref"]), clone.git(["status", "--porcelain"]));
    format!("{references}\n{status}\n{}\n{}\n{}", file("shallow"), file("config"), file("FETCH_HEAD"))
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
    // Squashed: GitHub calls the commit of a request with one commit as that is called, not as the request.
    clone.commit("squashed (#4)");
    clone.commit("rebased two");
    clone.push();
    let event = clone.path().join("../event.json");
    let commits: Vec<Value> = ["squashed (#4)", "rebased two"]
        .iter()
        .zip(clone.git(["rev-list", "--reverse", "-n2", "HEAD"]).lines())
        .map(|(message, id)| serde_json::json!({ "id": id, "message": message }))
        .collect();
    std::fs::write(&event, serde_json::json!({ "commits": commits }).to_string()).unwrap();
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
            ("GITHUB_EVENT_PATH", event.to_str().unwrap()),
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
