//! Inputs: uploaded in parts, verified, one upload of each at a time.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tempfile::TempDir;
use tokio::sync::oneshot;
use trainyard_domain::Sha256;
use trainyard_storage::{InputError, InputFiles, Received};

use crate::{Numbers, digest};

async fn opened(bytes_max: u64) -> (TempDir, InputFiles) {
    let directory = tempfile::tempdir().expect("a directory");
    let inputs = InputFiles::open(directory.path(), bytes_max).await.expect("opening");
    (directory, inputs)
}

async fn send(
    inputs: &InputFiles,
    sha: Sha256,
    offset: usize,
    total: usize,
    bytes: &[u8],
) -> Result<Received, InputError> {
    let chunks: Vec<std::io::Result<Bytes>> =
        bytes.chunks(999).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
    inputs.write(sha, offset as u64, total as u64, stream::iter(chunks)).await
}

#[tokio::test]
async fn what_nobody_wanted_for_long_is_dropped_and_what_somebody_wanted_is_not() {
    let (_root, inputs) = opened(1000).await;
    let mut shas = Vec::new();
    for n in 1..=2 {
        let bytes = Numbers(n).bytes(100);
        let sha = digest(&bytes);
        let chunk: Result<Bytes, std::io::Error> = Ok(bytes.into());
        inputs.write(sha, 0, 100, stream::iter([chunk])).await.expect("a whole input");
        shas.push(sha);
    }
    let (long_ago, later) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
    inputs.touch(&shas[0], long_ago).await.expect("an old one");
    inputs.touch(&digest(b"never sent"), later).await.expect("one that is not there");
    assert_eq!(inputs.expire(later).await.expect("a round of retention"), 1);
    assert_eq!(inputs.received(&shas[0]).await.expect("asking"), Received::Partial { bytes: 0 });
    assert_eq!(inputs.received(&shas[1]).await.expect("asking"), Received::Complete { bytes: 100 });
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_cut() {
    let (_root, inputs) = opened(10_000_000).await;
    let bytes = Numbers(7).bytes(2_500_000);
    let sha = digest(&bytes);
    assert_eq!(inputs.received(&sha).await.expect("asking"), Received::Partial { bytes: 0 });
    let cut = 1_234_567;
    let chunks =
        vec![Ok(Bytes::copy_from_slice(&bytes[..cut])), Err(std::io::Error::other("the line is dead"))];
    let refused = inputs.write(sha, 0, bytes.len() as u64, stream::iter(chunks)).await;
    assert!(matches!(refused, Err(InputError::Cut(_))));
    assert_eq!(inputs.received(&sha).await.expect("asking"), Received::Partial { bytes: cut as u64 });
    for wrong in [0, cut - 1, cut + 1] {
        let refused = send(&inputs, sha, wrong, bytes.len(), &bytes[wrong..]).await;
        assert!(matches!(refused, Err(InputError::Offset { expected, .. }) if expected == cut as u64));
    }
    let ended = send(&inputs, sha, cut, bytes.len(), &bytes[cut..2_000_000]).await.expect("a part");
    assert_eq!(ended, Received::Partial { bytes: 2_000_000 });
    let complete = Received::Complete { bytes: bytes.len() as u64 };
    assert_eq!(
        send(&inputs, sha, 2_000_000, bytes.len(), &bytes[2_000_000..]).await.expect("the rest"),
        complete
    );
    assert_eq!(inputs.received(&sha).await.expect("asking"), complete);
    assert_eq!(std::fs::read(inputs.path(&sha)).expect("reading"), bytes);
    assert_eq!(send(&inputs, sha, 0, bytes.len(), b"whatever").await.expect("again"), complete);
    assert_eq!(std::fs::read(inputs.path(&sha)).expect("reading"), bytes);
}

#[tokio::test]
async fn wrong_bytes_are_removed_and_never_shown() {
    let (_root, inputs) = opened(10_000).await;
    let (good, bad) = (vec![1; 5000], vec![2; 5000]);
    let sha = digest(&good);
    let refused = send(&inputs, sha, 0, 5000, &bad).await;
    assert!(
        matches!(refused, Err(InputError::Mismatch { expected, actual }) if expected == sha && actual == digest(&bad))
    );
    assert_eq!(inputs.received(&sha).await.expect("asking"), Received::Partial { bytes: 0 });
    // The first half wrong, the second right: only the whole tells.
    send(&inputs, sha, 0, 5000, &bad[..2500]).await.expect("a part");
    let refused = send(&inputs, sha, 2500, 5000, &good[2500..]).await;
    assert!(matches!(refused, Err(InputError::Mismatch { .. })));
    assert_eq!(inputs.received(&sha).await.expect("asking"), Received::Partial { bytes: 0 });
    let long = vec![1; 6000];
    assert!(matches!(send(&inputs, sha, 0, 5000, &long).await, Err(InputError::TooLong { total: 5000 })));
    assert_eq!(inputs.received(&sha).await.expect("asking"), Received::Partial { bytes: 0 });
    let refused = send(&inputs, sha, 0, 10_001, &long).await;
    assert!(matches!(refused, Err(InputError::TooLarge { total: 10_001, max: 10_000 })));
    assert!(!inputs.path(&sha).exists());
    send(&inputs, sha, 0, 5000, &good).await.expect("the true bytes");
    let none = send(&inputs, digest(b""), 0, 0, b"").await.expect("an empty input");
    assert_eq!(none, Received::Complete { bytes: 0 });
}

#[tokio::test]
async fn one_upload_of_each_input_at_a_time() {
    let (_root, inputs) = opened(10_000).await;
    let bytes = vec![1; 3000];
    let sha = digest(&bytes);
    let (go_on, wait) = oneshot::channel::<()>();
    let (begun, has_begun) = oneshot::channel::<()>();
    let (first, second) = (Bytes::copy_from_slice(&bytes[..1000]), Bytes::copy_from_slice(&bytes[1000..]));
    let slow = stream::once(async move {
        begun.send(()).expect("the test waits");
        Ok::<_, std::io::Error>(first)
    })
    .chain(stream::once(async move {
        wait.await.expect("the test goes on");
        Ok(second)
    }));
    let upload = tokio::spawn({
        let inputs = inputs.clone();
        async move { inputs.write(sha, 0, 3000, Box::pin(slow)).await }
    });
    has_begun.await.expect("it begins");
    assert!(matches!(send(&inputs, sha, 0, 3000, &bytes).await, Err(InputError::Busy)));
    let other = vec![2; 10];
    send(&inputs, digest(&other), 0, 10, &other).await.expect("another input is not held up");
    go_on.send(()).expect("it waits");
    assert_eq!(upload.await.expect("no panic").expect("complete"), Received::Complete { bytes: 3000 });
}
