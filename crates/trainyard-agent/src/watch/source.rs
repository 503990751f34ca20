//! Who told something about a training, ordered from the most exact to the least.

use trainyard_domain::{MetricPoint, Progress};

use super::CheckpointInfo;

/// A source of metrics. The order is the order of exactness: what is less, is more exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    /// The file that the contract names: the training speaks to us.
    MetricsFile,
    /// The callback added to Hugging Face's `Trainer` from outside: every logged point, with its step.
    Hook,
    /// LLaMA-Factory's `trainer_log.jsonl`: every logged point, with its step.
    TrainerLog,
    /// `trainer_state.json`: every logged point with its step, but only when a checkpoint is written.
    TrainerState,
    /// Dicts and progress bars in the output: four digits, and the step by inference.
    Printed,
    /// Transformers' status callback: the last value of every name, at most every five seconds.
    Status,
}

impl Source {
    /// Whether it tells every point as it is logged, so that nothing less exact is needed beside it.
    /// `trainer_state.json` comes too late for that: it fills in what nobody told.
    pub(super) fn is_live(self) -> bool {
        match self {
            Source::MetricsFile | Source::Hook | Source::TrainerLog => true,
            Source::TrainerState | Source::Printed | Source::Status => false,
        }
    }
}

/// What a source told, before the precedence rules.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    /// One logged point of the training.
    Point(Source, MetricPoint),
    /// How far it is.
    Progress(Source, Progress),
    /// A complete checkpoint appeared.
    Checkpoint(CheckpointInfo),
    /// A sample of the machine.
    Machine(MetricPoint),
}
