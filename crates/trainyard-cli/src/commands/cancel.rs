//! `trainyard cancel`: the training stops, and its machine is given back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Api, ClientArgs};
use crate::exit::{Exit, Outcome};

/// The server answers within 30 s.
const ANSWER_MAX: Duration = Duration::from_secs(45);

/// Stop a job and give its machine back
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
    let answer: Value = api.post(&["jobs", &args.job, "cancel"], &json!({}), ANSWER_MAX).await?;
    args.client.out().either(&answer, || {
        format!("{} {}: {}", args.job, super::cell(&answer, "state"), super::cell(&answer, "message"))
    })?;
    Ok(Exit::Done)
}
