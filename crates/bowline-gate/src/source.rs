//! Reads the kernel's files.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Reads one small file after the other into the same place: thousands a day, for years.
#[derive(Debug, Default)]
pub struct Source {
    bytes: Vec<u8>,
}

impl Source {
    /// The text of a file; nothing where it is not there, may not be read, or went away in the middle.
    pub fn text(&mut self, path: &Path) -> Option<&str> {
        self.bytes.clear();
        let mut file = File::open(path).ok()?;
        file.read_to_end(&mut self.bytes).ok()?;
        std::str::from_utf8(&self.bytes).ok()
    }
}
