//! A job that does nothing: what the system itself costs.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::status::run;
use crate::Fault;
use crate::bench::Bench;
use crate::product::Server;
use crate::stats::{Sample, rate};
use crate::table::{Amount, Figure, Target};

const ALONE: usize = 60;
const CLIENTS: usize = 8;
const EACH: usize = 40;

/// Creates the jobs that are then measured.
async fn create(server: &Server, prefix: &str, count: usize) -> Result<(), Fault> {
    for number in 0..count {
        server.create_command(&format!("{prefix}-{number}"), &["true".to_owned()]).await?;
    }
    Ok(())
}

/// Submits it and waits until it has completed.
async fn complete(server: &Server, id: &str, sample: &mut Sample) -> Result<(), Fault> {
    let from = Instant::now();
    let answer = server.submit(id).await?;
    if answer["state"] != "completed" {
        server.completed(id).await?;
    }
    sample.time(from);
    Ok(())
}

async fn at_once(server: &Arc<Server>) -> Result<(Sample, f64), Fault> {
    create(server, "many", CLIENTS * EACH).await?;
    let (mut clients, from) = (JoinSet::new(), Instant::now());
    for client in 0..CLIENTS {
        let server = Arc::clone(server);
        clients.spawn(async move {
            let mut sample = Sample::default();
            for number in (client..CLIENTS * EACH).step_by(CLIENTS) {
                complete(&server, &format!("many-{number}"), &mut sample).await?;
            }
            Ok::<Sample, Fault>(sample)
        });
    }
    let mut all = Sample::default();
    while let Some(client) = clients.join_next().await {
        all.append(client??);
    }
    Ok((all, rate(CLIENTS * EACH, from.elapsed())))
}

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let server = Arc::new(Server::start(bench)?);
    let [mut alone, mut bare] = std::array::from_fn(|_| Sample::default());
    create(&server, "alone", ALONE).await?;
    for number in 0..ALONE {
        let from = Instant::now();
        // As many processes as a job takes: agent, warden, and the training itself.
        let mut each = Sample::default();
        run(Command::new(&bench.product).arg("--version"), &mut each)?;
        run(Command::new(&bench.product).arg("--version"), &mut each)?;
        run(&mut Command::new("true"), &mut each)?;
        bare.time(from);
        complete(&server, &format!("alone-{number}"), &mut alone).await?;
    }
    let (many, rate) = at_once(&server).await?;
    Ok(vec![
        Figure::new("noop", "job `true`, submit → `completed`, one at a time, p50", Amount::ms(alone.p50()))
            .target(Target::AtMost(40.0))
            .floor("bare start and end of the same three processes, p50", Amount::ms(bare.p50()))
            .note(format!("p99 {:.0} ms", alone.p99() * 1e3)),
        Figure::new("noop-8", "the same, 8 at once", Amount::per_second(rate))
            .target(Target::AtLeast(80.0))
            .floor("the same three processes one after another", Amount::per_second(1.0 / bare.p50()))
            .note(format!(
                "{} jobs, each p50 {:.0} ms, p99 {:.0} ms",
                many.len(),
                many.p50() * 1e3,
                many.p99() * 1e3
            )),
    ])
}
