use proptest::prelude::*;

use super::*;

const TO: &str =
    "r.example:5000/chat:user_v5.0.2@sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn change(line: u32, column: u32, pointer: &str, from: &str, to: &str) -> Change {
    let object = Origin { file: "a.yaml".into(), line, column };
    Change { object, pointer: pointer.into(), from: from.into(), to: to.into() }
}

#[test]
fn only_the_bytes_of_the_image_change() {
    for (before, after) in [
        ("image: x", "image: TO"),
        ("image: x # comment: y\r\nb:   [1, 2]\r\n", "image: TO # comment: y\r\nb:   [1, 2]\r\n"),
        ("# ü\nimage:   'x'   # ü\n", "# ü\nimage:   'TO'   # ü\n"),
        ("image: \"x\"\n\n\n", "image: \"TO\"\n\n\n"),
        ("image: \"\\x78\"\n", "image: \"TO\"\n"),
        ("{\"b\": 1,\t\"image\" : \"x\"}", "{\"b\": 1,\t\"image\" : \"TO\"}"),
        ("{image: x, b: 1}\n---\n  image:  x\n", "{image: TO, b: 1}\n---\n  image:  x\n"),
        ("image:\n  x\nb: 1\n", "image:\n  TO\nb: 1\n"),
        ("? image\n: x\n", "? image\n: TO\n"),
        ("\u{feff}image: x\n", "\u{feff}image: TO\n"),
        ("a: &a {b: 1, image: old}\n<<: *a\nimage: x\n", "a: &a {b: 1, image: old}\n<<: *a\nimage: TO\n"),
        ("a: &a {b: 1}\nimage: x\nc: *a\n", "a: &a {b: 1}\nimage: TO\nc: *a\n"),
    ] {
        let line = if before.starts_with('#') { 2 } else { 1 };
        let changes = [change(line, 1, "/image", "x", TO)];
        assert_eq!(edit("a.yaml", before, &changes), Ok(after.replace("TO", TO)), "{before:?}");
        assert_eq!(edit("b.yaml", before, &changes).as_deref(), Ok(before));
    }
}

#[test]
fn an_image_that_would_not_be_text_gets_quotes() {
    for (to, written) in
        [("123", "\"123\""), ("[::1]:5000/a", "\"[::1]:5000/a\""), ("1.5", "\"1.5\""), ("a", "a")]
    {
        let changed = edit("a.yaml", "image: x\n", &[change(1, 1, "/image", "x", to)]);
        assert_eq!(changed, Ok(format!("image: {written}\n")), "{to}");
    }
}

#[test]
fn what_has_a_part_in_something_else_is_refused_with_its_place() {
    for (text, place, reason) in [
        ("a: &i x\nimage: *i\n", "2:8", "alias"),
        ("image: &i x\nb: *i\n", "1:11", "use this elsewhere"),
        ("image: &i x\n", "1:11", "anchor"),
        ("a: &a {image: x}\n<<: *a\n", "2:1", "`<<`"),
        ("image: x\na: &a {image: x}\n<<: *a\n", "1:8", "mean something else"),
        ("image: x\na: &a {image: z}\n<<: *a\n", "1:8", "mean something else"),
        ("image: |\n  x\n", "2:3", "not `x`"),
        ("image: |-\n  x\n", "2:3", "block of lines"),
        ("image: >-\n  x\n", "2:3", "block of lines"),
        ("image: \"\\\n  x\"\n", "1:8", "several lines"),
        ("image: !!str x\n", "1:14", "tag"),
        ("image: y\n", "1:8", "`y` stands here"),
        ("image: [x]\n", "1:8", "no text"),
        ("imago: x\n", "1:1", "no `image`"),
        ("image: x\nb: [\n", "2:4", "not valid YAML"),
        ("image: x\nb: 1\nb: 2\n", "3:1", "a second time"),
    ] {
        let refused = edit("a.yaml", text, &[change(1, 1, "/image", "x", TO)]).unwrap_err();
        let [remark] = refused.as_slice() else { panic!("{text}: {refused:?}") };
        assert!(remark.to_string().starts_with(&format!("a.yaml:{place}: ")), "{text}: {remark}");
        assert!(remark.message.contains(reason), "{text}: {remark}");
    }
    let lines = edit("a.yaml", "image: x\n  y\n", &[change(1, 1, "/image", "x y", TO)]).unwrap_err();
    assert!(lines[0].message.contains("several lines"), "{lines:?}");
    let shared = "t: &t\n  c:\n  - image: x\nu: *t\n";
    let refused = edit("a.yaml", shared, &[change(1, 1, "/t/c/0/image", "x", TO)]).unwrap_err();
    assert!(refused[0].message.contains("elsewhere"), "{refused:?}");
}

#[test]
fn changes_that_do_not_fit_are_refused_together() {
    let text = "a: x\nb: y\n";
    let refused = edit(
        "a.yaml",
        text,
        &[
            change(1, 1, "/a", "x", "one"),
            change(1, 1, "/a", "x", "two"),
            change(1, 1, "/b", "x", "one"),
            change(1, 1, "/b", "y", "no image"),
            change(7, 1, "/b", "y", "one"),
        ],
    );
    assert_eq!(refused.unwrap_err().len(), 4);
    let twice = [change(1, 1, "/a", "x", "one"), change(1, 1, "/a", "x", "one")];
    assert_eq!(edit("a.yaml", text, &twice).as_deref(), Ok("a: one\nb: y\n"));
}

#[test]
fn objects_of_lists_and_of_later_documents_are_found() {
    let text = "kind: List\nitems:\n- kind: Pod\n  image: x\n- kind: Pod\n  image: x\n---\nimage: x\n";
    let changes = [change(5, 3, "/image", "x", "two"), change(8, 1, "/image", "x", "three")];
    let expected =
        "kind: List\nitems:\n- kind: Pod\n  image: x\n- kind: Pod\n  image: two\n---\nimage: three\n";
    assert_eq!(edit("a.yaml", text, &changes).as_deref(), Ok(expected));
}

/// Pieces of a document: an image in some style, and what stands between.
fn line() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    let before = prop::sample::select(vec!["", "# ü: 'x\n", "\n", "# image: old\r\n", "   \n"]);
    let quote = prop::sample::select(vec!["", "'", "\""]);
    let after = prop::sample::select(vec!["\n", "\r\n", "   # image: old\n", " # \"\n\n", "\t# ä\r\n"]);
    (before, quote, after)
}

proptest! {
    #[test]
    fn other_bytes_never_change(
        lines in prop::collection::vec((line(), any::<bool>()), 1..12),
        to in "[a-z][a-z0-9]{0,8}(\\.[a-z]{2}(:[0-9]{2,4})?/[a-z]{1,5})?(:[a-z0-9_][a-z0-9_.-]{0,6}[a-z])?",
    ) {
        let (mut text, mut expected, mut changes) = (String::from("images:\n"), String::from("images:\n"), Vec::new());
        for (index, ((before, quote, after), wanted)) in lines.iter().enumerate() {
            let write = |image: &str| format!("{before}- name: c{index}\n  image:  {quote}{image}{quote}{after}");
            text.push_str(&write("old"));
            expected.push_str(&write(if *wanted { to.as_str() } else { "old" }));
            if *wanted {
                changes.push(change(1, 1, &format!("/images/{index}/image"), "old", &to));
            }
        }
        // Words that mean something without quotes get them.
        prop_assume!(is_plain(&to));
        prop_assert_eq!(edit("a.yaml", &text, &changes), Ok(expected));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-:a ,\\[\\]{}&*!|>'\"#\n\r\t<ü]{0,60}", pointer in "(/[a0-2])*") {
        let changes = [change(1, 1, &pointer, "a", "b")];
        let changed = edit("a.yaml", &text, &changes);
        if let Ok(changed) = changed {
            prop_assert!(changed.len() >= text.len());
        }
    }
}
