//! Configuration that others wrote: public demonstrations, which lie beside the checkout and are not in it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A folder of `shared/fixtures`, beside the checkout, however deep that lies, or of the directory that
/// `BOWLINE_TEST_FIXTURES` names. `None`, and a loud line, where there is none: that is no reason to fail, wherever this runs.
pub fn foreign(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = root.ancestors().map(|above| above.join("shared/fixtures"));
    let named = std::env::var_os("BOWLINE_TEST_FIXTURES").map(PathBuf::from);
    let found = named.into_iter().chain(beside).map(|path| path.join(name)).find(|path| path.is_dir());
    if found.is_none() {
        let thread = std::thread::current();
        let line = format!(
            "SKIPPED: {}: shared/fixtures/{name} is not beside the checkout\n",
            thread.name().unwrap_or("a test")
        );
        std::io::stderr().write_all(line.as_bytes()).ok();
    }
    found
}
