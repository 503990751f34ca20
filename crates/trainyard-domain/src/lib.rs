//! The words and rules of Trainyard, with no runtime, clock, network or vendor in them.
//!
//! Start at [`JobSpec`] (what a user asks for), [`Job`] (what became of it), [`JobState::apply`] (the only
//! code that makes a new state) and [`Job::ask`] (the only code that says what a user may ask when).
//! Times come in as arguments; nothing here reads a clock.

mod artifact;
mod budget;
mod event;
mod ids;
mod job;
mod machine;
mod metric;
mod money;
mod pattern;
mod spec;

pub use artifact::{ArtifactFile, ArtifactRecord};
pub use budget::{Budget, Month};
pub use event::{Event, EventBody, LogSpan, NewEvent, Notification, NotificationKind, Progress, Seq, Status};
pub use ids::{
    AttemptNumber, IdError, InstallationId, JobId, OrderName, ProviderJobId, ProviderName, SecretName, Sha256,
};
pub use job::{
    Attempt, Claim, Command, CorruptJob, Diagnosis, Ended, Exit, Fact, IllegalTransition, Job, JobBody,
    JobState, OfferTaken, Origin, PassedOn, Phase, Reason, Refusal, Rental, Resumed, StateName, StopCause,
    Wish,
};
pub use machine::{Bill, Machine};
pub use metric::{MetricPoint, MetricValue};
pub use money::Money;
pub use pattern::matches_pattern;
pub use spec::*;

/// A moment in UTC. Shown as RFC 3339 with `Z`.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
