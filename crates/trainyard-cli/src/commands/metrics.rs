//! `trainyard metrics`: the series, as a table or as JSON.

use serde_json::Value;

use crate::client::{Api, ClientArgs, value_f64};
use crate::exit::{Exit, Outcome};
use crate::out::{self, note};

/// Most columns of a table; `--names` chooses, `--json` has all.
const COLUMNS_MAX: usize = 8;

/// Show what a job logged, step by step
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// Only after this step
    #[arg(long, value_name = "STEP")]
    after: Option<u64>,
    /// At most this many points, extremes kept
    #[arg(long, value_name = "N")]
    points: Option<u32>,
    /// Only these, such as `loss,learning_rate`
    #[arg(long, value_name = "NAMES")]
    names: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let mut query = Vec::new();
    query.extend(args.after.map(|step| ("after", step.to_string())));
    query.extend(args.points.map(|points| ("points", points.to_string())));
    query.extend(args.names.map(|names| ("names", names)));
    let answer: Value = Api::new(&args.client)?.get(&["jobs", &args.job, "metrics"], &query).await?;
    let out = args.client.out();
    if out.json {
        out.json(&answer)?;
        return Ok(Exit::Done);
    }
    let points = super::rows(&answer, "points");
    let names = columns(&points);
    if names.is_empty() {
        note("nothing was logged yet");
        return Ok(Exit::Done);
    }
    let rows =
        points.iter().filter(|point| names.iter().any(|name| number(point, name).is_some())).map(|point| {
            let step = super::cell(point, "step");
            let values = names
                .iter()
                .map(|name| number(point, name).map_or_else(|| "-".to_owned(), |v| format!("{v:.6}")));
            std::iter::once(step).chain(values).collect()
        });
    let header: Vec<&str> = std::iter::once("step").chain(names.iter().map(String::as_str)).collect();
    out.line(out::table(&header, rows))?;
    Ok(Exit::Done)
}

/// The names that stand in any point, the machine's own last.
fn columns(points: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, value) in points.iter().filter_map(Value::as_object).flatten() {
        let counts = matches!(name.as_str(), "step" | "attempt" | "seq");
        if !counts && value_f64(value).is_some() && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.sort_by_key(|name| (name.starts_with("system/"), name != "loss", name.clone()));
    names.truncate(COLUMNS_MAX);
    names
}

fn number(point: &Value, name: &str) -> Option<f64> {
    point.get(name).and_then(value_f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn loss_comes_first_and_the_machine_last() {
        let points = [
            json!({"step": 1, "ts": "x", "epoch": 1, "loss": 2.0, "learning_rate": null}),
            json!({"system/cpu": 3, "eval_loss": 1.0}),
        ];
        assert_eq!(super::columns(&points), ["loss", "epoch", "eval_loss", "system/cpu"]);
    }
}
