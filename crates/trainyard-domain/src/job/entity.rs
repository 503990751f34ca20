//! The job itself: built from a specification, moved by facts, stored and restored as a [`JobBody`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{
    Attempt, Command, CorruptJob, Exit, Fact, IllegalTransition, JobBody, JobState, OfferTaken, Origin,
    Phase, Reason, Refusal, Resumed, Wish,
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

impl Job {
    /// Most things that are remembered as told, beside the milestones.
    pub const TOLD_OF_MAX: usize = 256;

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
            told_of: BTreeSet::new(),
            auto: false,
            attempts_before: 0,
            capacity_since: None,
            on_machine: None,
            warm_until: None,
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
            self.body.auto = false;
            self.body.on_machine = None;
            self.body.attempts_before = u32::try_from(self.body.attempts.len()).unwrap_or(u32::MAX);
        }
        self.body.wish = wish;
        Ok(changed)
    }

    /// The orchestrator's own wish to stop it, where the user has not asked before. A job that was never submitted,
    /// or has ended, stays as it is.
    pub fn stop_for(&mut self, cause: super::StopCause) {
        if matches!(self.body.wish, Wish::Run | Wish::Pause | Wish::Park) && !self.body.state.name().is_end()
        {
            self.body.wish = Wish::Stop(cause);
        }
    }

    /// Writes down the intent of the next attempt; the order may go out once this is stored.
    ///
    /// # Errors
    /// [`IllegalTransition`] where no order may be sent: in that state, because nobody wants the job to run, or to that
    /// provider: only a job submitted to `auto` changes it.
    pub fn intend(
        &mut self,
        order: OrderName,
        provider: ProviderName,
        now: Timestamp,
    ) -> Result<AttemptNumber, IllegalTransition> {
        let number = self.attempt().map_or(AttemptNumber::FIRST, |last| last.number.next());
        let sent = Fact::OrderSent { attempt: number };
        let elsewhere = self.body.provider.as_ref() != Some(&provider);
        match self.body.wish {
            Wish::Run | Wish::Pause if elsewhere && !self.body.auto => return Err(self.illegal(&sent)),
            Wish::Run | Wish::Pause => self.body.state = self.body.state.apply(&sent)?,
            Wish::Rest | Wish::Park | Wish::Stop(_) => return Err(self.illegal(&sent)),
        }
        if elsewhere {
            self.body.provider = Some(provider.clone());
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
            billed_until: None,
            billed_from: None,
            billed: None,
            offer: None,
            phases: Vec::new(),
            round_over: false,
            log_cursor: None,
            memory: None,
            resumed_from: None,
            adopted: false,
            passed_on: None,
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

    /// Notes that the job may go to any provider: it was submitted to `auto`.
    pub fn set_auto(&mut self) {
        self.body.auto = true;
    }

    /// Notes that its first attempt goes to a machine that another job keeps warm, by the name of that machine's order.
    pub fn set_machine(&mut self, order: OrderName) {
        self.body.on_machine = Some(order);
    }

    /// The warm machine that its next attempt takes over; none once the present submission made an attempt.
    pub fn wants_machine(&self) -> Option<&OrderName> {
        let first = self.body.attempts.len() == self.body.attempts_before as usize;
        self.body.on_machine.as_ref().filter(|_| first)
    }

    /// Notes that an attempt takes over a machine that another job keeps warm.
    pub fn set_adopted(&mut self, attempt: AttemptNumber) {
        self.body.attempt_mut(attempt, |a| a.adopted = true);
    }

    /// Until when the machine of the ended job is kept for another job; that moment may have passed.
    pub fn warm_until(&self) -> Option<Timestamp> {
        self.body.warm_until
    }

    /// Notes until when the machine of the ended job is kept for another job.
    pub fn keep_warm_until(&mut self, until: Timestamp) {
        self.body.warm_until = Some(until);
    }

    /// Notes the offer that an attempt's order names.
    pub fn set_offer(&mut self, attempt: AttemptNumber, offer: Option<OfferTaken>) {
        self.body.attempt_mut(attempt, |a| a.offer = offer);
    }

    /// Keeps what a connector wants to know again of an attempt's machine.
    pub fn set_memory(&mut self, attempt: AttemptNumber, memory: Option<String>) {
        self.body.attempt_mut(attempt, |a| a.memory = memory);
    }

    /// Notes up to where the vendor's log of an attempt's machine was read.
    pub fn set_log_cursor(&mut self, attempt: AttemptNumber, cursor: Option<String>) {
        self.body.attempt_mut(attempt, |a| a.log_cursor = cursor);
    }

    /// Notes the checkpoint that an attempt was handed to continue from.
    pub fn set_resumed(&mut self, attempt: AttemptNumber, resumed: Option<Resumed>) {
        self.body.attempt_mut(attempt, |a| a.resumed_from = resumed);
    }

    /// Notes that it waits for a provider to have such a machine, from the first time on.
    pub fn wait_for_capacity(&mut self, now: Timestamp) {
        self.body.capacity_since.get_or_insert(now);
        self.body.set_phase(Some(Phase::WaitingForCapacity), now);
    }

    /// Attempts of the present submission, the last first, up to the last one that rented a machine: the orders of the
    /// round under way.
    pub fn round(&self) -> impl Iterator<Item = &Attempt> {
        let before = self.body.attempts_before as usize;
        let present = self.body.attempts.get(before..).unwrap_or_default();
        present.iter().rev().take_while(|attempt| !attempt.was_rented())
    }

    /// Whether a machine of it may still be there, of an earlier attempt too.
    pub fn may_hold_machine(&self) -> bool {
        self.state().claim().is_some() || self.body.attempts.iter().any(Attempt::may_hold_machine)
    }

    /// Notes how the training of an attempt ended.
    pub fn set_exit(&mut self, attempt: AttemptNumber, exit: Exit) {
        self.body.exit_code = Some(exit.code);
        self.body.attempt_mut(attempt, |a| a.exit = Some(exit));
    }

    /// Notes that an attempt's machine was proven gone, and until when it was billed where that is another moment.
    pub fn set_gone(&mut self, attempt: AttemptNumber, now: Timestamp, billed_until: Option<Timestamp>) {
        self.body.attempt_mut(attempt, |a| {
            a.gone_at = Some(now);
            a.billed_until = billed_until;
        });
    }

    /// Notes since when an attempt's machine is billed.
    pub fn set_billed_from(&mut self, attempt: AttemptNumber, from: Timestamp) {
        self.body.attempt_mut(attempt, |a| a.billed_from = Some(from));
    }

    /// Notes what the vendor billed for an attempt.
    pub fn set_billed(&mut self, attempt: AttemptNumber, amount: Money) {
        self.body.attempt_mut(attempt, |a| a.billed = Some(amount));
    }

    /// What all its attempts have cost by `now`.
    pub fn cost(&self, now: Timestamp) -> Money {
        self.body.attempts.iter().fold(Money::ZERO, |sum, attempt| sum.plus(attempt.cost(now)))
    }

    /// Notes that something was told that can be told once for each of several things, as of each budget; says whether
    /// it is the first time. At most [`Job::TOLD_OF_MAX`] are remembered, and no more told.
    pub fn tell_of(&mut self, what: &str) -> bool {
        self.body.told_of.len() < Self::TOLD_OF_MAX && self.body.told_of.insert(what.to_owned())
    }

    /// Whether that was told.
    pub fn was_told_of(&self, what: &str) -> bool {
        self.body.told_of.contains(what) || self.body.told_of.len() >= Self::TOLD_OF_MAX
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
