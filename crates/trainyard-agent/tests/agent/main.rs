//! The agent, its warden and its client against real processes.
//!
//! The test binary is its own agent: that is why it has a `main` of its own and no harness. An argument selects the
//! tests whose name holds it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, but with a `main` of their own")]

mod alone;
mod bench;
mod beside;
mod boot;
mod ending;
mod inputs;
mod lease;
mod output;
mod packages;
mod rig;
mod running;
mod signing;
mod trainers;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rig::{Test, TestFn};

/// One test may take this long.
const TEST_WITHIN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = trainyard_agent::entry(&arguments) {
        return code;
    }
    let wanted: Vec<String> = arguments[1..]
        .iter()
        .filter_map(|a| a.to_str())
        .filter(|a| !a.starts_with('-'))
        .map(str::to_owned)
        .collect();
    let all = [
        alone::TESTS,
        packages::TESTS,
        beside::TESTS,
        boot::TESTS,
        running::TESTS,
        ending::TESTS,
        lease::TESTS,
        output::TESTS,
        inputs::TESTS,
        signing::TESTS,
        trainers::TESTS,
        bench::TESTS,
    ];
    let chosen: Vec<&Test> = all
        .into_iter()
        .flatten()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())))
        .collect();
    let mut failed = 0;
    for (name, test) in &chosen {
        let begin = Instant::now();
        let word = match run(*test) {
            Ok(Ok(())) => "ok",
            Ok(Err(_)) => "FAILED: too slow",
            Err(_) => "FAILED",
        };
        failed += usize::from(word != "ok");
        println!("test {name} ... {word} ({} ms)", begin.elapsed().as_millis());
    }
    println!("{} tests, {failed} failed", chosen.len());
    ExitCode::from(u8::from(failed > 0))
}

/// In a thread of its own, so that a panic ends only the test.
fn run(test: TestFn) -> std::thread::Result<Result<(), tokio::time::error::Elapsed>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    std::thread::spawn(move || runtime.block_on(async { tokio::time::timeout(TEST_WITHIN, test()).await }))
        .join()
}
