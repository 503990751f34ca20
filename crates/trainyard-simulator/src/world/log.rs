//! What a machine's vendor noted of it: the host's lines and what its program printed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;
use trainyard_domain::Timestamp;

/// Lines kept of one machine; older ones are dropped.
const LINES_MAX: usize = 20_000;
/// Longest line in bytes; the rest of it is the next line.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 10;

/// The log of one machine. It stays when the machine is gone.
#[derive(Debug)]
pub struct Log {
    state: Mutex<State>,
    bell: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    last: u64,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its number, dense from 1.
    pub number: u64,
    /// When, by the world's clock.
    pub at: Timestamp,
    /// Who said it.
    pub source: Source,
    /// What, without the end of line; not UTF-8 is replaced.
    pub text: String,
}

/// Who said a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The host: image pull, container start.
    System,
    /// The program on the machine, both its streams.
    Container,
}

impl Log {
    pub(crate) fn new() -> Log {
        Log { state: Mutex::default(), bell: watch::Sender::new(0) }
    }

    pub(crate) fn write(&self, at: Timestamp, source: Source, text: impl Into<String>) {
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        if state.lines.len() == LINES_MAX {
            state.lines.pop_front();
        }
        state.lines.push_back(Line { number, at, source, text: text.into() });
        drop(state);
        self.bell.send_replace(number);
    }

    /// At most `limit` lines after that number, oldest first.
    pub fn after(&self, number: u64, limit: usize) -> Vec<Line> {
        let state = self.state();
        state.lines.iter().filter(|line| line.number > number).take(limit).cloned().collect()
    }

    /// The last lines, oldest first.
    pub fn tail(&self, lines: usize) -> Vec<Line> {
        let state = self.state();
        state.lines.iter().skip(state.lines.len().saturating_sub(lines)).cloned().collect()
    }

    /// The number of the last line.
    pub fn last(&self) -> u64 {
        self.state().last
    }

    /// Waits until there is a line after that number. May be dropped at any time.
    pub async fn beyond(&self, number: u64) {
        let mut bell = self.bell.subscribe();
        // The sender lives as long as this log.
        let _ = bell.wait_for(|last| *last > number).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_numbered_and_waited_for() {
        let log = std::sync::Arc::new(Log::new());
        let waiter = tokio::spawn({
            let log = std::sync::Arc::clone(&log);
            async move { log.beyond(1).await }
        });
        for text in ["one", "two", "three"] {
            log.write(Timestamp::UNIX_EPOCH, Source::System, text);
        }
        waiter.await.unwrap();
        let texts = |lines: Vec<Line>| lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(texts(log.after(1, 10)), ["two", "three"]);
        assert_eq!(texts(log.after(0, 1)), ["one"]);
        assert_eq!(texts(log.tail(2)), ["two", "three"]);
        assert_eq!(log.last(), 3);
    }

    #[test]
    fn old_lines_are_dropped() {
        let log = Log::new();
        for number in 0..LINES_MAX + 5 {
            log.write(Timestamp::UNIX_EPOCH, Source::Container, number.to_string());
        }
        assert_eq!(log.tail(usize::MAX).len(), LINES_MAX);
        assert_eq!(log.after(0, 1)[0].number, 6);
    }
}
