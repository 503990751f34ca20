//! Parts of a log.

use serde::Serialize;
use trainyard_orchestrator::LogChunk;
use utoipa::ToSchema;

/// A part of a job's log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogAnswer {
    /// The text; bytes that are not UTF-8 are shown as U+FFFD.
    pub(crate) text: String,
    /// Where it begins, in bytes.
    pub(crate) offset: u64,
    /// `after` of the next part.
    pub(crate) next_offset: u64,
    /// Bytes stored in all.
    pub(crate) size: u64,
    /// Whether nothing will follow after `size`.
    pub(crate) complete: bool,
}

impl From<LogChunk> for LogAnswer {
    /// Leaves a character that is cut at the end to the next part, unless nothing follows.
    fn from(chunk: LogChunk) -> Self {
        let end = chunk.offset + chunk.bytes.len() as u64;
        let is_last = chunk.complete && end >= chunk.end;
        let cut = if is_last { 0 } else { cut_character(&chunk.bytes) };
        let bytes = &chunk.bytes[..chunk.bytes.len() - cut];
        LogAnswer {
            text: String::from_utf8_lossy(bytes).into_owned(),
            offset: chunk.offset,
            next_offset: end - cut as u64,
            size: chunk.end,
            complete: chunk.complete,
        }
    }
}

/// How many bytes at the end are the beginning of a character that is not whole.
fn cut_character(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    match std::str::from_utf8(tail) {
        Ok(_) => 0,
        // A tail may begin within a character; only what is missing at its end counts.
        Err(_) => (1..=tail.len())
            .find(|&n| {
                let last = &tail[tail.len() - n..];
                let needs = match last[0] {
                    0xC2..=0xDF => 2,
                    0xE0..=0xEF => 3,
                    0xF0..=0xF4 => 4,
                    _ => 0,
                };
                needs > n && last[1..].iter().all(|byte| (0x80..=0xBF).contains(byte))
            })
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn part(bytes: &'static [u8], complete: bool) -> (String, u64) {
        let end = 100 + bytes.len() as u64 + u64::from(!complete);
        let chunk = LogChunk { offset: 100, bytes: Bytes::from_static(bytes), end, complete };
        let answer = LogAnswer::from(chunk);
        (answer.text, answer.next_offset)
    }

    #[test]
    fn a_cut_character_waits_for_its_rest() {
        let snow = "ab☃".as_bytes();
        assert_eq!(part(snow, false), ("ab☃".to_owned(), 105));
        assert_eq!(part(&snow[..4], false), ("ab".to_owned(), 102));
        assert_eq!(part(&snow[..3], false), ("ab".to_owned(), 102));
        assert_eq!(part(&snow[..4], true), ("ab\u{fffd}".to_owned(), 104));
        assert_eq!(part(b"ab\xff", false), ("ab\u{fffd}".to_owned(), 103));
        assert_eq!(part(b"", false), (String::new(), 100));
    }

    #[test]
    fn parts_joined_are_the_whole_wherever_they_are_cut() {
        let whole = "a☃b𝄞cé".as_bytes();
        for at in 0..=whole.len() {
            let first =
                LogChunk { offset: 0, bytes: Bytes::copy_from_slice(&whole[..at]), end: 99, complete: false };
            let first = LogAnswer::from(first);
            let rest = Bytes::copy_from_slice(&whole[first.next_offset as usize..]);
            let rest = LogAnswer::from(LogChunk {
                offset: first.next_offset,
                bytes: rest,
                end: 99,
                complete: false,
            });
            assert_eq!(format!("{}{}", first.text, rest.text).as_bytes(), whole, "cut at {at}");
        }
    }
}
