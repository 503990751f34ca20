//! The plan: a pure function from what a job is and what was seen to the one next step. All cleverness is here, where
//! it costs nothing to test.

use std::time::Duration;

use trainyard_connector::{TrainingState, WorkloadState};
use trainyard_domain::{Attempt, Claim, Exit, Job, JobState, Reason, Rental, StopCause, Timestamp, Wish};

use crate::choice::ORDER_LOST;
use crate::money::Purse;

/// Orders of one job that may get lost before it is given up: more than a bad day has crashes.
const ORDERS_LOST_MAX: usize = 10;

/// What was seen of the machine and of the training on it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    /// Nothing is held, so nothing was looked at.
    Nothing,
    /// The provider's readings prove that the machine is gone.
    MachineGone,
    /// The provider says that it will not come up (again).
    Broken {
        what: String,
        /// Another machine could help.
        elsewhere: bool,
    },
    /// It costs more than the job allows.
    TooDear(String),
    /// The agent did not answer, for that long by now, while we were awake; `lost` once that is too long.
    Silent { lost: bool, ever_answered: bool },
    /// Another boot of the agent answers than the one that was told to start.
    Restarted,
    /// The agent answers.
    Says {
        state: WorkloadState,
        /// Every event it told is in storage.
        told: bool,
    },
}

/// The one next step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Nothing to do until somebody asks.
    Rest,
    /// Look again, at the latest after this.
    Wait(Duration),
    /// Write down the next attempt's intent, then order.
    Order,
    /// Find out what became of an order.
    Settle,
    /// Hand over what the training needs, and start it.
    Bring(Rental),
    /// What the training needs is being prepared: record it if it takes long.
    Prepare(Rental),
    /// The training runs: record it.
    NoteStarted { rental: Rental, at: Timestamp },
    /// Ask the training to stop, and kill it after the grace.
    Stop { rental: Rental, grace: Duration },
    /// Stop its processes.
    Pause(Rental),
    /// Let them go on.
    Resume(Rental),
    /// Its training stopped to go on later: bring its last checkpoint home, give its machine back, record it.
    Park(Option<Rental>),
    /// It is to go on from its checkpoint: record it, and the next attempt comes.
    Unpark,
    /// Bring the artifact home.
    Collect { rental: Rental, exit: Exit },
    /// The machine is lost: clear it away and let the next attempt come.
    Replace { rental: Rental, reason: Reason },
    /// The time, or the money, is over: wish it to stop.
    Expire(StopCause),
    /// End the job.
    Finish(Outcome),
    /// Give back what the ended job holds.
    GiveBack(Rental),
    /// Keep it that long, for another job or for a look at what failed on it.
    Hold { rental: Rental, left: Duration },
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// As the user asked.
    Stopped { exit: Option<Exit> },
    /// With a reason.
    Failed { reason: Reason, exit: Option<Exit> },
}

/// What the plan needs to know beside the job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) look_every: Duration,
    pub(crate) boot_poll: Duration,
    pub(crate) cancel_grace_max: Duration,
    /// What is left to pay its machine with; none where nothing bounds that.
    pub(crate) money: Option<Purse>,
    /// Attempts that may rent a machine, where the job's provider allows fewer than the job.
    pub(crate) attempts_max: Option<u32>,
}

/// The next step of a job.
pub(crate) fn plan(job: &Job, seen: &Seen, now: Timestamp, bounds: &Bounds) -> Step {
    match job.state() {
        // Whoever stops a job need not wait until it is known what became of an order: that is found out afterwards, and
        // what it rented is given back.
        JobState::Created { order: Some(_) }
        | JobState::Initializing(Claim::Asked { .. })
        | JobState::Running { claim: Claim::Asked { .. }, .. } => match job.wish() {
            Wish::Stop(cause) => Step::Finish(stopped(cause, None, bounds)),
            Wish::Run | Wish::Pause | Wish::Park | Wish::Rest => Step::Settle,
        },
        JobState::Created { order: None } => match job.wish() {
            Wish::Rest => Step::Rest,
            Wish::Run | Wish::Pause | Wish::Park => Step::Order,
            Wish::Stop(cause) => Step::Finish(stopped(cause, None, bounds)),
        },
        JobState::Initializing(Claim::Waiting) | JobState::Running { claim: Claim::Waiting, .. } => {
            waiting(job, now, bounds)
        }
        JobState::Initializing(Claim::Holding(rental))
        | JobState::Running { claim: Claim::Holding(rental), .. }
        | JobState::Paused { rental: Some(rental), .. } => holding(job, rental, seen, now, bounds),
        JobState::Paused { rental: None, .. } => match job.wish() {
            Wish::Park | Wish::Pause | Wish::Rest => Step::Rest,
            Wish::Run => Step::Unpark,
            Wish::Stop(cause) => Step::Finish(stopped(cause, None, bounds)),
        },
        JobState::Completed(end) | JobState::Failed(end) | JobState::Stopped(end) => match &end.left {
            None | Some(Claim::Waiting) => Step::Rest,
            Some(Claim::Asked { .. }) => Step::Settle,
            Some(Claim::Holding(rental)) => match kept_for(job, now, bounds) {
                Some(left) => Step::Hold { rental: rental.clone(), left },
                None => Step::GiveBack(rental.clone()),
            },
        },
    }
}

/// Between two machines.
fn waiting(job: &Job, now: Timestamp, bounds: &Bounds) -> Step {
    if let Wish::Stop(cause) = job.wish() {
        return Step::Finish(stopped(cause, None, bounds));
    }
    if job.wish() == Wish::Park {
        return Step::Park(None);
    }
    if is_over_time(job, now) {
        return Step::Expire(StopCause::Deadline);
    }
    let rented = job.attempts().iter().filter(|attempt| attempt.was_rented() && !was_parked(attempt)).count();
    let last_end = job.attempt().and_then(|attempt| attempt.end.clone());
    let allowed = bounds
        .attempts_max
        .map_or(job.spec().retry.max_attempts, |most| most.min(job.spec().retry.max_attempts));
    if rented < allowed as usize && !is_refused_for_good(job) {
        return Step::Order;
    }
    let reason =
        last_end.unwrap_or_else(|| Reason::new("attempts_used_up", "every attempt allowed was made"));
    Step::Finish(Outcome::Failed { reason, exit: None })
}

/// Why an attempt ended that was paused with a checkpoint.
pub(super) const PAUSED: &str = "paused";

/// Whether an attempt ended because its job was paused: no machine failed it.
fn was_parked(attempt: &Attempt) -> bool {
    attempt.end.as_ref().is_some_and(|end| end.code == PAUSED)
}

/// Whether orders that never arrived end a round: a crash between writing one down and sending it is no fault of the
/// job, but it ends somewhere.
pub(super) fn too_many_lost(job: &Job) -> bool {
    let lost = |attempt: &&Attempt| attempt.end.as_ref().is_some_and(|end| end.code == ORDER_LOST);
    job.attempts().iter().filter(lost).count() > ORDERS_LOST_MAX
}

/// After a job has left `created`, orders go on until a round of them is over with nothing rented.
fn is_refused_for_good(job: &Job) -> bool {
    job.attempt().is_some_and(|last| last.ended_at.is_some() && !last.was_rented() && last.round_over)
}

/// How long the machine of an ended job is still kept, for another job or for a look at what failed: never longer than
/// its money lasts.
fn kept_for(job: &Job, now: Timestamp, bounds: &Bounds) -> Option<Duration> {
    let left = warm_for(job, now).max(held_for(job, now))?;
    let left = bounds.money.as_ref().map_or(left, |purse| purse.lasts(Duration::ZERO).min(left));
    Some(left).filter(|left| !left.is_zero())
}

fn warm_for(job: &Job, now: Timestamp) -> Option<Duration> {
    (job.warm_until()? - now).to_std().ok()
}

fn held_for(job: &Job, now: Timestamp) -> Option<Duration> {
    let JobState::Failed(end) = job.state() else { return None };
    let exit = job.attempt()?.exit.as_ref()?;
    let kept = chrono::TimeDelta::seconds(i64::try_from(job.limits().hold_on_failure_s).ok()?);
    let left = (end.at + kept - now).to_std().ok().filter(|left| !left.is_zero());
    left.filter(|_| exit.code != 0 && !exit.asked)
}

/// With a machine in hand.
fn holding(job: &Job, rental: &Rental, seen: &Seen, now: Timestamp, bounds: &Bounds) -> Step {
    if let Wish::Stop(cause) = job.wish() {
        return stopping(job, rental, cause, seen, bounds);
    }
    if bounds.money.as_ref().is_some_and(|purse| purse.is_over(grace_before(job, seen))) {
        return Step::Expire(StopCause::Budget);
    }
    match held(job, rental, seen, now, bounds) {
        Step::Wait(delay) => Step::Wait(match &bounds.money {
            Some(purse) => delay.min(purse.lasts(grace_before(job, seen))),
            None => delay,
        }),
        step => step,
    }
}

/// How long before the end of its money a machine is to be stopped at: a training that runs gets its grace.
fn grace_before(job: &Job, seen: &Seen) -> Duration {
    match seen {
        Seen::Says { state, .. } if matches!(state.training, TrainingState::Exited { .. }) => Duration::ZERO,
        _ if job.attempt().is_some_and(|attempt| attempt.started_at.is_some()) => {
            Duration::from_secs(job.limits().grace_period_s)
        }
        _ => Duration::ZERO,
    }
}

/// With a machine in hand that is wanted and can be paid.
fn held(job: &Job, rental: &Rental, seen: &Seen, now: Timestamp, bounds: &Bounds) -> Step {
    match seen {
        Seen::Nothing => Step::Wait(bounds.boot_poll),
        Seen::MachineGone => lost(rental, "machine_lost", "the machine is gone"),
        Seen::Broken { what, elsewhere } => broken(job, rental, what, *elsewhere),
        Seen::TooDear(what) => lost(rental, "price_changed", what),
        Seen::Restarted => lost(rental, "agent_restarted", "the agent on the machine was restarted"),
        Seen::Silent { lost: true, ever_answered: true } => {
            lost(rental, "agent_lost", "the agent on the machine does not answer any more")
        }
        Seen::Silent { lost: true, ever_answered: false } => {
            lost(rental, "boot_failed", "the machine came up, but its agent never answered")
        }
        Seen::Silent { lost: false, ever_answered: true } => Step::Wait(bounds.look_every / 2),
        Seen::Silent { lost: false, ever_answered: false } => Step::Wait(bounds.boot_poll),
        Seen::Says { state, told } => training(job, rental, state, *told, now, bounds),
    }
}

/// A machine that will not come up by the provider's own word. One that trained before is lost like any other.
fn broken(job: &Job, rental: &Rental, what: &str, elsewhere: bool) -> Step {
    let trained = job.attempt().is_some_and(|attempt| attempt.started_at.is_some());
    match (trained, elsewhere) {
        (true, _) => lost(rental, "machine_lost", what),
        (false, true) => lost(rental, "boot_failed", what),
        (false, false) => {
            let reason = Reason::new("boot_failed", format!("the machine cannot come up: {what}"))
                .suggest("check `environment.image` and `environment.registry_auth`, or leave them out, and clone the job");
            Step::Finish(Outcome::Failed { reason, exit: None })
        }
    }
}

fn training(
    job: &Job,
    rental: &Rental,
    state: &WorkloadState,
    told: bool,
    now: Timestamp,
    bounds: &Bounds,
) -> Step {
    let ours = state.attempt.as_ref().is_some_and(|(id, n)| id == job.id() && *n == rental.attempt);
    let noted = job.attempt().is_some_and(|attempt| attempt.started_at.is_some());
    if job.wish() == Wish::Park {
        return parking(job, rental, state, ours.then_some(told), bounds);
    }
    match &state.training {
        TrainingState::Running { since, .. } if ours && !noted => {
            Step::NoteStarted { rental: rental.clone(), at: *since }
        }
        TrainingState::Exited { started_at: Some(at), .. } if ours && !noted => {
            Step::NoteStarted { rental: rental.clone(), at: *at }
        }
        TrainingState::Running { paused, .. } if ours => match (job.wish(), paused, job.state()) {
            (Wish::Pause, _, JobState::Running { .. }) => Step::Pause(rental.clone()),
            (Wish::Run, _, JobState::Paused { .. }) => Step::Resume(rental.clone()),
            // Paused by nobody's wish: a crash came between the signal and its record.
            (Wish::Run, true, JobState::Running { .. }) => Step::Resume(rental.clone()),
            _ if is_over_time(job, now) => Step::Expire(StopCause::Deadline),
            _ => Step::Wait(bounds.look_every.min(time_left(job, now))),
        },
        TrainingState::Exited { .. } if ours && !told => Step::Wait(bounds.boot_poll),
        TrainingState::Exited { exit, .. } if ours => exited(rental, exit, bounds),
        TrainingState::Preparing if ours => Step::Prepare(rental.clone()),
        // It knows nothing of this attempt. Told to start before, it must have started anew.
        _ if noted => lost(rental, "agent_restarted", "the agent on the machine was restarted"),
        _ => Step::Bring(rental.clone()),
    }
}

/// To go on later from a checkpoint: what runs is told to stop, with time to write one. `told` is none where the agent
/// speaks of another attempt.
fn parking(job: &Job, rental: &Rental, state: &WorkloadState, told: Option<bool>, bounds: &Bounds) -> Step {
    match (&state.training, told) {
        (TrainingState::Running { .. } | TrainingState::Preparing, Some(_)) => {
            let grace = Duration::from_secs(job.limits().grace_period_s);
            Step::Stop { rental: rental.clone(), grace }
        }
        (TrainingState::Exited { .. }, Some(false)) => Step::Wait(bounds.boot_poll),
        // It ended by itself before it heard of the pause, or for another reason.
        (TrainingState::Exited { exit, .. }, Some(true)) if !exit.asked || is_agents_own(exit) => {
            exited(rental, exit, bounds)
        }
        (TrainingState::Exited { .. }, Some(true)) | (_, None) | (TrainingState::Idle, _) => {
            Step::Park(Some(rental.clone()))
        }
    }
}

/// Whether the agent stopped the training by its own rules.
fn is_agents_own(exit: &Exit) -> bool {
    exit.note.as_deref().is_some_and(|note| note.starts_with("stopped by the agent"))
}

fn exited(rental: &Rental, exit: &Exit, bounds: &Bounds) -> Step {
    if exit.asked {
        // Nobody here asked: the agent itself stopped it, at the deadline or for the reason that it tells.
        let reason = match exit.note.as_deref() {
            Some(note) if note.contains("budget") => budget(bounds),
            Some(note) if !note.contains("deadline") => Reason::new("stopped_by_agent", note),
            Some(_) | None => deadline(),
        };
        return Step::Finish(Outcome::Failed { reason, exit: Some(exit.clone()) });
    }
    if exit.code == 0 {
        return Step::Collect { rental: rental.clone(), exit: exit.clone() };
    }
    if let Some(why) = exit.diagnosis.as_ref().filter(|_| exit.machine_fault) {
        let reason = Reason::new(&why.code, &why.cause).suggest(&why.remedy);
        return Step::Replace { rental: rental.clone(), reason };
    }
    let how = match (exit.signal, &exit.note) {
        (_, Some(note)) => format!("the training ended with exit code {}: {note}", exit.code),
        (Some(signal), None) => {
            format!("the training was ended by signal {signal} (exit code {})", exit.code)
        }
        (None, None) => format!("the training ended with exit code {}", exit.code),
    };
    if let Some(why) = &exit.diagnosis {
        let reason = Reason::new("training_failed", format!("{how}: {}", why.cause)).suggest(&why.remedy);
        return Step::Finish(Outcome::Failed { reason, exit: Some(exit.clone()) });
    }
    let how = match exit.last_lines.last() {
        Some(last) => format!("{how}; its last line: {last}"),
        None => how,
    };
    let reason = Reason::new("training_failed", how)
        .suggest("read the last lines of the log (`trainyard logs JOB`), mend the cause, and clone the job");
    Step::Finish(Outcome::Failed { reason, exit: Some(exit.clone()) })
}

/// With a machine in hand and the wish to stop.
fn stopping(job: &Job, rental: &Rental, cause: StopCause, seen: &Seen, bounds: &Bounds) -> Step {
    let Seen::Says { state, told } = seen else {
        // Nobody there to ask: giving the machine back ends every process on it.
        return Step::Finish(stopped(cause, None, bounds));
    };
    let ours = state.attempt.as_ref().is_some_and(|(id, n)| id == job.id() && *n == rental.attempt);
    match &state.training {
        TrainingState::Exited { .. } if ours && !told => Step::Wait(bounds.boot_poll),
        TrainingState::Exited { exit, .. } if ours => {
            Step::Finish(stopped(cause, Some(exit.clone()), bounds))
        }
        TrainingState::Running { .. } | TrainingState::Preparing if ours => {
            let grace = Duration::from_secs(job.limits().grace_period_s);
            let grace = match cause {
                StopCause::Cancel => grace.min(bounds.cancel_grace_max),
                StopCause::Deadline | StopCause::Budget => grace,
            };
            Step::Stop { rental: rental.clone(), grace }
        }
        _ => Step::Finish(stopped(cause, None, bounds)),
    }
}

fn stopped(cause: StopCause, exit: Option<Exit>, bounds: &Bounds) -> Outcome {
    match cause {
        StopCause::Cancel => Outcome::Stopped { exit },
        StopCause::Deadline => Outcome::Failed { reason: deadline(), exit },
        StopCause::Budget => Outcome::Failed { reason: budget(bounds), exit },
    }
}

fn budget(bounds: &Bounds) -> Reason {
    let what = bounds
        .money
        .as_ref()
        .map_or_else(|| "what the job may cost".to_owned(), |purse| purse.of.to_string());
    Reason::new("budget_exceeded", format!("going on would cost more than {what} allows"))
        .suggest("raise it, or train for less long or on a cheaper machine, and clone the job")
}

fn deadline() -> Reason {
    Reason::new("deadline_exceeded", "the training ran longer than `limits.max_duration_s` allows")
        .suggest("raise `limits.max_duration_s` and clone the job")
}

fn lost(rental: &Rental, code: &str, message: &str) -> Step {
    Step::Replace { rental: rental.clone(), reason: Reason::new(code, message) }
}

fn is_over_time(job: &Job, now: Timestamp) -> bool {
    job.body().started_at.is_some() && job.ran_for_s(now) >= job.limits().max_duration_s
}

fn time_left(job: &Job, now: Timestamp) -> Duration {
    Duration::from_secs(job.limits().max_duration_s.saturating_sub(job.ran_for_s(now)).max(1))
}

#[cfg(test)]
mod tests;
