//! Every crash point of a scenario: the process ends before, and after, each of its writes and calls, and each of them is
//! made twice; then the next process takes over.

use std::time::Duration;

use bytes::Bytes;
use trainyard_domain::{Money, StateName};

use crate::oracle::Verdict;
use crate::process::{At, What};
use crate::run::{Settings, run};
use crate::scenario::{Act, LifeScript, Scenario, Script, Then, dollars};
use crate::world::{Fate, Faults, LOCAL, Plan};

/// Calls of one scenario at most: more would be a loop.
const CALLS_MAX: u64 = 5000;

/// A scenario whose every crash point is met.
#[derive(Debug, Clone)]
pub struct Story {
    /// Its name.
    pub name: &'static str,
    /// What is done.
    pub acts: Vec<(Duration, Act)>,
    /// How the training ends.
    pub code: i32,
    /// What becomes of its machines.
    pub fates: Vec<Fate>,
    /// Steps of its training, two seconds each.
    pub steps: u64,
    /// `limits.max_duration_s`.
    pub max_duration_s: u64,
    /// `limits.max_cost_usd`.
    pub max_cost: Option<Money>,
    /// How the job ends where nothing crashes; none where that hangs on a moment.
    pub ends: Option<StateName>,
    /// Only where trainings can be paused.
    pub only_local: bool,
}

/// The stories of one provider, each met from its first call to its last.
pub fn stories(provider: &str) -> Vec<Story> {
    // On this machine nothing boots.
    let boot = if provider == LOCAL { 0 } else { 10_000 };
    let boots = Fate { boots_in: Some(Duration::from_millis(boot)), ..Fate::default() };
    let story = |name| Story {
        name,
        acts: Vec::new(),
        code: 0,
        fates: vec![boots; 3],
        steps: 4,
        max_duration_s: 14_400,
        max_cost: None,
        ends: Some(StateName::Completed),
        only_local: false,
    };
    let second = Duration::from_secs;
    let (stopped, failed) = (Some(StateName::Stopped), Some(StateName::Failed));
    let cancelled = |name, millis| {
        let acts = vec![(Duration::from_millis(millis), Act::Cancel)];
        Story { acts, ends: stopped, ..story(name) }
    };
    let lost = |fate| Story { fates: vec![fate, boots, boots], ..story("") };
    let mut all = vec![
        story("happy path"),
        cancelled("cancelled while it is ordered", 30),
        cancelled("cancelled while it boots", boot / 2 + 60),
        cancelled("cancelled while it prepares", boot + 1500),
        cancelled("cancelled while it trains", boot + 6000),
        Story { ends: None, ..cancelled("cancelled while its files come home", boot + 13_300) },
        Story { ends: Some(StateName::Completed), ..cancelled("cancelled when it has ended", boot + 30_000) },
        Story { code: 1, ends: failed, ..story("failure") },
        Story { name: "machine taken away", ..lost(Fate { gone_after: Some(second(16)), ..boots }) },
        Story { name: "agent lost", ..lost(Fate { mute_after: Some(second(16)), ..boots }) },
        Story { name: "machine never up", ..lost(Fate { never_up: true, ..boots }) },
        Story { max_duration_s: 4, ends: failed, ..story("deadline") },
        Story {
            steps: 12,
            max_duration_s: 25,
            max_cost: dollars(4),
            ends: failed,
            ..story("budget used up")
        },
        Story {
            acts: vec![(second(6), Act::Pause), (second(30), Act::Resume)],
            only_local: true,
            ..story("paused and resumed")
        },
        Story {
            acts: vec![(second(6), Act::Pause), (second(30), Act::Cancel)],
            ends: stopped,
            only_local: true,
            ..story("cancelled while it is paused")
        },
    ];
    all.retain(|story| !story.only_local || provider == LOCAL);
    // What is free uses up no budget.
    all.retain(|story| story.max_cost.is_none() || provider != LOCAL);
    all
}

impl Story {
    /// The scenario of one crash point.
    pub fn at(&self, provider: &'static str, at: Option<At>) -> Scenario {
        let plan = Plan {
            steps: self.steps,
            step: Duration::from_secs(2),
            code: self.code,
            prepares: Duration::from_secs(3),
            stops_in: Duration::from_millis(500),
            log_bytes: 20,
            files: vec![("adapter.bin".to_owned(), Bytes::from_static(b"0123456789"))],
        };
        let script = Script {
            number: 1,
            plan,
            provider,
            created: Duration::ZERO,
            submitted_after: Duration::from_millis(1),
            wait: Duration::from_secs(10),
            max_attempts: 3,
            max_duration_s: self.max_duration_s,
            max_cost: self.max_cost,
            wait_for_capacity_s: 0,
            acts: self.acts.clone(),
        };
        let life =
            LifeScript { works: Duration::from_secs(86_400), at, then: Then::Dies(Duration::from_secs(1)) };
        Scenario {
            seed: 1,
            faults: Faults { call_ms: 20, ..Faults::default() },
            jobs: vec![script],
            lives: vec![life],
            busy: Duration::from_secs(3600),
            clock: Vec::new(),
            strays: Vec::new(),
            fates: self.fates.clone(),
        }
    }

    /// Meets every crash point, or every `stride`-th from `offset` on. Says how many there were and how many were met.
    ///
    /// # Errors
    /// What was wrong at the first one where something was.
    pub fn exhaust(
        &self,
        provider: &'static str,
        settings: &Settings,
        (offset, stride): (u64, u64),
    ) -> Result<(u64, u64), String> {
        let told = |at: Option<At>, wrong: Vec<String>| {
            format!("{} at {provider}, {at:?}:\n  {}", self.name, wrong.join("\n  "))
        };
        let whole = run(&self.at(provider, None), settings).map_err(|wrong| told(None, wrong))?;
        if self.ends.is_some() && ended(&whole) != self.ends {
            return Err(told(None, vec![format!("it ends as {whole:?}, and not {:?}", self.ends)]));
        }
        let calls = whole.first_calls.min(CALLS_MAX);
        let mut met = 0;
        for call in (1..=calls).filter(|call| call % stride == offset % stride) {
            for what in [What::EndsBefore, What::EndsAfter, What::Twice] {
                let at = Some(At { call, what });
                run(&self.at(provider, at), settings).map_err(|wrong| told(at, wrong))?;
                met += 1;
            }
        }
        Ok((calls * 3, met))
    }
}

/// How the one job of a story ended.
fn ended(verdict: &Verdict) -> Option<StateName> {
    match (verdict.completed, verdict.failed, verdict.stopped) {
        (1, 0, 0) => Some(StateName::Completed),
        (0, 1, 0) => Some(StateName::Failed),
        (0, 0, 1) => Some(StateName::Stopped),
        _ => None,
    }
}
