//! The hook at the top of an embedder's `main`.

use std::ffi::OsString;
use std::process::ExitCode;

/// The word that makes this program the built-in trainer.
#[cfg(feature = "trainer")]
const TRAIN: &str = "__train";

/// Call this first in `main`. Where the program was executed as the agent beside a training (or, with the feature
/// `trainer`, as the built-in trainer) it runs as that to its end and its exit code is given; otherwise none, and
/// `main` goes on. Costs nothing then: no runtime is started and no file is read.
pub fn agent_entry() -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    #[cfg(feature = "trainer")]
    if arguments.get(1).is_some_and(|word| word == TRAIN) {
        return Some(trainyard_trainer::main_from_env());
    }
    trainyard_agent::entry(&arguments)
}
