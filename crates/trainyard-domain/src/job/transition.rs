//! The one function that turns a fact into the next state.

use serde::{Deserialize, Serialize};

use super::{Claim, Ended, JobState, Rental, StateName};
use crate::{AttemptNumber, JobId, Timestamp};

/// Something that happened. Facts move the state; nothing else does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// The intent to order was written; the order may go out from now on.
    OrderSent {
        /// Whose order.
        attempt: AttemptNumber,
    },
    /// It is proven that the order rented nothing.
    OrderRefused {
        /// Whose order.
        attempt: AttemptNumber,
        /// No other offer is tried after it: a submission that is still unanswered is turned down, and one that was
        /// answered fails.
        round_over: bool,
    },
    /// The submit was answered with 2xx, or the order may have been accepted: there is no way back to `created`.
    Admitted,
    /// The order was accepted, or its machine was found by the order's name.
    Placed(Rental),
    /// The training of that attempt runs.
    Started {
        /// Which attempt.
        attempt: AttemptNumber,
        /// Since when.
        at: Timestamp,
    },
    /// The training's processes are stopped.
    Paused,
    /// The training was stopped to go on later from a checkpoint, and its machine was given back or lost.
    Parked,
    /// They go on; or the next attempt may come.
    Resumed,
    /// The machine of that attempt was lost, and nothing of it runs any more or its removal was accepted.
    Lost {
        /// Which attempt.
        attempt: AttemptNumber,
    },
    /// The training ended well and its artifact is stored and verified.
    Completed {
        /// When.
        at: Timestamp,
    },
    /// It will not complete.
    Failed {
        /// When.
        at: Timestamp,
    },
    /// It was stopped as the user asked.
    Stopped {
        /// When.
        at: Timestamp,
    },
    /// What the ended job still held was proven gone.
    Returned {
        /// Whose machine.
        attempt: AttemptNumber,
    },
    /// What the ended job still held, kept warm, went over to another job.
    PassedOn {
        /// Whose machine.
        attempt: AttemptNumber,
        /// To which job.
        to: JobId,
    },
}

impl Fact {
    /// The fact's word, for messages and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Fact::OrderSent { .. } => "order_sent",
            Fact::OrderRefused { .. } => "order_refused",
            Fact::Admitted => "admitted",
            Fact::Placed(_) => "placed",
            Fact::Started { .. } => "started",
            Fact::Paused => "paused",
            Fact::Parked => "parked",
            Fact::Resumed => "resumed",
            Fact::Lost { .. } => "lost",
            Fact::Completed { .. } => "completed",
            Fact::Failed { .. } => "failed",
            Fact::Stopped { .. } => "stopped",
            Fact::Returned { .. } => "returned",
            Fact::PassedOn { .. } => "passed_on",
        }
    }
}

/// A fact that cannot have happened in that state. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {state} cannot take the fact `{fact}`")]
pub struct IllegalTransition {
    /// The state it was in.
    pub state: StateName,
    /// The fact that was refused.
    pub fact: &'static str,
}

impl JobState {
    /// The only function that makes a new state out of an old one.
    ///
    /// # Errors
    /// [`IllegalTransition`] where the fact cannot have happened in this state.
    pub fn apply(&self, fact: &Fact) -> Result<JobState, IllegalTransition> {
        let next = match (self, fact) {
            (JobState::Created { order }, fact) => created(*order, fact),
            (JobState::Initializing(claim), fact) => initializing(claim, fact),
            (JobState::Running { claim, started_at }, fact) => running(claim, *started_at, fact),
            (JobState::Paused { rental: Some(rental), started_at }, fact) => {
                paused(rental, *started_at, fact)
            }
            (JobState::Paused { rental: None, started_at }, fact) => parked(*started_at, fact),
            (JobState::Completed(end), fact) => settle(end, fact).map(JobState::Completed),
            (JobState::Failed(end), fact) => settle(end, fact).map(JobState::Failed),
            (JobState::Stopped(end), fact) => settle(end, fact).map(JobState::Stopped),
        };
        next.ok_or(IllegalTransition { state: self.name(), fact: fact.name() })
    }
}

fn created(order: Option<AttemptNumber>, fact: &Fact) -> Option<JobState> {
    match (order, fact) {
        (None, Fact::OrderSent { attempt }) => Some(JobState::Created { order: Some(*attempt) }),
        (Some(asked), Fact::OrderRefused { attempt, .. }) if asked == *attempt => {
            Some(JobState::Created { order: None })
        }
        (None, Fact::Admitted) => Some(JobState::Initializing(Claim::Waiting)),
        (Some(attempt), Fact::Admitted) => Some(JobState::Initializing(Claim::Asked { attempt })),
        (Some(asked), Fact::Placed(rental)) if asked == rental.attempt => {
            Some(JobState::Initializing(Claim::Holding(rental.clone())))
        }
        _ => None,
    }
}

fn initializing(claim: &Claim, fact: &Fact) -> Option<JobState> {
    if let Some(end) = ending(Some(claim), fact) {
        // Nothing has run yet, so nothing can have completed.
        return (!matches!(end, JobState::Completed(_))).then_some(end);
    }
    match (claim, fact) {
        (Claim::Holding(rental), Fact::Started { attempt, at }) if rental.attempt == *attempt => {
            Some(JobState::Running { claim: claim.clone(), started_at: *at })
        }
        _ => order(claim, fact).map(JobState::Initializing),
    }
}

fn running(claim: &Claim, started_at: Timestamp, fact: &Fact) -> Option<JobState> {
    if let Some(end) = ending(Some(claim), fact) {
        // What completes has trained on a machine that is still held.
        let completes_on_nothing =
            matches!(end, JobState::Completed(_)) && !matches!(claim, Claim::Holding(_));
        return (!completes_on_nothing).then_some(end);
    }
    match (claim, fact) {
        (Claim::Holding(rental), Fact::Started { attempt, .. }) if rental.attempt == *attempt => {
            Some(JobState::Running { claim: claim.clone(), started_at })
        }
        (Claim::Holding(rental), Fact::Paused) if rental.can_pause => {
            Some(JobState::Paused { rental: Some(rental.clone()), started_at })
        }
        (Claim::Holding(rental), Fact::Parked) if rental.can_pause => {
            Some(JobState::Paused { rental: None, started_at })
        }
        (Claim::Waiting, Fact::Parked) => Some(JobState::Paused { rental: None, started_at }),
        _ => order(claim, fact).map(|claim| JobState::Running { claim, started_at }),
    }
}

fn paused(rental: &Rental, started_at: Timestamp, fact: &Fact) -> Option<JobState> {
    let claim = Claim::Holding(rental.clone());
    match fact {
        Fact::Resumed => Some(JobState::Running { claim, started_at }),
        Fact::Parked => Some(JobState::Paused { rental: None, started_at }),
        Fact::Lost { attempt } if *attempt == rental.attempt => {
            Some(JobState::Running { claim: Claim::Waiting, started_at })
        }
        Fact::Failed { .. } | Fact::Stopped { .. } => ending(Some(&claim), fact),
        _ => None,
    }
}

/// Paused without a machine.
fn parked(started_at: Timestamp, fact: &Fact) -> Option<JobState> {
    match fact {
        Fact::Resumed => Some(JobState::Running { claim: Claim::Waiting, started_at }),
        Fact::Failed { .. } | Fact::Stopped { .. } => ending(None, fact),
        _ => None,
    }
}

/// How a job ends: what it holds goes with it, until it is proven gone.
fn ending(claim: Option<&Claim>, fact: &Fact) -> Option<JobState> {
    let left = claim.filter(|claim| !matches!(claim, Claim::Waiting)).cloned();
    match fact {
        Fact::Completed { at } => Some(JobState::Completed(Ended { at: *at, left })),
        Fact::Failed { at } => Some(JobState::Failed(Ended { at: *at, left })),
        Fact::Stopped { at } => Some(JobState::Stopped(Ended { at: *at, left })),
        _ => None,
    }
}

/// What becomes of the claim of a job that goes on.
fn order(claim: &Claim, fact: &Fact) -> Option<Claim> {
    match (claim, fact) {
        (Claim::Waiting, Fact::OrderSent { attempt }) => Some(Claim::Asked { attempt: *attempt }),
        (Claim::Asked { attempt: asked }, Fact::OrderRefused { attempt, .. }) if asked == attempt => {
            Some(Claim::Waiting)
        }
        (Claim::Asked { attempt: asked }, Fact::Placed(rental)) if *asked == rental.attempt => {
            Some(Claim::Holding(rental.clone()))
        }
        (Claim::Holding(rental), Fact::Lost { attempt }) if rental.attempt == *attempt => {
            Some(Claim::Waiting)
        }
        _ => None,
    }
}

/// What becomes of the claim of a job that has ended: it is settled, and nothing new is asked for.
fn settle(end: &Ended, fact: &Fact) -> Option<Ended> {
    let left = match (end.left.as_ref()?, fact) {
        (Claim::Asked { attempt: asked }, Fact::OrderRefused { attempt, .. }) if asked == attempt => None,
        (Claim::Asked { attempt: asked }, Fact::Placed(rental)) if *asked == rental.attempt => {
            Some(Claim::Holding(rental.clone()))
        }
        (Claim::Holding(rental), Fact::Returned { attempt } | Fact::PassedOn { attempt, .. })
            if rental.attempt == *attempt =>
        {
            None
        }
        _ => return None,
    };
    Some(Ended { at: end.at, left })
}
