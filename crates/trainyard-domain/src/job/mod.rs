//! A job: what the user asked for, what they wish now, and what became of it.

mod attempt;
mod body;
mod command;
mod entity;
mod phase;
mod state;
mod transition;

pub use attempt::{Attempt, Diagnosis, Exit, OfferTaken, PassedOn, Resumed};
pub use body::{CorruptJob, JobBody, Origin};
pub use command::{Command, Refusal, StopCause, Wish};
pub use entity::Job;
pub use phase::{Phase, Reason};
pub use state::{Claim, Ended, JobState, Rental, StateName};
pub use transition::{Fact, IllegalTransition};

#[cfg(test)]
mod tests;
