//! `trainyard exec`: a command beside the training, through the agent.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Api, ClientArgs};
use crate::exit::{Exit, Outcome};
use crate::out::note;

/// Beyond the command's own time limit: the way there and back.
const AROUND: Duration = Duration::from_secs(30);

/// Run a command on the machine of a job, in its working directory
///
/// Its output is shown when it has ended, at most the last MiB of it, secrets masked. A command that fails is exit code
/// 1, and its own code is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// Seconds that the command may take, at most 60
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    #[command(flatten)]
    client: ClientArgs,
    /// The command and its arguments
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let body = json!({"command": args.command, "timeout_s": args.timeout});
    let within = Duration::from_secs(args.timeout) + AROUND;
    let answer: Value = api.post(&["jobs", &args.job, "exec"], &body, within).await?;
    let out = args.client.out();
    if out.json {
        out.json(&answer)?;
    } else {
        out.bytes(answer["output"].as_str().unwrap_or_default().as_bytes())?;
    }
    if answer["truncated"] == true {
        note("only the last part of the output is shown");
    }
    match answer["exit_code"].as_i64() {
        Some(0) => Ok(Exit::Done),
        Some(code) => {
            note(format!("the command ended with exit code {code}"));
            Ok(Exit::Failed)
        }
        None => {
            note("the command was ended: it took too long");
            Ok(Exit::Failed)
        }
    }
}
