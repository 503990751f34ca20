//! Trainyard inside another program, without HTTP: a real adapter of the bundled model, trained on this machine.
//!
//! `cargo run --release -p trainyard-examples --example embedded`

#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use trainyard::domain::{EventBody, JobSpec, TINY_MODEL};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // This program is its own agent: it executes itself beside each training.
    if let Some(code) = trainyard::agent_entry() {
        return Ok(code);
    }
    tokio::runtime::Runtime::new()?.block_on(train())?;
    Ok(ExitCode::SUCCESS)
}

async fn train() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let records = directory.path().join("tickets.jsonl");
    std::fs::write(&records, trainyard::trainer::EXAMPLE_DATASET)?;

    let mut config = trainyard::Config::new(directory.path().join("data"));
    config.allowed_paths = vec![directory.path().to_owned()];
    let orchestrator = trainyard::open(config).await?;

    let mut spec = JobSpec::new(TINY_MODEL);
    spec.dataset = Some(trainyard::domain::Dataset::at(format!("path:{}", records.display()).parse()?));
    spec.hyperparameters.max_steps = Some(40);
    spec.hyperparameters.learning_rate = 0.01;
    spec.hyperparameters.warmup_steps = 5;
    let id = "job_1".parse()?;
    orchestrator.create_job(Some(id), spec).await?;
    let job = orchestrator.start_training("job_1", "local").await?.job;

    let mut events = orchestrator.events(job.id(), Some(Default::default())).await?;
    while let Some(event) = events.next().await {
        match &event?.event.body {
            EventBody::Status(status) => println!("{}", status.state),
            EventBody::Metrics(point) if point.step.is_some() => {
                println!("step {:?}  loss {:?}", point.step, point.get("loss"));
            }
            _ => {}
        }
    }
    let artifact = orchestrator.artifact(job.id()).await?;
    println!("{}  sha256 {}", artifact.path.display(), artifact.main.hash_sha256);
    orchestrator.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
