//! `trainyard sim`: simulated clouds, to learn and to try everything for free.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use trainyard_simulator::{Delays, Options};

use crate::exit::{Exit, Failure, Outcome};
use crate::out::{Out, note};

/// Serve simulated clouds: RunPod, Lambda and Vast.ai on this machine, for free
///
/// Machines of them are real processes of this machine, with real agents that really train; prices, bills, boot times
/// and faults are modelled. The environment that points a server at them is printed. What is true of them is at /world:
/// machines, what each has cost, what was asked; faults are set by `PUT /world/faults`, the clock by `PUT /world/clock`.
/// Ends with Ctrl-C, and every machine with it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address to listen on, of this machine only; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Machines come up at once, instead of after some seconds
    #[arg(long)]
    no_delays: bool,
    /// The dice's seed: the same orders give the same ids, and the same faults strike
    #[arg(long)]
    seed: Option<u64>,
    /// Where the machines' directories are [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print one line of JSON when ready: {"url","environment","pid"}
    #[arg(long)]
    ready_json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Outcome {
    if !args.listen.ip().is_loopback() {
        return Err(Failure::usage(format!("{} can be reached from other machines", args.listen))
            .hint("whoever reaches it runs programs here: listen on 127.0.0.1"));
    }
    let hear =
        |kind| signal(kind).map_err(|error| Failure::failed("signals cannot be heard").because(&error));
    let (mut terminate, mut interrupt) = (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
    let mut options = Options { listen: args.listen, seed: args.seed, root: args.root, ..Options::default() };
    if args.no_delays {
        options.delays = Delays::NONE;
    }
    let simulator = trainyard_simulator::serve(options)
        .await
        .map_err(|error| Failure::of(&error).hint("`--listen 127.0.0.1:0` takes a free port"))?;
    let out = Out { json: args.ready_json };
    if args.ready_json {
        let environment: serde_json::Map<String, serde_json::Value> = simulator
            .environment()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        out.json(&json!({"url": simulator.url(), "environment": environment, "pid": std::process::id()}))?;
    } else {
        for line in simulator.environment_lines() {
            out.line(line)?;
        }
    }
    note(format!(
        "simulated clouds at {}; with these variables `trainyard serve` rents there. Ctrl-C ends it",
        simulator.url()
    ));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    note("ending: every machine goes");
    simulator.stop().await;
    Ok(Exit::Done)
}
