//! `trainyard completions`: what a shell needs to complete commands.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::{Exit, Outcome};
use crate::out::Out;

/// Write the completions of a shell to stdout
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "trainyard", &mut script);
    Out { json: false }.bytes(&script)?;
    Ok(Exit::Done)
}
