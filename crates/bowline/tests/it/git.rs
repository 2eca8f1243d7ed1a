//! What the shell reads from git: changed paths, tracked files, files of a commit; in full, shallow and partial clones.

use std::collections::BTreeSet;
use std::path::Path;

use bowline::git::{ChangedPaths, Git, GitError};
use bowline_testkit::repository::{Origin, Repository};

async fn open(clone: &Repository) -> Git {
    Git::open(clone.path()).await.unwrap().with_cache(clone.path().join("../cache"))
}

/// An origin with two commits, and the paths that differ between them.
fn two_commits() -> (Origin, Repository, String, String, ChangedPaths) {
    let origin = Origin::new();
    let clone = origin.clone_full();
    clone.write("user/src/a.rs", "1").write("user/gone", "1").write("shared/b", "1").write("same/c", "1");
    let previous = clone.commit("first");
    clone.write("user/src/a.rs", "2").write("über/neu", "1");
    clone.git(["mv", "shared/b", "shared/moved"]);
    clone.git(["rm", "--quiet", "user/gone"]);
    let head = clone.commit("second");
    clone.push();
    let paths = ["user/src/a.rs", "user/gone", "shared/b", "shared/moved", "über/neu"];
    let known =
        ChangedPaths::Known(paths.iter().map(|path| (*path).to_owned()).collect::<BTreeSet<String>>());
    (origin, clone, previous, head, known)
}

#[tokio::test]
async fn changed_paths_are_the_same_in_every_kind_of_clone() {
    let (origin, full, previous, head, expected) = two_commits();
    let (previous, head) = (previous.parse().unwrap(), head.parse().unwrap());
    let clones = [
        full,
        origin.clone_shallow(1),
        origin.clone_with(&["--filter=blob:none"]),
        origin.clone_with(&["--filter=tree:0"]),
        origin.clone_with(&["--depth=1", "--filter=blob:none"]),
    ];
    for clone in &clones {
        let boundary = std::fs::read(clone.path().join(".git/shallow")).ok();
        let git = open(clone).await;
        assert_eq!(git.changed_paths("origin", &previous, &head).await.unwrap(), expected);
        assert_eq!(std::fs::read(clone.path().join(".git/shallow")).ok(), boundary);
    }
}

#[tokio::test]
async fn a_commit_that_the_remote_does_not_give_makes_everything_changed() {
    let (origin, _full, previous, head, _) = two_commits();
    let shallow = origin.clone_shallow(1);
    drop(origin);
    let git = open(&shallow).await;
    let answer =
        git.changed_paths("origin", &previous.parse().unwrap(), &head.parse().unwrap()).await.unwrap();
    assert!(matches!(&answer, ChangedPaths::Unknown { reason } if reason.contains("origin")), "{answer:?}");
}

#[tokio::test]
async fn files_are_read_as_they_are_in_a_commit() {
    let (_origin, clone, previous, head, _) = two_commits();
    clone.write("untracked", "x").write("user/src/a.rs", "not committed");
    let git = open(&clone).await;
    assert_eq!(git.head().await.unwrap().as_str(), head);
    let (previous, head) = (previous.parse().unwrap(), head.parse().unwrap());
    assert_eq!(git.show_file(&previous, "user/src/a.rs").await.unwrap().unwrap(), b"1");
    assert_eq!(git.show_file(&head, "user/src/a.rs").await.unwrap().unwrap(), b"2");
    assert_eq!(git.show_file(&head, "user/gone").await.unwrap(), None);
    assert_eq!(git.show_file(&head, "user").await.unwrap(), None);
    let tracked = git.tracked_files(Path::new("")).await.unwrap();
    assert!(tracked.contains(&"über/neu".into()) && !tracked.contains(&"untracked".into()));
    assert_eq!(git.tracked_files(Path::new("user")).await.unwrap(), [Path::new("user/src/a.rs")]);
    let below = Git::open(&clone.path().join("user/src")).await.unwrap();
    assert_eq!(
        (below.prefix.as_str(), below.directory()),
        ("user/src/", clone.path().canonicalize().unwrap().as_path())
    );
    assert_eq!(below.tracked_files(Path::new("user")).await.unwrap(), [Path::new("user/src/a.rs")]);
}

#[tokio::test]
async fn a_remote_that_wants_credentials_is_an_error_and_no_question() {
    let clone = Origin::new().clone_full();
    clone.commit("first");
    // Answers every request with 401, as a private repository does.
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = "HTTP/1.1 401 no\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let url = format!("http://name:secret-word@{address}/x.git");
    clone.git(["remote", "set-url", "origin", &url]);
    clone.git(["config", "credential.helper", ""]);
    let error = open(&clone).await.list("origin").await.unwrap_err();
    assert!(matches!(error, GitError::Remote { .. }), "{error}");
    let all = format!("{error} {} {error:?}", error.hint().unwrap());
    assert!(all.contains("origin") && all.contains("token or key"), "{all}");
    assert!(!all.contains("secret-word"), "{all}");
}
