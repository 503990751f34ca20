//! The one program of Trainyard: the server, and every command that speaks to one.
//!
//! [`main`] is all there is to call. Before it looks at the command line it asks whether this very binary was
//! started as an agent beside a training, or as the built-in trainer: both are the same file, so a user ships one.
//! Then `commands` (one file each) over `client` (the HTTP API), `follow` and `progress` (a job as it runs), `pack`
//! and `job_spec` (what a job is made of), `config` and `embedded` (a server and what it is told), `out` (all that is
//! written) and `exit` (the exit codes).

mod client;
mod commands;
mod config;
mod embedded;
mod exit;
mod follow;
mod job_spec;
mod log;
mod out;
mod own_server;
mod pack;
mod parent;
mod progress;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

/// Where artifacts go where nothing else is said, below the current directory.
const OUTPUT_DIR: &str = "trainyard-output";
/// Where a server keeps its data where nothing else is said, below the current directory.
const DATA_DIR: &str = "trainyard-data";

/// The program.
pub fn main() -> ExitCode {
    // Before anything that costs time: one of these is executed for every training.
    if let Some(code) = trainyard::agent_entry() {
        return code;
    }
    let cli = match commands::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nobody is left to tell when the output is closed.
            let _ = error.print();
            return if help { exit::Exit::Done } else { exit::Exit::Usage }.into();
        }
    };
    // What comes after `--` is somebody else's command line.
    let json = std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out::failure(&failure, json);
            failure.exit.into()
        }
    }
}
