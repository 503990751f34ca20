//! `trainyard resume`: a paused job goes on.

use serde_json::{Value, json};

use crate::client::{Api, CALL_MAX, ClientArgs};
use crate::exit::{Exit, Outcome};

/// Let a paused job go on
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let answer: Value = api.post(&["jobs", &args.job, "resume"], &json!({}), CALL_MAX * 2).await?;
    args.client.out().either(&answer, || format!("{} {}", args.job, super::cell(&answer, "state")))?;
    Ok(Exit::Done)
}
