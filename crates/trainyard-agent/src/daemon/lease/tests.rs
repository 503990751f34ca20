//! The decision as tables, and whole nights of silence played through it.

use super::*;

const HOUR: u64 = 3600;

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

fn standing(stage: Stage<'_>, silence_s: u64, machine_left_s: Option<u64>) -> Standing<'_> {
    Standing {
        stage,
        silence: Duration::from_secs(silence_s),
        machine_left: machine_left_s.map(Duration::from_secs),
        unstarted_for: Duration::from_secs(HOUR),
    }
}

fn word(verdict: Verdict) -> String {
    match verdict {
        Verdict::Wait => "wait".to_owned(),
        Verdict::Stop { grace, why } => format!("stop {why:?} {}", grace.as_secs()),
        Verdict::Go(_) => "go".to_owned(),
    }
}

#[test]
fn the_decision_is_a_table() {
    let usual = limits(|_| {});
    let stops = limits(|limits| limits.when_orchestrator_lost = WhenOrchestratorLost::Stop);
    let looked_at = limits(|limits| limits.hold_on_failure_s = 20 * HOUR);
    let work = |limits, paused| Stage::Working { limits, paused, stopping: false };
    let stopping = |limits| Stage::Working { limits, paused: false, stopping: true };
    let ended =
        |limits, code, hours: u64| Stage::Ended { limits, code, ago: Duration::from_secs(hours * HOUR) };
    let cases = [
        // Before anything was started.
        (Stage::Idle, HOUR, None, "wait"),
        (Stage::Idle, HOUR + 1, None, "go"),
        (Stage::Idle, 0, Some(0), "go"),
        // While it works: silence alone ends nothing, a paused one excepted.
        (work(&usual, false), 8 * HOUR, None, "wait"),
        (work(&usual, false), 1000 * HOUR, None, "wait"),
        (work(&usual, true), 12 * HOUR, None, "wait"),
        (work(&usual, true), 12 * HOUR + 1, None, "stop Silence 120"),
        (work(&stops, false), 4 * HOUR, None, "wait"),
        (work(&stops, false), 4 * HOUR + 1, None, "stop Silence 120"),
        (stopping(&stops), 9 * HOUR, Some(1), "wait"),
        // The budget holds whether anybody speaks or not.
        (work(&usual, false), 0, Some(121), "wait"),
        (work(&usual, false), 0, Some(120), "stop Budget 120"),
        (work(&usual, false), 0, Some(0), "go"),
        (stopping(&usual), 0, Some(0), "go"),
        // After its end: the later of the end and the last word counts.
        (ended(&usual, 0, 8), 8 * HOUR, None, "wait"),
        (ended(&usual, 0, 1), 20 * HOUR, None, "wait"),
        (ended(&usual, 0, 20), 0, None, "wait"),
        (ended(&usual, 0, 13), 13 * HOUR, None, "go"),
        (ended(&usual, 0, 8), 8 * HOUR, Some(1), "wait"),
        (ended(&usual, 0, 8), 8 * HOUR, Some(0), "go"),
        (ended(&usual, 1, 13), 13 * HOUR, None, "go"),
        (ended(&looked_at, 1, 13), 13 * HOUR, None, "wait"),
        (ended(&looked_at, 1, 21), 21 * HOUR, None, "go"),
        (ended(&looked_at, 0, 13), 13 * HOUR, None, "go"),
    ];
    for (at, (stage, silence, left, expected)) in cases.into_iter().enumerate() {
        let standing = standing(stage, silence, left);
        assert_eq!(word(decide(&standing)), expected, "row {at}: {standing:?}");
    }
}

/// One machine played in steps of a minute: a training that would end by itself after `trains`, an orchestrator
/// that speaks up to `leaves` and again from `returns`. Gives when the training ended and when the machine went, if it
/// did within four days.
#[derive(Debug, Clone, Copy)]
struct Night {
    trains: u64,
    deadline: u64,
    leaves: u64,
    returns: Option<u64>,
    budget: Option<u64>,
}

const STEP: u64 = 60;

impl Night {
    fn play(&self, limits: &Limits) -> (Option<u64>, Option<u64>) {
        let (mut ended, mut stop_at, mut gone) = (None, None, None);
        for now in (0..4 * 24 * HOUR).step_by(STEP as usize) {
            let is_back = self.returns.is_some_and(|at| now >= at);
            let silence = if is_back { 0 } else { now.saturating_sub(self.leaves) };
            let over = now >= self.trains || stop_at.is_some_and(|at| now >= at);
            // `supervise` keeps the deadline.
            if ended.is_none() && now >= self.deadline {
                stop_at.get_or_insert(now + limits.grace_period_s);
            }
            if ended.is_none() && over {
                ended = Some(now);
            }
            let stage = match ended {
                Some(at) => Stage::Ended { limits, code: 0, ago: Duration::from_secs(now - at) },
                None => Stage::Working { limits, paused: false, stopping: stop_at.is_some() },
            };
            let left = self.budget.map(|at| at.saturating_sub(now));
            match decide(&standing(stage, silence, left)) {
                Verdict::Wait => {}
                Verdict::Stop { grace, .. } => drop(stop_at.get_or_insert(now + grace.as_secs())),
                Verdict::Go(_) => {
                    gone = Some(now);
                    break;
                }
            }
        }
        (ended, gone)
    }
}

#[test]
fn eight_hours_of_sleep_kill_nothing_and_lose_nothing() {
    let limits = limits(|limits| limits.max_duration_s = 24 * HOUR);
    // Every length of training and every moment of closing the lid, in quarters of an hour.
    for trains in (HOUR / 4..20 * HOUR).step_by(HOUR as usize / 4) {
        for leaves in (0..trains).step_by(HOUR as usize / 4) {
            let returns = leaves + 8 * HOUR;
            let night = Night {
                trains,
                deadline: 24 * HOUR,
                leaves,
                returns: Some(returns),
                budget: Some(100 * HOUR),
            };
            let (ended, gone) = night.play(&limits);
            assert_eq!(ended, Some(trains), "it was killed: {night:?}");
            assert_eq!(gone, None, "the adapter is lost: {night:?}");
        }
    }
}

#[test]
fn gone_for_ever_the_machine_goes_at_the_earlier_of_hold_and_budget() {
    let limits = limits(|limits| limits.max_duration_s = 6 * HOUR);
    let night = Night { trains: 5 * HOUR, deadline: 6 * HOUR, leaves: HOUR, returns: None, budget: None };
    let soon = |told: Option<u64>, expected: u64| {
        let told = told.unwrap_or_default();
        assert!((expected..=expected + 2 * STEP).contains(&told), "{told} instead of {expected}");
    };
    // The hold, counted from the end of the training.
    let (ended, gone) = night.play(&limits);
    soon(ended, 5 * HOUR);
    soon(gone, 17 * HOUR);
    // The budget, while outputs are held.
    let (ended, gone) = Night { budget: Some(9 * HOUR), ..night }.play(&limits);
    soon(ended, 5 * HOUR);
    soon(gone, 9 * HOUR);
    // The budget, while it trains: stopped in time, and gone at the end and not before.
    let (ended, gone) = Night { budget: Some(4 * HOUR), ..night }.play(&limits);
    soon(ended, 4 * HOUR);
    soon(gone, 4 * HOUR);
    // The deadline.
    let (ended, gone) = Night { trains: 90 * HOUR, ..night }.play(&limits);
    soon(ended, 6 * HOUR + 120);
    soon(gone, 18 * HOUR + 120);
}
