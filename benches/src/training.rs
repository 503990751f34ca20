//! What the measured jobs run: this program, as a training that tells when it did what.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::clock::now_us;
use crate::stats::Numbers;
use crate::table;

const EMIT: &str = "__emit";
const LEAVE: &str = "__leave";

/// Longest time to wait until the measurement begins.
const GATE_MAX: Duration = Duration::from_secs(60);
/// How often the gate is looked at.
const GATE_EVERY: Duration = Duration::from_millis(5);

/// The command of a training that, once the gate is there, logs a metric with its time every so often.
pub(crate) fn emit(program: &Path, gate: &Path, every_ms: u64, count: u64) -> Vec<String> {
    let word = |path: &Path| path.display().to_string();
    vec![word(program), EMIT.to_owned(), word(gate), every_ms.to_string(), count.to_string()]
}

/// The command of a training that leaves an output of that many bytes and tells in a file when it ended.
pub(crate) fn leave(program: &Path, told: &Path, bytes: u64) -> Vec<String> {
    let word = |path: &Path| path.display().to_string();
    vec![word(program), LEAVE.to_owned(), word(told), bytes.to_string()]
}

/// Runs as one of them where the command line says so.
pub(crate) fn entry() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [EMIT, gate, every_ms, count] => run_emit(Path::new(gate), number(every_ms), number(count)),
        [LEAVE, told, bytes] => run_leave(Path::new(told), number(bytes)),
        _ => return None,
    };
    Some(done.map_or_else(|error| table::fault("the training failed", &error), |()| ExitCode::SUCCESS))
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn given(name: &str) -> io::Result<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(format!("no {name}")))
}

fn run_emit(gate: &Path, every_ms: u64, count: u64) -> io::Result<()> {
    let mut metrics = File::options().append(true).create(true).open(given("TRAINYARD_METRICS_FILE")?)?;
    let from = Instant::now();
    while !gate.exists() && from.elapsed() < GATE_MAX {
        // waits: for another process; there is no event for a file in the standard library
        std::thread::sleep(GATE_EVERY);
    }
    let begun = Instant::now();
    for step in 0..count {
        let due = Duration::from_millis(every_ms * step);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let line = format!("{{\"step\":{step},\"loss\":0.5,\"written_us\":{}}}\n", now_us());
        metrics.write_all(line.as_bytes())?;
    }
    Ok(())
}

fn run_leave(told: &Path, bytes: u64) -> io::Result<()> {
    let block = Numbers(3).bytes(1 << 20);
    let mut output = File::create(given("TRAINYARD_OUTPUT_DIR")?.join("adapter_model.safetensors"))?;
    let mut left = bytes;
    while left > 0 {
        let part = left.min(block.len() as u64);
        output.write_all(&block[..usize::try_from(part).unwrap_or(block.len())])?;
        left -= part;
    }
    output.sync_all()?;
    let new = told.with_extension("new");
    fs::write(&new, now_us().to_string())?;
    fs::rename(new, told)
}
