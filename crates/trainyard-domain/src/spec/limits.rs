//! How long, how much, how often, and what is kept.

use serde::{Deserialize, Serialize};

use crate::Money;

/// Ceilings of a job. Can be raised or lowered while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Seconds from the first `running`, over all attempts, pauses left out.
    pub max_duration_s: u64,
    /// US dollars over all attempts.
    pub max_cost_usd: Option<Money>,
    /// Seconds between SIGTERM and SIGKILL (at most 20 on a cancel).
    pub grace_period_s: u64,
    /// What the agent does when the orchestrator is silent.
    pub when_orchestrator_lost: WhenOrchestratorLost,
    /// Seconds of silence after which `stop` stops.
    pub max_silence_s: u64,
    /// Seconds that finished outputs wait on a machine to be fetched.
    pub hold_s: u64,
    /// Seconds that a machine is kept after a failure, for a look at it.
    pub hold_on_failure_s: u64,
}

/// What the agent does when the orchestrator is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenOrchestratorLost {
    /// Train to the end or the deadline and hold the outputs.
    Finish,
    /// Stop after `max_silence_s`.
    Stop,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_duration_s: 14_400,
            max_cost_usd: None,
            grace_period_s: 120,
            when_orchestrator_lost: WhenOrchestratorLost::Finish,
            max_silence_s: 14_400,
            hold_s: 43_200,
            hold_on_failure_s: 0,
        }
    }
}

/// When another attempt is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all that may rent a machine.
    pub max_attempts: u32,
    /// Seconds to wait for a provider to have such a machine.
    pub wait_for_capacity_s: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { max_attempts: 3, wait_for_capacity_s: 0 }
    }
}

/// What of the output directory is the artifact. Patterns: `*` within a name, `**` over directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outputs {
    /// The main file; left out: `adapter_model.safetensors`, else the largest.
    pub main: Option<String>,
    /// What is taken.
    pub include: Vec<String>,
    /// What is left out of it.
    pub exclude: Vec<String>,
}

impl Default for Outputs {
    fn default() -> Self {
        Outputs { main: None, include: vec!["**".to_owned()], exclude: vec!["checkpoint-*/**".to_owned()] }
    }
}

/// Which directories are checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoints {
    /// Name pattern below the checkpoint directory (and the output directory).
    pub pattern: String,
    /// Seconds between copies brought home.
    pub every_s: u64,
    /// How many are kept.
    pub keep: u32,
    /// Arguments added to a `command` when it continues from a checkpoint.
    pub resume_args: Option<Vec<String>>,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Checkpoints { pattern: "checkpoint-*".to_owned(), every_s: 600, keep: 2, resume_args: None }
    }
}

/// A change of [`Limits`]: what is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "see `Limits`")]
pub struct LimitsPatch {
    pub max_duration_s: Option<u64>,
    pub max_cost_usd: Option<Money>,
    pub grace_period_s: Option<u64>,
    pub when_orchestrator_lost: Option<WhenOrchestratorLost>,
    pub max_silence_s: Option<u64>,
    pub hold_s: Option<u64>,
    pub hold_on_failure_s: Option<u64>,
}

impl LimitsPatch {
    /// The limits with the change made.
    pub fn onto(&self, limits: &Limits) -> Limits {
        Limits {
            max_duration_s: self.max_duration_s.unwrap_or(limits.max_duration_s),
            max_cost_usd: self.max_cost_usd.or(limits.max_cost_usd),
            grace_period_s: self.grace_period_s.unwrap_or(limits.grace_period_s),
            when_orchestrator_lost: self.when_orchestrator_lost.unwrap_or(limits.when_orchestrator_lost),
            max_silence_s: self.max_silence_s.unwrap_or(limits.max_silence_s),
            hold_s: self.hold_s.unwrap_or(limits.hold_s),
            hold_on_failure_s: self.hold_on_failure_s.unwrap_or(limits.hold_on_failure_s),
        }
    }
}
