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
