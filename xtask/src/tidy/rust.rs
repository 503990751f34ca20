//! What Rust files hold, and what they do not.
//!
//! Most of this clippy says too; here it is said of files that no feature set compiles, without a
//! build, and of attributes that would silence clippy.

use super::Finding;
use super::mask::mask;

/// Written in pieces, so that this file does not find itself.
const BANNED: &[(&str, &str)] = &[
    (concat!("to", "do!"), "finish it, or leave it out"),
    (concat!("unimple", "mented!"), "finish it, or leave it out"),
    (concat!("db", "g!"), "take it out, or log it with tracing"),
    (concat!("#[", "ignore"), "a test that does not run says so at run time, with the reason"),
    (concat!("#[", "allow("), "use #[expect(…, reason = \"…\")]: it complains when it is no longer needed"),
    (concat!("#![", "allow("), "use #[expect(…, reason = \"…\")] at the one place that needs it"),
];

/// The comment that a sleep in a test needs, with what it waits for.
const WAITS: &str = "// waits:";

/// Checks one Rust file.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let masked = mask(text);
    let mut findings: Vec<Finding> = header(path, text).into_iter().collect();
    for (number, line) in (1..).zip(masked.lines()) {
        for (word, remedy) in BANNED.iter().filter(|(word, _)| has_word(line, word)) {
            findings.push(Finding::error(path, number, format!("`{word}`: {remedy}")));
        }
    }
    findings.extend(sleeps(path, text, &masked));
    findings
}

fn header(path: &str, text: &str) -> Option<Finding> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    (!first.starts_with("//!")).then(|| {
        Finding::error(
            path,
            1,
            "does not open with `//!`: say what it is for, what it promises, what it leaves to others",
        )
    })
}

/// Whether `word` stands in `line` and is not the tail of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Tests wait for a state; one that must let time pass says what for.
fn sleeps(path: &str, text: &str, masked: &str) -> Vec<Finding> {
    let test_file = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs");
    let module = masked.lines().position(|line| line.trim() == "#[cfg(test)]");
    let from = if test_file { Some(0) } else { module };
    let Some(from) = from else { return Vec::new() };
    let lines: Vec<&str> = text.lines().collect();
    let explained = |at: usize| {
        let first = at.saturating_sub(2);
        lines[first..=at].iter().any(|line| line.contains(WAITS))
    };
    masked
        .lines()
        .enumerate()
        .skip(from)
        .filter(|(at, line)| has_word(line, "sleep(") && !line.contains("fn sleep(") && !explained(*at))
        .map(|(at, _)| {
            let what = format!("a sleep in a test: wait for the state, or say above it `{WAITS} …` what for");
            Finding::error(path, at + 1, what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(path, text).into_iter().map(|found| found.line).collect()
    }

    #[test]
    fn a_file_opens_with_what_it_is_for() {
        assert_eq!(lines("a.rs", "//! Words.\nuse x;\n"), [0; 0]);
        assert_eq!(lines("a.rs", "use x;\n//! Words.\n"), [1]);
        assert_eq!(lines("a.rs", ""), [1]);
    }

    #[test]
    fn unfinished_work_and_silenced_lints_are_named() {
        for (word, _) in BANNED {
            let text = format!("//! Words.\n// {word}\nlet s = \"{word}\";\n    {word}\n");
            assert_eq!(lines("a.rs", &text), [4], "{word}");
        }
        assert_eq!(lines("a.rs", "//! Words.\nmy_dbg!(1);\n"), [0; 0]);
    }

    #[test]
    fn a_sleep_is_for_the_product_or_explained() {
        let sleep = "tokio::time::sleep(second).await;\n";
        assert_eq!(lines("crates/a/src/a.rs", &format!("//! W.\n{sleep}")), [0; 0]);
        assert_eq!(lines("crates/a/tests/it/main.rs", &format!("//! W.\n{sleep}")), [2]);
        assert_eq!(
            lines("crates/a/src/a.rs", &format!("//! W.\n#[cfg(test)]\nmod tests {{\n{sleep}}}\n")),
            [4]
        );
        assert_eq!(lines("tests/a.rs", &format!("//! W.\n// waits: for the clock itself\n{sleep}")), [0; 0]);
    }
}
