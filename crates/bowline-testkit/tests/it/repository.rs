use bowline_testkit::repository::Origin;

#[test]
fn equal_steps_give_equal_commits() {
    let make = || {
        let origin = Origin::new();
        let clone = origin.clone_full();
        clone.write("a/b.txt", "one").commit("first");
        clone.tag("v1.0.0").push();
        clone.merge_pull(7, "[minor] more", |work| {
            work.write("c", "two");
        });
        clone.squash_pull(8, "[patch] less", |work| {
            work.write("c", "three");
        });
        clone.tag_annotated("v1.1.0", "said").push();
        (clone.head(), origin.tags())
    };
    let (head, tags) = make();
    assert_eq!((head.clone(), tags.clone()), make());
    assert_eq!(tags.iter().map(|(tag, _)| tag.as_str()).collect::<Vec<_>>(), ["v1.0.0", "v1.1.0"]);
    assert_eq!(tags[1].1, head, "an annotated tag leads to its commit");
}

#[test]
fn clones_can_be_shallow_and_titles_are_where_github_puts_them() {
    let origin = Origin::new();
    let full = origin.clone_full();
    full.write("a", "1").commit("first");
    full.merge_pull(7, "[major] all new", |work| {
        work.write("b", "2");
    });
    full.push();
    let shallow = origin.clone_shallow(1);
    assert_eq!(shallow.git(["rev-list", "--count", "HEAD"]), "1");
    assert_eq!(shallow.head(), full.head());
    assert_eq!(
        full.git(["log", "-1", "--format=%B"]),
        "Merge pull request #7 from someone/pull-7\n\n[major] all new"
    );
}

#[test]
fn an_id_can_be_asked_for_and_a_hook_can_refuse() {
    let origin = Origin::new();
    let clone = origin.clone_full();
    clone.write("a", "1").commit("first");
    let id = clone.commit_until("digits first", |id| id.bytes().take(3).all(|byte| byte.is_ascii_digit()));
    assert!(id[..3].bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    origin.hook("pre-receive", "echo no >&2; exit 1");
    assert!(!clone.try_git(["push", "origin", "HEAD"]).status.success());
}
