//! Saying that a test cannot run here.

use std::io::Write as _;
use std::path::Path;

/// Whether a test that cannot run must fail instead of being skipped: `CI=true` or
/// `BOWLINE_TEST_REQUIRE_ENGINES=1` is set.
pub fn engines_are_required() -> bool {
    let says = |name: &str, value: &str| std::env::var(name).is_ok_and(|given| given == value);
    says("CI", "true") || says("BOWLINE_TEST_REQUIRE_ENGINES", "1")
}

/// Whether tests do without engines, as `scripts/test --quick` does: `BOWLINE_TEST_WITHOUT_ENGINES=1` is set.
pub fn engines_are_unwanted() -> bool {
    std::env::var("BOWLINE_TEST_WITHOUT_ENGINES").is_ok_and(|given| given == "1")
}

/// Prints `SKIPPED: why` past the test harness's capture and gives `None`.
///
/// # Panics
/// Where engines are required (see [`engines_are_required`]).
pub fn skip<T>(why: &str) -> Option<T> {
    assert!(!engines_are_required(), "this test must run here, and cannot: {why}");
    let thread = std::thread::current();
    // `eprintln!` would be swallowed when the test passes, and a skipped test passes.
    let line = format!("SKIPPED: {}: {why}\n", thread.name().unwrap_or("a test"));
    std::io::stderr().write_all(line.as_bytes()).ok();
    None
}

/// The first of `programs` that is neither on `PATH` nor where Debian keeps root's programs.
pub fn missing_program<'a>(programs: &[&'a str]) -> Option<&'a str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin".into(), "/sbin".into()]);
    programs.iter().copied().find(|program| !folders.iter().any(|folder| folder.join(program).is_file()))
}

/// Whether this process is root, whom namespaces and engines need.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    Path::new("/proc/self").metadata().is_ok_and(|metadata| metadata.uid() == 0)
}
