//! What is stored of a job beside its specification: how facts are noted in it, and what in it cannot be true.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Attempt, Claim, Fact, JobState, PassedOn, Phase, Reason, StateName, Wish};
use crate::{
    ArtifactRecord, AttemptNumber, JobId, Limits, NotificationKind, OrderName, ProviderName, Timestamp,
};

/// Everything of a job but its specification, in the form that is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is documented where `Job` shows it")]
pub struct JobBody {
    pub id: JobId,
    pub created_at: Timestamp,
    pub origin: Option<Origin>,
    pub labels: BTreeMap<String, String>,
    pub limits: Limits,
    pub provider: Option<ProviderName>,
    pub wish: Wish,
    pub state: JobState,
    pub attempts: Vec<Attempt>,
    pub phase: Option<Phase>,
    pub phase_since: Option<Timestamp>,
    pub reason: Option<Reason>,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    pub exit_code: Option<i32>,
    pub artifact: Option<ArtifactRecord>,
    /// Milliseconds spent paused in pauses that are over.
    pub paused_ms: u64,
    pub paused_since: Option<Timestamp>,
    /// Milestones already told, so that each is told once.
    pub told: BTreeSet<NotificationKind>,
    /// What was told once for each of several things: `budget80 team:search 2026-11`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub told_of: BTreeSet<String>,
    /// Submitted to `auto`: a later attempt may go to another provider.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto: bool,
    /// Attempts made before the present submission.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts_before: u32,
    /// Since when it waits for a provider to have such a machine; over when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_since: Option<Timestamp>,
    /// The order whose machine, kept warm by another job, the first attempt of the present submission takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_machine: Option<OrderName>,
    /// Until when the machine of the ended job is kept for another job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_until: Option<Timestamp>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Where a cloned job came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The job it was cloned from.
    pub job_id: JobId,
    /// It starts from that job's last checkpoint.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_checkpoint: bool,
}

/// A stored job that cannot have come about; it is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored job `{id}` is damaged: {what}")]
pub struct CorruptJob {
    /// Which.
    pub id: JobId,
    /// What does not hold.
    pub what: &'static str,
}

impl JobBody {
    /// What in it cannot have come about by commands and facts.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let last = self.attempts.last();
        let claim_fits = match self.state.claim() {
            Some(Claim::Asked { attempt }) => last.is_some_and(|last| last.number == attempt),
            Some(Claim::Holding(rental)) => last.is_some_and(|last| {
                last.number == rental.attempt && last.machine.as_ref() == Some(&rental.machine)
            }),
            Some(Claim::Waiting) | None => true,
        };
        let start_fits = match &self.state {
            JobState::Running { started_at, .. } | JobState::Paused { started_at, .. } => {
                self.started_at == Some(*started_at)
            }
            JobState::Created { .. } | JobState::Initializing(_) => self.started_at.is_none(),
            JobState::Completed(_) => self.started_at.is_some(),
            JobState::Failed(_) | JobState::Stopped(_) => true,
        };
        let end = match &self.state {
            JobState::Completed(end) | JobState::Failed(end) | JobState::Stopped(end) => Some(end.at),
            _ => None,
        };
        let idle = self.state == (JobState::Created { order: None });
        let numbered = self.attempts.iter().enumerate().all(|(i, a)| a.number.get() as usize == i + 1);
        let rules = [
            (numbered, "its attempts are not numbered 1, 2, 3 …"),
            (
                claim_fits,
                "its state speaks of an attempt that is not the last, or of another machine than that one's",
            ),
            (start_fits, "its state and its first start contradict each other"),
            (end == self.completed_at, "its end has no time, or its time no end"),
            (
                end.is_none() || self.state.claim() != Some(Claim::Waiting),
                "it has ended and waits for a machine",
            ),
            (
                matches!(self.state, JobState::Paused { .. }) == self.paused_since.is_some(),
                "its state and its last pause contradict each other",
            ),
            (idle || self.provider.is_some(), "it was submitted to nobody"),
            (idle || self.wish != Wish::Rest, "it was submitted, and nobody wished it"),
        ];
        rules.into_iter().find_map(|(holds, what)| (!holds).then_some(what))
    }

    /// Brings everything beside the state up to date with a fact that leads to `next`.
    pub(super) fn note(&mut self, fact: &Fact, next: &JobState, now: Timestamp) {
        match fact {
            Fact::OrderSent { .. } | Fact::Admitted => {}
            Fact::OrderRefused { attempt, round_over } => {
                self.end_attempt(*attempt, now);
                self.attempt_mut(*attempt, |a| {
                    a.gone_at = Some(now);
                    a.round_over = *round_over;
                });
                self.note_refused(next, *round_over, now);
            }
            Fact::Placed(rental) => {
                self.capacity_since = None;
                self.attempt_mut(rental.attempt, |a| {
                    a.machine = Some(rental.machine.clone());
                    a.placed_at = Some(now);
                });
            }
            Fact::Started { attempt, at } => {
                self.started_at.get_or_insert(*at);
                self.attempt_mut(*attempt, |a| {
                    a.started_at.get_or_insert(*at);
                });
            }
            Fact::Paused => self.paused_since = Some(now),
            Fact::Parked => {
                self.paused_since.get_or_insert(now);
                if let Some(last) = self.attempts.last().map(|a| a.number) {
                    self.end_attempt(last, now);
                }
                self.set_phase(None, now);
            }
            Fact::Resumed => self.end_pause(now),
            Fact::Lost { attempt } => {
                self.end_pause(now);
                self.end_attempt(*attempt, now);
            }
            Fact::Completed { at } | Fact::Failed { at } | Fact::Stopped { at } => {
                self.end_pause(*at);
                self.completed_at = Some(*at);
                if let Some(last) = self.attempts.last().map(|a| a.number) {
                    self.end_attempt(last, *at);
                }
                self.set_phase(next.claim().map(|_| Phase::Releasing), *at);
            }
            Fact::Returned { attempt } => {
                self.attempt_mut(*attempt, |a| a.gone_at = Some(now));
                self.set_phase(None, now);
            }
            Fact::PassedOn { attempt, to } => {
                self.attempt_mut(*attempt, |a| a.passed_on = Some(PassedOn { at: now, to: to.clone() }));
                self.set_phase(None, now);
            }
        }
    }

    /// An order that rented nothing ends a submission where no other offer is tried, and what an ended job was still
    /// waiting to give back.
    fn note_refused(&mut self, next: &JobState, round_over: bool, now: Timestamp) {
        if next.claim().is_some() || next.name() == StateName::Created && !round_over {
            return;
        }
        self.set_phase(None, now);
        // It can be submitted again, elsewhere too; but who asked for a stop still waits for it.
        if next.name() == StateName::Created && !matches!(self.wish, Wish::Stop(_)) {
            self.wish = Wish::Rest;
        }
    }

    pub(super) fn attempt_mut(&mut self, number: AttemptNumber, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.attempts.iter_mut().find(|a| a.number == number) {
            change(attempt);
        }
    }

    fn end_attempt(&mut self, number: AttemptNumber, at: Timestamp) {
        self.attempt_mut(number, |a| {
            a.ended_at.get_or_insert(at);
        });
    }

    fn end_pause(&mut self, now: Timestamp) {
        if let Some(since) = self.paused_since.take() {
            self.paused_ms += (now - since).num_milliseconds().max(0).unsigned_abs();
        }
    }

    pub(super) fn set_phase(&mut self, phase: Option<Phase>, now: Timestamp) -> bool {
        let changed = self.phase != phase;
        if changed {
            self.phase = phase;
            self.phase_since = phase.map(|_| now);
            if let (Some(phase), Some(last)) = (phase, self.attempts.last_mut())
                && last.phases.len() < Attempt::PHASES_MAX
            {
                last.phases.push((phase, now));
            }
        }
        changed
    }
}
