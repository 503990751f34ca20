//! `trainyard providers`: where jobs can be submitted.

use serde_json::Value;

use crate::client::{Api, ClientArgs};
use crate::exit::{Exit, Outcome};
use crate::out::{self, note};

/// Show the providers: configured or not, reachable or not, how far proven
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let answer: Value = Api::new(&args.client)?.get(&["providers"], &[]).await?;
    let out = args.client.out();
    if out.json {
        out.json(&answer)?;
        return Ok(Exit::Done);
    }
    let providers = super::rows(&answer, "providers");
    let fields = ["name", "configured", "reachable", "proven"];
    let rows = providers.iter().map(|provider| fields.map(|field| super::cell(provider, field)).to_vec());
    out.line(out::table(&["PROVIDER", "CONFIGURED", "REACHABLE", "PROVEN"], rows))?;
    for provider in &providers {
        if let Some(how) = provider.get("how_to_configure").and_then(Value::as_str) {
            note(format!("{}: {how}", super::cell(provider, "name")));
        }
    }
    Ok(Exit::Done)
}
