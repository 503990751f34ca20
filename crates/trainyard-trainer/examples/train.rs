//! The trainer as a program of its own, for trying it by hand: set the `TRAINYARD_*` variables that
//! `trainyard_trainer::TrainEnv` lists.

use std::process::ExitCode;

fn main() -> ExitCode {
    trainyard_trainer::main_from_env()
}
