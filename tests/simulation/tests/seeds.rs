//! Many seeds, and those that once failed.
//!
//! `TRAINYARD_SIMULATION_SEEDS` says how many (default 5,000), `TRAINYARD_SIMULATION_FIRST` the first one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use trainyard_simulation::oracle::Verdict;
use trainyard_simulation::run::{Settings, run};
use trainyard_simulation::scenario::Scenario;

fn number(name: &str, default: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test's own configuration")]
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What is printed of a failing seed: it is run again with a journal.
fn told(scenario: &Scenario, wrong: Vec<String>) -> String {
    let settings = Settings { journal: true, ..Settings::default() };
    let again = (0..5).find_map(|_| run(scenario, &settings).err()).unwrap_or(wrong);
    format!("seed {} is wrong:\n  {}\n{scenario:#?}", scenario.seed, again.join("\n  "))
}

/// The orchestrator's own log, where somebody wants it: `TRAINYARD_SIMULATION_LOG=trace`.
fn log() {
    #[expect(clippy::disallowed_methods, reason = "a test's own configuration")]
    if let Ok(filter) = std::env::var("TRAINYARD_SIMULATION_LOG") {
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).try_init();
    }
}

/// Ends the program where a seed goes on without its time going on: it would for ever.
fn watch(running: &Mutex<BTreeMap<u64, Instant>>, next: &AtomicU64, end: u64) {
    const LONGEST: Duration = Duration::from_secs(120);
    loop {
        // waits: between two looks at what is under way
        std::thread::sleep(Duration::from_millis(200));
        let running = running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seed, _)) = running.iter().find(|(_, began)| began.elapsed() > LONGEST) {
            println!("seed {seed} does not end: {:#?}", Scenario::of(*seed));
            std::process::exit(1);
        }
        if running.is_empty() && next.load(Ordering::Relaxed) >= end {
            return;
        }
    }
}

#[test]
fn every_seed_comes_to_rest_with_nothing_lost_leaked_or_doubled() {
    log();
    let (first, count) =
        (number("TRAINYARD_SIMULATION_FIRST", 1), number("TRAINYARD_SIMULATION_SEEDS", 5000));
    let settings = Settings::default();
    let (next, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let sum = Mutex::new(Verdict::default());
    let (began, running) = (Instant::now(), Mutex::new(BTreeMap::<u64, Instant>::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&running, &next, first + count));
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let scenario = Scenario::of(seed);
                    running.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, Instant::now());
                    let judged = run(&scenario, &settings);
                    running.lock().unwrap_or_else(PoisonError::into_inner).remove(&seed);
                    match judged {
                        Ok(verdict) => {
                            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                            sum.add(&verdict);
                        }
                        Err(wrong) => {
                            failed
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .push(told(&scenario, wrong));
                        }
                    }
                }
            });
        }
    });
    let took = began.elapsed().as_secs_f64();
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{count} seeds from {first} in {took:.1} s: {:.0} scenarios a second", count as f64 / took);
    println!("{sum:?}");
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    for text in &failed {
        println!("{}", text.lines().take(3).collect::<Vec<_>>().join(""));
    }
    assert!(failed.is_empty(), "{} of {count} seeds are wrong; the first:\n{}", failed.len(), failed[0]);
}
