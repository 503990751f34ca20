//! The agent, its warden and its client against real processes.
//!
//! The test binary is its own agent: that is why it has a `main` of its own and no harness. An argument selects the
//! tests whose name holds it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, but with a `main` of their own")]

mod alone;
mod bench;
mod beside;
mod boot;
mod checkpoints;
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
use std::time::Duration;

/// One test may take this long.
const TEST_WITHIN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = trainyard_agent::entry(&arguments) {
        return code;
    }
    let all = [
        alone::TESTS,
        packages::TESTS,
        beside::TESTS,
        boot::TESTS,
        checkpoints::TESTS,
        running::TESTS,
        ending::TESTS,
        lease::TESTS,
        output::TESTS,
        inputs::TESTS,
        signing::TESTS,
        trainers::TESTS,
    ];
    trainyard_testkit::program::run(&all, bench::TESTS, TEST_WITHIN)
}
