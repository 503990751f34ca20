//! The numbered events of one attempt: on disk before anybody sees them.
//!
//! The newest are served from memory, older ones from the file. A disk that cannot be written to does not silence
//! the agent: events wait in memory and are written when it can be again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use trainyard_connector::{AgentEvent, AgentEventBody};

use crate::clock;

/// Events kept in memory: some minutes of a chatty training; a reader that follows never needs the file.
const RING: usize = 2048;
/// Events that may wait for a full disk to take them; over that only the end of the training is recorded.
const UNWRITTEN_MAX: usize = 65_536;
/// Every so many events the file's offset is remembered.
const MARK_EVERY: u64 = 256;
/// Most bytes of events in one answer.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// The events of one attempt.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    inner: Mutex<Inner>,
    last: watch::Sender<u64>,
    /// The number of the last event that nobody should wait for.
    urgent: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Bytes of whole lines in the file.
    bytes: u64,
    /// The last event in the file.
    written: u64,
    last: u64,
    /// The newest events, as lines without their ends.
    ring: VecDeque<Box<str>>,
    /// Where the events 1, 1 + MARK_EVERY, … begin in the file.
    marks: Vec<u64>,
}

impl Journal {
    pub(crate) fn create(path: &Path) -> io::Result<Journal> {
        let inner = Inner {
            file: File::create(path)?,
            bytes: 0,
            written: 0,
            last: 0,
            ring: VecDeque::new(),
            marks: Vec::new(),
        };
        let (last, urgent) = (watch::Sender::new(0), watch::Sender::new(0));
        Ok(Journal { path: path.to_owned(), inner: Mutex::new(inner), last, urgent })
    }

    /// Opens the journal of an attempt that another boot of the agent served, to go on with its numbers. A line that was
    /// written half is dropped. Blocks for as long as reading it takes.
    pub(crate) fn open(path: &Path) -> io::Result<Journal> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut reader = BufReader::new(&file);
        let (mut bytes, mut count, mut line) = (0, 0_u64, String::new());
        let (mut ring, mut marks) = (VecDeque::<Box<str>>::new(), Vec::new());
        loop {
            line.clear();
            let read = reader.read_line(&mut line)?;
            let whole = line.strip_suffix('\n');
            let event = whole.and_then(|line| serde_json::from_str::<AgentEvent>(line).ok());
            let (Some(whole), Some(event)) = (whole, event) else { break };
            if event.n != count + 1 {
                break;
            }
            if count.is_multiple_of(MARK_EVERY) {
                marks.push(bytes);
            }
            bytes += read as u64;
            count += 1;
            ring.push_back(whole.into());
            if ring.len() > RING {
                ring.pop_front();
            }
        }
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(bytes))?;
        let inner = Inner { file, bytes, written: count, last: count, ring, marks };
        let (last, urgent) = (watch::Sender::new(count), watch::Sender::new(count));
        Ok(Journal { path: path.to_owned(), inner: Mutex::new(inner), last, urgent })
    }

    /// Whether its last event is the end of the training.
    pub(crate) fn is_ended(&self) -> bool {
        let inner = self.lock();
        let last = inner.ring.back().and_then(|line| serde_json::from_str::<AgentEvent>(line).ok());
        last.is_some_and(|event| matches!(event.body, AgentEventBody::Exited(_)))
    }

    /// Numbers an event, writes it and rings.
    pub(crate) fn append(&self, body: AgentEventBody) {
        let mut inner = self.lock();
        let is_end = matches!(body, AgentEventBody::Exited(_));
        let is_urgent = body.is_urgent();
        if (inner.last - inner.written) as usize >= UNWRITTEN_MAX && !is_end {
            return;
        }
        let event = AgentEvent { n: inner.last + 1, at: clock::now(), body };
        // Maps have text keys and numbers that are not finite are texts: there is nothing that cannot be written.
        let Ok(line) = serde_json::to_string(&event) else { return };
        inner.last = event.n;
        inner.ring.push_back(line.into());
        if let Err(error) = inner.write() {
            super::complain(&format!("an event could not be written yet: {error}"));
        }
        let last = inner.last;
        drop(inner);
        self.last.send_replace(last);
        if is_urgent {
            self.urgent.send_replace(last);
        }
    }

    /// The number of the last event.
    pub(crate) fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// Events after a number as lines of JSON, at most `limit`, and the number of the last one there is.
    pub(crate) fn after(&self, after: u64, limit: usize) -> io::Result<(Vec<Box<str>>, u64)> {
        let inner = self.lock();
        let in_memory = inner.last - inner.ring.len() as u64;
        if after >= in_memory {
            let skip = usize::try_from(after - in_memory).unwrap_or(usize::MAX);
            let lines = inner.ring.iter().skip(skip).take(limit);
            return Ok((bounded(lines.map(|line| Ok(line.clone())))?, inner.last));
        }
        // Everything that is no longer in memory is in the file.
        let mark = after / MARK_EVERY;
        let offset = inner.marks.get(mark as usize).copied().unwrap_or(0);
        let last = inner.last;
        drop(inner);
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        let skip = (after - mark * MARK_EVERY) as usize;
        let in_file = limit.min((in_memory - after) as usize);
        let lines = BufReader::new(file).lines().skip(skip).take(in_file);
        Ok((bounded(lines.map(|line| line.map(String::into_boxed_str)))?, last))
    }

    /// Resolves when there is an event after `after`, or the time is over. After the first one more are gathered for
    /// that long, until one comes that nobody should wait for.
    pub(crate) async fn wait(&self, after: u64, wait: Duration, gather: Duration) {
        let mut last = self.last.subscribe();
        let came = tokio::time::timeout(wait, last.wait_for(|&last| last > after)).await.is_ok();
        if came && !gather.is_zero() {
            let mut urgent = self.urgent.subscribe();
            let _ = tokio::time::timeout(gather, urgent.wait_for(|&urgent| urgent > after)).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Writes what is not in the file, and forgets the oldest of what is.
    fn write(&mut self) -> io::Result<()> {
        while self.written < self.last {
            let index = self.ring.len() - (self.last - self.written) as usize;
            let Some(line) = self.ring.get(index) else { break };
            let mut bytes = line.as_bytes().to_vec();
            bytes.push(b'\n');
            if let Err(error) = self.file.write_all(&bytes) {
                // No half line stays before the next try.
                self.file.set_len(self.bytes)?;
                self.file.seek(SeekFrom::Start(self.bytes))?;
                return Err(error);
            }
            if self.written.is_multiple_of(MARK_EVERY) {
                self.marks.push(self.bytes);
            }
            self.bytes += bytes.len() as u64;
            self.written += 1;
        }
        while self.ring.len() > RING && self.last - (self.ring.len() as u64) < self.written {
            self.ring.pop_front();
        }
        Ok(())
    }
}

/// As many as fit in one answer, at least one.
fn bounded(lines: impl Iterator<Item = io::Result<Box<str>>>) -> io::Result<Vec<Box<str>>> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    for line in lines {
        let line = line?;
        bytes += line.len();
        if bytes > BATCH_BYTES_MAX && !taken.is_empty() {
            break;
        }
        taken.push(line);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trainyard_domain::LogSpan;

    #[tokio::test]
    async fn points_are_gathered_and_what_matters_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(&dir.path().join("events.jsonl")).unwrap();
        let span = |offset| AgentEventBody::Log(LogSpan { offset, len: 1 });
        let long = Duration::from_secs(60);
        let told = async |after, gather| {
            let wait = journal.wait(after, long, gather);
            // waits: for what must not come
            tokio::time::timeout(Duration::from_millis(50), wait).await.is_ok()
        };
        assert!(!told(0, Duration::ZERO).await, "there is nothing to tell");
        journal.append(span(0));
        assert!(told(0, Duration::ZERO).await && told(0, Duration::from_millis(1)).await);
        assert!(!told(0, long).await, "points wait for more");
        journal.append(AgentEventBody::Started);
        assert!(told(0, long).await, "the start does not");
        journal.append(span(1));
        assert!(!told(2, long).await, "it was told before");
    }

    fn number(line: &str) -> u64 {
        serde_json::from_str::<AgentEvent>(line).unwrap().n
    }

    #[test]
    fn a_journal_that_is_opened_again_goes_on_with_its_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let log = |offset| AgentEventBody::Log(LogSpan { offset, len: 1 });
        let total = RING as u64 + 300;
        {
            let journal = Journal::create(&path).unwrap();
            (0..total).for_each(|offset| journal.append(log(offset)));
        }
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"{\"n\": 23"].concat()).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!((journal.last(), journal.is_ended()), (total, false));
        assert_eq!(std::fs::read(&path).unwrap(), whole, "the half line is gone");
        let now = clock::now();
        journal.append(AgentEventBody::Exited(trainyard_domain::Exit::with_code(0, now)));
        assert!(journal.is_ended() && Journal::open(&path).unwrap().is_ended());
        for after in [0, 255, 256, 299, 300, total - 1, total] {
            let (lines, last) = journal.after(after, 1).unwrap();
            assert_eq!((number(&lines[0]), last), (after + 1, total + 1));
        }
        // A line that is none ends what can be told.
        std::fs::write(&path, b"{}\n").unwrap();
        assert_eq!(Journal::open(&path).unwrap().last(), 0);
    }

    #[test]
    fn events_older_than_memory_come_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(&dir.path().join("events.jsonl")).unwrap();
        let total = RING as u64 + 700;
        for offset in 0..total {
            journal.append(AgentEventBody::Log(LogSpan { offset, len: 1 }));
        }
        let mut after = 0;
        let mut batches = 0;
        while after < total {
            let (lines, last) = journal.after(after, 300).unwrap();
            assert_eq!(last, total);
            assert!(!lines.is_empty() && lines.len() <= 300);
            for line in &lines {
                after += 1;
                assert_eq!(number(line), after);
            }
            batches += 1;
        }
        assert!(batches >= 9);
        assert!(journal.after(total, 300).unwrap().0.is_empty());
        assert!(journal.after(total + 5, 300).unwrap().0.is_empty());
    }
}
