//! `trainyard pause`: a local job stands still.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Api, ClientArgs};
use crate::exit::{Exit, Outcome};

/// A checkpoint is written first where that was asked for.
const ANSWER_MAX: Duration = Duration::from_secs(150);

/// Pause a local job
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// `signal` keeps its memory and its slot; `checkpoint` gives the card back and resumes from a checkpoint
    #[arg(long, default_value = "signal", value_parser = ["signal", "checkpoint"])]
    mode: String,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let answer: Value =
        api.post(&["jobs", &args.job, "pause"], &json!({"mode": args.mode}), ANSWER_MAX).await?;
    args.client.out().either(&answer, || format!("{} {}", args.job, super::cell(&answer, "state")))?;
    Ok(Exit::Done)
}
