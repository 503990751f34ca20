//! New lines of a log that is only told as snapshots.
//!
//! Vast's answer to a request for a log is its last lines as they are now: no offset, no times. So a cursor holds how many
//! lines were seen and fingerprints of the last of them, and what stands after those in the next snapshot is new. Where
//! they are not found again, all of the snapshot is new, and a line says that some may be missing.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Lines that are asked for.
pub(crate) const TAIL_LINES: usize = 1000;
/// Most lines of an answer.
const LINES_MAX: usize = 1000;
/// Most bytes of a line.
const LINE_BYTES_MAX: usize = 4096;
/// Fingerprints that a cursor holds.
const PRINTS: usize = 16;
/// What stands where lines may be missing.
const GAP: &str = "[some lines may be missing here]";

/// Up to where one log was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Lines of the snapshot.
    seen: usize,
    /// Fingerprints of its last lines.
    prints: Vec<u32>,
}

impl Mark {
    /// Nothing was seen yet.
    pub(crate) fn is_new(&self) -> bool {
        self.seen == 0
    }

    /// The lines of a snapshot that come after this mark, and the mark after them.
    pub(crate) fn advance(&self, snapshot: &str) -> (Vec<String>, Mark) {
        let lines: Vec<&str> = snapshot.lines().collect();
        let prints: Vec<u32> = lines.iter().map(|line| print_of(line)).collect();
        let mark = Mark { seen: lines.len(), prints: prints[lines.len().saturating_sub(PRINTS)..].to_vec() };
        let fresh = |from: usize| lines[from..].iter().map(|line| clip(line)).collect::<Vec<_>>();
        match self.found_in(&prints) {
            Some(from) => (fresh(from), mark),
            None if lines.is_empty() => (Vec::new(), self.clone()),
            None => {
                let mut all = vec![GAP.to_owned()];
                all.extend(fresh(0));
                (all, mark)
            }
        }
    }

    /// Where the lines begin that come after this mark.
    fn found_in(&self, prints: &[u32]) -> Option<usize> {
        if self.seen == 0 {
            return Some(0);
        }
        let ends_at = |end: usize| end <= prints.len() && prints[..end].ends_with(&self.prints);
        // A snapshot that is not cut off begins where the log begins, so the count alone says it.
        if prints.len() < TAIL_LINES && ends_at(self.seen) {
            return Some(self.seen);
        }
        // The last place, should lines repeat themselves: rather none twice than all of them.
        (self.prints.len()..=prints.len()).rev().find(|end| ends_at(*end))
    }

    fn write(&self) -> String {
        let mut text = self.seen.to_string();
        for print in &self.prints {
            // Writing to a String does not fail.
            let _ = write!(text, ".{print:x}");
        }
        text
    }

    fn read(text: &str) -> Option<Mark> {
        let mut parts = text.split('.');
        let seen = parts.next()?.parse().ok()?;
        let prints = parts.map(|part| u32::from_str_radix(part, 16).ok()).collect::<Option<Vec<_>>>()?;
        (prints.len() <= PRINTS).then_some(Mark { seen, prints })
    }
}

/// Up to where both logs of a machine were seen: its container's and that of Vast's own program beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) container: Mark,
    pub(crate) daemon: Mark,
}

impl Cursor {
    /// Reads what an earlier answer gave; anything else starts anew.
    pub(crate) fn read(text: Option<&str>) -> Cursor {
        let marks = text.and_then(|text| text.split_once('/'));
        let marks = marks.and_then(|(one, two)| Some((Mark::read(one)?, Mark::read(two)?)));
        marks.map_or_else(Cursor::default, |(container, daemon)| Cursor { container, daemon })
    }

    /// The text that [`Cursor::read`] takes.
    pub(crate) fn write(&self) -> String {
        format!("{}/{}", self.container.write(), self.daemon.write())
    }
}

/// What lines of the bootstrap prove: why it cannot go on, and whether another machine could help.
pub(crate) fn broken_by(lines: &[String]) -> Option<(String, bool)> {
    lines.iter().find_map(|line| trainyard_agent::boot_failure(line))
}

/// The last lines that one answer holds.
pub(crate) fn at_most(mut lines: Vec<String>) -> Vec<String> {
    let over = lines.len().saturating_sub(LINES_MAX);
    lines.drain(..over);
    lines
}

fn print_of(line: &str) -> u32 {
    let digest = Sha256::digest(line.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

fn clip(line: &str) -> String {
    let mut end = line.len().min(LINE_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Cursor, GAP, Mark, TAIL_LINES, broken_by};

    fn numbered(from: usize, to: usize) -> String {
        (from..to).map(|n| format!("line {n}\n")).collect()
    }

    #[test]
    fn each_line_comes_once() {
        let (first, mark) = Mark::default().advance("one\ntwo\n");
        assert_eq!(first, ["one", "two"]);
        let (none, mark) = mark.advance("one\ntwo\n");
        assert!(none.is_empty());
        // The same words again are new lines.
        let (more, mark) = mark.advance("one\ntwo\none\ntwo\n");
        assert_eq!(more, ["one", "two"]);
        assert!(mark.advance("one\ntwo\none\ntwo\n").0.is_empty());
    }

    #[test]
    fn a_snapshot_that_is_cut_off_goes_on_where_the_last_one_ended() {
        let (all, mark) = Mark::default().advance(&numbered(0, TAIL_LINES));
        assert_eq!(all.len(), TAIL_LINES);
        let (more, mark) = mark.advance(&numbered(30, TAIL_LINES + 30));
        assert_eq!((more.len(), more[0].as_str()), (30, "line 1000"));
        let (gap, _) = mark.advance(&numbered(5000, 5000 + TAIL_LINES));
        assert_eq!((gap.len(), gap[0].as_str()), (TAIL_LINES + 1, GAP));
    }

    #[test]
    fn a_log_that_begins_anew_is_told_from_its_start() {
        let (_, mark) = Mark::default().advance(&numbered(0, 50));
        let (lines, mark) = mark.advance("pulling\n");
        assert_eq!(lines, [GAP, "pulling"]);
        // An empty answer says nothing, and nothing is forgotten.
        let (none, same) = mark.advance("");
        assert!(none.is_empty() && same == mark);
    }

    #[test]
    fn a_bootstrap_that_failed_proves_a_broken_machine() {
        let broken = |text: &str| broken_by(&text.lines().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(broken("trainyard-boot: fetching\nit said trainyard-boot: failed x"), None);
        let libc = broken("hello\ntrainyard-boot: failed libc the C library is too old").expect("broken");
        assert_eq!(libc, ("the agent could not be started: the C library is too old".to_owned(), false));
        assert!(broken("trainyard-boot: failed disk cannot make x").expect("broken").1);
    }

    #[test]
    fn a_cursor_is_read_back() {
        let (_, container) = Mark::default().advance(&numbered(0, 40));
        let cursor = Cursor { container, daemon: Mark::default() };
        assert_eq!(Cursor::read(Some(&cursor.write())), cursor);
        for odd in ["", "x", "1/", "1.zz/0", "/", "0.1.2.3.4.5.6.7.8.9.a.b.c.d.e.f.10.11/0"] {
            assert_eq!(Cursor::read(Some(odd)), Cursor::default(), "{odd}");
        }
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let (lines, _) = Mark::default().advance(&"ü".repeat(5000));
        assert!(lines[0].len() <= 4096 && lines[0].chars().all(|c| c == 'ü'));
    }
}
