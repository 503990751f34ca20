//! The test kit for connectors, run for every provider that ships: `local` with real agents, the clouds over the
//! simulator.
//!
//! The program is its own agent on the machines; that is why it has a `main` and no harness. Arguments select: the name
//! of a provider runs that one only, any other word the cases whose name holds it.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

mod clouds;
mod door;
mod local;

use std::ffi::OsString;
use std::process::ExitCode;

use clouds::Cloud;
use trainyard_domain::Timestamp;
use trainyard_simulator::Vendor;
use trainyard_testkit::connector::{ConnectorHarness, Summary, run_all};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = trainyard_agent::entry(&arguments) {
        return code;
    }
    let words = arguments[1..].iter().filter_map(|word| word.to_str()).filter(|word| !word.starts_with('-'));
    let (names, cases): (Vec<String>, Vec<String>) =
        words.map(str::to_owned).partition(|word| harnesses().iter().any(|(name, _)| name == word));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut chosen = harnesses();
    chosen.retain(|(name, _)| names.is_empty() || names.iter().any(|it| it == name));
    // At the same time: each has a world of its own, and they mostly wait.
    let failed: usize = std::thread::scope(|scope| {
        let (runtime, cases) = (&runtime, &cases);
        let runs: Vec<_> = chosen
            .iter()
            .map(|(name, harness)| {
                scope.spawn(move || {
                    let summary: Summary = runtime.block_on(run_all(name, harness.as_ref(), cases));
                    summary.failed.len()
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().expect("its panics are told by the kit")).sum()
    });
    ExitCode::from(u8::from(failed > 0))
}

fn harnesses() -> Vec<(&'static str, Box<dyn ConnectorHarness>)> {
    let cloud = |vendor, connect| Box::new(Cloud { vendor, connect });
    vec![
        ("local", Box::new(local::Local)),
        ("runpod", cloud(Vendor::Runpod, clouds::runpod)),
        ("lambda", cloud(Vendor::Lambda, clouds::lambda)),
        ("vastai", cloud(Vendor::Vastai, clouds::vastai)),
    ]
}

/// The clock that observations are read by.
fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + std::time::UNIX_EPOCH.elapsed().expect("a time after 1970")
}
