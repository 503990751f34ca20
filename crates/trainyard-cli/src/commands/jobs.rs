//! `trainyard jobs`: the list, newest first.

use serde_json::Value;

use crate::client::{Api, ClientArgs, JobList};
use crate::exit::{Exit, Outcome};
use crate::out::{self, note};

/// List jobs, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only in this state
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only of this provider
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// Only with this label
    #[arg(long, value_name = "KEY:VALUE")]
    label: Vec<String>,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on after the page that gave this
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.state.map(|state| ("state", state)));
    query.extend(args.provider.map(|provider| ("provider", provider)));
    query.extend(args.cursor.map(|cursor| ("cursor", cursor)));
    query.extend(args.label.into_iter().map(|label| ("label", label)));
    let out = args.client.out();
    let answer: Value = Api::new(&args.client)?.get(&["jobs"], &query).await?;
    if out.json {
        out.json(&answer)?;
        return Ok(Exit::Done);
    }
    let list: JobList = serde_json::from_value(answer).unwrap_or_default();
    if list.jobs.is_empty() {
        note("no jobs; make one with `trainyard run` or `trainyard submit`");
        return Ok(Exit::Done);
    }
    let fields = ["job_id", "state", "provider", "model_name", "created_at", "completed_at"];
    let rows = list.jobs.iter().map(|job| fields.map(|field| super::cell(job, field)).to_vec());
    out.line(out::table(&["JOB", "STATE", "PROVIDER", "MODEL", "CREATED", "ENDED"], rows))?;
    if let Some(cursor) = list.next_cursor {
        note(format!("{} of {} jobs; go on with --cursor {cursor}", list.jobs.len(), list.total));
    }
    Ok(Exit::Done)
}
