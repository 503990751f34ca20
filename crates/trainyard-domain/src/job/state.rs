//! The seven states, each carrying what is only true in it.

use serde::{Deserialize, Serialize};

use crate::{AttemptNumber, ProviderJobId, Timestamp};

/// A job's state. A running job that holds no claim cannot be written; new states come from
/// [`JobState::apply`](crate::JobState::apply) alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Nothing runs. An order may be in flight while the submit that caused it is unanswered.
    Created {
        /// The attempt whose order was sent and not yet answered.
        order: Option<AttemptNumber>,
    },
    /// Submitted; a machine is being found and prepared.
    Initializing(Claim),
    /// It trains, or a lost machine is being replaced.
    Running {
        /// What we may be paying for.
        claim: Claim,
        /// When it first ran; later attempts do not move it.
        started_at: Timestamp,
    },
    /// Stopped for a while, keeping its machine or, where it goes on from a checkpoint, without one.
    Paused {
        /// The machine it keeps.
        rental: Option<Rental>,
        /// When it first ran.
        started_at: Timestamp,
    },
    /// Training ended well and its artifact is home and verified.
    Completed(Ended),
    /// It will not complete.
    Failed(Ended),
    /// The user stopped it.
    Stopped(Ended),
}

/// What we may be paying for on behalf of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// Nothing: the next attempt's order is still to come.
    Waiting,
    /// The intent is written and the order may have gone out; its outcome is not known.
    Asked {
        /// Whose order it is.
        attempt: AttemptNumber,
    },
    /// A machine.
    Holding(Rental),
}

/// A machine that an attempt holds, with what was recorded of it at placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rental {
    /// The attempt it was ordered for.
    pub attempt: AttemptNumber,
    /// The provider's id of it.
    pub machine: ProviderJobId,
    /// Whether the training on it can be paused. Recorded at placement, so that the rule "pause is local only"
    /// needs no knowledge of providers.
    pub can_pause: bool,
}

/// How a job rests. What it held may outlive it: the ledger closes it, not the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// What may still be billed; none once it was proven gone.
    pub left: Option<Claim>,
}

/// The state's word, as the specification has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "see `JobState`")]
pub enum StateName {
    Created,
    Initializing,
    Running,
    Paused,
    Completed,
    Failed,
    Stopped,
}

impl StateName {
    /// All seven, in the order of the specification.
    pub const ALL: [StateName; 7] = [
        StateName::Created,
        StateName::Initializing,
        StateName::Running,
        StateName::Paused,
        StateName::Completed,
        StateName::Failed,
        StateName::Stopped,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            StateName::Created => "created",
            StateName::Initializing => "initializing",
            StateName::Running => "running",
            StateName::Paused => "paused",
            StateName::Completed => "completed",
            StateName::Failed => "failed",
            StateName::Stopped => "stopped",
        }
    }

    /// Whether it is over for the user.
    pub fn is_end(self) -> bool {
        matches!(self, StateName::Completed | StateName::Failed | StateName::Stopped)
    }
}

impl std::fmt::Display for StateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for StateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = StateName::ALL.into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| {
            let all = StateName::ALL.map(StateName::as_str).join(", ");
            let shown: String = text.chars().take(40).flat_map(char::escape_default).collect();
            format!("`{shown}` is not a state: use one of {all}")
        })
    }
}

impl JobState {
    /// The word of it.
    pub fn name(&self) -> StateName {
        match self {
            JobState::Created { .. } => StateName::Created,
            JobState::Initializing(_) => StateName::Initializing,
            JobState::Running { .. } => StateName::Running,
            JobState::Paused { .. } => StateName::Paused,
            JobState::Completed(_) => StateName::Completed,
            JobState::Failed(_) => StateName::Failed,
            JobState::Stopped(_) => StateName::Stopped,
        }
    }

    /// What may be billed in this state.
    pub fn claim(&self) -> Option<Claim> {
        match self {
            JobState::Created { order } => order.map(|attempt| Claim::Asked { attempt }),
            JobState::Initializing(claim) | JobState::Running { claim, .. } => Some(claim.clone()),
            JobState::Paused { rental, .. } => rental.clone().map(Claim::Holding),
            JobState::Completed(end) | JobState::Failed(end) | JobState::Stopped(end) => end.left.clone(),
        }
    }

    /// The machine that is held, if one is.
    pub fn rental(&self) -> Option<&Rental> {
        match self {
            JobState::Initializing(Claim::Holding(rental))
            | JobState::Running { claim: Claim::Holding(rental), .. } => Some(rental),
            JobState::Paused { rental, .. } => rental.as_ref(),
            JobState::Completed(end) | JobState::Failed(end) | JobState::Stopped(end) => match &end.left {
                Some(Claim::Holding(rental)) => Some(rental),
                _ => None,
            },
            _ => None,
        }
    }
}
