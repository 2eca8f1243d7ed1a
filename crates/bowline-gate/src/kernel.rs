//! What the kernel writes into its files, as values. Everything here is given the text of a file and reads none.
//!
//! A file that is not as it should be gives nothing rather than a wrong figure: kernels differ in what they tell.

pub mod cgroup;
pub mod disk;
pub mod memory;
pub mod network;
pub mod pressure;
pub mod process;
pub mod processor;

/// The number behind a key, in files of lines `KEY NUMBER`.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == key).then(|| words.next()?.parse().ok())?
    })
}
