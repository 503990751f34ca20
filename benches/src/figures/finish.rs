//! From the training's last act to `completed`, with next to nothing to bring home and with a gigabyte.

use crate::bench::Bench;
use crate::clock::now_us;
use crate::machine::{memory, reset_peak};
use crate::product::Server;
use crate::stats::{Numbers, Sample};
use crate::table::{Amount, Figure, Target};
use crate::{Fault, floor, training};

const RUNS: usize = 15;
const SMALL: u64 = 1024;
/// Freshly allocated blocks of some disks are slow: not the first run alone.
const LARGE_RUNS: usize = 3;
const LARGE: u64 = 1_000_000_000;

/// Seconds from the training's exit to the news that its job has completed.
async fn finish(server: &Server, bench: &Bench, id: &str, bytes: u64) -> Result<f64, Fault> {
    let told = server.dir().join(id);
    server.create_command(id, &training::leave(&bench.training, &told, bytes)).await?;
    server.submit(id).await?;
    server.completed(id).await?;
    let seen = now_us();
    let exited: u64 = std::fs::read_to_string(&told)?.parse()?;
    Ok(seen.saturating_sub(exited) as f64 / 1e6)
}

/// Seconds to hash a gigabyte once, and seconds to write it once.
fn bare(server: &Server) -> Result<[f64; 2], Fault> {
    let block = bytes::Bytes::from(Numbers(5).bytes(1 << 20));
    let blocks = || std::iter::repeat_n(block.clone(), (LARGE >> 20) as usize);
    let (_, hashed) = floor::sha256(blocks());
    Ok([hashed.as_secs_f64(), floor::write(server.dir(), blocks())?.as_secs_f64()])
}

/// A gigabyte brought home, and what stands beside it.
#[derive(Default)]
struct Large {
    took: Sample,
    hashed: Sample,
    written: Sample,
    /// Most bytes of memory more.
    more: u64,
}

async fn large(server: &Server, bench: &Bench) -> Result<Large, Fault> {
    let mut large = Large::default();
    for run in 0..LARGE_RUNS {
        let [hashed, written] = bare(server)?;
        large.hashed.push(hashed);
        large.written.push(written);
        let id = format!("large-{run}");
        reset_peak(server.pid())?;
        let before = memory(server.pid())?.resident;
        large.took.push(finish(server, bench, &id, LARGE).await?);
        large.more = large.more.max(memory(server.pid())?.peak.saturating_sub(before));
        server.delete(&id).await?;
    }
    Ok(large)
}

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let server = Server::start(bench)?;
    let mut small = Sample::default();
    for run in 0..RUNS {
        small.push(finish(&server, bench, &format!("small-{run}"), SMALL).await?);
    }
    let durable = floor::fsync(server.dir())?;
    let Large { took, hashed, written, more } = large(&server, bench).await?;
    let slower = hashed.p50().max(written.p50());
    Ok(vec![
        Figure::new(
            "finish",
            "training exit → `completed`, artifact of 1 KiB, the worst",
            Amount::ms(small.max()),
        )
        .target(Target::AtMost(500.0))
        .floor("4 KiB durable", Amount::ms(durable))
        .note(format!("p50 {:.0} ms of {RUNS}", small.p50() * 1e3)),
        Figure::new(
            "finish-1gb",
            "the same of 1 GB, all of it: digest by the agent, transfer, digest, disk",
            Amount::mb_per_second(LARGE as f64 / took.p50()),
        )
        .floor("the slower of SHA-256 and disk write", Amount::mb_per_second(LARGE as f64 / slower))
        .note(format!("{:.2} s, median of {LARGE_RUNS}", took.p50())),
        Figure::new(
            "finish-1gb-memory",
            "memory more of the server meanwhile, at most",
            Amount::mb(more as f64),
        )
        .target(Target::AtMost(16.0)),
    ])
}
