//! A seed, expanded: what is asked, what goes wrong, and when.

use std::time::Duration;

use bytes::Bytes;
use trainyard_domain::Money;

use crate::dice::Dice;
use crate::process::{At, What};
use crate::world::{Fate, Faults, LOCAL, Plan};

/// A whole scenario, as it is printed where it fails.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its seed.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// The jobs.
    pub jobs: Vec<Script>,
    /// The processes, one after another; one more follows that nothing happens to.
    pub lives: Vec<LifeScript>,
    /// How long things go wrong.
    pub busy: Duration,
    /// When the clock is set wrong, and by how many milliseconds.
    pub clock: Vec<(Duration, i64)>,
    /// When a machine of ours appears that nobody ordered.
    pub strays: Vec<Duration>,
    /// What is to become of the first machines, where that is not left to chance.
    pub fates: Vec<Fate>,
    /// No attempt repeats more steps than this of the one before it, where that is known.
    pub repeats_at_most: Option<u64>,
    /// So many orders are sent, where that is known.
    pub orders: Option<usize>,
}

/// What is done with one job.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its number.
    pub number: u32,
    /// What its training does.
    pub plan: Plan,
    /// Where it is submitted.
    pub provider: &'static str,
    /// When it is created.
    pub created: Duration,
    /// How long after that it is submitted.
    pub submitted_after: Duration,
    /// How long the submit waits.
    pub wait: Duration,
    /// `retry.max_attempts`.
    pub max_attempts: u32,
    /// `limits.max_duration_s`.
    pub max_duration_s: u64,
    /// `limits.max_cost_usd`.
    pub max_cost: Option<Money>,
    /// `retry.wait_for_capacity_s`.
    pub wait_for_capacity_s: u64,
    /// `resources.keep_warm_s`.
    pub keep_warm_s: u64,
    /// `limits.hold_on_failure_s`.
    pub hold_s: u64,
    /// `checkpoints.every_s`.
    pub checkpoints_s: u64,
    /// The job on whose machine this one is to train, and when it asks for that.
    pub onto: Option<(u32, Asks)>,
    /// What else, and how long after the submit.
    pub acts: Vec<(Duration, Act)>,
}

/// When a job asks for another one's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// As soon as the other one has a machine, and again and again while it is turned down.
    Early,
    /// As soon as the other one has ended and keeps it.
    Warm,
}

/// What a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Cancels.
    Cancel,
    /// Pauses.
    Pause,
    /// Resumes.
    Resume,
    /// Submits again.
    Submit,
    /// Changes `limits.max_duration_s`.
    Patch(u64),
    /// Deletes.
    Delete,
    /// Gives the machine back that the job keeps warm.
    Release,
}

/// One process's life.
#[derive(Debug, Clone, Copy)]
pub struct LifeScript {
    /// How long it works, at most.
    pub works: Duration,
    /// What happens at one of its calls, if it gets there.
    pub at: Option<At>,
    /// How it goes on from there.
    pub then: Then,
}

/// What follows on a process.
#[derive(Debug, Clone, Copy)]
pub enum Then {
    /// It dies, and the next one starts after that time.
    Dies(Duration),
    /// It stalls, the next one starts, and it goes on after the first time beside it for the second.
    Stalls(Duration, Duration),
}

impl Scenario {
    /// Expands a seed.
    pub fn of(seed: u64) -> Scenario {
        let mut dice = Dice::of(seed, 2);
        let faults = Faults::swarm(&mut dice);
        let busy = dice.millis(60_000, 900_000);
        let jobs = dice.from_to(1, 4);
        let mut jobs: Vec<_> = (1..=jobs).map(|number| Script::of(&mut dice, number as u32, busy)).collect();
        for at in 1..jobs.len() {
            if dice.hits(300) {
                take_over(&mut dice, &mut jobs, at);
            }
        }
        let lives = dice.below(5);
        let overlaps = dice.hits(300);
        let lives: Vec<_> =
            (0..lives).map(|_| LifeScript::of(&mut dice, busy / (lives as u32 + 1), overlaps)).collect();
        let jumps = if dice.hits(200) { dice.from_to(1, 4) } else { 0 };
        let jump = |dice: &mut Dice| {
            let at = Duration::from_secs(dice.below(busy.as_secs()));
            let hour = 3_600_000;
            (at, i64::try_from(dice.from_to(0, 2 * hour)).unwrap_or(0) - 3_600_000)
        };
        let mut clock: Vec<_> = (0..jumps).map(|_| jump(&mut dice)).collect();
        clock.sort();
        // One from shortly before a process began might be of a newer database: it is then only reported.
        let sure = lives.is_empty() && clock.is_empty();
        let strays =
            if sure && dice.hits(300) { vec![dice.millis(0, busy.as_secs() * 1000)] } else { Vec::new() };
        Scenario {
            seed,
            faults,
            jobs,
            lives,
            busy,
            clock,
            strays,
            fates: Vec::new(),
            repeats_at_most: None,
            orders: None,
        }
    }

    /// Whether two processes may work at the same time.
    pub fn overlaps(&self) -> bool {
        self.lives.iter().any(|life| matches!(life.then, Then::Stalls(..)))
    }
}

/// A job is to train on the machine of one before it.
fn take_over(dice: &mut Dice, jobs: &mut [Script], at: usize) {
    let onto = usize::try_from(dice.below(at as u64)).unwrap_or(0);
    let asks = dice.one_of(&[Asks::Early, Asks::Warm]).unwrap_or(Asks::Warm);
    let number = jobs[onto].number;
    jobs[onto].keep_warm_s = dice.from_to(20, 900);
    jobs[at].onto = Some((number, asks));
}

impl Script {
    fn of(dice: &mut Dice, number: u32, busy: Duration) -> Script {
        let steps = dice.from_to(1, 12);
        let files = if dice.hits(250) { dice.from_to(1, 2) } else { 0 };
        let file = |dice: &mut Dice, n: u64| {
            let len = dice.from_to(1, 3000);
            let bytes: Bytes = (0..len).map(|_| dice.below(256) as u8).collect();
            (format!("file-{n}.bin"), bytes)
        };
        let plan = Plan {
            steps,
            step: dice.millis(100, 20_000),
            code: if dice.hits(150) { 1 } else { 0 },
            prepares: dice.millis(10, 20_000),
            stops_in: dice.millis(0, 40_000),
            log_bytes: if dice.hits(100) { 40 } else { 0 },
            files: (0..files).map(|n| file(dice, n)).collect(),
            checkpoint_every: if dice.hits(500) { dice.from_to(1, 5) } else { 0 },
        };
        let providers = ["runpod", "runpod", "vastai", "lambda", LOCAL, LOCAL, "auto"];
        let provider = dice.one_of(&providers).unwrap_or("runpod");
        let act = |dice: &mut Dice| {
            let all = [
                Act::Cancel,
                Act::Cancel,
                Act::Pause,
                Act::Resume,
                Act::Submit,
                Act::Patch(0),
                Act::Delete,
                Act::Release,
            ];
            let act = match dice.one_of(&all).unwrap_or(Act::Submit) {
                Act::Patch(_) => Act::Patch(dice.from_to(5, 4000)),
                other => other,
            };
            (dice.millis(0, 300_000), act)
        };
        let acts = if dice.hits(500) { dice.from_to(1, 3) } else { 0 };
        let mut acts: Vec<_> = (0..acts).map(|_| act(dice)).collect();
        acts.sort_by_key(|(at, _)| *at);
        Script {
            number,
            plan,
            provider,
            created: Duration::from_secs(dice.below(busy.as_secs() / 2)),
            submitted_after: dice.millis(0, 20_000),
            wait: Duration::from_secs(dice.one_of(&[0, 10, 60]).unwrap_or(10)),
            max_attempts: dice.from_to(1, 4) as u32,
            max_duration_s: if dice.hits(150) { dice.from_to(10, 200) } else { 14_400 },
            max_cost: if dice.hits(100) { dollars(dice.from_to(5, 60)) } else { None },
            wait_for_capacity_s: if dice.hits(200) { 600 } else { 0 },
            keep_warm_s: if dice.hits(100) { dice.from_to(20, 900) } else { 0 },
            hold_s: if dice.hits(200) { dice.from_to(20, 900) } else { 0 },
            checkpoints_s: dice.one_of(&[1, 5, 60, 600]).unwrap_or(60),
            onto: None,
            acts,
        }
    }
}

/// So many tenths of a cent.
pub fn dollars(tenths_of_cents: u64) -> Option<Money> {
    format!("0.{tenths_of_cents:03}").parse().ok()
}

impl LifeScript {
    fn of(dice: &mut Dice, mean: Duration, overlaps: bool) -> LifeScript {
        let millis = u64::try_from(mean.as_millis()).unwrap_or(1000);
        // Half of them meet something right at a call: most of what happens happens in the first hundred.
        let most = dice.one_of(&[30, 100, 300]).unwrap_or(30);
        let what = dice.one_of(&[What::EndsBefore, What::EndsAfter, What::EndsAfter, What::Twice]);
        let at = what.filter(|_| dice.hits(500)).map(|what| At { call: dice.from_to(1, most), what });
        let then = match overlaps && dice.hits(500) {
            true => Then::Stalls(dice.millis(0, 60_000), dice.millis(0, 120_000)),
            false => Then::Dies(dice.millis(0, 40_000)),
        };
        LifeScript { works: dice.millis(1, millis * 2), at, then }
    }
}
