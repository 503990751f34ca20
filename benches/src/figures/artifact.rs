//! An artifact of a gigabyte, taken in: hashed, compared, on the disk.

use std::time::Instant;

use bytes::Bytes;
use trainyard_domain::{AttemptNumber, JobId};
use trainyard_storage::DiskArtifacts;

use crate::bench::Bench;
use crate::machine::{memory, reset_peak};
use crate::stats::{Numbers, Sample};
use crate::table::{Amount, Figure, Target};
use crate::{Fault, floor};

const ROUNDS: usize = 3;
/// Bytes that come at once from the agent.
const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 15_259;
const BYTES: u64 = (CHUNK * CHUNKS) as u64;

/// A gigabyte, from a few different megabytes.
fn chunks(source: &Bytes) -> impl Iterator<Item = Bytes> {
    let starts = (source.len() - CHUNK) / 4096;
    (0..CHUNKS).map(move |i| {
        let start = i * 31 % starts * 4096;
        source.slice(start..start + CHUNK)
    })
}

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let dir = bench.fresh()?;
    let source = Bytes::from(Numbers(9).bytes(4 << 20));
    let artifacts = DiskArtifacts::open(dir.path().join("artifacts")).await?;
    let job: JobId = "big".parse()?;
    let [mut measured, mut hashed, mut written] = std::array::from_fn(|_| Sample::default());
    let mut more = 0;
    for _ in 0..ROUNDS {
        let (digest, took) = floor::sha256(chunks(&source));
        hashed.push(BYTES as f64 / took.as_secs_f64());
        written.push(BYTES as f64 / floor::write(dir.path(), chunks(&source))?.as_secs_f64());

        let us = std::process::id();
        reset_peak(us)?;
        let before = memory(us)?.resident;
        let from = Instant::now();
        let ingest = artifacts.begin(&job, AttemptNumber::FIRST).await?;
        let mut file = ingest.file("adapter_model.safetensors", digest, BYTES).await?;
        for chunk in chunks(&source) {
            file.write(chunk).await?;
        }
        let file = file.finish().await?;
        ingest.commit(&[file]).await?;
        measured.push(BYTES as f64 / from.elapsed().as_secs_f64());
        more = more.max(memory(us)?.peak.saturating_sub(before));
        artifacts.delete(&job).await?;
    }
    let slower = hashed.p50().min(written.p50());
    let each = format!("SHA-256 {:.0} MB/s, disk {:.0} MB/s", hashed.p50() / 1e6, written.p50() / 1e6);
    Ok(vec![
        Figure::new(
            "artifact",
            "1 GB taken in, verified and synced, DiskArtifacts",
            Amount::mb_per_second(measured.p50()),
        )
        .target(Target::OfFloor(0.8))
        .floor("the slower of SHA-256 and disk write", Amount::mb_per_second(slower))
        .note(each),
        Figure::new("artifact-memory", "memory more while it comes in, at most", Amount::mb(more as f64))
            .target(Target::AtMost(16.0)),
    ])
}
