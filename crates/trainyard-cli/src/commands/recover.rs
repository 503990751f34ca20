//! `trainyard recover`: takes up what runs at the providers when the database is gone or older than it.

use std::time::Duration;

use serde_json::{Value, json};
use trainyard::domain::OrderName;
use trainyard::orchestrator::{GiveBack, Recovered, RecoveredMachine};

use crate::config::{ConfigArgs, Environment, Settings};
use crate::embedded::{SHUTDOWN_GRACE, open};
use crate::exit::{Exit, Failure, Outcome};
use crate::out::{self, Out, note};

/// Take up what runs at the providers after the database was lost or an old backup was put back
///
/// Needs the file DIR/installation and the providers' keys, and no server over that directory. Each machine of this
/// installation that the database does not know is asked for its job; the job is rebuilt and goes on. What no job can be
/// rebuilt from is listed and stays until it is given back. Exit code 1 where something is left.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Give back machines that no job can be rebuilt from: that one, or all of them
    #[arg(long, value_name = "ORDER", num_args = 0..=1, default_missing_value = "all")]
    give_back: Option<String>,
    /// Seconds that agents are waited for
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, environment: Environment) -> Outcome {
    let give_back = match args.give_back.as_deref() {
        None => GiveBack::None,
        Some("all") => GiveBack::All,
        Some(order) => GiveBack::One(
            order
                .parse::<OrderName>()
                .map_err(|error| Failure::usage(format!("`{order}` is no order's name")).because(&error))?,
        ),
    };
    let settings = Settings::load(&args.config, &environment)?;
    let orchestrator = open(&settings).await?;
    let done = orchestrator.recover(&give_back, Duration::from_secs(args.wait)).await;
    orchestrator.shutdown(SHUTDOWN_GRACE).await;
    let done = done
        .map_err(|error| Failure::failed("the database could not be used; run it again").because(&error))?;
    let out = Out { json: args.json };
    if out.json {
        out.json(&wire(&done))?;
    } else {
        tell(out, &done)?;
    }
    Ok(if done.left.is_empty() && done.unread.is_empty() { Exit::Done } else { Exit::Failed })
}

fn tell(out: Out, done: &Recovered) -> Result<(), Failure> {
    let row = |machine: &RecoveredMachine, what: &str| {
        let job = machine.job.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            machine.provider.to_string(),
            machine.order.to_string(),
            machine.machine.clone(),
            job,
            what.to_owned(),
        ]
    };
    let adopted = done.adopted.iter().map(|machine| row(machine, "its job goes on"));
    let back = done.given_back.iter().map(|machine| row(machine, "was asked to go"));
    let left = done.left.iter().map(|(machine, why)| row(machine, why));
    let rows: Vec<_> = adopted.chain(back).chain(left).collect();
    if rows.is_empty() {
        note("no machine of this installation is unknown to the database");
    } else {
        out.line(out::table(&["PROVIDER", "ORDER", "MACHINE", "JOB", "WHAT"], rows))?;
    }
    for (provider, why) in &done.unread {
        note(format!("{provider} could not be read: {why}"));
    }
    for (machine, _) in &done.left {
        note(format!("to give it back: trainyard recover --give-back {}", machine.order));
    }
    if !done.adopted.is_empty() {
        note("`trainyard serve` brings their artifacts home");
    }
    Ok(())
}

fn wire(done: &Recovered) -> Value {
    let machine = |machine: &RecoveredMachine| {
        json!({
            "provider": machine.provider.as_str(), "order": machine.order.as_str(), "machine": machine.machine,
            "job_id": machine.job,
        })
    };
    let left = done.left.iter().map(|(left, why)| {
        let mut left = machine(left);
        left["why"] = json!(why);
        left
    });
    let unread = done.unread.iter().map(|(provider, why)| json!({"provider": provider.as_str(), "why": why}));
    json!({
        "adopted": done.adopted.iter().map(machine).collect::<Vec<_>>(),
        "given_back": done.given_back.iter().map(machine).collect::<Vec<_>>(),
        "left": left.collect::<Vec<_>>(),
        "unread": unread.collect::<Vec<_>>(),
        "only_reports": done.holds,
    })
}
