//! Looking into build scripts that only their own tool could really read.

/// The script without comments. Quotes are respected, so that `"http://…"` stays.
pub(super) fn uncommented(script: &str) -> String {
    let mut kept = String::with_capacity(script.len());
    let mut rest = script;
    let mut quote: Option<char> = None;
    while let Some(c) = rest.chars().next() {
        let skipped = match quote {
            None if rest.starts_with("//") => Some(rest.find('\n').unwrap_or(rest.len())),
            None if rest.starts_with("/*") => Some(rest.find("*/").map_or(rest.len(), |end| end + 2)),
            _ => None,
        };
        if let Some(skipped) = skipped {
            rest = rest.get(skipped..).unwrap_or_default();
            continue;
        }
        quote = match quote {
            None if matches!(c, '"' | '\'') => Some(c),
            Some(open) if open == c || c == '\n' => None,
            other => other,
        };
        kept.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    kept
}

/// What follows each place where a word stands by itself.
pub(super) fn after<'s>(script: &'s str, word: &str) -> Vec<&'s str> {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    script
        .match_indices(word)
        .filter_map(|(at, found)| {
            let before = script.get(..at)?.chars().next_back();
            let behind = script.get(at + found.len()..)?;
            let alone = !before.is_some_and(part) && !behind.chars().next().is_some_and(part);
            alone.then_some(behind)
        })
        .collect()
}

/// The quoted text at the beginning, and what follows it.
pub(super) fn quoted(script: &str) -> Option<(&str, &str)> {
    let quote = script.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    script.get(1..)?.split_once(quote)
}

/// The texts of a list of quoted texts that begins here, with or without a parenthesis.
pub(super) fn list(script: &str) -> Vec<&str> {
    let mut texts = Vec::new();
    let mut rest = script.trim_start().trim_start_matches('(').trim_start();
    while let Some((text, behind)) = quoted(rest) {
        texts.push(text);
        match behind.trim_start().strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None => break,
        }
    }
    texts
}

/// The text that is assigned to a name: `name = 'x'`, `name 'x'`, `name.set("x")`.
pub(super) fn assigned<'s>(script: &'s str, name: &str) -> Option<&'s str> {
    after(script, name).into_iter().find_map(|rest| {
        let rest = rest.trim_start_matches([' ', '\t']);
        let rest = rest.strip_prefix(".set(").or_else(|| rest.strip_prefix('=')).unwrap_or(rest);
        quoted(rest.trim_start_matches([' ', '\t'])).map(|(text, _)| text)
    })
}

/// The insides of the blocks in braces that a word introduces: `subprojects { … }`.
pub(super) fn blocks<'s>(script: &'s str, word: &str) -> Vec<&'s str> {
    after(script, word).into_iter().filter_map(|rest| block(rest.trim_start())).collect()
}

/// The inside of the block in braces that begins here.
pub(super) fn block(script: &str) -> Option<&str> {
    let inside = script.strip_prefix('{')?;
    let mut depth = 1_usize;
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return inside.get(..at);
        }
    }
    Some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_quotes_stay() {
        assert_eq!(uncommented("a // b\nc 'x//y' /* z */ \"/*\""), "a \nc 'x//y'  \"/*\"");
    }

    #[test]
    fn lists_assignments_and_blocks_are_found() {
        assert_eq!(list(" ('a',\n  \"b\")"), ["a", "b"]);
        for script in ["x = 'y'", "x.set(\"y\")", "x 'y'"] {
            assert_eq!(assigned(script, "x"), Some("y"), "{script}");
        }
        assert_eq!(assigned("xx = 'y'", "x"), None);
        assert_eq!(blocks("sub { a { b } } c", "sub"), [" a { b } "]);
    }
}
