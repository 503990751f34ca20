//! The command line of the benchmarks.

use std::path::PathBuf;

/// Measure Trainyard, each figure beside this machine's own floor
#[derive(Debug, clap::Parser)]
pub(crate) struct Args {
    /// Only the figures whose name begins so; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Also what takes long: a list of a million jobs
    #[arg(long)]
    pub(crate) full: bool,
    /// Write the figures as JSON there too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Where to work, on the disk that is to be measured [default: beside this program]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
