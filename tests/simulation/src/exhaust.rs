//! Every crash point of a scenario: the process ends before, and after, each of its writes and calls, and each of them is
//! made twice; then the next process takes over.

use std::time::Duration;

use bytes::Bytes;
use trainyard_domain::{Money, StateName};

use crate::oracle::Verdict;
use crate::process::{At, What};
use crate::run::{Settings, run};
use crate::scenario::{Act, Asks, LifeScript, Scenario, Script, Then, dollars};
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
    /// How the jobs end where nothing crashes; none where that hangs on a moment.
    pub ends: Option<Vec<StateName>>,
    /// Only where trainings can be paused.
    pub only_local: bool,
    /// Steps between two checkpoints; 0: none are written.
    pub checkpoint_every: u64,
    /// `resources.keep_warm_s`.
    pub keep_warm_s: u64,
    /// `limits.hold_on_failure_s`.
    pub hold_s: u64,
    /// Other jobs, which are to train on the machine of this one: when they ask for it, and how their training ends.
    pub others: Vec<(Asks, i32)>,
    /// What is done with the others.
    pub acts_of_others: Vec<(Duration, Act)>,
    /// Orders that are sent in all, however it crashes, where machines cost.
    pub orders: Option<usize>,
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
        ends: Some(vec![StateName::Completed]),
        only_local: false,
        checkpoint_every: 0,
        keep_warm_s: 0,
        hold_s: 0,
        others: Vec::new(),
        acts_of_others: Vec::new(),
        orders: None,
    };
    let second = Duration::from_secs;
    let (stopped, failed) = (Some(vec![StateName::Stopped]), Some(vec![StateName::Failed]));
    let cancelled = |name, millis| {
        let acts = vec![(Duration::from_millis(millis), Act::Cancel)];
        Story { acts, ends: stopped.clone(), ..story(name) }
    };
    let lost = |fate| Story { fates: vec![fate, boots, boots], ..story("") };
    let mut all = vec![
        story("happy path"),
        cancelled("cancelled while it is ordered", 30),
        cancelled("cancelled while it boots", boot / 2 + 60),
        cancelled("cancelled while it prepares", boot + 1500),
        cancelled("cancelled while it trains", boot + 6000),
        Story { ends: None, ..cancelled("cancelled while its files come home", boot + 13_300) },
        Story {
            ends: Some(vec![StateName::Completed]),
            ..cancelled("cancelled when it has ended", boot + 30_000)
        },
        Story { code: 1, ends: failed.clone(), ..story("failure") },
        Story { name: "machine taken away", ..lost(Fate { gone_after: Some(second(16)), ..boots }) },
        Story { name: "agent lost", ..lost(Fate { mute_after: Some(second(16)), ..boots }) },
        Story { name: "machine never up", ..lost(Fate { never_up: true, ..boots }) },
        Story { max_duration_s: 4, ends: failed.clone(), ..story("deadline") },
        Story {
            steps: 12,
            max_duration_s: 25,
            max_cost: dollars(4),
            ends: failed.clone(),
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
    all.extend(with_checkpoints(boot, &story("")));
    all.extend(warm(boot, &story("")));
    all.retain(|story| !story.only_local || provider == LOCAL);
    // What is free uses up no budget.
    all.retain(|story| story.max_cost.is_none() || provider != LOCAL);
    all
}

/// Losses of machines whose training writes a checkpoint every six seconds: the next attempt goes on from the last one.
fn with_checkpoints(boot: u64, plain: &Story) -> Vec<Story> {
    let boots = plain.fates[0];
    // The training begins three seconds after the start; it is lost half-way between two checkpoints.
    let lost_at = Duration::from_millis(boot + 3_000 + 2_000 * 10 + 500);
    let story = |name, fate| Story {
        name,
        steps: 14,
        checkpoint_every: 3,
        fates: vec![fate, boots, boots],
        ..plain.clone()
    };
    vec![
        story("machine taken away after a checkpoint", Fate { gone_after: Some(lost_at), ..boots }),
        story("agent started anew after a checkpoint", Fate { restarts_after: Some(lost_at), ..boots }),
        story("agent lost after a checkpoint", Fate { mute_after: Some(lost_at), ..boots }),
        // What ended before is served by the agent that comes after: nothing is trained again.
        Story {
            orders: Some(1),
            ..story(
                "agent started anew while its files come home",
                Fate { restarts_after_end: Some(Duration::from_millis(100)), ..boots },
            )
        },
        Story {
            code: 1,
            hold_s: 40,
            ends: Some(vec![StateName::Failed]),
            ..story("failure with a checkpoint, held for a look", boots)
        },
    ]
}

/// Machines that are kept for another job. On this machine nothing is kept, and the other job is submitted as usual.
fn warm(boot: u64, plain: &Story) -> Vec<Story> {
    let (second, boots) = (Duration::from_secs, plain.fates[0]);
    let ended = boot + 13_000;
    let (completed, failed) = (StateName::Completed, StateName::Failed);
    let fails = |name| Story {
        name,
        code: 1,
        keep_warm_s: 300,
        checkpoint_every: 2,
        ends: Some(vec![failed]),
        orders: Some(1),
        ..plain.clone()
    };
    let taken =
        |name| Story { others: vec![(Asks::Warm, 0)], ends: Some(vec![failed, completed]), ..fails(name) };
    let lost = Fate { gone_after: Some(Duration::from_millis(ended + 14_000)), ..boots };
    vec![
        taken("warm machine taken over"),
        Story {
            code: 0,
            others: vec![(Asks::Early, 0)],
            ends: Some(vec![completed; 2]),
            ..taken("warm machine asked for while its job collects")
        },
        Story {
            others: vec![(Asks::Warm, 1), (Asks::Warm, 0)],
            ends: None,
            orders: None,
            ..taken("two jobs ask for a warm machine")
        },
        Story {
            fates: vec![lost, boots, boots],
            orders: None,
            ..taken("warm machine lost by who took it over")
        },
        Story {
            acts_of_others: vec![(Duration::from_millis(ended + 2_500), Act::Cancel)],
            ends: None,
            ..taken("cancelled by who takes a warm machine over")
        },
        Story {
            fates: vec![Fate { restarts_after_end: Some(Duration::from_millis(100)), ..boots }, boots, boots],
            ..taken("warm machine whose agent starts anew")
        },
        Story { keep_warm_s: 30, ..fails("warm machine that nobody comes for") },
        Story {
            acts: vec![(Duration::from_millis(ended) + second(8), Act::Release)],
            ..fails("warm machine given back by its user")
        },
    ]
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
            checkpoint_every: self.checkpoint_every,
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
            keep_warm_s: self.keep_warm_s,
            hold_s: self.hold_s,
            checkpoints_s: 1,
            onto: None,
            acts: self.acts.clone(),
        };
        let other = |(number, (asks, code)): (u32, &(Asks, i32))| Script {
            number,
            plan: Plan { code: *code, ..script.plan.clone() },
            keep_warm_s: 0,
            onto: Some((1, *asks)),
            acts: self.acts_of_others.clone(),
            ..script.clone()
        };
        let others: Vec<Script> = (2..).zip(&self.others).map(other).collect();
        let costs = provider != LOCAL;
        let life =
            LifeScript { works: Duration::from_secs(86_400), at, then: Then::Dies(Duration::from_secs(1)) };
        Scenario {
            seed: 1,
            faults: Faults { call_ms: 20, ..Faults::default() },
            jobs: [vec![script], others].concat(),
            lives: vec![life],
            busy: Duration::from_secs(3600),
            clock: Vec::new(),
            strays: Vec::new(),
            fates: self.fates.clone(),
            repeats_at_most: Some(self.checkpoint_every).filter(|every| *every > 0),
            orders: self.orders.filter(|_| costs),
        }
    }

    /// Meets every crash point, or every `stride`-th from `offset` on. Says how many there were and how many were met, and
    /// adds their figures to a sum.
    ///
    /// # Errors
    /// What was wrong at the first one where something was.
    pub fn exhaust(
        &self,
        provider: &'static str,
        settings: &Settings,
        (offset, stride): (u64, u64),
        sum: &mut Verdict,
    ) -> Result<(u64, u64), String> {
        let told = |at: Option<At>, wrong: Vec<String>| {
            format!("{} at {provider}, {at:?}:\n  {}", self.name, wrong.join("\n  "))
        };
        let whole = run(&self.at(provider, None), settings).map_err(|wrong| told(None, wrong))?;
        if self.ends.as_ref().is_some_and(|ends| !ended_so(&whole, ends)) {
            return Err(told(None, vec![format!("it ends as {whole:?}, and not {:?}", self.ends)]));
        }
        let calls = whole.first_calls.min(CALLS_MAX);
        let mut met = 0;
        for call in (1..=calls).filter(|call| call % stride == offset % stride) {
            for what in [What::EndsBefore, What::EndsAfter, What::Twice] {
                let at = Some(At { call, what });
                let verdict = run(&self.at(provider, at), settings).map_err(|wrong| told(at, wrong))?;
                sum.add(&verdict);
                met += 1;
            }
        }
        Ok((calls * 3, met))
    }
}

/// Whether the jobs of a story ended so.
fn ended_so(verdict: &Verdict, ends: &[StateName]) -> bool {
    let count = |state| ends.iter().filter(|end| **end == state).count() as u32;
    let all = [StateName::Completed, StateName::Failed, StateName::Stopped].map(count);
    all == [verdict.completed, verdict.failed, verdict.stopped]
}
