//! What no text of the project holds: white space at the end of a line, tabs, words of a workplace.

use super::Finding;

/// Files whose lines we choose. Snapshots, licences and lock files are as their makers wrote them.
const OURS: &[&str] =
    &[".rs", ".toml", ".md", ".sql", ".sh", ".py", ".yml", ".html", ".css", ".js", ".ci/run"];

/// What belongs to the place where something was written and not to the project.
/// In pieces, so that this file does not find itself.
const BANNED: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of one machine: write it from the project's root"),
    (concat!("Cla", "ude"), "name what was done, not with which tool"),
    (concat!("Anthro", "pic"), "name what was done, not with which tool"),
    (concat!("Chat", "GPT"), "name what was done, not with which tool"),
    (concat!("Copi", "lot"), "name what was done, not with which tool"),
    (concat!("Co-authored", "-by:"), "leave it out"),
    (concat!("index", "-url"), "a registry's address is the user's to choose: leave it out"),
    (concat!("spar", "se+"), "a registry's address is the user's to choose: leave it out"),
];

/// Words that promise work; each needs the issue that will do it.
const PROMISES: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Programs of the user's specification, kept letter for letter.
fn is_quoted(path: &str) -> bool {
    path.starts_with("tests/python/") && path.ends_with(".py")
}

/// Checks one text file.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ours = OURS.iter().any(|end| path.ends_with(end)) && !is_quoted(path);
    for (number, line) in (1..).zip(text.lines()) {
        for (word, remedy) in BANNED.iter().filter(|(word, _)| holds(line, word)) {
            findings.push(Finding::error(path, number, format!("`{word}`: {remedy}")));
        }
        for word in PROMISES.iter().filter(|word| ours && promises(line, word)) {
            findings.push(Finding::error(
                path,
                number,
                format!("`{word}` without an issue: do it, or write `{word}(#N)`"),
            ));
        }
        if ours && line.ends_with([' ', '\t']) {
            findings.push(Finding::error(path, number, "white space at the end of the line: take it out"));
        }
        if ours && line.contains('\t') {
            findings.push(Finding::error(path, number, "a tab: use spaces, in a string `\\t`"));
        }
    }
    if ours && !text.is_empty() && !text.ends_with('\n') {
        findings.push(Finding::error(
            path,
            text.lines().count(),
            "no line break at the end of the file: add it",
        ));
    }
    findings
}

/// A path counts where it begins (`a/work/b` is somebody's directory), a word where it stands alone.
fn holds(line: &str, word: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let word = word.to_ascii_lowercase();
    line.match_indices(&word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let open = |c: Option<char>| joined(c) || matches!(c, Some('}' | '.' | '~' | '-' | '>' | ')' | '$'));
        if word.starts_with('/') {
            !open(before)
        } else {
            !joined(before) && !joined(after) || word.ends_with(['+', ':'])
        }
    })
}

fn promises(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + word.len()..];
        let alone = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
        alone(before) && alone(after.chars().next()) && !after.starts_with("(#")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(path, text).len()
    }

    #[test]
    fn words_of_a_workplace_are_named_wherever_they_stand() {
        for (word, _) in BANNED {
            assert!(count("a.snap", &format!("see {word} x\n")) > 0, "{word}");
        }
        assert_eq!(count("a.rs", concat!("let dir = format!(\"{job}/wo", "rk/input\");\n")), 0);
    }

    #[test]
    fn a_promise_names_its_issue() {
        for word in PROMISES {
            assert_eq!(count("a.md", &format!("{word}: later\n")), 1, "{word}");
            assert_eq!(count("a.md", &format!("{word}(#12): later\n")), 0, "{word}");
            assert_eq!(count("a.md", &format!("A{word}S\n")), 0, "{word}");
        }
    }

    #[test]
    fn white_space_is_ours_to_mend_in_our_files_only() {
        assert_eq!(count("a.md", "line \n"), 1);
        assert_eq!(count("a.rs", "\tx\n"), 1);
        assert_eq!(count("a.rs", "x"), 1);
        assert_eq!(count("a.snap", "line \n\tx"), 0);
        assert_eq!(count("tests/python/a.py", "line \n"), 0);
    }
}
