//! Every crash point of every story at every provider. By default a share of them, another one in each run of the
//! hour; `TRAINYARD_SIMULATION_POINTS=all` meets every one. `TRAINYARD_SIMULATION_STORY=WORD` keeps to the stories whose
//! name contains that word.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use trainyard_simulation::exhaust::stories;
use trainyard_simulation::oracle::{IDLE_PERCENT_MAX, Verdict};
use trainyard_simulation::run::Settings;

/// Of so many crash points one is met by default.
const SHARE: u64 = 20;

#[test]
fn whenever_a_process_ends_the_next_one_brings_everything_to_rest() {
    #[expect(clippy::disallowed_methods, reason = "a test's own configuration")]
    let (all, word, hour) = (
        std::env::var("TRAINYARD_SIMULATION_POINTS").is_ok_and(|text| text == "all"),
        std::env::var("TRAINYARD_SIMULATION_STORY").unwrap_or_default(),
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |passed| passed.as_secs() / 3600),
    );
    let share = if all { (0, 1) } else { (hour % SHARE, SHARE) };
    let providers = ["runpod", "vastai", "lambda", "local", "auto"];
    let work: Vec<_> = providers
        .iter()
        .flat_map(|provider| stories(provider).into_iter().map(move |story| (*provider, story)))
        .filter(|(_, story)| story.name.contains(&word))
        .collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let (points, met, sum) = (Mutex::new(0), Mutex::new(0), Mutex::new(Verdict::default()));
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((provider, story)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut seen = Verdict::default();
                    let done = story.exhaust(provider, &Settings::default(), share, &mut seen);
                    sum.lock().unwrap().add(&seen);
                    match done {
                        Ok((there, done)) => {
                            println!("{provider}, {}: {done} of {there}", story.name);
                            *points.lock().unwrap() += there;
                            *met.lock().unwrap() += done;
                        }
                        Err(wrong) => found.lock().unwrap().push(wrong),
                    }
                }
            });
        }
    });
    let (points, met) = (points.into_inner().unwrap(), met.into_inner().unwrap());
    println!("{met} of {points} crash points in {:.1} s (share {share:?})", began.elapsed().as_secs_f64());
    let sum = sum.into_inner().unwrap();
    println!("{sum:?}");
    println!("{}", sum.use_of_time);
    let found = found.into_inner().unwrap();
    assert!(found.is_empty(), "{} stories are wrong:\n{}", found.len(), found.join("\n"));
    assert!(met > 0, "no crash point was met");
    assert!(sum.use_of_time.idle_percent() <= IDLE_PERCENT_MAX, "{}", sum.use_of_time);
}
