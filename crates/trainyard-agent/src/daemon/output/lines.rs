//! Lines out of a stream of bytes: progress bars collapsed, overlong lines cut.
//!
//! A carriage return that no line feed follows rewrites the line. Of a line that is rewritten the log gets its
//! first state, then at most one state a second, and the last one. Bytes that are no UTF-8 stay as they are.

use std::time::{Duration, Instant};

/// Longest line, in bytes; what is over is left out and counted.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 10;
/// At most one state of a progress bar in this time.
const BAR_EVERY: Duration = Duration::from_secs(1);
/// A line without an end is shown as far as it is after this time.
const PARTIAL_AFTER: Duration = Duration::from_millis(500);

/// The line that is being written.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    segment: Vec<u8>,
    /// How much of the segment the log has.
    shown: usize,
    /// Bytes of it over the limit.
    cut: u64,
    /// The last byte was a carriage return.
    returned: bool,
    /// The segment was begun by a carriage return: it is a state of a bar.
    is_bar: bool,
    /// The last state of a bar that the log does not have.
    bar: Option<Vec<u8>>,
    bar_shown_at: Option<Instant>,
    written_at: Option<Instant>,
}

impl Lines {
    /// Takes bytes; appends to `log` what the log gets.
    pub(crate) fn feed(&mut self, bytes: &[u8], now: Instant, log: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            match byte {
                b'\n' => {
                    self.end_line(log);
                    rest = &rest[1..];
                }
                b'\r' => {
                    self.returned = true;
                    rest = &rest[1..];
                }
                _ => {
                    if std::mem::take(&mut self.returned) {
                        self.rewrite(now, log);
                    }
                    let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len());
                    self.push(&rest[..end]);
                    rest = &rest[end..];
                }
            }
        }
        if !bytes.is_empty() {
            self.written_at = Some(now);
        }
    }

    /// When [`Lines::tick`] has something to show, if nothing comes before.
    pub(crate) fn due(&self) -> Option<Instant> {
        let bar_at = || self.bar_shown_at.map(|at| at + BAR_EVERY).or(self.written_at);
        if self.bar.is_some() || (self.is_bar && self.has_unshown()) {
            return bar_at();
        }
        if self.has_unshown() { self.written_at.map(|at| at + PARTIAL_AFTER) } else { None }
    }

    /// Shows what has waited long enough.
    pub(crate) fn tick(&mut self, now: Instant, log: &mut Vec<u8>) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        if self.is_bar && self.has_unshown() {
            self.bar = None;
            put(log, &self.segment);
            self.shown = self.segment.len();
            self.bar_shown_at = Some(now);
        } else if let Some(bar) = self.bar.take() {
            put(log, &bar);
            self.bar_shown_at = Some(now);
        } else {
            log.extend_from_slice(&self.segment[self.shown..]);
            self.shown = self.segment.len();
        }
    }

    /// Shows what is left: no more will come.
    pub(crate) fn finish(&mut self, log: &mut Vec<u8>) {
        if !self.segment.is_empty() || self.bar.is_some() {
            self.end_line(log);
        }
    }

    fn has_unshown(&self) -> bool {
        self.shown < self.segment.len() && !is_blank(&self.segment[self.shown..])
    }

    fn push(&mut self, text: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.segment.len()).min(text.len());
        self.segment.extend_from_slice(&text[..room]);
        self.cut += (text.len() - room) as u64;
    }

    fn end_line(&mut self, log: &mut Vec<u8>) {
        if self.cut > 0 {
            self.segment.extend_from_slice(format!(" [{} more bytes]", self.cut).as_bytes());
        }
        let last_state = self.bar.take().filter(|_| is_blank(&self.segment));
        match last_state {
            Some(bar) => put(log, &bar),
            None if self.is_bar && self.shown == self.segment.len() && self.shown > 0 => {}
            None if self.is_bar => put(log, &self.segment),
            None => put(log, &self.segment[self.shown..]),
        }
        self.begin(false);
        self.returned = false;
    }

    /// The line begins anew; what it was is a state of a bar.
    fn rewrite(&mut self, now: Instant, log: &mut Vec<u8>) {
        if !is_blank(&self.segment) {
            let in_log = self.shown == self.segment.len();
            if self.shown > 0 && !self.is_bar {
                // Its beginning stands in the log without an end.
                put(log, &self.segment[self.shown..]);
                self.bar_shown_at = Some(now);
            } else if in_log {
                self.bar = None;
            } else if self.bar_shown_at.is_none_or(|at| now >= at + BAR_EVERY) {
                put(log, &self.segment);
                self.bar = None;
                self.bar_shown_at = Some(now);
            } else {
                self.bar = Some(std::mem::take(&mut self.segment));
            }
        }
        self.begin(true);
    }

    fn begin(&mut self, is_bar: bool) {
        self.segment.clear();
        self.shown = 0;
        self.cut = 0;
        self.is_bar = is_bar;
    }
}

fn put(log: &mut Vec<u8>, text: &[u8]) {
    log.extend_from_slice(text);
    log.push(b'\n');
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], log: &str) {
        for size in [1, 2, 7, input.len().max(1)] {
            let mut lines = Lines::default();
            let mut out = Vec::new();
            let now = Instant::now();
            for piece in input.chunks(size) {
                lines.feed(piece, now, &mut out);
            }
            lines.finish(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), log, "in pieces of {size}");
        }
    }

    #[test]
    fn plain_lines_stay_as_they_are() {
        check(b"a\n\nb\r\nc", "a\n\nb\nc\n");
        check(b"", "");
    }

    #[test]
    fn a_bar_is_its_first_and_its_last_state() {
        check(b"\r 10%\r 20%\r 30%\r100%\nend\n", " 10%\n100%\nend\n");
        check(b"\r10%\r20%", "10%\n20%\n");
        check(b"10%\r20%\r   \r\n", "10%\n20%\n");
    }

    #[test]
    fn a_bar_is_shown_at_most_once_a_second() {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let begin = Instant::now();
        for tenth in 0..50_u64 {
            let now = begin + Duration::from_millis(tenth * 100);
            lines.feed(format!("\r{tenth} of 50").as_bytes(), now, &mut out);
            lines.tick(now, &mut out);
        }
        let shown = String::from_utf8(out).unwrap();
        assert!((5..=6).contains(&shown.lines().count()), "{shown}");
    }

    #[test]
    fn a_line_without_an_end_is_shown_after_a_while_and_goes_on() {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let begin = Instant::now();
        lines.feed(b"Loading", begin, &mut out);
        lines.tick(begin, &mut out);
        assert!(out.is_empty());
        let due = lines.due().unwrap();
        lines.tick(due, &mut out);
        assert_eq!(out, b"Loading");
        assert_eq!(lines.due(), None);
        lines.feed(b" done\n", due, &mut out);
        assert_eq!(out, b"Loading done\n");
    }

    #[test]
    fn an_overlong_line_is_cut_and_says_how_much() {
        let mut input = vec![b'x'; 1 << 20];
        input.push(b'\n');
        let mut lines = Lines::default();
        let mut out = Vec::new();
        lines.feed(&input, Instant::now(), &mut out);
        let over = (1 << 20) - LINE_BYTES_MAX;
        assert!(out.ends_with(format!("x [{over} more bytes]\n").as_bytes()));
        assert!(out.len() < LINE_BYTES_MAX + 40);
    }

    #[test]
    fn bytes_that_are_no_text_stay() {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        lines.feed(b"\xff\xfe ok\n", Instant::now(), &mut out);
        assert_eq!(out, b"\xff\xfe ok\n");
    }
}
