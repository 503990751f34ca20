//! `trainyard status`: one job as it is now.

use serde_json::Value;

use crate::client::{Api, ClientArgs, Status, value_f64};
use crate::exit::{Exit, Outcome};
use crate::out;

/// Show how a job is
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// Everything known of it: specification, attempts, prices
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let out = args.client.out();
    let segments: &[&str] = if args.full { &["jobs", &args.job] } else { &["jobs", &args.job, "status"] };
    let answer: Value = api.get(segments, &[]).await?;
    if out.json {
        out.json(&answer)?;
    } else if args.full {
        out.line(serde_json::to_string_pretty(&answer).unwrap_or_default())?;
    } else {
        out.line(words(&serde_json::from_value(answer).unwrap_or_default()))?;
    }
    Ok(Exit::Done)
}

fn words(status: &Status) -> String {
    let mut rows: Vec<(&str, String)> = vec![("job", status.job_id.clone())];
    let state = match &status.phase {
        Some(phase) => format!("{} ({})", status.state, phase.replace('_', " ")),
        None => status.state.clone(),
    };
    rows.push(("state", state));
    let mut row = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    row("reason", status.reason.as_ref().map(|reason| format!("{} [{}]", reason.message, reason.code)));
    row("what to do", status.reason.as_ref().and_then(|reason| reason.suggestion.clone()));
    row("provider", status.provider.clone());
    row("machine", status.provider_job_id.clone());
    row("attempt", status.attempt.filter(|n| *n > 1).map(|n| n.to_string()));
    row("progress", status.progress.map(|progress| format!("{:.0} %", progress * 100.0)));
    row("time left", status.eta_s.filter(|_| !status.has_ended()).map(out::duration));
    row("metrics", status.current_metrics.as_ref().map(metrics));
    row("started", status.started_at.clone());
    row("ended", status.completed_at.clone());
    row("exit code", status.exit_code.map(|code| code.to_string()));
    row(
        "cost",
        status.cost_usd.as_ref().filter(|cost| cost.as_str() != "0").map(|cost| format!("{cost} USD")),
    );
    if let Some(artifact) = &status.artifact_info {
        row("artifact", Some(artifact.path.clone()));
        row("sha256", Some(artifact.hash_sha256.clone()));
    }
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<11} {value}")).collect();
    lines.join("\n")
}

fn metrics(all: &serde_json::Map<String, Value>) -> String {
    let parts: Vec<String> = all
        .iter()
        .filter(|(name, _)| !name.starts_with("system/"))
        .filter_map(|(name, value)| Some(format!("{name} {}", value_f64(value)?)))
        .collect();
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_failed_job_says_why_and_what_to_do() {
        let status = serde_json::from_value(json!({
            "job_id": "a", "state": "failed", "phase": null, "exit_code": 137, "progress": 0.5,
            "reason": {"code": "out_of_memory", "message": "it was killed", "suggestion": "lower batch_size"},
        }))
        .unwrap();
        let text = super::words(&status);
        assert_eq!(
            text,
            "job         a\nstate       failed\nreason      it was killed [out_of_memory]\nwhat to do  lower batch_size\n\
             progress    50 %\nexit code   137"
        );
    }
}
