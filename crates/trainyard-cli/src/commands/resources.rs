//! `trainyard resources`: the ledger of machines.

use serde_json::Value;

use crate::client::{Api, CALL_MAX, ClientArgs};
use crate::exit::{Exit, Outcome};
use crate::out::{self, note};

/// Show every machine ever rented, what it cost, and the reading that proved it gone
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what may still be billed
    #[arg(long)]
    open: bool,
    /// Give a warm machine back before its time, by its order or the provider's id
    #[arg(long, value_name = "ID", conflicts_with = "open")]
    give_back: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = Api::new(&args.client)?;
    let out = args.client.out();
    if let Some(machine) = &args.give_back {
        let answer: Value =
            api.post(&["resources", machine, "release"], &serde_json::json!({}), CALL_MAX).await?;
        out.either(&answer, || format!("{} is being given back", super::cell(&answer, "order")))?;
        return Ok(Exit::Done);
    }
    let answer: Value = api.get(&["resources"], &[]).await?;
    let is_open = |machine: &Value| machine.get("may_be_billed").and_then(Value::as_bool).unwrap_or(true);
    let machines: Vec<Value> = super::rows(&answer, "machines")
        .into_iter()
        .filter(|machine| !args.open || is_open(machine))
        .collect();
    if out.json {
        out.json(&if args.open { serde_json::json!({"machines": machines}) } else { answer })?;
        return Ok(Exit::Done);
    }
    if machines.is_empty() {
        note(if args.open { "no machine can be billed" } else { "no machine was ever rented" });
        return Ok(Exit::Done);
    }
    for alarm in super::rows(&answer, "alarms") {
        note(format!("alarm: {}", alarm.get("message").and_then(Value::as_str).unwrap_or_default()));
    }
    let fields = [
        "order",
        "provider",
        "provider_job_id",
        "price_per_hour",
        "cost",
        "placed_at",
        "warm_until",
        "gone_at",
    ];
    let rows = machines.iter().map(|machine| fields.map(|field| super::cell(machine, field)).to_vec());
    let titles = ["ORDER", "PROVIDER", "MACHINE", "PER HOUR", "COST", "SINCE", "WARM UNTIL", "GONE"];
    out.line(out::table(&titles, rows))?;
    Ok(Exit::Done)
}
