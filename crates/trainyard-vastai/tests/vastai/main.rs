//! The connector against a simulated Vast.ai: real requests, real containers, real TLS, real agents.
//!
//! The test binary is the agent of its machines: that is why it has a `main` of its own and no harness. An argument
//! selects the tests whose name holds it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, but with a `main` of their own")]

mod faults;
#[path = "../../../trainyard-simulator/tests/openapi/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "its own tests and its reader of JSON run in the simulator's crate"
)]
mod openapi;
mod orders;
mod path;
mod rig;
mod wire;
#[path = "../../../trainyard-simulator/tests/openapi/yaml.rs"]
mod yaml;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// One test may take this long.
const TEST_WITHIN: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = trainyard_agent::entry(&arguments) {
        return code;
    }
    let all = [path::TESTS, orders::TESTS, faults::TESTS, wire::TESTS];
    trainyard_testkit::program::run(&all, &[], TEST_WITHIN)
}
