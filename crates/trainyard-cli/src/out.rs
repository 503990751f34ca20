//! What is written to stdout and stderr. The only file that does.
//!
//! Results go to stdout, everything about them to stderr. Control characters that come from a server are not let
//! through to a terminal, except line ends and tabs.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use serde::Serialize;
use serde_json::json;

use crate::exit::Failure;

/// Where results go, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    /// JSON instead of words.
    pub(crate) json: bool,
}

impl Out {
    /// One line of a result.
    pub(crate) fn line(self, text: impl Display) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{}", clean(&text.to_string()))?;
        Ok(stdout.flush()?)
    }

    /// One JSON value on one line.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_string(value).map_err(|error| Failure::failed("not JSON").because(&error))?;
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    /// JSON where it was asked for, else words.
    pub(crate) fn either(
        self,
        value: &impl Serialize,
        words: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json { self.json(value) } else { self.line(words()) }
    }

    /// Bytes as they are: a log.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }
}

/// A remark to stderr. Nobody is left to tell when it is closed.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{}", clean(&text.to_string()));
}

/// A failure to stderr; with `--json` also as one JSON object on stdout.
pub(crate) fn failure(failure: &Failure, json: bool) {
    if failure.quiet {
        return;
    }
    note(failure);
    if json {
        let body = json!({
            "error": failure.message,
            "detail": failure.detail.as_deref().unwrap_or(&failure.message),
            "code": failure.code,
            "hint": failure.hint,
            "exit_code": failure.exit.number(),
        });
        let _ = writeln!(std::io::stdout(), "{body}");
    }
}

/// Whether a person watches stderr, where progress is drawn.
pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// A table in the plain style: no lines, columns aligned, nothing wrapped, so that it can be cut and searched.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut all = vec![header.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()];
    all.extend(rows);
    let columns = all.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|i| all.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The text without control characters (a terminal would obey them), line ends and tabs excepted.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// Bytes in words: `1.2 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Seconds in words: `2 h 05 min`, `3 min 12 s`, `8 s`.
pub(crate) fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_sends_cannot_drive_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\nc\td"), "a\u{fffd}[2Jb\u{fffd}\nc\td");
    }

    #[test]
    fn sizes_and_durations_in_words() {
        assert_eq!(
            [0, 999, 1000, 1_048_576, 999_990_000].map(size),
            ["0 B", "999 B", "1.0 kB", "1.0 MB", "1.0 GB"]
        );
        assert_eq!([8, 192, 7_530].map(duration), ["8 s", "3 min 12 s", "2 h 05 min"]);
    }

    #[test]
    fn a_table_is_aligned_and_has_no_lines() {
        let text = table(
            &["JOB", "STATE"],
            [vec!["a".to_owned(), "running".to_owned()], vec!["long-name".to_owned(), "x".to_owned()]],
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].find("STATE"), lines[1].find("running"), "{text}");
    }
}
