//! What Trainyard is measured by: one command, one table, each figure beside what this machine can do at best.
//!
//! ```text
//! cargo run --release -p trainyard-benches [-- --only NAME] [--full] [--json FILE]
//! ```
//!
//! `figures` has one file a subject; `floor` is what the machine can do without us; `table` prints. Numbers of a
//! loaded machine say little, so the load is printed beside them. The product is measured as users run it, as a
//! process: executed under the name `trainyard`, this very program is it (see [`product`]).

mod args;
mod bench;
mod clock;
mod figures;
mod floor;
mod machine;
mod product;
mod socket;
mod stats;
mod table;
mod training;

use std::process::ExitCode;

use clap::Parser;

/// Why a figure could not be had. Said in the table; the others go on.
type Fault = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    if product::is_it() {
        return trainyard_cli::main();
    }
    if let Some(code) = training::entry() {
        return code;
    }
    let args = args::Args::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return table::fault("the runtime does not start", &error),
    };
    match runtime.block_on(bench::run(args)) {
        Ok(all_met) => ExitCode::from(u8::from(!all_met)),
        Err(error) => table::fault("the benchmarks did not run", error.as_ref()),
    }
}
