//! Random commands and facts against a small second writing of the rules.

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::{at, job, order, rental, restored};
use crate::StateName::{self, Completed, Created, Failed, Initializing, Paused, Running, Stopped};
use crate::{AttemptNumber, Claim, Command, Fact, Job, StopCause, Wish};

/// What may happen. `true` is about the last attempt, `false` about one that it is not.
#[derive(Debug, Clone)]
enum Op {
    Submit,
    Cancel,
    Pause,
    Park,
    Resume,
    Delete,
    Deadline,
    Intend,
    Bare(bool),
    /// About the last one, and whether the round of orders is over.
    Refused(bool, bool),
    Admitted,
    Placed(bool, bool),
    Started(bool),
    Paused,
    Parked,
    Resumed,
    Lost(bool),
    End(StateName),
    Returned(bool),
    PassedOn(bool),
}

/// What we pay for: nothing, nothing yet, an order, a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    None,
    Waiting,
    Asked,
    Machine { pausable: bool },
}

/// The rules once more, in the fewest words.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    state: StateName,
    held: Held,
    wish: Wish,
    /// The machine of a lost attempt was not proven gone.
    owed: bool,
}

impl Model {
    /// What it becomes; `None` where that is refused.
    fn after(&self, op: &Op) -> Option<Model> {
        let Model { state, held, wish, owed } = *self;
        let to = |state, held| Some(Model { state, held, wish, owed });
        let wishing = |wish| Some(Model { state, held, wish, owed });
        let idle = if state.is_end() || state == Created { Held::None } else { Held::Waiting };
        let machine = matches!(held, Held::Machine { .. });
        let stopping = matches!(wish, Wish::Stop(_));
        let awake = !state.is_end() && wish != Wish::Rest;
        match op {
            Op::Submit if wish == Wish::Rest => wishing(Wish::Run),
            Op::Submit if !state.is_end() && !stopping => wishing(wish),
            Op::Cancel if awake => wishing(Wish::Stop(StopCause::Cancel)),
            Op::Pause | Op::Park if !stopping && state == Running && wish == Wish::Park => wishing(wish),
            Op::Pause | Op::Park if !stopping && state == Paused && held == Held::None => wishing(Wish::Park),
            Op::Pause | Op::Park if awake && !stopping && (state == Paused || state == Running) => match held
            {
                Held::Machine { pausable: true } if matches!(op, Op::Park) => wishing(Wish::Park),
                Held::Machine { pausable: true } => wishing(Wish::Pause),
                _ => (wish == Wish::Pause && !machine).then_some(self.clone()),
            },
            Op::Resume if !stopping && (state == Paused || state == Running && wish == Wish::Pause) => {
                wishing(Wish::Run)
            }
            Op::Delete if wish == Wish::Rest || state.is_end() && held == Held::None && !owed => {
                wishing(wish)
            }
            Op::Deadline if awake && !stopping => wishing(Wish::Stop(StopCause::Deadline)),
            Op::Deadline => wishing(wish),
            Op::Intend if awake && !stopping && wish != Wish::Park && held == idle => to(state, Held::Asked),
            Op::Refused(true, over) if held == Held::Asked => {
                let wish = if state == Created && *over && !stopping { Wish::Rest } else { wish };
                Some(Model { state, held: idle, wish, owed })
            }
            Op::Admitted if awake && state == Created => to(Initializing, held.max(Held::Waiting)),
            Op::Placed(true, pausable) if held == Held::Asked => {
                let next = if state == Created { Initializing } else { state };
                to(next, Held::Machine { pausable: *pausable })
            }
            Op::Started(true) if machine && (state == Initializing || state == Running) => to(Running, held),
            Op::Paused if state == Running && held == (Held::Machine { pausable: true }) => to(Paused, held),
            Op::Parked
                if state == Running && [Held::Waiting, Held::Machine { pausable: true }].contains(&held)
                    || state == Paused && machine =>
            {
                Some(Model { state: Paused, held: Held::None, wish, owed: owed || machine })
            }
            Op::Resumed if state == Paused => to(Running, if machine { held } else { Held::Waiting }),
            Op::Lost(true) if machine && !state.is_end() => {
                let state = if state == Paused { Running } else { state };
                Some(Model { state, held: Held::Waiting, wish, owed: true })
            }
            Op::End(Completed) if state != Running || !machine => None,
            Op::End(end) if [Initializing, Running, Paused].contains(&state) => {
                to(*end, if held == Held::Waiting { Held::None } else { held })
            }
            Op::Returned(true) | Op::PassedOn(true) if machine && state.is_end() => to(state, Held::None),
            _ => None,
        }
    }
}

fn every_op() -> Vec<Op> {
    let mut all =
        vec![Op::Submit, Op::Cancel, Op::Pause, Op::Park, Op::Resume, Op::Delete, Op::Deadline, Op::Intend];
    all.extend([Op::Admitted, Op::Paused, Op::Parked, Op::Resumed]);
    all.extend([Completed, Failed, Stopped].map(Op::End));
    for last in [true, false] {
        all.extend([
            Op::Bare(last),
            Op::Refused(last, true),
            Op::Refused(last, false),
            Op::Started(last),
            Op::Lost(last),
            Op::Returned(last),
            Op::PassedOn(last),
        ]);
        all.extend([true, false].map(|pausable| Op::Placed(last, pausable)));
    }
    all
}

impl ReferenceStateMachine for Model {
    type State = Model;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model { state: Created, held: Held::None, wish: Wish::Rest, owed: false }).boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Op> {
        // Mostly what is legal, else hardly a history would get far; what ends a job comes seldom.
        let legal: Vec<Op> = every_op().into_iter().filter(|op| model.after(op).is_some()).collect();
        let (ends, goes_on): (Vec<Op>, Vec<Op>) =
            legal.into_iter().partition(|op| matches!(op, Op::Cancel | Op::Deadline | Op::End(_)));
        let any = || prop::sample::select(every_op());
        let among =
            |ops: Vec<Op>| if ops.is_empty() { any().boxed() } else { prop::sample::select(ops).boxed() };
        prop_oneof![12 => among(goes_on), 1 => among(ends), 4 => any()].boxed()
    }

    fn apply(state: Model, op: &Op) -> Model {
        state.after(op).unwrap_or(state)
    }
}

/// A job, and how many things happened to it.
struct Real {
    job: Job,
    clock: i64,
}

impl StateMachineTest for Real {
    type SystemUnderTest = Real;
    type Reference = Model;

    fn init_test(_: &Model) -> Real {
        Real { job: job(), clock: 0 }
    }

    fn apply(mut real: Real, expected: &Model, op: Op) -> Real {
        real.clock += 1;
        let before = real.job.clone();
        let taken = perform(&mut real.job, &op, real.clock);
        if !taken {
            assert_eq!(real.job, before, "{op:?} was refused and changed the job");
        }
        assert_eq!(&seen(&real.job), expected, "after {op:?}");
        keeps_promises(&before, &real.job);
        real
    }

    fn check_invariants(real: &Real, _: &Model) {
        let job = &real.job;
        assert_eq!(restored(job).as_ref(), Ok(job));
        let json = serde_json::to_string(job.body()).expect("a body can be written");
        assert_eq!(&serde_json::from_str::<crate::JobBody>(&json).expect("and read"), job.body());
        if let Some(rental) = job.state().rental() {
            let last = job.attempt().expect("a machine has an attempt");
            assert_eq!(rental.attempt, last.number);
            assert_eq!(Some(&rental.machine), last.machine.as_ref());
        }
        if job.state().name().is_end() && job.state().claim().is_none() {
            assert_eq!(job.body().phase, None, "a job that is over and holds nothing has no phase");
        }
        assert!(job.ran_for_s(at(real.clock)) <= real.clock.unsigned_abs());
    }
}

fn perform(job: &mut Job, op: &Op, clock: i64) -> bool {
    let now = at(clock);
    let last = job.attempt().map_or(0, |attempt| attempt.number.get());
    let number = |is_last: bool| AttemptNumber::from(if is_last { last } else { last + 7 });
    let here = || "here".parse().expect("a name");
    let fact = match op {
        Op::Submit => return job.command(&Command::Submit(here())).is_ok(),
        Op::Cancel => return job.command(&Command::Cancel).is_ok(),
        Op::Pause => return job.command(&Command::Pause).is_ok(),
        Op::Park => return job.command(&Command::Park).is_ok(),
        Op::Resume => return job.command(&Command::Resume).is_ok(),
        Op::Delete => return job.command(&Command::Delete).is_ok(),
        Op::Deadline => {
            job.stop_for(StopCause::Deadline);
            return true;
        }
        Op::Intend => return job.intend(order(last + 1), here(), now).is_ok(),
        // An order that nobody wrote down.
        Op::Bare(is_last) => {
            Fact::OrderSent { attempt: AttemptNumber::from(if *is_last { last + 1 } else { last }) }
        }
        Op::Refused(is_last, over) => Fact::OrderRefused { attempt: number(*is_last), round_over: *over },
        Op::Admitted => Fact::Admitted,
        Op::Placed(is_last, pausable) => Fact::Placed(rental(number(*is_last).get(), *pausable)),
        Op::Started(is_last) => Fact::Started { attempt: number(*is_last), at: now },
        Op::Paused => Fact::Paused,
        Op::Parked => Fact::Parked,
        Op::Resumed => Fact::Resumed,
        Op::Lost(is_last) => Fact::Lost { attempt: number(*is_last) },
        Op::End(Completed) => Fact::Completed { at: now },
        Op::End(Failed) => Fact::Failed { at: now },
        Op::End(_) => Fact::Stopped { at: now },
        Op::Returned(is_last) => Fact::Returned { attempt: number(*is_last) },
        Op::PassedOn(is_last) => {
            Fact::PassedOn { attempt: number(*is_last), to: "next".parse().expect("an id") }
        }
    };
    job.apply(&fact, now).is_ok()
}

fn held(job: &Job) -> Held {
    match job.state().claim() {
        None => Held::None,
        Some(Claim::Waiting) => Held::Waiting,
        Some(Claim::Asked { .. }) => Held::Asked,
        Some(Claim::Holding(rental)) => Held::Machine { pausable: rental.can_pause },
    }
}

fn seen(job: &Job) -> Model {
    // The machine that is held is none of a lost attempt.
    let lost = |attempt: &&crate::Attempt| attempt.may_hold_machine();
    let last = job.state().rental().map(|rental| rental.attempt);
    let owed = job.attempts().iter().filter(lost).any(|attempt| Some(attempt.number) != last);
    Model { state: job.state().name(), held: held(job), wish: job.wish(), owed }
}

/// What holds of every step, whatever the rules are.
fn keeps_promises(before: &Job, after: &Job) {
    let (was, is) = (before.state().name(), after.state().name());
    if was.is_end() {
        assert_eq!(was, is, "what has ended stays so");
        assert_eq!(before.body().completed_at, after.body().completed_at);
        // From an order to its machine to nothing, and never back.
        let rank = |job: &Job| match held(job) {
            Held::None => 0,
            Held::Machine { .. } => 1,
            Held::Asked => 2,
            Held::Waiting => panic!("an ended job waits for nothing"),
        };
        assert!(rank(after) <= rank(before), "what is left only shrinks");
    }
    if before.body().started_at.is_some() {
        assert_eq!(before.body().started_at, after.body().started_at, "the first start never moves");
    }
    if was != Created {
        assert_ne!(is, Created, "there is no way back to `created`");
    }
    assert!(after.attempts().len() >= before.attempts().len(), "no attempt is forgotten");
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 2000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_job_obeys_the_model(sequential 1..40 => Real);
}
