//! Reading the lines that are appended to a file, each exactly once.
//!
//! Promises: by byte offset, so that nothing is read twice; a file that appears late is read from its beginning; one
//! that was made shorter or replaced begins again; a torn last line waits for its end. A line over [`LINE_BYTES_MAX`]
//! and bytes that are no UTF-8 count as bad lines. A file that was cut and grew beyond the old end between two looks
//! cannot be told from one that only grew.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest line, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes read at one call, so that a flood does not hold the others up.
const READ_BYTES_MAX: usize = 256 * 1024;

/// A file being followed.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    open: Option<Open>,
    /// The bytes of the line that is not yet ended.
    torn: Vec<u8>,
    /// Whether the torn line is already too long and only its end is looked for.
    skipping: bool,
    /// Where the first reading begins.
    begin: u64,
    bad: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    identity: (u64, u64),
    offset: u64,
}

/// What one reading gave.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Whole lines, without their ends.
    pub(super) lines: Vec<String>,
    /// Whether there may be more to read at once.
    pub(super) more: bool,
}

impl Tail {
    /// Follows the file at that path, from the byte `begin` on, whether it exists yet or not.
    pub(super) fn new(path: impl Into<PathBuf>, begin: u64) -> Self {
        Tail { path: path.into(), open: None, torn: Vec::new(), skipping: false, begin, bad: 0 }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lines that were too long or no UTF-8, since the last time this was asked.
    pub(super) fn take_bad(&mut self) -> u64 {
        std::mem::take(&mut self.bad)
    }

    /// Reads on. A file that is not there, or cannot be read, gives nothing.
    pub(super) fn read(&mut self) -> Lines {
        self.try_read().unwrap_or_default()
    }

    /// The last line, where the writer ended without ending it. The caller judges whether it is whole.
    pub(super) fn take_torn(&mut self) -> Option<String> {
        let torn = std::mem::take(&mut self.torn);
        if std::mem::take(&mut self.skipping) || torn.is_empty() {
            None
        } else {
            String::from_utf8(torn).ok()
        }
    }

    fn try_read(&mut self) -> io::Result<Lines> {
        if self.open.is_none() && !self.try_open()? {
            return Ok(Lines::default());
        }
        let mut lines = Lines::default();
        let Some(open) = self.open.as_mut() else { return Ok(lines) };
        if open.file.metadata()?.len() < open.offset {
            open.offset = open.file.seek(SeekFrom::Start(0))?;
            self.torn.clear();
            self.skipping = false;
        }
        let mut chunk = Vec::new();
        let read = (&mut open.file).take(READ_BYTES_MAX as u64).read_to_end(&mut chunk)?;
        open.offset += read as u64;
        if read == 0 {
            lines.more = self.reopen_if_replaced();
        } else {
            lines.more = read == READ_BYTES_MAX;
            self.split(&chunk, &mut lines.lines);
        }
        Ok(lines)
    }

    fn try_open(&mut self) -> io::Result<bool> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(false);
        }
        let begin = std::mem::take(&mut self.begin);
        let offset = if metadata.len() >= begin { file.seek(SeekFrom::Start(begin))? } else { 0 };
        self.open = Some(Open { file, identity: identity(&metadata), offset });
        Ok(true)
    }

    /// Looks whether another file has the name by now; the old one has been read to its end.
    fn reopen_if_replaced(&mut self) -> bool {
        let Some(open) = &self.open else { return false };
        match std::fs::metadata(&self.path) {
            Ok(metadata) if identity(&metadata) == open.identity => false,
            Ok(_) => {
                self.open = None;
                self.torn.clear();
                self.skipping = false;
                true
            }
            // Deleted: the open one is kept until the name is taken again.
            Err(_) => false,
        }
    }

    fn split(&mut self, chunk: &[u8], lines: &mut Vec<String>) {
        let mut pieces = chunk.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.extend(piece);
            if pieces.peek().is_none() {
                return;
            }
            let line = std::mem::take(&mut self.torn);
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            match String::from_utf8(line) {
                Ok(line) => lines.push(line),
                Err(_) => self.bad += 1,
            }
        }
    }

    fn extend(&mut self, piece: &[u8]) {
        if self.skipping {
            return;
        }
        if self.torn.len() + piece.len() > LINE_BYTES_MAX {
            self.torn = Vec::new();
            self.skipping = true;
            self.bad += 1;
        } else {
            self.torn.extend_from_slice(piece);
        }
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn all(tail: &mut Tail) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let Lines { lines, more } = tail.read();
            all.extend(lines);
            if !more {
                return all;
            }
        }
    }

    #[test]
    fn torn_at_every_byte_gives_every_line_once() {
        let text = "{\"a\":1}\n{\"ä\":2}\n\n{\"b\":3}\n";
        let expected: Vec<&str> = text.lines().collect();
        for cut in 0..=text.len() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("m.jsonl");
            let mut tail = Tail::new(&path, 0);
            assert_eq!(all(&mut tail), Vec::<String>::new());
            let mut file = fs::File::create(&path).unwrap();
            let (first, second) = text.as_bytes().split_at(cut);
            file.write_all(first).unwrap();
            let mut lines = all(&mut tail);
            file.write_all(second).unwrap();
            lines.extend(all(&mut tail));
            assert_eq!(lines, expected, "cut at {cut}");
            assert_eq!(all(&mut tail), Vec::<String>::new());
            assert_eq!(tail.take_torn(), None);
        }
    }

    #[test]
    fn cut_or_replaced_begins_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        fs::write(&path, "one\ntwo\nto").unwrap();
        let mut tail = Tail::new(&path, 0);
        assert_eq!(all(&mut tail), ["one", "two"]);
        fs::write(&path, "new\n").unwrap();
        assert_eq!(all(&mut tail), ["new"]);
        let other = dir.path().join("other");
        fs::write(&other, "replaced by a longer one\n").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(all(&mut tail), ["replaced by a longer one"]);
        fs::remove_file(&path).unwrap();
        assert_eq!(all(&mut tail), Vec::<String>::new());
        fs::write(&path, "back\n").unwrap();
        assert_eq!(all(&mut tail), ["back"]);
    }

    #[test]
    fn long_lines_and_other_bytes_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let mut text = vec![b'x'; 3 * LINE_BYTES_MAX];
        text.extend_from_slice(b"\ngood\n\xff\xfe\nalso good\nlast");
        fs::write(&path, text).unwrap();
        let mut tail = Tail::new(&path, 0);
        assert_eq!(all(&mut tail), ["good", "also good"]);
        assert_eq!(tail.take_bad(), 2);
        assert_eq!(tail.take_torn().as_deref(), Some("last"));
    }

    #[test]
    fn begins_where_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        fs::write(&path, "old\nnew\n").unwrap();
        assert_eq!(all(&mut Tail::new(&path, 4)), ["new"]);
        assert_eq!(all(&mut Tail::new(&path, 400)), ["old", "new"]);
    }
}
