//! One room in memory and on disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::Value;

/// Messages of one room, numbered from 1.
pub struct Room {
    file: File,
    messages: Vec<Value>,
    places: BTreeMap<String, usize>,
}

impl Room {
    /// Reads a room's file, which is made if it is missing. A last line that was not written to its end is cut off.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut content = Vec::new();
        io::Read::read_to_end(&mut file, &mut content)?;
        let mut room = Self { file, messages: Vec::new(), places: BTreeMap::new() };
        let mut whole = 0;
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            let Ok(message) = serde_json::from_slice::<Value>(line) else { break };
            if line.last() != Some(&b'\n') {
                break;
            }
            whole += line.len();
            room.remember(message);
        }
        if whole < content.len() {
            room.file.set_len(whole as u64)?;
        }
        Ok(room)
    }

    fn remember(&mut self, message: Value) {
        let id = message.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.places.insert(id, self.messages.len());
        self.messages.push(message);
    }

    /// The number of the newest message, 0 for none.
    pub fn last(&self) -> usize {
        self.messages.len()
    }

    /// The newest messages with a number above `after`, at most `limit`.
    pub fn after(&self, after: u64, limit: usize) -> Vec<Value> {
        let skip =
            usize::try_from(after).unwrap_or(usize::MAX).max(self.messages.len().saturating_sub(limit));
        self.messages.iter().skip(skip).cloned().collect()
    }

    /// Writes a message to the disk and gives it; or the one that has this id already.
    pub fn keep(&mut self, make: impl FnOnce(usize) -> Value, id: &str) -> io::Result<Value> {
        if let Some(message) = self.places.get(id).and_then(|place| self.messages.get(*place)) {
            return Ok(message.clone());
        }
        let message = make(self.messages.len() + 1);
        let before = self.file.metadata()?.len();
        let written =
            self.file.write_all(format!("{message}\n").as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line would swallow the next one.
            self.file.set_len(before)?;
            return Err(error);
        }
        self.remember(message.clone());
        Ok(message)
    }
}
