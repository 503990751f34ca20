//! Logs: written by offset, read in ranges, the last lines found.

use bytes::Bytes;
use trainyard_storage::LogFiles;

use crate::{Numbers, id};

#[tokio::test]
async fn bytes_are_written_by_offset_and_read_in_ranges() {
    let root = tempfile::tempdir().expect("a directory");
    let logs = LogFiles::open(root.path().join("logs")).await.expect("opening");
    assert_eq!(logs.read(&id("one"), 0, 10).await.expect("reading"), b"");
    logs.write_at(&id("one"), 0, Bytes::from_static(b"hello ")).await.expect("writing");
    logs.write_at(&id("one"), 6, Bytes::from_static(b"lost words")).await.expect("writing");
    // The crash came before the commit: the same offset is written once more.
    logs.write_at(&id("one"), 6, Bytes::from_static(b"world")).await.expect("writing");
    assert_eq!(logs.read(&id("one"), 0, 11).await.expect("reading"), b"hello world");
    assert_eq!(logs.read(&id("one"), 6, 3).await.expect("reading"), b"wor");
    assert_eq!(logs.read(&id("one"), 100, 3).await.expect("reading"), b"");
    assert_eq!(logs.read(&id("one"), u64::MAX, 3).await.expect("reading"), b"");
    assert!(logs.delete(&id("one")).await.expect("deleting"));
    assert!(!logs.delete(&id("one")).await.expect("deleting"));
    assert_eq!(logs.read(&id("one"), 0, 10).await.expect("reading"), b"");
}

#[tokio::test]
async fn the_last_lines_are_found() {
    let root = tempfile::tempdir().expect("a directory");
    let logs = LogFiles::open(root.path()).await.expect("opening");
    let mut numbers = Numbers(99);
    let mut text = Vec::new();
    for _ in 0..400 {
        let len = numbers.below(2000);
        text.extend(std::iter::repeat_n(b'x', len));
        text.push(b'\n');
    }
    text.extend(b"without an end");
    logs.write_at(&id("one"), 0, Bytes::from(text.clone())).await.expect("writing");
    for _ in 0..200 {
        let end = numbers.below(text.len() + 1);
        let lines = numbers.below(300);
        let expected = {
            let lines_of: Vec<&[u8]> = text[..end].split_inclusive(|byte| *byte == b'\n').collect();
            let skipped = lines_of.len().saturating_sub(lines);
            lines_of[..skipped].iter().map(|line| line.len() as u64).sum::<u64>()
        };
        let found = logs.tail_offset(&id("one"), lines, end as u64).await.expect("looking");
        assert_eq!(found, expected, "{lines} lines before {end}");
    }
    let all = logs.tail_offset(&id("one"), 1, u64::MAX).await.expect("looking");
    assert_eq!(all, (text.len() - "without an end".len()) as u64, "an end beyond the file is the file's");
    assert_eq!(logs.tail_offset(&id("nobody"), 5, 100).await.expect("looking"), 0);
}
