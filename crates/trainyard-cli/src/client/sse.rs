//! `text/event-stream`, read as it comes in.
//!
//! Promises: the same events whatever the pieces the bytes come in; CR, LF and CRLF all end a line; comments are
//! skipped; a stream that falls silent is over. Leaves what an event means, and coming back, to its reader.

use std::collections::VecDeque;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::Response;

use super::SILENCE_MAX;

/// Longest event, in bytes: a log line batch of the server is far below.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SseEvent {
    /// Its type; empty is `message`.
    pub(crate) kind: String,
    /// Its data, lines joined by LF.
    pub(crate) data: String,
    /// The last id seen up to it.
    pub(crate) id: Option<String>,
}

/// An event that is longer than any server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct EventTooLarge;

/// Bytes in, events out.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    after_cr: bool,
    kind: String,
    data: String,
    has_data: bool,
    id: Option<String>,
}

impl SseParser {
    /// Takes the next bytes and gives the events that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, EventTooLarge> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_cr = std::mem::take(&mut self.after_cr);
            match byte {
                b'\n' if after_cr => {}
                b'\n' => events.extend(self.end_line()),
                b'\r' => {
                    self.after_cr = true;
                    events.extend(self.end_line());
                }
                byte => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                return Err(EventTooLarge);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.kind = value.to_owned(),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // A comment, `retry`, or something newer than this reader.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        let kind = std::mem::take(&mut self.kind);
        let data = std::mem::take(&mut self.data);
        std::mem::take(&mut self.has_data).then(|| SseEvent { kind, data, id: self.id.clone() })
    }
}

/// An open stream of events.
pub(crate) struct SseConnection {
    body: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    parser: SseParser,
    waiting: VecDeque<SseEvent>,
}

impl SseConnection {
    /// The events of an answer's body.
    pub(crate) fn new(response: Response) -> SseConnection {
        SseConnection {
            body: Box::pin(response.bytes_stream()),
            parser: SseParser::default(),
            waiting: VecDeque::new(),
        }
    }

    /// The next event; none where the stream ended, broke, or fell silent. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let piece = tokio::time::timeout(SILENCE_MAX, self.body.next()).await.ok()??.ok()?;
            self.waiting.extend(self.parser.push(&piece).ok()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\r\nid: 7\r\nevent: status\r\ndata: {\"state\":\"läuft\"}\r\n\r\n\
        data: one\ndata:two\ndata:  three\n\nretry: 10\n\nid:8\rdata\r\rignored: x\nid: 9\n\nevent: lost\n\ndata: last\n\n";

    fn whole() -> Vec<SseEvent> {
        SseParser::default().push(STREAM.as_bytes()).unwrap()
    }

    #[test]
    fn fields_comments_and_line_ends() {
        let event = |kind: &str, data: &str, id: &str| SseEvent {
            kind: kind.to_owned(),
            data: data.to_owned(),
            id: Some(id.to_owned()),
        };
        assert_eq!(
            whole(),
            [
                event("status", "{\"state\":\"läuft\"}", "7"),
                event("", "one\ntwo\n three", "7"),
                event("", "", "8"),
                event("", "last", "9"),
            ]
        );
    }

    #[test]
    fn torn_at_every_byte_it_reads_the_same() {
        let bytes = STREAM.as_bytes();
        for cut in 0..=bytes.len() {
            let mut parser = SseParser::default();
            let mut events = parser.push(&bytes[..cut]).unwrap();
            events.extend(parser.push(&bytes[cut..]).unwrap());
            assert_eq!(events, whole(), "cut at {cut}");
        }
        let mut parser = SseParser::default();
        let single: Vec<SseEvent> = bytes.iter().flat_map(|byte| parser.push(&[*byte]).unwrap()).collect();
        assert_eq!(single, whole(), "byte by byte");
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let piece = vec![b'x'; 1 << 20];
        let mut parser = SseParser::default();
        let ended = (0..20).find_map(|_| parser.push(&piece).err());
        assert_eq!(ended, Some(EventTooLarge));
    }
}
