//! Titles of merged changes: the tokens in them, and the commit messages they are dug out of.
//!
//! Titles are written by strangers. Nothing here runs, expands or trusts them, and [`excerpt`] is what may be shown.

use crate::bump::Bump;

/// The tokens of one title.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// The highest of `[major]`, `[minor]`, `[patch]`.
    pub bump: Option<Bump>,
    /// Whether there is a `[skip]`.
    pub skip: bool,
    /// Whether there are several different tokens.
    pub several: bool,
}

/// Reads the tokens, in any case, anywhere in the title, except in what a revert quotes:
/// `Revert "[major] x"` takes something back and does not ask for a major version.
pub fn parse(title: &str) -> Marks {
    let mut marks = Marks::default();
    let (before, after) = unquoted(title);
    for part in [before, after] {
        for (start, _) in part.match_indices('[') {
            let Some(rest) = part.get(start + 1..) else { continue };
            let token = |word: &str| {
                rest.get(..word.len()).is_some_and(|text| text.eq_ignore_ascii_case(word))
                    && rest.get(word.len()..).is_some_and(|text| text.starts_with(']'))
            };
            if token("skip") {
                marks.several |= marks.bump.is_some();
                marks.skip = true;
            }
            for (word, bump) in [("major", Bump::Major), ("minor", Bump::Minor), ("patch", Bump::Patch)] {
                if token(word) {
                    marks.several |= marks.skip || marks.bump.is_some_and(|other| other != bump);
                    marks.bump = marks.bump.max(Some(bump));
                }
            }
        }
    }
    marks
}

/// The title without what a revert quotes, as the parts before and after it. A quotation that is cut off (hosts
/// shorten long titles) reaches to the end.
fn unquoted(title: &str) -> (&str, &str) {
    const REVERT: &str = "revert \"";
    // Lower-casing ASCII keeps every byte offset.
    let Some(start) = title.to_ascii_lowercase().find(REVERT) else { return (title, "") };
    let quoted = title.get(start + REVERT.len()..).unwrap_or("");
    let after = quoted.rsplit_once('"').map_or("", |(_, after)| after);
    (title.get(..start).unwrap_or(""), after)
}

/// How a change came onto the branch, as far as its commit tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// A merge commit made for a pull request: its other parents are that request's own commits.
    Request,
    /// One commit made of a whole pull request.
    Squash,
    /// Neither: a direct push, a rebased commit, a merge made by hand.
    None,
}

/// What a commit message says about the change behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// The title of the pull request where the message has it, else the subject.
    pub title: &'a str,
    /// The pull request's number.
    pub number: Option<u64>,
    /// How it came here.
    pub merge: Merge,
    /// Whether the branch is one that Dependabot or Renovate make.
    pub bot_branch: bool,
}

/// Finds title and number in the messages that GitHub, GitLab, Gitea, Bitbucket and Azure DevOps write.
/// `parents` is how many the commit has.
pub fn parse_message(message: &str, parents: usize) -> Message<'_> {
    let message = message.trim_start_matches(['\n', '\r']);
    let (subject, body) = message.split_once('\n').unwrap_or((message, ""));
    let subject = subject.trim();
    let first = body.lines().map(str::trim).find(|line| !line.is_empty());
    let merge = parents > 1;
    if merge && let Some(rest) = subject.strip_prefix("Merge pull request #") {
        let (number, branch) = leading_number(rest);
        let bot_branch = ["/dependabot/", "/renovate/"].iter().any(|name| branch.contains(name));
        return Message { title: first.unwrap_or(subject), number, merge: Merge::Request, bot_branch };
    }
    if merge && let Some(rest) = subject.strip_prefix("Merge pull request '") {
        // Gitea: Merge pull request 'TITLE' (#12) from BRANCH into main
        let (title, after) = rest.rsplit_once("' (#").unwrap_or((rest, ""));
        let (number, branch) = leading_number(after);
        let bot_branch = branch.contains(" from renovate/") || branch.contains(" from dependabot/");
        return Message { title, number, merge: Merge::Request, bot_branch };
    }
    if merge
        && subject.starts_with("Merge branch '")
        && let Some(number) = merge_request(body)
    {
        return Message { title: first.unwrap_or(subject), number, merge: Merge::Request, bot_branch: false };
    }
    if merge
        && subject.starts_with("Merged in ")
        && let Some((_, rest)) = subject.rsplit_once("(pull request #")
    {
        let number = leading_number(rest).0;
        return Message { title: first.unwrap_or(subject), number, merge: Merge::Request, bot_branch: false };
    }
    if let Some((number, title)) = subject.strip_prefix("Merged PR ").and_then(|rest| rest.split_once(": ")) {
        let how = if merge { Merge::Request } else { Merge::Squash };
        return Message { title, number: number.parse().ok(), merge: how, bot_branch: false };
    }
    let number =
        subject.strip_suffix(')').and_then(|rest| rest.rsplit_once("(#")).and_then(|(_, n)| n.parse().ok());
    let how = match number {
        Some(_) if merge => Merge::Request,
        Some(_) => Merge::Squash,
        None => Merge::None,
    };
    Message { title: subject, number, merge: how, bot_branch: false }
}

/// GitLab's last line: `See merge request group/project!12`. The outer option says whether there is one.
fn merge_request(body: &str) -> Option<Option<u64>> {
    let line = body.lines().rev().map(str::trim).find_map(|line| line.strip_prefix("See merge request "))?;
    Some(line.rsplit_once('!').and_then(|(_, number)| number.parse().ok()))
}

fn leading_number(text: &str) -> (Option<u64>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text.get(..end).and_then(|digits| digits.parse().ok()), text.get(end..).unwrap_or(""))
}

/// Whether this login or author name is one that writes titles by machine.
pub fn is_bot(author: &str) -> bool {
    let author = author.trim().to_lowercase();
    author.ends_with("[bot]")
        || ["dependabot", "dependabot-preview", "renovate", "renovate-bot", "renovate bot"]
            .contains(&author.as_str())
}

/// The beginning of a title on one line, safe to show: control characters become visible, and the marks by which
/// GitHub's runner finds commands inside a line (`##[`) or turns the reading direction are broken.
pub fn excerpt(title: &str) -> String {
    const LENGTH: usize = 100;
    let mut text = String::new();
    for c in title.trim().chars().take(LENGTH) {
        match c {
            c if c.is_control() => text.extend(c.escape_default()),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => {
                text.extend(c.escape_unicode());
            }
            '[' if text.ends_with("##") => text.push_str(" ["),
            c => text.push(c),
        }
    }
    if title.trim().chars().nth(LENGTH).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_found_anywhere_and_in_any_case() {
        for (title, bump, skip, several) in [
            ("[major] drop v1", Some(Bump::Major), false, false),
            ("add rooms [MiNoR]", Some(Bump::Minor), false, false),
            ("fix[patch]typo", Some(Bump::Patch), false, false),
            ("[patch] [major] x", Some(Bump::Major), false, true),
            ("[major][major] x", Some(Bump::Major), false, false),
            ("[skip] docs", None, true, false),
            ("[skip] [minor] x", Some(Bump::Minor), true, true),
            ("[[major]]", Some(Bump::Major), false, false),
            ("[ major ] x", None, false, false),
            ("major: x", None, false, false),
            ("[majority] x", None, false, false),
            ("[major", None, false, false),
            ("", None, false, false),
            ("Revert \"[major] x\"", None, false, false),
            ("Revert \"Revert \"[major] x\"\" (#4)", None, false, false),
            ("[patch] Revert \"[major] x\"", Some(Bump::Patch), false, false),
            ("Revert \"[major] x\" [minor]", Some(Bump::Minor), false, false),
            ("Revert the [major] thing", Some(Bump::Major), false, false),
            ("Reapply \"[major] x\"", Some(Bump::Major), false, false),
            ("$(touch /tmp/x) `id` \u{1b}[31m[minor]", Some(Bump::Minor), false, false),
        ] {
            assert_eq!(parse(title), Marks { bump, skip, several }, "{title}");
        }
    }

    #[test]
    fn titles_are_dug_out_of_the_messages_that_hosts_write() {
        for (message, parents, title, number, merge) in [
            (
                "Merge pull request #12 from ada/rooms\n\n[minor] Rooms\n\nmore",
                2,
                "[minor] Rooms",
                Some(12),
                Merge::Request,
            ),
            (
                "Merge pull request #12 from ada/rooms",
                2,
                "Merge pull request #12 from ada/rooms",
                Some(12),
                Merge::Request,
            ),
            (
                "Merge pull request '[minor] Rooms' (#7) from rooms into main",
                2,
                "[minor] Rooms",
                Some(7),
                Merge::Request,
            ),
            (
                "Merge branch 'rooms' into 'main'\n\n[minor] Rooms\n\nSee merge request chat/chat!34",
                2,
                "[minor] Rooms",
                Some(34),
                Merge::Request,
            ),
            (
                "Merged in rooms (pull request #5)\n\n[minor] Rooms",
                2,
                "[minor] Rooms",
                Some(5),
                Merge::Request,
            ),
            ("Merged PR 99: [minor] Rooms", 1, "[minor] Rooms", Some(99), Merge::Squash),
            ("[minor] Rooms (#12)\n\n* [major] first try", 1, "[minor] Rooms (#12)", Some(12), Merge::Squash),
            ("[minor] Rooms (#12)", 2, "[minor] Rooms (#12)", Some(12), Merge::Request),
            ("Merge branch 'rooms'", 2, "Merge branch 'rooms'", None, Merge::None),
            ("fix it\n\nfor good", 1, "fix it", None, Merge::None),
            ("\n\nfix it", 1, "fix it", None, Merge::None),
            ("", 1, "", None, Merge::None),
            (
                "Merge pull request #99999999999999999999999 from x",
                2,
                "Merge pull request #99999999999999999999999 from x",
                None,
                Merge::Request,
            ),
        ] {
            let expected = Message { title, number, merge, bot_branch: false };
            assert_eq!(parse_message(message, parents), expected, "{message}");
        }
    }

    #[test]
    fn bots_are_known_by_login_name_and_branch() {
        assert!(is_bot("dependabot[bot]") && is_bot("Renovate Bot") && is_bot("github-actions[bot]"));
        assert!(!is_bot("Robot Jones") && !is_bot(""));
        assert!(parse_message("Merge pull request #3 from chat/dependabot/npm/x-1", 2).bot_branch);
    }

    #[test]
    fn an_excerpt_is_short_and_harmless() {
        assert_eq!(excerpt("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(excerpt("##[set-output name=x]y"), "## [set-output name=x]y");
        assert!(excerpt(&"x".repeat(10_000_000)).len() < 200);
    }

    proptest! {
        #[test]
        fn no_title_panics_and_no_excerpt_has_control_characters(title in any::<String>()) {
            let _ = (parse(&title), parse_message(&title, 1), parse_message(&title, 2));
            prop_assert!(!excerpt(&title).chars().any(char::is_control));
        }

        #[test]
        fn a_token_counts_whatever_stands_around_it(before in "[^\"]*", after in "[^\"]*") {
            prop_assert_eq!(parse(&format!("{before}[major]{after}")).bump, Some(Bump::Major));
        }
    }
}
