//! Many seeds, and those that once failed.
//!
//! By default as many as a minute holds, and [`SEEDS_MIN`] at least; `TRAINYARD_SIMULATION_SEEDS` says how many instead,
//! `TRAINYARD_SIMULATION_FIRST` the first one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use trainyard_simulation::oracle::{IDLE_PERCENT_MAX, Verdict};
use trainyard_simulation::run::{Settings, run};
use trainyard_simulation::scenario::Scenario;

/// How long seeds are tried where nobody says how many.
const SHARE: Duration = Duration::from_secs(60);
/// So many are tried at least, however long that takes.
const SEEDS_MIN: u64 = 2000;

/// Seeds that found something in the product, and what. Their scenarios stay the same as long as what is drawn does.
const FOUND: &[(u64, &str)] = &[
    (17, "a warm machine was kept an hour too long, since our clock was set back"),
    (223, "a bill was settled while the vendor's books were behind"),
    (305, "the same, where the order had taken its time to be answered"),
    (331, "the same, where our clock had made the machine look as if it cost nothing"),
    (1941, "begun minutes were not counted whole where the vendor has no books"),
    (12343, "where nobody was there when a machine came up, less was counted than was billed"),
    (35432, "when a machine came up was lost with the process that saw it"),
    (58619, "the bill of a machine that came and went between two looks at the books was never read"),
];
/// Seconds that no job needed in one of them at most: more was found by it once.
const FOUND_IDLE_S: f64 = 600.0;

fn number(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test's own configuration")]
    std::env::var(name).ok().and_then(|text| text.parse().ok())
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

/// Seeds that are tried.
struct Trial {
    next: AtomicU64,
    /// The first one, and how many there are where that is said.
    first: u64,
    count: Option<u64>,
    began: Instant,
    running: Mutex<BTreeMap<u64, Instant>>,
    over: AtomicBool,
    sum: Mutex<Verdict>,
    failed: Mutex<Vec<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trial {
    /// The next seed; none: enough were tried.
    fn next(&self) -> Option<u64> {
        let seed = self.next.fetch_add(1, Ordering::Relaxed);
        let tried = seed - self.first;
        let goes_on = match self.count {
            Some(count) => tried < count,
            None => tried < SEEDS_MIN || self.began.elapsed() < SHARE,
        };
        goes_on.then_some(seed)
    }

    fn work(&self, settings: &Settings) {
        while let Some(seed) = self.next() {
            let scenario = Scenario::of(seed);
            locked(&self.running).insert(seed, Instant::now());
            let judged = run(&scenario, settings);
            locked(&self.running).remove(&seed);
            match judged {
                Ok(verdict) => locked(&self.sum).add(&verdict),
                Err(wrong) => locked(&self.failed).push(told(&scenario, wrong)),
            }
        }
    }

    /// Ends the program where a seed goes on without its time going on: it would for ever.
    fn watch(&self) {
        const LONGEST: Duration = Duration::from_secs(120);
        while !self.over.load(Ordering::Relaxed) {
            // waits: between two looks at what is under way
            std::thread::sleep(Duration::from_millis(200));
            let running = locked(&self.running);
            if let Some((seed, _)) = running.iter().find(|(_, began)| began.elapsed() > LONGEST) {
                println!("seed {seed} does not end: {:#?}", Scenario::of(*seed));
                std::process::exit(1);
            }
        }
    }
}

#[test]
fn every_seed_comes_to_rest_with_nothing_lost_leaked_or_doubled() {
    log();
    let first = number("TRAINYARD_SIMULATION_FIRST").unwrap_or(1);
    let trial = Trial {
        next: AtomicU64::new(first),
        first,
        count: number("TRAINYARD_SIMULATION_SEEDS"),
        began: Instant::now(),
        running: Mutex::default(),
        over: AtomicBool::new(false),
        sum: Mutex::default(),
        failed: Mutex::default(),
    };
    let settings = Settings::default();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        scope.spawn(|| trial.watch());
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| trial.work(&settings))).collect();
        let ended = workers.into_iter().map(|worker| worker.join().is_ok()).collect::<Vec<_>>();
        trial.over.store(true, Ordering::Relaxed);
        assert!(ended.into_iter().all(|ended| ended), "a seed panicked");
    });
    let took = trial.began.elapsed().as_secs_f64();
    let (sum, failed) = (locked(&trial.sum), locked(&trial.failed));
    let count = sum.scenarios + failed.len() as u64;
    println!("{count} seeds from {first} in {took:.1} s: {:.0} scenarios a second", count as f64 / took);
    println!("{sum:?}");
    println!("{}", sum.use_of_time);
    for text in failed.iter() {
        println!("{}", text.lines().take(3).collect::<Vec<_>>().join(""));
    }
    assert!(failed.is_empty(), "{} of {count} seeds are wrong; the first:\n{}", failed.len(), failed[0]);
    assert!(sum.use_of_time.idle_percent() <= IDLE_PERCENT_MAX, "{}", sum.use_of_time);
}

#[test]
fn seeds_that_found_something_find_nothing_any_more() {
    for (seed, what) in FOUND {
        let scenario = Scenario::of(*seed);
        match run(&scenario, &Settings::default()) {
            Ok(verdict) => {
                let idle = verdict.use_of_time.idle_s;
                assert!(idle <= FOUND_IDLE_S, "seed {seed} ({what}): {idle:.0} s that no job needed");
            }
            Err(wrong) => panic!("seed {seed} ({what}): {}", told(&scenario, wrong)),
        }
    }
}
