//! A file as the body of an answer, read in pieces.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::stream;

/// Bytes read at once: large enough that the thread hop does not matter.
const CHUNK_BYTES: u64 = 256 * 1024;

/// The bytes, read on threads that may block. Ends in an error where the file is shorter than it was, so that the
/// client sees a broken download and not a short file.
pub(crate) fn chunks(file: File, from: u64, length: u64) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold((file, from, length), |(mut file, at, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = move || {
            file.seek(SeekFrom::Start(at))?;
            let mut chunk = vec![0; usize::try_from(left.min(CHUNK_BYTES)).unwrap_or(usize::MAX)];
            file.read_exact(&mut chunk)?;
            Ok::<_, std::io::Error>((file, chunk))
        };
        let (file, chunk) = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)??;
        let n = chunk.len() as u64;
        Ok(Some((Bytes::from(chunk), (file, at + n, left - n))))
    })
}
