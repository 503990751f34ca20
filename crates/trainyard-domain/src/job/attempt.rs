//! An attempt: one order, one machine, one run of the training.

use serde::{Deserialize, Serialize};

use super::{Phase, Reason};
use crate::{AttemptNumber, JobId, Money, OrderName, ProviderJobId, ProviderName, Timestamp};

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
    /// When its machine stopped being billed, as far as that can be told; none while it may be, or where the moment is
    /// that of `gone_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_until: Option<Timestamp>,
    /// When its machine began to be billed, where that is later than the placement and was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_from: Option<Timestamp>,
    /// What the vendor billed for it, once that is settled; then it is its cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed: Option<Money>,
    /// The offer that its order named; none where the provider has none to choose from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<OfferTaken>,
    /// Its phases with the moment each began, in order; at most [`Attempt::PHASES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<(Phase, Timestamp)>,
    /// Its order was refused, and no other offer was left to try: the round of orders ended with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub round_over: bool,
    /// Where the vendor's log of its machine was read to; opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_cursor: Option<String>,
    /// What the provider's connector wants to know again of the machine after a restart; a text of its own, nothing
    /// secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// The checkpoint that it was handed to continue from; none where it began anew, or its machine kept one by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<Resumed>,
    /// It takes over a machine that another job kept warm: `order` is the name of the order that brought that machine,
    /// and nothing is asked of the provider.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// Its machine, kept warm, went over to another job, which pays for it from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_on: Option<PassedOn>,
}

/// A checkpoint that an attempt continued from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// Its name in the checkpoint directory.
    pub checkpoint: String,
    /// The step it was written at, where that is known.
    pub step: Option<u64>,
}

/// A machine that went over to another job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOn {
    /// When.
    pub at: Timestamp,
    /// To which job.
    pub to: JobId,
}

/// What was ordered: an offer in the words of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferTaken {
    /// The offer's id; opaque, and the same at every reading of the same offer.
    pub id: String,
    /// The GPU's model.
    pub gpu: String,
    /// Memory of each GPU, in GB.
    pub gpu_memory_gb: u32,
    /// GPUs.
    pub gpu_count: u32,
    /// The vendor's word for where it stands.
    pub region: String,
    /// Whether the vendor may take it back at any time.
    pub spot: bool,
    /// What a GB of traffic costs on top; none where that was not noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_per_gb: Option<Money>,
}

impl Attempt {
    /// Most phases that are kept of one attempt; it has fewer than ten in the ordinary way.
    pub const PHASES_MAX: usize = 64;

    /// Until when its machine was, or is, billed to this attempt.
    pub fn billed_until(&self) -> Option<Timestamp> {
        if let Some(passed_on) = &self.passed_on {
            return Some(passed_on.at);
        }
        self.gone_at.map(|gone| self.billed_until.unwrap_or(gone))
    }

    /// Seconds that its machine was billed by `now`; 0 where none was rented.
    pub fn billed_s(&self, now: Timestamp) -> u64 {
        let Some(placed) = self.placed_at else { return 0 };
        let from = self.billed_from.unwrap_or(placed);
        (self.billed_until().unwrap_or(now) - from).num_seconds().max(0).unsigned_abs()
    }

    /// What it has cost by `now`: what was billed once that is settled, else its price over the time it was billed.
    pub fn cost(&self, now: Timestamp) -> Money {
        let accrued = || self.price_per_hour.map(|price| price.per_hour_for(self.billed_s(now)));
        self.billed.or_else(accrued).unwrap_or_default()
    }

    /// Seconds that its training ran by `now`.
    pub fn trained_s(&self, now: Timestamp) -> u64 {
        let Some(from) = self.started_at else { return 0 };
        let until = self.exit.as_ref().map(|exit| exit.at).or(self.ended_at).unwrap_or(now);
        (until - from).num_seconds().max(0).unsigned_abs()
    }

    /// Whether its machine may still be there, for this attempt.
    pub fn may_hold_machine(&self) -> bool {
        self.placed_at.is_some() && self.gone_at.is_none() && self.passed_on.is_none()
    }

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
