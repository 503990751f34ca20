//! `trainyard validate`: every check that costs nothing, before any that is paid.

use serde_json::{Value, json};

use crate::client::{Api, CALL_MAX, ClientArgs};
use crate::exit::{Exit, Outcome};

/// Check a job before it is submitted
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// For this provider
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let body = args.provider.map_or_else(|| json!({}), |provider| json!({"provider": provider}));
    let answer: Value = api.post(&["jobs", &args.job, "validate"], &body, CALL_MAX).await?;
    let list = |field: &str| answer.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let errors = list("errors");
    args.client.out().either(&answer, || {
        let mut lines: Vec<String> =
            list("checked").iter().filter_map(Value::as_str).map(|c| format!("ok       {c}")).collect();
        for (word, all) in [("warning ", list("warnings")), ("error   ", errors.clone())] {
            lines.extend(
                all.iter()
                    .map(|e| format!("{word} {}: {}", super::cell(e, "field"), super::cell(e, "message"))),
            );
        }
        lines.push(if errors.is_empty() {
            "nothing stands in the way".to_owned()
        } else {
            "it would be refused".to_owned()
        });
        lines.join("\n")
    })?;
    Ok(if errors.is_empty() { Exit::Done } else { Exit::Failed })
}
