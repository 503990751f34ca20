//! The rules of a job: both tables printed whole, a model against random histories, and what is refused when stored.

mod bookkeeping;
mod model;
mod tables;

use std::sync::Arc;

use super::{Claim, Ended, Job, JobState, Rental};
use crate::{AttemptNumber, InstallationId, JobSpec, OrderName, Timestamp};

/// Seconds after some moment.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_700_000_000 + seconds, 0).expect("a time in range")
}

fn job() -> Job {
    Job::new("job_1".parse().expect("an id"), JobSpec::new("trainyard-tiny"), None, at(0))
}

fn order(attempt: u32) -> OrderName {
    let installation: InstallationId = "abcd1234".parse().expect("an id");
    OrderName::new(&installation, ulid::Ulid(attempt.into()))
}

fn rental(attempt: u32, can_pause: bool) -> Rental {
    Rental {
        attempt: AttemptNumber::from(attempt),
        machine: format!("machine-{attempt}").parse().expect("an id"),
        can_pause,
    }
}

fn asked(attempt: u32) -> Claim {
    Claim::Asked { attempt: AttemptNumber::from(attempt) }
}

/// Every state, with every claim it can have; attempt 1 is the last one.
fn states() -> Vec<JobState> {
    let (first, still) = (AttemptNumber::FIRST, at(10));
    let holding = |can_pause| Claim::Holding(rental(1, can_pause));
    let running = |claim| JobState::Running { claim, started_at: still };
    let ended = |left| Ended { at: at(20), left };
    let mut all = vec![
        JobState::Created { order: None },
        JobState::Created { order: Some(first) },
        JobState::Initializing(Claim::Waiting),
        JobState::Initializing(asked(1)),
        JobState::Initializing(holding(false)),
        running(Claim::Waiting),
        running(asked(1)),
        running(holding(false)),
        running(holding(true)),
        JobState::Paused { rental: Some(rental(1, true)), started_at: still },
        JobState::Paused { rental: None, started_at: still },
    ];
    for end in [JobState::Completed, JobState::Failed, JobState::Stopped] {
        all.extend([end(ended(None)), end(ended(Some(asked(1)))), end(ended(Some(holding(false))))]);
    }
    all
}

fn claim_words(claim: Option<Claim>) -> String {
    match claim {
        None => String::new(),
        Some(Claim::Waiting) => " waiting".to_owned(),
        Some(Claim::Asked { attempt }) => format!(" asked({attempt})"),
        Some(Claim::Holding(Rental { attempt, can_pause: true, .. })) => {
            format!(" holding({attempt}, can pause)")
        }
        Some(Claim::Holding(Rental { attempt, .. })) => format!(" holding({attempt})"),
    }
}

/// A state in a few words: `running holding(1)`.
fn state_words(state: &JobState) -> String {
    format!("{}{}", state.name(), claim_words(state.claim()))
}

fn restored(job: &Job) -> Result<Job, super::CorruptJob> {
    Job::restore(Arc::clone(job.spec()), job.body().clone())
}
