//! A thousand jobs that train at a simulated cloud, one point a second each: what they cost the server.
//!
//! The cloud is RunPod's in the simulator's cheap mode, whose machines are no processes. It runs in this process, so
//! that what is measured of the server is the server alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use trainyard_connector::Arch;
use trainyard_simulator::world::Offer;
use trainyard_simulator::{Account, Options, Script, Simulator, Vendor, serve};

use crate::Fault;
use crate::bench::Bench;
use crate::machine::{memory, processor_s};
use crate::product::Server;
use crate::table::{Amount, Figure, Target};

const JOBS: usize = 1000;
/// Jobs that are created and submitted at once.
const AT_ONCE: usize = 16;
/// Points that no job reaches.
const POINTS: u64 = 1_000_000;
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(30);
/// How long all of it is left alone first: the listing is slow again, the last start is over.
const SETTLING: Duration = Duration::from_secs(15);
/// How long a new server is left alone before it counts as idle.
const IDLE: Duration = Duration::from_secs(5);
/// Longest time until all of them train.
const RUNNING_MAX: Duration = Duration::from_secs(100);
/// Points that a job may be behind its clock: those on their way.
const BEHIND_MAX: f64 = 12.0;

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let simulator = serve(options()?).await?;
    let server = std::sync::Arc::new(Server::start_with(bench, &environment(&simulator))?);
    tokio::time::sleep(IDLE).await;
    let idle = memory(server.pid())?;
    let (idle_from, idle_used) = (Instant::now(), processor_s(server.pid())?);
    tokio::time::sleep(IDLE).await;
    let idle_share = (processor_s(server.pid())? - idle_used) / idle_from.elapsed().as_secs_f64();

    let from = Instant::now();
    submit_all(&server).await?;
    all_running(&server).await?;
    let started_s = from.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLING).await;

    let before = steps(&server).await?;
    let (from, used) = (Instant::now(), processor_s(server.pid())?);
    let mut most = 0;
    while from.elapsed() < WATCHED {
        tokio::time::sleep(Duration::from_secs(1)).await;
        most = most.max(memory(server.pid())?.resident);
    }
    let share = (processor_s(server.pid())? - used) / from.elapsed().as_secs_f64();
    let points = points(&before, &steps(&server).await?)?;
    drop(server);
    simulator.stop().await;
    let more = most.saturating_sub(idle.resident);
    Ok(vec![
        Figure::new(
            "cloud-1000-memory",
            "memory more of the server with 1000 running jobs, at most",
            Amount::mb(more as f64),
        )
        .target(Target::AtMost(60.0))
        .note(format!("{:.0} MB in all; all of them trained after {started_s:.0} s", most as f64 / 1e6)),
        Figure::new(
            "cloud-1000-processor",
            "of one core, for 1000 running jobs with one point a second each",
            Amount::percent(share),
        )
        .target(Target::AtMost(15.0))
        .note(format!("{points:.0} points a second were kept; idle {:.1} %", idle_share * 100.0)),
    ])
}

fn options() -> Result<Options, Fault> {
    let rich = Account { credit: Some("1000000".parse()?), ..Account::usual(Vendor::Runpod) };
    let script = Script { points: POINTS, every: Duration::from_secs(1), exit_code: 0 };
    let usual = Options::for_tests();
    Ok(Options {
        script: Some(script),
        offers: Some(vec![offer()?]),
        accounts: BTreeMap::from([(Vendor::Runpod, rich)]),
        // A thousand machines are no accident here, and nobody reads what was asked.
        strict: false,
        tape: false,
        ..usual
    })
}

/// As many of one kind as there are jobs.
fn offer() -> Result<Offer, Fault> {
    let (gpu, name) = ("NVIDIA GeForce RTX 4090", "RTX 4090");
    let details = json!({"name": name, "pool": null, "manufacturer": "NVIDIA", "cuda": "12.8", "max": 8});
    Ok(Offer {
        vendor: Vendor::Runpod,
        id: format!("SECURE/EU-RO-1/{gpu}"),
        gpu: gpu.to_owned(),
        gpu_memory_mb: 24_000,
        gpus: 1,
        price_per_hour: "0.74".parse()?,
        disk_per_gb_month: "0.10".parse()?,
        traffic_per_gb: "0".parse()?,
        region: "EU-RO-1".to_owned(),
        tier: "SECURE".to_owned(),
        arch: Arch::X86_64,
        disk_gb_max: 2000,
        megabits: 2000,
        left: u32::try_from(2 * JOBS)?,
        details,
    })
}

/// What points the server at RunPod there, and lets it rent as much as it likes.
fn environment(simulator: &Simulator) -> Vec<(&'static str, String)> {
    let of_runpod = |(name, _): &(&str, String)| name.contains("RUNPOD");
    simulator.environment().into_iter().filter(of_runpod).collect()
}

async fn submit_all(server: &std::sync::Arc<Server>) -> Result<(), Fault> {
    let mut clients = JoinSet::new();
    for client in 0..AT_ONCE {
        let server = std::sync::Arc::clone(server);
        clients.spawn(async move {
            for number in (client..JOBS).step_by(AT_ONCE) {
                let id = name(number);
                server
                    .create(
                        &json!({"job_id": id, "model_name": "trainyard-tiny", "resources": {"disk_gb": 20}}),
                    )
                    .await?;
                server.submit_to(&id, "runpod").await?;
            }
            Ok::<(), Fault>(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("job-{number}")
}

async fn all_running(server: &Server) -> Result<(), Fault> {
    let from = Instant::now();
    loop {
        let page: Value =
            serde_json::from_str(&server.get("/api/training/jobs?state=running&limit=1000").await?)?;
        let running = page["jobs"].as_array().map_or(0, Vec::len);
        if running == JOBS {
            return Ok(());
        }
        if from.elapsed() > RUNNING_MAX {
            return Err(format!("{running} of {JOBS} jobs run after {} s", RUNNING_MAX.as_secs()).into());
        }
        // waits: for jobs to run, which the list tells
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The newest step that is kept of each job, and when it was read.
async fn steps(server: &Server) -> Result<Vec<(Instant, f64)>, Fault> {
    let mut steps = Vec::with_capacity(JOBS);
    for number in 0..JOBS {
        let status = server.get(&format!("/api/training/jobs/{}/status", name(number))).await?;
        let status: Value = serde_json::from_str(&status)?;
        let step = status["current_metrics"]["step"].as_f64().ok_or_else(|| format!("no step: {status}"))?;
        steps.push((Instant::now(), step));
    }
    Ok(steps)
}

/// Points a second of all jobs; an error where one of them has not told one a second.
fn points(before: &[(Instant, f64)], after: &[(Instant, f64)]) -> Result<f64, Fault> {
    let mut all = 0.0;
    for (number, ((from, first), (to, last))) in before.iter().zip(after).enumerate() {
        let (told, passed) = (last - first, (*to - *from).as_secs_f64());
        if (told - passed).abs() > BEHIND_MAX {
            return Err(format!("{}: {told} points in {passed:.0} s", name(number)).into());
        }
        all += told / passed;
    }
    Ok(all)
}
