//! `trainyard delete`: a job and its files are forgotten.

use serde_json::json;

use crate::client::{Api, ClientArgs};
use crate::exit::{Exit, Outcome};

/// Forget a job that has ended or was never submitted, and its files
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// Keep its artifact
    #[arg(long)]
    keep_artifact: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let query = if args.keep_artifact { vec![("keep_artifact", "true".to_owned())] } else { Vec::new() };
    api.delete(&["jobs", &args.job], &query).await?;
    args.client
        .out()
        .either(&json!({"job_id": args.job, "deleted": true}), || format!("{} deleted", args.job))?;
    Ok(Exit::Done)
}
