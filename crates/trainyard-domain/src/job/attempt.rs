//! An attempt: one order, one machine, one run of the training.

use serde::{Deserialize, Serialize};

use super::Reason;
use crate::{AttemptNumber, Money, OrderName, ProviderJobId, ProviderName, Timestamp};

/// One attempt of a job, as the history shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: AttemptNumber,
    /// The exact name of its order, written before anything was asked of the provider.
    pub order: OrderName,
    /// Who was asked.
    pub provider: ProviderName,
    /// The provider's id of the machine.
    pub machine: Option<ProviderJobId>,
    /// Price at purchase; none where nothing is paid.
    pub price_per_hour: Option<Money>,
    /// When the intent was written.
    pub ordered_at: Timestamp,
    /// When the machine was ours.
    pub placed_at: Option<Timestamp>,
    /// When the training began on it.
    pub started_at: Option<Timestamp>,
    /// How the training ended, by the agent's word.
    pub exit: Option<Exit>,
    /// When the attempt was over.
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub end: Option<Reason>,
    /// When its machine was proven gone.
    pub gone_at: Option<Timestamp>,
}

impl Attempt {
    /// Whether a machine was rented for it: only such attempts count towards `retry.max_attempts`.
    pub fn was_rented(&self) -> bool {
        self.placed_at.is_some()
    }
}

/// How a training ended. Only our agent beside it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; of a process ended by a signal 128 and the signal's number, as shells have it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When, by the agent's clock.
    pub at: Timestamp,
    /// The agent stopped it because it was told to.
    pub asked: bool,
    /// What the agent has to say beside the code: could not be started, killed after the grace period, out of memory.
    pub note: Option<String>,
    /// What its last lines or its own last word tell about why it failed.
    #[serde(default)]
    pub diagnosis: Option<Box<Diagnosis>>,
    /// The machine is at fault by the agent's own finding (its GPU does not compute, its disk is not what was ordered):
    /// nothing was trained, and another machine may do.
    #[serde(default)]
    pub machine_fault: bool,
    /// The last lines of the log of one that failed, secrets masked: at most 10 of at most 300 characters.
    #[serde(default)]
    pub last_lines: Vec<String>,
}

impl Exit {
    /// An end with that code, with nothing more to say.
    pub fn with_code(code: i32, at: Timestamp) -> Exit {
        Exit {
            code,
            signal: None,
            at,
            asked: false,
            note: None,
            diagnosis: None,
            machine_fault: false,
            last_lines: Vec::new(),
        }
    }
}

/// Why a training failed, as far as it can be told, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// A stable snake_case word: `gpu_out_of_memory`, `package_missing`.
    pub code: String,
    /// What happened, for a person.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}
