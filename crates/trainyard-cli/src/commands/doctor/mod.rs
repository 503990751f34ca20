//! `trainyard doctor`: does a provider work from here? The first hour with a key.
//!
//! Without `--rent` it costs nothing: it reads the configuration, asks the provider what the key opens and what is for
//! rent, and says how the agent would reach a machine. With `--rent` it rents the cheapest machine, trains ten steps
//! with the built-in trainer there, verifies the adapter, proves the machine gone and compares the bill. The report
//! holds no secret.

mod rent;
mod report;

use std::path::PathBuf;

use trainyard::Orchestrator;
use trainyard::domain::Money;
use trainyard::orchestrator::ProviderCheck;

use crate::config::{ConfigArgs, Environment, Settings};
use crate::embedded::{SHUTDOWN_GRACE, open};
use crate::exit::{Exit, Failure, Outcome};
use crate::out::{Out, note};
use crate::own_server::with_own_server;
use report::{Found, Report};

/// Check a provider: its key, its offers, the agent's way; with --rent a whole training there
///
/// Works without a server. `--rent` uses the data directory, so that a machine that was rented is known there
/// whatever happens; end a server that runs over it first, or name another with --dir.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which provider
    #[arg(long, value_name = "PROVIDER")]
    provider: String,
    /// Rent the cheapest machine, train ten steps, and give it back
    #[arg(long, requires = "max_cost")]
    rent: bool,
    /// Most that this may cost, in US dollars, such as 0.25
    #[arg(long, value_name = "USD", requires = "rent")]
    max_cost: Option<Money>,
    /// The data directory for --rent
    #[arg(long, default_value = crate::DATA_DIR, value_name = "DIR", alias = "data")]
    dir: PathBuf,
    /// The configuration file [default: trainyard.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The report as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, environment: Environment) -> Outcome {
    let out = Out { json: args.json };
    let mut report = Report::of(&args.provider);
    let spare =
        tempfile::tempdir().map_err(|error| Failure::failed("no temporary directory").because(&error))?;
    let at = |data: PathBuf| ConfigArgs {
        listen: Some("127.0.0.1:0".to_owned()),
        data: Some(data),
        config: args.config.clone(),
    };
    let settings = Settings::load(&at(spare.path().join("data")), &environment)?;
    if configured(&args.provider, &settings, &mut report).await? {
        agents_way(&settings, &mut report);
        if let Some(most) = args.max_cost.filter(|_| args.rent && !report.has_failed()) {
            let settings = Settings::load(&at(args.dir.clone()), &environment)?;
            let rented = with_own_server(&settings, "doctor", async |api, orchestrator| {
                rent::rent(api, orchestrator, &args.provider, most, &mut report).await?;
                Ok(Exit::Done)
            });
            rented.await?;
        } else if !report.has_failed() {
            note("nothing was rented; `--rent --max-cost 0.25` tries the whole way for that much at most");
        }
    }
    out.either(&report.json(), || report.words())?;
    Ok(if report.has_failed() { Exit::Failed } else { Exit::Done })
}

/// Asks the provider, if it is configured.
async fn configured(provider: &str, settings: &Settings, report: &mut Report) -> Result<bool, Failure> {
    let orchestrator = open(settings).await?;
    let asked = orchestrator.check_provider(provider).await;
    let how = how_to_configure(&orchestrator, provider);
    orchestrator.shutdown(SHUTDOWN_GRACE).await;
    match asked {
        Ok(check) => {
            report.add("configured", Found::Good, "a key is there");
            answered(&check, report);
            Ok(true)
        }
        Err(error) => {
            let detail = how.unwrap_or_else(|| error.detail_text().to_owned());
            report.add("configured", Found::Bad, format!("{error}: {detail}"));
            Ok(false)
        }
    }
}

fn how_to_configure(orchestrator: &Orchestrator, provider: &str) -> Option<String> {
    orchestrator.providers().into_iter().find(|view| view.name == provider)?.how_to_configure
}

/// What the provider said.
fn answered(check: &ProviderCheck, report: &mut Report) {
    match &check.account {
        Ok(account) => {
            report.add("key", Found::Good, "the provider takes it");
            for (right, found) in &account.rights {
                report.add(format!("right: {right}"), Found::Good, found);
            }
            match account.credit {
                Some(credit) if credit > Money::ZERO => {
                    report.add("credit", Found::Good, format!("{credit} USD"));
                }
                Some(credit) => report.add(
                    "credit",
                    Found::Bad,
                    format!("{credit} USD: nothing can be rented; add money at the provider"),
                ),
                None => report.add("credit", Found::Unknown, "the provider does not tell"),
            }
            for (limit, value) in account.limits.iter().chain(&check.info.limits) {
                report.add(format!("limit: {limit}"), Found::Good, value);
            }
        }
        Err(error) => report.add("key", Found::Bad, error.to_string()),
    }
    match &check.offers {
        Ok(offers) => match offers.first() {
            Some(first) => report.add(
                "offers",
                Found::Good,
                format!(
                    "{} machines for rent, the cheapest {} x {} ({} GB) at {} USD an hour in {}",
                    offers.len(),
                    first.gpu_count,
                    first.gpu,
                    first.gpu_memory_gb,
                    first.price_per_hour,
                    first.region
                ),
            ),
            None => report.add("offers", Found::Unknown, "nothing is for rent now"),
        },
        Err(error) => report.add("offers", Found::Bad, error.to_string()),
    }
    report.add("proven", Found::Good, &check.info.proven);
}

/// How the agent reaches a machine.
fn agents_way(settings: &Settings, report: &mut Report) {
    let way = match (&settings.agent.url, &settings.server.public_url) {
        (Some(url), _) => format!("machines fetch it from {url}"),
        (None, Some(url)) => format!("machines fetch it from {url}, this server"),
        (None, None) => "it is sent to the machine".to_owned(),
    };
    report.add("agent", Found::Good, way);
}
