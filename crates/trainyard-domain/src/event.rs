//! A job's numbered history: facts for ever, telemetry for as long as it is kept.

use serde::{Deserialize, Serialize};

use crate::{AttemptNumber, MetricPoint, Phase, ProviderJobId, ProviderName, Reason, StateName, Timestamp};

/// The number of an event of one job: dense, from 1. 0 means "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// One event as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number within the job.
    pub seq: Seq,
    /// When it happened, by the clock of whoever saw it first.
    pub at: Timestamp,
    /// The attempt it belongs to; none before the first.
    pub attempt: Option<AttemptNumber>,
    /// What happened.
    pub body: EventBody,
}

/// An event that has no number yet: storage gives one in the transaction that writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// When it happened.
    pub at: Timestamp,
    /// The attempt it belongs to.
    pub attempt: Option<AttemptNumber>,
    /// What happened.
    pub body: EventBody,
}

/// What an event tells. `Status` and `Notification` are facts; the others are telemetry and have retention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventBody {
    /// The state, phase or attempt changed.
    Status(Status),
    /// A milestone in words for a person.
    Notification(Notification),
    /// One logged point.
    Metrics(MetricPoint),
    /// How far the training is.
    Progress(Progress),
    /// A range of the job's log.
    Log(LogSpan),
}

impl EventBody {
    /// The word of it on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            EventBody::Status(_) => "status",
            EventBody::Notification(_) => "notification",
            EventBody::Metrics(_) => "metrics",
            EventBody::Progress(_) => "progress",
            EventBody::Log(_) => "log",
        }
    }

    /// Whether it is telemetry: kept for a while, never the ground of a decision.
    pub fn is_telemetry(&self) -> bool {
        match self {
            EventBody::Metrics(_) | EventBody::Progress(_) | EventBody::Log(_) => true,
            EventBody::Status(_) | EventBody::Notification(_) => false,
        }
    }
}

/// A job's status as it was when the event was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// One of the seven.
    pub state: StateName,
    /// Finer progress.
    pub phase: Option<Phase>,
    /// Why it is so, where there is something to say.
    pub reason: Option<Reason>,
    /// The provider it was submitted to.
    pub provider: Option<ProviderName>,
    /// The provider's id of the machine.
    pub provider_job_id: Option<ProviderJobId>,
    /// When it first ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// The training's exit code, once there is one.
    pub exit_code: Option<i32>,
}

/// How far the training is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 1.
    pub fraction: Option<f64>,
    /// Seconds left, as the source estimates.
    pub eta_s: Option<u64>,
    /// The current step.
    pub step: Option<u64>,
    /// How many steps there will be.
    pub total_steps: Option<u64>,
}

/// A range of bytes of the job's log, which lies beside the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpan {
    /// Where it begins.
    pub offset: u64,
    /// How many bytes.
    pub len: u32,
}

/// A milestone in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Which milestone.
    pub kind: NotificationKind,
    /// A short title.
    pub title: String,
    /// One or two sentences: what happened and, after a failure, what to do.
    pub message: String,
}

/// The milestones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum NotificationKind {
    Submitted,
    Running,
    Progress25,
    Progress50,
    Progress75,
    Completed,
    Failed,
    Cancelled,
    MachineLost,
    MachineRemark,
    MachineReleased,
    Budget80,
    Budget100,
    CostAlarm,
}

impl NotificationKind {
    /// All of them, in the order of a job's life.
    pub const ALL: [NotificationKind; 14] = [
        NotificationKind::Submitted,
        NotificationKind::Running,
        NotificationKind::Progress25,
        NotificationKind::Progress50,
        NotificationKind::Progress75,
        NotificationKind::Completed,
        NotificationKind::Failed,
        NotificationKind::Cancelled,
        NotificationKind::MachineLost,
        NotificationKind::MachineRemark,
        NotificationKind::MachineReleased,
        NotificationKind::Budget80,
        NotificationKind::Budget100,
        NotificationKind::CostAlarm,
    ];

    /// The word on the wire, in `webhooks[].events` too.
    pub fn as_str(self) -> &'static str {
        match self {
            NotificationKind::Submitted => "submitted",
            NotificationKind::Running => "running",
            NotificationKind::Progress25 => "progress25",
            NotificationKind::Progress50 => "progress50",
            NotificationKind::Progress75 => "progress75",
            NotificationKind::Completed => "completed",
            NotificationKind::Failed => "failed",
            NotificationKind::Cancelled => "cancelled",
            NotificationKind::MachineLost => "machine_lost",
            NotificationKind::MachineRemark => "machine_remark",
            NotificationKind::MachineReleased => "machine_released",
            NotificationKind::Budget80 => "budget80",
            NotificationKind::Budget100 => "budget100",
            NotificationKind::CostAlarm => "cost_alarm",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NotificationKind;

    #[test]
    fn a_milestone_has_one_word_everywhere() {
        for kind in NotificationKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.as_str());
        }
    }
}
