//! The job itself: built from a specification, moved by facts, stored and restored as a [`JobBody`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Attempt, Claim, Command, Exit, Fact, IllegalTransition, JobState, Phase, Reason, Refusal, StateName, Wish,
};
use crate::{
    ArtifactRecord, AttemptNumber, JobId, JobSpec, Limits, Money, NotificationKind, OrderName, ProviderJobId,
    ProviderName, Status, Timestamp,
};

/// A job. Its specification never changes; all else moves by [`Job::command`] (the wish) and [`Job::apply`] (facts).
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    spec: Arc<JobSpec>,
    body: JobBody,
}

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
}

/// Where a cloned job came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The job it was cloned from.
    pub job_id: JobId,
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

impl Job {
    /// A new job, `created`. The specification is expected to be valid ([`JobSpec::validate`]).
    pub fn new(id: JobId, spec: JobSpec, origin: Option<Origin>, now: Timestamp) -> Job {
        let body = JobBody {
            id,
            created_at: now,
            origin,
            labels: spec.labels.clone(),
            limits: spec.limits.clone(),
            provider: None,
            wish: Wish::Rest,
            state: JobState::Created { order: None },
            attempts: Vec::new(),
            phase: None,
            phase_since: None,
            reason: None,
            started_at: None,
            completed_at: None,
            exit_code: None,
            artifact: None,
            paused_ms: 0,
            paused_since: None,
            told: BTreeSet::new(),
        };
        Job { spec: Arc::new(spec), body }
    }

    /// The one way back from storage.
    ///
    /// # Errors
    /// [`CorruptJob`] where the parts contradict each other.
    pub fn restore(spec: Arc<JobSpec>, body: JobBody) -> Result<Job, CorruptJob> {
        match body.contradiction() {
            Some(what) => Err(CorruptJob { id: body.id, what }),
            None => Ok(Job { spec, body }),
        }
    }

    /// What is stored beside the specification.
    pub fn body(&self) -> &JobBody {
        &self.body
    }

    /// What the user asked for, defaults filled in.
    pub fn spec(&self) -> &Arc<JobSpec> {
        &self.spec
    }

    /// Its id.
    pub fn id(&self) -> &JobId {
        &self.body.id
    }

    /// Its state.
    pub fn state(&self) -> &JobState {
        &self.body.state
    }

    /// What the user wants now.
    pub fn wish(&self) -> Wish {
        self.body.wish
    }

    /// The provider it was submitted to last.
    pub fn provider(&self) -> Option<&ProviderName> {
        self.body.provider.as_ref()
    }

    /// Its limits as they are in force (the specification's, or as changed since).
    pub fn limits(&self) -> &Limits {
        &self.body.limits
    }

    /// All attempts, the first first.
    pub fn attempts(&self) -> &[Attempt] {
        &self.body.attempts
    }

    /// The last attempt.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.body.attempts.last()
    }

    /// The provider's id of the machine of the last attempt; none until the provider has given one.
    pub fn provider_job_id(&self) -> Option<&ProviderJobId> {
        self.attempt()?.machine.as_ref()
    }

    /// Its status in the form that events and answers carry.
    pub fn status(&self) -> Status {
        Status {
            state: self.body.state.name(),
            phase: self.body.phase,
            reason: self.body.reason.clone(),
            provider: self.body.provider.clone(),
            provider_job_id: self.provider_job_id().cloned(),
            started_at: self.body.started_at,
            completed_at: self.body.completed_at,
            exit_code: self.body.exit_code,
        }
    }

    /// Seconds it has run since its first `running`, over all attempts, pauses left out.
    pub fn ran_for_s(&self, now: Timestamp) -> u64 {
        let Some(from) = self.body.started_at else { return 0 };
        let until = self.body.completed_at.unwrap_or(now);
        let pausing = self.body.paused_since.map_or(0, |since| (until - since).num_milliseconds().max(0));
        let ran = (until - from).num_milliseconds() - pausing;
        ran.max(0).unsigned_abs().saturating_sub(self.body.paused_ms) / 1000
    }

    /// Takes a command: checks it, then sets the wish (and the provider of a submit). Returns whether the wish changed.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn command(&mut self, command: &Command) -> Result<bool, Refusal> {
        let wish = self.ask(command)?;
        let changed = wish != self.body.wish;
        if let Command::Submit(provider) = command
            && changed
        {
            self.body.provider = Some(provider.clone());
            self.body.reason = None;
        }
        self.body.wish = wish;
        Ok(changed)
    }

    /// The orchestrator's own wish to stop it, where the user has not asked before. A job that was never submitted,
    /// or has ended, stays as it is.
    pub fn stop_for(&mut self, cause: super::StopCause) {
        if matches!(self.body.wish, Wish::Run | Wish::Pause) && !self.body.state.name().is_end() {
            self.body.wish = Wish::Stop(cause);
        }
    }

    /// Writes down the intent of the next attempt; the order may go out once this is stored.
    ///
    /// # Errors
    /// [`IllegalTransition`] where no order may be sent: in that state, or because nobody wants the job to run.
    pub fn intend(
        &mut self,
        order: OrderName,
        provider: ProviderName,
        now: Timestamp,
    ) -> Result<AttemptNumber, IllegalTransition> {
        let number = self.attempt().map_or(AttemptNumber::FIRST, |last| last.number.next());
        let sent = Fact::OrderSent { attempt: number };
        match self.body.wish {
            Wish::Run | Wish::Pause => self.body.state = self.body.state.apply(&sent)?,
            Wish::Rest | Wish::Stop(_) => return Err(self.illegal(&sent)),
        }
        self.body.attempts.push(Attempt {
            number,
            order,
            provider,
            machine: None,
            price_per_hour: None,
            ordered_at: now,
            placed_at: None,
            started_at: None,
            exit: None,
            ended_at: None,
            end: None,
            gone_at: None,
        });
        Ok(number)
    }

    /// Takes a fact: the state moves by [`JobState::apply`], and the attempt it is about is brought up to date.
    ///
    /// # Errors
    /// [`IllegalTransition`]; nothing is changed then. That an order was sent is refused here, as it comes with an
    /// attempt ([`Job::intend`]), and so is every fact about a job that was not submitted.
    pub fn apply(&mut self, fact: &Fact, now: Timestamp) -> Result<(), IllegalTransition> {
        if matches!(fact, Fact::OrderSent { .. }) || self.body.wish == Wish::Rest {
            return Err(self.illegal(fact));
        }
        let next = self.body.state.apply(fact)?;
        self.body.note(fact, &next, now);
        self.body.state = next;
        Ok(())
    }

    fn illegal(&self, fact: &Fact) -> IllegalTransition {
        IllegalTransition { state: self.body.state.name(), fact: fact.name() }
    }

    /// Notes finer progress; says whether it changed.
    pub fn set_phase(&mut self, phase: Option<Phase>, now: Timestamp) -> bool {
        self.body.set_phase(phase, now)
    }

    /// Notes why the job is as it is.
    pub fn set_reason(&mut self, reason: Option<Reason>) {
        self.body.reason = reason;
    }

    /// Notes why an attempt ended.
    pub fn set_attempt_end(&mut self, attempt: AttemptNumber, reason: Reason) {
        self.body.attempt_mut(attempt, |a| a.end = Some(reason));
    }

    /// Notes the price at purchase.
    pub fn set_price(&mut self, attempt: AttemptNumber, price: Option<Money>) {
        self.body.attempt_mut(attempt, |a| a.price_per_hour = price);
    }

    /// Notes how the training of an attempt ended.
    pub fn set_exit(&mut self, attempt: AttemptNumber, exit: Exit) {
        self.body.exit_code = Some(exit.code);
        self.body.attempt_mut(attempt, |a| a.exit = Some(exit));
    }

    /// Notes that an attempt's machine was proven gone.
    pub fn set_gone(&mut self, attempt: AttemptNumber, now: Timestamp) {
        self.body.attempt_mut(attempt, |a| a.gone_at = Some(now));
    }

    /// Notes the artifact that is home and verified.
    pub fn set_artifact(&mut self, artifact: Option<ArtifactRecord>) {
        self.body.artifact = artifact;
    }

    /// Replaces the labels.
    pub fn set_labels(&mut self, labels: BTreeMap<String, String>) {
        self.body.labels = labels;
    }

    /// Replaces the limits.
    pub fn set_limits(&mut self, limits: Limits) {
        self.body.limits = limits;
    }

    /// Notes that a milestone was told; says whether it is the first time.
    pub fn tell(&mut self, milestone: NotificationKind) -> bool {
        self.body.told.insert(milestone)
    }
}

impl JobBody {
    /// What in it cannot have come about by commands and facts.
    fn contradiction(&self) -> Option<&'static str> {
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
    fn note(&mut self, fact: &Fact, next: &JobState, now: Timestamp) {
        match fact {
            Fact::OrderSent { .. } | Fact::Admitted => {}
            Fact::OrderRefused { attempt } => {
                self.end_attempt(*attempt, now);
                self.attempt_mut(*attempt, |a| a.gone_at = Some(now));
                self.note_refused(next, now);
            }
            Fact::Placed(rental) => self.attempt_mut(rental.attempt, |a| {
                a.machine = Some(rental.machine.clone());
                a.placed_at = Some(now);
            }),
            Fact::Started { attempt, at } => {
                self.started_at.get_or_insert(*at);
                self.attempt_mut(*attempt, |a| {
                    a.started_at.get_or_insert(*at);
                });
            }
            Fact::Paused => self.paused_since = Some(now),
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
        }
    }

    /// An order that rented nothing ends a submission, or what an ended job was still waiting to give back.
    fn note_refused(&mut self, next: &JobState, now: Timestamp) {
        if next.claim().is_some() {
            return;
        }
        self.set_phase(None, now);
        // It can be submitted again, elsewhere too; but who asked for a stop still waits for it.
        if next.name() == StateName::Created && !matches!(self.wish, Wish::Stop(_)) {
            self.wish = Wish::Rest;
        }
    }

    fn attempt_mut(&mut self, number: AttemptNumber, change: impl FnOnce(&mut Attempt)) {
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

    fn set_phase(&mut self, phase: Option<Phase>, now: Timestamp) -> bool {
        let changed = self.phase != phase;
        if changed {
            self.phase = phase;
            self.phase_since = phase.map(|_| now);
        }
        changed
    }
}
