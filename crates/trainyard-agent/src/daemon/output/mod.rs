//! What the training prints: masked, made into lines, on disk, and only then told.

mod lines;
mod mask;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt};
use trainyard_connector::AgentEventBody;
use trainyard_domain::LogSpan;

use super::journal::Journal;
use lines::Lines;
pub(crate) use mask::Masker;

/// Bytes of an attempt's log; what is over is dropped, and that is said once.
const LOG_BYTES_MAX: u64 = 1 << 30;
/// At most one event about the log in this time.
const EVENT_EVERY: Duration = Duration::from_millis(50);
/// Bytes read at once: a pipe holds no more.
const READ_BYTES: usize = 64 << 10;

/// The log of one attempt.
pub(crate) struct Output {
    inner: Mutex<Inner>,
    journal: Arc<Journal>,
}

struct Inner {
    file: File,
    masker: Masker,
    lines: Lines,
    /// Bytes in the file.
    bytes: u64,
    /// Bytes of it that an event has told.
    told: u64,
    told_at: Option<Instant>,
    full: bool,
}

impl Output {
    pub(crate) fn create(path: &Path, masker: Masker, journal: Arc<Journal>) -> io::Result<Output> {
        let file = File::create(path)?;
        let inner =
            Inner { file, masker, lines: Lines::default(), bytes: 0, told: 0, told_at: None, full: false };
        Ok(Output { inner: Mutex::new(inner), journal })
    }

    /// Opens the log of an attempt that ended before: all of it was told.
    pub(crate) fn open(path: &Path, journal: Arc<Journal>) -> io::Result<Output> {
        let file = File::options().append(true).create(true).open(path)?;
        let bytes = file.metadata()?.len();
        let (masker, lines) = (Masker::new(std::iter::empty()), Lines::default());
        let inner = Inner { file, masker, lines, bytes, told: bytes, told_at: None, full: false };
        Ok(Output { inner: Mutex::new(inner), journal })
    }

    /// Bytes of the log so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Reads a stream to its end. What comes is given to `hear` as it is, but for the secrets.
    pub(crate) async fn pump(&self, mut stream: impl AsyncRead + Unpin, mut hear: impl FnMut(&[u8])) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let due = self.lock().due();
            let tick = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(count) => self.feed(&buffer[..count], &mut hear),
                },
                () = tick => self.tick(),
            }
        }
    }

    /// A line of the agent's own.
    pub(crate) fn note(&self, text: &str) {
        let mut inner = self.lock();
        inner.write(format!("trainyard: {text}\n").as_bytes());
        self.tell(&mut inner, Instant::now());
    }

    /// Shows and tells what is left: no more will come.
    pub(crate) fn finish(&self, mut hear: impl FnMut(&[u8])) {
        let mut inner = self.lock();
        let (mut clear, mut log) = (Vec::new(), Vec::new());
        inner.masker.finish(&mut clear);
        hear(&clear);
        inner.lines.feed(&clear, Instant::now(), &mut log);
        inner.lines.finish(&mut log);
        inner.write(&log);
        self.tell(&mut inner, Instant::now());
    }

    fn feed(&self, bytes: &[u8], hear: &mut impl FnMut(&[u8])) {
        let now = Instant::now();
        let mut inner = self.lock();
        let (mut clear, mut log) = (Vec::new(), Vec::new());
        inner.masker.feed(bytes, &mut clear);
        hear(&clear);
        inner.lines.feed(&clear, now, &mut log);
        inner.write(&log);
        if inner.told_at.is_none_or(|at| now >= at + EVENT_EVERY) {
            self.tell(&mut inner, now);
        }
    }

    fn tick(&self) {
        let now = Instant::now();
        let mut inner = self.lock();
        let mut log = Vec::new();
        inner.lines.tick(now, &mut log);
        inner.write(&log);
        if inner.told_at.is_none_or(|at| now >= at + EVENT_EVERY) {
            self.tell(&mut inner, now);
        }
    }

    fn tell(&self, inner: &mut Inner, now: Instant) {
        while inner.told < inner.bytes {
            let len = u32::try_from(inner.bytes - inner.told).unwrap_or(u32::MAX);
            self.journal.append(AgentEventBody::Log(LogSpan { offset: inner.told, len }));
            inner.told += u64::from(len);
            inner.told_at = Some(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn due(&self) -> Option<Instant> {
        let untold = (self.told < self.bytes).then_some(self.told_at).flatten().map(|at| at + EVENT_EVERY);
        match (self.lines.due(), untold) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn write(&mut self, text: &[u8]) {
        if text.is_empty() || self.full {
            return;
        }
        self.put(text);
        if self.bytes > LOG_BYTES_MAX {
            self.full = true;
            self.put(b"trainyard: the log is full, what follows is dropped\n");
        }
    }

    fn put(&mut self, text: &[u8]) {
        // A full disk must not stop the training: the line is lost, the training goes on.
        match self.file.write_all(text) {
            Ok(()) => self.bytes += text.len() as u64,
            Err(error) => {
                self.bytes = self.file.metadata().map_or(self.bytes, |file| file.len());
                super::complain(&format!("output of the training could not be written: {error}"));
            }
        }
    }
}
