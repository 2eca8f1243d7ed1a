//! Help, completions, manual, and what a wrong command line says.

use std::process::Command;

fn bowline(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_bowline")).args(args).output().unwrap()
}

#[test]
fn help_names_the_verbs_and_exits_0() {
    let output = bowline(&["--help"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("completions"));
}

#[test]
fn an_unknown_verb_exits_2() {
    assert_eq!(bowline(&["sail"]).status.code(), Some(2));
}

#[test]
fn a_directory_is_named_before_or_after_the_verb() {
    let empty = tempfile::tempdir().unwrap();
    let place = empty.path().to_str().unwrap();
    for arguments in [["-C", place, "build"], ["build", "-C", place]] {
        let output = bowline(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("there is no bowline.toml in {place}")), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
    for verb in ["build", "version", "init"] {
        let output = bowline(&["-C", "/there/is/none", verb]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("working in /there/is/none\n  because there is no such directory"), "{said}");
        assert_eq!(output.status.code(), Some(2), "{verb}");
    }
    let here = Command::new(env!("CARGO_BIN_EXE_bowline")).arg("init").current_dir(&empty).output().unwrap();
    assert!(String::from_utf8_lossy(&here.stderr).contains("nothing in this directory tells"), "{here:?}");
}

#[test]
fn what_every_verb_takes_is_told_after_what_this_one_takes() {
    let output = bowline(&["ship", "--help"]);
    let help = String::from_utf8_lossy(&output.stdout);
    let places: Vec<_> = ["--commit", "--wait", "--directory", "--json", "--quiet", "--help"]
        .map(|name| help.find(name))
        .into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{help}");
}
