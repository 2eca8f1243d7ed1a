//! Paths inside the repository, `""` being its root.

/// The directory of a file.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The last part of a path.
pub(super) fn last(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// A path relative to a directory, without `.` and `..`. `None` when it leads out or is absolute.
pub(super) fn join(directory: &str, path: &str) -> Option<String> {
    if path.starts_with(['/', '~']) || path.contains("://") {
        return None;
    }
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A file or glob in a directory.
pub(super) fn within(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.into() } else { format!("{directory}/{name}") }
}

/// Whether a path lies in a directory, or is it.
pub(super) fn lies_in(path: &str, directory: &str) -> bool {
    directory.is_empty()
        || path == directory
        || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// The directories of these files, those nearest to the root first.
pub(super) fn outermost<'p>(paths: impl Iterator<Item = &'p str>) -> Vec<&'p str> {
    let mut directories: Vec<&str> = paths.map(parent).collect();
    directories
        .sort_by_key(|directory| (directory.split('/').filter(|part| !part.is_empty()).count(), *directory));
    directories.dedup();
    directories
}

/// A path as one word of a command that is split as a shell would split it.
pub(super) fn word(path: &str) -> String {
    shlex::try_quote(path).map_or_else(|_| path.to_owned(), std::borrow::Cow::into_owned)
}

/// A path as a glob that matches it and nothing else.
pub(super) fn literal(path: &str) -> String {
    path.chars()
        .map(|c| if matches!(c, '[' | ']' | '{' | '}' | '*' | '?') { format!("[{c}]") } else { c.into() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_do_not_lead_out() {
        for (directory, path, joined) in [
            ("", ".", Some("")),
            ("deploy", "../user", Some("user")),
            ("a/b", "./c/../d", Some("a/b/d")),
            ("", "../x", None),
            ("", "/x", None),
            ("", "https://github.com/a/b", None),
        ] {
            assert_eq!(join(directory, path).as_deref(), joined, "{directory} {path}");
        }
        assert!(lies_in("a/b", "a") && lies_in("a", "a") && !lies_in("ab", "a"));
    }
}
