//! The whole way on a rented machine, for at most so much money.

use std::time::Duration;

use serde_json::{Value, json};
use trainyard::Orchestrator;
use trainyard::domain::{JobId, Money};
use trainyard::trainer::{EXAMPLE_DATASET, quickstart_hyperparameters};

use super::report::{Found, Report};
use crate::client::{Api, Artifact, VERIFY_MAX, Verification};
use crate::commands::submit::{create, submit};
use crate::exit::Failure;
use crate::follow::{FollowOptions, Followed, follow};
use crate::job_spec::upload_file;
use crate::out::{Out, note};

/// Steps that are trained.
const STEPS: u64 = 10;
/// Longest time that the training itself may take, in seconds.
const TRAINING_S: u64 = 300;
/// How long the proof that the machine is gone is waited for.
const GONE_WITHIN: Duration = Duration::from_secs(300);
/// Between two looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Trains on a rented machine and reports how it went.
pub(super) async fn rent(
    api: &Api,
    orchestrator: &Orchestrator,
    provider: &str,
    most: Money,
    report: &mut Report,
) -> Result<(), Failure> {
    let price = per_hour(most);
    note(format!("renting the cheapest machine at {provider}, at most {price} USD an hour"));
    let job = make_job(api, price, most).await?;
    let trained = train(api, &job, provider, report).await;
    // Whatever came of it, nothing of the job may be left behind: an ended job refuses this, which is fine.
    let _: Result<Value, Failure> = api.post(&["jobs", &job, "cancel"], &json!({}), VERIFY_MAX).await;
    gone(api, orchestrator, &job, report).await?;
    trained
}

/// Submits the job, follows it to its end and verifies what it made.
async fn train(api: &Api, job: &str, provider: &str, report: &mut Report) -> Result<(), Failure> {
    if let Err(failure) = submit(api, job, Some(provider), None).await {
        report.add("rented", Found::Bad, failure.to_string());
        return Ok(());
    }
    let options = FollowOptions { after: 0, log: false, notifications: true };
    let status = match follow(api, job, options, Out { json: false }, &mut |_| {}).await? {
        Followed::Ended(status) => status,
        Followed::Detached => {
            report.add("trained", Found::Bad, "interrupted; the job is cancelled");
            return Ok(());
        }
    };
    if status.state == "completed" {
        report.add("trained", Found::Good, format!("{STEPS} steps with the built-in trainer"));
        return verified(api, job, report).await;
    }
    let whole: Value = api.get(&["jobs", job, "status"], &[]).await?;
    let reason = whole["reason"]["message"].as_str().unwrap_or("no reason was given");
    report.add("trained", Found::Bad, format!("{}: {reason}", status.state));
    Ok(())
}

/// What an hour may cost: half an hour is paid for at most, for the start of a slow machine, the training, and the way
/// back.
fn per_hour(most: Money) -> Money {
    most.plus(most)
}

async fn make_job(api: &Api, price: Money, most: Money) -> Result<String, Failure> {
    let local = |error: std::io::Error| Failure::failed("no temporary file").because(&error);
    let mut file = tempfile::NamedTempFile::new().map_err(local)?;
    std::io::Write::write_all(&mut file, EXAMPLE_DATASET.as_bytes()).map_err(local)?;
    let dataset = upload_file(api, file.path(), "the data set").await?;
    let mut hyperparameters = quickstart_hyperparameters();
    hyperparameters["max_steps"] = json!(STEPS);
    hyperparameters["eval_strategy"] = json!("no");
    let spec = json!({
        "model_name": "trainyard-tiny",
        "labels": {"from": "doctor"},
        "dataset": {"source": dataset, "format": "prompt_completion"},
        "hyperparameters": hyperparameters,
        "trainer": {"kind": "builtin"},
        "resources": {"disk_gb": 20, "max_price_per_hour": price},
        "limits": {"max_duration_s": TRAINING_S, "max_cost_usd": most, "grace_period_s": 10},
        "retry": {"max_attempts": 1},
    });
    let created = create(api, spec.as_object().cloned().unwrap_or_default()).await?;
    Ok(crate::commands::cell(&created, "job_id"))
}

async fn verified(api: &Api, job: &str, report: &mut Report) -> Result<(), Failure> {
    let artifact: Artifact = api.post(&["jobs", job, "download-artifact"], &json!({}), VERIFY_MAX).await?;
    let verified: Verification = api.post(&["jobs", job, "verify-artifact"], &json!({}), VERIFY_MAX).await?;
    let found = if verified.valid { Found::Good } else { Found::Bad };
    report.add("adapter", found, format!("{} sha256 {}", artifact.path, artifact.hash_sha256));
    Ok(())
}

/// Waits for the proof that every machine of the job is gone, and compares what it cost with the bill.
async fn gone(api: &Api, orchestrator: &Orchestrator, job: &str, report: &mut Report) -> Result<(), Failure> {
    let waited = tokio::time::timeout(GONE_WITHIN, async {
        loop {
            let whole: Value = api.get(&["jobs", job], &[]).await?;
            let attempts = crate::commands::rows(&whole, "attempts");
            if attempts.iter().all(|attempt| attempt["gone_at"].is_string()) {
                return Ok::<bool, Failure>(!attempts.is_empty());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let Ok(proven) = waited.await else {
        report.add("machine", Found::Bad, "not proven gone yet: look at the provider's own page, and run `trainyard serve` over the same directory, which goes on with it");
        return Ok(());
    };
    if !proven? {
        report.add("machine", Found::Unknown, "nothing was ordered");
        return Ok(());
    }
    report.add("machine", Found::Good, "proven gone by reading the provider");
    let status: Value = api.get(&["jobs", job, "status"], &[]).await?;
    let cost = crate::commands::cell(&status, "cost_usd");
    report.add("cost", Found::Good, format!("{cost} USD by our ledger"));
    let Ok(id) = job.parse::<JobId>() else { return Ok(()) };
    match orchestrator.bills(&id).await {
        Ok(bills) => {
            let told: Vec<Money> = bills.into_iter().filter_map(|(_, bill)| bill).collect();
            if told.is_empty() {
                report.add("bill", Found::Unknown, "the provider's books do not show it yet, or it has none");
            } else {
                let sum = told.into_iter().fold(Money::ZERO, Money::plus);
                report.add("bill", Found::Good, format!("{sum} USD by the provider's books"));
            }
        }
        Err(error) => report.add("bill", Found::Unknown, error.to_string()),
    }
    Ok(())
}
