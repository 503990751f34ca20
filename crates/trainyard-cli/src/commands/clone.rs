//! `trainyard clone`: the same once more, as a new job.

use serde_json::{Map, Value, json};

use crate::client::{Api, CALL_MAX, ClientArgs};
use crate::exit::{Exit, Outcome};

/// Make a new job of the same specification
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// The new job's id; made by the server where it is left out
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Start from the last checkpoint that is held
    #[arg(long)]
    from_checkpoint: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let mut body = Map::new();
    if let Some(id) = args.id {
        body.insert("job_id".to_owned(), json!(id));
    }
    if args.from_checkpoint {
        body.insert("from_checkpoint".to_owned(), json!(true));
    }
    let answer: Value = api.post(&["jobs", &args.job, "clone"], &Value::Object(body), CALL_MAX).await?;
    args.client.out().either(&answer, || super::cell(&answer, "job_id"))?;
    Ok(Exit::Done)
}
