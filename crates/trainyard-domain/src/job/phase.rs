//! Finer progress than a state, and why something is so.

use serde::{Deserialize, Serialize};

/// Finer progress within a state; never a state itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for a slot of this machine.
    Queued,
    /// Waits for a provider to have such a machine.
    WaitingForCapacity,
    /// An order is on its way, or its outcome is being found out.
    Ordering,
    /// The machine comes up and the agent answers soon.
    Booting,
    /// Inputs and code are handed over.
    Uploading,
    /// What the training needs is being installed.
    Installing,
    /// The training runs.
    Training,
    /// The machine was lost; the next attempt is on its way.
    Recovering,
    /// The training ended well; its artifact is being brought home and verified.
    Collecting,
    /// Over for the user; the machine is being given back.
    Releasing,
}

/// Why a job, or an attempt, is as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// A stable snake_case word to branch on.
    pub code: String,
    /// What happened, for a person.
    pub message: String,
    /// What to do about it, where there is something to do.
    pub suggestion: Option<String>,
}

impl Reason {
    /// A reason with nothing to suggest.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Reason {
        Reason { code: code.into(), message: message.into(), suggestion: None }
    }

    /// The same with a suggestion.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Reason {
        self.suggestion = Some(suggestion.into());
        self
    }
}
