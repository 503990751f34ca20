//! `trainyard offers`: machines for rent, side by side.

use serde_json::Value;

use crate::client::{Api, ClientArgs};
use crate::exit::{Exit, Outcome};
use crate::job_spec::memory_gb;
use crate::out::{self, note};

/// Show machines for rent over all configured providers, the cheapest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The GPU: models (`A100-80GB,H100`) or the least memory (`24GB`)
    #[arg(long, value_name = "GPU")]
    gpu: Option<String>,
    /// At least this much memory per GPU, in GB
    #[arg(long, value_name = "GB")]
    gpu_memory_gb: Option<u32>,
    /// GPUs per machine
    #[arg(long, value_name = "N")]
    gpu_count: Option<u32>,
    /// Most to pay per hour, in US dollars
    #[arg(long, value_name = "USD")]
    max_price: Option<String>,
    /// Only there
    #[arg(long)]
    region: Option<String>,
    /// Machines that may be taken back at any time, too
    #[arg(long)]
    spot: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    let mut query = Vec::new();
    // As `run` takes it.
    query.extend(args.gpu.map(|gpu| match memory_gb(&gpu) {
        Some(memory) => ("gpu_memory_gb", memory.to_string()),
        None => ("gpu", gpu),
    }));
    query.extend(args.gpu_memory_gb.map(|memory| ("gpu_memory_gb", memory.to_string())));
    query.extend(args.gpu_count.map(|count| ("gpu_count", count.to_string())));
    query.extend(args.max_price.map(|price| ("max_price", price)));
    query.extend(args.region.map(|region| ("region", region)));
    query.extend(args.spot.then(|| ("spot", "true".to_owned())));
    let answer: Value = Api::new(&args.client)?.get(&["offers"], &query).await?;
    let out = args.client.out();
    if out.json {
        out.json(&answer)?;
        return Ok(Exit::Done);
    }
    let offers = super::rows(&answer, "offers");
    if offers.is_empty() {
        note("no offers: no provider that rents machines is configured, or none has such a machine now");
        return Ok(Exit::Done);
    }
    let fields = ["provider", "gpu", "gpu_count", "gpu_memory_gb", "price_per_hour", "region", "spot"];
    let rows = offers.iter().map(|offer| fields.map(|field| super::cell(offer, field)).to_vec());
    out.line(out::table(&["PROVIDER", "GPU", "COUNT", "GB", "PER HOUR", "REGION", "SPOT"], rows))?;
    Ok(Exit::Done)
}
