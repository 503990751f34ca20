//! Ten thousand ways for an artifact to change on its way: none is accepted.

use bytes::Bytes;
use trainyard_domain::AttemptNumber;
use trainyard_storage::{DiskArtifacts, Ingest, IngestError};

use crate::{Numbers, digest, id};

const TRIALS: usize = 10_000;

/// The bytes as they arrive, and which of the files they are.
fn corrupted(files: &[Vec<u8>], numbers: &mut Numbers) -> (usize, Vec<u8>) {
    let which = numbers.below(files.len());
    let mut bytes = files[which].clone();
    match numbers.below(9) {
        0 | 1 => {
            let at = numbers.below(bytes.len());
            bytes[at] ^= 1 << numbers.below(8);
        }
        2 => bytes.truncate(numbers.below(bytes.len())),
        3 => {
            let more = 1 + numbers.below(100);
            bytes.extend(numbers.bytes(more));
        }
        4 => bytes = files[(which + 1 + numbers.below(files.len() - 1)) % files.len()].clone(),
        5 => {
            let len = bytes.len();
            bytes = numbers.bytes(len);
        }
        6 => {
            // A block comes twice, the one after it not at all.
            let at = numbers.below(bytes.len() - 64);
            bytes.copy_within(at..at + 32, at + 32);
        }
        7 => {
            let at = numbers.below(bytes.len() - 32);
            bytes[at..at + 32].fill(0);
        }
        _ => {
            // Two files, interleaved.
            let other = &files[(which + 1) % files.len()];
            let at = numbers.below(bytes.len().min(other.len()));
            bytes.truncate(at);
            bytes.extend(&other[at..]);
        }
    }
    (which, bytes)
}

async fn arrive(
    ingest: &Ingest,
    path: &str,
    announced: &[u8],
    came: &[u8],
    chunk: usize,
) -> Result<(), IngestError> {
    let mut file = ingest.file(path, digest(announced), announced.len() as u64).await?;
    for chunk in came.chunks(chunk) {
        file.write(Bytes::copy_from_slice(chunk)).await?;
    }
    file.finish().await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_corruption_is_accepted() {
    let root = tempfile::tempdir().expect("a directory");
    let artifacts = DiskArtifacts::open(root.path()).await.expect("opening");
    let mut numbers = Numbers(0x5eed_5eed_5eed_5eed);
    let files: Vec<Vec<u8>> = [700, 700, 1500, 4096].map(|len| numbers.bytes(len)).to_vec();
    let ingest = artifacts.begin(&id("one"), AttemptNumber::FIRST).await.expect("beginning");
    let (mut mismatch, mut short, mut long) = (0, 0, 0);
    for trial in 0..TRIALS {
        let (which, came) = corrupted(&files, &mut numbers);
        if came == files[which] {
            continue;
        }
        let chunk = 1 + numbers.below(2000);
        match arrive(&ingest, "model.safetensors", &files[which], &came, chunk).await {
            Err(IngestError::Mismatch { .. }) => mismatch += 1,
            Err(IngestError::TooShort { .. }) => short += 1,
            Err(IngestError::TooLong { .. }) => long += 1,
            answer => panic!("trial {trial}: {answer:?}"),
        }
    }
    println!("{mismatch} changed, {short} too short, {long} too long");
    assert!(mismatch + short + long > TRIALS * 95 / 100 && mismatch > 4000 && short > 500 && long > 500);
    assert!(!root.path().join("one").exists(), "nothing was shown");
    arrive(&ingest, "model.safetensors", &files[0], &files[0], 100).await.expect("the true bytes");
}
