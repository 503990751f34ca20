//! What the three clouds cost in time beyond what they take themselves: the start, the end, and an hour as it would go.
//!
//! The clouds are simulated, in this process; their machines run real agents, brought there as they are at the vendor.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trainyard_domain::Timestamp;
use trainyard_simulator::world::{Machine, Wanted};
use trainyard_simulator::{Delays, Options, Simulator, Vendor, World, serve};

use crate::Fault;
use crate::bench::Bench;
use crate::clock::now_us;
use crate::product::Server;
use crate::stats::Sample;
use crate::table::{Amount, Figure, Target};
use crate::training;

/// Jobs one after another at each.
const RUNS: usize = 5;
/// Longest wait for one of them.
const RUN_MAX: Duration = Duration::from_secs(60);
/// How often the simulator is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Each with the longest start that was promised, in milliseconds: an order accepted until the training runs.
const VENDORS: [(Vendor, &str, f64); 3] = [
    (Vendor::Runpod, "runpod", 2000.0),
    (Vendor::Lambda, "lambda", 3000.0),
    (Vendor::Vastai, "vastai", 2000.0),
];

/// Seconds of the world in a real one, for the hour.
const SPEED: f64 = 60.0;
/// How long the training of the hour takes in real time.
const HOUR_S: f64 = 3600.0 / SPEED;
/// What is installed and fetched before it, by the world's clock.
const SETUP_S: f64 = 120.0;

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let mut figures = overhead(bench).await?;
    figures.extend(hour(bench).await?);
    Ok(figures)
}

/// A world that keeps no tape, with a server that has its keys.
async fn begin(bench: &Bench, delays: Delays, speed: f64) -> Result<(Simulator, Server), Fault> {
    let simulator =
        serve(Options { delays, speed, strict: false, tape: false, ..Options::for_tests() }).await?;
    let mut environment = simulator.environment();
    // These clouds show a machine at once.
    for name in ["TRAINYARD_RUNPOD_SETTLE_S", "TRAINYARD_LAMBDA_SETTLE_S", "TRAINYARD_VASTAI_SETTLE_S"] {
        environment.push((name, "3".to_owned()));
    }
    let server = Server::start_with(bench, &environment)?;
    Ok((simulator, server))
}

async fn overhead(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let (simulator, server) = begin(bench, Delays::NONE, 1.0).await?;
    let mut figures = Vec::new();
    for (vendor, name, most) in VENDORS {
        let [mut starts, mut ends] = std::array::from_fn(|_| Sample::default());
        for run in 0..RUNS {
            let (start, end) = one(&server, &simulator.world(), bench, vendor, name, run).await?;
            starts.push(start);
            ends.push(end);
        }
        figures.push(
            Figure::new(
                format!("{name}-start"),
                format!("`submit` → the training runs at {name}, the worst of {RUNS}, the vendor's own time being nothing"),
                Amount::ms(starts.max()),
            )
            .target(Target::AtMost(most))
            .note(format!("p50 {:.0} ms; the agent is sent there each time", starts.p50() * 1e3)),
        );
        figures.push(
            Figure::new(
                format!("{name}-end"),
                "the training's exit → its machine's removal is asked for, artifact of 1 KiB brought home, the worst",
                Amount::ms(ends.max()),
            )
            .target(Target::AtMost(1000.0))
            .note(format!("p50 {:.0} ms", ends.p50() * 1e3)),
        );
    }
    drop(server);
    simulator.stop().await;
    Ok(figures)
}

/// One job: seconds until it ran, and from its exit to its machine's end.
async fn one(
    server: &Server,
    world: &World,
    bench: &Bench,
    vendor: Vendor,
    provider: &str,
    run: usize,
) -> Result<(f64, f64), Fault> {
    let id = format!("{provider}-{run}");
    let told = server.dir().join(&id);
    create(server, &id, &training::leave(&bench.training, &told, 1024), &[]).await?;
    let submitted = now_us();
    server.submit_to(&id, provider).await?;
    let removed = removed(world, vendor, run).await?;
    server.completed(&id).await?;
    let exited: u64 = std::fs::read_to_string(&told)?.parse()?;
    let started = started_us(server, &id).await?;
    // The next one begins alone.
    gone(world, vendor).await?;
    Ok((apart(submitted, started), apart(exited, removed)))
}

fn apart(from_us: u64, to_us: u64) -> f64 {
    to_us.saturating_sub(from_us) as f64 / 1e6
}

async fn create(server: &Server, id: &str, command: &[String], setup: &[String]) -> Result<(), Fault> {
    let trainer = json!({"kind": "command", "command": command});
    let resources = json!({"disk_gb": 20});
    let body = json!({"job_id": id, "model_name": "none", "trainer": trainer, "resources": resources,
        "environment": {"setup": setup}});
    server.create(&body).await
}

/// When one more removal was asked for at that vendor than before.
async fn removed(world: &World, vendor: Vendor, before: usize) -> Result<u64, Fault> {
    let from = Instant::now();
    loop {
        let is_removed = |machine: &&Machine| machine.wanted == Wanted::Removed;
        if world.machines_of(vendor).iter().filter(is_removed).count() > before {
            return Ok(now_us());
        }
        if from.elapsed() > RUN_MAX {
            return Err("no machine's removal was seen".into());
        }
        // waits: for a request that the simulator gets
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn gone(world: &World, vendor: Vendor) -> Result<(), Fault> {
    let from = Instant::now();
    while world.machines_of(vendor).iter().any(Machine::is_alive) {
        if from.elapsed() > RUN_MAX {
            return Err("a machine stays".into());
        }
        // waits: for the machine to go, by the simulator's clock
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn job(server: &Server, id: &str) -> Result<Value, Fault> {
    Ok(serde_json::from_str(&server.get(&format!("/api/training/jobs/{id}")).await?)?)
}

async fn started_us(server: &Server, id: &str) -> Result<u64, Fault> {
    let job = job(server, id).await?;
    time_us(&job["started_at"]).ok_or_else(|| format!("no start: {job}").into())
}

fn time_us(value: &Value) -> Option<u64> {
    let time: Timestamp = value.as_str()?.parse().ok()?;
    u64::try_from(time.timestamp_micros()).ok()
}

/// How long a vendor takes by itself until a container runs: seconds of boot, pull and start.
const BOOT_S: u64 = 30;
const PULL_S: u64 = 180;
const START_S: u64 = 5;

/// A training of an hour at each, an image of some gigabytes before it, and what is installed and fetched.
async fn hour(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let delays = Delays {
        boot: Duration::from_secs(BOOT_S),
        pull: Duration::from_secs(PULL_S),
        start: Duration::from_secs(START_S),
        address: Duration::from_secs(BOOT_S),
        removal: Duration::from_secs(5),
        ..Delays::SHORT
    };
    let (simulator, server) = begin(bench, delays, SPEED).await?;
    let command = ["sleep".to_owned(), format!("{HOUR_S}")];
    let setup = [format!("sleep {}", SETUP_S / SPEED)];
    for (_, name, _) in VENDORS {
        create(&server, name, &command, &setup).await?;
        server.submit_to(name, name).await?;
    }
    let mut figures = Vec::new();
    for (vendor, name, _) in VENDORS {
        server.completed(name).await?;
        gone(&simulator.world(), vendor).await?;
        figures.extend(of_hour(&server, vendor, name).await?);
    }
    drop(server);
    simulator.stop().await;
    Ok(figures)
}

async fn of_hour(server: &Server, vendor: Vendor, name: &str) -> Result<[Figure; 2], Fault> {
    let job = job(server, name).await?;
    let share = job["useful_share"].as_f64().ok_or_else(|| format!("no share: {job}"))?;
    let attempt = &job["attempts"][0];
    let ordered = time_us(&attempt["ordered_at"]).ok_or_else(|| format!("no order: {attempt}"))?;
    // A whole machine pulls no image.
    let pull_s = if vendor == Vendor::Lambda { 0 } else { PULL_S };
    let modelled = (BOOT_S + pull_s + START_S) as f64 + SETUP_S;
    let own = apart(ordered, started_us(server, name).await?) - modelled / SPEED;
    Ok([
        Figure::new(
            format!("{name}-hour"),
            "share of the billed time that was training, one hour of it",
            Amount::percent(share),
        )
        .target(Target::AtLeast(85.0))
        .note(format!(
            "{BOOT_S} s of boot, {pull_s} s of pull, {SETUP_S:.0} s of installing and fetching; our own time counts {SPEED} times"
        )),
        Figure::new(format!("{name}-own-start"), "our own part of that start", Amount::ms(own))
            .target(Target::AtMost(15_000.0))
            .note("order → training, less what was modelled"),
    ])
}
