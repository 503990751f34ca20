//! A server that starts, and one that has nothing to do.

use std::process::Command;
use std::time::{Duration, Instant};

use super::status::run;
use crate::Fault;
use crate::bench::Bench;
use crate::machine::memory;
use crate::product::Server;
use crate::stats::Sample;
use crate::table::{Amount, Figure, Target};

const RUNS: usize = 7;
/// How long a server rests before its memory is looked at.
const REST: Duration = Duration::from_secs(3);

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let [mut fresh, mut again, mut version] = std::array::from_fn(|_| Sample::default());
    let mut resting = None;
    for _ in 0..RUNS {
        run(Command::new(&bench.product).arg("--version"), &mut version)?;
        let server = ready(Server::start(bench)?, &mut fresh).await?;
        resting = Some(ready(server.again(bench)?, &mut again).await?);
    }
    let server = resting.ok_or("no server was started")?;
    // waits: for the server to have nothing left to do; it says so nowhere
    tokio::time::sleep(REST).await;
    let idle = memory(server.pid())?;
    let start = Figure::new("start", "start to `/readyz`, new data directory, p50", Amount::ms(fresh.p50()))
        .target(Target::AtMost(150.0))
        .floor("`trainyard --version`, p50", Amount::ms(version.p50()))
        .note(format!("with data of before {:.0} ms", again.p50() * 1e3));
    let idle_figure =
        Figure::new("idle", "resident memory of a resting server", Amount::mb(idle.resident as f64))
            .target(Target::AtMost(25.0))
            .note(format!("{:.1} MB of it are pages of the program's file", idle.of_files as f64 / 1e6));
    Ok(vec![start, idle_figure])
}

/// The server once it answers that it is ready.
async fn ready(server: Server, sample: &mut Sample) -> Result<Server, Fault> {
    let from = Instant::now();
    server.get("/readyz").await?;
    sample.push(server.ready_s + from.elapsed().as_secs_f64());
    Ok(server)
}
